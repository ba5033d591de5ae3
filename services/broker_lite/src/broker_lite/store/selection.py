"""Finding the pacts that a provider is to verify."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select
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
    work = _work_in_progress(session, provider, query, {one.pact_version_id for one in explicit})
    successes = _successes(session, [one.pact_version_id for one in explicit]) if query.include_pending else {}
    context = _Context.load(session, provider, query)
    return [
        *(
            (one, _verifiable(provider, one, query, successes.get(one.pact_version_id, []), context))
            for one in explicit
        ),
        *work,
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


def _base(provider: Pacticipant) -> _Base:
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
        .where(PactPublication.current, PactPublication.provider_id == provider.id)
        .order_by(Version.id)
    )


def _select(session: Session, provider: Pacticipant, group: Sequence[Selector]) -> list[Candidate]:
    base, selector = _base(provider), group[0]
    by_consumer = {one.consumer: one for one in group if one.consumer is not None}
    if by_consumer:
        base = base.where(Pacticipant.name.in_(by_consumer))
    if selector.kind is Kind.ENVIRONMENT:
        in_place = [_deployed(base, selector.name), _released(base, selector.name)]
        rows = {tuple(row) for statement in in_place for row in session.execute(statement)}
        found = sorted(rows, key=lambda row: row[5])
    else:
        found = [tuple(row) for row in session.execute(_statement(base, selector))]
    return [_candidate(by_consumer.get(row[0], selector), row) for row in found]


def _statement(base: _Base, selector: Selector) -> _Rows:
    kind = selector.kind
    if kind is Kind.LATEST:
        return base.where(_is_overall_latest())
    if kind in (Kind.DEPLOYED, Kind.RELEASED):
        return (_deployed if kind is Kind.DEPLOYED else _released)(base, selector.name)
    if kind in (Kind.LATEST_TAG, Kind.ALL_TAG):
        tagged = base.join(Tag, and_(Tag.version_id == Version.id, Tag.name == selector.name))
        return tagged.where(_is_newest_with_tag()) if kind is Kind.LATEST_TAG else tagged
    heads = _branch_heads(base)
    if kind is Kind.EACH_BRANCH:
        return heads
    return heads.where(Branch.name == (Pacticipant.main_branch if kind is Kind.MAIN_BRANCH else selector.name))


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


def _is_overall_latest() -> ColumnElement[bool]:
    newer = aliased(PactPublication)
    return ~(
        select(newer.id)
        .where(
            newer.current,
            newer.consumer_id == PactPublication.consumer_id,
            newer.provider_id == PactPublication.provider_id,
            newer.consumer_version_id > PactPublication.consumer_version_id,
        )
        .exists()
    )


def _is_newest_with_tag() -> ColumnElement[bool]:
    newer, newer_tag = aliased(Version), aliased(Tag)
    return ~(
        select(newer.id)
        .join(newer_tag, newer_tag.version_id == newer.id)
        .where(
            newer_tag.name == Tag.name,
            newer.pacticipant_id == PactPublication.consumer_id,
            newer.id > PactPublication.consumer_version_id,
        )
        .exists()
    )


def _branch_heads(base: _Base) -> _Rows:
    return (
        base.join(BranchVersion, BranchVersion.version_id == Version.id)
        .join(Branch, Branch.id == BranchVersion.branch_id)
        .where(versions.is_head())
        .add_columns(Branch.name)
    )


def _deployed(base: _Base, environment: str | None) -> _Rows:
    statement = (
        base.join(
            DeployedVersion, and_(DeployedVersion.version_id == Version.id, DeployedVersion.undeployed_at.is_(None))
        )
        .join(Environment, Environment.id == DeployedVersion.environment_id)
        .add_columns(Environment.name, Environment.production)
    )
    return statement if environment is None else statement.where(Environment.name == environment)


def _released(base: _Base, environment: str | None) -> _Rows:
    statement = (
        base.join(
            ReleasedVersion,
            and_(ReleasedVersion.version_id == Version.id, ReleasedVersion.support_ended_at.is_(None)),
        )
        .join(Environment, Environment.id == ReleasedVersion.environment_id)
        .add_columns(Environment.name, Environment.production)
    )
    return statement if environment is None else statement.where(Environment.name == environment)


def _consumer_facts(session: Session, provider: Pacticipant) -> list[selectors.ConsumerFacts]:
    consumer_ids = select(PactPublication.consumer_id).where(PactPublication.provider_id == provider.id).distinct()
    on_main = (
        select(BranchVersion.id)
        .join(Branch, Branch.id == BranchVersion.branch_id)
        .where(Branch.pacticipant_id == Pacticipant.id, Branch.name == Pacticipant.main_branch)
        .exists()
    )
    tagged_main = (
        select(Tag.name)
        .join(Version, Version.id == Tag.version_id)
        .where(Version.pacticipant_id == Pacticipant.id, Tag.name == Pacticipant.main_branch)
        .exists()
    )
    statement = select(Pacticipant.name, Pacticipant.main_branch, on_main, tagged_main).where(
        Pacticipant.id.in_(consumer_ids)
    )
    return [
        selectors.ConsumerFacts(name, main_branch, bool(has_branch), bool(has_tag))
        for name, main_branch, has_branch, has_tag in session.execute(statement.order_by(Pacticipant.name))
    ]


def _successes(session: Session, pact_version_ids: Sequence[int]) -> dict[int, list[pending.Success]]:
    statement = select(
        Verification.pact_version_id,
        Verification.provider_version_id,
        Verification.created_at,
        Verification.wip,
    ).where(Verification.pact_version_id.in_(pact_version_ids), Verification.success)
    rows = session.execute(statement).all()
    facets = versions.facets(session, {version_id for _, version_id, _, _ in rows})
    result: dict[int, list[pending.Success]] = {}
    for pact_version_id, version_id, created_at, wip in rows:
        facet = facets[version_id]
        success = pending.Success(
            at=created_at,
            branches=frozenset(one.name for one in facet.branches),
            tags=frozenset(name for name, _ in facet.tags),
            wip=wip,
        )
        result.setdefault(pact_version_id, []).append(success)
    return result


@dataclass(frozen=True)
class _Context:
    """When the provider's branch and tags began."""

    branch_created_at: datetime | None
    branch_first_version_at: datetime | None
    tags_created_at: dict[str, datetime]

    @classmethod
    def load(cls, session: Session, provider: Pacticipant, query: Query) -> "_Context":
        branch = query.provider_branch and versions.find_branch(session, provider.name, query.provider_branch)
        first = versions.first_on_branch(session, provider.id, branch.name) if branch else None
        tags = (
            select(Tag.name, func.min(Tag.created_at).label("at"))
            .join(Version, Version.id == Tag.version_id)
            .where(Version.pacticipant_id == provider.id, Tag.name.in_(query.provider_tags))
            .group_by(Tag.name)
        )
        return cls(
            branch.created_at if branch else None,
            first.created_at if first else None,
            {row.name: row.at for row in session.execute(tags)} if query.provider_tags else {},
        )


