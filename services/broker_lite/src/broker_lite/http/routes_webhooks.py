"""Webhooks, testing them, and what became of their deliveries."""

import json
from typing import Any
from urllib.parse import urlsplit

from fastapi import Response

from broker_lite.delivery import facts, request
from broker_lite.domain import templates, webhook_rules
from broker_lite.http import lookup, views
from broker_lite.http.call import JSON_TYPES, Call, Routes, hal, no_content, text_response
from broker_lite.http.errors import invalid, not_found
from broker_lite.store import pacticipants, pacts, results, webhooks
from broker_lite.store.models import Pacticipant, TriggeredWebhook, Verification, Webhook

routes = Routes()


def _title(row: Webhook) -> str:
    return row.description or f"{row.method} {_host(row.url)}"


def _host(url: str) -> str:
    return urlsplit(templates.placeholder_url(url)).hostname or ""


def _scope(owner: Pacticipant | None, label: str | None) -> dict[str, str] | None:
    if owner is not None:
        return {"name": owner.name}
    return {"label": label} if label is not None else None


def webhook_body(call: Call, row: Webhook) -> views.Json:
    """A webhook; secrets are hidden."""
    urls = call.urls
    consumer, provider = _scope(row.consumer, row.consumer_label), _scope(row.provider, row.provider_label)
    links = {
        "self": views.link(urls.webhook(row.uuid), _title(row)),
        "pb:execute": views.link(
            f"{urls.webhook(row.uuid)}/execute",
            "Test the execution of the webhook with the latest matching pact or verification by sending a POST request "
            "to this URL",
        ),
    }
    for word, owner, label in (
        ("consumer", row.consumer, row.consumer_label),
        ("provider", row.provider, row.provider_label),
    ):
        if owner is not None:
            links[f"pb:{word}"] = views.link(urls.pacticipant(owner.name), word.capitalize(), owner.name)
        elif label is not None:
            links[f"pb:{word}s"] = views.link(
                urls.pacticipants_with_label(label), f"{word.capitalize()}s by label", label
            )
    if consumer is not None and provider is not None:
        consumer_name = row.consumer.name if row.consumer is not None else None
        provider_name = row.provider.name if row.provider is not None else None
        links["pb:pact-webhooks"] = views.link(
            urls.webhooks_of_pair(consumer_name or "", provider_name or ""),
            f"All webhooks for consumer {consumer_name or ''} and provider {provider_name or ''}",
        )
    links["pb:webhooks"] = views.link(urls.webhooks(), "All webhooks")
    password = row.password
    if password is not None and not templates.has_parameter(password):
        password = webhook_rules.HIDDEN
    sent = views.without_none(
        method=row.method,
        url=row.url,
        headers=webhook_rules.redacted_headers(row.headers) or None,
        body=row.body,
        username=row.username,
        password=password,
    )
    return (
        views.without_none(
            uuid=row.uuid,
            description=_title(row),
            consumer=consumer,
            provider=provider,
            enabled=row.enabled,
            request=sent,
            events=[{"name": name} for name in row.events],
        )
        | views.timestamps(row)
        | {"_links": links}
    )


def _checked(call: Call, uuid: str | None = None, *, scope: dict[str, Any] | None = None) -> dict[str, Any]:
    definition = call.properties | (scope or {})
    known = pacticipants.existing(call.session, webhook_rules.mentioned_pacticipants(definition))
    errors = webhook_rules.problems(definition, known, call.settings.allow_lists, uuid)
    if errors:
        raise invalid(errors)
    return definition


def _list(call: Call, title: str, rows: list[Webhook]) -> Response:
    links = {
        "self": views.link(call.url, title),
        "pb:create": views.link(call.url, "POST to create a webhook"),
        "pb:webhooks": [views.link(call.urls.webhook(row.uuid), _scope_text(row), _title(row)) for row in rows],
        "curies": [{"name": "pb", "href": f"{call.urls.base}/doc/webhooks-{{rel}}", "templated": True}],
    }
    return hal({"_links": links})


