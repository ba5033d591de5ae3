"""Finding the pacts that a provider is to verify."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, and_, func, select, true
from sqlalchemy.orm import Session, aliased

from broker_lite.domain import pending, selectors
from broker_lite.domain.notices import Verifiable
from broker_lite.domain.selectors import Candidate, Kind, Resolved, Selector
from broker_lite.store import versions
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

LOOK_BACK = timedelta(days=30)
"""How far back results count that take a pact off the work-in-progress list."""


_Base = Select[str, str | None, str, int, datetime, int, str]
_Rows = Select[*tuple[Any, ...]]


@dataclass(frozen=True)
class Query:
    """What a provider asks for."""

    selectors: Sequence[Selector] = ()
    provider_branch: str | None = None
    provider_tags: Sequence[str] = ()
    include_pending: bool = True
    wip_since: datetime | None = None


def for_verification(session: Session, provider: Pacticipant, query: Query) -> list[tuple[Candidate, Verifiable]]:
    """The pacts to verify: those selected, by consumer, then those in progress."""
    chosen = list(query.selectors) or selectors.defaults(_consumer_facts(session, provider))
    found: list[Candidate] = []
    for group in _same_but_for_consumer(chosen):
        candidates = _select(session, provider, group)
        if not candidates and group[0].fallback:
            by_fallback = _select(session, provider, [replace(one, name=one.fallback) for one in group])
            candidates = [_marked(one, group[0].used_fallback()) for one in by_fallback]
        found += candidates
    explicit = selectors.merge(found)
    points = _points_of_view(session, provider, query)
    contents = [one.pact_version_id for one in explicit]
    waiting = _waiting(session, contents, points, query) if query.include_pending else {}
    return [
        *((one, _verifiable(provider, one, query, waiting.get(one.pact_version_id, ()))) for one in explicit),
        *_work_in_progress(session, provider, query, points, set(contents)),
    ]


def _same_but_for_consumer(chosen: Sequence[Selector]) -> list[list[Selector]]:
    """Groups of selectors that one query answers: the default selectors name every consumer."""
    groups: dict[object, list[Selector]] = {}
    for position, selector in enumerate(chosen):
        # A fallback is used for a selector as a whole, so such a selector stays alone.
        alone = selector.consumer is None or selector.fallback is not None
        key: object = position if alone else (selector.kind, selector.name)
        groups.setdefault(key, []).append(selector)
    return list(groups.values())


def _marked(candidate: Candidate, selector: Selector) -> Candidate:
    return replace(candidate, resolved=tuple(replace(one, selector=selector) for one in candidate.resolved))


def _base(provider: Pacticipant, *, few: bool) -> _Base:
    """The provider's pacts, with what a candidate needs; `few` if other criteria name few consumer versions."""
    # An index by provider leads to all of its pacts. Where few versions are named those are the way to go, and the
    # sum keeps a database from taking the other one.
    owner = PactPublication.provider_id + 0 if few else PactPublication.provider_id
    return (
        select(
            Pacticipant.name,
            Pacticipant.main_branch,
            PactVersion.sha,
            PactVersion.id,
            PactPublication.created_at,
            Version.id,
            Version.number,
        )
        .select_from(PactPublication)
        .join(Pacticipant, Pacticipant.id == PactPublication.consumer_id)
        .join(PactVersion, PactVersion.id == PactPublication.pact_version_id)
        .join(Version, Version.id == PactPublication.consumer_version_id)
        .where(PactPublication.current, owner == provider.id)
        .order_by(Version.id)
    )


def _select(session: Session, provider: Pacticipant, group: Sequence[Selector]) -> list[Candidate]:
    selector = group[0]
    base = _base(provider, few=selector.kind not in (Kind.ALL_TAG, Kind.EACH_BRANCH))
    by_consumer = {one.consumer: one for one in group if one.consumer is not None}
    if by_consumer:
        base = base.where(Pacticipant.name.in_(by_consumer))
    if selector.kind is Kind.ENVIRONMENT:
        in_place = [_deployed(base, selector.name), _released(base, selector.name)]
        rows = {tuple(row) for statement in in_place for row in session.execute(statement)}
        found = sorted(rows, key=lambda row: row[5])
    else:
        found = [tuple(row) for row in session.execute(_statement(base, provider, selector))]
    return [_candidate(by_consumer.get(row[0], selector), row) for row in found]


