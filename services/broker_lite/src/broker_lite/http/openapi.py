"""A description of the API (OpenAPI 3.1), made from the table of routes.

Bodies are described as far as they are checked: what breaks a schema here gets a 400.
"""

import inspect
import re
from collections.abc import Iterable
from typing import Any

from broker_lite import VERSION
from broker_lite.domain.webhook_rules import EVENTS
from broker_lite.http.call import Described
from broker_lite.http.errors import JSON, PROBLEM

Schema = dict[str, Any]

# A name is stored: not blank, at most 255 characters, no control characters.
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f]"}
_TEXT: Schema = {"type": ["string", "null"]}
_FLAG: Schema = {"type": ["boolean", "null"]}
_OBJECT: Schema = {"type": "object"}


def _object(required: str = "", **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return schema | {"required": required.split()} if required else schema


_ROLE = _object("name", name=_NAME)
_CONTRACT = _object(
    "consumerName providerName specification contentType content",
    consumerName=_NAME,
    providerName=_NAME,
    specification={"enum": ["pact"]},
    contentType={"enum": ["application/json"]},
    content={"type": "string", "minLength": 1, "description": "The pact's JSON in Base64."},
    onConflict={"enum": ["overwrite", "merge"]},
)
_SELECTOR = _object(
    mainBranch=_FLAG,
    matchingBranch=_FLAG,
    latest=_FLAG,
    deployed=_FLAG,
    released=_FLAG,
    deployedOrReleased=_FLAG,
    branch={"type": ["string", "boolean", "null"]},
    tag=_TEXT,
    environment=_TEXT,
    consumer=_TEXT,
    fallbackTag=_TEXT,
    fallbackBranch=_TEXT,
)
_PACTICIPANT = _object(displayName=_TEXT, mainBranch=_TEXT, repositoryUrl=_TEXT)
_VERSION = _object(
    buildUrl=_TEXT, tags={"type": ["array", "null"], "items": _object("name", name={"type": "string", "minLength": 1})}
)
_ENVIRONMENT = _object(
    "name production",
    name={"type": "string", "minLength": 1, "maxLength": 255},
    displayName=_TEXT,
    production={"type": "boolean"},
    contacts={"type": ["array", "null"], "items": _object("name", name={"type": "string", "minLength": 1})},
)
_WEBHOOK = _object(
    "request",
    description=_TEXT,
    enabled={"type": "boolean"},
    events={
        "type": ["array", "null"],
        "minItems": 1,
        "items": _object("name", name={"enum": list(EVENTS)}),
    },
    request=_object(
        "method url",
        method={"type": "string", "minLength": 1},
        url={"type": "string", "minLength": 1},
        headers={"type": ["object", "null"], "additionalProperties": {"type": "string"}},
        username=_TEXT,
        password=_TEXT,
    ),
)

BODIES: dict[str, Schema] = {
    "publish_contracts": _object(
        "pacticipantName pacticipantVersionNumber contracts",
        pacticipantName=_NAME,
        pacticipantVersionNumber=_NAME,
        branch={"type": ["string", "null"]},
        tags={"type": ["array", "null"], "items": _NAME},
        buildUrl=_TEXT,
        contracts={"type": "array", "minItems": 1, "items": _CONTRACT},
    ),
    # What a pact holds is for its verifier to judge.
    "put_pact": _OBJECT,
    "merge_pact": _OBJECT,
    "publish_verification_result": _object(
        "success providerApplicationVersion",
        success={"type": "boolean"},
        providerApplicationVersion=_NAME,
        buildUrl=_TEXT,
        testResults={"type": ["array", "object", "null"]},
    ),
    "post_pacts_for_verification": _object(
        providerVersionTags={"type": ["array", "null"], "items": {"type": "string", "minLength": 1}},
        providerVersionBranch=_TEXT,
        includePendingStatus=_FLAG,
        includeWipPactsSince=_TEXT,
        consumerVersionSelectors={"type": ["array", "null"], "items": _SELECTOR},
    ),
    "create_pacticipant": _object("name", name=_NAME) | {"allOf": [_PACTICIPANT]},
    "update_pacticipant": _PACTICIPANT,
    "replace_pacticipant": _PACTICIPANT,
    "put_version": _VERSION,
    "patch_version": _VERSION,
    "create_environment": _ENVIRONMENT,
    "replace_environment": _ENVIRONMENT,
    "record_deployment": _object(applicationInstance=_TEXT, target=_TEXT),
    "record_release": _OBJECT,
    "update_deployed_version": _object(currentlyDeployed=_FLAG),
    "update_released_version": _object(currentlySupported=_FLAG),
    "create_webhook": _WEBHOOK,
    "create_scoped_webhook": _WEBHOOK,
    "put_webhook": _WEBHOOK,
    "execute_unsaved_webhook": _WEBHOOK,
    "execute_webhook": {},
    "put_label": {},
    "put_tag": {},
    "put_branch_version": {},
}
"""What each handler takes as a body; an empty schema: a body is not looked at."""

_PAGE = {name: {"type": "integer", "minimum": 1} for name in ("pageNumber", "pageSize")}
_TEXTS = {"type": "string"}
QUERIES: dict[str, dict[str, Schema]] = {
    "list_pacticipants": _PAGE | {"q": _TEXTS},
    "list_branches": _PAGE | {"q": _TEXTS},
    "list_versions": _PAGE,
    "list_branch_versions": _PAGE,
    "list_integrations": _PAGE,
    "get_dashboard": _PAGE,
    "list_environments": {"name": _TEXTS},
    "list_currently_deployed": {"pacticipant": _TEXTS, "applicationInstance": _TEXTS},
    "list_currently_supported": {"pacticipant": _TEXTS, "version": _TEXTS},
    "get_matrix": {
        "q[][pacticipant]": _TEXTS,
        "q[][version]": _TEXTS,
        "q[][branch]": _TEXTS,
        "q[][tag]": _TEXTS,
        "q[][latest]": {"type": "boolean"},
        "latestby": {"enum": ["cvpv", "cvp", "cp"]},
        "environment": _TEXTS,
        "tag": _TEXTS,
        "limit": {"type": "integer", "minimum": 1},
    },
    "can_i_deploy": {"pacticipant": _TEXTS, "version": _TEXTS, "environment": _TEXTS, "to": _TEXTS},
    "get_group": {"maxPacticipants": _TEXTS},
}
"""Query parameters of each handler that has any."""

_CREATES = {"POST": ("201",), "PUT": ("200", "201"), "PATCH": ("200", "201"), "GET": ("200",), "DELETE": ("204",)}
_SUCCESS: dict[str, tuple[str, ...]] = {
    "publish_contracts": ("200",),
    "post_pacts_for_verification": ("200",),
    "execute_webhook": ("200",),
    "execute_unsaved_webhook": ("200",),
    "record_release": ("200", "201"),
    "redirect_to_badge": ("307",),
    "delete_pact": ("200",),
    "delete_pact_versions": ("200",),
    "provoke_error": ("500",),
}
_ERROR_TEXTS = {
    "400": "The request is not valid: which parts, and why.",
    "401": "Credentials are missing or wrong.",
    "404": "There is no such thing.",
    "405": "The path has other methods; Allow names them.",
    "409": "It contradicts what is stored.",
    "413": "The body is too large.",
    "415": "The body's Content-Type is not one of those above.",
    "406": "None of the types that the route answers in is acceptable.",
    "422": "Understood, but refused.",
    "431": "The request has too many headers.",
    "414": "The path or the query is too long.",
    "503": "The database is away or busy; nothing was changed.",
}
_WITHOUT_BODY = ("401", "405", "406", "415")
_TYPES = (JSON.partition(";")[0], "application/hal+json", PROBLEM.partition(";")[0])

_COMPONENTS: dict[str, Schema] = {
    "Error": {
        "description": "One sentence; or the problems, by field or in a list.",
        "oneOf": [
            _object("error", error={"type": ["string", "object"]}),
            _object(
                "errors",
                errors={
                    "oneOf": [
                        {"type": "array", "items": {"type": "string"}},
                        {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
                    ]
                },
            ),
        ],
    },
    "Problem": _object(
        "title type status",
        title={"type": "string"},
        type={"type": "string"},
        status={"type": "integer"},
        detail={"type": "string"},
        instance={"type": "string"},
        errors={"type": "array", "items": _object("type title detail")},
    ),
}


def document(routes: Iterable[Described], base_url: str, *, secured: bool) -> Schema:
    """The description.

    Args:
        routes: the table of routes.
        base_url: where this server is.
        secured: whether credentials are asked for.
    """
    paths: dict[str, Schema] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    described: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "broker_lite",
            "version": VERSION,
            "description": "The HTTP API of the Pact Broker, as far as broker_lite serves it. "
            "A name within a path is one percent-encoded segment.",
        },
        "servers": [{"url": base_url}],
        "paths": paths,
        "components": {"schemas": _COMPONENTS},
    }
    if secured:
        described["components"]["securitySchemes"] = {"basic": {"type": "http", "scheme": "basic"}}
        described["security"] = [{"basic": []}]
    return described


