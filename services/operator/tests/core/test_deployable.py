"""The condition `Deployable`, and versions that are verified before they are rolled out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pact_operator.api import names
from pact_operator.api.reasons import Reason
from pact_operator.api.v1alpha1 import GateSpec, PactConsumer, PactProvider
from pact_operator.core.actions import CreateVerification, DeleteVerification, Look, Plan
from pact_operator.core.facts import (
    ConsumerFacts,
    Failure,
    GateFacts,
    GateRow,
    JobFacts,
    Key,
    Matrix,
    Obstacle,
    ProviderFacts,
    Question,
    Trouble,
    Verifier,
    VersionFacts,
)
from pact_operator.core.plan import plan_consumer, plan_provider
from services.operator.tests.core.worlds import (
    NOW,
    SETTINGS,
    broken,
    broker,
    condition,
    consumer,
    contract,
    passed,
    provider,
    results,
)

PRODUCTION = {"environment": {"name": "production"}}
WEB = Key(names.CONSUMER, "team", "web")
HOUR = 3600.0


def gate(success: bool | None = True, pacticipant: str = "users", version: str = "1.0.0", **policy: Any) -> GateFacts:
    """`web 7` is in production; what the broker holds of it and `users 1.0.0`."""
    row = GateRow("web", "7", "users", None if success is None else "1.0.0", success, "a1")
    answer = Matrix(success, "", (row,), {"users": ("1.0.0",)})
    question = Question(pacticipant, version, "production")
    return GateFacts(question, answer, GateSpec.model_validate(policy), NOW, verifiers=(Verifier("users", "users"),))


def facts(*versions: VersionFacts, **more: Any) -> ProviderFacts:
    given = {"provider": provider(), "broker": broker(**PRODUCTION), "workload": None, "verifications": (), "now": NOW}
    answer = versions or (VersionFacts("1.0.0", (contract(),), results(passed())),)
    return ProviderFacts(**{**given, "versions": answer, "gate": gate(), "consumers": (("web", WEB),), **more})


def candidate(version: str = "2.0.0", given: Any = None) -> VersionFacts:
    return VersionFacts(version, (contract(),), given or {}, current=False, candidate_until=NOW + HOUR)


CURRENT = VersionFacts("1.0.0", (contract(),), results(passed()))


def after(facts: ProviderFacts, plan: Plan) -> ProviderFacts:
    """The facts of the next look, the status as it was written."""
    given = facts.provider.model_dump(by_alias=True, exclude_none=True)
    return replace(facts, provider=PactProvider.model_validate({**given, "status": plan.status}))


@pytest.mark.parametrize(
    ("success", "status", "reason"),
    [(True, "True", "Allowed"), (False, "False", "ContractBroken"), (None, "Unknown", "VerificationPending")],
)
def test_a_provider_says_whether_its_version_is_deployable_and_no_event_does(
    success: bool | None, status: str, reason: str
) -> None:
    plan = plan_provider(facts(gate=gate(success)))
    assert plan.status is not None
    told = condition(plan.status, "Deployable")
    assert (told["status"], told["reason"], told["observedGeneration"]) == (status, reason, 1)
    assert [event.reason for event in plan.events] == ["AllVerified"]
    again = plan_provider(after(facts(gate=gate(success)), plan))
    assert (again.status, again.events) == (plan.status, ())


def test_without_an_environment_there_is_no_such_condition() -> None:
    was = plan_provider(facts())
    plan = plan_provider(after(facts(gate=None), was))
    assert plan.status is not None
    assert [c["type"] for c in plan.status["conditions"]] == ["Ready", "Synced"]


def test_this_looks_own_rows_say_why_a_result_is_missing() -> None:
    """The last status would be one look behind, and each look would write another message."""
    owed = facts(VersionFacts("1.0.0", (contract(),), {}), gate=gate(None))
    plan = plan_provider(owed)
    assert plan.status is not None
    assert "No verification has started yet" in condition(plan.status, "Deployable")["message"]


def test_a_broker_that_is_away_is_no_reason_to_say_that_it_is_broken() -> None:
    down = Failure(Trouble.UNAVAILABLE, "The broker is down.")
    obstacle = Obstacle(Reason.BROKER_UNAVAILABLE, down.message)
    plan = plan_provider(replace(facts(), versions=down, gate=replace(gate(), matrix=obstacle)))
    assert plan.status is not None
    told = condition(plan.status, "Deployable")
    assert (told["status"], told["reason"]) == ("Unknown", "BrokerUnavailable")


def test_somebody_looks_again_when_ignoring_ends() -> None:
    today = datetime.fromtimestamp(NOW, UTC).date()
    midnight = datetime.combine(today + timedelta(days=1), datetime.min.time(), UTC).timestamp()
    policy: dict[str, Any] = {"ignore": [{"pacticipant": "web", "until": today.isoformat()}]}
    assert plan_provider(facts(gate=gate(False, **policy))).requeue_after == midnight - NOW
    web = ConsumerFacts(consumer(), broker(**PRODUCTION), None, {}, {}, SETTINGS, NOW, gate=gate(**policy))
    assert plan_consumer(replace(web, consumer=consumer(suspend=True))).requeue_after == midnight - NOW


def test_consumers_hear_of_what_has_changed_for_them_once() -> None:
    plan = plan_provider(facts())
    assert plan.actions == (Look(WEB),)
    assert plan_provider(after(facts(), plan)).actions == ()
    worse = facts(VersionFacts("1.0.0", (contract(),), results(broken())))
    assert plan_provider(after(worse, plan)).actions == (Look(WEB),)
    others = facts(VersionFacts("1.0.0", (contract("mobile"),), results(passed("mobile"))), consumers=(("x", WEB),))
    assert plan_provider(others).actions == ()


# --- candidates


def test_a_candidate_is_verified_and_shown_as_one() -> None:
    plan = plan_provider(facts(CURRENT, candidate()))
    [create] = [action for action in plan.actions if isinstance(action, CreateVerification)]
    assert create.manifest["spec"]["providerVersion"] == "2.0.0"
    assert plan.status is not None
    assert plan.status["candidates"] == [{"version": "2.0.0", "until": "2027-01-15T09:00:00Z"}]
    assert [(c["providerVersion"], c["state"]) for c in plan.status["contracts"]] == [
        ("1.0.0", "Verified"),
        ("2.0.0", "Owed"),
    ]
    assert plan.requeue_after == HOUR, "then it is over"


@pytest.mark.parametrize("given", [{}, results(passed()), results(broken())])
def test_what_becomes_of_a_candidate_is_not_what_becomes_of_the_version_that_runs(given: Any) -> None:
    plan = plan_provider(facts(CURRENT, candidate(given=given)))
    assert plan.status is not None
    ready, deployable = condition(plan.status, "Ready"), condition(plan.status, "Deployable")
    assert (ready["status"], ready["reason"]) == ("True", "AllVerified")
    assert deployable["status"] == "True"
    assert [plan.status[count] for count in ("verified", "owed", "failed")] == [1, 0, 0]
    assert "actor" not in plan.status
    assert [event.reason for event in plan.events] == ["AllVerified"]


def test_the_version_that_runs_has_the_first_place() -> None:
    owed = VersionFacts("1.0.0", (contract(),), {})
    plan = plan_provider(facts(owed, candidate(), gate=gate(None)))
    [create] = [action for action in plan.actions if isinstance(action, CreateVerification)]
    assert create.manifest["spec"]["providerVersion"] == "1.0.0"


def test_the_run_of_a_candidate_that_is_over_is_ended() -> None:
    asked = facts(CURRENT, candidate())
    plan = plan_provider(asked)
    [create] = [action for action in plan.actions if isinstance(action, CreateVerification)]
    from pact_operator.api.v1alpha1 import PactVerification

    run = PactVerification.model_validate({**create.manifest, "status": {}})
    over = replace(after(asked, plan), versions=(CURRENT,), verifications=(run,))
    ended = plan_provider(over)
    assert DeleteVerification(run.metadata.name) in ended.actions
    assert ended.status is not None
    assert "candidates" not in ended.status


# --- consumers


def web(status: Any = None, **more: Any) -> ConsumerFacts:
    given = consumer().model_dump(by_alias=True, exclude_none=True)
    asked = gate(pacticipant="web", version="7")
    base = ConsumerFacts(
        PactConsumer.model_validate({**given, "status": status or {}}),
        broker(**PRODUCTION),
        None,
        {},
        {},
        SETTINGS,
        NOW,
        gate=asked,
    )
    return replace(base, **more)


def test_a_consumer_says_so_too_whatever_its_tests_are_at() -> None:
    plan = plan_consumer(web())
    assert plan.status is not None
    assert condition(plan.status, "Ready")["reason"] == "TestsRunning"
    assert condition(plan.status, "Deployable")["status"] == "True"
    assert plan.events == ()
    name = plan.status["run"]["jobName"]
    again = plan_consumer(web(plan.status, jobs={name: JobFacts(name, "uid-job", "uid-web")}))
    assert again.status is not None
    assert again.status["conditions"][-1] == plan.status["conditions"][-1]


def test_a_consumer_that_waits_for_its_next_try_says_so_too() -> None:
    first = plan_consumer(web())
    assert first.status is not None
    stuck = {
        **first.status,
        "run": {**first.status["run"], "finishedAt": "2027-01-15T07:59:59Z"},
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "JobFailed", "lastTransitionTime": "2027-01-15T07:00:00Z"},
        ],
    }
    plan = plan_consumer(web(stuck))
    assert plan.requeue_after is not None
    assert plan.status is not None
    assert [c["type"] for c in plan.status["conditions"]] == ["Ready", "Deployable"]
    assert plan_consumer(web(plan.status)).status == plan.status


def test_a_broken_contract_is_what_a_published_consumer_needs_next() -> None:
    first = plan_consumer(web())
    assert first.status is not None
    published = {
        **first.status,
        "run": {**first.status["run"], "finishedAt": "2027-01-15T07:59:59Z"},
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Published", "lastTransitionTime": "2027-01-15T07:00:00Z"},
        ],
    }
    plan = plan_consumer(web(published, gate=gate(False, "web", "7")))
    assert plan.status is not None
    assert (condition(plan.status, "Deployable")["status"], plan.status["actor"]) == ("False", "the provider's team")
    better = plan_consumer(web(plan.status))
    assert better.status is not None
    assert "actor" not in better.status
    none = plan_consumer(web(plan.status, gate=None))
    assert none.status is not None
    assert [c["type"] for c in none.status["conditions"]] == ["Ready"]
    assert "actor" not in none.status