def _scope_text(row: Webhook) -> str:
    parts = []
    for word, owner, label in (
        ("consumer", row.consumer, row.consumer_label),
        ("provider", row.provider, row.provider_label),
    ):
        if owner is not None:
            parts.append((word, owner.name))
        elif label is not None:
            parts.append((f"{word} labeled", f"'{label}'"))
    if not parts:
        return "A webhook for all pacts"
    if len(parts) == 2 and row.consumer is not None and row.provider is not None:
        return f"A webhook for the pact between {row.consumer.name} and {row.provider.name}"
    if len(parts) == 2:
        return f"A webhook for the pact between {parts[0][0]} {parts[0][1]} and {parts[1][0]} {parts[1][1]}"
    return f"A webhook for all pacts with {parts[0][0]} {parts[0][1]}"


@routes.get("/webhooks")
def list_webhooks(call: Call) -> Response:
    """All webhooks."""
    return _list(call, "Webhooks", webhooks.listed(call.session))


@routes.post("/webhooks")
def create_webhook(call: Call) -> Response:
    """Create a webhook with a generated uuid."""
    row = webhooks.create(call.session, _checked(call))
    return hal(webhook_body(call, row), 201, call.urls.webhook(row.uuid))


@routes.post("/webhooks/execute", writes=False)
def execute_unsaved_webhook(call: Call) -> Response:
    """Test a definition without storing it."""
    definition = _checked(call)
    row = Webhook(uuid="", headers={})
    webhooks.write(call.session, row, definition)
    # The row is only a carrier here: it must never be stored.
    if row in call.session:
        call.session.expunge(row)
    names = [
        scope.get("name") if isinstance(scope, dict) else None
        for scope in (definition.get("consumer"), definition.get("provider"))
    ]
    return _execute(call, row, names[0], names[1], saved=False)


@routes.get("/webhooks/{uuid}")
def get_webhook(call: Call) -> Response:
    """One webhook."""
    return hal(webhook_body(call, _webhook(call)))


def _webhook(call: Call) -> Webhook:
    row = webhooks.find(call.session, call.path["uuid"])
    if row is None:
        raise not_found()
    return row


@routes.put("/webhooks/{uuid}")
def put_webhook(call: Call) -> Response:
    """Create or replace the webhook of a chosen uuid."""
    uuid = call.path["uuid"]
    definition = _checked(call, uuid)
    row = webhooks.find(call.session, uuid)
    if row is None:
        return hal(webhook_body(call, webhooks.create(call.session, definition, uuid)), 201)
    webhooks.write(call.session, row, definition)
    call.session.flush()
    call.session.refresh(row)
    return hal(webhook_body(call, row))


@routes.delete("/webhooks/{uuid}")
def delete_webhook(call: Call) -> Response:
    """Delete a webhook."""
    webhooks.remove(call.session, _webhook(call))
    return no_content()


@routes.post("/webhooks/{uuid}/execute", writes=False, consumes=(*JSON_TYPES, ""))
def execute_webhook(call: Call) -> Response:
    """Test a stored webhook with the latest matching pact (and result)."""
    row = _webhook(call)
    consumer = row.consumer.name if row.consumer is not None else None
    provider = row.provider.name if row.provider is not None else None
    return _execute(call, row, consumer, provider, saved=True)


def _execute(call: Call, row: Webhook, consumer: str | None, provider: str | None, *, saved: bool) -> Response:
    session = call.session
    criteria = []
    if consumer is not None or provider is not None:
        by_consumer, by_provider = pacts.between(consumer or "", provider or "")
        criteria = ([by_consumer] if consumer is not None else []) + ([by_provider] if provider is not None else [])
    publication = pacts.newest(session, *criteria)
    verification: Verification | None = None
    if any(name.startswith("provider_verification") for name in row.events):
        verification = results.latest_between(session, consumer, provider)
    context = {"base_url": call.urls.base, "event_name": "test"}
    values = templates.parameters(facts.gather(session, publication, verification, context))
    if call.rehearsal:
        return no_content()
    with request.new_client(call.settings) as client:
        made = request.attempt(
            facts.definition_of(row), values, context, call.settings, client, failure_text="Webhook execution failed"
        )
    shows = call.settings.allow_lists.shows_responses
    body: dict[str, Any] = {}
    if made.error is not None and shows:
        body["error"] = {"message": made.error}
    body["request"] = views.without_none(
        headers=made.request_headers, body=_json_or_text(made.request_body), url=made.request_path
    )
    if made.status is not None and shows:
        body["response"] = {
            "status": made.status,
            "headers": made.response_headers,
            "body": _json_or_text(made.response_body),
        }
    if not shows:
        body["message"] = request.hidden_message(call.urls.base)
    links = {"webhook": views.link(call.urls.webhook(row.uuid))} if saved else {}
    links["try-again"] = views.link(call.url, "Execute the webhook again")
    return hal(body | {"logs": made.logs, "success": made.success, "_links": links})


