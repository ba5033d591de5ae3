"""A keyed queue: every key is in it once, is worked on by one worker at a time, and waits longer after each failure.

The state machine (`add`, `take`, `done`, ...) is synchronous and asks the time of an injected clock; `get` only adds
the waiting. Like the work queue of controllers written in Go, but with one due time per key: a hint makes a key due
now, and so replaces a later look that was already planned.
"""

import asyncio
import contextlib
import heapq
import random
import time
from collections import Counter
from collections.abc import Callable, Hashable
from itertools import count
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class KeyedQueue(Generic[K]):
    """Keys that are due, now or later.

    Args:
        now: monotonic seconds.
        base: seconds that the first retry waits.
        cap: seconds that a retry waits at most.
        jitter: a number in [0, 1) per call; a retry waits between half its delay and the whole.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.monotonic,
        base: float = 0.5,
        cap: float = 120.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._now = now
        self._base = base
        self._cap = cap
        self._jitter = jitter
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = count()
        self._active: set[K] = set()
        self._failures: dict[K, int] = {}
        self._changed = asyncio.Event()
        self.origins: Counter[str] = Counter()
        """How often a key was added, by the origin that was given; what was already due counts, too."""

    def __len__(self) -> int:
        """Keys that are due now and that no worker has taken."""
        now = self._now()
        return sum(1 for due in self._due.values() if due <= now)

    @property
    def active(self) -> frozenset[K]:
        """Keys that a worker has taken and not given back."""
        return frozenset(self._active)

    def add(self, key: K, origin: str = "", *, after: float = 0.0) -> None:
        """Makes a key due, unless it is due sooner already.

        Args:
            key: what to look at.
            origin: where the hint came from; counted.
            after: seconds from now.
        """
        if origin:
            self.origins[origin] += 1
        due = self._now() + after
        planned = self._due.get(key)
        if planned is not None and planned <= due:
            return
        self._due[key] = due
        if key not in self._active:
            self._push(key, due)

    def retry(self, key: K) -> float:
        """Makes a key due after its back-off, which doubles with every failure in a row.

        Returns:
            The seconds that it waits.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        whole = min(self._cap, self._base * 2.0 ** min(failures, 30))
        delay = whole * (1.0 + self._jitter()) / 2.0
        self.add(key, "retry", after=delay)
        return delay

    def forget(self, key: K) -> None:
        """Ends a row of failures: the next back-off of the key starts anew."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Failures in a row of a key."""
        return self._failures.get(key, 0)

    def take(self) -> K | None:
        """Takes the key that has been due longest, if one is; `done` gives it back."""
        now = self._now()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) != due or key in self._active:
                continue  # a newer entry stands for the key, or `done` pushes it again
            del self._due[key]
            self._active.add(key)
            return key
        return None

    def done(self, key: K) -> None:
        """Gives a key back; if it was added meanwhile, it is due as planned then."""
        self._active.discard(key)
        if (due := self._due.get(key)) is not None:
            self._push(key, due)

    def wait_seconds(self) -> float | None:
        """Seconds until `take` can have something that it has not now; None: only an `add` changes that."""
        while self._heap and (self._due.get(self._heap[0][2]) != self._heap[0][0] or self._heap[0][2] in self._active):
            heapq.heappop(self._heap)
        return max(0.0, self._heap[0][0] - self._now()) if self._heap else None

    async def get(self) -> K:
        """Waits for a key that is due, and takes it."""
        while True:
            key = self.take()
            if key is not None:
                return key
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.wait_seconds()):
                    await self._changed.wait()

    def _push(self, key: K, due: float) -> None:
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._changed.set()
