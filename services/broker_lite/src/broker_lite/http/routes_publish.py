"""Publishing contracts."""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import Response

from broker_lite.domain import content, diff, names
from broker_lite.domain.webhook_rules import Errors
from broker_lite.http import announce, lookup, pact_views, views
from broker_lite.http.call import Call, Routes, hal
from broker_lite.http.errors import JSON, ApiError, invalid
from broker_lite.store import pacticipants, pacts, results, versions, webhooks
from broker_lite.store.models import PactPublication, Version, now

routes = Routes()
NEXT_STEPS = "  Next steps:"


@dataclass(frozen=True)
class Contract:
    """One contract of a request, checked and decoded."""

    provider: str
    document: Any


def conflict_text(consumer: str, number: str, provider: str) -> str:
    """Why changed content is refused."""
    return (
        f"Cannot change the content of the pact for {consumer} version {number} and provider {provider}, as race "
        "conditions will cause unreliable results for can-i-deploy. Each pact must be published with a unique consumer "
        "version number. Some Pact libraries generate random data when a concrete value for a type matcher is not "
        "specified, and this can cause the contract to mutate - ensure you have given example values for all type "
        "matchers. For more information see https://docs.pact.io/go/versioning"
    )


def _name_problem(properties: dict[str, Any], key: str) -> str | None:
    if key not in properties:
        return "is missing"
    value = properties[key]
    if not isinstance(value, str):
        return "must be a string"
    if not value:
        return "must be filled"
    return "cannot contain multiple lines" if "\n" in value else lookup.name_problem(value)


def _check(properties: dict[str, Any]) -> list[Contract]:
    errors: Errors = {}
    for key in ("pacticipantName", "pacticipantVersionNumber"):
        problem = _name_problem(properties, key)
        if problem:
            errors[key] = [problem]
    errors |= _extras_problems(properties)
    found, decoded = _check_contracts(properties)
    if found:
        errors["contracts"] = found
    if errors:
        raise invalid(errors)
    if not decoded:
        # Named on its own only: an empty list is the last thing to be wrong with a request.
        raise invalid({"contracts": ["size cannot be less than 1"]})
    return decoded


def _tag_problem(tag: Any) -> str | None:
    if not isinstance(tag, str):
        return "must be a string"
    return lookup.name_problem(tag) if tag.strip() else "must be filled"


def _extras_problems(properties: dict[str, Any]) -> Errors:
    errors: Errors = {}
    tags = properties.get("tags")
    if tags is not None and not isinstance(tags, list):
        errors["tags"] = ["must be an array"]
    else:
        checked = [_tag_problem(tag) for tag in tags or []]
        found = [f"{problem} (at index {index})" for index, problem in enumerate(checked) if problem is not None]
        if found:
            errors["tags"] = found
    branch = properties.get("branch")
    if branch is not None:
        problem = lookup.name_problem(branch) if isinstance(branch, str) else "must be a string"
        if problem is not None:
            errors["branch"] = [problem]
    build_url = properties.get("buildUrl")
    if build_url is not None and not isinstance(build_url, str):
        errors["buildUrl"] = ["must be a string"]
    elif build_url is not None and "\n" in build_url:
        errors["buildUrl"] = ["cannot contain multiple lines"]
    return errors


def _check_contracts(properties: dict[str, Any]) -> tuple[list[str], list[Contract]]:
    if "contracts" not in properties:
        return ["is missing"], []
    contracts = properties["contracts"]
    if not isinstance(contracts, list):
        return ["must be an array"], []
    found: list[str] = []
    decoded: list[Contract] = []
    for index, item in enumerate(contracts):
        problems, contract = _check_contract(item, properties.get("pacticipantName"))
        found += [f"{problem} (at index {index})" for problem in problems]
        if contract is not None:
            decoded.append(contract)
    return found, decoded


