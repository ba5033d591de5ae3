"""The pages: what a person looks for first, at the paths of the API (and of the reference broker's own pages)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fastapi import Response

from broker_lite.domain import readable
from broker_lite.domain.matrix import Options, Row, Selector
from broker_lite.http import lookup, routes_matrix, routes_pacts, routes_verification
from broker_lite.http.call import Call
from broker_lite.http.errors import invalid, not_found
from broker_lite.http.pages import Pages, page_number, render
from broker_lite.http.routes_pacts import PAIR
from broker_lite.store import deployments, matrix, pacticipants, pacts, results, versions
from broker_lite.store.models import PactPublication, Verification
from broker_lite.store.versions import Facets

pages = Pages()
_PAGE_SIZE = 100
_MOST_ROWS = 500
"""Rows of a matrix on one page, whatever is asked for."""
_NEWEST = 20
"""Versions shown on a pacticipant's own page."""


@dataclass(frozen=True)
class Status:
    """How a contract stands: a word, never a colour alone."""

    word: str
    kind: str


VERIFIED = Status("verified", "good")
FAILED = Status("failed", "bad")
PENDING = Status("failed, pending", "pending")
UNKNOWN = Status("not verified", "unknown")


def status_of(success: bool | None, *, ever: bool = True) -> Status:
    """The status of a result, or of none; a content that was never verified successfully may fail as pending."""
    if success is None:
        return UNKNOWN
    if success:
        return VERIFIED
    return FAILED if ever else PENDING


@dataclass(frozen=True)
class Contract:
    """The latest pact of a pair, and its latest result."""

    pact: PactPublication
    facets: Facets
    result: Verification | None
    result_facets: Facets
    status: Status


def _contracts(call: Call, rows: Sequence[PactPublication]) -> list[Contract]:
    contents = [row.pact_version_id for row in rows]
    latest = results.latest_of(call.session, contents, tests=False)
    ever = results.ever_verified(call.session, contents)
    ids = {row.consumer_version_id for row in rows} | {one.provider_version_id for one in latest.values()}
    facets = versions.facets(call.session, ids, environments=True)
    found = []
    for row in rows:
        result = latest.get(row.pact_version_id)
        found.append(
            Contract(
                pact=row,
                facets=facets[row.consumer_version_id],
                result=result,
                result_facets=facets[result.provider_version_id] if result else Facets(),
                status=status_of(result.success if result else None, ever=row.pact_version_id in ever),
            )
        )
    return found


