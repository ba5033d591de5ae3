"""Reading and removing pacts."""

from collections.abc import Sequence
from typing import Any

from fastapi import Response
from sqlalchemy import ColumnElement

from broker_lite.domain import content, diff, metadata
from broker_lite.http import lookup, pact_views, views
from broker_lite.http.call import Call, JsonResponse, Routes, hal, text_response
from broker_lite.http.errors import JSON, missing, not_found
from broker_lite.store import pacts, webhooks
from broker_lite.store.models import PactPublication
from broker_lite.store.results import latest_of
from broker_lite.urls import encode

routes = Routes()
PAIR = "/pacts/provider/{provider}/consumer/{consumer}"
EXTENDED = "application/vnd.pactbrokerextended.v1+json"
"""A pact or a result with what the reference broker's own pages show beside it."""
PACT_TYPES = ("application/hal+json", "application/json", EXTENDED)


def _pact(call: Call, row: PactPublication | None, **shown: Any) -> Response:
    if row is None:
        raise not_found()
    if call.wants(EXTENDED) and not call.wants("application/hal+json"):
        body = pact_views.extended_pact(call.urls, row, pacts.content_of(call.session, row), **shown)
        return JsonResponse(body, media_type=f"{EXTENDED};charset=utf-8")
    body = pact_views.pact(call.urls, row, pacts.content_of(call.session, row), **shown)
    plain = call.wants("application/json") and not call.wants("application/hal+json")
    return JsonResponse(body, media_type=JSON) if plain else hal(body)


def _names(call: Call) -> tuple[str, str]:
    return call.path["consumer"], call.path["provider"]


_BADGE_COLOURS = {"success": "brightgreen", "failed": "red", "unknown": "lightgrey"}


@routes.get(f"{PAIR}/latest/badge.svg", f"{PAIR}/latest/{{tag}}/badge.svg", produces=("image/svg+xml",))
def redirect_to_badge(call: Call) -> Response:
    """Send a browser to the external host that draws the badge."""
    criteria = [pacts.tagged(call.path["tag"])] if "tag" in call.path else []
    row = pacts.newest(call.session, *pacts.between(*_names(call)), *criteria)
    status = "unknown"
    if row is not None:
        latest = latest_of(call.session, [row.pact_version_id]).get(row.pact_version_id)
        if latest is not None:
            status = "success" if latest.success else "failed"
    word = {"success": "verified"}.get(status, status)
    consumer, provider = (name.replace("-", "--").replace("_", "__") for name in _names(call))
    label = encode(f"{consumer}/{provider} pact")
    location = f"https://img.shields.io/badge/{label}-{word}-{_BADGE_COLOURS[status]}.svg"
    return Response(status_code=307, headers={"location": location}, media_type="image/svg+xml;charset=utf-8")


@routes.get(f"{PAIR}/version/{{number}}", produces=PACT_TYPES)
def get_pact(call: Call) -> Response:
    """A consumer version's pact."""
    return _pact(call, pacts.by_version(call.session, *_names(call), call.path["number"]))


@routes.get(f"{PAIR}/pact-version/{{sha}}", f"{PAIR}/pact-version/{{sha}}/metadata/{{metadata}}", produces=PACT_TYPES)
def get_pact_by_content(call: Call) -> Response:
    """A pact by its content; with metadata, as the pact of the consumer versions that these name."""
    row, numbers = publication_of_content(call)
    return _pact(call, row, versions=numbers or None, metadata=call.path.get("metadata"))


def publication_of_content(call: Call) -> tuple[PactPublication | None, list[str]]:
    """The publication that a path with a content means, and the consumer versions that its metadata names."""
    context = metadata.decode(call.path.get("metadata"))
    numbers = list(dict.fromkeys(one.number for one in context.selected))
    if context.consumer_version is not None and not numbers:
        numbers = [context.consumer_version]
    row = pacts.by_sha(call.session, *_names(call), call.path["sha"])
    return (None if row is None else named_publication(call, row, numbers)), numbers


