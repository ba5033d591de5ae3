"""Pacticipants and their labels."""

from collections.abc import Sequence
from typing import Any

from fastapi import Response

from broker_lite.domain.webhook_rules import Errors
from broker_lite.http import lookup, views
from broker_lite.http.call import PATCH_TYPES, Call, Routes, hal, no_content
from broker_lite.http.errors import invalid, not_found
from broker_lite.store import deployments, pacticipants, pacts
from broker_lite.store.models import Pacticipant

routes = Routes()


def _body(call: Call, row: Pacticipant, *, deployed: bool) -> views.Json:
    session = call.session
    return views.pacticipant(
        call.urls,
        row,
        pacticipants.labels(session, [row.id])[row.id],
        pacticipants.latest_versions(session, [row.id]).get(row.id),
        deployments.current_deployments(session, pacticipant_id=row.id) if deployed else None,
    )


def _bodies(call: Call, rows: Sequence[Pacticipant]) -> list[views.Json]:
    ids = [row.id for row in rows]
    labels = pacticipants.labels(call.session, ids)
    latest = pacticipants.latest_versions(call.session, ids)
    return [views.pacticipant(call.urls, row, labels[row.id], latest.get(row.id)) for row in rows]


def _check(properties: dict[str, Any], *, new: bool) -> None:
    errors: Errors = {}
    if new and "name" not in properties:
        errors["name"] = ["is missing"]
    elif "name" in properties:
        name = properties["name"]
        if not isinstance(name, str):
            errors["name"] = ["must be a string"]
        else:
            problem = lookup.name_problem(name) if name.strip() else "must be filled"
            if problem is not None:
                errors["name"] = [problem]
    for key in pacticipants.FIELDS:
        value = properties.get(key)
        if value is None:
            continue
        if not isinstance(value, str):
            errors[key] = ["must be a string"]
        elif key == "mainBranch" and any(character.isspace() for character in value):
            errors[key] = ["cannot contain spaces"]
        elif "\n" in value:
            errors[key] = ["cannot contain multiple lines"]
    if errors:
        raise invalid(errors)


@routes.get("/pacticipants")
def list_pacticipants(call: Call) -> Response:
    """All pacticipants by name."""
    number, size = call.page()
    rows, total = pacticipants.page(call.session, number=number, size=size, query=call.text_query("q"))
    return hal(_collection(call, rows, number, size, total))


@routes.get("/pacticipants/label/{label}")
def list_pacticipants_with_label(call: Call) -> Response:
    """Pacticipants with a label."""
    rows, total = pacticipants.page(call.session, number=None, size=None, label=call.path["label"])
    body = _collection(call, rows, None, None, total)
    del body["pacticipants"]
    return hal(body)


def _collection(
    call: Call, rows: Sequence[Pacticipant], number: int | None, size: int | None, total: int
) -> dict[str, Any]:
    urls = call.urls
    bodies = _bodies(call, rows)
    page, page_links = views.page_parts(call, number, size, total)
    deprecated = "DEPRECATED - Please use the embedded pacticipants collection"
    return page | {
        "_embedded": {"pacticipants": bodies},
        "pacticipants": [body | {"title": deprecated} for body in bodies],
        "_links": {
            "self": views.link(urls.pacticipants()),
            "pb:pacticipants-with-label": views.link(
                f"{urls.pacticipants()}/label/{{label}}", "Find pacticipants by label", templated=True
            ),
            "pb:pacticipants": [views.link(urls.pacticipant(row.name), "Pacticipant", row.name) for row in rows],
            "pacticipants": [
                views.link(urls.pacticipant(row.name), row.name, "DEPRECATED - please use pb:pacticipants")
                for row in rows
            ],
            **page_links,
        },
    }


@routes.post("/pacticipants")
def create_pacticipant(call: Call) -> Response:
    """Create a pacticipant; one that exists stays as it is."""
    properties = call.properties
    _check(properties, new=True)
    name = properties["name"]
    row = pacticipants.find(call.session, name)
    if row is None:
        row = pacticipants.get_or_create(call.session, name)
        pacticipants.write(row, properties, replace=False)
        row.updated_at = row.created_at
    return hal(_body(call, row, deployed=False), 201, call.urls.pacticipant(name))


@routes.get("/pacticipants/{pacticipant}")
def get_pacticipant(call: Call) -> Response:
    """One pacticipant."""
    return hal(_body(call, lookup.pacticipant(call), deployed=True))


@routes.patch("/pacticipants/{pacticipant}", consumes=(*PATCH_TYPES, "application/json"))
def update_pacticipant(call: Call) -> Response:
    """Change some properties; creates the pacticipant if there is none."""
    properties = call.properties
    _check(properties, new=False)
    lookup.check_path_names(call, "pacticipant")
    name = call.path["pacticipant"]
    row = pacticipants.find(call.session, name)
    created = row is None
    if row is None:
        row = pacticipants.get_or_create(call.session, name)
    pacticipants.write(row, properties, replace=False)
    return hal(_body(call, row, deployed=True), 201 if created else 200, call.url if created else None)


@routes.put("/pacticipants/{pacticipant}")
def replace_pacticipant(call: Call) -> Response:
    """Replace all properties."""
    row = lookup.pacticipant(call)
    properties = call.properties
    _check(properties, new=False)
    pacticipants.write(row, properties, replace=True)
    return hal(_body(call, row, deployed=True))


@routes.delete("/pacticipants/{pacticipant}")
def delete_pacticipant(call: Call) -> Response:
    """Delete a pacticipant with everything that belongs to it."""
    pacticipants.remove(call.session, lookup.pacticipant(call))
    pacts.remove_orphans(call.session)
    return no_content()


@routes.get("/labels")
def list_labels(call: Call) -> Response:
    """All label names."""
    names = pacticipants.all_labels(call.session)
    return hal(
        {
            "_embedded": {"labels": [{"name": name} for name in names]},
            "_links": {"self": views.link(call.url, "Labels")},
        }
    )


@routes.get("/pacticipants/{pacticipant}/labels/{label}")
def get_label(call: Call) -> Response:
    """A label of a pacticipant."""
    owner = lookup.pacticipant(call)
    row = pacticipants.find_label(call.session, owner, call.path["label"])
    if row is None:
        raise not_found()
    return hal(views.label(call.urls, row, owner.name))


@routes.put("/pacticipants/{pacticipant}/labels/{label}")
def put_label(call: Call) -> Response:
    """Put a label on a pacticipant."""
    lookup.check_path_names(call, "label")
    owner = lookup.pacticipant(call)
    row, created = pacticipants.add_label(call.session, owner, call.path["label"])
    return hal(views.label(call.urls, row, owner.name), 201 if created else 200, call.url if created else None)


@routes.delete("/pacticipants/{pacticipant}/labels/{label}")
def delete_label(call: Call) -> Response:
    """Take a label off a pacticipant."""
    row = pacticipants.find_label(call.session, lookup.pacticipant(call), call.path["label"])
    if row is None:
        raise not_found()
    call.session.delete(row)
    return no_content()
