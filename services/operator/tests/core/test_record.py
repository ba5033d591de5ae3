"""Recorded: what runs against what the broker holds as deployed."""

from dataclasses import replace
from typing import Any, TypeVar

import pytest

from pact_operator.api import names
from pact_operator.api.reasons import Reason
from pact_operator.api.v1alpha1 import DeploymentStatus, PactConsumer, PactProvider
from pact_operator.core.actions import Action, Look, RecordDeployment, RecordUndeployment
from pact_operator.core.facts import (
    ConsumerFacts,
    Deployed,
    DeploymentFacts,
    Failure,
    Key,
    ProviderFacts,
    Sharer,
    Trouble,
    VersionFacts,
    WorkloadFacts,
)
from pact_operator.core.plan import plan_consumer, plan_provider
from pact_operator.core.record import RecordFacts, Told, recorded
from pact_operator.core.rollout import Rollout
from pact_operator.core.versions import Unresolved
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

Obj = TypeVar("Obj", PactConsumer, PactProvider)

KEY = Key(names.PROVIDER, "team", "users")
DOWN = Failure(Trouble.UNAVAILABLE, "It does not answer.")


def facts(
    *held: str | Deployed,
    version: str | Unresolved = "2",
    rollout: Rollout | None = Rollout.COMPLETE,
    last: str | DeploymentStatus | None = None,
    known: bool | Failure | None = True,
    sharers: tuple[Sharer, ...] = (),
    **more: Any,
) -> RecordFacts:
    """2 has been rolled out; the broker holds `held`; `last` was recorded last."""
    deployed = tuple(Deployed(f"id-{one}", one) if isinstance(one, str) else one for one in held)
    return RecordFacts(
        **{
            "key": KEY,
            "pacticipant": "users",
            "broker": "http://broker",
            "environment": "test",
            "records": True,
            "instance": None,
            "workload": "users",
            "rollout": rollout,
            "version": version,
            "deployment": DeploymentFacts(deployed, known, sharers),
            "now": NOW,
            "last": remembers(last, recording=version if isinstance(version, str) else None)
            if isinstance(last, str)
            else last,
            **more,
        }
    )


def remembers(version: str | None, **more: Any) -> DeploymentStatus:
    return DeploymentStatus(
        **{
            "broker": "http://broker",
            "environment": "test",
            "workload": "users",
            "running": version,
            "recorded": version,
            "recorded_at": "2027-01-15T07:00:00Z",
            **more,
        }
    )


def acts(given: RecordFacts) -> tuple[Action, ...]:
    """What is done, once that it is about to be done is noted in the status."""
    told = recorded(given)
    if not told.actions and told.condition.reason is Reason.RECORDING:
        assert told.again_in is not None
        told = recorded(replace(given, last=told.deployment))
    return told.actions


def says(told: Told) -> tuple[str, str]:
    return told.condition.status, told.condition.reason


def test_a_record_is_noted_before_it_is_made() -> None:
    """Or nobody would take it back, were the operator to end before it could write down what it did."""
    first = recorded(facts("1", last=remembers("1")))
    assert first.actions == ()
    assert says(first) == ("Unknown", "Recording")
    assert (first.deployment.recording, first.deployment.recorded) == ("2", "1")
    cut = recorded(facts("2", last=first.deployment, rollout=None))
    assert cut.actions == (RecordUndeployment("id-2"),), "it was recorded, and then all went before that was noted"
    other = recorded(facts("3", last=first.deployment, rollout=None))
    assert other.actions == ()


def test_a_completed_rollout_is_recorded_and_read_back() -> None:
    told = recorded(facts("1", last="1"))
    assert told.actions == (RecordDeployment("users", "2", "test", None),)
    assert says(told) == ("Unknown", "Recording")
    assert told.again_in == 1.0
    assert (told.deployment.recorded, told.deployment.running, told.deployment.in_broker) == ("2", "2", ["1"])
    after = recorded(facts("2", last=told.deployment))
    assert after.actions == ()
    assert says(after) == ("True", "DeploymentRecorded")
    assert after.condition.message == "2 runs, and the broker holds it as deployed in test."


