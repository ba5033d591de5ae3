"""The rules of a broker, without a store."""

import ast
import contextlib
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_lite import config
from broker_lite.domain import diff, matrix, metadata, names, nested_query, pending, selectors, templates, webhook_rules
from broker_lite.domain.matrix import Integration, Options, Row, Selector

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "existing", "clash"),
    [
        ("Orders-Service", ["orders"], ["orders"]),
        ("order-api", ["orders", "billing"], ["orders"]),
        ("orders", ["orders", "Orders"], []),
        ("OrderProvider", ["order_service"], ["order_service"]),
        ("flask-provider", ["fastapi-provider", "users-consumer"], []),
        ("new::Thing", ["NewThings"], ["NewThings"]),
    ],
)
def test_resembling_names(name: str, existing: list[str], clash: list[str]) -> None:
    assert names.resembling(name, existing) == clash


@pytest.mark.parametrize(
    ("name", "shown"), [("shop", "Shop"), ("order-api", "Order Api"), ("fooBarURL", "Foo Bar URL"), ("a_b c", "A B C")]
)
def test_display_names(name: str, shown: str) -> None:
    assert names.display_name(name) == shown


def test_positional_lists_in_queries() -> None:
    query = "q[][pacticipant]=A&q[][version]=1&q%5B%5D%5Bpacticipant%5D=B&success[]=true&success[]=&x=1+2"
    assert nested_query.parse(query) == {
        "q": [{"pacticipant": "A", "version": "1"}, {"pacticipant": "B"}],
        "success": ["true", ""],
        "x": "1 2",
    }


@pytest.mark.parametrize("query", ["a=1&a[]=2", "a[b]=1&a[]=2", "a[]=1&a[b]=2", "&".join(["a=1"] * 5000)])
def test_contradicting_queries_are_refused(query: str) -> None:
    with pytest.raises(nested_query.InvalidQueryError):
        nested_query.parse(query)


@given(st.text())
def test_any_query_is_parsed_or_refused(query: str) -> None:
    with contextlib.suppress(nested_query.InvalidQueryError):
        assert isinstance(nested_query.parse(query), dict)


SELECTED = st.builds(
    metadata.SelectedVersion,
    number=st.text(min_size=1),
    tag=st.none() | st.text(min_size=1),
    branch=st.none() | st.text(min_size=1),
    environment=st.none() | st.text(min_size=1),
    latest=st.booleans(),
)


@given(
    st.builds(
        metadata.LinkMetadata,
        selected=st.lists(SELECTED).map(tuple),
        consumer_version=st.none() | st.text(),
        tags=st.none() | st.lists(st.text()).map(tuple),
        wip=st.booleans(),
    )
)
def test_link_metadata_survives_its_link(link: metadata.LinkMetadata) -> None:
    assert metadata.decode(link.encode()) == link
    assert "/" not in link.encode()


@given(st.text())
def test_foreign_link_metadata_is_none(segment: str) -> None:
    assert isinstance(metadata.decode(segment), metadata.LinkMetadata)


@pytest.mark.parametrize(
    ("here", "first_elsewhere", "began", "expected"),
    [
        (False, None, None, True),
        (False, None, 5, True),
        (True, None, 5, False),
        (False, 1, 5, False),
        (False, 5, 5, True),
        (False, 9, 5, True),
        (False, 9, None, False),
    ],
)
def test_what_waits_for_a_branch(here: bool, first_elsewhere: int | None, began: int | None, expected: bool) -> None:
    def day(number: int | None) -> datetime | None:
        return None if number is None else EPOCH + timedelta(days=number)

    assert pending.waits(pending.Successes(here, day(first_elsewhere)), day(began)) is expected


def test_required_versions_are_named_once() -> None:
    one = pending.Requirement(1, "1", "main", ("latest from main branch",))
    again = pending.Requirement(1, "1", None, ("deployed in test",))
    done = pending.Requirement(2, "2", None, ("deployed in prod",))
    assert pending.required_verifications([one, again, done], {2}) == [
        pending.Requirement(1, "1", "main", ("latest from main branch", "deployed in test"))
    ]


