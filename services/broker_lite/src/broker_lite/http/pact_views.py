"""HAL bodies of pacts, pacts to verify, verification results and the matrix."""

from collections.abc import Sequence
from typing import Any

from broker_lite.domain import matrix, notices
from broker_lite.domain.metadata import LinkMetadata, SelectedVersion
from broker_lite.domain.notices import Verifiable
from broker_lite.domain.selectors import Candidate, Kind
from broker_lite.http.views import Json, branch_memberships, link, pact_name, timestamp, timestamps, without_none
from broker_lite.store.models import Environment, PactPublication, Verification
from broker_lite.store.versions import Facets
from broker_lite.urls import Urls


def pact_links(
    urls: Urls, pact: PactPublication, *, versions: Sequence[str] | None = None, metadata: str | None = None
) -> Json:
    """Links of a pact.

    Args:
        urls: the links' base.
        pact: the publication shown.
        versions: consumer versions that the link's metadata names.
        metadata: metadata segment of the link through which the pact was fetched; results keep it.
    """
    consumer, provider, number = pact.consumer.name, pact.provider.name, pact.consumer_version.number
    sha = pact.pact_version.sha
    pair, own, content = (
        urls.pair(consumer, provider),
        urls.pact(consumer, provider, number),
        urls.pact_version(consumer, provider, sha),
    )
    kept = f"/metadata/{metadata}" if metadata else ""
    links: Json = {
        "self": link(own, "Pact", pact_name(pact)),
        "pb:consumer": link(urls.pacticipant(consumer), "Consumer", consumer),
        "pb:consumer-version": link(urls.version(consumer, number), "Consumer version", number),
    }
    if versions is not None:
        links["pb:consumer-versions"] = [link(urls.version(consumer, one), "Consumer version", one) for one in versions]
    return links | {
        "pb:provider": link(urls.pacticipant(provider), "Provider", provider),
        "pb:pact-version": link(content, "Pact content version permalink", sha),
        "pb:latest-pact-version": link(f"{pair}/latest", "Latest version of this pact"),
        "pb:all-pact-versions": link(f"{pair}/versions", "All versions of this pact"),
        "pb:latest-untagged-pact-version": link(f"{pair}/latest-untagged", "Latest untagged version of this pact"),
        "pb:latest-tagged-pact-version": link(
            f"{pair}/latest/{{tag}}", "Latest tagged version of this pact", templated=True
        ),
        "pb:previous-distinct": link(f"{own}/previous-distinct", "Previous distinct version of this pact"),
        "pb:diff-previous-distinct": link(
            f"{own}/diff/previous-distinct", "Diff with previous distinct version of this pact"
        ),
        "pb:diff": link(
            f"{content}/diff/pact-version/{{pactVersion}}",
            "Diff with another specified version of this pact",
            templated=True,
        ),
        "pb:pact-webhooks": link(
            urls.webhooks_of_pair(consumer, provider), f"Webhooks for the pact between {consumer} and {provider}"
        ),
        "pb:consumer-webhooks": link(
            urls.webhooks_of_pair(provider, None), f"Webhooks for all pacts with provider {provider}"
        ),
        "pb:tag-prod-version": link(
            f"{urls.version(consumer, number)}/tags/prod",
            "PUT to this resource to tag this consumer version as 'production'",
        ),
        "pb:tag-version": link(
            f"{urls.version(consumer, number)}/tags/{{tag}}", "PUT to this resource to tag this consumer version"
        ),
        "pb:publish-verification-results": link(
            f"{content}{kept}/verification-results", "Publish verification results"
        ),
        "pb:latest-verification-results": link(f"{content}/verification-results/latest"),
        "pb:triggered-webhooks": link(
            f"{own}/triggered-webhooks", "Webhooks triggered by the publication of this pact"
        ),
        "pb:matrix-for-consumer-version": link(
            urls.matrix_for(consumer, number), "View matrix rows for the consumer version to which this pact belongs"
        ),
        "curies": urls.doc("pact"),
    }


def pact(
    urls: Urls,
    row: PactPublication,
    content: Any,
    *,
    versions: Sequence[str] | None = None,
    metadata: str | None = None,
) -> Any:
    """A pact: its JSON with ``createdAt`` and links."""
    if not isinstance(content, dict):
        return content
    links = pact_links(urls, row, versions=versions, metadata=metadata)
    return content | {"createdAt": timestamp(row.created_at), "_links": links}


def extended_pact(
    urls: Urls,
    row: PactPublication,
    content: Any,
    *,
    versions: Sequence[str] | None = None,
    metadata: str | None = None,
) -> Json:
    """A pact with its JSON apart. The list of tags is always empty in the reference broker, too."""
    return {
        "createdAt": timestamp(row.created_at),
        "contract": content,
        "_embedded": {"tags": []},
        "_links": pact_links(urls, row, versions=versions, metadata=metadata),
    }


def short_pact(urls: Urls, row: PactPublication) -> Json:
    """The link to a pact in a list."""
    consumer, provider, number = row.consumer.name, row.provider.name, row.consumer_version.number
    return link(urls.pact(consumer, provider, number), pact_name(row), consumer)


