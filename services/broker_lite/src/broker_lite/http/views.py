"""HAL bodies of pacticipants, versions, branches, tags, environments, deployments and releases."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from broker_lite.http.call import Call
from broker_lite.store.models import (
    Branch,
    BranchVersion,
    DeployedVersion,
    Environment,
    Label,
    Pacticipant,
    PactPublication,
    ReleasedVersion,
    Tag,
    Version,
)
from broker_lite.store.versions import BranchMembership, Facets
from broker_lite.urls import Urls

Json = dict[str, Any]


def timestamp(value: datetime) -> str:
    """Seconds, UTC, numeric offset."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def timestamps(row: Any) -> Json:
    """``updatedAt`` (left out when nothing was changed) and ``createdAt``."""
    created, updated = timestamp(row.created_at), timestamp(row.updated_at)
    return ({"updatedAt": updated} if updated != created else {}) | {"createdAt": created}


def without_none(**values: Any) -> Json:
    """The values that are there."""
    return {key: value for key, value in values.items() if value is not None}


def link(href: str, title: str | None = None, name: str | None = None, *, templated: bool = False) -> Json:
    """One link."""
    result = without_none(title=title, name=name, href=href)
    return result | {"templated": True} if templated else result


def page_parts(call: Call, number: int | None, size: int | None, total: int) -> tuple[Json, Json]:
    """What paging adds to a body and to its links; nothing without paging."""
    if number is None or size is None:
        return {}, {}
    pages = max(1, math.ceil(total / size))
    links = {}

    def other(page: int) -> str:
        kept = [
            (key, value)
            for key, value in parse_qsl(call.query_string, keep_blank_values=True)
            if key not in ("pageNumber", "pageSize", "page", "size")
        ]
        return f"{call.url}?{urlencode([*kept, ('size', str(size)), ('page', str(page))])}"

    if number < pages:
        links["next"] = link(other(number + 1), "Next page")
    if number > 1:
        links["previous"] = link(other(number - 1), "Previous page")
    return {"page": {"number": number, "size": size, "totalElements": total, "totalPages": pages}}, links


def embedded_version(urls: Urls, pacticipant: str, number: str) -> Json:
    """A version inside another resource."""
    return {
        "number": number,
        "_links": {"self": link(urls.version(pacticipant, number), "Version", number)},
    }


def embedded_pacticipant(urls: Urls, name: str) -> Json:
    """A pacticipant inside another resource."""
    return {"name": name, "_links": {"self": link(urls.pacticipant(name))}}


def pacticipant(
    urls: Urls,
    row: Pacticipant,
    labels: Sequence[Label],
    latest: Version | None,
    deployed: Sequence[DeployedVersion] | None = None,
) -> Json:
    """A pacticipant; the links to its deployments only where they were looked up."""
    name, self_url = row.name, urls.pacticipant(row.name)
    embedded: Json = {"labels": [_embedded_label(urls, name, label.name) for label in labels]}
    if latest is not None:
        version = embedded_version(urls, name, latest.number)
        note = "DEPRECATED - please use latestVersion"
        embedded = {"latestVersion": version, **embedded, "latest-version": version | {"title": note, "name": note}}
    links: Json = {
        "self": link(self_url),
        "pb:versions": link(f"{self_url}/versions"),
        "pb:branches": link(f"{self_url}/branches"),
    }
    if deployed is not None:
        links["pb:deployed-environments"] = [_deployed_environment(urls, one) for one in deployed]
    links |= {
        "pb:version": link(
            f"{self_url}/versions/{{version}}", "Get, create or delete a pacticipant version", templated=True
        ),
        "pb:version-tag": link(
            f"{self_url}/versions/{{version}}/tags/{{tag}}",
            f"Get, create or delete a tag for a version of {name}",
            templated=True,
        ),
        "pb:branch-version": link(
            f"{self_url}/branches/{{branch}}/versions/{{version}}",
            f"Get or add/create a version for a branch of {name}",
            templated=True,
        ),
        "pb:label": link(f"{self_url}/labels/{{label}}", f"Get, create or delete a label for {name}", templated=True),
        "versions": link(f"{self_url}/versions", "Deprecated - use pb:versions"),
        "pb:can-i-deploy-badge": link(
            f"{self_url}/latest-version/{{tag}}/can-i-deploy/to/{{environmentTag}}/badge",
            f"Can I Deploy {name} badge",
            templated=True,
        ),
        "pb:can-i-deploy-branch-to-environment-badge": link(
            f"{self_url}/branches/{{branch}}/latest-version/can-i-deploy/to-environment/{{environment}}/badge",
            f"Can I Deploy {name} from branch to environment badge",
            templated=True,
        ),
        "curies": urls.doc("pacticipant"),
    }
    properties = without_none(
        name=name,
        displayName=row.display_name,
        repositoryUrl=row.repository_url,
        repositoryName=row.repository_name,
        repositoryNamespace=row.repository_namespace,
        mainBranch=row.main_branch,
    )
    return properties | timestamps(row) | {"_embedded": embedded, "_links": links}