@pytest.mark.parametrize(
    ("given_selector", "text"),
    [
        ({"mainBranch": True, "branch": "x"}, "cannot specify mainBranch=true with any other criteria"),
        ({"deployed": True, "released": True}, "cannot specify both deployed=true and released=true"),
        ({"fallbackTag": "x", "tag": "y"}, "fallbackTag can only be set if latest is true"),
        ({"branch": "x", "latest": False}, "cannot specify a branch with latest=false"),
        ({"environment": "gone"}, "environment with name 'gone' does not exist"),
        ({"consumer": "x"}, "must specify a value for environment or tag or branch"),
        ({"branch": 5}, "branch must be a string"),
        ("x", "must be a hash"),
    ],
)
def test_selectors_that_are_refused(given_selector: Any, text: str) -> None:
    assert any(text in problem for problem in selectors.problems(given_selector, {"test"}, "main"))


ROW_IDS = st.integers(1, 3)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    consumer_version, provider_version = draw(ROW_IDS), draw(st.none() | ROW_IDS)
    verified = provider_version is not None
    return Row(
        consumer_id=1,
        consumer="C",
        consumer_version_id=10 + consumer_version,
        consumer_version=str(consumer_version),
        provider_id=2,
        provider="P",
        publication_id=consumer_version,
        pact_version_id=consumer_version,
        pact_sha="0" * 40,
        pact_created_at=EPOCH,
        revision=1,
        provider_version_id=None if provider_version is None else 20 + provider_version,
        provider_version=None if provider_version is None else str(provider_version),
        verification_id=draw(st.integers(1, 99)) if verified else None,
        success=draw(st.booleans()) if verified else None,
        verified_at=EPOCH if verified else None,
    )


INTEGRATION = Integration(1, "C", 2, "P", required=True)


@given(st.lists(rows(), max_size=6), st.booleans())
def test_the_verdict_never_hides_what_is_unknown(found: list[Row], required: bool) -> None:
    integration = Integration(1, "C", 2, "P", required)
    selected = matrix.resolve(Selector("C"), 1, None, specified=True)
    result = matrix.evaluate(found, selected, [], [integration], Options(latestby=None))
    unknown = any(row.success is None for row in found) or (required and not found)
    assert (result.deployable is None) == unknown
    if not unknown:
        assert result.deployable == all(row.success for row in found)
    assert sum(result.counts.values()) == len(found) + (required and not found)
    assert (result.notices[-1][0] == "success") == (result.deployable is True)


@given(st.lists(rows(), max_size=8), st.sampled_from(["cvpv", "cvp", "cp"]))
def test_latest_by_keeps_one_row_per_group(found: list[Row], how: str) -> None:
    kept = matrix.latest_by(found, how)
    assert len(kept) == len({matrix._GROUPINGS[how](row) for row in found})
    assert set(kept) <= set(found)
    for row in kept:
        others = [one for one in found if matrix._GROUPINGS[how](one) == matrix._GROUPINGS[how](row)]
        if others[0].provider_version_id is not None:
            assert row.provider_version_id == max(one.provider_version_id or 0 for one in others)


def test_a_version_that_does_not_exist_is_not_deployable() -> None:
    selected = matrix.resolve(Selector("C", version="9"), 1, [], specified=True)
    result = matrix.evaluate([], selected, [], [], Options(environment="prod"))
    assert result.deployable is False
    assert result.reason == "No pacts or verifications have been published for version 9 of C"


def test_ignored_rows_do_not_count() -> None:
    ignore = matrix.resolve(Selector("P"), 2, None, specified=False)
    selected = matrix.resolve(Selector("C", version="1"), 1, [matrix.Version(11, "1")], specified=True, ignore=ignore)
    failed = Row(1, "C", 11, "1", 2, "P", 1, 1, "0", EPOCH, 1, 21, "1", 5, False, EPOCH)
    result = matrix.evaluate([failed], selected, ignore, [INTEGRATION], Options(environment="prod"))
    assert (result.deployable, result.counts["ignored"], result.considered) == (True, 1, [])


def test_templates_are_rendered_once_and_unknown_ones_stay() -> None:
    values = templates.parameters(templates.Facts("test", consumer_name="${pactbroker.eventName}", success=False))
    assert templates.render("${pactbroker.consumerName} ${pactbroker.nope}", values) == (
        "${pactbroker.eventName} ${pactbroker.nope}"
    )
    assert templates.render_body({"a": ["${pactbroker.githubVerificationStatus}", 1]}, values) == {"a": ["failure", 1]}
    assert templates.render_url("http://x/${pactbroker.eventName}", {"eventName": "a b&c"}) == "http://x/a+b%26c"