def _verifiable(
    provider: Pacticipant,
    candidate: Candidate,
    query: Query,
    successes: Sequence[pending.Success],
    context: _Context,
) -> Verifiable:
    base = Verifiable(
        consumer=candidate.consumer,
        provider=provider.name,
        resolved=candidate.resolved,
        provider_branch=query.provider_branch,
    )
    if not query.include_pending:
        return base
    if query.provider_branch:
        is_pending = pending.pending_for_branch(successes, query.provider_branch, context.branch_created_at)
        return replace(base, pending=is_pending)
    if query.provider_tags:
        waiting = pending.pending_tags(successes, query.provider_tags, context.tags_created_at)
        settled = tuple(tag for tag in query.provider_tags if tag not in waiting)
        return replace(base, pending=bool(waiting), pending_tags=tuple(waiting), settled_tags=settled)
    return replace(base, pending=not successes)


def _work_in_progress(
    session: Session, provider: Pacticipant, query: Query, explicit: set[int]
) -> list[tuple[Candidate, Verifiable]]:
    if query.wip_since is None or not (query.provider_branch or query.provider_tags):
        return []
    candidates = [one for one in _heads(session, provider, query.wip_since) if one.pact_version_id not in explicit]
    successes = _successes(session, [one.pact_version_id for one in candidates])
    context = _Context.load(session, provider, query)
    kept: list[tuple[Candidate, tuple[str, ...]]] = []
    for candidate in candidates:
        results = successes.get(candidate.pact_version_id, [])
        if query.provider_branch:
            if pending.wip_for_branch(
                results, query.provider_branch, context.branch_first_version_at, now() - LOOK_BACK
            ):
                kept.append((candidate, ()))
            continue
        waiting = tuple(
            tag for tag in query.provider_tags if pending.wip_for_tag(results, tag, context.tags_created_at.get(tag))
        )
        if waiting:
            kept.append((candidate, waiting))
    tags_of = {candidate.pact_version_id: waiting for candidate, waiting in kept}
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
                pending_tags=tags_of[one.pact_version_id],
            ),
        )
        for one in _merge_unsorted([candidate for candidate, _ in kept])
    ]


def _merge_unsorted(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Like `selectors.merge`, but the selectors stay in the order in which they were found."""
    order = {(one.consumer, one.sha): [] for one in candidates}  # type: dict[tuple[str, str], list[Resolved]]
    for one in candidates:
        order[one.consumer, one.sha] += one.resolved
    return [replace(one, resolved=tuple(order[one.consumer, one.sha])) for one in selectors.merge(candidates)]


def _heads(session: Session, provider: Pacticipant, since: datetime) -> list[Candidate]:
    """Heads of every consumer branch, then of every consumer tag, published after a date."""
    base = _base(provider).where(PactPublication.created_at > since)
    branches = session.execute(_branch_heads(base).order_by(None).order_by(BranchVersion.id))
    tag_statement = base.join(Tag, Tag.version_id == Version.id).where(_is_newest_with_tag()).add_columns(Tag.name)
    tags = session.execute(tag_statement.order_by(None).order_by(Version.id, Tag.created_at, Tag.name))
    return [
        *(_head_candidate(Kind.BRANCH, tuple(row)) for row in branches),
        *(_head_candidate(Kind.LATEST_TAG, tuple(row)) for row in tags),
    ]


def _head_candidate(kind: Kind, row: tuple[Any, ...]) -> Candidate:
    return _candidate(Selector(kind, name=row[-1]), row[:7])
