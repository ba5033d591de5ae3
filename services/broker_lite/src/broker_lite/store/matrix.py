"""Fetching the matrix: a handful of queries, however many pacticipants are involved."""

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import ColumnElement, Select, and_, false, func, or_, select
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
    statement = statement.where(Version.pacticipant_id.in_(pacticipant_ids))
    if asked.version is not None:
        statement = statement.where(Version.number == asked.version)
    if asked.environment is not None:
        statement = statement.where(_in_environment(asked.environment))
    if asked.tag is not None:
        statement = statement.where(Version.id.in_(select(Tag.version_id).where(Tag.name == asked.tag)))
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


def _in_environment(name: str) -> ColumnElement[bool]:
    environment = select(Environment.id).where(Environment.name == name).scalar_subquery()
    deployed = select(DeployedVersion.version_id).where(
        DeployedVersion.environment_id == environment, DeployedVersion.undeployed_at.is_(None)
    )
    released = select(ReleasedVersion.version_id).where(
        ReleasedVersion.environment_id == environment, ReleasedVersion.support_ended_at.is_(None)
    )
    return or_(Version.id.in_(deployed), Version.id.in_(released))


def _integrations(
    session: Session, asked: Sequence[Selector], specified: Sequence[Resolved], options: Options
) -> list[Integration]:
    as_consumer = [one for one in specified if one.pacticipant_id != matrix.MISSING]
    required = _pairs(session, _consumes(as_consumer, PactPublication))
    ids = {one.pacticipant_id for one in as_consumer}
    if options.infers or len(specified) == 1:
        every = _pairs(session, PactPublication.provider_id.in_(ids), revisions=True)
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
    session: Session, criterion: ColumnElement[bool], *, revisions: bool = False
) -> dict[tuple[int, int], tuple[str, str]]:
    consumer, provider = aliased(Pacticipant), aliased(Pacticipant)
    statement = (
        select(consumer.id, provider.id, consumer.name, provider.name)
        .select_from(PactPublication)
        .join(consumer, consumer.id == PactPublication.consumer_id)
        .join(provider, provider.id == PactPublication.provider_id)
        .where(criterion)
        .distinct()
    )
    if not revisions:
        statement = statement.where(PactPublication.current)
    return {(one, other): (first, second) for one, other, first, second in session.execute(statement)}


def _consumes(resolved: Sequence[Resolved], table: type[PactPublication]) -> ColumnElement[bool]:
    version_ids = {one.version_id for one in resolved if one.version_id is not None}
    pacticipant_ids = {one.pacticipant_id for one in resolved if one.version_id is None}
    return or_(table.consumer_version_id.in_(version_ids), table.consumer_id.in_(pacticipant_ids), false())


def _provides(resolved: Sequence[Resolved], version: type[Version]) -> ColumnElement[bool]:
    version_ids = {one.version_id for one in resolved if one.version_id is not None}
    pacticipant_ids = {one.pacticipant_id for one in resolved if one.version_id is None}
    return or_(version.id.in_(version_ids), version.pacticipant_id.in_(pacticipant_ids), false())


def _rows(session: Session, resolved: Sequence[Resolved], options: Options) -> list[Row]:
    """Pacts between the selected, each with the results of the selected provider versions, or with none."""
    ids = {one.pacticipant_id for one in resolved}
    specified = {one.pacticipant_id for one in resolved if one.specified}
    criterion = and_(
        _consumes(resolved, PactPublication),
        PactPublication.provider_id.in_(ids),
        or_(PactPublication.consumer_id.in_(specified), PactPublication.provider_id.in_(specified)),
    )
    provider_version = aliased(Version)
    results = _results(_provides(resolved, provider_version), provider_version, options)
    return _fetch(session, criterion, results, options, outer=True)


def _one_selector(session: Session, one: Resolved, options: Options) -> list[Row]:
    """All rows in which the one selected pacticipant is the consumer, or the provider of a result."""
    provider_version = aliased(Version)
    everything = _results(None, provider_version, options)
    rows = _fetch(session, _consumes([one], PactPublication), everything, options, outer=True)
    own_results = _results(_provides([one], provider_version), provider_version, options)
    as_provider = PactPublication.provider_id == one.pacticipant_id
    rows += _fetch(session, as_provider, own_results, options, outer=False)
    return list(dict.fromkeys(rows))[: options.limit]


def _results(criterion: ColumnElement[bool] | None, provider_version: type[Version], options: Options) -> Select[int]:
    """Ids of the results that rows may show: with `latestby`, the last per content and provider version."""
    column = func.max(Verification.id) if options.latestby else Verification.id
    statement = select(column).select_from(Verification)
    if criterion is not None:
        statement = statement.join(provider_version, provider_version.id == Verification.provider_version_id).where(
            criterion
        )
    if options.latestby:
        statement = statement.group_by(Verification.pact_version_id, Verification.provider_version_id)
    return statement


def _fetch(
    session: Session, criterion: ColumnElement[bool], results: Select[int], options: Options, *, outer: bool
) -> list[Row]:
    consumer, provider = aliased(Pacticipant), aliased(Pacticipant)
    consumer_version, provider_version = aliased(Version), aliased(Version)
    statement = (
        select(
            consumer.id,
            consumer.name,
            consumer_version.id,
            consumer_version.number,
            provider.id,
            provider.name,
            PactPublication.id,
            PactVersion.id,
            PactVersion.sha,
            PactPublication.created_at,
            PactPublication.revision_number,
            provider_version.id,
            provider_version.number,
            Verification.id,
            Verification.success,
            Verification.created_at,
        )
        .select_from(PactPublication)
        .join(consumer, consumer.id == PactPublication.consumer_id)
        .join(provider, provider.id == PactPublication.provider_id)
        .join(consumer_version, consumer_version.id == PactPublication.consumer_version_id)
        .join(PactVersion, PactVersion.id == PactPublication.pact_version_id)
        .join(
            Verification,
            and_(Verification.pact_version_id == PactPublication.pact_version_id, Verification.id.in_(results)),
            isouter=outer,
        )
        .join(provider_version, provider_version.id == Verification.provider_version_id, isouter=outer)
        .where(criterion)
    )
    if options.latestby:
        statement = statement.where(PactPublication.current)
    # A verdict on a deployment looks at every row; a limit that cut a failed one off would turn it around.
    if not options.infers:
        newest = func.coalesce(Verification.created_at, PactPublication.created_at)
        statement = statement.order_by(newest.desc(), PactPublication.id.desc(), Verification.id.desc()).limit(
            options.limit
        )
    return [Row(*row) for row in session.execute(statement)]
