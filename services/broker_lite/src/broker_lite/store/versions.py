"""Versions, branches and tags."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import ColumnElement, ScalarSelect, Select, SQLColumnExpression, delete, func, select
from sqlalchemy.orm import Session, aliased

from broker_lite.config import Settings
from broker_lite.store import deployments, pacticipants
from broker_lite.store.models import (
    Branch,
    BranchVersion,
    Environment,
    Pacticipant,
    Tag,
    Version,
    now,
)
from broker_lite.store.upsert import insert_if_absent

_FIRST_TAG_WINDOW = timedelta(seconds=10)


def find(session: Session, pacticipant: str, number: str) -> Version | None:
    """The version of exactly this number."""
    statement = (
        select(Version).join(Version.pacticipant).where(Pacticipant.name == pacticipant, Version.number == number)
    )
    return session.scalars(statement).one_or_none()


def get_or_create(session: Session, pacticipant: Pacticipant, number: str) -> tuple[Version, bool]:
    """The version of this number, created if there was none; also says whether it is new."""
    created = insert_if_absent(session, Version, pacticipant_id=pacticipant.id, number=number)
    statement = select(Version).where(Version.pacticipant_id == pacticipant.id, Version.number == number)
    return session.scalars(statement).one(), created


def lock(session: Session, version: Version) -> None:
    """Hold off other transactions that write to this version, until this one ends."""
    session.execute(select(Version.id).where(Version.id == version.id).with_for_update())


def set_build_url(version: Version, build_url: str | None) -> None:
    """Remember the build that made a version."""
    if build_url is not None and version.build_url != build_url:
        version.build_url = build_url
        version.updated_at = now()


def add_to_branch(
    session: Session, version: Version, name: str, settings: Settings, *, auto_created: bool = False
) -> tuple[BranchVersion, bool]:
    """Put a version on a branch; it becomes the head unless it was on the branch before."""
    insert_if_absent(session, Branch, pacticipant_id=version.pacticipant_id, name=name)
    branch = session.scalars(
        select(Branch).where(Branch.pacticipant_id == version.pacticipant_id, Branch.name == name)
    ).one()
    created = insert_if_absent(
        session, BranchVersion, branch_id=branch.id, version_id=version.id, auto_created=auto_created
    )
    _maybe_main_branch(version.pacticipant, name, settings)
    statement = select(BranchVersion).where(
        BranchVersion.branch_id == branch.id, BranchVersion.version_id == version.id
    )
    return session.scalars(statement).one(), created


def _maybe_main_branch(pacticipant: Pacticipant, name: str, settings: Settings) -> None:
    if settings.auto_detect_main_branch and pacticipant.main_branch is None and name in settings.main_branch_candidates:
        pacticipant.main_branch = name
        pacticipant.updated_at = now()


def add_tag(session: Session, version: Version, name: str, settings: Settings, *, deploys: bool) -> tuple[Tag, bool]:
    """Tag a version.

    Args:
        session: the transaction.
        version: what is tagged.
        name: the tag.
        settings: whether the first tag also becomes the branch, and tags named like environments record deployments.
        deploys: whether this way of tagging may record a deployment at all.
    """
    _maybe_main_branch(version.pacticipant, name, settings)
    if settings.use_first_tag_as_branch and _takes_first_tag_as_branch(session, version):
        add_to_branch(session, version, name, settings, auto_created=True)
    created = insert_if_absent(session, Tag, version_id=version.id, pacticipant_id=version.pacticipant_id, name=name)
    if deploys and settings.deployed_versions_for_tags:
        environment = session.scalars(select(Environment).where(Environment.name == name)).one_or_none()
        if environment is not None:
            deployments.record_deployment(session, version, environment, target=None, auto_created=True)
    statement = select(Tag).where(Tag.version_id == version.id, Tag.name == name)
    return session.scalars(statement).one(), created


def _takes_first_tag_as_branch(session: Session, version: Version) -> bool:
    if now() - version.created_at > _FIRST_TAG_WINDOW:
        return False
    has_tag = session.scalar(select(Tag.name).where(Tag.version_id == version.id).limit(1)) is not None
    has_branch = (
        session.scalar(select(BranchVersion.id).where(BranchVersion.version_id == version.id).limit(1)) is not None
    )
    return not has_tag and not has_branch


def is_head() -> ColumnElement[bool]:
    """Criterion for memberships joined with their branch: the version is the branch's head.

    One probe of an index per branch, however long it is.
    """
    newest = aliased(BranchVersion)
    head = select(func.max(newest.id)).where(newest.branch_id == Branch.id).correlate(Branch).scalar_subquery()
    return BranchVersion.id == head


def head_version() -> ScalarSelect[int]:
    """The id of the head of the branch in the enclosing query."""
    newest = aliased(BranchVersion)
    own = select(newest.version_id).where(newest.branch_id == Branch.id)
    return own.order_by(newest.id.desc()).limit(1).correlate(Branch).scalar_subquery()


@dataclass(frozen=True)
class BranchMembership:
    """A version's place on a branch."""

    name: str
    latest: bool
    auto_created: bool = False


