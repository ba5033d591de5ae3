"""The official contract between the Pact Broker's client and the Pact Broker: all of its interactions, replayed."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from broker_lite.config import Settings
from broker_lite.store.engine import Store
from services.broker_lite.tests.conftest import BACKENDS, NewStore
from services.broker_lite.tests.support import contract_states, matching
from services.broker_lite.tests.support.replay import DATA
from services.broker_lite.tests.support.server import Served, serve

PACT = json.loads((DATA / "pacts" / "client-v2--pact-broker.json").read_text())
INTERACTIONS = PACT["interactions"]
# The newer file sorts the query, but its order carries meaning: it is taken from the older one.
_ORDERED = {
    (one["description"], one.get("providerState")): one["request"].get("query")
    for one in json.loads((DATA / "pacts" / "client-v1--pact-broker.json").read_text())["interactions"]
}


@pytest.fixture(scope="module", params=BACKENDS)
def contract_store(request: pytest.FixtureRequest, new_store: NewStore) -> Store:
    return new_store(request.param)


@pytest.fixture(scope="module")
def instance(contract_store: Store) -> Iterator[Served]:
    settings = replace(Settings(database_url=""), base_urls=("http://example.org",))
    with serve(settings, contract_store) as served:
        yield served


def _query(interaction: dict[str, Any]) -> str:
    query = interaction["request"].get("query")
    ordered = _ORDERED.get((interaction["description"], interaction.get("providerState")))
    if isinstance(ordered, str) and interaction["request"]["path"] == "/matrix":
        query = ordered
    if isinstance(query, dict):
        query = urlencode([(k, v) for k, values in query.items() for v in values])
    return f"?{query}" if query else ""


def _name(index: int) -> str:
    return re.sub(r"\W+", "-", f"{index + 1}-{INTERACTIONS[index]['description']}")[:80]


@pytest.mark.parametrize("index", range(len(INTERACTIONS)), ids=_name)
def test_interaction(instance: Served, index: int) -> None:
    interaction = INTERACTIONS[index]
    contract_states.prepare(instance.store, interaction.get("providerState"))
    request, wanted = interaction["request"], interaction["response"]
    headers = {name.lower(): value for name, value in request.get("headers", {}).items()}
    body = request.get("body")
    if body is not None and not isinstance(body, str):
        headers.setdefault("content-type", "application/json")
        body = json.dumps(body)
    answer = instance.send(request["method"].upper(), request["path"] + _query(interaction), body, headers)
    assert answer.status == wanted["status"], answer.text
    rules = wanted.get("matchingRules", {})
    got = {"headers": answer.headers, "body": answer.body}
    expected = {"headers": {name.lower(): value for name, value in wanted.get("headers", {}).items()}}
    if "body" in wanted:
        expected["body"] = wanted["body"]
    assert matching.mismatches(expected, got, rules) == []


def test_all_interactions_are_here() -> None:
    assert len(INTERACTIONS) == 67


def test_matching_can_fail() -> None:
    rules = {"$.body.name": {"match": "regex", "regex": "^a+$"}}
    assert matching.mismatches({"body": {"name": "a"}}, {"body": {"name": "b"}}, rules)
    assert matching.mismatches({"body": {"n": 1}}, {"body": {}}, {})
    assert not matching.mismatches({"body": {"name": "a"}}, {"body": {"name": "aaa", "more": 1}}, rules)