def test_what_the_broker_holds_already_is_adopted_and_not_written() -> None:
    told = recorded(facts("2", last=None))
    assert told.actions == ()
    assert told.deployment.recorded == "2"
    again = recorded(facts("2", last=told.deployment, now=NOW + 999))
    assert again.deployment == told.deployment


@pytest.mark.parametrize(
    ("rollout", "reason"),
    [(Rollout.PROGRESSING, "RolloutInProgress"), (Rollout.FAILED, "RolloutFailed")],
)
def test_a_rollout_that_has_not_completed_is_never_recorded(rollout: Rollout, reason: str) -> None:
    told = recorded(facts("1", last="1", rollout=rollout))
    assert told.actions == ()
    assert says(told) == ("Unknown", reason)
    assert (told.deployment.recorded, told.deployment.running) == ("1", "1")


@pytest.mark.parametrize("rollout", [Rollout.PROGRESSING, Rollout.FAILED])
def test_scaling_and_pods_that_are_replaced_change_nothing(rollout: Rollout) -> None:
    last = recorded(facts("2")).deployment
    told = recorded(facts("2", last=last, rollout=rollout))
    assert says(told) == ("True", "DeploymentRecorded")
    assert told.deployment == last


def test_a_version_that_the_broker_does_not_know_is_never_recorded() -> None:
    told = recorded(facts("1", last="1", known=False))
    assert told.actions == ()
    assert says(told) == ("False", "VersionNotInBroker")
    assert told.condition.message == ("2 runs, but the broker holds 1 as deployed in test, and does not know 2.")
    assert told.deployment.recorded == "1"


@pytest.mark.parametrize("ready", [Reason.VERIFICATION_PENDING, Reason.TESTS_RUNNING])
def test_a_version_that_is_being_verified_is_waited_for(ready: Reason) -> None:
    told = recorded(facts("1", last="1", known=False, ready=ready))
    assert says(told) == ("Unknown", str(ready))
    assert told.actions == ()


def test_whether_a_version_is_known_may_be_unknown() -> None:
    told = recorded(facts("1", last="1", known=DOWN))
    assert says(told) == ("Unknown", "BrokerUnavailable")
    assert told.actions == ()


def test_a_record_made_by_hand_is_drift_and_not_a_fight() -> None:
    told = recorded(facts("0.9", last="2"))
    assert told.actions == ()
    assert says(told) == ("False", "Drift")
    assert told.condition.message == (
        "2 runs, but the broker holds 0.9 as deployed in test. "
        "Somebody else has recorded that; 2 was recorded before, and is not again unasked."
    )
    assert recorded(facts(last="2")).actions == (), "an undeployment by hand, too"
    again = recorded(facts("0.9", last=told.deployment))
    assert (again.actions, again.deployment) == ((), told.deployment)


def test_the_next_rollout_is_recorded_over_a_record_made_by_hand() -> None:
    told = recorded(facts("0.9", last="2", version="3"))
    assert told.actions == (RecordDeployment("users", "3", "test", None),)


def test_a_rollback_is_recorded() -> None:
    assert recorded(facts("3", last="3")).actions == (RecordDeployment("users", "2", "test", None),)


@pytest.mark.parametrize("rollout", [Rollout.NOTHING, None])
def test_what_was_taken_away_is_recorded(rollout: Rollout | None) -> None:
    told = recorded(facts("2", Deployed("id-blue", "2", "blue"), last="2", rollout=rollout))
    assert told.actions == (RecordUndeployment("id-2"),)
    assert says(told) == ("Unknown", "Recording")
    assert (told.deployment.recorded, told.deployment.running) == (None, None)
    after = recorded(facts(last=told.deployment, rollout=rollout))
    assert after.actions == ()
    assert says(after) == ("True", "NothingDeployed")