@dataclass
class Facets:
    """What is shown beside a version: its branches (oldest membership first), tags and environments."""

    branches: list[BranchMembership] = field(default_factory=list)
    tags: list[tuple[str, bool]] = field(default_factory=list)
    environments: list[Environment] = field(default_factory=list)


def facets(session: Session, version_ids: Collection[int], *, environments: bool = False) -> dict[int, Facets]:
    """Branches, tags and (on demand) environments of many versions at once."""
    result = {identifier: Facets() for identifier in version_ids}
    if not result:
        return result
    # Heads and newest tagged versions are looked up per branch and tag, not per version: long branches stay cheap.
    memberships = list(
        session.execute(
            select(BranchVersion.id, BranchVersion.version_id, Branch.id, Branch.name, BranchVersion.auto_created)
            .join(Branch, Branch.id == BranchVersion.branch_id)
            .where(BranchVersion.version_id.in_(result))
            .order_by(BranchVersion.id)
        )
    )
    heads = _branch_heads(session, {branch_id for _, _, branch_id, _, _ in memberships})
    for identifier, version_id, branch_id, name, auto_created in memberships:
        membership = BranchMembership(name, identifier == heads[branch_id], auto_created)
        result[version_id].branches.append(membership)
    tags = list(
        session.execute(
            select(Tag.version_id, Tag.name, Tag.pacticipant_id)
            .where(Tag.version_id.in_(result))
            .order_by(Tag.created_at, Tag.name)
        )
    )
    newest = _newest_tagged(session, version_ids)
    for version_id, name, owner in tags:
        result[version_id].tags.append((name, newest[owner, name] == version_id))
    if environments:
        for version_id, environment in deployments.current_environments(session, result):
            if environment not in result[version_id].environments:
                result[version_id].environments.append(environment)
    return result


def _branch_heads(session: Session, branch_ids: Collection[int]) -> dict[int, int]:
    """Head rows (of the membership table) by branch."""
    head = select(func.max(BranchVersion.id)).where(BranchVersion.branch_id == Branch.id).correlate(Branch)
    statement = select(Branch.id, head.scalar_subquery()).where(Branch.id.in_(branch_ids))
    return {branch_id: head for branch_id, head in session.execute(statement)}  # noqa: C416 - rows are no pairs


def _newest_tagged(session: Session, version_ids: Collection[int]) -> dict[tuple[int, str], int]:
    """The newest version with each tag that these versions have, by pacticipant and tag."""
    used = select(Tag.pacticipant_id, Tag.name).where(Tag.version_id.in_(version_ids)).distinct().subquery()
    newest = newest_with_tag(used.c.name, used.c.pacticipant_id).correlate(used)
    statement = select(used.c.pacticipant_id, used.c.name, newest.scalar_subquery())
    return {(owner, name): identifier for owner, name, identifier in session.execute(statement)}


def newest_with_tag(
    name: SQLColumnExpression[str] | str, pacticipant_id: SQLColumnExpression[int] | ScalarSelect[int]
) -> Select[int]:
    """The id of a pacticipant's newest version with a tag: one probe of an index, however many have it."""
    tag = aliased(Tag)
    return select(func.max(tag.version_id)).where(tag.pacticipant_id == pacticipant_id, tag.name == name)


def page(
    session: Session,
    pacticipant: Pacticipant,
    *,
    branch: str | None = None,
    tag: str | None = None,
    number: int | None = None,
    size: int | None = None,
) -> tuple[list[Version], int]:
    """Versions, newest first, one page or all, and how many there are in all."""
    statement = select(Version).where(Version.pacticipant_id == pacticipant.id)
    if branch is not None:
        on_branch = (
            select(BranchVersion.version_id)
            .join(Branch, Branch.id == BranchVersion.branch_id)
            .where(Branch.pacticipant_id == pacticipant.id, Branch.name == branch)
        )
        statement = statement.where(Version.id.in_(on_branch))
    if tag is not None:
        tagged = select(Tag.version_id).where(Tag.pacticipant_id == pacticipant.id, Tag.name == tag)
        statement = statement.where(Version.id.in_(tagged))
    total = session.scalar(select(func.count()).select_from(statement.subquery())) or 0
    statement = statement.order_by(Version.id.desc())
    if number is not None and size is not None:
        statement = statement.offset((number - 1) * size).limit(size)
    return list(session.scalars(statement)), total


