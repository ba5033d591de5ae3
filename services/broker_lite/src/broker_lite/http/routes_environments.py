"""Environments, deployments and releases."""

import re
from typing import Any

from fastapi import Response

from broker_lite.domain import names
from broker_lite.domain.webhook_rules import Errors
from broker_lite.http import lookup, views
from broker_lite.http.call import JSON_TYPES, Call, Routes, hal, no_content
from broker_lite.http.errors import ApiError, invalid, not_found
from broker_lite.store import deployments
from broker_lite.store.models import Environment, Version, now

routes = Routes()


def _values(call: Call, current: Environment | None) -> dict[str, Any]:
    properties = call.properties
    errors: Errors = {}
    name = properties.get("name")
    if "name" not in properties:
        errors["name"] = ["is missing"]
    elif not isinstance(name, str) or not name.strip():
        errors["name"] = ["must be filled"]
    elif re.search(r"\s", name):
        errors["name"] = ["cannot contain spaces"]
    elif len(name) > lookup.MAX_NAME:
        errors["name"] = [f"cannot be longer than {lookup.MAX_NAME} characters"]
    else:
        other = deployments.environment_named(call.session, name)
        if other is not None and other is not current:
            errors["name"] = [f"name '{name}' is already used by an existing environment."]
    display = properties.get("displayName")
    if display is not None and not isinstance(display, str):
        errors["displayName"] = ["must be a string"]
    elif display is not None and "\n" in display:
        errors["displayName"] = ["cannot contain multiple lines"]
    if "production" not in properties:
        errors["production"] = ["is missing"]
    elif not isinstance(properties["production"], bool):
        errors["production"] = [
            "must be one of: true, false" if properties["production"] is not None else "must be filled"
        ]
    errors.update(_contact_problems(properties.get("contacts")))
    if errors:
        raise invalid(errors)
    return {
        "name": name,
        "display_name": display or names.display_name(str(name)),
        "production": properties["production"],
        "contacts": properties.get("contacts"),
    }


def _contact_problems(contacts: Any) -> Errors:
    if contacts is None:
        return {}
    if not isinstance(contacts, list):
        return {"contacts": ["must be an array"]}
    found = []
    for index, contact in enumerate(contacts):
        if not isinstance(contact, dict):
            found.append(f"must be a hash (at index {index})")
            continue
        if "name" not in contact:
            found.append(f"name is missing (at index {index})")
        elif not isinstance(contact["name"], str) or not contact["name"].strip():
            found.append(f"name must be filled (at index {index})")
        if contact.get("details") is not None and not isinstance(contact["details"], dict):
            found.append(f"details must be a hash (at index {index})")
    return {"contacts": found} if found else {}


@routes.get("/environments")
def list_environments(call: Call) -> Response:
    """All environments, or the one of the name asked for."""
    rows = deployments.environments(call.session, call.text_query("name"))
    body = {
        "_embedded": {"environments": [views.environment(call.urls, row) for row in rows]},
        "_links": {
            "self": views.link(call.urls.environments(), "Environments"),
            "pb:environments": [views.link(call.urls.environment(row.uuid), "Environment", row.name) for row in rows],
        },
    }
    return hal(body)


@routes.post("/environments")
def create_environment(call: Call) -> Response:
    """Create an environment."""
    values = _values(call, None)
    row = deployments.create_environment(call.session, values)
    if row is None:
        raise invalid({"name": [f"name '{values['name']}' is already used by an existing environment."]})
    return hal(views.environment(call.urls, row), 201, call.urls.environment(row.uuid))


@routes.get("/environments/{environment}")
def get_environment(call: Call) -> Response:
    """One environment."""
    return hal(views.environment(call.urls, lookup.environment(call)))


@routes.put("/environments/{environment}")
def replace_environment(call: Call) -> Response:
    """Replace an environment's properties."""
    row = lookup.environment(call)
    for attribute, value in _values(call, row).items():
        setattr(row, attribute, value)
    row.updated_at = now()
    call.session.flush()
    return hal(views.environment(call.urls, row))


@routes.delete("/environments/{environment}")
def delete_environment(call: Call) -> Response:
    """Delete an environment with its deployments and releases."""
    deployments.remove_environment(call.session, lookup.environment(call))
    return no_content()


_DEPLOYED = "/pacticipants/{pacticipant}/versions/{version}/deployed-versions/environment/{environment}"
_RELEASED = "/pacticipants/{pacticipant}/versions/{version}/released-versions/environment/{environment}"


@routes.post(_DEPLOYED, consumes=(*JSON_TYPES, ""))
def record_deployment(call: Call) -> Response:
    """Record that a version runs in an environment, in place of the same application instance's last one."""
    version, environment = lookup.version(call), lookup.environment(call)
    target = _target(call.properties)
    row = deployments.record_deployment(call.session, version, environment, target=target)
    body = views.deployed_version(call.urls, row, views.ALL_EMBEDDED)
    return hal(body, 201, call.urls.deployed_version(row.uuid))


