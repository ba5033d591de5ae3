import re

from hypothesis import given
from hypothesis import strategies as st

from pact_operator.core.naming import MAX_NAME, child_name, digest, label_value

DNS_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")


@given(st.text(max_size=70_000), st.text())
def test_a_child_name_is_a_dns_label_whatever_it_is_made_of(prefix: str, work: str) -> None:
    name = child_name(prefix, digest(work))
    assert DNS_LABEL.match(name)
    assert len(name) <= MAX_NAME
    assert name.endswith(digest(work))


@given(st.dictionaries(st.text(), st.integers()))
def test_the_order_of_keys_does_not_change_a_digest(work: dict[str, int]) -> None:
    assert digest(work) == digest(dict(reversed(work.items())))


@given(st.lists(st.text(min_size=1), min_size=2, max_size=2, unique=True))
def test_different_work_has_different_digests(work: list[str]) -> None:
    assert digest(work[0]) != digest(work[1])
    assert digest(*work) != digest("".join(work))


@given(st.text(max_size=300))
def test_a_label_value_is_one_that_kubernetes_takes(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", label_value(text))


def test_a_label_value_stays_readable_where_it_can() -> None:
    assert label_value("flask-provider") == "flask-provider"
