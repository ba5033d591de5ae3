"""A broker is reached, set up as the object says, and left as it was found."""

from dataclasses import replace
from typing import Any

import pytest

from pact_operator.api import names
from pact_operator.api.v1alpha1 import PactBroker
from pact_operator.core.actions import DeleteWebhook, EnsureEnvironment, PutWebhook, SetFinalizers
from pact_operator.core.facts import BrokerFacts, Failure, Trouble
from pact_operator.core.plan import plan_broker
from pact_operator.core.plan_broker import GIVE_UP_SECONDS, definition, webhook_uuid
from pact_operator.core.times import rfc3339
from services.operator.tests.core.worlds import NOW, SETTINGS, broker, condition, meta

DOWN = Failure(Trouble.UNAVAILABLE, "http://broker:9292 does not answer.")


def facts(given: PactBroker, **more: Any) -> BrokerFacts:
    return BrokerFacts(**{"broker": given, "check": None, "settings": SETTINGS, "now": NOW, **more})


def hooked(**metadata: Any) -> PactBroker:
    return PactBroker.model_validate(
        {
            "metadata": meta("broker", finalizers=[names.FINALIZER_WEBHOOK], **metadata),
            "spec": {"url": "http://broker:9292", "webhook": {"enabled": True}},
        }
    )


UUID = webhook_uuid("uid-broker")


def test_a_plain_broker_needs_nothing_and_is_looked_at_again() -> None:
    plan = plan_broker(facts(broker(pollInterval="5m")))
    assert plan.actions == ()
    assert plan.requeue_after == 300
    assert condition(plan.status, "Ready")["status"] == "True"
    assert condition(plan.status, "WebhookRegistered")["reason"] == "Disabled"


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Trouble.UNAVAILABLE, "BrokerUnavailable"),
        (Trouble.UNAUTHORIZED, "BrokerUnauthorized"),
        (Trouble.NO_CREDENTIALS, "CredentialsNotFound"),
        (Trouble.NOT_A_BROKER, "NotABroker"),
    ],
)
def test_a_broker_out_of_reach_says_why_and_is_asked_again(trouble: Trouble, reason: str) -> None:
    plan = plan_broker(facts(broker(), check=Failure(trouble, "words")))
    ready = condition(plan.status, "Ready")
    assert (ready["status"], ready["reason"], ready["message"]) == ("False", reason, "words")
    assert plan.requeue_after == 2


@pytest.mark.parametrize(("away_for", "again_in"), [(0, 2), (1, 2), (7, 7), (29, 29), (3600, 30)])
def test_a_broker_that_stays_away_is_asked_ever_more_seldom(away_for: float, again_in: float) -> None:
    down = {
        "type": "Ready",
        "status": "False",
        "reason": "BrokerUnavailable",
        "lastTransitionTime": rfc3339(NOW - away_for),
    }
    away = PactBroker.model_validate(
        {"metadata": meta("broker"), "spec": {"url": "http://broker:9292"}, "status": {"conditions": [down]}}
    )
    assert plan_broker(facts(away, check=DOWN)).requeue_after == again_in


def test_the_environment_is_made_once() -> None:
    given = broker(environment={"name": "staging"})
    assert plan_broker(facts(given)).actions == (EnsureEnvironment("staging", None, False),)
    assert plan_broker(facts(given, environments=frozenset({"staging"}))).actions == ()
    refused = plan_broker(facts(given, failed={"EnsureEnvironment": Failure(Trouble.UNAUTHORIZED, "401")}))
    assert condition(refused.status, "Ready")["reason"] == "BrokerUnauthorized"


def test_a_webhook_is_never_put_before_the_finalizer_that_removes_it() -> None:
    plan = plan_broker(facts(broker(webhook={"enabled": True})))
    assert plan.actions == (SetFinalizers((names.FINALIZER_WEBHOOK,)),)
    [put] = plan_broker(facts(hooked())).actions
    assert isinstance(put, PutWebhook)
    assert put.uuid == UUID
    assert len(put.uuid) >= 16
    assert put.definition["request"]["url"] == "http://pact-operator.pact-system.svc:8080/hooks/team/broker"
    registered = plan_broker(facts(hooked(), webhook=definition(facts(hooked()))))
    assert registered.actions == ()
    assert condition(registered.status, "WebhookRegistered")["status"] == "True"


@pytest.mark.parametrize(
    "change",
    [
        {"description": "somebody else's"},
        {"enabled": False},
        {"events": [{"name": "contract_published"}]},
        {"request": {"method": "POST", "url": "http://elsewhere/"}},
    ],
)
def test_a_webhook_that_somebody_changed_is_put_right(change: dict[str, Any]) -> None:
    held = {**definition(facts(hooked())), **change}
    assert [type(action) for action in plan_broker(facts(hooked(), webhook=held)).actions] == [PutWebhook]


def test_a_new_token_is_registered() -> None:
    held = definition(facts(hooked()))
    rotated = facts(hooked(), webhook=held, settings=replace(SETTINGS, hook_token_digest="ffffffffffff"))
    assert [type(action) for action in plan_broker(rotated).actions] == [PutWebhook]


def test_a_refused_webhook_is_a_condition() -> None:
    plan = plan_broker(facts(hooked(), failed={"PutWebhook": Failure(Trouble.REFUSED, "scheme must be https")}))
    told = condition(plan.status, "WebhookRegistered")
    assert (told["status"], told["reason"], told["message"]) == ("False", "WebhookRefused", "scheme must be https")
    assert condition(plan.status, "Ready")["status"] == "True"


def test_switching_the_webhook_off_removes_it_and_then_the_finalizer() -> None:
    off = hooked().model_copy(update={"spec": broker().spec})
    assert plan_broker(facts(off, webhook={})).actions == (DeleteWebhook(UUID),)
    assert plan_broker(facts(off)).actions == (SetFinalizers(()),)


def test_deletion_removes_the_webhook_first() -> None:
    leaving = hooked(deletionTimestamp=rfc3339(NOW))
    assert plan_broker(facts(leaving, webhook={})).actions == (DeleteWebhook(UUID),)
    assert plan_broker(facts(leaving)).actions == (SetFinalizers(()),)


def test_deletion_does_not_wait_for_ever_for_a_broker_that_is_gone() -> None:
    leaving = hooked(deletionTimestamp=rfc3339(NOW))
    assert plan_broker(facts(leaving, check=DOWN)).actions == ()
    assert plan_broker(facts(leaving, check=DOWN)).requeue_after is not None
    late = plan_broker(facts(leaving, check=DOWN, now=NOW + GIVE_UP_SECONDS + 1))
    assert late.actions == (SetFinalizers(()),)
    [told] = late.events
    assert told.reason == "WebhookLeftBehind"
    assert UUID in told.message, "whoever removes it by hand has to find it"
    assert DOWN.message in told.message, "it may be the credentials that are gone, not the broker"
