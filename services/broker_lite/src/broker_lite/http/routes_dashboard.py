"""The dashboard: the heads of all contracts and how they stand."""

from collections.abc import Sequence
from typing import Any

from fastapi import Response
from sqlalchemy import or_

from broker_lite.http import views
from broker_lite.http.call import Call, Routes, hal, text_response
from broker_lite.http.routes_matrix import text_table
from broker_lite.store import pacts, results, versions, webhooks
from broker_lite.store.models import PactPublication, TriggeredWebhook, Verification
from broker_lite.store.versions import Facets

routes = Routes()
_TYPES = ("application/hal+json", "text/plain")


@routes.get("/dashboard", produces=_TYPES)
def get_dashboard(call: Call) -> Response:
    """Heads of all branches and tags, and the latest pact of every pair."""
    return _dashboard(call, [])


@routes.get("/dashboard/provider/{provider}/consumer/{consumer}", produces=_TYPES)
def get_pair_dashboard(call: Call) -> Response:
    """The same for one pair."""
    return _dashboard(call, list(pacts.between(call.path["consumer"], call.path["provider"])))


def _dashboard(call: Call, criteria: list[Any]) -> Response:
    session = call.session
    latest = pacts.overall_latest(session, *criteria)
    heads = pacts.listed(session, *criteria, or_(pacts.on_any_branch_head(), pacts.newest_with_any_tag()))
    rows = list({one.id: one for one in (*latest, *heads)}.values())
    overall = {one.id for one in latest}
    found = results.latest_of(session, [one.pact_version_id for one in rows])
    ids = {one.consumer_version_id for one in rows} | {one.provider_version_id for one in found.values()}
    facets = versions.facets(session, ids)
    pairs = {(one.consumer_id, one.provider_id) for one in rows}
    deliveries = webhooks.statuses(session, pairs)
    enabled = webhooks.configured(session, rows)
    number, size = call.page()
    rows.sort(key=lambda one: _activity(one, found), reverse=True)
    total = len(rows)
    if number is not None and size is not None:
        rows = rows[(number - 1) * size : number * size]
    if call.accept.strip().startswith("text/plain"):
        return text_response(_table(rows, found, facets))
    page, _ = views.page_parts(call, number, size, total)
    items = [
        _item(
            call,
            one,
            found.get(one.pact_version_id),
            facets,
            deliveries[one.consumer_id, one.provider_id] if one.id in overall else (),
            has_webhooks=one.id in overall and (one.consumer_id, one.provider_id) in enabled,
        )
        for one in rows
    ]
    return hal(page | {"items": items})


def _activity(row: PactPublication, found: dict[int, Verification]) -> tuple[Any, int]:
    result = found.get(row.pact_version_id)
    moments = [row.created_at] + ([result.created_at] if result is not None else [])
    return max(moments), row.id


def _status(row: PactPublication, result: Verification | None, facets: dict[int, Facets]) -> str:
    if result is None:
        return "never"
    if result.success:
        return "success"
    # A failure of a content that was never verified successfully is one of a pending pact.
    return "failed"


def _heads(facets: Facets) -> list[str]:
    return [one.name for one in facets.branches if one.latest]


def _item(
    call: Call,
    row: PactPublication,
    result: Verification | None,
    facets: dict[int, Facets],
    deliveries: Sequence[TriggeredWebhook],
    *,
    has_webhooks: bool,
) -> dict[str, Any]:
    urls = call.urls
    consumer, provider, number = row.consumer.name, row.provider.name, row.consumer_version.number
    own = facets[row.consumer_version_id]
    branches = _heads(own)
    provider_version: dict[str, Any] | None = None
    shown: dict[str, Any] | None = None
    result_tags: list[dict[str, Any]] = []
    if result is not None:
        theirs = facets[result.provider_version_id]
        their_branches = _heads(theirs)
        provider_number = result.provider_version.number
        provider_version = {
            "number": provider_number,
            "branch": their_branches[-1] if their_branches else None,
            "headBranchNames": their_branches,
        }
        shown = {
            "success": result.success,
            "verifiedAt": views.timestamp(result.created_at),
            "_links": {"self": views.link(f"{urls.pact(consumer, provider, number)}/verification-results/latest")},
        }
        result_tags = [
            {
                "name": tag,
                "latest": True,
                "_links": {"self": views.link(urls.tag(provider, provider_number, tag))},
            }
            for tag, newest in sorted(theirs.tags)
            if newest
        ]
    latest_run = max((one.created_at for one in deliveries), default=None)
    return {
        "consumer": {
            "name": consumer,
            "version": {
                "number": number,
                "branch": branches[-1] if branches else None,
                "headBranchNames": branches,
                "_links": {"self": views.link(urls.version(consumer, number))},
            },
            "_links": {"self": views.link(urls.pacticipant(consumer))},
        },
        "provider": {
            "name": provider,
            "version": provider_version,
            "_links": {"self": views.link(urls.pacticipant(provider))},
        },
        "pact": {
            "createdAt": views.timestamp(row.created_at),
            "_links": {"self": views.link(urls.pact(consumer, provider, number))},
        },
        "pactTags": [
            {"name": tag, "latest": True, "_links": {"self": views.link(urls.tag(consumer, number, tag))}}
            for tag, newest in sorted(own.tags)
            if newest
        ],
        "latestVerificationResult": shown,
        "latestVerificationResultTags": result_tags,
        "verificationStatus": _status(row, result, facets),
        "webhookStatus": _webhook_status(deliveries, has_webhooks=has_webhooks),
        "latestWebhookExecution": {"triggeredAt": views.timestamp(latest_run)} if latest_run else None,
        "_links": {
            "pb:webhook-status": views.link(
                f"{urls.pair(consumer, provider)}/webhooks/status",
                f"Status of webhooks for {consumer}/{provider} pact",
            )
        },
    }


def _webhook_status(deliveries: Sequence[TriggeredWebhook], *, has_webhooks: bool) -> str:
    statuses = {one.status for one in deliveries}
    if not has_webhooks:
        return "none"
    for status, word in (
        (webhooks.RETRYING, "retrying"),
        (webhooks.FAILURE, "failure"),
        (webhooks.NOT_RUN, "not_run"),
        (webhooks.SUCCESS, "success"),
    ):
        if status in statuses:
            return word
    return "not_run"


_COLUMNS = ("CONSUMER_NAME", "C_VERSION", "C_TAGS", "PROVIDER_NAME", "P_VERSION", "P_TAGS", "SUCCESS")


def _table(rows: Sequence[PactPublication], found: dict[int, Verification], facets: dict[int, Facets]) -> str:
    lines = []
    for row in pacts.in_order(rows):
        result = found.get(row.pact_version_id)
        tags = [tag for tag, newest in sorted(facets[row.consumer_version_id].tags) if newest]
        result_tags: list[str] = []
        if result is not None:
            result_tags = [tag for tag, newest in sorted(facets[result.provider_version_id].tags) if newest]
        lines.append(
            (
                row.consumer.name,
                row.consumer_version.number,
                ", ".join(tags),
                row.provider.name,
                result.provider_version.number if result is not None else "",
                ", ".join(result_tags),
                _status(row, result, facets),
            )
        )
    return text_table(_COLUMNS, lines)
