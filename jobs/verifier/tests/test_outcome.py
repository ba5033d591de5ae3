"""From facts to verdict, and from verdict to termination message and log."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verifier.outcome import (
    FieldMismatch,
    InteractionFailure,
    Outcome,
    PactFacts,
    PactOutcome,
    Problem,
    Reason,
    Verdict,
    decide,
)
from verifier.report import log_text
from verifier.termination import render

SCHEMA = json.loads((Path(__file__).parents[1] / "termination.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
STATUS = FieldMismatch("status", None, "status is 500 (expected 200)", "200", "500", "expected 200 but was 500")
FAILURE = InteractionFailure("a request for user 123", ("a user exists",), (STATUS,))
PENDING = InteractionFailure("a draft", (), (STATUS,), pending=True)
GONE = Problem(Reason.PROVIDER_NOT_READY, "The provider is gone.")


def fact(
    consumer: str = "shop",
    *failures: InteractionFailure,
    pending: bool = False,
    problem: Problem | None = None,
    recorded: bool | None = True,
    interactions: int = 3,
) -> PactFacts:
    return PactFacts(consumer, "4f2a", pending, interactions, failures, problem, None if problem else recorded)


@pytest.mark.parametrize(
    ("facts", "problem", "reason", "code", "published"),
    [
        ([fact()], None, Reason.PASSED, 0, True),
        ([fact(recorded=None)], None, Reason.PASSED, 0, False),
        ([fact("a"), fact("b", FAILURE)], None, Reason.CONTRACT_BROKEN, 1, True),
        ([fact("a", FAILURE, pending=True)], None, Reason.PASSED, 0, True),
        ([fact("a", PENDING)], None, Reason.PASSED, 0, True),
        ([fact("a", FAILURE), fact("b", problem=GONE)], GONE, Reason.CONTRACT_BROKEN, 1, True),
        ([fact("a"), fact("b", problem=GONE)], None, Reason.PROVIDER_NOT_READY, 75, True),
        ([fact("a", recorded=False)], None, Reason.RESULT_NOT_PUBLISHED, 75, False),
        ([fact("a", FAILURE, recorded=False)], None, Reason.RESULT_NOT_PUBLISHED, 75, False),
        ([], None, Reason.NOTHING_TO_VERIFY, 2, False),
        ([fact(interactions=0)], None, Reason.NOTHING_TO_VERIFY, 2, True),
        ([fact("a", interactions=0), fact("b")], None, Reason.PASSED, 0, True),
        ([], Problem(Reason.BROKER_UNAVAILABLE, "no"), Reason.BROKER_UNAVAILABLE, 75, False),
    ],
)
def test_verdict(facts: list[PactFacts], problem: Problem | None, reason: Reason, code: int, published: bool) -> None:
    verdict = decide("users", "1.0", facts, problem=problem)
    assert (verdict.reason, verdict.exit_code, verdict.published) == (reason, code, published)
    VALIDATOR.validate(json.loads(render(verdict)))


def test_sentences_name_consumer_interaction_and_field() -> None:
    broken = decide("users", "1.0", [fact("a"), fact("b", FAILURE), fact("c", problem=GONE)])
    assert broken.message == (
        "users 1.0 breaks its contract with b: a request for user 123: status is 500 (expected 200); not verified: c"
    )
    kept = decide("users", "1.0", [fact("a"), fact("b"), fact("c", FAILURE, pending=True)])
    assert kept.message == (
        "users 1.0 keeps its contract with a and b (6 interactions);"
        " the pact of c failed, which does not count while it is pending."
    )
    assert "a, b and 3 more" in decide("users", "1.0", [fact(name) for name in "abcde"]).message


def test_log_has_the_table_first_and_every_mismatch_in_full() -> None:
    body = FieldMismatch("body", "$.id", 'body $.id is "x" (expected 1)', "1", '"x"', "Expected 'x' to be 1")
    failing = InteractionFailure("a request for user 123", ("a user exists",), (STATUS, body))
    lines = log_text(decide("users", "1.0", [fact("a"), fact("b", failing)])).splitlines()
    assert lines[0].startswith("ContractBroken: users 1.0 breaks its contract with b")
    assert lines[2].split() == ["CONSUMER", "CONTENT", "OUTCOME", "INTERACTIONS", "FAILED", "RECORDED"]
    assert lines[4].split() == ["b", "4f2a", "Failed", "3", "1", "yes"]
    assert lines[6:] == [
        "b (4f2a): contract broken",
        "  1. a request for user 123",
        "     given a user exists",
        "     - status is 500 (expected 200)",
        "         expected 200 but was 500",
        "         expected: 200",
        "         actual:   500",
        '     - body $.id is "x" (expected 1)',
        "         Expected 'x' to be 1",
        "         expected: 1",
        '         actual:   "x"',
    ]


def test_what_does_not_fit_goes_in_the_order_promised() -> None:
    long = InteractionFailure("x" * 300, (), (STATUS,))
    facts = [fact(f"c{n}", *([long] if n % 2 else [])) for n in range(40)]
    message = json.loads(render(decide("users", "1.0", facts)))
    assert message["truncated"] is True
    kept = [pact["consumer"] for pact in message["pacts"]]
    assert kept == [name for name in (f"c{n}" for n in range(40)) if name in kept], "order is kept"
    failed = [p for p in message["pacts"] if p["outcome"] == "Failed"]
    assert len(failed) == 20, "passed ones go before failed ones"
    with_text = ["mismatch" in pact for pact in failed]
    assert with_text == sorted(with_text, reverse=True), "texts go from the end"


TEXT = st.text(max_size=80) | st.sampled_from(["\x1b[31mred", "\u202eevil", "a\n\tb", "é" * 500, "\U0001f600" * 900])
MISMATCHES = st.builds(
    FieldMismatch,
    st.sampled_from(["status", "body", "error"]),
    st.none() | TEXT,
    TEXT,
    st.none() | TEXT,
    st.none() | TEXT,
    TEXT,
)
FAILURES = st.builds(
    InteractionFailure, TEXT, st.lists(TEXT, max_size=2).map(tuple), st.lists(MISMATCHES, max_size=2).map(tuple)
)
FACTS = st.builds(
    PactFacts,
    TEXT,
    TEXT,
    st.booleans(),
    st.integers(0, 10**6),
    st.lists(FAILURES, max_size=2).map(tuple),
    st.none() | st.builds(Problem, st.sampled_from([r for r in Reason if r.value not in set(Outcome)]), TEXT),
    st.sampled_from([None, True, False]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(provider=TEXT, version=TEXT, facts=st.lists(FACTS, max_size=25))
def test_any_message_is_valid_short_and_harmless(provider: str, version: str, facts: list[PactFacts]) -> None:
    verdict = decide(provider, version, facts)
    content = render(verdict)
    assert len(content) < 4096
    message = json.loads(content)
    VALIDATOR.validate(message)
    kept = [pact["outcome"] for pact in message["pacts"]]
    assert message["truncated"] or kept == [fact.outcome.value for fact in facts]
    if PactOutcome.PASSED in kept:
        assert kept.count("Failed") == sum(fact.outcome is PactOutcome.FAILED for fact in facts)
    text = content.decode()
    assert not any(ord(char) < 32 or char in "\x7f\u202e" for char in text)
    log = log_text(verdict)
    assert not any(ord(char) < 32 and char != "\n" for char in log)


def test_a_run_of_ten_thousand_pacts_is_rendered_at_once() -> None:
    verdict = Verdict(
        Outcome.PASSED, Reason.PASSED, "ok", "users", "1", True, tuple(fact(f"c{n}") for n in range(10_000))
    )
    assert len(render(verdict)) < 4096


def test_schema_refuses_what_it_should() -> None:
    message = json.loads(render(decide("users", "1.0", [fact()])))
    for change in ({"outcome": "InfrastructureError"}, {"reason": "Other"}, {"extra": 1}, {"message": ""}):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(message | change)
