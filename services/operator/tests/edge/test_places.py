"""Places for runs, as the engine counts them: at the last moment, and for everybody who looks at the same time."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from pact_operator.api import names
from pact_operator.core.facts import Contract, Key
from pact_operator.engine.places import limit_of, places_of
from pact_operator.engine.queue import KeyedQueue
from pact_operator.engine.recent import Recent
from pact_operator.engine.reconciler import Reconciler
from pact_operator.ports import ClusterError

NS = "team"


def scene(world: Any, providers: int, limit: Any = 2) -> list[Key]:
    world.contracts_in_scope = (Contract("web", "a1", "http://broker/a1"),)
    world.put(names.BROKER, "broker", {"url": "http://broker", "maxConcurrentRuns": limit})
    spec = {"brokerRef": {"name": "broker"}, "version": {"value": "1"}, "target": {"service": {"name": "p"}}}
    return [world.put(names.PROVIDER, f"p{n}", {**spec, "pacticipant": f"p{n}"}) for n in range(providers)]


def run(world: Any, name: str, *, provider: str = "p0", status: Mapping[str, Any] | None = None) -> Key:
    owner = {"kind": names.PROVIDER, "name": provider, "uid": f"uid-{provider}", "controller": True}
    spec = {"brokerRef": {"name": "broker"}, "pacticipant": provider, "providerVersion": "1"}
    key: Key = world.put(
        names.VERIFICATION, name, spec, ownerReferences=[owner], labels={names.LABEL_PROVIDER: provider}
    )
    world.objects[key]["status"] = dict(status or {})
    return key


async def test_looks_at_the_same_time_never_take_more_places_than_there_are(world: Any, reconciler: Reconciler) -> None:
    keys = scene(world, 8)
    create = world.create
    decided = asyncio.Barrier(len(keys))

    async def contracts(*_: Any, **__: Any) -> Any:
        await decided.wait()  # the broker answers all at the same moment
        return world.contracts_in_scope

    async def slow(manifest: Mapping[str, Any]) -> None:
        for _ in range(50):  # the others decide while this one is being created
            await asyncio.sleep(0)
        await create(manifest)

    world.contracts, world.create = contracts, slow
    await asyncio.gather(*(reconciler.look(key) for key in keys))
    assert len(world.called("create")) == 2
    queued = [call[1].name for call in world.called("patch_status") if "queuedSince" in call[2]]
    assert len(queued) == 6


@pytest.mark.parametrize("error", [ClusterError(403, "Forbidden", "quota"), ClusterError(409, "Conflict", "x")])
async def test_a_run_that_was_refused_gives_its_place_back(
    world: Any, reconciler: Reconciler, error: ClusterError
) -> None:
    [first, second] = scene(world, 2, limit=1)
    world.errors["create"] = error
    await reconciler.look(first)
    world.errors.clear()
    await reconciler.look(second)
    assert [call[3].rsplit("-", 1)[0] for call in world.called("create")] == ["p0", "p1"]


async def test_a_pactbroker_that_goes_meanwhile_leaves_its_limit_to_those_who_asked_it(
    world: Any, reconciler: Reconciler
) -> None:
    [first, second] = scene(world, 2, limit=1)
    await reconciler.look(first)

    async def contracts(*_: Any, **__: Any) -> Any:
        world.objects.pop(Key(names.BROKER, NS, "broker"), None)
        return world.contracts_in_scope

    world.contracts = contracts
    await reconciler.look(second)
    assert len(world.called("create")) == 1


async def test_a_run_that_may_exist_keeps_its_place(world: Any, reconciler: Reconciler) -> None:
    [first, second] = scene(world, 2, limit=1)
    world.errors["create"] = ClusterError(0, "Timeout", "no answer")
    await reconciler.look(first)
    world.errors.clear()
    world.calls.clear()
    await reconciler.look(second)
    assert world.called("create") == []


def test_only_active_runs_of_providers_of_that_broker_hold_a_place(world: Any, clock: Any) -> None:
    scene(world, 2)
    run(world, "active")
    run(world, "over", status={"completionTime": "2026-01-01T00:10:00Z"})
    run(world, "started-then-refused", status={"jobName": "x", "conditions": [{"reason": "JobRejected"}]})
    run(world, "refused", status={"conditions": [{"reason": "JobRejected"}]})
    world.objects[run(world, "elsewhere")]["spec"]["brokerRef"]["name"] = "other"
    world.objects[run(world, "of-a-person")]["metadata"]["ownerReferences"] = []
    places = places_of(world, Recent(clock), NS, "broker", limit_of(world, NS, "broker"))
    assert places is not None
    assert places.taken == {"active", "started-then-refused"}
    assert places.freed_at == 1767226200


def test_only_providers_that_can_go_are_in_the_line(world: Any, clock: Any) -> None:
    keys = scene(world, 5)
    for key in keys:
        world.objects[key]["status"] = {"queuedSince": "2026-01-01T00:00:00Z"}
    world.objects[keys[1]]["spec"]["suspend"] = True
    world.objects[keys[2]]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.objects[keys[3]]["spec"]["brokerRef"] = {"name": "other"}
    world.objects[keys[4]]["status"] = {"queuedSince": 7}
    places = places_of(world, Recent(clock), NS, "broker", limit_of(world, NS, "broker"))
    assert places is not None
    assert [one.name for one in places.line] == ["p0"]


@pytest.mark.parametrize("limit", [None, 0, "many", -1])
def test_no_limit_is_no_places_and_costs_nothing(world: Any, clock: Any, limit: Any) -> None:
    scene(world, 2, limit=limit)
    assert limit_of(world, NS, "broker") is None
    assert places_of(world, Recent(clock), NS, "broker", None) is None


async def test_a_place_that_becomes_free_is_offered_at_once_to_those_whose_turn_it_is(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key]
) -> None:
    keys = scene(world, 4, limit=1)
    for number, key in enumerate(keys[1:]):
        world.objects[key]["status"] = {"queuedSince": f"2026-01-01T00:00:0{9 - number}Z"}
    active = run(world, "active")
    reconciler.hint_object(active, world.objects[active])
    assert keys[3] not in due(queue), "before the indexes are complete nobody is hinted at"
    reconciler.open()
    reconciler.hint_object(active, world.objects[active])
    assert not {*keys[1:]} & due(queue), "nothing is free"
    world.objects[active]["status"] = {"completionTime": "2026-01-01T00:10:00Z"}
    reconciler.hint_object(active, world.objects[active])
    assert {*keys[1:]} & due(queue) == {keys[3]}, "who has waited longest"
    # It has taken its place and says so; one that leaves the line makes room for the next one, too.
    world.objects[keys[3]]["status"] = {}
    reconciler.hint_object(keys[3], world.objects[keys[3]])
    assert keys[2] in due(queue)
    gone = world.objects.pop(active)
    reconciler.hint_object(active, gone)
    assert keys[2] in due(queue)


def due(queue: KeyedQueue[Key]) -> set[Key]:
    found = []
    while (key := queue.take()) is not None:
        found.append(key)
    for key in found:
        queue.done(key)
    return set(found)