@pytest.mark.parametrize("rollout", [Rollout.NOTHING, None])
def test_only_what_was_recorded_or_adopted_is_taken_back(rollout: Rollout | None) -> None:
    told = recorded(facts("0.9", last="2", rollout=rollout))
    assert told.actions == ()
    assert says(told) == ("False", "Drift")
    assert "takes back only what it recorded itself" in told.condition.message


def test_a_deployment_that_never_was_tells_nothing() -> None:
    """Such as one whose name is misspelt, while the real one runs."""
    told = recorded(facts("2", last=remembers("2", workload="users"), workload="usres", rollout=None))
    assert told.actions == ()
    assert says(told) == ("Unknown", "WorkloadNotFound")
    assert told.condition.message == (
        "There is no Deployment 'usres' in this namespace; the broker holds 2 as deployed in test."
    )
    assert told.deployment.workload == "users"
    assert told.deployment.recorded == "2"
    mended = recorded(facts("2", last=told.deployment))
    assert says(mended) == ("True", "DeploymentRecorded")


def test_observing_writes_nothing() -> None:
    told = recorded(facts("1", last="1", records=False))
    assert told.actions == ()
    assert says(told) == ("False", "Drift")
    assert told.condition.message == (
        "2 runs, but the broker holds 1 as deployed in test. "
        "Nothing is recorded: spec.recording.mode of the PactBroker is Observe."
    )
    assert recorded(facts("2", last="2", records=False, rollout=Rollout.NOTHING)).actions == ()


def test_what_differed_while_observing_is_recorded_once_the_mode_says_so() -> None:
    watched = recorded(facts("2", records=False))
    drifted = recorded(facts("0.9", last=watched.deployment, records=False))
    assert says(drifted) == ("False", "Drift")
    assert acts(facts("0.9", last=drifted.deployment)) == (RecordDeployment("users", "2", "test", None),)


@pytest.mark.parametrize("records", [True, False])
def test_a_person_may_ask_for_a_record_once(records: bool) -> None:
    asked = facts("0.9", last="2", records=records, request="now")
    told = recorded(asked)
    assert told.actions == (RecordDeployment("users", "2", "test", None),)
    assert told.deployment.request == "now"
    again = recorded(replace(asked, last=told.deployment))
    assert again.actions == (), "somebody recorded by hand again, and nobody asked again"
    gone = recorded(facts("0.9", last="2", records=records, request="now", rollout=Rollout.NOTHING))
    assert gone.actions == (RecordUndeployment("id-0.9"),)


@pytest.mark.parametrize(
    "more",
    [
        {"rollout": Rollout.PROGRESSING},
        {"known": False},
        {"failed": {"RecordDeployment": DOWN}},
    ],
)
def test_a_request_is_not_answered_before_it_was_done(more: dict[str, Any]) -> None:
    assert recorded(facts("0.9", last="1", request="now", **more)).deployment.request is None


@pytest.mark.parametrize("request_", ["now", "n" * 100_000])
def test_a_request_where_all_is_well_is_answered(request_: str) -> None:
    told = recorded(facts("2", last="2", request=request_)).deployment
    assert told.request is not None
    assert len(told.request) < 200
    assert acts(facts("0.9", last=told, request=request_)) == (), "it was answered"
    assert acts(facts("0.9", last=told, request=f"{request_}!"))


def test_a_record_that_fails_says_why_and_is_not_remembered() -> None:
    read_only = Failure(Trouble.UNAUTHORIZED, "May only read.")
    told = recorded(facts("1", last="1", failed={"RecordDeployment": read_only}))
    assert says(told) == ("False", "BrokerUnauthorized")
    assert "May only read." in told.condition.message
    assert told.deployment.recorded == "1"
    refused = Failure(Trouble.REFUSED, "No.")
    told = recorded(facts("2", last="2", rollout=Rollout.NOTHING, failed={"RecordUndeployment": refused}))
    assert says(told) == ("False", "Recording")
    assert told.deployment.recorded == "2"