def _json_or_text(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


_PAIR = "/webhooks/provider/{provider}/consumer/{consumer}"
_PROVIDER = "/webhooks/provider/{provider}"
_CONSUMER = "/webhooks/consumer/{consumer}"


def _owners(call: Call) -> tuple[Pacticipant | None, Pacticipant | None]:
    provider = lookup.provider(call) if "provider" in call.path else None
    consumer = lookup.consumer(call) if "consumer" in call.path else None
    return consumer, provider


@routes.get(_PAIR, _PROVIDER, _CONSUMER, "/pacts/provider/{provider}/consumer/{consumer}/webhooks")
def list_scoped_webhooks(call: Call) -> Response:
    """Webhooks scoped to a consumer, a provider or both."""
    consumer, provider = _owners(call)
    title = "Pact webhooks" if call.raw_path.startswith("/pacts/") else "Webhooks"
    return _list(call, title, webhooks.listed(call.session, *webhooks.of_pair(consumer, provider)))


@routes.post(_PAIR, _PROVIDER, _CONSUMER, "/pacts/provider/{provider}/consumer/{consumer}/webhooks")
def create_scoped_webhook(call: Call) -> Response:
    """Create a webhook scoped to a consumer, a provider or both."""
    consumer, provider = _owners(call)
    scope = {word: {"name": owner.name} for word, owner in (("consumer", consumer), ("provider", provider)) if owner}
    row = webhooks.create(call.session, _checked(call, scope=scope))
    return hal(webhook_body(call, row), 201, call.urls.webhook(row.uuid))


def _triggered(call: Call, row: TriggeredWebhook) -> views.Json:
    name = f"{row.webhook.method} {_host(row.webhook.url)}" if row.webhook is not None else "deleted webhook"
    logs = call.urls.webhook_logs(row.uuid)
    links = {
        "pb:logs": views.link(logs, "Webhook execution logs", name),
        "logs": views.link(logs, "DEPRECATED - Use pb:logs", name),
    }
    if row.webhook is not None:
        links["pb:webhook"] = views.link(call.urls.webhook(row.webhook.uuid), "Webhook", name)
    open_attempts = row.status in (webhooks.NOT_RUN, webhooks.RETRYING)
    return {
        "name": name,
        "status": row.status,
        "attemptsMade": row.attempts_made,
        "attemptsRemaining": max(0, row.attempts_allowed - row.attempts_made) if open_attempts else 0,
        "triggerType": "resource_creation",
        "eventName": row.event_name,
        "triggeredAt": views.timestamp(row.created_at),
        "_links": links,
    }


@routes.get("/pacts/provider/{provider}/consumer/{consumer}/webhooks/status")
def get_webhooks_status(call: Call) -> Response:
    """The latest delivery of each webhook and event for a pair."""
    consumer, provider = lookup.consumer(call), lookup.provider(call)
    rows = webhooks.latest_of_pair(call.session, consumer, provider)
    counts = {status: sum(row.status == status for row in rows) for status in ("retrying", "not_run")}
    summary = {
        "successful": sum(row.status == webhooks.SUCCESS for row in rows),
        "failed": sum(row.status == webhooks.FAILURE for row in rows),
    } | views.without_none(retrying=counts["retrying"] or None, notRun=counts["not_run"] or None)
    urls = call.urls
    shown = [_triggered(call, row) for row in rows]
    links: dict[str, Any] = {
        "self": views.link(call.url, "Webhooks status"),
        "pb:error-logs": [
            views.link(urls.webhook_logs(row.uuid), "Error logs", one["name"])
            for row, one in zip(rows, shown, strict=True)
            if row.status in (webhooks.FAILURE, webhooks.RETRYING)
        ],
        "pb:pact-webhooks": views.link(
            f"{urls.pair(consumer.name, provider.name)}/webhooks",
            f"Webhooks for the pact between {consumer.name} and {provider.name}",
        ),
    }
    if rows:
        pact = rows[0].pact_publication
        href = urls.pact(consumer.name, provider.name, pact.consumer_version.number)
        links["pb:pact-version"] = views.link(href, "Pact", views.pact_name(pact))
    links["pb:consumer"] = views.link(urls.pacticipant(consumer.name), "Consumer", consumer.name)
    links["pb:provider"] = views.link(urls.pacticipant(provider.name), "Provider", provider.name)
    return hal({"summary": summary, "_embedded": {"triggeredWebhooks": shown}, "_links": links})


@routes.get("/pacts/provider/{provider}/consumer/{consumer}/version/{number}/triggered-webhooks")
def list_pact_triggered_webhooks(call: Call) -> Response:
    """Deliveries that the publication of a pact queued, newest first."""
    path = call.path
    pact = pacts.by_version(call.session, path["consumer"], path["provider"], path["number"])
    if pact is None:
        raise not_found()
    rows = webhooks.triggered_by(
        call.session,
        TriggeredWebhook.pact_publication_id == pact.id,
        TriggeredWebhook.event_name.in_(
            (
                webhook_rules.CONTRACT_PUBLISHED,
                webhook_rules.CONTENT_CHANGED,
                webhook_rules.REQUIRES_VERIFICATION,
            )
        ),
    )
    title = (
        f"Webhooks triggered by the publication of the {views.pact_name(pact)[:1].lower()}{views.pact_name(pact)[1:]}"
    )
    return _triggered_list(call, rows, title)


@routes.get(
    "/pacts/provider/{provider}/consumer/{consumer}/pact-version/{sha}/verification-results/{number}/triggered-webhooks"
)
def list_result_triggered_webhooks(call: Call) -> Response:
    """Deliveries that the publication of a result queued, newest first."""
    path = call.path
    number = path["number"]
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        raise not_found()
    row = results.find(call.session, path["consumer"], path["provider"], path["sha"], int(number))
    if row is None:
        raise not_found()
    rows = webhooks.triggered_by(
        call.session,
        TriggeredWebhook.verification_id == row.id,
        TriggeredWebhook.event_name.in_(
            (
                webhook_rules.VERIFICATION_PUBLISHED,
                webhook_rules.VERIFICATION_SUCCEEDED,
                webhook_rules.VERIFICATION_FAILED,
            )
        ),
    )
    return _triggered_list(call, rows, f"Webhooks triggered by the publication of verification result {row.id}")


def _triggered_list(call: Call, rows: list[TriggeredWebhook], title: str) -> Response:
    return hal(
        {
            "_embedded": {"triggeredWebhooks": [_triggered(call, row) for row in rows]},
            "_links": {"self": views.link(call.url, title)},
        }
    )


@routes.get("/triggered-webhooks/{uuid}/logs", produces=("text/plain", "application/hal+json"))
def get_webhook_logs(call: Call) -> Response:
    """The logs of all attempts of a delivery."""
    row = webhooks.find_triggered(call.session, call.path["uuid"])
    if row is None:
        raise not_found()
    attempts = webhooks.executions(call.session, row.id)
    if not call.wants("application/hal+json"):
        if not attempts:
            return text_response("Webhook has not executed yet. Please retry in a few seconds.")
        return text_response("\n".join(one.logs for one in attempts))
    pact = row.pact_publication
    links = {"self": views.link(call.url, "Triggered webhook logs")}
    if row.webhook is not None:
        links["pb:webhook"] = views.link(call.urls.webhook(row.webhook.uuid), "Webhook")
    body = {
        "eventName": row.event_name,
        "consumerName": pact.consumer.name,
        "providerName": pact.provider.name,
        "executions": [
            {"success": one.success, "logs": one.logs, "createdAt": views.timestamp(one.created_at)} for one in attempts
        ],
        "_embedded": {"triggeredWebhook": {"uuid": row.uuid}},
        "_links": links,
    }
    return hal(body)