def _target(properties: dict[str, Any]) -> str | None:
    value = properties.get("applicationInstance", properties.get("target"))
    if value is None:
        return None
    if not isinstance(value, str):
        raise invalid({"applicationInstance": ["must be a string"]})
    return value if value.strip() else None


def _place(version: Version, environment: Environment) -> str:
    name = version.pacticipant.display_name
    return f"{name} version {version.number} in environment {environment.display_name}"


@routes.get(_DEPLOYED)
def list_deployments(call: Call) -> Response:
    """The deployments of a version to an environment."""
    version, environment = lookup.version(call), lookup.environment(call)
    rows = deployments.deployments_of(call.session, version, environment)
    title = f"Deployed versions for {_place(version, environment)}"
    body = {
        "_embedded": {"deployedVersions": [views.deployed_version(call.urls, row, ()) for row in rows]},
        "_links": {"self": views.link(call.url, title)},
    }
    return hal(body)


@routes.get("/environments/{environment}/deployed-versions/currently-deployed")
def list_currently_deployed(call: Call) -> Response:
    """What runs in an environment now."""
    environment = lookup.environment(call)
    by_target = "applicationInstance" in call.query or "target" in call.query
    rows = deployments.current_deployments(
        call.session,
        environment_id=environment.id,
        pacticipant=call.text_query("pacticipant"),
        by_target=by_target,
        target=call.text_query("applicationInstance") or call.text_query("target"),
    )
    shown = [views.deployed_version(call.urls, row, ("pacticipant", "version")) for row in rows]
    title = f"Currently deployed versions for {environment.display_name}"
    return hal({"_embedded": {"deployedVersions": shown}, "_links": {"self": views.link(call.url_with_query, title)}})


@routes.get("/deployed-versions/{uuid}")
def get_deployed_version(call: Call) -> Response:
    """One deployment."""
    row = deployments.find_deployed(call.session, call.path["uuid"])
    if row is None:
        raise not_found()
    return hal(views.deployed_version(call.urls, row, views.ALL_EMBEDDED))


@routes.patch("/deployed-versions/{uuid}")
def update_deployed_version(call: Call) -> Response:
    """End a deployment."""
    row = deployments.find_deployed(call.session, call.path["uuid"])
    if row is None:
        raise not_found()
    _only_false(
        call,
        "currentlyDeployed",
        "The currentlyDeployed property cannot be set back to true. Please record a new deployment.",
    )
    if call.properties.get("currentlyDeployed") is False:
        deployments.undeploy(row)
    return hal(views.deployed_version(call.urls, row, views.ALL_EMBEDDED))


def _only_false(call: Call, key: str, text: str) -> None:
    value = call.properties.get(key)
    if value is True:
        raise ApiError(422, {"errors": {key: [text]}})
    if value is not None and not isinstance(value, bool):
        raise invalid({key: ["must be boolean"]})


@routes.post(_RELEASED, consumes=(*JSON_TYPES, ""))
def record_release(call: Call) -> Response:
    """Record that a version is released to an environment."""
    version, environment = lookup.version(call), lookup.environment(call)
    row, created = deployments.record_release(call.session, version, environment)
    body = views.released_version(call.urls, row, views.ALL_EMBEDDED)
    return hal(body, 201 if created else 200, call.urls.released_version(row.uuid))


@routes.get(_RELEASED)
def list_releases(call: Call) -> Response:
    """The releases of a version to an environment."""
    version, environment = lookup.version(call), lookup.environment(call)
    rows = deployments.releases_of(call.session, version, environment)
    title = f"Released versions for {_place(version, environment)}"
    body = {
        "_embedded": {"releasedVersions": [views.released_version(call.urls, row, ()) for row in rows]},
        "_links": {"self": views.link(call.url, title)},
    }
    return hal(body)


@routes.get("/environments/{environment}/released-versions/currently-supported")
def list_currently_supported(call: Call) -> Response:
    """What is released to an environment and supported now."""
    environment = lookup.environment(call)
    rows = deployments.supported_releases(
        call.session,
        environment_id=environment.id,
        pacticipant=call.text_query("pacticipant"),
        number=call.text_query("version"),
    )
    shown = [views.released_version(call.urls, row, ("pacticipant", "version")) for row in rows]
    title = f"Currently supported versions in {environment.display_name}"
    return hal({"_embedded": {"releasedVersions": shown}, "_links": {"self": views.link(call.url_with_query, title)}})


@routes.get("/released-versions/{uuid}")
def get_released_version(call: Call) -> Response:
    """One release."""
    row = deployments.find_released(call.session, call.path["uuid"])
    if row is None:
        raise not_found()
    return hal(views.released_version(call.urls, row, views.ALL_EMBEDDED))


@routes.patch("/released-versions/{uuid}")
def update_released_version(call: Call) -> Response:
    """End the support of a release."""
    row = deployments.find_released(call.session, call.path["uuid"])
    if row is None:
        raise not_found()
    _only_false(
        call,
        "currentlySupported",
        "The currentlySupported property cannot be set back to true. Please record a new deployment.",
    )
    if call.properties.get("currentlySupported") is False:
        deployments.end_support(row)
    return hal(views.released_version(call.urls, row, views.ALL_EMBEDDED))
