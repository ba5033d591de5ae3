import asyncio
import logging
from typing import Any

import pytest

from pact_operator.api import names
from pact_operator.core.facts import Failure, Key, Trouble, WorkloadFacts
from pact_operator.core.naming import label_value
from pact_operator.core.rollout import Rollout
from pact_operator.engine.execute import Outcome
from pact_operator.engine.queue import KeyedQueue
from pact_operator.engine.reconciler import SWEEPS_UNTIL_ALL, Reconciler
from pact_operator.ports import BrokerFailureError, ClusterError

NS = "team"


def broker(world: Any, name: str = "broker", **meta: Any) -> Key:
    key: Key = world.put(names.BROKER, name, {"url": "http://broker", "pollInterval": "30s"}, **meta)
    return key


def provider(world: Any, name: str, **spec: Any) -> Key:
    key: Key = world.put(
        names.PROVIDER,
        name,
        {
            "brokerRef": {"name": "broker"},
            "pacticipant": f"{name}-provider",
            "version": {"value": "1"},
            "target": {"service": {"name": name}},
            **spec,
        },
    )
    return key


def due(queue: KeyedQueue[Key]) -> set[Key]:
    found = set()
    while (key := queue.take()) is not None:
        found.add(key)
    for key in found:
        queue.done(key)
    return found


async def test_a_converged_object_is_only_looked_at(world: Any, reconciler: Reconciler) -> None:
    key = broker(world)
    assert await reconciler.look(key) is Outcome.CHANGED
    [(_, _, status, _)] = world.called("patch_status")
    world.objects[key]["status"] = status
    world.calls.clear()
    assert await reconciler.look(key) is Outcome.UNCHANGED
    assert [call[0] for call in world.calls] == ["check", "fingerprint"]


async def test_a_broker_is_polled_and_its_providers_with_it(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key], clock: Any
) -> None:
    key = broker(world)
    mine, other = provider(world, "mine"), provider(world, "other", brokerRef={"name": "elsewhere"})
    await reconciler.look(key)
    assert due(queue) == {mine}
    clock.time += 30
    assert due(queue) == {key}
    await reconciler.look(key)
    assert due(queue) == {mine}
    assert other not in due(queue)


async def test_a_sweep_of_a_quiet_broker_asks_one_question_and_leaves_those_at_rest_alone(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key], clock: Any
) -> None:
    key = broker(world)
    resting, owing = provider(world, "resting"), provider(world, "owing")
    synced = [{"type": "Synced", "status": "True", "reason": "InSync"}]
    world.objects[resting]["status"] = {"observedGeneration": 1, "owed": 0, "conditions": synced}
    world.objects[owing]["status"] = {"observedGeneration": 1, "owed": 1, "conditions": synced}
    world.counted = "17 pacts"

    async def swept() -> set[Key]:
        clock.time += 30
        due(queue)
        await reconciler.look(key)
        return due(queue) - {key}

    assert await swept() == {resting, owing}
    assert await swept() == {owing}
    world.counted = "18 pacts"
    assert await swept() == {resting, owing}
    assert await swept() == {owing}
    world.errors["fingerprint"] = BrokerFailureError(Failure(Trouble.UNAVAILABLE, "down"))
    assert await swept() == {resting, owing}


async def test_a_sweep_looks_at_consumers_when_something_changed_and_at_those_whose_record_is_open(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key], clock: Any
) -> None:
    """Who records by hand changes the broker's counts: drift is seen at the next sweep."""
    key = broker(world)
    resting, recording = (world.put(names.CONSUMER, n, {"brokerRef": {"name": "broker"}}) for n in ("a", "b"))
    world.objects[resting]["status"] = {"conditions": [{"type": "Recorded", "reason": "Drift"}]}
    world.objects[recording]["status"] = {"conditions": [{"type": "Recorded", "reason": "BrokerUnavailable"}]}
    synced = [{"type": "Synced", "status": "True"}, {"type": "Recorded", "reason": "Recording"}]
    open_ = provider(world, "open")
    world.objects[open_]["status"] = {"observedGeneration": 1, "owed": 0, "conditions": synced}
    world.counted = "17 pacts"

    async def swept() -> set[Key]:
        clock.time += 30
        due(queue)
        await reconciler.look(key)
        return due(queue) - {key}

    assert await swept() == {resting, recording, open_}
    assert await swept() == {recording, open_}
    world.counted = "18 deployments"
    assert await swept() == {resting, recording, open_}


