"""The JUnit report: what CI shows of a run."""

from xml.etree import ElementTree as ET

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.verifier.tests.test_outcome import FACTS, FAILURE, GONE, PENDING, fact
from verifier.junit import junit_xml
from verifier.outcome import FieldMismatch, InteractionFailure, PactFacts, Problem, Reason, decide
from verifier.report import log_text


def report(*facts: PactFacts, problem: Problem | None = None) -> ET.Element:
    return ET.fromstring(junit_xml(decide("users", "1.0", list(facts), problem=problem)))


def counts(element: ET.Element) -> tuple[int, int, int, int]:
    tests, failures, errors, skipped = (int(element.get(k, "")) for k in ("tests", "failures", "errors", "skipped"))
    return tests, failures, errors, skipped


def described(facts: PactFacts, *descriptions: str) -> PactFacts:
    import dataclasses

    return dataclasses.replace(facts, descriptions=descriptions, interactions=len(descriptions))


def test_a_case_per_interaction_and_its_mismatches() -> None:
    root = report(
        described(fact("shop", FAILURE), "a request for users", "a request for user 123"), described(fact("till"), "x")
    )
    assert root.get("name") == "users 1.0"
    assert counts(root) == (3, 1, 0, 0)
    shop, till = root
    assert (shop.get("name"), counts(shop)) == ("shop", (2, 1, 0, 0))
    assert [case.get("name") for case in shop.iter("testcase")] == ["a request for user 123", "a request for users"]
    [failure] = shop.iter("failure")
    assert failure.get("message") == "a request for user 123: status is 500 (expected 200)"
    assert (failure.text or "").splitlines() == [
        "given a user exists",
        "- status is 500 (expected 200)",
        "    expected 200 but was 500",
        "    expected: 200",
        "    actual:   500",
    ]
    assert counts(till) == (1, 0, 0, 0)
    assert {p.get("name"): p.get("value") for p in till.iter("property")}["contentSha"] == "4f2a"


def test_what_is_pending_breaks_nothing() -> None:
    assert counts(report(described(fact("a", FAILURE, pending=True), FAILURE.description, "other"))) == (2, 0, 0, 1)
    assert counts(report(described(fact("a", PENDING), PENDING.description))) == (1, 0, 0, 1)


def test_what_was_not_verified_or_not_recorded_is_an_error() -> None:
    root = report(described(fact("a"), "x"), described(fact("b", problem=GONE), "x", "y"))
    assert counts(root) == (2, 0, 1, 0)
    [error] = root.iter("error")
    assert (error.get("type"), error.get("message")) == ("ProviderNotReady", "The provider is gone.")
    import dataclasses

    lost = dataclasses.replace(described(fact("a", recorded=False), "x"), record_problem="it took it and lists it not")
    assert counts(report(lost)) == (2, 0, 1, 0)
    assert counts(report(problem=Problem(Reason.BROKER_UNAVAILABLE, "down"))) == (1, 0, 1, 0)
    assert counts(report()) == (0, 0, 0, 0)


def test_interactions_of_one_description_are_each_a_case() -> None:
    root = report(described(fact("a", FAILURE), FAILURE.description, FAILURE.description, FAILURE.description))
    assert counts(root) == (3, 1, 0, 0)


def test_thousands_of_failures_are_all_told_in_a_report_that_can_be_opened() -> None:
    value = "v" * 1900
    failures = [
        InteractionFailure(f"request {n}", (), (FieldMismatch("body", "$.a", "body $.a differs", value, value, value),))
        for n in range(5000)
    ]
    facts = described(fact("a", *failures), *(f"request {n}" for n in range(5000)))
    verdict = decide("users", "1.0", [facts])
    content = junit_xml(verdict)
    assert counts(ET.fromstring(content)) == (5000, 5000, 0, 0)
    assert len(content) < 16 * 1024 * 1024
    log = log_text(verdict)
    assert len(log) < 8 * 1024 * 1024
    assert "more" in log.splitlines()[-1]
    small = [InteractionFailure(f"request {n}", (), FAILURE.mismatches) for n in range(5000)]
    assert "5000. request 4999" in log_text(decide("users", "1.0", [fact("a", *small)])), "all of them, as a rule"


@given(st.lists(FACTS, max_size=3), st.text(max_size=20))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_text_makes_a_well_formed_report(facts: list[PactFacts], text: str) -> None:
    verdict = decide(text, "\x00\ufffe\x1b[2J1.0", [described(one, text, "<&\"'>") for one in facts])
    root = ET.fromstring(junit_xml(verdict))
    assert len(root.findall("testsuite")) == (len(facts) or (0 if verdict.exit_code in (0, 2) else 1))
