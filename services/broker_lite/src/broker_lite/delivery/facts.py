"""What the templates of a webhook run show: facts as of the moment it runs."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from broker_lite.delivery.request import Definition
from broker_lite.domain.metadata import LinkMetadata
from broker_lite.domain.templates import Facts
from broker_lite.store import pacticipants, results, versions
from broker_lite.store.models import PactPublication, Verification, Webhook
from broker_lite.urls import Urls


def definition_of(webhook: Webhook) -> Definition:
    """What a stored webhook sends."""
    return Definition(
        method=webhook.method,
        url=webhook.url,
        headers=dict(webhook.headers),
        body=webhook.body,
        username=webhook.username,
        password=webhook.password,
    )


def gather(
    session: Session,
    publication: PactPublication | None,
    verification: Verification | None,
    context: Mapping[str, Any],
) -> Facts:
    """The facts about a pact and a result; without a result, those of the pact's latest one."""
    if publication is None:
        return Facts(event_name=str(context["event_name"]))
    urls = Urls(str(context["base_url"]))
    if verification is None:
        verification = results.latest_of(session, [publication.pact_version_id]).get(publication.pact_version_id)
    consumer, provider = publication.consumer, publication.provider
    number, sha = publication.consumer_version.number, publication.pact_version.sha
    ids = {publication.consumer_version_id}
    if verification is not None:
        ids.add(verification.provider_version_id)
    facets = versions.facets(session, ids)
    labels = pacticipants.labels(session, [consumer.id, provider.id])
    own = facets[publication.consumer_version_id]
    tags = tuple(name for name, _ in own.tags)
    link = LinkMetadata(consumer_version=number, tags=tags, wip=True)
    provider_number = provider_branch = result_url = ""
    provider_tags: tuple[str, ...] = ()
    if verification is not None:
        theirs = facets[verification.provider_version_id]
        provider_number = verification.provider_version.number
        provider_tags = tuple(name for name, _ in theirs.tags)
        provider_branch = theirs.branches[-1].name if theirs.branches else ""
        result_url = urls.verification(consumer.name, provider.name, sha, verification.id)
    return Facts(
        event_name=str(context["event_name"]),
        consumer_name=consumer.name,
        provider_name=provider.name,
        consumer_version_number=str(context.get("consumer_version_number") or number),
        consumer_version_tags=context.get("consumer_version_tags", tags),
        consumer_version_branch=_branch(
            context, "consumer_version_branch", own.branches[-1].name if own.branches else ""
        ),
        provider_version_number=str(context.get("provider_version_number") or provider_number),
        provider_version_tags=context.get("provider_version_tags", provider_tags),
        provider_version_branch=_branch(context, "provider_version_branch", provider_branch),
        provider_version_descriptions=context.get("provider_version_descriptions", ()),
        pact_url=urls.pact_version(consumer.name, provider.name, sha, link),
        verification_result_url=result_url,
        success=verification.success if verification is not None else None,
        consumer_labels=[label.name for label in labels[consumer.id]],
        provider_labels=[label.name for label in labels[provider.id]],
        build_url=str(context.get("build_url") or ""),
    )


def _branch(context: Mapping[str, Any], key: str, otherwise: str) -> str:
    return str(context[key] or "") if key in context else otherwise