def _check_contract(item: Any, pacticipant: Any) -> tuple[list[str], Contract | None]:
    if not isinstance(item, dict):
        return ["must be a hash"], None
    found = []
    for key in ("consumerName", "providerName"):
        problem = _name_problem(item, key)
        if problem:
            found.append(f"{key} {problem}")
    if "content" not in item:
        found.append("content is missing")
    if item.get("contentType") != "application/json":
        found.append(
            "contentType " + ("is missing" if "contentType" not in item else "must be one of: application/json")
        )
    if item.get("specification") != "pact":
        found.append("specification " + ("is missing" if "specification" not in item else "must be one of: pact"))
    if item.get("onConflict", "overwrite") not in ("overwrite", "merge"):
        found.append("onConflict must be one of: overwrite, merge")
    document: Any = None
    if "content" in item:
        problem, document = _decode(item["content"], decode_text=not found)
        if problem:
            found.append(problem)
    if found:
        return found, None
    if item["consumerName"] != pacticipant:
        found.append(f"consumerName ('{item['consumerName']}') must match pacticipantName ('{pacticipant}')")
    found += _content_name_problems(item, document)
    return found, (None if found else Contract(item["providerName"], document))


def _decode(text: Any, *, decode_text: bool) -> tuple[str | None, Any]:
    if not isinstance(text, str) or not text:
        return "content must be filled", None
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return "is not valid Base64", None
    if not decode_text:
        return None, None
    try:
        decoded = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[max(0, error.start - 20) : error.start].decode("utf-8", "ignore")
        return (
            f"contract content has a non UTF-8 character at char {error.start + 1} and cannot be parsed as JSON. "
            f"Fragment preceding invalid character is: '{before}'"
        ), None
    try:
        document = content.parse_json(decoded)
    except content.InvalidContentError:
        return "content could not be parsed as application/json", None
    if not isinstance(document, dict):
        return f"parsed content was expected to be a Hash but was a {_ruby_name(document)}", None
    return None, document


def _ruby_name(value: Any) -> str:
    kinds = {list: "Array", str: "String", int: "Integer", float: "Float", bool: "Boolean"}
    return kinds.get(type(value), "NilClass")


def _content_name_problems(item: dict[str, Any], document: dict[str, Any]) -> list[str]:
    found = []
    for role in ("consumer", "provider"):
        inner = document.get(role)
        name = inner.get("name") if isinstance(inner, dict) else None
        given = item[f"{role}Name"]
        if name is not None and name != given:
            found.append(
                f"{role} name in contract content ('{name}') must match {role}Name in contract params ('{given}')"
            )
    return found


@routes.post("/contracts/publish")
def publish_contracts(call: Call) -> Response:
    """Publish all contracts of a consumer version, or none."""
    properties = call.properties
    contracts = _check(properties)
    session = call.session
    consumer, number = properties["pacticipantName"], properties["pacticipantVersionNumber"]
    branch, tags = properties.get("branch"), list(dict.fromkeys(properties.get("tags") or []))
    _refuse_resembling_names(call, [consumer, *(one.provider for one in contracts)])
    version, created = versions.ensure(session, consumer, number)
    versions.lock(session, version)
    _refuse_changed_content(call, consumer, number, contracts)
    versions.set_build_url(version, properties.get("buildUrl"))
    if branch is not None:
        versions.add_to_branch(session, version, branch, call.settings)
    for tag in tags:
        versions.add_tag(session, version, tag, call.settings, deploys=False)
    notices = _version_notices(consumer, number, branch, tags, created=created)
    published = []
    context = {"consumer_version_branch": branch, "build_url": version.build_url}
    moment = now()
    for contract in contracts:
        publication, its_notices = _publish_one(call, version, contract, context, moment)
        published.append(publication)
        notices += its_notices
    return hal(_publish_body(call, consumer, number, tags, published, notices))


def _refuse_resembling_names(call: Call, wanted: list[str]) -> None:
    if not call.settings.check_duplicate_names:
        return
    known = pacticipants.existing(call.session, wanted)
    new = [name for name in dict.fromkeys(wanted) if name not in known]
    if not new:
        return
    pacticipants.lock_names(call.session)
    every = pacticipants.all_names(call.session)
    texts = []
    for name in new:
        similar = names.resembling(name, every)
        if similar:
            texts.append(names.duplicate_message(name, similar, call.urls.base))
    if texts:
        raise _conflict([("error", text) for text in texts])


