"""Pact contents and their publications."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, or_, select, union_all
from sqlalchemy.orm import Session, aliased

from broker_lite.domain import content as pact_content
from broker_lite.store import pacticipants
from broker_lite.store.models import (
    Branch,
    BranchVersion,
    DeployedVersion,
    Environment,
    Pacticipant,
    PactPublication,
    PactVersion,
    ReleasedVersion,
    Tag,
    Verification,
    Version,
    now,
)
from broker_lite.store.upsert import insert_if_absent
from broker_lite.store.versions import head_version


def current(*criteria: ColumnElement[bool]) -> Select[PactPublication]:
    """Publications that were not overwritten, by criteria."""
    return select(PactPublication).where(PactPublication.current, *criteria)


def between(consumer: str, provider: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Criteria: the pact is between these two."""
    return (
        PactPublication.consumer_id == select(Pacticipant.id).where(Pacticipant.name == consumer).scalar_subquery(),
        PactPublication.provider_id == select(Pacticipant.id).where(Pacticipant.name == provider).scalar_subquery(),
    )


def tagged(tag: str) -> ColumnElement[bool]:
    """Criterion: the consumer version has this tag."""
    return select(Tag.name).where(Tag.version_id == PactPublication.consumer_version_id, Tag.name == tag).exists()


def untagged() -> ColumnElement[bool]:
    """Criterion: the consumer version has no tag."""
    return ~select(Tag.name).where(Tag.version_id == PactPublication.consumer_version_id).exists()


def on_branch(name: str | None, *, head: bool) -> ColumnElement[bool]:
    """Criterion: the consumer version is on (or the head of) a branch; None means the consumer's main branch."""
    owner = aliased(Pacticipant)
    named = Branch.name == (owner.main_branch if name is None else name)
    if head:
        # There are few heads, and many pacts: the heads are found first.
        heads = select(head_version()).select_from(Branch).join(owner, owner.id == Branch.pacticipant_id)
        return PactPublication.consumer_version_id.in_(heads.where(named))
    members = (
        select(BranchVersion.version_id)
        .join(Branch, Branch.id == BranchVersion.branch_id)
        .join(owner, owner.id == Branch.pacticipant_id)
        .where(named)
    )
    own = BranchVersion.version_id == PactPublication.consumer_version_id
    return members.where(own).correlate(PactPublication).exists()


def newest(session: Session, *criteria: ColumnElement[bool]) -> PactPublication | None:
    """The publication of the newest consumer version, by criteria."""
    statement = current(*criteria).order_by(PactPublication.consumer_version_id.desc()).limit(1)
    return session.scalars(statement).one_or_none()


def by_version(session: Session, consumer: str, provider: str, number: str) -> PactPublication | None:
    """The current pact of a consumer version."""
    return newest(session, *between(consumer, provider), numbered(consumer, [number]))


def numbered(consumer: str, numbers: Sequence[str]) -> ColumnElement[bool]:
    """Criterion: the consumer version has one of these numbers."""
    owner = select(Pacticipant.id).where(Pacticipant.name == consumer).scalar_subquery()
    versions = select(Version.id).where(Version.pacticipant_id == owner, Version.number.in_(numbers))
    return PactPublication.consumer_version_id.in_(versions)


def by_sha(session: Session, consumer: str, provider: str, sha: str) -> PactPublication | None:
    """The newest publication of a content; one that was overwritten only if there is no other."""
    names = {
        name: select(Pacticipant.id).where(Pacticipant.name == name).scalar_subquery() for name in (consumer, provider)
    }
    content = select(PactVersion.id).where(
        PactVersion.consumer_id == names[consumer], PactVersion.provider_id == names[provider], PactVersion.sha == sha
    )
    statement = (
        select(PactPublication)
        .where(PactPublication.pact_version_id == content.scalar_subquery())
        .order_by(
            PactPublication.current.desc(),
            PactPublication.consumer_version_id.desc(),
            PactPublication.revision_number.desc(),
        )
        .limit(1)
    )
    return session.scalars(statement).one_or_none()


def overall_latest(session: Session, *criteria: ColumnElement[bool]) -> list[PactPublication]:
    """Per consumer and provider the pact of the newest consumer version, by criteria."""
    # Pairs are taken from the contents, of which there are far fewer than publications; then one probe per pair.
    pairs = select(PactVersion.consumer_id, PactVersion.provider_id).distinct().subquery()
    newest_of_pair = (
        select(PactPublication.id)
        .where(
            PactPublication.consumer_id == pairs.c.consumer_id,
            PactPublication.provider_id == pairs.c.provider_id,
            PactPublication.current,
            *criteria,
        )
        .order_by(PactPublication.consumer_version_id.desc())
        .limit(1)
        .correlate(pairs)
    )
    ids = select(newest_of_pair.scalar_subquery()).select_from(pairs)
    return in_order(session.scalars(select(PactPublication).where(PactPublication.id.in_(ids))).all())