@pytest.mark.parametrize(
    ("host", "allowed", "expected"),
    [
        ("hook.svc", ("hook.svc",), True),
        ("a.hook.svc", ("*.hook.svc",), True),
        ("a.b.hook.svc", ("*.hook.svc",), False),
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("10.1.2.3", ("10.1.2.4", "/.*/"), False),
        ("::1", ("::1",), True),
        ("x.svc.cluster.local", (r"/\.svc\.cluster\.local$/",), True),
        ("evil.example", ("hook.svc", "10.0.0.0/8"), False),
    ],
)
def test_webhook_hosts(host: str, allowed: tuple[str, ...], expected: bool) -> None:
    assert webhook_rules.host_allowed(host, allowed) is expected


@given(st.recursive(st.none() | st.text() | st.integers(), lambda x: st.dictionaries(st.text(), x) | st.lists(x)))
def test_any_webhook_definition_is_checked(definition: Any) -> None:
    assert webhook_rules.problems(definition, set(), webhook_rules.AllowLists())


def test_a_difference_shows_only_what_changed() -> None:
    before = {"interactions": [{"_id": "1", "description": "a", "request": {"path": "/"}}]}
    after = {"interactions": [{"_id": "2", "description": "b", "request": {"path": "/"}}]}
    text = diff.pact_diff(before, after)
    assert '-      "description": "a"' in text
    assert '+      "description": "b"' in text
    assert "path" not in text
    assert diff.pact_diff(before, before) == "No differences"


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"PORT": "x"}, "PACT_BROKER_PORT"),
        ({"PUBLIC_HEARTBEAT": "maybe"}, "PACT_BROKER_PUBLIC_HEARTBEAT"),
        ({"DATABASE_URL": "mysql://x"}, "PACT_BROKER_DATABASE_URL"),
        ({"DATABASE_ADAPTER": "postgres"}, "PACT_BROKER_DATABASE_HOST"),
        ({"BASIC_AUTH_USERNAME": "x"}, "PACT_BROKER_BASIC_AUTH_PASSWORD"),
        ({"BASIC_AUTH_ENABLED": "true"}, "PACT_BROKER_BASIC_AUTH_USERNAME"),
        ({"BASE_URL": "pact-broker"}, "PACT_BROKER_BASE_URL"),
        ({"WEBHOOK_HOST_WHITELIST": "/(/"}, "PACT_BROKER_WEBHOOK_HOST_WHITELIST"),
        ({"WEBHOOK_RETRY_SCHEDULE": "1 x"}, "PACT_BROKER_WEBHOOK_RETRY_SCHEDULE"),
    ],
)
def test_bad_configuration_names_the_variable(environ: dict[str, str], variable: str) -> None:
    with pytest.raises(config.InvalidConfigurationError, match=variable):
        config.from_environment({f"PACT_BROKER_{name}": value for name, value in environ.items()})


def test_configuration_from_parts_and_lists() -> None:
    environ = {
        "DATABASE_HOST": "db",
        "DATABASE_USERNAME": "u",
        "DATABASE_PASSWORD": "p@:/w",
        "DATABASE_NAME": "pacts",
        "BASE_URL": "http://pact-broker:9292/ https://pacts.example",
        "WEBHOOK_SCHEME_WHITELIST": "http https",
        "BASIC_AUTH_USERNAME": "rw",
        "BASIC_AUTH_PASSWORD": "secret",
    }
    settings = config.from_environment({f"PACT_BROKER_{name}": value for name, value in environ.items()})
    assert settings.database_url == "postgresql+psycopg://u:p%40%3A%2Fw@db:5432/pacts"
    assert settings.base_urls == ("http://pact-broker:9292", "https://pacts.example")
    assert settings.allow_lists.schemes == ("http", "https")
    assert settings.writer == config.Credentials("rw", "secret")
    assert "secret" not in repr(settings)
    assert "p%40" not in repr(settings)


def test_the_domain_knows_neither_store_nor_http() -> None:
    folder = Path(matrix.__file__).parent
    allowed = sys.stdlib_module_names | {"broker_lite"}
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name.split(".")[0] in allowed, f"{path.name} imports {name}"
                assert not name.startswith("broker_lite") or name.startswith("broker_lite.domain"), path.name
