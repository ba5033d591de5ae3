"""The index, diagnostics and metrics."""

from typing import Any

from fastapi import Response
from sqlalchemy import func, select

from broker_lite.http import views
from broker_lite.http.call import Call, JsonResponse, Routes, hal, no_content
from broker_lite.http.errors import not_found
from broker_lite.store import models, pacts

routes = Routes()
DIAGNOSTIC = "application/hal+json"

_RELATIONS: tuple[tuple[str, str, str, bool], ...] = (
    (
        "pb:publish-pact",
        "/pacts/provider/{provider}/consumer/{consumer}/version/{consumerApplicationVersion}",
        "Publish a pact",
        True,
    ),
    ("pb:publish-contracts", "/contracts/publish", "Publish contracts", False),
    ("pb:latest-pact-versions", "/pacts/latest", "Latest pact versions", False),
    (
        "pb:tagged-pact-versions",
        "/pacts/provider/{provider}/consumer/{consumer}/tag/{tag}",
        "All versions of a pact for a given consumer, provider and consumer version tag",
        False,
    ),
    (
        "pb:branch-pact-versions",
        "/pacts/provider/{provider}/consumer/{consumer}/branch/{branch}",
        "All versions of pacts for a provider, for a named consumers branch",
        True,
    ),
    (
        "pb:latest-branch-pact-versions",
        "/pacts/provider/{provider}/consumer/{consumer}/branch/{branch}/latest/versions",
        "Latest version of pact for a provider, for a named consumers branch",
        True,
    ),
    (
        "pb:main-branch-pact-versions",
        "/pacts/provider/{provider}/consumer/{consumer}/branch/versions",
        "All versions of pacts for a provider, for a named consumers main branch",
        True,
    ),
    (
        "pb:latest-main-branch-pact-versions",
        "/pacts/provider/{provider}/consumer/{consumer}/branch/latest/versions",
        "Latest version of pact for a provider, for a named consumers main branch",
        True,
    ),
    (
        "pb:provider-pacts-with-main-branch",
        "/pacts/provider/{provider}/branch",
        "All pacts for a provider, for any consumers main branch",
        True,
    ),
    (
        "pb:provider-pacts-with-branch",
        "/pacts/provider/{provider}/branch/{branch}",
        "All pacts for a provider, for any consumers named branch",
        True,
    ),
    (
        "pb:latest-provider-pacts-with-main-branch",
        "/pacts/provider/{provider}/branch/latest",
        "Latest pact for a provider, for any consumers main branch",
        True,
    ),
    (
        "pb:latest-provider-pacts-with-branch",
        "/pacts/provider/{provider}/branch/{branch}/latest",
        "Latest pacts for a provider, for any consumers named branch",
        True,
    ),
    ("pb:pacticipants", "/pacticipants", "Pacticipants", False),
    ("pb:pacticipant", "/pacticipants/{pacticipant}", "Fetch pacticipant by name", True),
    ("pb:latest-provider-pacts", "/pacts/provider/{provider}/latest", "Latest pacts by provider", True),
    (
        "pb:latest-provider-pacts-with-tag",
        "/pacts/provider/{provider}/latest/{tag}",
        "Latest pacts for provider with the specified tag",
        True,
    ),
    (
        "pb:provider-pacts-with-tag",
        "/pacts/provider/{provider}/tag/{tag}",
        "All pact versions for the provider with the specified consumer version tag",
        True,
    ),
    ("pb:provider-pacts", "/pacts/provider/{provider}", "All pact versions for the specified provider", True),
    ("pb:latest-version", "/pacticipants/{pacticipant}/latest-version", "Latest pacticipant version", True),
    (
        "pb:latest-tagged-version",
        "/pacticipants/{pacticipant}/latest-version/{tag}",
        "Latest pacticipant version with the specified tag",
        True,
    ),
    ("pb:webhooks", "/webhooks", "Webhooks", False),
    ("pb:webhook", "/webhooks/{uuid}", "Webhook", True),
    ("pb:integrations", "/integrations", "Integrations", False),
    (
        "pb:pacticipant-version-tag",
        "/pacticipants/{pacticipant}/versions/{version}/tags/{tag}",
        "Get, create or delete a tag for a pacticipant version",
        True,
    ),
    (
        "pb:pacticipant-branch",
        "/pacticipants/{pacticipant}/branches/{branch}",
        "Get or delete a pacticipant branch",
        True,
    ),
    (
        "pb:pacticipant-branch-version",
        "/pacticipants/{pacticipant}/branches/{branch}/versions/{version}",
        "Get or add/create a pacticipant version for a branch",
        True,
    ),
    (
        "pb:pacticipant-version",
        "/pacticipants/{pacticipant}/versions/{version}",
        "Get, create or delete a pacticipant version",
        True,
    ),
    (
        "pb:can-i-deploy-pacticipant-version-to-tag",
        "/can-i-deploy?pacticipant={pacticipant}&version={version}&to={tag}",
        "Determine if an application version can be safely deployed to an environment identified by the given tag",
        True,
    ),
    (
        "pb:can-i-deploy-pacticipant-version-to-environment",
        "/can-i-deploy?pacticipant={pacticipant}&version={version}&environment={environment}",
        "Determine if an application version can be safely deployed to an environment",
        True,
    ),
    (
        "pb:provider-pacts-for-verification",
        "/pacts/provider/{provider}/for-verification",
        "Pact versions to be verified for the specified provider",
        True,
    ),
    ("pb:environments", "/environments", "Environments", False),
    ("pb:environment", "/environments/{uuid}", "Environment", True),
)