def _embedded_label(urls: Urls, pacticipant_name: str, label: str) -> Json:
    return {
        "name": label,
        "_links": {"self": link(urls.label(pacticipant_name, label), "Label", label)},
    }


def label(urls: Urls, row: Label, pacticipant_name: str) -> Json:
    """A label of a pacticipant."""
    return (
        {"name": row.name}
        | timestamps(row)
        | {
            "_links": {
                "self": link(urls.label(pacticipant_name, row.name), "Label", row.name),
                "pacticipant": link(urls.pacticipant(pacticipant_name), "Pacticipant", pacticipant_name),
            }
        }
    )


def _deployed_environment(urls: Urls, one: DeployedVersion) -> Json:
    shown = link(
        urls.deployed_version(one.uuid),
        f"Version deployed to {one.environment.display_name}",
        one.environment.display_name,
    )
    return shown | {"currently_deployed": one.undeployed_at is None}


def branch_memberships(urls: Urls, pacticipant_name: str, number: str, facets: Facets) -> list[Json]:
    """A version's branches, as embedded in it."""

    def one_of(membership: BranchMembership) -> Json:
        href = urls.branch_version(pacticipant_name, membership.name, number)
        return {
            "name": membership.name,
            "latest": membership.latest,
            "_links": {"self": link(href, "Branch version", membership.name)},
        }

    return [one_of(membership) for membership in facets.branches]


def version(
    urls: Urls,
    row: Version,
    facets: Facets,
    pacts: Sequence[PactPublication],
    *,
    self_url: str | None = None,
    deployed: Sequence[DeployedVersion] | None = None,
    released: Sequence[ReleasedVersion] | None = None,
    environments: Sequence[Environment] | None = None,
) -> Json:
    """A version; links to deployments and environments only where they were looked up."""
    name, number = row.pacticipant.name, row.number
    own_url = urls.version(name, number)
    links: Json = {
        "self": link(self_url or own_url, "Version", number),
        "pb:pacticipant": link(urls.pacticipant(name), "Pacticipant", name),
        "pb:tag": link(
            f"{own_url}/tags/{{tag}}", "Get, create or delete a tag for this pacticipant version", templated=True
        ),
        "pb:latest-verification-results-where-pacticipant-is-consumer": link(
            urls.consumer_version_results(name, number), "Latest verification results for consumer version"
        ),
        "pb:pact-versions": [
            link(urls.pact(name, pact.provider.name, number), "Pact", pact_name(pact)) for pact in pacts
        ],
    }
    if deployed is not None:
        links["pb:deployed-environments"] = [
            _deployed_environment(urls, one) | ({"application_instance": one.target} if one.target is not None else {})
            for one in deployed
        ]
    if released is not None:
        links["pb:released-environments"] = [
            link(
                urls.released_version(one.uuid),
                f"Version released to {one.environment.display_name}",
                one.environment.display_name,
            )
            | {"currently_supported": one.support_ended_at is None}
            for one in released
        ]
    if environments is not None:
        links["pb:record-deployment"] = [
            link(
                urls.record_deployment(name, number, one.uuid),
                f"Record deployment to {one.display_name}",
                one.name,
            )
            for one in environments
        ]
        links["pb:record-release"] = [
            link(urls.record_release(name, number, one.uuid), f"Record release to {one.display_name}", one.name)
            for one in environments
        ]
    links["curies"] = urls.doc("version")
    tags = [{"name": tag, "_links": {"self": link(urls.tag(name, number, tag), "Tag", tag)}} for tag, _ in facets.tags]
    return (
        without_none(number=number, buildUrl=row.build_url)
        | timestamps(row)
        | {
            "_embedded": {"branchVersions": branch_memberships(urls, name, number, facets), "tags": tags},
            "_links": links,
        }
    )