def listed(session: Session, *criteria: ColumnElement[bool]) -> list[PactPublication]:
    """All current pacts, by criteria."""
    return in_order(session.scalars(current(*criteria)).all())


def in_order(pacts: Sequence[PactPublication]) -> list[PactPublication]:
    """By consumer name, then provider name, then age of the consumer version."""
    return sorted(
        pacts,
        key=lambda one: (
            one.consumer.name.lower(),
            one.provider.name.lower(),
            one.consumer_version_id,
            one.revision_number,
        ),
    )


def every_revision(session: Session, *criteria: ColumnElement[bool]) -> list[PactPublication]:
    """All pacts, those that were overwritten included, by criteria."""
    return in_order(session.scalars(select(PactPublication).where(*criteria)).all())


def of_provider(provider: Pacticipant) -> ColumnElement[bool]:
    """Criterion: the pact is with this provider."""
    return PactPublication.provider_id == provider.id


def of_either(pacticipant: Pacticipant) -> ColumnElement[bool]:
    """Criterion: the pacticipant is the consumer or the provider."""
    return or_(PactPublication.consumer_id == pacticipant.id, PactPublication.provider_id == pacticipant.id)


def content_of(session: Session, publication: PactPublication) -> Any:
    """The parsed pact."""
    return pact_content.parse_json(contents(session, [publication.pact_version_id])[publication.pact_version_id])


def contents(session: Session, pact_version_ids: Sequence[int]) -> dict[int, str]:
    """Texts of contents by row."""
    statement = select(PactVersion.id, PactVersion.content).where(PactVersion.id.in_(pact_version_ids))
    return {row.id: row.content for row in session.execute(statement)}


def publish(
    session: Session, version: Version, provider_name: str, document: Any, at: datetime | None = None
) -> PactPublication:
    """Store a pact for a consumer version; equal content is not stored twice.

    The pacts of one request share one moment. The caller has locked the version, so that revisions are numbered one
    after the other.
    """
    provider = pacticipants.get_or_create(session, provider_name)
    content_row = _content_row(session, version.pacticipant_id, provider.id, document)
    existing = newest(
        session,
        PactPublication.consumer_version_id == version.id,
        PactPublication.provider_id == provider.id,
    )
    if existing is not None and existing.pact_version_id == content_row.id:
        return existing
    if existing is not None:
        existing.current = False
    publication = PactPublication(
        consumer_version=version,
        consumer=version.pacticipant,
        provider=provider,
        pact_version=content_row,
        revision_number=1 if existing is None else existing.revision_number + 1,
        current=True,
        created_at=at or now(),
    )
    session.add(publication)
    session.flush()
    return publication


def _content_row(session: Session, consumer_id: int, provider_id: int, document: Any) -> PactVersion:
    sha = pact_content.content_sha(document)
    statement = select(PactVersion).where(
        PactVersion.consumer_id == consumer_id, PactVersion.provider_id == provider_id, PactVersion.sha == sha
    )
    found = session.scalars(statement).one_or_none()
    if found is not None:
        return found
    text = pact_content.compact(pact_content.with_interaction_ids(document))
    insert_if_absent(session, PactVersion, consumer_id=consumer_id, provider_id=provider_id, sha=sha, content=text)
    return session.scalars(statement).one()


def previous_shas(session: Session, publication: PactPublication, tags: Sequence[str]) -> dict[str | None, str | None]:
    """SHA of the latest earlier pact of the same pair: by each tag, or under None among untagged versions."""
    earlier = (
        PactPublication.consumer_id == publication.consumer_id,
        PactPublication.provider_id == publication.provider_id,
        PactPublication.consumer_version_id < publication.consumer_version_id,
    )
    if not tags:
        previous = newest(session, *earlier, untagged())
        return {None: previous.pact_version.sha if previous else None}
    result: dict[str | None, str | None] = {}
    for tag in tags:
        previous = newest(session, *earlier, tagged(tag))
        result[tag] = previous.pact_version.sha if previous else None
    return result


def previous_distinct(session: Session, publication: PactPublication) -> PactPublication | None:
    """The latest earlier pact of the same pair with other content."""
    return newest(
        session,
        PactPublication.consumer_id == publication.consumer_id,
        PactPublication.provider_id == publication.provider_id,
        PactPublication.consumer_version_id < publication.consumer_version_id,
        PactPublication.pact_version_id != publication.pact_version_id,
    )


def of_versions(session: Session, version_ids: Sequence[int]) -> dict[int, list[PactPublication]]:
    """Current pacts of consumer versions, by version, sorted by provider name."""
    result: dict[int, list[PactPublication]] = {identifier: [] for identifier in version_ids}
    for publication in session.scalars(current(PactPublication.consumer_version_id.in_(version_ids))):
        result[publication.consumer_version_id].append(publication)
    for publications in result.values():
        publications.sort(key=lambda one: one.provider.name.lower())
    return result


