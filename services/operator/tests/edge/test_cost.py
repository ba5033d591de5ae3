"""What a sweep and a start cost, counted: neither may grow with what is at rest."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pact_operator.api import names
from pact_operator.core.facts import Contract, Deployed, Failure, Key, Result, Trouble, WorkloadFacts
from pact_operator.core.rollout import Rollout
from pact_operator.engine.queue import KeyedQueue
from pact_operator.engine.reconciler import Reconciler
from pact_operator.ports import BrokerFailureError

WRITES = {"create", "delete", "patch_status", "set_finalizers", "event", "put_webhook", "ensure_environment"}
CONTRACTS = tuple(Contract(f"consumer-{n}", f"sha-{n}", f"http://broker/{n}") for n in range(10))


def scene(world: Any, providers: int) -> Key:
    """A broker and its providers, each with ten contracts that hold."""
    world.contracts_in_scope = CONTRACTS
    world.held = {(c.consumer, c.content_sha): Result(c.consumer, c.content_sha, success=True) for c in CONTRACTS}
    world.counted = "10 results"
    for number in range(providers):
        spec = {"brokerRef": {"name": "broker"}, "pacticipant": f"p{number}", "version": {"value": "1"}}
        world.put(names.PROVIDER, f"p{number}", {**spec, "target": {"service": {"name": "p"}}})
    key: Key = world.put(names.BROKER, "broker", {"url": "http://broker", "pollInterval": "30s"})
    return key


async def drain(world: Any, reconciler: Reconciler, queue: KeyedQueue[Key]) -> list[Key]:
    """Does what the workers do until nothing is due; what is written is seen at once. Returns who was looked at."""
    looked = []
    while (key := queue.take()) is not None:
        if not reconciler.waits_for_broker(key):
            before = len(world.calls)
            await reconciler.look(key)
            looked.append(key)
            for call in world.calls[before:]:
                if call[0] == "patch_status":
                    world.objects[call[1]]["status"] = call[2]
        queue.done(key)
    return looked


@pytest.mark.parametrize("providers", [3, 30])
async def test_a_quiet_sweep_asks_two_questions_whatever_the_number_of_providers(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key], clock: Any, providers: int
) -> None:
    scene(world, providers)
    for key in list(world.objects):
        reconciler.hint_object(key, world.objects[key])
    assert len(await drain(world, reconciler, queue)) == providers + 1
    for _ in range(5):
        world.calls.clear()
        clock.time += 30
        assert [key.kind for key in await drain(world, reconciler, queue)] == [names.BROKER]
        assert [call[0] for call in world.calls] == ["check", "fingerprint"]
        assert not WRITES & {call[0] for call in world.calls}


def recorded_scene(world: Any, objects: int) -> None:
    """Providers and consumers that run what the broker holds as deployed."""
    scene(world, 0)
    environment = {"environment": {"name": "test"}, "recording": {"mode": "Record"}}
    world.put(names.BROKER, "broker", {"url": "http://broker", "pollInterval": "30s", **environment})
    for number in range(objects):
        name = f"p{number}"
        source = {"brokerRef": {"name": "broker"}, "pacticipant": name, "version": {"fromWorkload": {"name": name}}}
        world.put(names.PROVIDER, name, {**source, "target": {"service": {"name": "p"}}})
        world.put(names.CONSUMER, f"c{number}", {**source, "pacticipant": f"c{number}", "template": {}})
        world.workloads["team", name] = WorkloadFacts(name, {"app": "image:1"}, {}, Rollout.COMPLETE)
        world.deployments |= {f"p{number}": (Deployed("d", "1"),), f"c{number}": (Deployed("d", "1"),)}


@pytest.mark.parametrize("objects", [3, 30])
async def test_a_quiet_sweep_of_what_is_recorded_asks_two_questions_too(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key], clock: Any, objects: int
) -> None:
    recorded_scene(world, objects)
    for key in list(world.objects):
        reconciler.hint_object(key, world.objects[key])
    assert len(await drain(world, reconciler, queue)) == 2 * objects + 1
    assert not world.called("has_version"), "the broker holds what runs"
    for key, body in world.objects.items():
        if key.kind == names.CONSUMER:  # their tests have run
            body["status"]["run"]["finishedAt"] = "2026-01-01T00:00:00Z"
            body["status"]["conditions"][0] |= {"status": "True", "reason": "Published"}
            reconciler.hint_object(key, body)
    await drain(world, reconciler, queue)
    for _ in range(3):
        world.calls.clear()
        clock.time += 30
        assert [key.kind for key in await drain(world, reconciler, queue)] == [names.BROKER]
        assert [call[0] for call in world.calls] == ["check", "environments", "fingerprint"]
    for number in range(objects):
        reconciler.hint_workload("team", f"p{number}")
    await drain(world, reconciler, queue)
    world.calls.clear()
    for number in range(objects):
        reconciler.hint_workload("team", f"p{number}")
    assert await drain(world, reconciler, queue) == [], "a Deployment that only says that it is still there"


async def test_the_gate_costs_a_quiet_sweep_nothing_and_a_change_reaches_consumers_too(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key], clock: Any
) -> None:
    broker = scene(world, 3)
    world.objects[broker]["spec"] |= {"environment": {"name": "test"}, "recording": {"mode": "Off"}}
    for number in range(3):
        spec = {"brokerRef": {"name": "broker"}, "pacticipant": f"c{number}", "version": {"value": "1"}}
        world.put(names.CONSUMER, f"c{number}", {**spec, "template": {"spec": {"containers": [{"name": "t"}]}}})
    for key in list(world.objects):
        reconciler.hint_object(key, world.objects[key])
    await drain(world, reconciler, queue)
    for key, body in world.objects.items():
        if key.kind == names.CONSUMER:  # a look at a Job that runs is planned by time
            body["status"] = {**body["status"], "run": {**body["status"]["run"], "finishedAt": "1970-01-12T00:00:00Z"}}
            body["status"]["conditions"][0] |= {"status": "True", "reason": "Published"}
    clock.time += 120
    await drain(world, reconciler, queue)
    for _ in range(3):
        world.calls.clear()
        clock.time += 30
        assert [key.kind for key in await drain(world, reconciler, queue)] == [names.BROKER]
        assert not world.called("can_i_deploy")
    world.counted = "11 results"
    clock.time += 30
    assert len(await drain(world, reconciler, queue)) == 7
    assert len(world.called("can_i_deploy")) == 6


async def test_who_asked_the_gate_in_vain_asks_again_though_nothing_has_changed(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key], clock: Any
) -> None:
    broker = scene(world, 2)
    world.objects[broker]["spec"] |= {"environment": {"name": "test"}, "recording": {"mode": "Off"}}
    world.errors["can_i_deploy"] = BrokerFailureError(Failure(Trouble.UNAVAILABLE, "away"))
    for key in list(world.objects):
        reconciler.hint_object(key, world.objects[key])
    await drain(world, reconciler, queue)
    world.errors.clear()
    clock.time += 30
    assert len(await drain(world, reconciler, queue)) == 3
    clock.time += 30
    assert len(await drain(world, reconciler, queue)) == 1


async def test_a_start_looks_at_everybody_once_and_at_the_broker_first(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key]
) -> None:
    broker = scene(world, 30)
    # A worker may come to a provider before the broker's own event has come.
    early = Key(names.PROVIDER, "team", "p7")
    reconciler.hint_object(early, world.objects[early])
    assert queue.take() == early
    assert reconciler.waits_for_broker(early)
    queue.done(early)
    for key in list(world.objects):
        reconciler.hint_object(key, world.objects[key])
    looked = await drain(world, reconciler, queue)
    assert looked[0] == broker
    assert len(looked) == len(set(looked)) == 31
    assert len(world.called("contracts")) == len(world.called("results")) == 30


async def test_a_broker_whose_first_look_fails_holds_nobody_up(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key]
) -> None:
    scene(world, 3)
    world.errors["check"] = RuntimeError("a bug")
    for key in list(world.objects):
        reconciler.hint_object(key, world.objects[key])
    looked = await drain(world, reconciler, queue)
    assert {key.name for key in looked} == {"broker", "p0", "p1", "p2"}


async def test_a_broker_that_is_away_is_asked_once_at_the_start_by_each(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key]
) -> None:
    scene(world, 3)
    away = BrokerFailureError(Failure(Trouble.UNAVAILABLE, "down"))
    world.errors |= {"check": away, "fingerprint": away, "contracts": away}
    for key in list(world.objects):
        reconciler.hint_object(key, world.objects[key])
    await drain(world, reconciler, queue)
    assert len(world.called("contracts")) == 3


async def test_the_workers_wait_for_the_broker(world: Any, reconciler: Reconciler, queue: KeyedQueue[Key]) -> None:
    scene(world, 5)
    reconciler.hint(Key(names.PROVIDER, "team", "p0"), "watch")
    reconciler.open()
    working = asyncio.create_task(reconciler.run(4))
    await eventually(lambda: len(world.called("results")) == 5)
    working.cancel()
    assert [call[0] for call in world.calls][:2] == ["check", "patch_status"], "the broker was first"


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  (what it waits for has no event of its own)
            await asyncio.sleep(0)