@pages.get("/", "/dashboard")
def show_contracts(call: Call) -> Response:
    """All pairs, the latest activity first: their latest pacts, and how these stand."""
    rows = pacts.by_activity(call.session)
    number, count = page_number(call), max(1, -(-len(rows) // _PAGE_SIZE))
    number = min(number, count)
    shown = _contracts(call, rows[(number - 1) * _PAGE_SIZE : number * _PAGE_SIZE])
    return render(
        call,
        "contracts.html",
        contracts=shown,
        total=len(rows),
        page=number,
        pages=count,
        environments=deployments.environments(call.session),
    )


@pages.get("/pacticipants")
def show_pacticipants(call: Call) -> Response:
    """All pacticipants by name."""
    number = page_number(call)
    rows, total = pacticipants.page(call.session, number=number, size=_PAGE_SIZE)
    ids = [row.id for row in rows]
    return render(
        call,
        "pacticipants.html",
        pacticipants=rows,
        labels=pacticipants.labels(call.session, ids),
        latest=pacticipants.latest_versions(call.session, ids),
        total=total,
        page=number,
        pages=max(1, -(-total // _PAGE_SIZE)),
    )


@pages.get("/pacticipants/{pacticipant}")
def show_pacticipant(call: Call) -> Response:
    """One pacticipant: its contracts, its newest versions, and where they run."""
    row = lookup.pacticipant(call)
    session = call.session
    found = pacts.overall_latest(session, pacts.of_either(row))
    newest, total = versions.page(session, row, number=1, size=_NEWEST)
    return render(
        call,
        "pacticipant.html",
        pacticipant=row,
        labels=pacticipants.labels(session, [row.id])[row.id],
        contracts=_contracts(call, found),
        deployed=deployments.current_deployments(session, pacticipant_id=row.id),
        released=deployments.supported_releases(session, pacticipant_id=row.id),
        versions=newest,
        facets=versions.facets(session, [one.id for one in newest], environments=True),
        total=total,
    )


@pages.get(
    "/pacticipants/{pacticipant}/versions",
    "/pacticipants/{pacticipant}/branches/{branch}/versions",
    "/pacticipants/{pacticipant}/tags/{tag}/versions",
)
def show_versions(call: Call) -> Response:
    """All versions (on a branch, with a tag), newest first."""
    row = lookup.pacticipant(call)
    branch, tag, number = call.path.get("branch"), call.path.get("tag"), page_number(call)
    found, total = versions.page(call.session, row, branch=branch, tag=tag, number=number, size=_PAGE_SIZE)
    return render(
        call,
        "versions.html",
        pacticipant=row,
        branch=branch,
        tag=tag,
        versions=found,
        facets=versions.facets(call.session, [one.id for one in found], environments=True),
        total=total,
        page=number,
        pages=max(1, -(-total // _PAGE_SIZE)),
    )


@pages.get("/pacticipants/{pacticipant}/versions/{version}")
def show_version(call: Call) -> Response:
    """One version: its pacts and how they stand, where it runs, and where it might go."""
    row = lookup.version(call)
    session = call.session
    return render(
        call,
        "version.html",
        version=row,
        facets=versions.facets(session, [row.id])[row.id],
        deployed=deployments.deployments_of(session, row),
        released=deployments.releases_of(session, row),
        contracts=_contracts(call, pacts.of_versions(session, [row.id])[row.id]),
        environments=deployments.environments(session),
    )


@pages.get("/environments")
def show_environments(call: Call) -> Response:
    """All environments."""
    return render(call, "environments.html", environments=deployments.environments(call.session))


@pages.get("/environments/{environment}")
def show_environment(call: Call) -> Response:
    """One environment, and what is deployed or released there now."""
    row = lookup.environment(call)
    return render(
        call,
        "environment.html",
        environment=row,
        deployed=deployments.current_deployments(call.session, environment_id=row.id),
        released=deployments.supported_releases(call.session, environment_id=row.id),
    )


@pages.get("/matrix")
def show_matrix(call: Call) -> Response:
    """The rows and the verdict that a query asks for."""
    return _matrix(call, *routes_matrix.query_of(call))


@pages.get("/matrix/provider/{provider}/consumer/{consumer}")
def show_pair_matrix(call: Call) -> Response:
    """Which versions of two were verified together."""
    selectors, options = routes_matrix.pair_query(call)
    return _matrix(call, selectors, options, pair=(call.path["consumer"], call.path["provider"]))


@pages.get("/can-i-deploy")
def show_can_i_deploy(call: Call) -> Response:
    """May a version go to an environment, or to where a tag stands for one?"""
    return _matrix(call, *routes_matrix.can_i_deploy_query(call), question=True)


def _matrix(
    call: Call,
    selectors: list[Selector],
    options: Options,
    *,
    pair: tuple[str, str] | None = None,
    question: bool = False,
) -> Response:
    problems = matrix.problems(call.session, selectors, options)
    if problems:
        raise invalid(problems)
    result = matrix.find(call.session, selectors, options)
    rows = (*result.considered, *result.ignored)[:_MOST_ROWS]
    return render(
        call,
        "matrix.html",
        pair=pair,
        question=question or options.infers,
        selectors=selectors,
        options=options,
        result=result,
        rows=[(row, status_of(row.success)) for row in rows],
        ignored=set(result.ignored),
        facets=versions.facets(call.session, _versions_of(rows), environments=True),
        more=len(result.considered) + len(result.ignored) > len(rows) or len(rows) == options.limit,
    )


def _versions_of(rows: Collection[Row]) -> set[int]:
    ids = {row.consumer_version_id for row in rows}
    return ids | {row.provider_version_id for row in rows if row.provider_version_id is not None}


@pages.get(f"{PAIR}/version/{{number}}")
def show_pact(call: Call) -> Response:
    """A pact to be read, with the latest result of each interaction."""
    return _pact(call, pacts.by_version(call.session, *_names(call), call.path["number"]))


@pages.get(f"{PAIR}/pact-version/{{sha}}", f"{PAIR}/pact-version/{{sha}}/metadata/{{metadata}}")
def show_pact_of_content(call: Call) -> Response:
    """The same, by content."""
    return _pact(call, routes_pacts.publication_of_content(call)[0])


@pages.get(f"{PAIR}/latest", f"{PAIR}/latest/{{tag}}", f"{PAIR}/latest-untagged", f"{PAIR}/branch/{{branch}}/latest")
def show_latest_pact(call: Call) -> Response:
    """The same, of the newest consumer version (with or without a tag, or on a branch)."""
    return _pact(call, _newest(call))


def _names(call: Call) -> tuple[str, str]:
    return call.path["consumer"], call.path["provider"]


def _newest(call: Call) -> PactPublication | None:
    criteria = list(pacts.between(*_names(call)))
    if "tag" in call.path:
        criteria.append(pacts.tagged(call.path["tag"]))
    elif "branch" in call.path:
        criteria.append(pacts.on_branch(call.path["branch"], head=False))
    elif call.raw_path.endswith("/latest-untagged"):
        criteria.append(pacts.untagged())
    return pacts.newest(call.session, *criteria)


def _pact(call: Call, row: PactPublication | None) -> Response:
    if row is None:
        raise not_found()
    document = pacts.content_of(call.session, row)
    latest = results.latest_of(call.session, [row.pact_version_id]).get(row.pact_version_id)
    shown = readable.pact(document, page_number(call))
    return render(
        call,
        "pact.html",
        contract=_contracts(call, [row])[0],
        pact=shown,
        raw=None if shown.total else readable.raw(document),
        tests=readable.outcomes(latest.test_results if latest else None, document),
    )


_CONTENT = f"{PAIR}/pact-version/{{sha}}"


@pages.get(
    f"{_CONTENT}/verification-results/{{number}}", f"{_CONTENT}/metadata/{{metadata}}/verification-results/{{number}}"
)
def show_result(call: Call) -> Response:
    """One result of a verification (or the `latest`), with what did not match."""
    if call.path["number"] == "latest":
        return _latest_result(call, pacts.by_sha(call.session, *_names(call), call.path["sha"]))
    return _result(call, *routes_verification.numbered_result(call))


@pages.get(f"{PAIR}/version/{{number}}/verification-results/latest")
def show_latest_result_of_version(call: Call) -> Response:
    """The latest result of a consumer version's pact."""
    return _latest_result(call, pacts.by_version(call.session, *_names(call), call.path["number"]))


@pages.get(f"{PAIR}/latest/verification-results/latest", f"{PAIR}/latest/{{tag}}/verification-results/latest")
def show_latest_result_of_latest(call: Call) -> Response:
    """The latest result of the latest pact (with a tag)."""
    return _latest_result(call, _newest(call))


def _latest_result(call: Call, publication: PactPublication | None) -> Response:
    if publication is None:
        raise not_found()
    latest = results.latest_of(call.session, [publication.pact_version_id])
    return _result(call, latest.get(publication.pact_version_id), publication)


def _result(call: Call, result: Verification | None, publication: PactPublication | None) -> Response:
    if result is None or publication is None:
        raise not_found()
    document = pacts.content_of(call.session, publication)
    ids = [publication.consumer_version_id, result.provider_version_id]
    facets = versions.facets(call.session, ids, environments=True)
    return render(
        call,
        "result.html",
        result=result,
        pact=publication,
        status=status_of(result.success),
        facets=facets[publication.consumer_version_id],
        result_facets=facets[result.provider_version_id],
        tests=readable.outcomes(result.test_results, document, page_number(call)),
    )
