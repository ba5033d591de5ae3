"""Whoever reads a status learns who must act and how, without a page of documentation."""

from typing import Any

import pytest

from pact_operator.api.reasons import ADVICE, Actor, Reason
from pact_operator.core.conditions import Cond, status_of
from pact_operator.core.facts import Failure, ProviderFacts, Trouble, VersionFacts
from pact_operator.core.plan import plan_invalid, plan_provider
from services.operator.tests.core.worlds import NOW, broken, broker, contract, passed, provider, results


def told(reason: Reason, *others: Reason) -> dict[str, Any]:
    conditions = [Cond("Ready", "False", reason, "why"), *(Cond(str(o), "False", o, "why") for o in others)]
    return status_of([], conditions, NOW, 1)


@pytest.mark.parametrize("reason", Reason)
def test_a_status_says_what_the_page_of_reasons_says(reason: Reason) -> None:
    status = told(reason)
    if ADVICE[reason].actor is Actor.NONE:
        assert "actor" not in status
        assert "nextStep" not in status
    else:
        assert (status["actor"], status["nextStep"]) == (ADVICE[reason].actor, ADVICE[reason].next_step)


def test_what_somebody_must_act_on_is_told_before_what_is_well_or_waits() -> None:
    assert told(Reason.REACHABLE, Reason.WEBHOOK_REFUSED)["nextStep"] == ADVICE[Reason.WEBHOOK_REFUSED].next_step
    assert told(Reason.PENDING, Reason.RESULT_MISSING)["actor"] == Actor.PLATFORM
    assert told(Reason.CONTRACT_BROKEN, Reason.RESULT_MISSING)["actor"] == Actor.PROVIDER
    assert "actor" not in told(Reason.REACHABLE, Reason.DISABLED)


def facts(**more: Any) -> ProviderFacts:
    answer = (VersionFacts("1.0.0", (contract(), contract("till", "b2")), results(broken(), passed("till", "b2"))),)
    given = {"provider": provider(), "broker": broker(), "workload": None, "versions": answer, "verifications": ()}
    return ProviderFacts(**{**given, "now": NOW, **more})


def test_each_contract_names_the_side_that_must_act() -> None:
    status = plan_provider(facts()).status
    assert status is not None
    assert [(c["consumer"], c.get("actor")) for c in status["contracts"]] == [
        ("web", "the provider's team"),
        ("till", None),
    ]
    assert status["actor"] == "the provider's team"
    assert status["nextStep"].startswith("Read the mismatch")


def test_advice_of_yesterday_is_not_kept() -> None:
    first = plan_provider(facts())
    stale = provider().model_copy(update={"status": type(provider().status).model_validate(first.status)})
    away = plan_provider(facts(provider=stale, versions=Failure(Trouble.UNAVAILABLE, "down"))).status
    assert away is not None
    assert away["actor"] == "the platform team"
    assert away["contracts"] == first.status["contracts"] if first.status else False
    body = {"kind": "PactProvider", "metadata": {"generation": 2}, "status": away}
    invalid = plan_invalid(body, "spec.target: field required", NOW).status
    assert invalid is not None
    assert invalid["nextStep"] == ADVICE[Reason.INVALID_SPEC].next_step
