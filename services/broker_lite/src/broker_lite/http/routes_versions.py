"""Versions, branches and tags."""

from typing import Any

from fastapi import Response

from broker_lite.http import lookup, views
from broker_lite.http.call import PATCH_TYPES, Call, Routes, hal, no_content
from broker_lite.http.errors import invalid, not_found
from broker_lite.store import pacts, versions
from broker_lite.store.models import Branch, Version

routes = Routes()


def _version_list(call: Call, *, branch: str | None = None, tag: str | None = None) -> Response:
    owner = lookup.pacticipant(call)
    number, size = call.page()
    rows, total = versions.page(call.session, owner, branch=branch, tag=tag, number=number, size=size)
    page, page_links = views.page_parts(call, number, size, total)
    urls, name = call.urls, owner.name
    title = f"All application versions of {name}" + (f" with tag {tag}" if tag is not None else "")
    body = page | {
        "_embedded": {"versions": lookup.version_bodies(call, rows)},
        "_links": {
            "self": views.link(call.url_with_query, title),
            **page_links,
            "pb:pacticipant": views.link(urls.pacticipant(name), name),
            "pb:versions": [views.link(urls.version(name, row.number), views.version_title(row)) for row in rows],
            "pacticipant": views.link(urls.pacticipant(name), "Deprecated - please use pb:pacticipant"),
            "versions": [
                views.link(urls.version(name, row.number), "Deprecated - please use pb:versions") for row in rows
            ],
        },
    }
    return hal(body)


@routes.get("/pacticipants/{pacticipant}/versions")
def list_versions(call: Call) -> Response:
    """All versions, newest first."""
    return _version_list(call)


@routes.get("/pacticipants/{pacticipant}/branches/{branch}/versions")
def list_branch_versions(call: Call) -> Response:
    """All versions on a branch, newest first."""
    _branch(call)
    return _version_list(call, branch=call.path["branch"])


@routes.get("/pacticipants/{pacticipant}/tags/{tag}/versions")
def list_tag_versions(call: Call) -> Response:
    """All versions with a tag, newest first."""
    return _version_list(call, tag=call.path["tag"])


def _latest(call: Call, row: Version | None) -> Response:
    if row is None:
        raise not_found()
    return hal(lookup.version_body(call, row, self_url=call.url))


@routes.get("/pacticipants/{pacticipant}/latest-version")
def get_latest_version(call: Call) -> Response:
    """The newest version."""
    return _latest(call, versions.latest(call.session, call.path["pacticipant"]))


# Comes after `versions/latest`: that is no number of a version.
@routes.get("/pacticipants/{pacticipant}/versions/{version}")
def get_version(call: Call) -> Response:
    """One version."""
    return hal(lookup.version_body(call, lookup.version(call), self_url=call.url))


@routes.get("/pacticipants/{pacticipant}/latest-version/{tag}", "/pacticipants/{pacticipant}/versions/latest/{tag}")
def get_latest_tagged_version(call: Call) -> Response:
    """The newest version with a tag."""
    return _latest(call, versions.latest(call.session, call.path["pacticipant"], call.path["tag"]))


@routes.get("/pacticipants/{pacticipant}/branches/{branch}/latest-version")
def get_latest_branch_version(call: Call) -> Response:
    """The head of a branch."""
    return _latest(call, versions.branch_head(call.session, call.path["pacticipant"], call.path["branch"]))


@routes.put("/pacticipants/{pacticipant}/versions/{version}")
def put_version(call: Call) -> Response:
    """Create a version or replace its properties."""
    return _write_version(call, replace=True)


@routes.patch("/pacticipants/{pacticipant}/versions/{version}", consumes=PATCH_TYPES)
def patch_version(call: Call) -> Response:
    """Create a version or change some of its properties."""
    return _write_version(call, replace=False)


def _write_version(call: Call, *, replace: bool) -> Response:
    lookup.check_path_names(call, "pacticipant", "version")
    properties = call.properties
    tags, build_url = _version_properties(properties)
    row, created = versions.ensure(call.session, call.path["pacticipant"], call.path["version"])
    if replace and not created and "buildUrl" not in properties:
        row.build_url = None
    versions.set_build_url(row, build_url)
    for tag in tags or ():
        versions.put_tag(call.session, row, tag)
    body = lookup.version_body(call, row, self_url=call.url)
    return hal(body, 201 if created else 200)


