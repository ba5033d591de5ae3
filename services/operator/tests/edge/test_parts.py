"""The parts of the operator's process: which of them may end, and what keeps it from beginning too soon."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import pytest

from pact_operator.core.facts import Key
from pact_operator.engine.queue import KeyedQueue
from pact_operator.engine.reconciler import Reconciler
from pact_operator.handlers import operator
from pact_operator.handlers.indexes import IndexSnapshot
from pact_operator.ports import ClusterError
from pact_operator.settings import OperatorSettings

SETTINGS = OperatorSettings("verifier:1", "publisher:1", watch_namespaces=("team",))


def part(name: str, ending: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
    async def run() -> None:
        await ending()

    return asyncio.create_task(run(), name=name)


async def goes_on() -> None:
    await asyncio.Event().wait()


async def ends() -> None:
    await asyncio.sleep(0)


async def fails() -> None:
    raise KeyError("metadata")


@pytest.mark.parametrize("name", ["lists", "engine", "watches"])
async def test_a_part_that_fails_ends_the_operator(name: str) -> None:
    parts = {part(name, fails), part("other", goes_on)}
    with pytest.raises(RuntimeError, match=f"{name}.*failed.*metadata"):
        await operator._until_one_ends(parts)
    [other] = [one for one in parts if one.get_name() == "other"]
    other.cancel()


async def test_another_part_that_ends_by_itself_ends_the_operator() -> None:
    parts = {part("engine", ends), part("watches", goes_on)}
    with pytest.raises(RuntimeError, match=r"engine.*ended"):
        await operator._until_one_ends(parts)
    [watches] = [one for one in parts if one.get_name() == "watches"]
    watches.cancel()


class Listing:
    """An API server that lists what it is told to, after as many refusals as it is told to."""

    def __init__(self, *answers: set[str] | ClusterError) -> None:
        self.answers = list(answers)
        self.namespaces: list[Sequence[str]] = []

    async def uids(self, _kinds: Iterable[tuple[str, str, str]], namespaces: Sequence[str]) -> set[str]:
        self.namespaces.append(namespaces)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, ClusterError):
            raise answer
        return answer


async def opened(
    listing: Any, snapshot: IndexSnapshot, reconciler: Reconciler, watching: asyncio.Event
) -> "asyncio.Task[None]":
    task = asyncio.create_task(operator._open(reconciler, snapshot, listing, SETTINGS, watching))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


def pod(uid: str) -> Any:
    return {"type": None, "object": {"kind": "Pod", "metadata": {"name": uid, "namespace": "team", "uid": uid}}}


async def test_no_look_before_the_watches_have_told_of_all_that_is_listed(
    reconciler: Reconciler, queue: KeyedQueue[Key]
) -> None:
    snapshot, watching, listing = IndexSnapshot(), asyncio.Event(), Listing({"1", "2"})
    snapshot.pod_told(pod("1"))
    task = await opened(listing, snapshot, reconciler, watching)
    assert listing.namespaces == [], "nothing is listed before the watches have begun"
    watching.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    assert not reconciler._opened.is_set()
    snapshot.pod_told(pod("2"))
    await asyncio.wait_for(task, 30)
    assert reconciler._opened.is_set()
    assert listing.namespaces == [("team",)]


async def test_what_went_before_the_watches_listed_it_is_not_waited_for(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "LISTED_SECONDS", 0.0)
    snapshot, watching = IndexSnapshot(), asyncio.Event()
    watching.set()
    refusal = ClusterError(0, "Unreachable", "The API server cannot be reached.")
    listing = Listing(refusal, {"gone"}, set())
    await asyncio.wait_for(await opened(listing, snapshot, reconciler, watching), 30)
    assert reconciler._opened.is_set()
    assert len(listing.namespaces) == 3


async def test_what_went_without_a_word_of_the_watches_is_forgotten(
    reconciler: Reconciler, queue: KeyedQueue[Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "COMPARE_SECONDS", 0.0)
    monkeypatch.setattr(operator, "LISTED_SECONDS", 0.0)
    snapshot, watching = IndexSnapshot(), asyncio.Event()
    watching.set()
    snapshot.pod_told(pod("1"))
    provider = pod("2")
    provider["object"]["kind"] = "PactProvider"
    snapshot.object_told(provider)
    refusal = ClusterError(0, "Unreachable", "The API server cannot be reached.")
    listing = Listing({"1", "2"}, {"1", "2"}, refusal, {"2"})
    comparing = asyncio.create_task(operator._compare(reconciler, snapshot, listing, SETTINGS, watching))  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        while snapshot.known() != {"2"}:  # noqa: ASYNC110  (it has no event of its own)
            await asyncio.sleep(0)
    assert queue.take() == Key("PactProvider", "team", "2")
    assert len(listing.namespaces) == 4
    # What is there, and what the watches have told of since the list was asked for, stays.
    snapshot.pod_told(pod("2"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert snapshot.known() == {"2"}
    comparing.cancel()


async def test_what_goes_while_it_is_listed_is_left_to_the_watches(
    reconciler: Reconciler, queue: KeyedQueue[Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "COMPARE_SECONDS", 0.0)
    monkeypatch.setattr(operator, "LISTED_SECONDS", 0.0)
    snapshot, watching = IndexSnapshot(), asyncio.Event()
    watching.set()
    told = pod("1")
    snapshot.pod_told(told)
    provider = pod("2")
    provider["object"]["kind"] = "PactProvider"
    snapshot.object_told(provider)

    class Leaving(Listing):
        async def uids(self, kinds: Iterable[tuple[str, str, str]], namespaces: Sequence[str]) -> set[str]:
            answer = await super().uids(kinds, namespaces)
            if len(self.namespaces) == 2:
                snapshot.pod_told({**told, "type": "DELETED"})
            return answer

    listing = Leaving({"1", "2"}, {"2"})
    comparing = asyncio.create_task(operator._compare(reconciler, snapshot, listing, SETTINGS, watching))  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        while len(listing.namespaces) < 5:  # noqa: ASYNC110  (it has no event of its own)
            await asyncio.sleep(0)
    assert queue.take() is None, "nobody was told to look"
    comparing.cancel()
