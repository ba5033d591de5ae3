from collections.abc import Mapping
from typing import Any

import pytest

from pact_operator.api import names
from pact_operator.api.v1alpha1 import PactBroker
from pact_operator.core.actions import (
    Action,
    CreateJob,
    CreateVerification,
    DeleteVerification,
    DeleteWebhook,
    EnsureEnvironment,
    Event,
    Look,
    Plan,
    PutWebhook,
    RecordDeployment,
    RecordUndeployment,
    SetFinalizers,
)
from pact_operator.core.facts import Failure, Key, Trouble
from pact_operator.engine.execute import Executor, Outcome
from pact_operator.engine.recent import Recent
from pact_operator.ports import BrokerFailureError, ClusterError

KEY = Key(names.PROVIDER, "team", "users")
BODY: dict[str, Any] = {"metadata": {"uid": "u", "resourceVersion": "7"}, "status": {"observedGeneration": 1}}
NEW = {"observedGeneration": 2}
EVENT = Event("Normal", "AllVerified", "All is well.")
JOB = CreateJob({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "elsewhere"}})


@pytest.fixture
def looked() -> list[Key]:
    return []


@pytest.fixture
def executor(world: Any, looked: list[Key], clock: Any) -> Executor:
    return Executor(world, world, looked.append, Recent(clock))


def always(plan: Plan) -> Any:
    return lambda _failed: plan


def names_of(world: Any) -> list[str]:
    return [call[0] for call in world.calls]


async def test_actions_come_first_then_the_status_then_the_events(world: Any, executor: Executor) -> None:
    plan = Plan((JOB, DeleteVerification("old")), status=NEW, events=(EVENT,), requeue_after=5.0)
    done = await executor.execute(KEY, BODY, always(plan))
    assert names_of(world) == ["create", "delete", "patch_status", "event"]
    assert world.called("patch_status") == [("patch_status", KEY, NEW, "7")]
    assert (done.outcome, done.requeue_after) == (Outcome.CHANGED, 5.0)


async def test_children_are_made_in_the_namespace_of_their_owner(world: Any, executor: Executor) -> None:
    await executor.execute(KEY, BODY, always(Plan((JOB,))))
    assert world.calls == [("create", "Job", "team", "j")]


async def test_a_status_that_is_already_there_is_not_written(world: Any, executor: Executor) -> None:
    done = await executor.execute(KEY, BODY, always(Plan(status={"observedGeneration": 1})))
    assert world.calls == []
    assert done.outcome is Outcome.UNCHANGED


async def test_no_status_at_all_is_written_where_a_plan_has_none(world: Any, executor: Executor) -> None:
    await executor.execute(KEY, {"metadata": {"resourceVersion": "1"}}, always(Plan()))
    assert world.calls == []


async def test_a_run_does_not_begin_where_the_one_before_it_could_not_be_removed(
    world: Any, executor: Executor
) -> None:
    world.errors["delete"] = ClusterError(403, "Forbidden", "the operator may not delete it")
    run = CreateVerification({"kind": names.VERIFICATION, "metadata": {"name": "new"}})
    done = await executor.execute(KEY, BODY, always(Plan((DeleteVerification("old"), run))))
    assert names_of(world) == ["delete"]
    assert done.outcome is Outcome.FAILED, "the next look tries again"
    assert not executor.recent.merged(names.VERIFICATION, "team", ()), "and its place is free meanwhile"


async def test_a_conflict_stops_the_events(world: Any, executor: Executor) -> None:
    world.errors["patch_status"] = ClusterError(409, "Conflict", "changed")
    with pytest.raises(ClusterError):
        await executor.execute(KEY, BODY, always(Plan(status=NEW, events=(EVENT,))))
    assert names_of(world) == ["patch_status"]


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (ClusterError(403, "Forbidden", "exceeded quota: pods"), Trouble.REFUSED),
        (ClusterError(422, "Invalid", "spec.template: bad"), Trouble.REFUSED),
        (ClusterError(409, "AlreadyExists", "another's Job has this name"), Trouble.REFUSED),
        (BrokerFailureError(Failure(Trouble.UNAVAILABLE, "down")), Trouble.UNAVAILABLE),
    ],
)
async def test_a_failed_action_is_told_to_the_plan_whose_status_is_written(
    world: Any, executor: Executor, error: Exception, trouble: Trouble
) -> None:
    world.errors["create"] = error
    told: list[Mapping[str, Failure]] = []

    def decide(failed: Mapping[str, Failure]) -> Plan:
        told.append(failed)
        return Plan((JOB, DeleteVerification("old")), status={"failed": sorted(failed)}, requeue_after=1.0)

    done = await executor.execute(KEY, BODY, decide)
    assert told[0] == {}
    assert {name: failure.trouble for name, failure in told[1].items()} == {"CreateJob": trouble}
    # The other action was carried out all the same, and none of them a second time.
    assert names_of(world) == ["create", "delete", "patch_status"]
    assert world.called("patch_status") == [("patch_status", KEY, {"failed": ["CreateJob"]}, "7")]
    assert done.outcome is Outcome.FAILED


