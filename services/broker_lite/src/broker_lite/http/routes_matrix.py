"""The matrix and the can-i-deploy forms."""

from collections.abc import Sequence
from typing import Any

from fastapi import Response

from broker_lite.domain import matrix as rules
from broker_lite.domain.matrix import Options, Selector
from broker_lite.http import pact_views
from broker_lite.http.call import Call, Routes, hal, text_response, whole_number
from broker_lite.http.errors import invalid, not_found
from broker_lite.store import deployments, pacticipants, versions
from broker_lite.store import matrix as store

routes = Routes()
MAX_LIMIT = 10_000


def parse_selector(item: Any) -> Selector:
    """One selector of a query."""
    if not isinstance(item, dict):
        return Selector()

    def text(key: str) -> str | None:
        value = item.get(key)
        return value if isinstance(value, str) and value else None

    return Selector(
        pacticipant=text("pacticipant"),
        version=text("version"),
        latest=item.get("latest") == "true",
        tag=text("tag"),
        branch=text("branch"),
        main_branch=item.get("mainBranch") == "true",
        environment=text("environment"),
    )


def _outcomes(value: Any) -> tuple[bool | None, ...] | None:
    values = value if isinstance(value, list) else [value] if isinstance(value, str) else None
    if values is None:
        return None
    return tuple(None if one in ("", None) else one == "true" for one in values)


def query_of(call: Call) -> tuple[list[Selector], Options]:
    """The selectors and options of a matrix query, not yet checked."""
    query = call.query
    given = query.get("q")
    ignored = query.get("ignore")
    limit = whole_number(call.text_query("limit") or "100")
    if limit is None:
        raise invalid(["The limit must be 1 or greater."])
    options = Options(
        latestby=call.text_query("latestby"),
        environment=call.text_query("environment"),
        tag=call.text_query("tag"),
        main_branch=query.get("mainBranch") == "true",
        latest=query.get("latest") == "true",
        success=_outcomes(query.get("success")),
        ignore=tuple(parse_selector(one) for one in ignored) if isinstance(ignored, list) else (),
        limit=min(limit, MAX_LIMIT),
    )
    return [parse_selector(one) for one in given] if isinstance(given, list) else [], options


def answer(call: Call, selectors: list[Selector], options: Options) -> Response:
    """Check and answer a query, as HAL or as a text table."""
    problems = store.problems(call.session, selectors, options)
    if problems:
        raise invalid(problems)
    result = store.find(call.session, selectors, options)
    if call.accept.strip().startswith("text/plain"):
        return text_response(_table(result))
    rows = (*result.considered, *result.ignored)
    ids = {row.consumer_version_id for row in rows}
    ids |= {row.provider_version_id for row in rows if row.provider_version_id is not None}
    facets = versions.facets(call.session, ids, environments=True)
    return hal(pact_views.matrix_body(call.urls, result, facets))


_COLUMNS = ("CONSUMER", "C_VERSION", "REVISION", "PROVIDER", "P_VERSION", "NUMBER", "SUCCESS")


def _table(result: rules.Result) -> str:
    lines = [
        (
            row.consumer,
            row.consumer_version,
            str(row.revision),
            row.provider,
            row.provider_version or "",
            str(row.verification_id or ""),
            "" if row.success is None else str(row.success).lower(),
        )
        for row in result.considered
    ]
    verdict = {True: "true", False: "false", None: ""}[result.deployable]
    return f"{text_table(_COLUMNS, lines)}\nDeployable: {verdict}\nReason: {result.reason}\n"


