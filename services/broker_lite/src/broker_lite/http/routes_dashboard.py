"""The dashboard: the heads of all contracts and how they stand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Response
from sqlalchemy import ColumnElement

from broker_lite.http import views
from broker_lite.http.call import Call, Routes, hal, text_response
from broker_lite.http.routes_matrix import text_table
from broker_lite.store import pacts, results, versions
from broker_lite.store.models import PactPublication, Verification
from broker_lite.store.versions import Facets

routes = Routes()
_TYPES = ("application/hal+json", "text/plain")


@dataclass(frozen=True)
class _Head:
    """A contract that is the latest in some respect, with its latest result."""

    pact: PactPublication
    tags: list[str]
    own: Facets
    result: Verification | None
    theirs: Facets
    status: str

    @property
    def activity(self) -> tuple[Any, int]:
        moments = [self.pact.created_at] + ([self.result.created_at] if self.result is not None else [])
        return max(moments), self.pact.id

    @property
    def result_tags(self) -> list[str]:
        return sorted(tag for tag, newest in self.theirs.tags if newest)


@routes.get("/dashboard", produces=_TYPES)
def get_dashboard(call: Call) -> Response:
    """Heads of branches and tags, what is deployed or released, and the latest pact of every pair."""
    return _dashboard(call, [])


@routes.get("/dashboard/provider/{provider}/consumer/{consumer}", produces=_TYPES)
def get_pair_dashboard(call: Call) -> Response:
    """The same for one pair."""
    return _dashboard(call, list(pacts.between(call.path["consumer"], call.path["provider"])))


def _dashboard(call: Call, criteria: list[ColumnElement[bool]]) -> Response:
    number, size = call.page()
    heads = sorted(_heads(call, criteria), key=lambda one: one.activity, reverse=True)
    total = len(heads)
    if number is not None and size is not None:
        heads = heads[(number - 1) * size : number * size]
    if call.accept.strip().startswith("text/plain"):
        return text_response(_table(heads))
    page, _ = views.page_parts(call, number, size, total)
    return hal(page | {"items": [_item(call, one) for one in heads]})


def _heads(call: Call, criteria: list[ColumnElement[bool]]) -> list[_Head]:
    session = call.session
    found = (
        *pacts.overall_latest(session, *criteria),
        *pacts.listed(session, *criteria, pacts.at_a_head()),
        *pacts.newest_with_each_tag(session, *criteria),
    )
    rows = list({one.id: one for one in found}.values())
    contents = [one.pact_version_id for one in rows]
    latest = results.latest_of(session, contents, tests=False)
    verified = results.ever_verified(session, contents)
    ids = {one.consumer_version_id for one in rows} | {one.provider_version_id for one in latest.values()}
    facets = versions.facets(session, ids)
    newest = _newest_by_tag(rows, facets)
    heads = []
    for row in rows:
        result = latest.get(row.pact_version_id)
        own = facets[row.consumer_version_id]
        pair = (row.consumer_id, row.provider_id)
        heads.append(
            _Head(
                pact=row,
                tags=sorted(tag for tag, _ in own.tags if newest[*pair, tag] == row.consumer_version_id),
                own=own,
                result=result,
                theirs=facets[result.provider_version_id] if result is not None else Facets(),
                status=_status(result, ever_verified=row.pact_version_id in verified),
            )
        )
    return heads


def _newest_by_tag(rows: Sequence[PactPublication], facets: Mapping[int, Facets]) -> dict[tuple[int, int, str], int]:
    """The newest consumer version with each tag, per pair."""
    newest: dict[tuple[int, int, str], int] = {}
    for row in rows:
        for tag, _ in facets[row.consumer_version_id].tags:
            key = (row.consumer_id, row.provider_id, tag)
            newest[key] = max(newest.get(key, 0), row.consumer_version_id)
    return newest


def _status(result: Verification | None, *, ever_verified: bool) -> str:
    if result is None:
        return "never"
    if result.success:
        return "success"
    # A failure of a content that was never verified successfully is one of a pending pact.
    return "failed" if ever_verified else "failed_pending"


def _head_branches(facets: Facets) -> list[str]:
    return [one.name for one in facets.branches if one.latest]


def _tags(call: Call, pacticipant: str, number: str, tags: Sequence[str]) -> list[views.Json]:
    return [
        {"name": tag, "latest": True, "_links": {"self": views.link(call.urls.tag(pacticipant, number, tag))}}
        for tag in tags
    ]


def _item(call: Call, head: _Head) -> views.Json:
    urls, pact = call.urls, head.pact
    consumer, provider, number = pact.consumer.name, pact.provider.name, pact.consumer_version.number
    branches = _head_branches(head.own)
    provider_version: views.Json | None = None
    result: views.Json | None = None
    result_tags: list[views.Json] = []
    if head.result is not None:
        provider_number = head.result.provider_version.number
        provider_branches = _head_branches(head.theirs)
        provider_version = {
            "number": provider_number,
            "branch": provider_branches[-1] if provider_branches else None,
            "headBranchNames": provider_branches,
        }
        latest_result = f"{urls.pact(consumer, provider, number)}/verification-results/latest"
        result = {
            "success": head.result.success,
            "verifiedAt": views.timestamp(head.result.created_at),
            "_links": {"self": views.link(latest_result)},
        }
        result_tags = _tags(call, provider, provider_number, head.result_tags)
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
            "createdAt": views.timestamp(pact.created_at),
            "_links": {"self": views.link(urls.pact(consumer, provider, number))},
        },
        "pactTags": _tags(call, consumer, number, head.tags),
        "latestVerificationResult": result,
        "latestVerificationResultTags": result_tags,
        "verificationStatus": head.status,
        # As in the reference broker, deliveries are not looked up for this list; the link below leads to them.
        "webhookStatus": "none",
        "latestWebhookExecution": None,
        "_links": {
            "pb:webhook-status": views.link(
                f"{urls.pair(consumer, provider)}/webhooks/status",
                f"Status of webhooks for {consumer}/{provider} pact",
            )
        },
    }


_COLUMNS = ("CONSUMER_NAME", "C_VERSION", "C_TAGS", "PROVIDER_NAME", "P_VERSION", "P_TAGS", "SUCCESS")


def _table(heads: Sequence[_Head]) -> str:
    def order(head: _Head) -> tuple[str, int, str]:
        pact = head.pact
        return (pact.consumer.name.lower(), -pact.consumer_version_id, pact.provider.name.lower())

    lines = [
        (
            head.pact.consumer.name,
            head.pact.consumer_version.number,
            ", ".join(head.tags),
            head.pact.provider.name,
            head.result.provider_version.number if head.result is not None else "",
            ", ".join(head.result_tags),
            head.status,
        )
        for head in sorted(heads, key=order)
    ]
    return text_table(_COLUMNS, lines)