async def test_an_api_server_that_is_away_says_nothing_about_the_action(world: Any, executor: Executor) -> None:
    world.errors["create"] = ClusterError(503, "ServiceUnavailable", "away")
    with pytest.raises(ClusterError):
        await executor.execute(KEY, BODY, always(Plan((JOB,), status=NEW)))
    assert names_of(world) == ["create"]


async def test_a_status_follows_finalizers_with_their_resource_version(world: Any, executor: Executor) -> None:
    await executor.execute(KEY, BODY, always(Plan((SetFinalizers(("f",)),), status=NEW)))
    assert world.calls == [("set_finalizers", KEY, ("f",), "7"), ("patch_status", KEY, NEW, "2")]


async def test_nothing_is_written_to_an_object_that_went_with_its_finalizer(world: Any, executor: Executor) -> None:
    world.finalizers_version = None
    done = await executor.execute(KEY, BODY, always(Plan((SetFinalizers(()),), status=NEW)))
    assert names_of(world) == ["set_finalizers"]
    assert done.outcome is Outcome.GONE


async def test_a_look_at_another_object_is_a_hint(world: Any, executor: Executor, looked: list[Key]) -> None:
    other = Key(names.PROVIDER, "team", "other")
    await executor.execute(KEY, BODY, always(Plan((Look(other),))))
    assert looked == [other]
    assert world.calls == []


@pytest.mark.parametrize(
    ("action", "kinds"),
    [
        (EnsureEnvironment("e", None, False), {names.BROKER}),
        (PutWebhook("u", {}), {names.BROKER}),
        (DeleteWebhook("u"), {names.BROKER}),
        (RecordDeployment("users", "1", "test", None), {names.PROVIDER, names.CONSUMER}),
        (RecordUndeployment("id"), {names.PROVIDER, names.CONSUMER}),
    ],
)
async def test_a_broker_is_changed_only_by_whom_it_concerns(
    world: Any, executor: Executor, action: Action, kinds: set[str]
) -> None:
    broker = PactBroker.parse({"metadata": {"name": "b"}, "spec": {"url": "http://b"}})
    assert isinstance(broker, PactBroker)
    for kind in names.PLURALS:
        key = Key(kind, "team", "one")
        with pytest.raises(TypeError):
            await executor.execute(key, BODY, always(Plan((action,))))
        if kind in kinds:
            await executor.execute(key, BODY, always(Plan((action,))), broker)
        else:
            with pytest.raises(TypeError):
                await executor.execute(key, BODY, always(Plan((action,))), broker)
    assert len(world.calls) == len(kinds)


@pytest.mark.parametrize("cut", range(4))
async def test_a_crash_anywhere_leaves_only_what_the_next_look_repeats(
    world: Any, executor: Executor, cut: int
) -> None:
    """What was done before the cut is a prefix of what a whole run does, and a whole run follows it."""

    class CrashError(Exception):
        pass

    plan = always(
        Plan((CreateVerification({"kind": "V", "metadata": {"name": "v"}}), JOB), status=NEW, events=(EVENT,))
    )
    steps = ["create", "create", "patch_status", "event"]
    seen: list[str] = []
    real = world._call

    def crash(name: str, *arguments: Any) -> None:
        if len(seen) == cut:
            raise CrashError
        seen.append(name)
        real(name, *arguments)

    world._call = crash
    if cut < 3:
        with pytest.raises(CrashError):
            await executor.execute(KEY, BODY, plan)
        assert seen == steps[:cut]
    world._call = real
    world.calls.clear()
    await executor.execute(KEY, BODY, plan)
    assert names_of(world) == steps
