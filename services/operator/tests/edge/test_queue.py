import asyncio
import random

import pytest

from pact_operator.engine.queue import KeyedQueue


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> KeyedQueue[str]:
    return KeyedQueue(now=clock, base=1.0, cap=8.0, jitter=lambda: 1.0)


def test_a_key_is_in_the_queue_once_however_often_it_is_added(queue: KeyedQueue[str]) -> None:
    for _ in range(3):
        queue.add("a", "watch")
    assert len(queue) == 1
    assert queue.take() == "a"
    assert queue.take() is None
    assert queue.origins["watch"] == 3


def test_keys_come_in_the_order_in_which_they_became_due(queue: KeyedQueue[str], clock: Clock) -> None:
    queue.add("late", after=5)
    queue.add("first")
    queue.add("second")
    clock.time += 5
    assert [queue.take(), queue.take(), queue.take()] == ["first", "second", "late"]


def test_a_key_added_while_it_is_worked_on_comes_again_but_not_before_it_is_done(queue: KeyedQueue[str]) -> None:
    queue.add("a")
    queue.take()
    queue.add("a")
    assert queue.take() is None
    assert queue.wait_seconds() is None
    queue.done("a")
    assert queue.take() == "a"


def test_a_hint_replaces_a_later_look_and_leaves_no_second_one(queue: KeyedQueue[str], clock: Clock) -> None:
    queue.add("a", after=30)
    queue.add("a")
    assert queue.take() == "a"
    queue.done("a")
    clock.time += 60
    assert queue.take() is None


def test_a_later_look_does_not_put_off_an_earlier_one(queue: KeyedQueue[str], clock: Clock) -> None:
    queue.add("a", after=5)
    queue.add("a", after=30)
    assert queue.wait_seconds() == 5
    clock.time += 5
    assert queue.take() == "a"


def test_back_off_doubles_to_its_cap_and_ends_with_success(queue: KeyedQueue[str], clock: Clock) -> None:
    delays = []
    for _ in range(5):
        delays.append(queue.retry("a"))
        clock.time += 8
        assert queue.take() == "a"
        queue.done("a")
    assert delays == [1, 2, 4, 8, 8]
    queue.forget("a")
    assert queue.retry("a") == 1


def test_jitter_keeps_a_retry_between_half_its_delay_and_the_whole() -> None:
    spread = random.Random(7)
    queue: KeyedQueue[str] = KeyedQueue(now=lambda: 0.0, base=4.0, jitter=spread.random)
    delays = [queue.retry(str(number)) for number in range(200)]
    assert min(delays) >= 2.0
    assert max(delays) <= 4.0
    assert max(delays) - min(delays) > 1.0


def test_another_key_is_not_held_up_by_one_that_is_worked_on(queue: KeyedQueue[str]) -> None:
    queue.add("a")
    queue.take()
    queue.add("a")
    queue.add("b")
    assert queue.take() == "b"
    assert queue.active == {"a", "b"}


async def test_get_wakes_for_an_added_key_and_each_key_goes_to_one_worker(queue: KeyedQueue[str]) -> None:
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.add("a")
    queue.add("b")
    done, waiting = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 2:
        more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    assert sorted(task.result() for task in done) == ["a", "b"]
    [left] = waiting
    queue.add("c")
    assert await left == "c"


async def test_get_waits_for_the_earliest_due_time() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("later", after=0.05)
    queue.add("sooner", after=0.01)
    assert [await queue.get(), await queue.get()] == ["sooner", "later"]


async def test_an_earlier_key_is_not_slept_through(clock: Clock) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("in an hour", after=3600)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("now")
    assert await waiting == "now"


def test_a_model_of_the_queue_agrees_with_it() -> None:
    """Random use: no key is lost, none is with two workers, none comes before it is due."""
    chance = random.Random(3)
    clock = Clock()
    queue: KeyedQueue[int] = KeyedQueue(now=clock, base=1.0, cap=8.0, jitter=chance.random)
    due: dict[int, float] = {}
    active: set[int] = set()
    for _ in range(20_000):
        match chance.randrange(5):
            case 0 | 1:
                key, after = chance.randrange(8), chance.choice([0.0, 0.0, 1.0, 5.0])
                queue.add(key, after=after)
                due[key] = min(due.get(key, float("inf")), clock.time + after)
            case 2:
                ready = {key for key, when in due.items() if when <= clock.time and key not in active}
                key_taken = queue.take()
                assert (key_taken in ready) if ready else key_taken is None
                if key_taken is not None:
                    del due[key_taken]
                    active.add(key_taken)
            case 3 if active:
                key = chance.choice(sorted(active))
                active.discard(key)
                queue.done(key)
            case _:
                clock.time += chance.random()
        waiting = [when for key, when in due.items() if key not in active]
        wait = queue.wait_seconds()
        assert wait == (max(0.0, min(waiting) - clock.time) if waiting else None)
