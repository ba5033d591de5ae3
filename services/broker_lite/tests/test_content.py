"""Identity of pact content."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_lite.domain import content
from services.broker_lite.tests.support.replay import TRANSCRIPTS

VECTORS = json.loads((TRANSCRIPTS / "sha-vectors.json").read_text())
SCALARS = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=8)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
INTERACTION = st.dictionaries(st.sampled_from(["description", "request", "response", "key"]), JSON, max_size=4)
PACT = st.fixed_dictionaries(
    {"interactions": st.lists(INTERACTION, max_size=4)},
    optional={"metadata": st.fixed_dictionaries({"pactSpecification": st.fixed_dictionaries({"version": st.text()})})},
)


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_of_the_reference_broker(name: str) -> None:
    vector = VECTORS[name]
    document = content.parse_json(vector["content"])
    assert content.content_sha(document) == vector["pactVersionSha"]
    stored = content.with_interaction_ids(document)
    key = "interactions" if "interactions" in stored else "messages"
    # Recorded are the ids in the order of the publication that came first.
    assert {one["_id"] for one in stored[key]} == set(vector["interactionIds"])


def _reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed_keys(value[key]) for key in reversed(value)}
    return [_reversed_keys(one) for one in value] if isinstance(value, list) else value


@given(PACT, st.randoms())
def test_order_and_names_do_not_count(pact: dict[str, Any], random: Any) -> None:
    other = _reversed_keys(pact)
    random.shuffle(other["interactions"])
    other["consumer"] = {"name": "another"}
    assert content.content_sha(other) == content.content_sha(pact)


@given(PACT)
def test_content_counts(pact: dict[str, Any]) -> None:
    more = {**pact, "interactions": [*pact["interactions"], {"description": "one more"}]}
    assert content.content_sha(more) != content.content_sha(pact)


@given(PACT)
def test_ids_are_added_once(pact: dict[str, Any]) -> None:
    once = content.with_interaction_ids(pact)
    assert content.with_interaction_ids(once) == once
    assert all(len(one["_id"]) == 40 for one in once["interactions"] if isinstance(one["_id"], str))


@given(PACT, PACT)
def test_merging_twice_changes_nothing_more(one: dict[str, Any], other: dict[str, Any]) -> None:
    merged = content.merge_pacts(one, other)
    assert content.merge_pacts(merged, other) == merged


@pytest.mark.parametrize("text", ["NaN", "[" * 200 + "]" * 200, "[" * 100_000, '{"a":', "", "'a'"])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(content.InvalidContentError):
        content.parse_json(text)


def test_provider_states_of_all_forms() -> None:
    pact = {
        "interactions": [{"providerState": "a"}, {"providerStates": [{"name": "b", "params": {"x": 1}}, {"no": 1}]}],
        "messages": [{"providerStates": [{"name": "c"}]}],
    }
    assert content.provider_states(pact) == [("c", None), ("a", None), ("b", {"x": 1})]
