"""Places for runs that all PactProviders of one PactBroker share, and whose turn it is.

Each PactProvider decides for itself, from what all can see: which runs are active, and who has been waiting since when.
Whoever has waited longest goes first and whoever was served goes to the end, so everybody's turn comes.
"""

from collections.abc import Collection
from typing import Final

from pact_operator.core.facts import InLine, Places

KEEP_SECONDS: Final = 30.0
"""How long a free place is kept for each one before us in line: whoever cannot take his must not block the rest."""


def free(places: Places, leaving: Collection[str] = ()) -> int:
    """How many places nobody holds.

    Args:
        places: of a PactBroker.
        leaving: names of active runs that are about to be removed.
    """
    return max(0, places.limit - len(places.taken.difference(leaving)))


def granted(places: Places, me: InLine, now: float, leaving: Collection[str] = ()) -> int:
    """How many runs a PactProvider may start now.

    Args:
        places: of its PactBroker.
        me: since when it waits; `now` if it has only begun to.
        now: seconds since the epoch.
        leaving: names of its active runs that it is about to remove.
    """
    return max(0, free(places, leaving) - _before(places, me, now))


def next_in_line(places: Places) -> tuple[InLine, ...]:
    """Whose turn it is: as many as there are free places, the longest-waiting first."""
    return tuple(sorted(places.line)[: free(places)])


def look_again_in(places: Places, me: InLine, now: float) -> float | None:
    """When a place that is kept for others may be taken after all, in seconds; None: no time will bring that about."""
    unused = free(places)
    if not unused or granted(places, me, now):
        return None
    to_pass = _ahead(places, me) - unused + 1
    return max(1.0, places.freed_at + KEEP_SECONDS * to_pass - now)


def _before(places: Places, me: InLine, now: float) -> int:
    passed = int(max(0.0, now - places.freed_at) // KEEP_SECONDS)
    return max(0, _ahead(places, me) - passed)


def _ahead(places: Places, me: InLine) -> int:
    return sum(1 for other in places.line if other < me and other.name != me.name)