async def test_counts_can_hide_a_change_so_all_are_looked_at_every_so_often(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key], clock: Any
) -> None:
    key, resting = broker(world), provider(world, "resting")
    synced = [{"type": "Synced", "status": "True", "reason": "InSync"}]
    world.objects[resting]["status"] = {"observedGeneration": 1, "owed": 0, "conditions": synced}
    world.counted = "17 pacts"
    looks = 0
    for _ in range(2 * (SWEEPS_UNTIL_ALL + 1)):
        clock.time += 30
        due(queue)
        await reconciler.look(key)
        looks += resting in due(queue)
    assert looks == 2


async def test_the_look_at_all_of_a_quiet_broker_is_spread_until_the_next_sweep(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key], clock: Any
) -> None:
    key, resting = broker(world), [provider(world, name) for name in ("a", "b", "c")]
    synced = [{"type": "Synced", "status": "True", "reason": "InSync"}]
    for one in resting:
        world.objects[one]["status"] = {"observedGeneration": 1, "owed": 0, "conditions": synced}
    world.counted = "17 pacts"
    for _ in range(1 + SWEEPS_UNTIL_ALL):
        await reconciler.look(key)
        due(queue)
        clock.time += 30
    await reconciler.look(key)
    seen = []
    for _ in range(3):
        seen.append(due(queue) - {key})
        clock.time += 10
    assert seen == [{one} for one in resting]
    # What is new is learned at once.
    world.counted = "18 pacts"
    await reconciler.look(key)
    assert due(queue) - {key} == set(resting)


async def test_what_waited_for_a_broker_is_looked_at_when_it_comes_and_when_it_goes(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key]
) -> None:
    key = broker(world)
    consumer = world.put(names.CONSUMER, "web", {"brokerRef": {"name": "broker"}})
    run = world.put(names.VERIFICATION, "run", {"brokerRef": {"name": "broker"}})
    world.counted = "17 pacts"
    await reconciler.look(key)
    assert due(queue) == {consumer, run}
    await reconciler.look(key)
    assert due(queue) == set()
    del world.objects[key]
    await reconciler.look(key)
    assert due(queue) == {consumer, run}


async def test_an_object_that_is_gone_is_no_error(world: Any, reconciler: Reconciler, queue: KeyedQueue[Key]) -> None:
    assert await reconciler.look(Key(names.PROVIDER, NS, "gone")) is Outcome.GONE
    assert queue.wait_seconds() is None


async def test_a_spec_that_does_not_parse_gets_a_status_and_no_retries(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key]
) -> None:
    key = world.put(names.PROVIDER, "users", {"pacticipant": "users"})
    assert await reconciler.look(key) is Outcome.CHANGED
    [(_, _, status, _)] = world.called("patch_status")
    assert status["conditions"][0]["reason"] == "InvalidSpec"
    assert queue.wait_seconds() is None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ClusterError(409, "Conflict", "changed"), Outcome.CONFLICT),
        (ClusterError(0, "Timeout", "no answer"), Outcome.ERROR),
        (ValueError("a defect"), Outcome.ERROR),
    ],
)
async def test_a_look_that_fails_is_tried_again_later_and_later(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key], clock: Any, error: Exception, outcome: Outcome
) -> None:
    key = provider(world, "users")
    world.errors["patch_status"] = error
    waits = []
    for _ in range(3):
        assert await reconciler.look(key) is outcome
        waits.append(queue.wait_seconds())
        clock.time += 10
        assert queue.take() == key
        queue.done(key)
    assert waits == [1, 2, 4]
    world.errors.clear()
    await reconciler.look(key)
    assert queue.failures(key) == 0


async def test_a_defect_is_logged_with_its_trace_once(
    world: Any, reconciler: Reconciler, caplog: pytest.LogCaptureFixture
) -> None:
    key = provider(world, "users")
    world.errors["patch_status"] = ValueError("a defect")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await reconciler.look(key)
    assert [record.exc_info is not None for record in caplog.records] == [True, False, False]


async def test_a_failed_action_is_in_the_status_and_the_look_backs_off(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key]
) -> None:
    key = world.put(
        names.BROKER, "broker", {"url": "http://broker", "environment": {"name": "prod"}, "pollInterval": "30s"}
    )
    world.errors["ensure_environment"] = BrokerFailureError(Failure(Trouble.UNAUTHORIZED, "May only read."))
    assert await reconciler.look(key) is Outcome.FAILED
    [(_, _, status, _)] = world.called("patch_status")
    assert (status["conditions"][0]["reason"], status["conditions"][0]["message"]) == (
        "BrokerUnauthorized",
        "May only read.",
    )
    assert queue.wait_seconds() == 1