def test_a_broker_that_cannot_be_asked_leaves_what_is_known() -> None:
    before = facts(last="1")
    told = recorded(replace(before, deployment=DeploymentFacts(DOWN)))
    assert told.actions == ()
    assert says(told) == ("Unknown", "BrokerUnavailable")
    assert told.deployment == before.last


def test_a_version_that_cannot_be_read_is_not_recorded() -> None:
    told = recorded(facts("1", last="1", version=Unresolved(Reason.VERSION_UNKNOWN, "The image has no tag.")))
    assert told.actions == ()
    assert says(told) == ("Unknown", "VersionUnknown")


def test_instances_are_kept_apart() -> None:
    blue = Deployed("id-blue", "1", "blue")
    told = recorded(facts("2", blue, instance="blue", last=None))
    assert acts(facts("2", blue, instance="blue", last=None)) == (RecordDeployment("users", "2", "test", "blue"),)
    assert told.deployment.in_broker == ["1"]


def test_an_instance_that_is_renamed_takes_its_record_along() -> None:
    old = recorded(facts("2")).deployment
    told = recorded(facts("2", instance="blue", last=old))
    assert told.actions == (RecordDeployment("users", "2", "test", "blue"), RecordUndeployment("id-2"))
    assert says(told) == ("Unknown", "Recording")
    after = recorded(facts(Deployed("id", "2", "blue"), instance="blue", last=told.deployment))
    assert (after.actions, says(after)) == ((), ("True", "DeploymentRecorded"))
    # Cut between the two: the rest is done at the next look.
    cut = recorded(facts("2", Deployed("id", "2", "blue"), instance="blue", last=old))
    assert cut.actions == (RecordUndeployment("id-2"),)
    # Not while it cannot be recorded under its new name, and not what another object has taken over since.
    held = recorded(facts("2", instance="blue", last=old, rollout=Rollout.PROGRESSING))
    assert (held.actions, held.deployment) == ((), old)
    taken = facts("2", instance="blue", last=old)
    claimed = replace(taken, deployment=replace(taken.deployment, claimed=frozenset({None})))
    assert recorded(claimed).actions == (RecordDeployment("users", "2", "test", "blue"),)


def test_another_broker_or_environment_is_another_record() -> None:
    for last in (remembers("2", broker="http://old"), remembers("2", environment="prod")):
        assert acts(facts("1", last=last)) == (RecordDeployment("users", "2", "test", None),)
        assert recorded(facts("2", last=last, rollout=Rollout.NOTHING)).actions == ()


def sharer(kind: str = names.CONSUMER, **more: Any) -> Sharer:
    return Sharer(**{"key": Key(kind, "team", "web"), "workload": "users", "version": "2", **more})


@pytest.mark.parametrize(
    "other", [sharer(workload="users-canary"), sharer(names.PROVIDER, workload="x", version=None), sharer(version="3")]
)
def test_two_of_one_instance_record_neither(other: Sharer) -> None:
    for rollout in Rollout:
        told = recorded(facts("1", last="1", sharers=(other,), rollout=rollout, request="now"))
        assert told.actions == ()
        assert says(told) == ("False", "InstanceConflict")
        assert f"{other.key.kind} 'web'" in told.condition.message


def test_a_consumer_and_a_provider_of_one_deployment_record_once() -> None:
    web = Key(names.CONSUMER, "team", "web")
    leads = recorded(facts("1", last="1", sharers=(sharer(last=remembers("1")),)))
    assert leads.actions == (RecordDeployment("users", "2", "test", None), Look(web))
    provider_ = Sharer(KEY, "users", "2", remembers("1"))
    follows = recorded(facts("1", last="1", key=web, sharers=(provider_,)))
    assert follows.actions == ()
    assert says(follows) == ("Unknown", "Recording")
    both = [
        recorded(facts("0.9", last="2", sharers=(sharer(last=remembers("2")),))),
        recorded(facts("0.9", last=None, key=web, sharers=(Sharer(KEY, "users", "2", remembers("2")),))),
        recorded(facts("0.9", last=None, sharers=(sharer(last=remembers("2")),))),
    ]
    assert {says(told) for told in both} == {("False", "Drift")}, (
        "one that is new learns from the other, and fights not"
    )
    assert not any(told.actions for told in both)


