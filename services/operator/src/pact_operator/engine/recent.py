"""What this operator created itself and the watches have not told of yet.

A deterministic name stops the same work from being created twice, but not overlapping work: were a run not seen yet
when another contract arrives, both would verify the first one. So own writes are read back from memory until the watch
tells of them. A restart needs no memory: it begins with a fresh list.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pact_operator.core.facts import Key
from pact_operator.core.times import rfc3339
from pact_operator.engine.snapshot import Body
from pact_operator.ports import Clock

FORGET_SECONDS: Final = 900.0
"""Longer than any watch lags (kopf ends a silent one after 70 s): then the object went before it was seen."""
FORGET_DOUBTFUL_SECONDS: Final = 60.0
"""For an object that may never have been created, since the API server's answer was lost."""


class Recent:
    """Objects that were created, or may have been where the API server's answer was lost.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._made: dict[Key, tuple[float, Body]] = {}
        """Until when an object is remembered, and the object."""

    def add(self, key: Key, manifest: Mapping[str, Any], *, doubtful: bool = False) -> None:
        """Remembers an object that was created just now, or may have been."""
        now = self._clock.now()
        body = {**manifest, "metadata": {**manifest["metadata"], "creationTimestamp": rfc3339(now)}}
        self._made[key] = (now + (FORGET_DOUBTFUL_SECONDS if doubtful else FORGET_SECONDS), body)

    def drop(self, key: Key) -> None:
        """Forgets an object, since it was deleted."""
        self._made.pop(key, None)

    def merged(self, kind: str, namespace: str, seen: Iterable[Body]) -> list[Body]:
        """What the watches have told of, and what they will.

        Args:
            kind: of the objects.
            namespace: of the objects.
            seen: those that the watches have told of.

        Returns:
            Those, and the remembered ones that are not among them.
        """
        bodies = list(seen)
        for body in bodies:
            self.drop(Key(kind, namespace, body["metadata"]["name"]))
        now = self._clock.now()
        self._made = {key: made for key, made in self._made.items() if made[0] > now}
        return bodies + [
            body for key, (_, body) in self._made.items() if (key.kind, key.namespace) == (kind, namespace)
        ]