def _refuse_changed_content(call: Call, consumer: str, number: str, contracts: list[Contract]) -> None:
    if call.settings.allow_content_modification:
        return
    notices: list[tuple[str, str]] = []
    for contract in contracts:
        existing = pacts.by_version(call.session, consumer, contract.provider, number)
        if existing is None or existing.pact_version.sha == content.content_sha(contract.document):
            continue
        notices.append(("error", conflict_text(consumer, number, contract.provider)))
        before = pacts.content_of(call.session, existing)
        notices.append(("info", diff.pact_diff(before, contract.document)))
    if notices:
        raise _conflict(notices)


def _conflict(notices: list[tuple[str, str]]) -> ApiError:
    body = {
        "notices": [{"type": kind, "text": text} for kind, text in notices],
        "errors": {"contracts": [text for kind, text in notices if kind == "error"]},
    }
    return ApiError(409, body, JSON)


def _version_notices(
    consumer: str, number: str, branch: str | None, tags: list[str], *, created: bool
) -> list[tuple[str, str]]:
    parts = []
    if branch is not None:
        parts.append(f"branch {branch}")
    if tags:
        parts.append(f"tags {', '.join(tags)}")
    extra = f" with {' and '.join(parts)}" if parts else ""
    notices = [("debug", f"{'Created' if created else 'Updated'} {consumer} version {number}{extra}")]
    if branch is None:
        text = "Configure the version branch to be the value of your repository branch."
        notices.append(("prompt", f"{NEXT_STEPS}\n    {text}"))
    return notices


def _publish_one(
    call: Call, version: Version, contract: Contract, context: dict[str, Any], moment: datetime
) -> tuple[PactPublication, list[tuple[str, str]]]:
    session = call.session
    consumer, number, provider = version.pacticipant.name, version.number, contract.provider
    previous = pacts.by_version(session, consumer, provider, number)
    publication = pacts.publish(session, version, provider, contract.document, moment)
    of_version = f"for {consumer} version {number}"
    if previous is None:
        notice = ("success", f"Pact successfully published {of_version} and provider {provider}.")
    elif previous.pact_version_id == publication.pact_version_id:
        notice = (
            "success",
            f"Pact successfully republished {of_version} and provider {provider} with no content changes.",
        )
    else:
        notice = (
            "warning",
            (
                f"Pact with changed content published over existing content {of_version} and provider {provider}. This "
                "is not recommended in normal circumstances and may indicate that you have not configured your Pact "
                "pipeline correctly. For more information see https://docs.pact.io/go/versioning"
            ),
        )
    url = call.urls.pact(consumer, provider, number)
    notices = [notice, ("debug", f"  View the published pact at {url}")]
    detected = announce.pact_published(call, publication, previous, context=context)
    shown = [one.text for one in detected if one.name != "contract_content_unchanged" or one.comment is None]
    notices.append(("debug", "  Events detected: " + ", ".join(shown)))
    return publication, notices + _webhook_notices(call, publication, detected) + _next_steps(call, publication)


def _webhook_notices(
    call: Call, publication: PactPublication, detected: list[announce.Detected]
) -> list[tuple[str, str]]:
    triggered = [row for one in detected for row in one.triggered]
    if not triggered:
        if webhooks.any_for(call.session, publication):
            return [("debug", "  No enabled webhooks found for the detected events")]
        return []
    notices = []
    for row in triggered:
        webhook = row.webhook
        name = "" if webhook is None else (f'"{webhook.description}"' if webhook.description else webhook.uuid)
        notices.append(
            (
                "debug",
                (
                    f"  Webhook {name} triggered for event {row.event_name}.\n"
                    f"    View logs at {call.urls.webhook_logs(row.uuid)}"
                ),
            )
        )
    return notices


