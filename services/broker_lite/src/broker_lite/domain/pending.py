"""Pending and work in progress: may a failing verification break the provider's build?

Both look at successful results only. A pact stays pending for a provider branch until that branch, or another branch
before this one began, has verified it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Success:
    """One successful verification result of a pact's content.

    Attributes:
        at: when it was published.
        branches: branches of the provider version.
        tags: tags of the provider version.
        wip: whether it was published for a work-in-progress pact.
    """

    at: datetime
    branches: frozenset[str]
    tags: frozenset[str]
    wip: bool = False


def pending_for_branch(results: Sequence[Success], branch: str, branch_created_at: datetime | None) -> bool:
    """Whether the content is pending for a provider branch.

    Args:
        results: successful results of the content by any version of the provider.
        branch: the provider branch.
        branch_created_at: when the branch began; None if it does not exist yet.
    """
    for result in results:
        if branch in result.branches:
            return False
        if result.branches - {branch} and (branch_created_at is None or result.at < branch_created_at):
            return False
    return True


def pending_tags(results: Sequence[Success], tags: Sequence[str], tag_created_at: Mapping[str, datetime]) -> list[str]:
    """Those of the provider version tags for which the content is pending."""
    return [tag for tag in tags if _pending_for_tag(results, tag, tag_created_at.get(tag))]


def _pending_for_tag(results: Sequence[Success], tag: str, created_at: datetime | None) -> bool:
    for result in results:
        if tag in result.tags:
            return False
        if result.tags - {tag} and (created_at is None or result.at < created_at):
            return False
    return True


def wip_for_branch(
    results: Sequence[Success],
    branch: str,
    first_version_at: datetime | None,
    look_back_from: datetime,
) -> bool:
    """Whether a head pact is work in progress for a provider branch.

    Results of work-in-progress runs do not count, nor do results older than `look_back_from`.
    """
    for result in results:
        if result.wip or result.at < look_back_from:
            continue
        if branch in result.branches:
            return False
        if result.branches - {branch} and (first_version_at is None or result.at < first_version_at):
            return False
    return True


def wip_for_tag(results: Sequence[Success], tag: str, first_tagged_at: datetime | None) -> bool:
    """Whether a head pact is work in progress for a provider version tag."""
    for result in results:
        if result.wip:
            continue
        if tag in result.tags:
            return False
        if result.tags - {tag} and (first_tagged_at is None or result.at < first_tagged_at):
            return False
    return True


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