def version_title(row: Version) -> str:
    """How a version is called in a list: its number and the day of its creation."""
    return f"Version {row.number} - {row.created_at:%d/%m/%Y}"


def pact_name(pact: PactPublication) -> str:
    """How a pact is called: both names and the consumer version."""
    return f"Pact between {pact.consumer.name} ({pact.consumer_version.number}) and {pact.provider.name}"


def tag(urls: Urls, row: Tag) -> Json:
    """A tag of a version."""
    name, number = row.version.pacticipant.name, row.version.number
    return (
        {"name": row.name}
        | timestamps(row)
        | {
            "_links": {
                "self": link(urls.tag(name, number, row.name), "Tag", row.name),
                "version": link(urls.version(name, number), "Version", number),
                "pacticipant": link(urls.pacticipant(name), "Pacticipant", name),
            }
        }
    )


def branch(urls: Urls, row: Branch, *, full: bool = True) -> Json:
    """A branch."""
    name = row.pacticipant.name
    links: Json = {
        "self": link(urls.branch(name, row.name), "Branch"),
        "pb:latest-version": link(f"{urls.branch(name, row.name)}/latest-version", "Latest version for branch"),
    }
    if full:
        links["pb:pacticipant"] = link(urls.pacticipant(name), "Pacticipant", name)
    return {"name": row.name} | timestamps(row) | {"_links": links}


def branch_version(urls: Urls, row: BranchVersion, pacticipant_name: str, number: str) -> Json:
    """A version's membership of a branch."""
    name = row.branch.name
    return timestamps(row) | {
        "_links": {
            "self": link(urls.branch_version(pacticipant_name, name, number), "Branch version"),
            "pb:branch": link(urls.branch(pacticipant_name, name), "Branch", name),
            "pb:version": link(urls.version(pacticipant_name, number), "Version", number),
        }
    }


def environment(urls: Urls, row: Environment) -> Json:
    """An environment."""
    self_url = urls.environment(row.uuid)
    return (
        without_none(
            uuid=row.uuid,
            name=row.name,
            displayName=row.display_name,
            production=row.production,
            contacts=row.contacts,
        )
        | timestamps(row)
        | {
            "_links": {
                "self": link(self_url, "Environment", row.name),
                "pb:currently-deployed-deployed-versions": link(
                    f"{self_url}/deployed-versions/currently-deployed",
                    f"Versions currently deployed to {row.display_name} environment",
                ),
                "pb:currently-supported-released-versions": link(
                    f"{self_url}/released-versions/currently-supported",
                    f"Versions released and supported in {row.display_name} environment",
                ),
                "pb:environments": link(urls.environments(), "Environments"),
            }
        }
    )


def deployed_version(urls: Urls, row: DeployedVersion, embed: Sequence[str]) -> Json:
    """A deployment, with the named resources embedded."""
    ended = timestamp(row.undeployed_at) if row.undeployed_at else None
    return (
        without_none(
            uuid=row.uuid,
            currentlyDeployed=row.undeployed_at is None,
            target=row.target,
            applicationInstance=row.target,
            undeployedAt=ended,
        )
        | timestamps(row)
        | _embedded_place(urls, row, embed)
        | {"_links": {"self": link(urls.deployed_version(row.uuid))}}
    )


def released_version(urls: Urls, row: ReleasedVersion, embed: Sequence[str]) -> Json:
    """A release, with the named resources embedded."""
    ended = timestamp(row.support_ended_at) if row.support_ended_at else None
    return (
        {"uuid": row.uuid, "currentlySupported": row.support_ended_at is None}
        | timestamps(row)
        | without_none(supportEndedAt=ended)
        | _embedded_place(urls, row, embed)
        | {"_links": {"self": link(urls.released_version(row.uuid))}}
    )


ALL_EMBEDDED = ("pacticipant", "version", "environment")


def _embedded_place(urls: Urls, row: DeployedVersion | ReleasedVersion, embed: Sequence[str]) -> Json:
    name = row.version.pacticipant.name
    makers: Mapping[str, Any] = {
        "pacticipant": lambda: embedded_pacticipant(urls, name),
        "version": lambda: embedded_version(urls, name, row.version.number),
        "environment": lambda: environment(urls, row.environment),
    }
    embedded = {key: makers[key]() for key in embed}
    return {"_embedded": embedded} if embedded else {}