def _statement(base: _Base, provider: Pacticipant, selector: Selector) -> _Rows:
    kind = selector.kind
    if kind is Kind.LATEST:
        return base.where(_is_overall_latest(provider))
    if kind in (Kind.DEPLOYED, Kind.RELEASED):
        return (_deployed if kind is Kind.DEPLOYED else _released)(base, selector.name)
    if kind in (Kind.LATEST_TAG, Kind.ALL_TAG):
        tagged = base.join(Tag, and_(Tag.version_id == Version.id, Tag.name == selector.name))
        return tagged.where(_is_newest_with_tag(selector.name)) if kind is Kind.LATEST_TAG else tagged
    if kind is Kind.EACH_BRANCH:
        return _branch_heads(base)
    owner = aliased(Pacticipant)
    heads = (
        select(versions.head_version())
        .select_from(Branch)
        .join(owner, owner.id == Branch.pacticipant_id)
        .where(Branch.name == (owner.main_branch if kind is Kind.MAIN_BRANCH else selector.name))
    )
    return base.where(PactPublication.consumer_version_id.in_(heads))


def _candidate(selector: Selector, row: tuple[Any, ...]) -> Candidate:
    consumer, main_branch, sha, pact_version_id, created_at, version_id, number, *place = row
    in_environment = len(place) == 2
    resolved = Resolved(
        selector,
        version=number,
        order=version_id,
        main_branch=main_branch,
        branch=place[0] if selector.kind is Kind.EACH_BRANCH else None,
        environment=place[0] if in_environment else None,
        production=place[1] if in_environment else False,
    )
    return Candidate(consumer, sha, pact_version_id, created_at, (resolved,))


def _is_overall_latest(provider: Pacticipant) -> ColumnElement[bool]:
    newest = aliased(PactPublication)
    return PactPublication.id == (
        select(newest.id)
        .where(newest.current, newest.consumer_id == Pacticipant.id, newest.provider_id == provider.id)
        .order_by(newest.consumer_version_id.desc())
        .limit(1)
        .correlate(Pacticipant)
        .scalar_subquery()
    )


def _is_newest_with_tag(name: str | None = None) -> ColumnElement[bool]:
    """Criterion: the consumer's newest version with a tag; without a name, with the tag that is joined."""
    if name is not None:
        return Version.id == versions.newest_with_tag(name, Pacticipant.id).correlate(Pacticipant).scalar_subquery()
    newest = versions.newest_with_tag(Tag.name, Pacticipant.id)
    return Version.id == newest.correlate(Tag, Pacticipant).scalar_subquery()


def _branch_heads(base: _Base) -> _Rows:
    return (
        base.join(BranchVersion, BranchVersion.version_id == Version.id)
        .join(Branch, Branch.id == BranchVersion.branch_id)
        .where(versions.is_head())
        .add_columns(Branch.name)
    )


def _deployed(base: _Base, environment: str | None) -> _Rows:
    current = select(DeployedVersion.version_id).where(DeployedVersion.undeployed_at.is_(None))
    statement = (
        base.where(PactPublication.consumer_version_id.in_(current))
        .join(DeployedVersion, and_(DeployedVersion.version_id == Version.id, DeployedVersion.undeployed_at.is_(None)))
        .join(Environment, Environment.id == DeployedVersion.environment_id)
        .add_columns(Environment.name, Environment.production)
    )
    return statement if environment is None else statement.where(Environment.name == environment)


def _released(base: _Base, environment: str | None) -> _Rows:
    current = select(ReleasedVersion.version_id).where(ReleasedVersion.support_ended_at.is_(None))
    statement = (
        base.where(PactPublication.consumer_version_id.in_(current))
        .join(
            ReleasedVersion,
            and_(ReleasedVersion.version_id == Version.id, ReleasedVersion.support_ended_at.is_(None)),
        )
        .join(Environment, Environment.id == ReleasedVersion.environment_id)
        .add_columns(Environment.name, Environment.production)
    )
    return statement if environment is None else statement.where(Environment.name == environment)