@routes.get("/")
def index(call: Call) -> Response:
    """Where everything is."""
    base = call.urls.base
    links: dict[str, Any] = {"self": {"href": base, "title": "Index", "templated": False}}
    for relation, path, title, templated in _RELATIONS:
        links[relation] = {"href": base + path, "title": title, "templated": templated}
    links["pb:metrics"] = {"href": f"{base}/metrics", "title": "Get Pact Broker metrics"}
    links["beta:provider-pacts-for-verification"] = {
        "name": "beta",
        "href": f"{base}/pacts/provider/{{provider}}/for-verification",
        "title": "DEPRECATED - please use pb:provider-pacts-for-verification",
        "templated": True,
    }
    links["curies"] = [
        {"name": name, "href": f"{base}/doc/{{rel}}?context=index", "templated": True} for name in ("pb", "beta")
    ]
    return hal({"_links": links})


@routes.get("/diagnostic/status/heartbeat")
def heartbeat(call: Call) -> Response:
    """Liveness: the server answers (the store is not asked)."""
    if not call.settings.diagnostics:
        raise not_found()
    return JsonResponse({"ok": True, "_links": {"self": {"href": call.url}}}, media_type=DIAGNOSTIC)


@routes.get("/diagnostic/status/dependencies")
def dependencies(call: Call) -> Response:
    """Readiness: the store answers."""
    if not call.settings.diagnostics:
        raise not_found()
    ok = call.app.store.check()
    body = {"database": {"ok": ok}, "_links": {"self": {"href": call.url}}}
    return JsonResponse(body, 200 if ok else 500, media_type=DIAGNOSTIC)


class _TestError(Exception):
    """Raised on request."""


@routes.get("/test/error")
@routes.post("/test/error", writes=False, consumes=None)
def provoke_error(call: Call) -> Response:
    """Fail on purpose, to see that errors reach the log and its reader."""
    if call.rehearsal:
        return no_content()
    raise _TestError("This is a test error. Nothing is wrong.")


