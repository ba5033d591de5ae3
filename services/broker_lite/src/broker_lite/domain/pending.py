"""Pending and work in progress: may a failing verification break the provider's build?

Both look at successful results only, and by the same rule. A pact stays pending for a provider branch until that
branch, or another branch before this one began, has verified it. A pact is work in progress by that rule, too, but
fewer results count: not those of work-in-progress runs, and none that are long past. Tags stand for branches where a
provider has no branches.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Successes:
    """What the successful results of a content come down to, seen from one branch (or tag) of the provider.

    Attributes:
        here: whether a version on the branch has one.
        first_elsewhere: when the first was published for a version that is on another branch; need not be known
            where `here` is true.
    """

    here: bool = False
    first_elsewhere: datetime | None = None


def waits(successes: Successes, began: datetime | None) -> bool:
    """Whether a content still waits for its first success that counts for a branch (or tag).

    Args:
        successes: the results that count.
        began: when the branch began; None if it does not exist yet.
    """
    if successes.here:
        return False
    first = successes.first_elsewhere
    return first is None or (began is not None and first >= began)


@dataclass(frozen=True)
class Requirement:
    """A provider version that ought to verify a content, and why."""

    version_id: int
    number: str
    branch: str | None
    descriptions: tuple[str, ...]


def required_verifications(
    candidates: Sequence[Requirement], verified_version_ids: Collection[int]
) -> list[Requirement]:
    """Provider versions that have no result for a content yet; the same version is named once with all reasons."""
    merged: dict[int, Requirement] = {}
    for candidate in candidates:
        if candidate.version_id in verified_version_ids:
            continue
        known = merged.get(candidate.version_id)
        if known is None:
            merged[candidate.version_id] = candidate
            continue
        descriptions = tuple(dict.fromkeys((*known.descriptions, *candidate.descriptions)))
        merged[candidate.version_id] = Requirement(
            known.version_id, known.number, known.branch or candidate.branch, descriptions
        )
    return list(merged.values())