def _consumer_facts(session: Session, provider: Pacticipant) -> list[selectors.ConsumerFacts]:
    published = select(PactPublication.id).where(
        PactPublication.consumer_id == Pacticipant.id, PactPublication.provider_id == provider.id
    )
    on_main = (
        select(BranchVersion.id)
        .join(Branch, Branch.id == BranchVersion.branch_id)
        .where(Branch.pacticipant_id == Pacticipant.id, Branch.name == Pacticipant.main_branch)
        .exists()
    )
    tagged_main = (
        select(Tag.name).where(Tag.pacticipant_id == Pacticipant.id, Tag.name == Pacticipant.main_branch).exists()
    )
    statement = select(Pacticipant.name, Pacticipant.main_branch, on_main, tagged_main).where(published.exists())
    return [
        selectors.ConsumerFacts(name, main_branch, bool(has_branch), bool(has_tag))
        for name, main_branch, has_branch, has_tag in session.execute(statement.order_by(Pacticipant.name))
    ]


@dataclass(frozen=True)
class _PointOfView:
    """A branch or tag of the provider, and what is known of it.

    Attributes:
        name: the branch or tag; None: any successful result will do.
        members: versions that are on it; None if it does not exist.
        elsewhere: criterion on results: the version is on another one.
        pending_began, work_began: when it began, for the two questions; None if it does not exist.
    """

    name: str | None
    members: Select[int] | None
    elsewhere: ColumnElement[bool]
    pending_began: datetime | None = None
    work_began: datetime | None = None


_FEW = 100
"""Versions of a branch that are asked for one by one."""


def _points_of_view(session: Session, provider: Pacticipant, query: Query) -> list[_PointOfView]:
    if query.provider_branch:
        return [_branch_point(session, provider, query.provider_branch)]
    if not query.provider_tags:
        return [_PointOfView(None, None, true())]
    began = (
        select(Tag.name, func.min(Tag.created_at).label("at"))
        .where(Tag.pacticipant_id == provider.id, Tag.name.in_(query.provider_tags))
        .group_by(Tag.name)
    )
    moments = {row.name: row.at for row in session.execute(began)}
    return [_tag_point(provider, tag, moments.get(tag)) for tag in query.provider_tags]


def _branch_point(session: Session, provider: Pacticipant, name: str) -> _PointOfView:
    branch = versions.find_branch(session, provider.name, name)
    other = select(BranchVersion.id).where(BranchVersion.version_id == Verification.provider_version_id)
    if branch is None:
        return _PointOfView(name, None, other.exists())
    first = versions.first_on_branch(session, provider.id, name)
    members = select(BranchVersion.version_id).where(BranchVersion.branch_id == branch.id)
    elsewhere = other.where(BranchVersion.branch_id != branch.id).exists()
    return _PointOfView(name, members, elsewhere, branch.created_at, first.created_at if first else None)


def _tag_point(provider: Pacticipant, name: str, began: datetime | None) -> _PointOfView:
    members = select(Tag.version_id).where(Tag.pacticipant_id == provider.id, Tag.name == name)
    elsewhere = select(Tag.name).where(Tag.version_id == Verification.provider_version_id, Tag.name != name).exists()
    return _PointOfView(name, members, elsewhere, began, began)


def _waiting(
    session: Session,
    contents: Sequence[int],
    points: Sequence[_PointOfView],
    query: Query,
    *,
    as_work: bool = False,
) -> dict[int, tuple[str | None, ...]]:
    """Branch or tags for which contents still wait for a success; contents that wait for none are left out."""
    counted: list[SQLColumnExpression[bool]] = [Verification.success]
    if as_work:
        counted.append(~Verification.wip)
        if query.provider_branch:
            counted.append(Verification.created_at >= now() - LOOK_BACK)
    result: dict[int, tuple[str | None, ...]] = {}
    for point in points:
        found = _successes(session, contents, point, counted)
        began = point.work_began if as_work else point.pending_began
        for one in contents:
            if pending.waits(found.get(one, pending.Successes()), began):
                result[one] = (*result.get(one, ()), point.name)
    return result


def _successes(
    session: Session, contents: Sequence[int], point: _PointOfView, counted: Sequence[SQLColumnExpression[bool]]
) -> dict[int, pending.Successes]:
    """What is known of the contents that were verified successfully.

    A content that has not changed for years has thousands of results, and so has a main branch of versions; this looks
    at as few of either as it can.
    """
    here = _verified_by(session, contents, point.members, counted) if point.members is not None else set()
    first = (
        select(Verification.created_at)
        .where(Verification.pact_version_id == PactVersion.id, *counted, point.elsewhere)
        .order_by(Verification.created_at)
        .limit(1)
        .correlate(PactVersion)
        .scalar_subquery()
    )
    others = [one for one in contents if one not in here]
    statement = select(PactVersion.id, first).where(PactVersion.id.in_(others))
    result = {one: pending.Successes(here=True) for one in here}
    for identifier, moment in session.execute(statement):
        if moment is not None:
            result[identifier] = pending.Successes(first_elsewhere=moment)
    return result