@routes.get("/metrics")
def metrics(call: Call) -> Response:
    """Counts of what is stored."""

    def count(table: type[models.Base], *criteria: Any) -> int:
        return call.session.scalar(select(func.count()).select_from(table).where(*criteria)) or 0

    def distinct(table: type[models.Base], column: Any) -> int:
        return call.session.scalar(select(func.count(column.distinct())).select_from(table)) or 0

    def rows_of(subquery: Any) -> int:
        return call.session.scalar(select(func.count()).select_from(subquery)) or 0

    results = count(models.Verification)
    successes = count(models.Verification, models.Verification.success)
    published, verified = models.PactPublication.created_at, models.Verification.created_at
    pairs = select(models.PactPublication.consumer_id, models.PactPublication.provider_id).distinct().subquery()
    tag_names = (
        select(models.Version.pacticipant_id, models.Tag.name)
        .join(models.Version, models.Version.id == models.Tag.version_id)
        .distinct()
        .subquery()
    )
    user_branches = select(models.BranchVersion.version_id).where(~models.BranchVersion.auto_created)
    on_branch = distinct(models.BranchVersion, models.BranchVersion.version_id)
    interactions, messages = _latest_interactions(call)
    body = {
        "interactions": {
            "latestInteractionsCount": interactions,
            "latestMessagesCount": messages,
            "latestInteractionsAndMessagesCount": interactions + messages,
        },
        "pacticipants": {
            "count": count(models.Pacticipant),
            "withMainBranchSetCount": count(models.Pacticipant, models.Pacticipant.main_branch.is_not(None)),
        },
        "integrations": {"count": rows_of(pairs)},
        "pactPublications": {"count": count(models.PactPublication)} | _span(call, published),
        "pactVersions": {"count": count(models.PactVersion)},
        "pactRevisionsPerConsumerVersion": {
            "distribution": _distribution(
                call,
                models.PactPublication,
                models.PactPublication.consumer_version_id,
                models.PactPublication.provider_id,
            )
        },
        "verificationResults": {
            "count": results,
            "successCount": successes,
            "failureCount": results - successes,
            "distinctCount": results,
        }
        | _span(call, verified),
        "verificationResultsPerPactVersion": {
            "distribution": _distribution(call, models.Verification, models.Verification.pact_version_id)
        },
        "pacticipantVersions": {
            "count": count(models.Version),
            "withUserCreatedBranchCount": count(models.Version, models.Version.id.in_(user_branches)),
            "withBranchCount": on_branch,
            "withBranchSetCount": on_branch,
        },
        "webhooks": {"count": count(models.Webhook)},
        "tags": {
            "count": count(models.Tag),
            "distinctCount": distinct(models.Tag, models.Tag.name),
            "distinctWithPacticipantCount": rows_of(tag_names),
        },
        "triggeredWebhooks": {"count": count(models.TriggeredWebhook)},
        "webhookExecutions": {"count": count(models.WebhookExecution)},
        # The reference broker does not count the matrix either.
        "matrix": {"count": -1},
        "environments": {"count": count(models.Environment)},
        "deployedVersions": {
            "count": count(models.DeployedVersion),
            "userCreatedCount": count(models.DeployedVersion, ~models.DeployedVersion.auto_created),
            "currentlyDeployedCount": count(models.DeployedVersion, models.DeployedVersion.undeployed_at.is_(None)),
        },
        "releasedVersions": {
            "count": count(models.ReleasedVersion),
            "currentlySupportedCount": count(models.ReleasedVersion, models.ReleasedVersion.support_ended_at.is_(None)),
        },
    }
    return hal(body)


def _span(call: Call, column: Any) -> dict[str, str]:
    first, last = call.session.execute(select(func.min(column), func.max(column))).one()
    return {} if first is None else {"first": views.timestamp(first), "last": views.timestamp(last)}


def _distribution(call: Call, table: type[models.Base], *columns: Any) -> dict[str, int]:
    """How many groups have how many rows."""
    groups = select(func.count().label("size")).select_from(table).group_by(*columns).subquery()
    counts = select(groups.c.size, func.count()).group_by(groups.c.size).order_by(groups.c.size)
    return {str(size): number for size, number in call.session.execute(counts)}


def _latest_interactions(call: Call) -> tuple[int, int]:
    """Interactions and messages in the latest pacts of all pairs."""
    rows = pacts.overall_latest(call.session)
    documents = pacts.with_content(call.session, rows)
    counts = [0, 0]
    for row in rows:
        document = documents[row.pact_version_id]
        for index, key in enumerate(("interactions", "messages")):
            items = document.get(key) if isinstance(document, dict) else None
            counts[index] += len(items) if isinstance(items, list) else 0
    return counts[0], counts[1]