# --- in the plans of both kinds --------------------------------------------------------------------------------------

RECORDS: dict[str, Any] = {"environment": {"name": "test"}, "recording": {"mode": "Record"}}
FROM = {"fromWorkload": {"name": "users"}}
NOTED: dict[str, Any] = {
    "deployment": {"broker": "http://broker:9292", "environment": "test", "workload": "users", "recording": "2"}
}
RUNS = WorkloadFacts("users", {"app": "users:2"}, {}, Rollout.COMPLETE)
HOLDS_1 = DeploymentFacts((Deployed("id-1", "1"),), known=True)


def with_status(obj: Obj, status: dict[str, Any]) -> Obj:
    return obj.model_copy(update={"status": type(obj.status).model_validate(status)})


def provider_facts(**more: Any) -> ProviderFacts:
    return ProviderFacts(
        **{
            "provider": with_status(provider(version=FROM), NOTED),
            "broker": broker(**RECORDS),
            "workload": RUNS,
            "versions": (VersionFacts("2", (contract(),), results(passed())),),
            "verifications": (),
            "now": NOW,
            "deployment": HOLDS_1,
            **more,
        }
    )


def test_a_provider_records_what_runs() -> None:
    plan = plan_provider(provider_facts())
    assert plan.actions == (RecordDeployment("users", "2", "test", None),)
    assert condition(plan.status, "Recorded")["reason"] == "Recording"
    assert condition(plan.status, "Ready")["reason"] == "AllVerified"
    assert plan.requeue_after == 1.0
    assert plan.status is not None
    assert plan.status["deployment"] == {
        "broker": "http://broker:9292",
        "environment": "test",
        "workload": "users",
        "running": "2",
        "inBroker": ["1"],
        "recording": "2",
        "recorded": "2",
        "recordedAt": "2027-01-15T08:00:00Z",
    }
    parsed = PactProvider.model_validate(
        {"metadata": {"name": "users"}, "spec": provider(version=FROM).spec.model_dump(), "status": plan.status}
    )
    after = plan_provider(provider_facts(provider=parsed, deployment=DeploymentFacts((Deployed("id-2", "2"),))))
    assert after.actions == ()
    assert condition(after.status, "Recorded")["status"] == "True"
    assert [event.reason for event in after.events] == ["DeploymentRecorded"]


def test_broken_contracts_do_not_change_what_runs() -> None:
    versions = (VersionFacts("2", (contract(),), results(broken())),)
    assert plan_provider(provider_facts(versions=versions)).actions == (RecordDeployment("users", "2", "test", None),)


def test_drift_is_shown_though_the_contracts_cannot_be_asked_for() -> None:
    plan = plan_provider(
        provider_facts(versions=Failure(Trouble.REFUSED, "No."), broker=broker(environment=RECORDS["environment"]))
    )
    assert condition(plan.status, "Synced")["status"] == "False"
    assert condition(plan.status, "Recorded")["reason"] == "Drift"
    assert [(event.type, event.reason) for event in plan.events][-1] == ("Warning", "Drift")


def test_a_version_under_verification_is_waited_for_and_a_version_without_contracts_is_not() -> None:
    unknown = DeploymentFacts((), known=False)
    owed = plan_provider(provider_facts(versions=(VersionFacts("2", (contract(),), {}),), deployment=unknown))
    assert condition(owed.status, "Recorded")["reason"] == "VerificationPending"
    nothing = plan_provider(provider_facts(versions=(VersionFacts("2", (), {}),), deployment=unknown))
    assert condition(nothing.status, "Recorded")["reason"] == "VersionNotInBroker"