def remove(session: Session, publication: PactPublication) -> None:
    """Delete a consumer version's pact with a provider, in all its revisions, and contents left without any."""
    session.execute(
        delete(PactPublication).where(
            PactPublication.consumer_version_id == publication.consumer_version_id,
            PactPublication.provider_id == publication.provider_id,
        )
    )
    remove_orphans(session)


def remove_orphans(session: Session) -> None:
    """Delete contents that no publication refers to any more."""
    used = select(PactPublication.id).where(PactPublication.pact_version_id == PactVersion.id).exists()
    session.execute(delete(PactVersion).where(~used).execution_options(synchronize_session=False))


def remove_between(session: Session, consumer: Pacticipant, provider: Pacticipant) -> None:
    """Delete all pacts between two, with their results."""
    session.execute(
        delete(PactVersion).where(PactVersion.consumer_id == consumer.id, PactVersion.provider_id == provider.id)
    )


def with_content(session: Session, publications: Sequence[PactPublication]) -> dict[int, Any]:
    """Parsed contents by pact version row."""
    texts = contents(session, [one.pact_version_id for one in publications])
    return {identifier: pact_content.parse_json(text) for identifier, text in texts.items()}


def in_environment(environment: str) -> ColumnElement[bool]:
    """Criterion: the consumer version is deployed or released in the environment of this name or uuid."""
    there = select(Environment.id).where(or_(Environment.name == environment, Environment.uuid == environment))
    deployed = select(DeployedVersion.version_id).where(
        DeployedVersion.undeployed_at.is_(None), DeployedVersion.environment_id.in_(there)
    )
    released = select(ReleasedVersion.version_id).where(
        ReleasedVersion.support_ended_at.is_(None), ReleasedVersion.environment_id.in_(there)
    )
    return PactPublication.consumer_version_id.in_(union_all(deployed, released))


def at_a_head() -> ColumnElement[bool]:
    """Criterion: the consumer version is the head of any branch, or deployed or released anywhere."""
    heads = select(head_version()).select_from(Branch)
    deployed = select(DeployedVersion.version_id).where(DeployedVersion.undeployed_at.is_(None))
    released = select(ReleasedVersion.version_id).where(ReleasedVersion.support_ended_at.is_(None))
    return PactPublication.consumer_version_id.in_(union_all(heads, deployed, released))


def newest_with_each_tag(session: Session, *criteria: ColumnElement[bool]) -> list[PactPublication]:
    """Per pair and tag the pact of the newest consumer version that has it, by criteria."""
    newest_versions = (
        select(
            PactPublication.consumer_id,
            PactPublication.provider_id,
            func.max(PactPublication.consumer_version_id).label("newest"),
        )
        .join(Tag, Tag.version_id == PactPublication.consumer_version_id)
        .where(PactPublication.current, *criteria)
        .group_by(PactPublication.consumer_id, PactPublication.provider_id, Tag.name)
        .subquery()
    )
    statement = current().join(
        newest_versions,
        and_(
            newest_versions.c.consumer_id == PactPublication.consumer_id,
            newest_versions.c.provider_id == PactPublication.provider_id,
            newest_versions.c.newest == PactPublication.consumer_version_id,
        ),
    )
    return in_order(session.scalars(statement).unique().all())


def by_activity(session: Session) -> list[PactPublication]:
    """One pact of every pair (the newest), the pair with the latest publication or result first."""
    published = (
        select(
            PactPublication.consumer_id,
            PactPublication.provider_id,
            func.max(PactPublication.created_at).label("at"),
            func.min(PactPublication.id).label("first"),
        )
        .group_by(PactPublication.consumer_id, PactPublication.provider_id)
        .subquery()
    )
    last_result = (
        select(Verification.created_at)
        .where(Verification.pact_version_id == PactVersion.id)
        .order_by(Verification.id.desc())
        .limit(1)
        .correlate(PactVersion)
        .scalar_subquery()
    )
    by_content = select(PactVersion.consumer_id, PactVersion.provider_id, last_result.label("at")).subquery()
    verified = (
        select(by_content.c.consumer_id, by_content.c.provider_id, func.max(by_content.c.at))
        .where(by_content.c.at.is_not(None))
        .group_by(by_content.c.consumer_id, by_content.c.provider_id)
    )
    activity = {
        (consumer, provider): (at, first) for consumer, provider, at, first in session.execute(select(published))
    }
    for consumer, provider, at in session.execute(verified):
        last, first = activity[consumer, provider]
        activity[consumer, provider] = (max(last, at), first)
    rows = sorted(overall_latest(session), key=lambda one: activity[one.consumer_id, one.provider_id][1])
    return sorted(rows, key=lambda one: activity[one.consumer_id, one.provider_id][0], reverse=True)