def latest(session: Session, pacticipant: str, tag: str | None = None) -> Version | None:
    """The newest version, or the newest with a tag."""
    owner = select(Pacticipant.id).where(Pacticipant.name == pacticipant).scalar_subquery()
    if tag is not None:
        statement = select(Version).where(Version.id == newest_with_tag(tag, owner).scalar_subquery())
    else:
        statement = select(Version).where(Version.pacticipant_id == owner).order_by(Version.id.desc()).limit(1)
    return session.scalars(statement).one_or_none()


def find_branch(session: Session, pacticipant: str, name: str) -> Branch | None:
    """A branch of a pacticipant."""
    statement = select(Branch).join(Branch.pacticipant).where(Pacticipant.name == pacticipant, Branch.name == name)
    return session.scalars(statement).one_or_none()


def branches(
    session: Session, pacticipant: Pacticipant, *, query: str | None, number: int | None, size: int | None
) -> tuple[list[Branch], int]:
    """Branches, newest first, one page or all, and how many there are in all."""
    statement = select(Branch).where(Branch.pacticipant_id == pacticipant.id)
    if query:
        statement = statement.where(func.lower(Branch.name).contains(query.lower(), autoescape=True))
    total = session.scalar(select(func.count()).select_from(statement.subquery())) or 0
    statement = statement.order_by(Branch.created_at.desc(), Branch.id.desc())
    if number is not None and size is not None:
        statement = statement.offset((number - 1) * size).limit(size)
    return list(session.scalars(statement)), total


def branch_head(session: Session, pacticipant: str, name: str) -> Version | None:
    """The head version of a branch."""
    owner = select(Pacticipant.id).where(Pacticipant.name == pacticipant).scalar_subquery()
    statement = (
        select(Version)
        .join(BranchVersion, BranchVersion.version_id == Version.id)
        .join(Branch, Branch.id == BranchVersion.branch_id)
        .where(Branch.pacticipant_id == owner, Branch.name == name, is_head())
    )
    return session.scalars(statement).one_or_none()


def find_branch_version(session: Session, pacticipant: str, branch: str, number: str) -> BranchVersion | None:
    """A version's membership of a branch."""
    statement = (
        select(BranchVersion)
        .join(BranchVersion.branch)
        .join(Version, Version.id == BranchVersion.version_id)
        .join(Pacticipant, Pacticipant.id == Branch.pacticipant_id)
        .where(Pacticipant.name == pacticipant, Branch.name == branch, Version.number == number)
    )
    return session.scalars(statement).one_or_none()


def remove_branch(session: Session, branch: Branch) -> None:
    """Delete a branch; its versions stay."""
    session.execute(delete(Branch).where(Branch.id == branch.id))


def remove_branch_version(session: Session, membership: BranchVersion) -> None:
    """Take a version off a branch."""
    session.execute(delete(BranchVersion).where(BranchVersion.id == membership.id))


def find_tag(session: Session, pacticipant: str, number: str, name: str) -> Tag | None:
    """A tag on a version."""
    version = find(session, pacticipant, number)
    return None if version is None else session.get(Tag, (version.id, name))


def remove_tag(session: Session, tag: Tag) -> None:
    """Take a tag off a version."""
    session.execute(delete(Tag).where(Tag.version_id == tag.version_id, Tag.name == tag.name))


def remove(session: Session, version: Version) -> None:
    """Delete a version with its pacts, results, tags and deployments."""
    session.execute(delete(Version).where(Version.id == version.id))


def ensure(session: Session, pacticipant: str, number: str) -> tuple[Version, bool]:
    """The version, created together with its pacticipant where needed; also says whether it is new."""
    return get_or_create(session, pacticipants.get_or_create(session, pacticipant), number)


def tag_names(session: Session, version_id: int) -> list[str]:
    """Tags of one version, oldest first."""
    return list(
        session.scalars(select(Tag.name).where(Tag.version_id == version_id).order_by(Tag.created_at, Tag.name))
    )


def first_on_branch(session: Session, provider_id: int, branch: str) -> Version | None:
    """The version that a branch began with."""
    own = select(Branch.id).where(Branch.pacticipant_id == provider_id, Branch.name == branch).scalar_subquery()
    statement = (
        select(Version)
        .join(BranchVersion, BranchVersion.version_id == Version.id)
        .where(BranchVersion.branch_id == own)
        .order_by(BranchVersion.id)
        .limit(1)
    )
    return session.scalars(statement).one_or_none()


def put_tag(session: Session, version: Version, name: str) -> None:
    """Tag a version, without any further effect."""
    insert_if_absent(session, Tag, version_id=version.id, pacticipant_id=version.pacticipant_id, name=name)