def test_an_outage_is_told_in_one_event() -> None:
    plan = plan_provider(provider_facts(versions=DOWN, deployment=DeploymentFacts(DOWN)))
    assert plan.status is not None
    assert [c["reason"] for c in plan.status["conditions"]] == ["BrokerUnavailable"] * 3
    assert [event.message for event in plan.events] == [DOWN.message] * 2


@pytest.mark.parametrize(
    "more",
    [
        {"broker": broker()},
        {"broker": broker(environment={"name": "test"}, recording={"mode": "Off"})},
        {"provider": provider(version={"value": "2"})},
    ],
)
def test_nothing_is_said_where_nothing_is_compared(more: dict[str, Any]) -> None:
    before = more.get("provider") or provider(version=FROM)
    seen = before.model_copy(update={"status": plan_status(before, recorded_by_hand())})
    plan = plan_provider(provider_facts(**more, **({} if "provider" in more else {"provider": seen})))
    assert plan.status is not None
    assert [c["type"] for c in plan.status["conditions"]] == ["Ready", "Synced"]
    assert "deployment" not in plan.status
    assert plan.actions == ()


def recorded_by_hand() -> dict[str, Any]:
    told = plan_provider(provider_facts(deployment=DeploymentFacts((Deployed("id-2", "2"),))))
    assert told.status is not None
    return dict(told.status)


def plan_status(obj: PactProvider, status: dict[str, Any]) -> Any:
    return type(obj.status).model_validate(status)


@pytest.mark.parametrize("more", [{"suspend": True}, {}])
def test_suspended_says_nothing_and_remembers(more: dict[str, Any]) -> None:
    held = provider(version=FROM, **more)
    seen = held.model_copy(update={"status": plan_status(held, recorded_by_hand())})
    plan = plan_provider(provider_facts(provider=seen, deployment=None, broker=broker(**RECORDS, suspend=not more)))
    assert plan.status is not None
    assert [c["type"] for c in plan.status["conditions"]] == ["Ready", "Synced"]
    assert plan.status["deployment"]["recorded"] == "2"
    assert plan.actions == ()


def consumer_facts(**more: Any) -> ConsumerFacts:
    return ConsumerFacts(
        **{
            "consumer": with_status(consumer(version=FROM), NOTED),
            "broker": broker(**RECORDS),
            "workload": RUNS,
            "jobs": {},
            "pods": {},
            "settings": SETTINGS,
            "now": NOW,
            "deployment": HOLDS_1,
            **more,
        }
    )


def test_a_consumer_records_in_every_state_of_its_tests() -> None:
    """Before its Job, while it waits to try again, and when all is settled."""
    first = plan_consumer(consumer_facts())
    assert RecordDeployment("web", "2", "test", None) in first.actions
    assert first.status is not None
    obj = consumer(version=FROM)
    for ready, at in (("False", "JobFailed"), ("True", "Published")):
        status = {
            **first.status,
            "run": {**first.status["run"], "finishedAt": "2027-01-15T08:00:00Z"},
            "conditions": [
                {"type": "Ready", "status": ready, "reason": at, "lastTransitionTime": "2027-01-15T08:00:00Z"}
            ],
            "deployment": {**first.status["deployment"], "recorded": "1", "recording": "2"},
        }
        seen = obj.model_copy(update={"status": type(obj.status).model_validate(status)})
        plan = plan_consumer(consumer_facts(consumer=seen))
        assert plan.actions == (RecordDeployment("web", "2", "test", None),)
        assert plan.status is not None
        assert [(c["type"], c["reason"]) for c in plan.status["conditions"]] == [
            ("Ready", at),
            ("Recorded", "Recording"),
        ]
        off = plan_consumer(consumer_facts(consumer=seen, broker=broker(), deployment=None))
        assert off.actions == ()
        assert off.status is not None
        assert "deployment" not in off.status
        parsed = seen.model_copy(update={"status": type(obj.status).model_validate(off.status)})
        quiet = plan_consumer(consumer_facts(consumer=parsed, broker=broker(), deployment=None))
        assert quiet.status in (None, off.status)
