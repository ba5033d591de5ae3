"""The main branch as code: made where there is none, left alone where somebody set one."""

from typing import Any

import pytest

from pact_operator.core.actions import CreateJob, CreateVerification, EnsureMainBranch, Plan
from pact_operator.core.facts import ConsumerFacts, Failure, ProviderFacts, Trouble, VersionFacts
from pact_operator.core.plan import plan_consumer, plan_provider
from services.operator.tests.core.worlds import (
    NOW,
    SETTINGS,
    broker,
    condition,
    consumer,
    contract,
    passed,
    provider,
    results,
)

DOWN = Failure(Trouble.UNAVAILABLE, "http://broker:9292 does not answer.")


def of_provider(wanted: str | None = "trunk", **more: Any) -> Plan:
    versions = (VersionFacts("1.0.0", (contract(),), {}),)
    given = {"provider": provider(mainBranch=wanted), "broker": broker(), "workload": None, "versions": versions}
    return plan_provider(ProviderFacts(**{**given, "verifications": (), "now": NOW, **more}))


def of_consumer(wanted: str | None = "trunk", **more: Any) -> Plan:
    given: dict[str, Any] = {
        "consumer": consumer(mainBranch=wanted),
        "broker": broker(),
        "workload": None,
        "jobs": {},
        "pods": {},
    }
    return plan_consumer(ConsumerFacts(**{**given, "settings": SETTINGS, "now": NOW, **more}))


BOTH = pytest.mark.parametrize(
    ("plan", "name", "work"), [(of_provider, "users", CreateVerification), (of_consumer, "web", CreateJob)]
)


@BOTH
def test_a_missing_one_is_set_before_anything_is_published(plan: Any, name: str, work: type) -> None:
    made = plan()
    assert made.actions[0] == EnsureMainBranch(name, "trunk")
    assert isinstance(made.actions[1], work)
    told = condition(made.status, "MainBranchSet")
    assert (told["status"], told["reason"]) == ("Unknown", "Registering")
    assert made.requeue_after == 1, "what was written is looked at, not believed"


@BOTH
def test_one_that_is_there_is_only_told(plan: Any, name: str, work: type) -> None:
    made = plan(main_branch="trunk")
    assert [type(action) for action in made.actions] == [work]
    assert condition(made.status, "MainBranchSet")["status"] == "True"


@BOTH
def test_one_that_somebody_set_is_never_overwritten(plan: Any, name: str, work: type) -> None:
    made = plan(main_branch="main")
    assert [type(action) for action in made.actions] == [work]
    told = condition(made.status, "MainBranchSet")
    assert (told["status"], told["reason"]) == ("False", "MainBranchDiffers")
    assert told["message"] == f"The broker has 'main' as the main branch of {name!r}, spec.mainBranch says 'trunk'."
    assert made.status["actor"] == "the platform team"


@BOTH
def test_nobody_who_names_none_is_asked_to_care(plan: Any, name: str, work: type) -> None:
    made = plan(None)
    assert [type(action) for action in made.actions] == [work]
    assert "MainBranchSet" not in {c["type"] for c in made.status["conditions"]}


@BOTH
@pytest.mark.parametrize(
    ("trouble", "reason"), [(Trouble.UNAUTHORIZED, "BrokerUnauthorized"), (Trouble.REFUSED, "InvalidSpec")]
)
def test_a_refusal_is_told_and_holds_up_nothing_else(
    plan: Any, name: str, work: type, trouble: Trouble, reason: str
) -> None:
    made = plan(failed={"EnsureMainBranch": Failure(trouble, "no")})
    assert condition(made.status, "MainBranchSet")["reason"] == reason
    assert work in {type(action) for action in made.actions}


def test_a_question_that_failed_is_asked_again_though_all_else_is_well() -> None:
    held = VersionFacts("1.0.0", (contract(),), results(passed()))
    plan = of_provider(main_branch=DOWN, versions=(held,))
    assert condition(plan.status, "Ready")["status"] == "True"
    assert condition(plan.status, "MainBranchSet")["reason"] == "BrokerUnavailable"
    assert plan.requeue_after is not None


def test_a_broker_that_is_away_is_asked_again_by_a_consumer_that_has_published() -> None:
    first = of_consumer(main_branch="trunk")
    assert first.status is not None
    over = {
        **first.status,
        "run": {**first.status["run"], "finishedAt": "2027-01-15T08:00:00Z"},
        "conditions": [
            {**condition(first.status, "Ready"), "status": "True", "reason": "Published", "message": "done"},
            condition(first.status, "MainBranchSet"),
        ],
    }
    subject = consumer(mainBranch="trunk")
    subject = subject.model_copy(update={"status": type(subject.status).model_validate(over)})
    settled = of_consumer(consumer=subject, main_branch="trunk")
    assert (settled.actions, settled.requeue_after) == ((), None)
    assert settled.status is not None
    assert settled.status["conditions"] == over["conditions"], "nothing to write"
    away = of_consumer(consumer=subject, main_branch=DOWN)
    assert condition(away.status, "MainBranchSet")["reason"] == "BrokerUnavailable"
    assert condition(away.status, "Ready")["reason"] == "Published"
    assert away.requeue_after is not None
    lost = of_consumer(consumer=subject)
    assert lost.actions == (EnsureMainBranch("web", "trunk"),)