def _next_steps(call: Call, publication: PactPublication) -> list[tuple[str, str]]:
    provider = publication.provider.name
    steps = []
    if not results.any_between(call.session, publication.consumer_id, publication.provider_id):
        steps.append(
            f"    * Add Pact verification tests to the {provider} build. See "
            "https://docs.pact.io/go/provider_verification"
        )
    if not webhooks.any_for(call.session, publication):
        steps.append(
            f"    * Configure separate {provider} pact verification build and webhook to trigger it when the pact "
            "content changes. See https://docs.pact.io/go/webhooks"
        )
    return [("prompt", text) for text in ([NEXT_STEPS, *steps] if steps else [])]


def _publish_body(
    call: Call,
    consumer: str,
    number: str,
    tags: list[str],
    published: list[PactPublication],
    notices: list[tuple[str, str]],
) -> dict[str, Any]:
    urls = call.urls
    return {
        "logs": [
            {"level": kind, "message": text, "deprecationWarning": "Replaced by notices"} for kind, text in notices
        ],
        "notices": [{"type": kind, "text": text} for kind, text in notices],
        "_embedded": {
            "pacticipant": views.embedded_pacticipant(urls, consumer),
            "version": views.embedded_version(urls, consumer, number),
        },
        "_links": {
            "pb:pacticipant": views.link(urls.pacticipant(consumer), "Pacticipant", consumer),
            "pb:pacticipant-version": views.link(urls.version(consumer, number), "Pacticipant version", number),
            "pb:pacticipant-version-tags": [views.link(urls.tag(consumer, number, tag), "Tag", tag) for tag in tags],
            "pb:contracts": [
                views.link(urls.pact(consumer, one.provider.name, number), "Pact", views.pact_name(one))
                for one in published
            ],
        },
    }


_PACT = "/pacts/provider/{provider}/consumer/{consumer}/version/{number}"


def _pact_document(call: Call) -> dict[str, Any]:
    lookup.check_path_names(call, "provider", "consumer", "number")
    document = call.document
    if not isinstance(document, dict):
        raise invalid({"contents": ["must be a JSON object"]})
    errors: Errors = {}
    for role in ("consumer", "provider"):
        inner = document.get(role)
        name = inner.get("name") if isinstance(inner, dict) else None
        wanted = call.path[role]
        if name is not None and name != wanted:
            errors[f"{role}.name"] = [f"name in pact '{name}' does not match name in URL path '{wanted}'."]
    if errors:
        raise invalid(errors)
    return document


@routes.put(_PACT)
def put_pact(call: Call) -> Response:
    """Publish one pact (the old way)."""
    return _store_pact(call, merge=False)


@routes.patch(_PACT, consumes=("application/json", "application/merge-patch+json"))
def merge_pact(call: Call) -> Response:
    """Add interactions to a consumer version's pact."""
    return _store_pact(call, merge=True)


def _store_pact(call: Call, *, merge: bool) -> Response:
    document = _pact_document(call)
    session, path = call.session, call.path
    consumer, provider, number = path["consumer"], path["provider"], path["number"]
    _refuse_resembling(call, [consumer, provider])
    version, _ = versions.ensure(session, consumer, number)
    versions.lock(session, version)
    existing = pacts.by_version(session, consumer, provider, number)
    if merge and existing is not None:
        before = pacts.content_of(session, existing)
        if content.merge_conflicts(before, document):
            raise ApiError(
                409,
                {"error": "The pact holds an interaction of the same description and state with another request."},
            )
        document = content.merge_pacts(before, document)
    elif (
        existing is not None
        and not call.settings.allow_content_modification
        and existing.pact_version.sha != content.content_sha(document)
    ):
        raise ApiError(409, {"error": conflict_text(consumer, number, provider)})
    publication = pacts.publish(session, version, provider, document)
    announce.pact_published(call, publication, existing, context={})
    body = pact_views.pact(call.urls, publication, pacts.content_of(session, publication))
    created = existing is None
    return hal(body, 201 if created else 200)


def _refuse_resembling(call: Call, wanted: list[str]) -> None:
    try:
        _refuse_resembling_names(call, wanted)
    except ApiError as error:
        texts = error.body["errors"]["contracts"]
        raise ApiError(409, {"error": "\n".join(texts)}) from None