def verifiable_pact(urls: Urls, candidate: Candidate, pact_to_verify: Verifiable, *, deprecated: bool) -> Json:
    """A pact offered for verification."""
    consumer, provider = pact_to_verify.consumer, pact_to_verify.provider
    if pact_to_verify.wip:
        metadata = LinkMetadata(wip=True)
        shown_metadata: LinkMetadata | None = metadata
    else:
        selected = tuple(
            SelectedVersion(
                number=one.version,
                tag=one.selector.name if one.selector.kind in (Kind.LATEST_TAG, Kind.ALL_TAG) else None,
                branch=one.selector.name if one.selector.kind is Kind.BRANCH else None,
                environment=one.environment,
                latest=one.selector.kind in (Kind.LATEST, Kind.LATEST_TAG, Kind.BRANCH, Kind.EACH_BRANCH),
            )
            for one in candidate.resolved
        )
        metadata, shown_metadata = LinkMetadata(selected=selected), None
    shown_url = urls.pact_version(consumer, provider, candidate.sha, shown_metadata)
    properties: Json = {}
    if pact_to_verify.pending is not None:
        properties["pending"] = pact_to_verify.pending
    if pact_to_verify.wip:
        properties["wip"] = True
    properties["notices"] = notices.build(pact_to_verify, shown_url, deprecated=deprecated)
    return {
        "shortDescription": notices.short_description(pact_to_verify),
        "verificationProperties": properties,
        "_links": {
            "self": {
                "href": urls.pact_version(consumer, provider, candidate.sha, metadata),
                "name": f"Pact between {consumer} ({candidate.newest.version}) and {provider}",
            }
        },
    }


def verification(urls: Urls, row: Verification, shown_for: PactPublication) -> Json:
    """A verification result."""
    consumer, provider = shown_for.consumer.name, shown_for.provider.name
    sha, name = shown_for.pact_version.sha, pact_name(shown_for)
    self_url = urls.verification(consumer, provider, sha, row.id)
    of_version = LinkMetadata(consumer_version=shown_for.consumer_version.number)
    return (
        {
            "providerName": provider,
            "providerApplicationVersion": row.provider_version.number,
            "success": row.success,
            "verificationDate": timestamp(row.created_at),
        }
        | without_none(buildUrl=row.build_url, testResults=row.test_results)
        | {
            "verifiedBy": row.verified_by or {},
            "_links": {
                "self": link(self_url, "Verification result", f"Verification result {row.id} for {name}"),
                "pb:pact-version": link(urls.pact_version(consumer, provider, sha, of_version), "Pact", name),
                "pb:triggered-webhooks": link(
                    f"{self_url}/triggered-webhooks",
                    "Webhooks triggered by the publication of this verification result",
                ),
            },
        }
    )


def extended_verification(urls: Urls, row: Verification, shown_for: PactPublication, facets: Facets) -> Json:
    """A verification result with the tags of the provider version."""
    provider, number = shown_for.provider.name, row.provider_version.number
    tags = [
        {"name": tag, "latest": latest, "_links": {"self": link(urls.tag(provider, number, tag), "Tag", tag)}}
        for tag, latest in facets.tags
    ]
    return verification(urls, row, shown_for) | {"_embedded": {"tags": tags}}


def _matrix_version(urls: Urls, name: str, number: str, facets: Facets) -> Json:
    branches = branch_memberships(urls, name, number, facets)
    return {
        "number": number,
        "branch": facets.branches[-1].name if facets.branches else None,
        "branches": branches,
        "branchVersions": branches,
        "environments": [_matrix_environment(urls, one) for one in facets.environments],
        "_links": {"self": link(urls.version(name, number))},
        "tags": [
            {"name": tag, "latest": latest, "_links": {"self": link(urls.tag(name, number, tag))}}
            for tag, latest in facets.tags
        ],
    }


def _matrix_environment(urls: Urls, row: Environment) -> Json:
    shown = without_none(uuid=row.uuid, name=row.name, displayName=row.display_name, production=row.production)
    return shown | timestamps(row) | {"_links": {"self": link(urls.environment(row.uuid), "Environment", row.name)}}


def matrix_row(urls: Urls, row: matrix.Row, facets: dict[int, Facets]) -> Json:
    """One line of the matrix."""
    result: Json | None = None
    provider_version: Json | None = None
    if row.provider_version_id is not None and row.provider_version is not None:
        provider_version = _matrix_version(urls, row.provider, row.provider_version, facets[row.provider_version_id])
    if row.verification_id is not None and row.verified_at is not None:
        href = urls.verification(row.consumer, row.provider, row.pact_sha, row.verification_id, of=row.consumer_version)
        result = {
            "success": row.success,
            "verifiedAt": timestamp(row.verified_at),
            "_links": {"self": link(href)},
        }
    return {
        "consumer": {
            "name": row.consumer,
            "version": _matrix_version(urls, row.consumer, row.consumer_version, facets[row.consumer_version_id]),
            "_links": {"self": link(urls.pacticipant(row.consumer))},
        },
        "provider": {
            "name": row.provider,
            "version": provider_version,
            "_links": {"self": link(urls.pacticipant(row.provider))},
        },
        "pact": {
            "createdAt": timestamp(row.pact_created_at),
            "_links": {"self": link(urls.pact(row.consumer, row.provider, row.consumer_version))},
        },
        "verificationResult": result,
    }


def matrix_body(urls: Urls, result: matrix.Result, facets: dict[int, Facets]) -> Json:
    """The matrix with its verdict."""
    rows = [matrix_row(urls, row, facets) for row in result.considered]
    rows += [matrix_row(urls, row, facets) | {"ignored": True} for row in result.ignored]
    return {
        "summary": {"deployable": result.deployable, "reason": result.reason, **result.counts},
        "notices": [{"type": kind, "text": text} for kind, text in result.notices],
        "matrix": rows,
    }