def _version_properties(properties: dict[str, Any]) -> tuple[list[str] | None, str | None]:
    errors: dict[str, list[str]] = {}
    build_url = properties.get("buildUrl")
    if build_url is not None and not isinstance(build_url, str):
        errors["buildUrl"] = ["must be a string"]
    tags = properties.get("tags")
    names: list[str] | None = None
    if tags is not None:
        if isinstance(tags, list) and all(
            isinstance(one, dict) and isinstance(one.get("name"), str) and one["name"].strip() for one in tags
        ):
            names = [one["name"] for one in tags]
        else:
            errors["tags"] = ["must be an array of objects with a name"]
    if errors:
        raise invalid(errors)
    return names, build_url


@routes.delete("/pacticipants/{pacticipant}/versions/{version}")
def delete_version(call: Call) -> Response:
    """Delete a version with its pacts and results."""
    versions.remove(call.session, lookup.version(call))
    pacts.remove_orphans(call.session)
    return no_content()


@routes.get("/pacticipants/{pacticipant}/branches")
def list_branches(call: Call) -> Response:
    """Branches, newest first; always paged."""
    owner = lookup.pacticipant(call)
    number, size = call.page()
    number, size = number or 1, size or 100
    rows, total = versions.branches(call.session, owner, query=call.text_query("q"), number=number, size=size)
    page, page_links = views.page_parts(call, number, size, total)
    body = page | {
        "_embedded": {"branches": [views.branch(call.urls, row, full=False) for row in rows]},
        "_links": {
            "self": views.link(call.url, f"{owner.name} branches"),
            "pb:branches": [{"name": row.name, "href": call.urls.branch(owner.name, row.name)} for row in rows],
            **page_links,
        },
    }
    return hal(body)


def _branch(call: Call) -> Branch:
    row = versions.find_branch(call.session, call.path["pacticipant"], call.path["branch"])
    if row is None:
        raise not_found()
    return row


@routes.get("/pacticipants/{pacticipant}/branches/{branch}")
def get_branch(call: Call) -> Response:
    """One branch."""
    return hal(views.branch(call.urls, _branch(call)))


@routes.delete("/pacticipants/{pacticipant}/branches/{branch}")
def delete_branch(call: Call) -> Response:
    """Delete a branch; its versions stay."""
    versions.remove_branch(call.session, _branch(call))
    return no_content()


@routes.get("/pacticipants/{pacticipant}/branches/{branch}/versions/{version}")
def get_branch_version(call: Call) -> Response:
    """A version's membership of a branch."""
    name, branch, number = call.path["pacticipant"], call.path["branch"], call.path["version"]
    row = versions.find_branch_version(call.session, name, branch, number)
    if row is None:
        raise not_found()
    return hal(views.branch_version(call.urls, row, name, number))


@routes.put("/pacticipants/{pacticipant}/branches/{branch}/versions/{version}")
def put_branch_version(call: Call) -> Response:
    """Put a version on a branch, creating pacticipant, version and branch where needed."""
    lookup.check_path_names(call, "pacticipant", "branch", "version")
    name, number = call.path["pacticipant"], call.path["version"]
    version, _ = versions.ensure(call.session, name, number)
    row, created = versions.add_to_branch(call.session, version, call.path["branch"], call.settings)
    body = views.branch_version(call.urls, row, name, number)
    return hal(body, 201 if created else 200, call.url if created else None)


@routes.delete("/pacticipants/{pacticipant}/branches/{branch}/versions/{version}")
def delete_branch_version(call: Call) -> Response:
    """Take a version off a branch."""
    path = call.path
    row = versions.find_branch_version(call.session, path["pacticipant"], path["branch"], path["version"])
    if row is None:
        raise not_found()
    versions.remove_branch_version(call.session, row)
    return no_content()


@routes.get("/pacticipants/{pacticipant}/versions/{version}/tags/{tag}")
def get_tag(call: Call) -> Response:
    """A tag of a version."""
    row = versions.find_tag(call.session, call.path["pacticipant"], call.path["version"], call.path["tag"])
    if row is None:
        raise not_found()
    return hal(views.tag(call.urls, row))


@routes.put("/pacticipants/{pacticipant}/versions/{version}/tags/{tag}")
def put_tag(call: Call) -> Response:
    """Tag a version, creating pacticipant and version where needed."""
    lookup.check_path_names(call, "pacticipant", "version", "tag")
    version, _ = versions.ensure(call.session, call.path["pacticipant"], call.path["version"])
    row, created = versions.add_tag(call.session, version, call.path["tag"], call.settings, deploys=True)
    return hal(views.tag(call.urls, row), 201 if created else 200, call.url if created else None)


@routes.delete("/pacticipants/{pacticipant}/versions/{version}/tags/{tag}")
def delete_tag(call: Call) -> Response:
    """Take a tag off a version."""
    row = versions.find_tag(call.session, call.path["pacticipant"], call.path["version"], call.path["tag"])
    if row is None:
        raise not_found()
    versions.remove_tag(call.session, row)
    return no_content()