def named_publication(call: Call, row: PactPublication, numbers: Sequence[str]) -> PactPublication:
    """The publication of the same content by the newest named consumer version, else the given one."""
    if row.consumer_version.number in numbers or not numbers:
        return row
    named = pacts.numbered(row.consumer.name, numbers)
    return pacts.newest(call.session, PactPublication.pact_version_id == row.pact_version_id, named) or row


@routes.get(f"{PAIR}/latest", produces=PACT_TYPES)
def get_latest_pact(call: Call) -> Response:
    """The pact of the newest consumer version."""
    return _latest(call)


@routes.get(f"{PAIR}/latest/{{tag}}", produces=PACT_TYPES)
def get_latest_tagged_pact(call: Call) -> Response:
    """The pact of the newest consumer version with a tag."""
    return _latest(call, pacts.tagged(call.path["tag"]))


@routes.get(f"{PAIR}/latest-untagged", produces=PACT_TYPES)
def get_latest_untagged_pact(call: Call) -> Response:
    """The pact of the newest consumer version without a tag."""
    return _latest(call, pacts.untagged())


@routes.get(f"{PAIR}/branch/{{branch}}/latest", produces=PACT_TYPES)
def get_latest_branch_pact(call: Call) -> Response:
    """The pact of the newest consumer version on a branch."""
    return _latest(call, pacts.on_branch(call.path["branch"], head=False))


def _latest(call: Call, *criteria: ColumnElement[bool]) -> Response:
    row = pacts.newest(call.session, *pacts.between(*_names(call)), *criteria)
    link_metadata = None
    if row is not None:
        tag = call.path.get("tag")
        selected = metadata.SelectedVersion(row.consumer_version.number, tag=tag, latest=True)
        link_metadata = metadata.LinkMetadata(selected=(selected,)).encode()
    response = _pact(call, row, metadata=link_metadata)
    if row is not None:
        # Older clients read the consumer version of the latest pact from this header.
        response.headers["x-pact-consumer-version"] = encode(row.consumer_version.number)
    return response


@routes.get(f"{PAIR}/version/{{number}}/previous-distinct", produces=PACT_TYPES)
def get_previous_distinct_pact(call: Call) -> Response:
    """The latest earlier pact with other content."""
    row = pacts.by_version(call.session, *_names(call), call.path["number"])
    previous = pacts.previous_distinct(call.session, row) if row is not None else None
    if previous is None:
        raise missing("No previous distinct version was found")
    return _pact(call, previous)


@routes.get(f"{PAIR}/version/{{number}}/diff/previous-distinct", produces=("text/plain",))
def get_diff_to_previous(call: Call) -> Response:
    """What changed since the latest earlier pact with other content, as text."""
    row = pacts.by_version(call.session, *_names(call), call.path["number"])
    if row is None:
        raise not_found()
    previous = pacts.previous_distinct(call.session, row)
    if previous is None:
        return text_response("No previous distinct version was found")
    return _diff(call, previous, row)


@routes.get(f"{PAIR}/pact-version/{{sha}}/diff/pact-version/{{other}}", produces=("text/plain",))
def get_diff(call: Call) -> Response:
    """What differs between two contents, as text."""
    row = pacts.by_sha(call.session, *_names(call), call.path["sha"])
    other = pacts.by_sha(call.session, *_names(call), call.path["other"])
    if row is None or other is None:
        raise not_found()
    return _diff(call, other, row)


def _diff(call: Call, old: PactPublication, new: PactPublication) -> Response:
    texts = pacts.contents(call.session, [old.pact_version_id, new.pact_version_id])
    before, after = (content.parse_json(texts[one.pact_version_id]) for one in (old, new))
    heading = (
        f"# Diff between versions {old.consumer_version.number} and {new.consumer_version.number} of the pact "
        f"between {new.consumer.name} and {new.provider.name}\n\n"
    )
    return text_response(heading + diff.pact_diff(before, after) + "\n")


