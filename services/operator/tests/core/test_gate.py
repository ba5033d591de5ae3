"""The gate's decision: each verdict by an example, and what holds whatever the facts are."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pact_operator.api.reasons import Reason
from pact_operator.api.v1alpha1 import ContractStatus, GateSpec
from pact_operator.core.facts import GateFacts, GateRow, Matrix, Obstacle, Question, Verifier
from pact_operator.core.gate import Decision, Verdict, decide, ignoring_ends_in
from services.operator.tests.core.worlds import NOW

USERS = Question("users", "2.0.0", "production")
WEB = Question("web", "7", "production")
TODAY = datetime.fromtimestamp(NOW, UTC).date()


def row(success: bool | None = True, consumer: str = "web", version: str = "7", **more: Any) -> GateRow:
    """A consumer in production, and the version of `users` that is asked about."""
    provider_version = None if success is None else USERS.version
    return GateRow(consumer, version, "users", provider_version, success, "a1", f"http://b/{consumer}", **more)


def needs(provider_version: str | None, success: bool | None = True, provider: str = "users") -> GateRow:
    """What `web 7` needs of a provider."""
    return GateRow("web", "7", provider, provider_version, success, "a1", f"http://b/{provider}")


def matrix(*rows: GateRow, there: Mapping[str, tuple[str, ...]] | None = None, **more: Any) -> Matrix:
    """What the broker says, its own verdict as it would be."""
    outcomes = [row.success for row in rows]
    deployable = None if None in outcomes else all(outcomes)
    return Matrix(**{"deployable": deployable, "rows": rows, "in_environment": there, **more})


def asked(question: Question, answer: Matrix | Obstacle, *verifiers: Verifier, **policy: Any) -> Decision:
    return decide(GateFacts(question, answer, GateSpec.model_validate(policy), NOW, verifiers=verifiers))


def ignoring(pacticipant: str, days: int) -> dict[str, Any]:
    return {"ignore": [{"pacticipant": pacticipant, "until": (TODAY + timedelta(days=days)).isoformat()}]}


def contract(state: Any = "Owed", version: str = "2.0.0", sha: str = "a1", **more: Any) -> ContractStatus:
    return ContractStatus(consumer="web", provider_version=version, content_sha=sha, state=state, **more)


def test_every_contract_that_holds_lets_it_pass() -> None:
    decision = asked(USERS, matrix(row(), row(consumer="mobile")))
    assert (decision.verdict, decision.reason, decision.allowed) == (Verdict.ALLOWED, Reason.ALLOWED, True)
    assert decision.message == "users 2.0.0 keeps all 2 contracts in production."
    assert not decision.retry


def test_a_broken_contract_is_named_with_its_mismatch() -> None:
    broken = row(False)
    facts = GateFacts(USERS, matrix(row(consumer="mobile"), broken, row(None, "batch")), GateSpec(), NOW)
    decision = decide(replace(facts, mismatches={broken.result_url: "body $.email is missing"}))
    assert (decision.verdict, decision.reason) == (Verdict.BROKEN, Reason.CONTRACT_BROKEN)
    assert decision.message == "web 7 in production: body $.email is missing"
    assert not decision.allowed
    assert not decision.retry, "waiting does not mend it"
    assert [c.state for c in decision.contracts] == ["Failed", "Missing", "Verified"]
    assert decision.condition().status == "False"


def test_the_pactprovider_tells_a_mismatch_better_than_the_broker() -> None:
    told = Verifier("users", "users", contracts=(contract("Failed", message="a user: $.email is missing"),))
    facts = GateFacts(USERS, matrix(row(False)), GateSpec(), NOW, verifiers=(told,), mismatches={"http://b/web": "x"})
    assert decide(facts).message == "web 7 in production: a user: $.email is missing"
    other = Verifier("users", "users", contracts=(contract("Failed", sha="b2", message="of another content"),))
    assert decide(replace(facts, verifiers=(other,))).message == "web 7 in production: x"


def test_a_pair_that_is_told_of_twice_is_as_good_as_its_worst() -> None:
    for rows in ((row(), row(False)), (row(False), row())):
        decision = asked(USERS, matrix(*rows))
        assert (decision.verdict, len(decision.contracts)) == (Verdict.BROKEN, 1)


@pytest.mark.parametrize(
    ("verifier", "state", "message"),
    [
        (
            Verifier("u", "users", ("2.0.0",), contracts=(contract("Running", message="At work."),)),
            "Running",
            "At work.",
        ),
        (
            Verifier(
                "u", "users", ("2.0.0",), contracts=(contract("Blocked", reason="ImagePullFailed", message="No."),)
            ),
            "Blocked",
            "ImagePullFailed: No.",
        ),
        (Verifier("u", "users", ("2.0.0",)), "Missing", "has no contract of web in the scope of its selectors"),
        (
            Verifier("u", "users", ("2.0.0",), contracts=(contract("Verified", sha="b2"),)),
            "Missing",
            "has verified other contents of web",
        ),
        (Verifier("u", "users", ("1.0.0",), asked=("2.0.0",), any_version=True), "Owed", "is about to look at it"),
        (Verifier("u", "users", ("1.0.0",), any_version=True), "Missing", "does not look after 2.0.0 yet"),
        (Verifier("u", "users", ("1.0.0",)), "Missing", "verifies only the version that runs"),
        (None, "Missing", "no PactProvider of this namespace verifies users"),
    ],
)
def test_why_a_result_is_missing_is_told_as_far_as_it_is_known(
    verifier: Verifier | None, state: str, message: str
) -> None:
    decision = asked(USERS, matrix(row(None)), *([verifier] if verifier else []))
    assert (decision.verdict, decision.reason) == (Verdict.PENDING, Reason.VERIFICATION_PENDING)
    assert message in decision.message
    assert [c.state for c in decision.contracts] == [state]
    assert not decision.allowed
    assert decision.retry
    assert decision.condition().status == "Unknown"


def test_a_yes_without_rows_is_no_yes() -> None:
    decision = asked(USERS, matrix())
    assert (decision.verdict, decision.allowed) == (Verdict.NOTHING_TO_CHECK, False)
    assert decision.condition().status == "Unknown"
    allowed = asked(USERS, matrix(), whenNothingToCheck="Allow")
    assert (allowed.verdict, allowed.allowed) == (Verdict.NOTHING_TO_CHECK, True)
    assert "whenNothingToCheck" in allowed.message
    assert not allowed.retry, "there is nothing to wait for"
    assert allowed.condition().status == "True"


def test_a_deployed_version_that_another_one_hides_needs_a_result_of_its_own() -> None:
    hidden = asked(WEB, matrix(needs("1.0.0"), there={"users": ("1.0.0", "1.1.0")}, deployable=True))
    assert (hidden.verdict, hidden.reason) == (Verdict.PENDING, Reason.VERIFICATION_PENDING)
    assert hidden.message.startswith("users 1.1.0 in production has no result yet")
    shown = asked(WEB, matrix(needs("1.0.0"), needs("1.1.0"), there={"users": ("1.0.0", "1.1.0")}))
    assert shown.verdict is Verdict.ALLOWED


def test_a_provider_that_is_not_there_has_to_go_first() -> None:
    decision = asked(WEB, matrix(needs(None, None), there={"other": ("1",)}))
    assert (decision.verdict, decision.reason) == (Verdict.PENDING, Reason.COUNTERPART_NOT_DEPLOYED)
    assert decision.message == "users is neither deployed nor released in production."
    assert decision.contracts[0].provider_version is None
    assert decision.condition().status == "False"


def test_a_provider_that_is_there_and_has_no_result_is_waited_for() -> None:
    decision = asked(WEB, matrix(needs(None, None), there={"users": ("1.0.0",)}))
    assert decision.reason is Reason.VERIFICATION_PENDING
    assert "users 1.0.0 in production" in decision.message


def test_a_consumer_in_the_environment_without_a_contract_is_no_concern() -> None:
    decision = asked(USERS, matrix(row(), there={"web": ("7", "8"), "users": ("1.0.0",)}))
    assert decision.verdict is Verdict.ALLOWED


UNKNOWN = Matrix(False, "No pacts or verifications have been published for version 2.0.0 of users")


@pytest.mark.parametrize("answer", [UNKNOWN, replace(UNKNOWN, rows=(row(None),))])
def test_a_version_that_the_broker_does_not_know_cannot_be_told(answer: Matrix) -> None:
    decision = asked(USERS, answer)
    assert (decision.verdict, decision.reason) == (Verdict.CANNOT_TELL, Reason.VERSION_NOT_IN_BROKER)
    assert "does not know users 2.0.0" in decision.message
    assert not decision.allowed
    assert decision.condition().status == "Unknown"
    hint = asked(USERS, answer, Verifier("u", "users", ("1.0.0",), any_version=True))
    assert "verify=true" in hint.next_step


def test_an_unknown_version_that_is_being_verified_is_pending() -> None:
    unknown = replace(UNKNOWN, rows=(row(None),))
    looked_after = Verifier("u", "users", ("2.0.0",), contracts=(contract("Running", message="At work."),))
    assert asked(USERS, unknown, looked_after).verdict is Verdict.PENDING
    assert asked(USERS, UNKNOWN, Verifier("u", "users", asked=("2.0.0",))).verdict is Verdict.PENDING


def test_an_unknown_version_that_no_contract_concerns_is_nothing_to_check_unless_it_may_have_pacts_of_its_own() -> None:
    """The first version of a provider that nobody consumes: no verification will ever tell the broker of it."""
    looked_after = Verifier("u", "users", ("2.0.0",))
    assert asked(USERS, UNKNOWN, looked_after).verdict is Verdict.NOTHING_TO_CHECK
    facts = GateFacts(USERS, UNKNOWN, GateSpec(), NOW, verifiers=(looked_after,), publishes=True)
    assert decide(facts).reason is Reason.VERSION_NOT_IN_BROKER


def test_what_the_broker_objects_to_without_a_row_is_an_objection() -> None:
    decision = asked(USERS, matrix(row(), deployable=None, reason="There is no verified pact with X"))
    assert (decision.verdict, decision.message) == (Verdict.PENDING, "There is no verified pact with X")


def test_a_broker_that_does_not_answer_closes_the_gate_unless_it_is_told_otherwise() -> None:
    down = Obstacle(Reason.BROKER_UNAVAILABLE, "The broker is down.")
    closed = asked(USERS, down, whenNothingToCheck="Allow")
    assert (closed.verdict, closed.reason, closed.allowed) == (Verdict.CANNOT_TELL, Reason.BROKER_UNAVAILABLE, False)
    assert closed.retry
    assert asked(USERS, down, whenCannotTell="Allow").allowed


def test_what_is_ignored_does_not_count_until_its_day_is_over() -> None:
    answer = matrix(row(False), row(consumer="mobile"))
    for days, allowed in ((-1, False), (0, True), (3, True)):
        decision = asked(USERS, answer, **ignoring("web", days))
        # The broker was told to ignore it, too.
        told = asked(USERS, replace(answer, deployable=True), **ignoring("web", days))
        assert told.allowed is allowed
        assert decision.verdict is (Verdict.PENDING if allowed else Verdict.BROKEN)
        assert [c.ignored for c in told.contracts if c.consumer == "web"] == [allowed]
        assert [c.consumer for c in told.contracts] == (["mobile", "web"] if allowed else ["web", "mobile"])


def test_ignoring_the_only_contract_lets_pass_and_says_so() -> None:
    decision = asked(USERS, matrix(row(False), deployable=True), **ignoring("web", 0))
    assert decision.verdict is Verdict.ALLOWED
    assert decision.message == "The one contract of users 2.0.0 in production is ignored."


@pytest.mark.parametrize("day", ["2026-02-31", "9999-12-31", "0000-00-00", "2027-13-01"])
def test_a_day_that_does_not_exist_ignores_nothing(day: str) -> None:
    policy = {"ignore": [{"pacticipant": "web", "until": day}]}
    expected = Verdict.BROKEN
    assert asked(USERS, matrix(row(False), deployable=True), **policy).verdict is expected


def test_when_ignoring_ends_is_known_so_that_somebody_looks_then() -> None:
    midnight = datetime.combine(TODAY + timedelta(days=1), datetime.min.time(), UTC).timestamp()
    policy = GateSpec.model_validate(ignoring("web", 0))
    assert ignoring_ends_in(policy, NOW) == midnight - NOW
    assert ignoring_ends_in(policy, midnight) is None
    assert ignoring_ends_in(GateSpec(), NOW) is None


def test_shadow_lets_pass_and_says_what_it_would_have_said() -> None:
    decision = asked(USERS, matrix(row(False)), mode="Shadow")
    assert (decision.verdict, decision.allowed, decision.shadow, decision.granted) == (
        Verdict.BROKEN,
        True,
        True,
        False,
    )
    assert decision.message.startswith("Let pass in Shadow mode, else refused: web 7 in production")
    assert decision.as_json()["allowed"] is True
    assert not decision.retry


def test_the_answer_in_json() -> None:
    told = asked(USERS, matrix(row(False))).as_json()
    assert told == {
        "allowed": False,
        "verdict": "Broken",
        "reason": "ContractBroken",
        "shadow": False,
        "message": "web 7 in production: see the result in the broker",
        "nextStep": told["nextStep"],
        "retry": False,
        "pacticipant": "users",
        "version": "2.0.0",
        "environment": "production",
        "contracts": [
            {
                "consumer": "web",
                "consumerVersion": "7",
                "provider": "users",
                "providerVersion": "2.0.0",
                "state": "Failed",
                "ignored": False,
                "message": "",
            }
        ],
    }


# --- whatever the facts are -------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["users", "web", "mobile"])
VERSIONS = st.sampled_from(["1", "2", "7"])
ROWS = st.builds(
    GateRow,
    consumer=NAMES,
    consumer_version=VERSIONS,
    provider=NAMES,
    provider_version=st.none() | VERSIONS,
    success=st.none() | st.booleans(),
    content_sha=st.sampled_from(["a1", "b2"]),
)
MATRICES = st.builds(
    Matrix,
    deployable=st.none() | st.booleans(),
    reason=st.text(max_size=20),
    rows=st.lists(ROWS, max_size=6).map(tuple),
    in_environment=st.none() | st.dictionaries(NAMES, st.lists(VERSIONS, max_size=3).map(tuple), max_size=3),
)
GOOD = st.sampled_from([True, True, True, True, False, None])
LIKELY_ROWS = st.builds(
    GateRow,
    consumer=st.sampled_from(["web", "mobile"]),
    consumer_version=VERSIONS,
    provider=st.just("users"),
    provider_version=st.just("2"),
    success=GOOD,
) | st.builds(
    GateRow,
    consumer=st.just("users"),
    consumer_version=st.just("2"),
    provider=st.sampled_from(["web", "mobile"]),
    provider_version=VERSIONS,
    success=GOOD,
)
"""Of `users 2`, most of which hold: what it takes to be allowed is seldom met by chance."""
LIKELY = st.builds(
    Matrix,
    deployable=st.sampled_from([True, True, None]),
    rows=st.lists(LIKELY_ROWS, min_size=1, max_size=4).map(tuple),
    in_environment=st.dictionaries(NAMES, st.lists(VERSIONS, max_size=2).map(tuple), max_size=2),
)
OBSTACLES = st.builds(Obstacle, reason=st.sampled_from(Reason), message=st.text(max_size=20))
DAYS = st.integers(-2, 2).map(lambda days: (TODAY + timedelta(days=days)).isoformat()) | st.just("2026-02-31")
POLICIES = st.builds(
    GateSpec,
    mode=st.sampled_from(["Enforce", "Shadow"]),
    when_nothing_to_check=st.sampled_from(["Deny", "Allow"]),
    when_cannot_tell=st.sampled_from(["Deny", "Allow"]),
    ignore=st.lists(st.fixed_dictionaries({"pacticipant": NAMES, "until": DAYS}), max_size=2),
)
CONTRACTS = st.builds(
    ContractStatus,
    consumer=NAMES,
    provider_version=VERSIONS,
    content_sha=st.sampled_from(["a1", "b2"]),
    state=st.sampled_from(["Owed", "Running", "Verified", "Failed", "PendingFailed", "Blocked"]),
    reason=st.sampled_from(["Running", "Invented", ""]),
    message=st.text(max_size=10),
)
VERIFIERS = st.builds(
    Verifier,
    name=NAMES,
    pacticipant=NAMES,
    versions=st.lists(VERSIONS, max_size=2).map(tuple),
    asked=st.lists(VERSIONS, max_size=2).map(tuple),
    any_version=st.booleans(),
    contracts=st.lists(CONTRACTS, max_size=3).map(tuple),
)
FACTS = st.builds(
    GateFacts,
    question=st.builds(Question, NAMES, VERSIONS, st.just("production")),
    matrix=MATRICES | OBSTACLES,
    policy=POLICIES,
    now=st.integers(-3, 3).map(lambda days: NOW + days * 86400.0),
    verifiers=st.lists(VERIFIERS, max_size=2).map(tuple),
    publishes=st.booleans(),
)

LIKELY_FACTS = st.builds(
    GateFacts,
    question=st.just(Question("users", "2", "production")),
    matrix=LIKELY,
    policy=POLICIES,
    now=st.just(NOW),
)


def ignored(facts: GateFacts) -> set[str]:
    day = datetime.fromtimestamp(facts.now, UTC).date().isoformat()
    return {entry.pacticipant for entry in facts.policy.ignore if entry.until >= day and entry.until != "2026-02-31"}


@given(FACTS | LIKELY_FACTS)
def test_it_is_allowed_only_if_each_deployed_counterpart_has_a_row_that_holds(facts: GateFacts) -> None:
    decision = decide(facts)
    if decision.verdict is not Verdict.ALLOWED:
        return
    assert isinstance(facts.matrix, Matrix)
    assert facts.matrix.deployable is True
    question, off = facts.question, ignored(facts)
    assert decision.contracts
    for one in facts.matrix.rows:
        if one.provider == question.pacticipant:
            assert one.success or one.consumer in off
        elif one.consumer == question.pacticipant and one.provider not in off:
            assert one.success or one.provider_version is None
            for version in (facts.matrix.in_environment or {}).get(one.provider, ()):
                held = [
                    other.success
                    for other in facts.matrix.rows
                    if (other.provider, other.provider_version, other.consumer)
                    == (one.provider, version, question.pacticipant)
                ]
                assert held
                assert all(held)


@given(FACTS | LIKELY_FACTS)
def test_a_broken_contract_is_broken_whatever_else_is_missing(facts: GateFacts) -> None:
    decision = decide(facts)
    failed = [c for c in decision.contracts if c.state == "Failed" and not c.ignored]
    assert (decision.verdict is Verdict.BROKEN) == bool(failed)


@given(FACTS)
def test_shadow_changes_no_verdict(facts: GateFacts) -> None:
    shadow = decide(replace(facts, policy=facts.policy.model_copy(update={"mode": "Shadow"})))
    enforced = decide(replace(facts, policy=facts.policy.model_copy(update={"mode": "Enforce"})))
    assert (shadow.verdict, shadow.reason, shadow.granted) == (enforced.verdict, enforced.reason, enforced.granted)
    assert shadow.contracts == enforced.contracts
    assert shadow.allowed
    assert not enforced.shadow
    assert enforced.allowed == enforced.granted


@given(FACTS)
def test_ignoring_ends(facts: GateFacts) -> None:
    """A week later nothing is ignored any more: the answer is that without the list."""
    later = replace(facts, now=facts.now + 7 * 86400)
    assert decide(later) == decide(replace(later, policy=facts.policy.model_copy(update={"ignore": []})))


@given(FACTS)
def test_there_always_is_an_answer_that_can_be_shown(facts: GateFacts) -> None:
    decision = decide(facts)
    assert decision.message or isinstance(facts.matrix, Obstacle)
    assert decision.next_step
    assert decision.message.isprintable()
    cond = decision.condition()
    assert (cond.status == "True") == decision.allowed
    if not decision.allowed and facts.policy.mode == "Enforce":
        assert decision.verdict is not Verdict.ALLOWED
    keys = [(c.consumer, c.consumer_version, c.provider, c.provider_version) for c in decision.contracts]
    assert len(keys) == len(set(keys)), "a contract is listed once"