async def test_one_object_that_hangs_does_not_hold_up_another(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key], looks: Any
) -> None:
    stuck, free = broker(world, "stuck"), world.put(names.BROKER, "free", {"url": "http://free", "suspend": True})
    hang, looked = asyncio.Event(), asyncio.Event()

    async def check(asked: Any) -> None:
        if asked.metadata.name == "stuck":
            await hang.wait()

    world.check = check
    looks.looked = lambda *_: looked.set()
    reconciler.hint(stuck, "watch")
    reconciler.hint(free, "watch")
    workers = asyncio.create_task(reconciler.run(2))
    reconciler.open()
    async with asyncio.timeout(10):
        await looked.wait()
    assert queue.active == {stuck}
    workers.cancel()
    await asyncio.gather(workers, return_exceptions=True)


async def test_no_look_before_the_indexes_are_complete(world: Any, reconciler: Reconciler, looks: Any) -> None:
    key = broker(world)
    reconciler.hint(key, "hook")
    workers = asyncio.create_task(reconciler.run(2))
    for _ in range(5):
        await asyncio.sleep(0)
    assert looks.seen == []
    looked = asyncio.Event()
    looks.looked = lambda *_: looked.set()
    reconciler.open()
    async with asyncio.timeout(10):
        await looked.wait()
    workers.cancel()
    await asyncio.gather(workers, return_exceptions=True)


def test_a_verification_event_also_points_to_its_provider(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key]
) -> None:
    owner = provider(world, "users")
    run = world.put(names.VERIFICATION, "run", {}, labels={names.LABEL_PROVIDER: "users"})
    reconciler.hint_object(run, world.objects[run])
    assert due(queue) == {run, owner}


def test_a_job_points_to_its_owner_even_by_the_digest_of_a_long_name(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key]
) -> None:
    long = "c" * 100
    assert label_value(long) != long
    key = world.put(names.CONSUMER, long, {})
    labels = {names.LABEL_ROLE: names.ROLE_CONSUMER, names.LABEL_OWNER: label_value(long)}
    reconciler.hint_child(NS, labels, "job")
    assert due(queue) == {key}
    reconciler.hint_child(NS, {names.LABEL_ROLE: "stranger", names.LABEL_OWNER: long}, "job")
    reconciler.hint_child(NS, labels | {names.LABEL_OWNER: "nobody"}, "job")
    assert due(queue) == set()


def test_a_deployment_matters_only_when_its_version_may_have_changed(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key]
) -> None:
    key = provider(world, "users", version={"fromWorkload": {"name": "web"}})
    provider(world, "fixed")
    world.workloads[NS, "web"] = WorkloadFacts("web", {"web": "users:1"}, {})
    reconciler.hint_workload(NS, "web")
    assert due(queue) == {key}
    reconciler.hint_workload(NS, "web")
    assert due(queue) == set()
    world.workloads[NS, "web"] = WorkloadFacts("web", {"web": "users:2"}, {})
    reconciler.hint_workload(NS, "web")
    assert due(queue) == {key}
    world.workloads[NS, "web"] = WorkloadFacts("web", {"web": "users:2"}, {}, Rollout.COMPLETE)
    reconciler.hint_workload(NS, "web")
    assert due(queue) == {key}
    del world.workloads[NS, "web"]
    reconciler.hint_workload(NS, "web")
    assert due(queue) == {key}


def test_a_hook_points_to_the_provider_it_names_and_to_all_if_it_names_none(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key]
) -> None:
    key = broker(world)
    one, two = provider(world, "one"), provider(world, "two")
    running = world.put(names.VERIFICATION, "running", {"brokerRef": {"name": "broker"}, "pacticipant": "one-provider"})
    over = world.put(names.VERIFICATION, "over", {"brokerRef": {"name": "broker"}, "pacticipant": "one-provider"})
    world.objects[over]["status"] = {"completionTime": "2026-01-01T00:00:00Z"}
    assert reconciler.hint_hook(key, "one-provider")
    assert due(queue) == {one, running}
    assert reconciler.hint_hook(key, None)
    assert due(queue) == {one, two, running}
    assert not reconciler.hint_hook(Key(names.BROKER, NS, "nobody"), None)
