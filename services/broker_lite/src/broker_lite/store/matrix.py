"""Fetching the matrix: a handful of queries, however many pacticipants are involved."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    ScalarSelect,
    Select,
    SQLColumnExpression,
    and_,
    false,
    func,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import Session, aliased

from broker_lite.domain import matrix
from broker_lite.domain.matrix import Integration, Options, Resolved, Row, Selector
from broker_lite.store import deployments, pacticipants, versions
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
)


def problems(session: Session, selectors: Sequence[Selector], options: Options) -> list[str]:
    """What is wrong with a query; empty if nothing is."""
    found = []
    for one in selectors:
        if one.pacticipant is None:
            found.append("Please specify the pacticipant name")
        elif one.version is not None and one.latest:
            found.append(f"A version number and latest flag cannot both be specified for {one.pacticipant}")
    known = pacticipants.existing(session, {one.pacticipant for one in selectors if one.pacticipant})
    found += [
        f"Pacticipant {one.pacticipant} not found"
        for one in selectors
        if one.pacticipant is not None and one.pacticipant not in known
    ]
    if not selectors:
        found.append("Please provide 1 or more version selectors.")
    return found + _option_problems(session, options)


def _option_problems(session: Session, options: Options) -> list[str]:
    found = []
    for one in options.ignore:
        if one.pacticipant is None:
            found.append("Please specify the pacticipant name to ignore")
        elif one.version is not None and one.latest:
            found.append(f"A version number and latest flag cannot both be specified for {one.pacticipant} to ignore")
    if sum((options.tag is not None, options.environment is not None, options.main_branch)) > 1:
        found.append("Cannot specify more than one of tag, environment and mainBranch.")
    if options.latest and options.environment:
        found.append("Cannot specify both latest=true and an environment.")
    if options.environment and deployments.environment_named(session, options.environment) is None:
        found.append(f"Environment with name '{options.environment}' does not exist")
    if options.limit < 1:
        found.append("The limit must be 1 or greater.")
    return found


def find(session: Session, selectors: Sequence[Selector], options: Options) -> matrix.Result:
    """Answer a checked query."""
    ignore = _resolve(session, options.ignore, specified=False)
    specified = _resolve(session, selectors, specified=True, ignore=ignore)
    integrations = _integrations(session, selectors, specified, options)
    resolved = list(specified)
    if options.infers:
        named = {one.pacticipant for one in specified}
        involved = dict.fromkeys(name for one in integrations for name in (one.consumer, one.provider))
        inferred = [options.inferred(name) for name in involved if name not in named]
        resolved += _resolve(session, inferred, specified=False, ignore=ignore)
    rows = _one_selector(session, resolved[0], options) if len(resolved) == 1 else _rows(session, resolved, options)
    return matrix.evaluate(rows, resolved, ignore, integrations, options)


def _resolve(
    session: Session, asked: Sequence[Selector], *, specified: bool, ignore: Sequence[Resolved] = ()
) -> list[Resolved]:
    if not asked:
        return []
    statement = select(Pacticipant.name, Pacticipant.id).where(
        Pacticipant.name.in_({one.pacticipant for one in asked if one.pacticipant})
    )
    ids: dict[str, int] = {row.name: row.id for row in session.execute(statement)}
    # Selectors that differ in the pacticipant only (all inferred ones do) share one query.
    groups: dict[Selector, list[int]] = {}
    for one in asked:
        if one.pacticipant in ids and not one.name_only:
            groups.setdefault(_criterion(one), []).append(ids[one.pacticipant])
    found = {criterion: _versions(session, criterion, members) for criterion, members in groups.items()}
    result: list[Resolved] = []
    for one in asked:
        identifier = ids.get(one.pacticipant or "")
        bound = None
        if identifier is not None and not one.name_only:
            bound = found[_criterion(one)].get(identifier, [])
        result += matrix.resolve(one, identifier, bound, specified=specified, ignore=ignore)
    return result


def _criterion(one: Selector) -> Selector:
    return Selector(
        None,
        version=one.version,
        latest=one.latest,
        tag=one.tag,
        branch=one.branch,
        main_branch=one.main_branch,
        environment=one.environment,
    )


def _versions(session: Session, asked: Selector, pacticipant_ids: Collection[int]) -> dict[int, list[matrix.Version]]:
    """Versions that meet a criterion, by pacticipant; the newest first where only the latest is meant."""
    statement: Select[int, int, str, str | None] = select(
        Version.pacticipant_id,
        Version.id,
        Version.number,
        Branch.name if asked.main_branch else Pacticipant.main_branch,
    ).join(Pacticipant, Pacticipant.id == Version.pacticipant_id)
    # Few versions are in an environment, and many of a pacticipant: the sum keeps the latter from being gone through.
    owner = Version.pacticipant_id + 0 if asked.environment is not None else Version.pacticipant_id
    statement = statement.where(owner.in_(pacticipant_ids))
    if asked.version is not None:
        statement = statement.where(Version.number == asked.version)
    if asked.environment is not None:
        statement = statement.where(Version.id.in_(_in_environment(asked.environment)))
    if asked.tag is not None:
        tagged = select(Tag.name).where(Tag.version_id == Version.id, Tag.name == asked.tag)
        statement = statement.where(Version.id == _newest(asked.tag) if asked.latest else tagged.exists())
    elif asked.latest and not (asked.version or asked.environment or asked.main_branch or asked.branch):
        statement = statement.where(Version.id == _newest())
    if asked.main_branch or asked.branch is not None:
        statement = statement.join(BranchVersion, BranchVersion.version_id == Version.id).join(
            Branch, Branch.id == BranchVersion.branch_id
        )
        statement = statement.where(Branch.name == (Pacticipant.main_branch if asked.main_branch else asked.branch))
        if asked.latest:
            statement = statement.where(versions.is_head())
    order = Version.id.desc() if asked.latest else Version.id
    result: dict[int, list[matrix.Version]] = {}
    for pacticipant_id, version_id, number, branch in session.execute(statement.order_by(order)):
        version = matrix.Version(version_id, number, branch if asked.main_branch else None)
        result.setdefault(pacticipant_id, []).append(version)
    return result


def _newest(tag: str | None = None) -> ScalarSelect[int]:
    """The newest version (with a tag) of the pacticipant in the enclosing query."""
    if tag is not None:
        return versions.newest_with_tag(tag, Pacticipant.id).correlate(Pacticipant).scalar_subquery()
    newer = aliased(Version)
    newest = select(func.max(newer.id)).where(newer.pacticipant_id == Pacticipant.id)
    return newest.correlate(Pacticipant).scalar_subquery()


def _in_environment(name: str) -> CompoundSelect[int]:
    """Ids of the versions that are deployed or released there now."""
    environment = select(Environment.id).where(Environment.name == name).scalar_subquery()
    deployed = select(DeployedVersion.version_id).where(
        DeployedVersion.environment_id == environment, DeployedVersion.undeployed_at.is_(None)
    )
    released = select(ReleasedVersion.version_id).where(
        ReleasedVersion.environment_id == environment, ReleasedVersion.support_ended_at.is_(None)
    )
    return union_all(deployed, released)


def _integrations(
    session: Session, asked: Sequence[Selector], specified: Sequence[Resolved], options: Options
) -> list[Integration]:
    as_consumer = [one for one in specified if one.pacticipant_id != matrix.MISSING]
    ids = {one.pacticipant_id for one in as_consumer}
    required = _pairs(session, _consumes(as_consumer), PactPublication.current, consumers=ids)
    if options.infers or len(specified) == 1:
        every = _pairs(session, providers=ids)
        pairs = {**every, **required}
        return _sorted(_integration(pair, names, required=pair in required) for pair, names in pairs.items())
    named = {one.pacticipant for one in asked}
    return _sorted(
        _integration(pair, names, required=names[0] in named) for pair, names in required.items() if pair[1] in ids
    )


def _integration(pair: tuple[int, int], names: tuple[str, str], *, required: bool) -> Integration:
    return Integration(pair[0], names[0], pair[1], names[1], required)


def _sorted(integrations: Iterable[Integration]) -> list[Integration]:
    return sorted(integrations, key=lambda one: (one.consumer, one.provider))


def _pairs(
    session: Session,
    *criteria: SQLColumnExpression[bool],
    consumers: Collection[int] | None = None,
    providers: Collection[int] | None = None,
) -> dict[tuple[int, int], tuple[str, str]]:
    """Those of the pairs between these consumers (or anyone) and these providers (or anyone) that have such a pact."""
    consumer, provider = aliased(Pacticipant), aliased(Pacticipant)
    # One probe per pair, however many pacts it has.
    pact = select(PactPublication.id).where(
        PactPublication.consumer_id == consumer.id, PactPublication.provider_id == provider.id, *criteria
    )
    statement = (
        select(consumer.id, provider.id, consumer.name, provider.name)
        .select_from(consumer)
        .join(provider, true())
        .where(pact.exists())
    )
    if consumers is not None:
        statement = statement.where(consumer.id.in_(consumers))
    if providers is not None:
        statement = statement.where(provider.id.in_(providers))
    return {(one, other): (first, second) for one, other, first, second in session.execute(statement)}


def _consumes(resolved: Sequence[Resolved]) -> ColumnElement[bool]:
    """Criterion on publications: the consumer version is one of the selected."""
    return _selected(resolved, PactPublication.consumer_version_id, PactPublication.consumer_id)


def _verified_by(resolved: Sequence[Resolved]) -> ColumnElement[bool]:
    """Criterion on results, joined with the content: the provider version is one of the selected."""
    return _selected(resolved, Verification.provider_version_id, PactVersion.provider_id)


def _selected(
    resolved: Sequence[Resolved], version: SQLColumnExpression[int], pacticipant: SQLColumnExpression[int]
) -> ColumnElement[bool]:
    """Criterion: one of the versions that are named, or of a pacticipant all of whose versions are meant."""
    version_ids = {one.version_id for one in resolved if one.version_id is not None}
    pacticipant_ids = {one.pacticipant_id for one in resolved if one.version_id is None}
    # Only what is asked: a part that is never true would keep a database from using the index of the other.
    parts = [column.in_(ids) for column, ids in ((version, version_ids), (pacticipant, pacticipant_ids)) if ids]
    return or_(false(), *parts)


def _rows(session: Session, resolved: Sequence[Resolved], options: Options) -> list[Row]:
    """Pacts between the selected, each with the results of the selected provider versions, or with none."""
    ids = {one.pacticipant_id for one in resolved}
    specified = {one.pacticipant_id for one in resolved if one.specified}
    criterion = and_(
        _consumes(resolved),
        PactPublication.provider_id.in_(ids),
        or_(PactPublication.consumer_id.in_(specified), PactPublication.provider_id.in_(specified)),
    )
    return _fetch(session, criterion, _verified_by(resolved), options, outer=True)


def _one_selector(session: Session, one: Resolved, options: Options) -> list[Row]:
    """All rows in which the one selected pacticipant is the consumer, or the provider of a result."""
    rows = _fetch(session, _consumes([one]), true(), options, outer=True)
    as_provider = PactPublication.provider_id == one.pacticipant_id
    rows += _fetch(session, as_provider, _verified_by([one]), options, outer=False)
    return list(dict.fromkeys(rows))[: options.limit]


def _counts(options: Options) -> ColumnElement[bool]:
    """Criterion on results: with `latestby`, the last one per content and provider version."""
    if not options.latestby:
        return true()
    newer = aliased(Verification)
    return ~(
        select(newer.id)
        .where(
            newer.pact_version_id == Verification.pact_version_id,
            newer.provider_version_id == Verification.provider_version_id,
            newer.id > Verification.id,
        )
        .exists()
    )


def _fetch(
    session: Session, publications: ColumnElement[bool], results: ColumnElement[bool], options: Options, *, outer: bool
) -> list[Row]:
    """Pacts with each of their results, or with none.

    Args:
        session: the transaction.
        publications: criterion on pacts.
        results: criterion on results, joined with the content.
        options: how the matrix is asked for.
        outer: whether pacts without such a result have a row, too.
    """
    if options.latestby:
        publications = and_(publications, PactPublication.current)
    # A verdict on a deployment looks at every row; a limit that cut a failed one off would turn it around.
    limit = None if options.infers else options.limit
    rows = _with_results(session, publications, and_(results, _counts(options)), limit)
    if outer:
        rows += _without_results(session, publications, results, limit)
    if limit is None:
        return rows
    return sorted(rows, key=_age, reverse=True)[:limit]


def _age(row: Row) -> tuple[datetime, int, int]:
    return row.verified_at or row.pact_created_at, row.publication_id, row.verification_id or 0


_Facts = Select[int, str, int, str, int, str, int, int, str, datetime, int]


def _pacts() -> _Facts:
    """What a row says about the pact."""
    consumer, provider = aliased(Pacticipant), aliased(Pacticipant)
    return (
        select(
            consumer.id,
            consumer.name,
            Version.id,
            Version.number,
            provider.id,
            provider.name,
            PactPublication.id,
            PactVersion.id,
            PactVersion.sha,
            PactPublication.created_at,
            PactPublication.revision_number,
        )
        .select_from(PactPublication)
        .join(consumer, consumer.id == PactPublication.consumer_id)
        .join(provider, provider.id == PactPublication.provider_id)
        .join(Version, Version.id == PactPublication.consumer_version_id)
        .join(PactVersion, PactVersion.id == PactPublication.pact_version_id)
    )


def _with_results(
    session: Session, publications: ColumnElement[bool], results: ColumnElement[bool], limit: int | None
) -> list[Row]:
    provider_version = aliased(Version)
    statement = (
        _pacts()
        .join(Verification, Verification.pact_version_id == PactVersion.id)
        .join(provider_version, provider_version.id == Verification.provider_version_id)
        .where(publications, results)
        .add_columns(
            provider_version.id,
            provider_version.number,
            Verification.id,
            Verification.success,
            Verification.created_at,
        )
    )
    if limit is not None:
        newest = session.scalars(_newest_results(publications, results, limit)).all()
        statement = (
            statement.where(Verification.id.in_(newest))
            .where(PactPublication.id.in_(_newest_of_each_content(publications, newest, limit)))
            .order_by(Verification.created_at.desc(), PactPublication.id.desc(), Verification.id.desc())
            .limit(limit)
        )
    return [Row(*row) for row in session.execute(statement)]


def _newest_results(publications: ColumnElement[bool], results: ColumnElement[bool], limit: int) -> Select[int]:
    """The results among which the newest rows are: each stands in one row at least.

    Rows are the product of pacts and results, so a content that was published and verified a thousand times makes a
    million of them. They are never made: both sides are cut off first.
    """
    return (
        select(Verification.id)
        .join(PactVersion, PactVersion.id == Verification.pact_version_id)
        .where(results, PactVersion.id.in_(select(PactPublication.pact_version_id).where(publications)))
        .order_by(Verification.id.desc())
        .limit(limit)
    )


def _newest_of_each_content(publications: ColumnElement[bool], newest: Sequence[int], limit: int) -> Select[int]:
    """The newest pacts of each content that these results are about: the results' rows begin with these."""
    place = func.row_number().over(partition_by=PactPublication.pact_version_id, order_by=PactPublication.id.desc())
    contents = select(Verification.pact_version_id).where(Verification.id.in_(newest))
    numbered = (
        select(PactPublication.id, place.label("place"))
        .where(publications, PactPublication.pact_version_id.in_(contents))
        .subquery()
    )
    return select(numbered.c.id).where(numbered.c.place <= limit)


def _without_results(
    session: Session, publications: ColumnElement[bool], results: ColumnElement[bool], limit: int | None
) -> list[Row]:
    verified = select(Verification.id).where(Verification.pact_version_id == PactVersion.id, results)
    statement = _pacts().where(publications, ~verified.correlate(PactVersion).exists())
    if limit is not None:
        newest_first = (PactPublication.created_at.desc(), PactPublication.id.desc())
        statement = statement.order_by(*newest_first).limit(limit)
    return [Row(*row) for row in session.execute(statement)]
