"""Events: what happened to a contract, and which webhooks are to tell it."""

from dataclasses import dataclass, field
from typing import Any

from broker_lite.domain import events, webhook_rules
from broker_lite.domain.metadata import LinkMetadata
from broker_lite.http.call import Call
from broker_lite.store import pacts, results, versions, webhooks
from broker_lite.store.models import PactPublication, TriggeredWebhook, Verification


@dataclass
class Detected:
    """One event, why it happened, and the deliveries it queued."""

    name: str
    comment: str | None = None
    triggered: list[TriggeredWebhook] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The event as notices show it."""
        return f"{self.name} ({self.comment})" if self.comment else self.name


def pact_published(
    call: Call, publication: PactPublication, previous: PactPublication | None, *, context: dict[str, Any]
) -> list[Detected]:
    """The events of a publication.

    Args:
        call: the request.
        publication: what is current now.
        previous: what was current for the same consumer version before (the same row if nothing changed).
        context: what the request says about the consumer version: branch and build URL.
    """
    session = call.session
    tags = versions.tag_names(session, publication.consumer_version_id)
    context = {"base_url": call.urls.base} | context | {"consumer_version_tags": tags}
    verification = results.latest_from_main_branch(session, publication)
    changed: str | None = None
    unchanged_comment: str | None = None
    if previous is None:
        changed = events.content_change(publication.pact_version.sha, pacts.previous_shas(session, publication, tags))
        if changed is None:
            unchanged_comment = events.unchanged_comment(tags)
    elif previous.pact_version_id != publication.pact_version_id:
        changed = (
            f"pact content modified since previous publication for {publication.consumer.name} version "
            f"{publication.consumer_version.number}"
        )
    detected = [
        _trigger(call, webhook_rules.CONTRACT_PUBLISHED, publication, verification, [context], unchanged_comment)
    ]
    required = results.required(session, publication)
    if required:
        expanded = [
            context
            | {
                "provider_version_number": one.number,
                "provider_version_branch": one.branch,
                "provider_version_descriptions": list(one.descriptions),
            }
            for one in required
        ]
        detected.append(
            _trigger(call, webhook_rules.REQUIRES_VERIFICATION, publication, None, expanded, unchanged_comment)
        )
    if changed is not None:
        detected.append(_trigger(call, webhook_rules.CONTENT_CHANGED, publication, verification, [context], changed))
    elif previous is not None:
        detected.append(Detected("contract_content_unchanged", "pact content was unchanged"))
    return detected


def verification_published(
    call: Call, publication: PactPublication, verification: Verification, link: LinkMetadata
) -> list[Detected]:
    """The events of a verification result, one run per consumer version that the link names."""
    session = call.session
    tags = versions.tag_names(session, verification.provider_version_id)
    shared = {
        "base_url": call.urls.base,
        "build_url": verification.build_url,
        "provider_version_tags": tags,
    }
    contexts = []
    by_number: dict[str, list[str]] = {}
    for one in link.selected:
        by_number.setdefault(one.number, [])
        if one.tag is not None and one.tag not in by_number[one.number]:
            by_number[one.number].append(one.tag)
    for number, selected_tags in by_number.items():
        contexts.append(shared | {"consumer_version_number": number, "consumer_version_tags": selected_tags})
    if not contexts:
        context = dict(shared)
        if link.consumer_version is not None:
            context["consumer_version_number"] = link.consumer_version
        if link.tags is not None:
            context["consumer_version_tags"] = list(link.tags)
        contexts.append(context)
    outcome = webhook_rules.VERIFICATION_SUCCEEDED if verification.success else webhook_rules.VERIFICATION_FAILED
    return [
        _trigger(call, name, publication, verification, contexts)
        for name in (webhook_rules.VERIFICATION_PUBLISHED, outcome)
    ]


def _trigger(
    call: Call,
    name: str,
    publication: PactPublication,
    verification: Verification | None,
    contexts: list[dict[str, Any]],
    comment: str | None = None,
) -> Detected:
    detected = Detected(name, comment)
    for webhook in webhooks.to_trigger(call.session, publication, name):
        for context in contexts:
            shown = publication
            number = context.get("consumer_version_number")
            if number is not None and verification is not None:
                consumer, provider = publication.consumer.name, publication.provider.name
                shown = pacts.by_version(call.session, consumer, provider, number) or publication
            row = webhooks.enqueue(
                call.session,
                webhook,
                shown,
                verification.id if verification is not None else None,
                name,
                context | {"event_name": name},
                call.triggered,
                call.settings,
            )
            call.triggered += 1
            detected.triggered.append(row)
    return detected