@routes.delete(f"{PAIR}/version/{{number}}", produces=PACT_TYPES)
def delete_pact(call: Call) -> Response:
    """Remove a consumer version's pact with a provider."""
    row = pacts.by_version(call.session, *_names(call), call.path["number"])
    if row is None:
        raise not_found()
    names = _names(call)
    pacts.remove(call.session, row)
    remaining = pacts.newest(call.session, *pacts.between(*names))
    links: dict[str, Any] = {"index": views.link(call.urls.base)}
    if remaining is not None:
        links["pb:latest-pact-version"] = views.link(call.urls.latest_pact(*names), "Latest pact")
    return hal({"_links": links})


@routes.get(f"{PAIR}/versions")
def list_pact_versions(call: Call) -> Response:
    """All pacts between two."""
    return _pair_list(call, f"All versions of the pact between {call.path['consumer']} and {call.path['provider']}")


@routes.get(f"{PAIR}/tag/{{tag}}")
def list_tagged_pact_versions(call: Call) -> Response:
    """All pacts between two, of consumer versions with a tag."""
    consumer, provider, tag = call.path["consumer"], call.path["provider"], call.path["tag"]
    title = f"All versions of the pact between {consumer} and {provider} with tag {tag}"
    return _pair_list(call, title, pacts.tagged(tag), tagged=True)


def _pair_list(
    call: Call, title: str, *criteria: ColumnElement[bool], newest_first: bool = True, tagged: bool = False
) -> Response:
    consumer, provider = lookup.consumer(call), lookup.provider(call)
    urls = call.urls
    rows = pacts.listed(call.session, *pacts.between(consumer.name, provider.name), *criteria)
    if newest_first:
        rows.reverse()

    def own(row: PactPublication) -> str:
        return urls.pact(consumer.name, provider.name, row.consumer_version.number)

    embedded = [
        {
            "createdAt": views.timestamp(row.created_at),
            "_embedded": {"consumerVersion": views.embedded_version(urls, consumer.name, row.consumer_version.number)},
            "_links": {"self": views.link(own(row), views.pact_name(row))},
        }
        for row in rows
    ]
    # Links of the older kind of list have no prefix; clients know both by these names.
    prefix, word = ("pb:", "Pact version") if tagged else ("", "Pact")
    links = {
        "self": views.link(call.url, title),
        f"{prefix}consumer": views.link(urls.pacticipant(consumer.name), "Consumer", consumer.name),
        f"{prefix}provider": views.link(urls.pacticipant(provider.name), "Provider", provider.name),
        f"{prefix}pact-versions": [
            views.link(own(row), word, views.version_title(row.consumer_version)) for row in rows
        ],
    }
    return hal({"_embedded": {"pacts": embedded}, "_links": links})


@routes.delete(f"{PAIR}/versions", f"{PAIR}/tag/{{tag}}")
def delete_pact_versions(call: Call) -> Response:
    """Remove all pacts between two (of consumer versions with a tag)."""
    names = _names(call)
    criteria = [pacts.tagged(call.path["tag"])] if "tag" in call.path else []
    for row in pacts.listed(call.session, *pacts.between(*names), *criteria):
        pacts.remove(call.session, row)
    return hal({"_links": {"index": views.link(call.urls.base)}})


def _provider_list(call: Call, rows: Sequence[PactPublication], title: str, *, deprecated: bool = True) -> Response:
    provider = lookup.provider(call)
    urls = call.urls
    shown = [pact_views.short_pact(urls, row) for row in rows]
    names = [
        {**one, "title": views.pact_name(row), "name": row.consumer.name} for one, row in zip(shown, rows, strict=True)
    ]
    links: dict[str, Any] = {
        "self": views.link(call.url, title),
        "pb:provider": {"href": urls.pacticipant(provider.name), "name": provider.name},
        "pb:pacts": names,
    }
    if deprecated:
        links["provider"] = {
            "href": urls.pacticipant(provider.name),
            "title": provider.name,
            "name": "DEPRECATED - please use the pb:provider relation",
        }
        note = "DEPRECATED - please use the pb:pacts relation. "
        links["pacts"] = [one | {"title": note + one["title"]} for one in names]
    return hal({"_links": links})


