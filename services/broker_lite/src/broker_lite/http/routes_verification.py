"""Pacts to verify, and results of verifying them."""

from datetime import UTC, date, datetime
from typing import Any

from fastapi import Response

from broker_lite.domain import metadata, selectors
from broker_lite.domain.webhook_rules import Errors
from broker_lite.http import announce, lookup, pact_views, views
from broker_lite.http.call import JSON_TYPES, Call, JsonResponse, Routes, hal
from broker_lite.http.errors import invalid, not_found
from broker_lite.http.routes_pacts import EXTENDED, PAIR, named_publication
from broker_lite.store import deployments, pacts, results, selection, versions
from broker_lite.store.models import PactPublication, Verification

routes = Routes()
_FOR_VERIFICATION = "/pacts/provider/{provider}/for-verification"


@routes.get(_FOR_VERIFICATION)
def get_pacts_for_verification(call: Call) -> Response:
    """The pacts of the default selectors (clients follow this resource's own link to POST to it)."""
    provider = lookup.provider(call)
    found = selection.for_verification(call.session, provider, selection.Query())
    return _selection_body(call, found, deprecated=True)


@routes.post(_FOR_VERIFICATION, writes=False, consumes=(*JSON_TYPES, ""))
def post_pacts_for_verification(call: Call) -> Response:
    """The pacts that the given selectors select."""
    properties = call.properties
    query = _parse(call, properties)
    provider = lookup.provider(call)
    found = selection.for_verification(call.session, provider, query)
    return _selection_body(call, found, deprecated=False)


def _selection_body(call: Call, found: Any, *, deprecated: bool) -> Response:
    body = {
        "_embedded": {
            "pacts": [
                pact_views.verifiable_pact(call.urls, candidate, verifiable, deprecated=deprecated)
                for candidate, verifiable in found
            ]
        },
        "_links": {"self": {"href": call.url, "title": "Pacts to be verified"}},
    }
    return hal(body)


_EMPTY_BRANCH = (
    "when pending or WIP pacts are enabled and there are no tags provided, the provider version branch must not be an "
    "empty string, as it is used in the calculations for WIP/pending. A value must be provided (recommended), or it "
    "must not be set at all."
)


def _parse(call: Call, properties: dict[str, Any]) -> selection.Query:
    errors: Errors = {}
    tags = properties.get("providerVersionTags")
    if tags is None:
        tags = []
    elif not isinstance(tags, list):
        errors["providerVersionTags"] = ["must be an array"]
    else:
        found = [
            f"must be a string (at index {index})"
            for index, tag in enumerate(tags)
            if not isinstance(tag, str) or not tag
        ]
        if found:
            errors["providerVersionTags"] = found
    include_pending = properties.get("includePendingStatus")
    if include_pending is not None and not isinstance(include_pending, bool):
        errors["includePendingStatus"] = ["must be boolean"]
    since = _wip_since(properties.get("includeWipPactsSince"), errors)
    branch = properties.get("providerVersionBranch")
    if branch is not None and not isinstance(branch, str):
        errors["providerVersionBranch"] = ["must be a string"]
        branch = None
    elif branch == "" and (include_pending or since is not None) and not tags:
        errors["providerVersionBranch"] = [_EMPTY_BRANCH]
    elif branch and not branch.strip():
        errors["providerVersionBranch"] = ["cannot be blank"]
    given = properties.get("consumerVersionSelectors")
    if given is None:
        given = []
    elif not isinstance(given, list):
        errors["consumerVersionSelectors"] = ["must be an array"]
        given = []
    environments = deployments.environment_names(call.session) if given else set()
    found = [
        f"{problem} (at index {index})"
        for index, one in enumerate(given)
        for problem in selectors.problems(one, environments, branch)
    ]
    if found:
        errors["consumerVersionSelectors"] = found
    if errors:
        raise invalid(errors)
    return selection.Query(
        selectors=selectors.parse(given, branch),
        provider_branch=branch or None,
        provider_tags=list(dict.fromkeys(tags)),
        include_pending=True if include_pending is None else include_pending,
        wip_since=since,
    )


def _wip_since(value: Any, errors: Errors) -> datetime | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            day = date.fromisoformat(value[:10])
        except ValueError:
            day = None
        if day is not None:
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
    errors["includeWipPactsSince"] = ["must be a date"]
    return None


_CONTENT = f"{PAIR}/pact-version/{{sha}}"


@routes.post(
    f"{_CONTENT}/verification-results",
    f"{_CONTENT}/metadata/{{metadata}}/verification-results",
)
def publish_verification_result(call: Call) -> Response:
    """Store the result of verifying a content with a provider version."""
    properties = call.properties
    _check_result(properties)
    session, path = call.session, call.path
    link = metadata.decode(path.get("metadata"))
    publication = pacts.by_sha(session, path["consumer"], path["provider"], path["sha"])
    if publication is None:
        raise not_found()
    numbers = [one.number for one in link.selected]
    if link.consumer_version is not None:
        numbers.append(link.consumer_version)
    publication = named_publication(call, publication, numbers)
    provider_version, _ = versions.get_or_create(
        session, publication.provider, properties["providerApplicationVersion"]
    )
    verification = results.create(
        session,
        publication,
        provider_version,
        {
            "success": properties["success"],
            "wip": link.wip,
            "build_url": properties.get("buildUrl"),
            "test_results": properties.get("testResults"),
            "verified_by": _verified_by(properties.get("verifiedBy")),
        },
    )
    announce.verification_published(call, publication, verification, link)
    consumer, provider = publication.consumer.name, publication.provider.name
    location = call.urls.verification(consumer, provider, publication.pact_version.sha, verification.id)
    return hal(pact_views.verification(call.urls, verification, publication), 201, location)


