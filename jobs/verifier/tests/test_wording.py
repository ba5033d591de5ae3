"""What the verifier core says, in words for people; shapes as observed with pact-python 4.2."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from verifier.pact import NotAPactError, Pact, expectation, parse_pact
from verifier.wording import CoreResult, Heard, read_results

V4 = {
    "consumer": {"name": "c"},
    "provider": {"name": "p"},
    "interactions": [
        {
            "_id": "one",
            "type": "Synchronous/HTTP",
            "description": "a request for user 123",
            "providerStates": [{"name": "a user exists", "params": {"id": 123}}],
            "request": {"method": "GET", "path": "/users/123"},
            "response": {
                "status": 200,
                "body": {
                    "content": {
                        "id": 123,
                        "email": "ada@example.com",
                        "tags": ["x"],
                        "since": "2026-01-31T10:00:00+00:00",
                        "a, b": 1,
                        "deep": {"er": 1},
                    },
                    "contentType": "application/json",
                    "encoded": False,
                },
                "matchingRules": {
                    "body": {
                        "$.id": {"combine": "AND", "matchers": [{"match": "integer"}]},
                        "$.email": {"matchers": [{"match": "type"}]},
                        "$.tags[*]": {"matchers": [{"match": "regex", "regex": "[a-z]+"}]},
                        "$.since": {"matchers": [{"match": "datetime", "format": "x"}]},
                        "$.deep": {"matchers": [{"match": "type"}]},
                    }
                },
            },
        },
        {
            "_id": "two",
            "type": "Asynchronous/Messages",
            "description": "user created",
            "contents": {"content": {"event": "created"}, "contentType": "application/json", "encoded": False},
        },
    ],
    "metadata": {"pactSpecification": {"version": "4.0"}},
}
PACT = parse_pact(V4)


def read(*mismatches: Mapping[str, Any], heard: Heard | None = None, **item: Any) -> CoreResult:
    result = {
        "interactionId": "one",
        "description": "a request for user 123",
        "providerStates": ["a user exists"],
        "pending": False,
        "result": "Error",
        "mismatch": {"type": "mismatches", "interactionId": "one", "mismatches": list(mismatches)},
    } | item
    return read_results({"result": False, "interactionResults": [result], "errors": []}, PACT, heard or Heard())


def body(path: str, text: str, expected: str = "1", actual: str = '"x"') -> dict[str, str]:
    return {"type": "BodyMismatch", "path": path, "mismatch": text, "expected": expected, "actual": actual}


KEYS = json.dumps(["a, b", "deep", "email", "id", "since", "tags"])


@pytest.mark.parametrize(
    ("mismatch", "says"),
    [
        (
            {"type": "StatusMismatch", "actual": 404, "expected": 200, "mismatch": "expected 200 but was 404"},
            ["status is 404 (expected 200)"],
        ),
        (
            {
                "type": "HeaderMismatch",
                "key": "X-A",
                "actual": "",
                "expected": '"1"',
                "mismatch": "Expected a header 'X-A' but was missing",
            },
            ['header X-A is missing (expected "1")'],
        ),
        (body("$.id", "Expected 'x' (String) to be an integer"), ['body $.id is "x" (expected an integer like 123)']),
        (
            body("$", "Actual map is missing the following keys: email, id", KEYS, "[]"),
            [
                'body $.email is missing (expected a string like "ada@example.com")',
                "body $.id is missing (expected an integer like 123)",
            ],
        ),
        (
            body("$", "Actual map is missing the following keys: a, b", KEYS, "[]"),
            ["body $.a is missing", "body $.b is missing"],
        ),
        (
            body("$.tags[7]", "Expected '1' to match '[a-z]+'", '"x"', "1"),
            ['body $.tags[7] is 1 (expected text that matches [a-z]+, like "x")'],
        ),
        (
            body("$.deep.er", "Expected 'x' to be like 1"),
            ['body $.deep.er is "x" (expected a number like 1)'],
        ),
        (
            body("$.since", "Expected 1 to be a datetime", '"2026"', "1"),
            ['body $.since is 1 (expected a date-time like "2026-01-31T10:00:00+00:00")'],
        ),
        (
            body("$.tags", "Expected a List with 1 elements but received 0 elements", '["x"]', "[]"),
            ["body $.tags: Expected a List with 1 elements but received 0 elements"],
        ),
        (
            {"type": "BodyTypeMismatch", "expected": "application/json", "actual": "text/html", "mismatch": "x"},
            ["body is text/html (expected application/json)"],
        ),
        ({"type": "SomethingNew", "mismatch": "is \x1b[31mnew\x1b[0m\n"}, ["body $: is new"]),
    ],
)
def test_mismatches_in_words(mismatch: Mapping[str, Any], says: list[str]) -> None:
    (failure,) = read(mismatch).failures
    assert [one.summary for one in failure.mismatches] == says
    assert failure.summary == f"a request for user 123: {says[0]}"


def test_order_does_not_depend_on_the_cores() -> None:
    one = {"type": "StatusMismatch", "actual": 404, "expected": 200, "mismatch": "m"}
    two = body("$.b", "differs", "{", "{")
    three = body("$.a", "differs", "{", "{")
    found = [read(*order).failures[0].mismatches for order in ((one, two, three), (three, two, one))]
    assert found[0] == found[1]
    assert [m.attribute for m in found[0]] == ["status", "body", "body"]


def test_an_interaction_without_answer_is_not_a_mismatch() -> None:
    result = read(mismatch={"type": "error", "message": "error sending request for url (http://localhost:1/users)"})
    assert result.broken_off
    assert result.failures[0].summary.endswith(
        "the provider gave no answer: error sending request for url (http://localhost:1/users)"
    )
    assert result.test_results[0]["exceptions"]


def test_a_refused_state_is_told_with_the_providers_own_words() -> None:
    result = read(
        mismatch={"type": "error", "message": "One or more of the setup state change handlers has failed"},
        heard=Heard(states={"a user exists": "the provider answered 400: no such state"}),
    )
    assert not result.broken_off
    assert result.failures[0].mismatches[0].summary == (
        'provider state "a user exists" could not be set up: the provider answered 400: no such state'
    )


def test_an_error_page_is_not_taken_for_the_message() -> None:
    result = read(
        body("$", "Actual map is missing the following keys: event", '["event"]', '["error"]'),
        interactionId="two",
        description="user created",
        heard=Heard(messages={"user created": "the provider answered 400: unknown message"}),
    )
    assert result.failures[0].mismatches[0].summary == (
        "the provider could not make the message: the provider answered 400: unknown message"
    )


def test_a_pact_that_the_core_cannot_load_is_told_without_our_file_name() -> None:
    message = "Failed to load pact '/tmp/pact-x/pact.json' - Interaction 0 has no type attribute."
    results = {"result": False, "interactionResults": [], "errors": [{"mismatch": {"message": message}}]}
    assert read_results(results, PACT, Heard()).load_error == "Interaction 0 has no type attribute."


def test_results_are_published_in_the_shape_the_broker_stores() -> None:
    result = read(
        body("$.id", "not an integer"),
        {"type": "StatusMismatch", "actual": 404, "expected": 200, "mismatch": "expected 200 but was 404"},
    )
    assert result.test_results == (
        {
            "success": False,
            "interactionId": "one",
            "interactionDescription": "a request for user 123",
            "mismatches": [
                {"attribute": "status", "description": "expected 200 but was 404"},
                {"attribute": "body", "identifier": "$.id", "description": "not an integer"},
            ],
        },
    )


def test_older_specifications_are_read_alike() -> None:
    v2 = {
        "consumer": {"name": "c"},
        "provider": {"name": "p"},
        "interactions": [
            {
                "description": "d",
                "providerState": "s",
                "request": {"method": "GET", "path": "/"},
                "response": {
                    "status": 200,
                    "body": {"items": [{"n": 1}]},
                    "matchingRules": {"$.body.items": {"min": 1}, "$.body.items[*].*": {"match": "type"}},
                },
            }
        ],
    }
    pact = parse_pact(v2)
    assert [state.name for state in pact.states()] == ["s"]
    assert expectation(pact.interactions[0], "$.items[3].n") == "a number like 1"
    assert expectation(pact.interactions[0], "$.items") == 'an array like [{"n": 1}]'
    v3 = parse_pact(V4 | {"interactions": [], "messages": [{"description": "m", "contents": {"a": None}}]})
    assert v3.has_messages
    assert expectation(v3.interactions[0], "$.a") == "null"
    assert expectation(v3.interactions[0], "$.nowhere") is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"consumer": None}, "does not name its consumer"),
        ({"provider": {"name": ""}}, "does not name its provider"),
        ({"interactions": {"a": 1}}, "no list of interactions"),
        ({"interactions": ["x"]}, "not an object"),
    ],
)
def test_what_is_no_pact_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(NotAPactError, match=says):
        parse_pact(V4 | change)


def test_a_pact_finds_its_interaction_by_id_and_else_by_description() -> None:
    assert isinstance(PACT, Pact)
    found = [PACT.find("two", "a request for user 123"), PACT.find(None, "user created"), PACT.find("x", "y")]
    assert [one and one.id for one in found] == ["two", "two", None]