@routes.get("/pacts/provider/{provider}/latest")
def list_latest_provider_pacts(call: Call) -> Response:
    """The latest pact of each consumer with a provider."""
    provider = lookup.provider(call)
    rows = pacts.overall_latest(call.session, pacts.of_provider(provider))
    return _provider_list(call, rows, f"Latest pact versions for the provider {provider.name}")


@routes.get("/pacts/provider/{provider}/latest/{tag}")
def list_latest_tagged_provider_pacts(call: Call) -> Response:
    """The latest pact with a tag of each consumer with a provider."""
    provider, tag = lookup.provider(call), call.path["tag"]
    rows = pacts.overall_latest(call.session, pacts.of_provider(provider), pacts.tagged(tag))
    return _provider_list(
        call, rows, f"Latest pact versions for the provider {provider.name} with consumer version tag '{tag}'"
    )


@routes.get("/pacts/provider/{provider}")
def list_provider_pacts(call: Call) -> Response:
    """All pacts with a provider."""
    provider = lookup.provider(call)
    rows = pacts.every_revision(call.session, pacts.of_provider(provider))
    return _provider_list(call, rows, f"All pact versions for the provider {provider.name}")


@routes.get("/pacts/provider/{provider}/tag/{tag}")
def list_tagged_provider_pacts(call: Call) -> Response:
    """All pacts with a provider, of consumer versions with a tag."""
    provider, tag = lookup.provider(call), call.path["tag"]
    rows = pacts.listed(call.session, pacts.of_provider(provider), pacts.tagged(tag))
    return _provider_list(
        call, rows, f"All pact versions for the provider {provider.name} with consumer version tag '{tag}'"
    )


def _branch_list(call: Call, *, head: bool) -> Response:
    branch = call.path.get("branch")
    criterion = pacts.on_branch(branch, head=head)
    if "consumer" in call.path:
        title = f"All versions of the pact between {call.path['consumer']} and {call.path['provider']}"
        return _pair_list(call, title, criterion, newest_first=False)
    provider = lookup.provider(call)
    rows = pacts.listed(call.session, pacts.of_provider(provider), criterion)
    which = "Latest pact versions" if head else "All pact versions"
    where = f" with consumer version branch '{branch}'" if branch is not None else ""
    return _provider_list(call, rows, f"{which} for the provider {provider.name}{where}")


@routes.get(
    "/pacts/provider/{provider}/branch/latest",
    "/pacts/provider/{provider}/branch/{branch}/latest",
    "/pacts/provider/{provider}/consumer/{consumer}/branch/{branch}/latest/versions",
    "/pacts/provider/{provider}/consumer/{consumer}/branch/latest/versions",
)
def list_branch_head_pacts(call: Call) -> Response:
    """The pacts at the heads of a branch of the consumers (without a name: of their main branches)."""
    return _branch_list(call, head=True)


@routes.get(
    "/pacts/provider/{provider}/branch",
    "/pacts/provider/{provider}/consumer/{consumer}/branch/versions",
    "/pacts/provider/{provider}/branch/{branch}",
    "/pacts/provider/{provider}/consumer/{consumer}/branch/{branch}",
)
def list_branch_pacts(call: Call) -> Response:
    """All pacts of a provider on a branch of the consumers (without a name: on their main branches)."""
    return _branch_list(call, head=False)