def _check_result(properties: dict[str, Any]) -> None:
    errors: Errors = {}
    if "success" not in properties:
        errors["success"] = ["is missing"]
    elif not isinstance(properties["success"], bool):
        errors["success"] = ["must be boolean" if properties["success"] is not None else "must be filled"]
    number = properties.get("providerApplicationVersion")
    if "providerApplicationVersion" not in properties:
        errors["providerApplicationVersion"] = ["is missing"]
    elif number is None or number == "":
        errors["providerApplicationVersion"] = ["must be filled"]
    elif not isinstance(number, str):
        errors["providerApplicationVersion"] = ["must be a string"]
    else:
        problem = lookup.name_problem(number)
        if problem is not None:
            errors["providerApplicationVersion"] = [problem]
    build_url = properties.get("buildUrl")
    if build_url is not None and not isinstance(build_url, str):
        errors["buildUrl"] = ["must be a string"]
    tests = properties.get("testResults")
    if tests is not None and not isinstance(tests, list | dict):
        errors["testResults"] = ["must be an array"]
    if errors:
        raise invalid(errors)


def _verified_by(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return None
    language = value.get("clientLanguage")
    language = language if isinstance(language, dict) else {}
    return views.without_none(
        implementation=value.get("implementation"),
        version=value.get("version"),
        client_implementation=language.get("name"),
        client_test_framework=language.get("testFramework"),
        client_version=language.get("version"),
    )


def _result(call: Call, row: Verification | None, publication: PactPublication | None) -> Response:
    if row is None or publication is None:
        raise not_found()
    if call.wants(EXTENDED) and not call.wants("application/hal+json"):
        facets = versions.facets(call.session, [row.provider_version_id])[row.provider_version_id]
        extended = pact_views.extended_verification(call.urls, row, publication, facets)
        return JsonResponse(extended, media_type=f"{EXTENDED};charset=utf-8")
    return hal(pact_views.verification(call.urls, row, publication))


@routes.get(
    f"{_CONTENT}/verification-results/latest",
    f"{_CONTENT}/metadata/{{metadata}}/verification-results/latest",
)
def get_latest_result(call: Call) -> Response:
    """The latest result of a content."""
    path = call.path
    publication = pacts.by_sha(call.session, path["consumer"], path["provider"], path["sha"])
    return _latest_result(call, publication)


@routes.get(f"{PAIR}/version/{{number}}/verification-results/latest")
def get_latest_result_of_version(call: Call) -> Response:
    """The latest result of a consumer version's pact."""
    path = call.path
    return _latest_result(call, pacts.by_version(call.session, path["consumer"], path["provider"], path["number"]))


@routes.get(f"{PAIR}/latest/verification-results/latest", f"{PAIR}/latest/{{tag}}/verification-results/latest")
def get_latest_result_of_latest(call: Call) -> Response:
    """The latest result of the latest pact (with a tag)."""
    path = call.path
    criteria = [pacts.tagged(path["tag"])] if "tag" in path else []
    row = pacts.newest(call.session, *pacts.between(path["consumer"], path["provider"]), *criteria)
    return _latest_result(call, row)


def _latest_result(call: Call, publication: PactPublication | None) -> Response:
    if publication is None:
        raise not_found()
    latest = results.latest_of(call.session, [publication.pact_version_id])
    return _result(call, latest.get(publication.pact_version_id), publication)


@routes.get(
    f"{_CONTENT}/verification-results/{{number}}",
    f"{_CONTENT}/metadata/{{metadata}}/verification-results/{{number}}",
    produces=("application/hal+json", "application/json", EXTENDED),
)
def get_result(call: Call) -> Response:
    """One result."""
    return _result(call, *numbered_result(call))


def numbered_result(call: Call) -> tuple[Verification | None, PactPublication | None]:
    """The result that a path names by its number, and the pact that it is shown for."""
    path = call.path
    number = path["number"]
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        raise not_found()
    row = results.find(call.session, path["consumer"], path["provider"], path["sha"], int(number))
    if row is None:
        raise not_found()
    publication = pacts.by_sha(call.session, path["consumer"], path["provider"], path["sha"])
    link = metadata.decode(path.get("metadata"))
    if publication is not None and link.consumer_version is not None:
        publication = named_publication(call, publication, [link.consumer_version])
    return row, publication


@routes.get("/verification-results/consumer/{consumer}/version/{number}/latest")
def get_consumer_version_results(call: Call) -> Response:
    """The latest result of every pact of a consumer version, in one answer."""
    consumer, number = call.path["consumer"], call.path["number"]
    publications, found = results.of_consumer_version(call.session, consumer, number)
    by_content = {one.pact_version_id: one for one in publications}
    shown = [pact_views.verification(call.urls, row, by_content[row.pact_version_id]) for row in found]
    names = {row.id: by_content[row.pact_version_id].provider.name for row in found}
    successful = [names[row.id] for row in found if row.success]
    failed = [names[row.id] for row in found if not row.success]
    known = {row.pact_version_id for row in found}
    unknown = [one.provider.name for one in publications if one.pact_version_id not in known]
    title = f"Latest verification results for consumer {consumer} version {number}"
    body = {
        "success": len(successful) == len(publications),
        "providerSummary": {"successful": successful, "failed": failed, "unknown": unknown},
        "_embedded": {"verificationResults": shown},
        "_links": {"self": views.link(call.url, title)},
    }
    return hal(body)