def _operation(route: Described) -> Schema:
    name = route.handler.__name__
    summary = (inspect.getdoc(route.handler) or "").splitlines()[0]
    parameters: list[Schema] = [
        {"name": one, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for one in re.findall(r"{(\w+)}", route.path)
    ]
    parameters += [{"name": one, "in": "query", "schema": schema} for one, schema in QUERIES.get(name, {}).items()]
    operation: Schema = {
        "summary": summary,
        "operationId": f"{route.method} {route.path}",
        "parameters": parameters,
        "responses": _responses(route),
    }
    if route.consumes is not None:
        content = {one: {"schema": BODIES[name]} for one in route.consumes if one}
        operation["requestBody"] = {"content": content, "required": "" not in route.consumes}
    return operation


def _responses(route: Described) -> Schema:
    name = route.handler.__name__
    success = _SUCCESS.get(name, _CREATES[route.method])
    if name in ("create_webhook", "create_scoped_webhook"):
        success = ("201",)
    answers: Schema = {}
    for status in success:
        answers[status] = {"description": "Done."}
        if status not in ("204", "307"):
            answers[status]["content"] = {one: {} for one in route.produces}
    schema = {one: {"$ref": f"#/components/schemas/{'Problem' if 'problem' in one else 'Error'}"} for one in _TYPES}
    for status, text in _ERROR_TEXTS.items():
        answers[status] = {"description": text}
        if status not in _WITHOUT_BODY:
            answers[status]["content"] = {one: {"schema": reference} for one, reference in schema.items()}
    return answers