def text_table(columns: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    """A table for people."""
    widths = [max(len(line[index]) for line in [columns, *lines]) for index in range(len(columns))]

    def row(cells: tuple[str, ...]) -> str:
        return " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))

    rule = "-|-".join("-" * width for width in widths)
    return "\n".join([row(columns), rule, *(row(line) for line in lines)]) + "\n"


@routes.get("/matrix", produces=("application/hal+json", "text/plain"))
def get_matrix(call: Call) -> Response:
    """Which versions were verified together."""
    return answer(call, *query_of(call))


@routes.get("/matrix/provider/{provider}/consumer/{consumer}", produces=("application/hal+json", "text/plain"))
def get_pair_matrix(call: Call) -> Response:
    """The matrix of two pacticipants."""
    return answer(call, *pair_query(call))


def pair_query(call: Call) -> tuple[list[Selector], Options]:
    """The selectors and options for all versions of two."""
    _, options = query_of(call)
    latestby = options.latestby if "latestby" in call.query else "cvpv"
    selectors = [Selector(call.path["consumer"]), Selector(call.path["provider"])]
    return selectors, Options(latestby=latestby, limit=options.limit)


def _ignored(value: Any) -> tuple[Selector, ...]:
    if not isinstance(value, list):
        return ()
    selectors = []
    for one in value:
        if isinstance(one, str) and one:
            selectors.append(Selector(one))
        elif isinstance(one, dict):
            selectors.append(parse_selector(one))
    return tuple(selectors)


@routes.get("/can-i-deploy", produces=("application/hal+json", "text/plain"))
def can_i_deploy(call: Call) -> Response:
    """May a version go to an environment, or to where a tag stands for one?"""
    return answer(call, *can_i_deploy_query(call))


def can_i_deploy_query(call: Call) -> tuple[list[Selector], Options]:
    """The selectors and options of a question by name, version and target.

    Raises:
        ApiError: 400 if a part is missing or names what does not exist.
    """
    name, number = call.text_query("pacticipant"), call.text_query("version")
    environment, tag = call.text_query("environment"), call.text_query("to")
    errors: dict[str, list[str]] = {}
    for key, value in (("pacticipant", name), ("version", number)):
        if value is None:
            errors[key] = ["must be filled" if key in call.query else "is missing"]
    if name is not None and pacticipants.find(call.session, name) is None:
        errors["pacticipant"] = ["does not match an existing pacticipant"]
    if environment and deployments.environment_named(call.session, environment) is None:
        errors["environment"] = [f"with name '{environment}' does not exist"]
    if environment and tag:
        errors[""] = ["Cannot specify both a 'to' tag and an environment."]
    elif not environment and not tag:
        errors[""] = ["Must specify either an environment or a 'to' tag."]
    if errors:
        raise invalid(errors)
    ignore = _ignored(call.query.get("ignore"))
    if environment:
        options = Options(latestby="cvpv", environment=environment, ignore=ignore)
    else:
        options = Options(latestby="cvp", tag=tag, latest=True, ignore=ignore)
    return [Selector(name, version=number)], options


@routes.get(
    "/pacticipants/{pacticipant}/latest-version/{tag}/can-i-deploy/to/{target}",
    produces=("application/hal+json", "text/plain"),
)
def can_i_deploy_tag_to_tag(call: Call) -> Response:
    """May the newest version with a tag go to where another tag stands for an environment?"""
    name, tag = call.path["pacticipant"], call.path["tag"]
    if versions.latest(call.session, name, tag) is None:
        raise not_found()
    options = Options(latestby="cvp", tag=call.path["target"], latest=True)
    return answer(call, [Selector(name, tag=tag, latest=True)], options)


@routes.get(
    "/pacticipants/{pacticipant}/branches/{branch}/latest-version/can-i-deploy/to-environment/{environment}",
    produces=("application/hal+json", "text/plain"),
)
def can_i_deploy_branch_to_environment(call: Call) -> Response:
    """May the head of a branch go to an environment?"""
    name, branch, environment = call.path["pacticipant"], call.path["branch"], call.path["environment"]
    head = versions.branch_head(call.session, name, branch)
    if head is None or deployments.environment_named(call.session, environment) is None:
        raise not_found()
    options = Options(latestby="cvp", environment=environment)
    return answer(call, [Selector(name, branch=branch, latest=True)], options)