@routes.get("/pacts/latest")
def list_latest_pacts(call: Call) -> Response:
    """The latest pact of every pair."""
    urls = call.urls
    rows = pacts.overall_latest(call.session)
    links = [
        views.link(
            urls.latest_pact(row.consumer.name, row.provider.name),
            f"Latest pact between {row.consumer.name} and {row.provider.name}",
        )
        for row in rows
    ]
    note = "DEPRECATED - please use the pb:pacts relation"
    body = {
        "_links": {
            "self": views.link(f"{urls.base}/pacts/latest"),
            "pb:pacts": links,
            "pacts": [one | {"name": note} for one in links],
            "curies": urls.doc("pacts"),
        },
        "pacts": [
            {
                "createdAt": views.timestamp(row.created_at),
                "_embedded": {
                    "consumer": _with_latest_version(call, row),
                    "provider": views.embedded_pacticipant(urls, row.provider.name),
                },
                "_links": {
                    "self": [
                        views.link(urls.latest_pact(row.consumer.name, row.provider.name)),
                        views.link(urls.pact(row.consumer.name, row.provider.name, row.consumer_version.number)),
                    ]
                },
            }
            for row in rows
        ],
    }
    return hal(body)


def _with_latest_version(call: Call, row: PactPublication) -> dict[str, Any]:
    version = views.embedded_version(call.urls, row.consumer.name, row.consumer_version.number)
    return views.embedded_pacticipant(call.urls, row.consumer.name) | {"_embedded": {"version": version}}


_STATES = "/pacts/provider/{provider}/provider-states"


@routes.get(_STATES, f"{_STATES}/branch/{{branch}}", f"{_STATES}/environment/{{environment}}")
def list_provider_states(call: Call) -> Response:
    """The provider states that pacts ask for: on main branches, on a branch, or in an environment (name or uuid)."""
    provider, place = lookup.provider(call), call.path.get("environment")
    criterion = pacts.on_branch(call.path.get("branch"), head=True) if place is None else pacts.in_environment(place)
    rows = pacts.listed(call.session, pacts.of_provider(provider), criterion)
    documents = pacts.with_content(call.session, rows)
    states: dict[str, dict[str, Any]] = {}
    for row in rows:
        for name, parameters in content.provider_states(documents[row.pact_version_id]):
            state = states.setdefault(name, {"name": name, "consumers": []})
            if row.consumer.name not in state["consumers"]:
                state["consumers"].append(row.consumer.name)
            if parameters:
                state.setdefault("params", parameters)
    return hal({"providerStates": list(states.values())})


@routes.get("/integrations")
def list_integrations(call: Call) -> Response:
    """All pairs that have a pact."""
    urls = call.urls
    number, size = call.page()
    rows = pacts.by_activity(call.session)
    total = len(rows)
    page, page_links = views.page_parts(call, number, size, total)
    if number is not None and size is not None:
        rows = rows[(number - 1) * size : number * size]
    integrations = []
    for row in rows:
        consumer, provider = row.consumer.name, row.provider.name
        tail = f"provider/{encode(provider)}/consumer/{encode(consumer)}"
        integrations.append(
            {
                "consumer": {"name": consumer},
                "provider": {"name": provider},
                "_links": {
                    "pb:dashboard": views.link(f"{urls.base}/dashboard/{tail}", "BETA: Pacts to show on the dashboard"),
                    "pb:matrix": views.link(
                        f"/matrix/{tail}", f"Matrix of pacts/verification results for {consumer} and {provider}"
                    ),
                    "pb:group": views.link(urls.pacticipant(consumer)),
                    "pb:delete_integration": views.link(
                        f"{urls.base}/integrations/{tail}",
                        f"Delete the integration between {consumer} and {provider}",
                    ),
                },
            }
        )
    links = {"self": views.link(call.url, "All integrations"), **page_links}
    return hal(page | {"_embedded": {"integrations": integrations}, "_links": links})


@routes.delete("/integrations/provider/{provider}/consumer/{consumer}", produces=())
def delete_integration(call: Call) -> Response:
    """Remove all pacts and results between two, and their webhooks."""
    consumer, provider = lookup.consumer(call), lookup.provider(call)
    pacts.remove_between(call.session, consumer, provider)
    webhooks.remove_of_pair(call.session, consumer, provider)
    return Response(status_code=204)