def _verified_by(
    session: Session, contents: Sequence[int], members: Select[int], counted: Sequence[SQLColumnExpression[bool]]
) -> set[int]:
    """Contents that any of the member versions verified."""
    few = session.scalars(members.limit(_FEW + 1)).all()
    if len(few) <= _FEW:
        own = select(Verification.pact_version_id).where(
            Verification.pact_version_id.in_(contents), Verification.provider_version_id.in_(few), *counted
        )
        return set(session.scalars(own.distinct()))
    version_id = members.selected_columns[0]
    # Long branches are those that verify everything: the newest result is likely to be one of theirs.
    newest = (
        select(Verification.id)
        .where(Verification.pact_version_id == PactVersion.id, *counted)
        .where(members.where(version_id == Verification.provider_version_id).exists())
        .order_by(Verification.id.desc())
        .limit(1)
        .correlate(PactVersion)
        .scalar_subquery()
    )
    found = session.execute(select(PactVersion.id, newest).where(PactVersion.id.in_(contents)))
    return {identifier for identifier, result in found if result is not None}


def _verifiable(
    provider: Pacticipant, candidate: Candidate, query: Query, waiting: tuple[str | None, ...]
) -> Verifiable:
    base = Verifiable(
        consumer=candidate.consumer,
        provider=provider.name,
        resolved=candidate.resolved,
        provider_branch=query.provider_branch,
    )
    if not query.include_pending:
        return base
    if query.provider_branch or not query.provider_tags:
        return replace(base, pending=bool(waiting))
    tags = tuple(tag for tag in query.provider_tags if tag in waiting)
    settled = tuple(tag for tag in query.provider_tags if tag not in waiting)
    return replace(base, pending=bool(tags), pending_tags=tags, settled_tags=settled)


def _work_in_progress(
    session: Session, provider: Pacticipant, query: Query, points: Sequence[_PointOfView], explicit: set[int]
) -> list[tuple[Candidate, Verifiable]]:
    if query.wip_since is None or not (query.provider_branch or query.provider_tags):
        return []
    candidates = [one for one in _heads(session, provider, query.wip_since) if one.pact_version_id not in explicit]
    contents = list(dict.fromkeys(one.pact_version_id for one in candidates))
    waiting = _waiting(session, contents, points, query, as_work=True)
    return [
        (
            one,
            Verifiable(
                consumer=one.consumer,
                provider=provider.name,
                resolved=one.resolved,
                pending=True,
                wip=True,
                provider_branch=query.provider_branch,
                pending_tags=() if query.provider_branch else _named(waiting[one.pact_version_id]),
            ),
        )
        for one in _merge_unsorted([one for one in candidates if one.pact_version_id in waiting])
    ]


def _named(tags: tuple[str | None, ...]) -> tuple[str, ...]:
    return tuple(tag for tag in tags if tag is not None)


def _merge_unsorted(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Like `selectors.merge`, but the selectors stay in the order in which they were found."""
    order = {(one.consumer, one.sha): [] for one in candidates}  # type: dict[tuple[str, str], list[Resolved]]
    for one in candidates:
        order[one.consumer, one.sha] += one.resolved
    return [replace(one, resolved=tuple(order[one.consumer, one.sha])) for one in selectors.merge(candidates)]


def _heads(session: Session, provider: Pacticipant, since: datetime) -> list[Candidate]:
    """Heads of every consumer branch, then of every consumer tag, published after a date."""
    base = _base(provider, few=False).where(PactPublication.created_at > since)
    branches = session.execute(_branch_heads(base).order_by(None).order_by(BranchVersion.id))
    tag_statement = base.join(Tag, Tag.version_id == Version.id).where(_is_newest_with_tag()).add_columns(Tag.name)
    tags = session.execute(tag_statement.order_by(None).order_by(Version.id, Tag.created_at, Tag.name))
    return [
        *(_head_candidate(Kind.BRANCH, tuple(row)) for row in branches),
        *(_head_candidate(Kind.LATEST_TAG, tuple(row)) for row in tags),
    ]


def _head_candidate(kind: Kind, row: tuple[Any, ...]) -> Candidate:
    return _candidate(Selector(kind, name=row[-1]), row[:7])
