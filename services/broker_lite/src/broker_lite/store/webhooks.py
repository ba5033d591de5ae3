"""Webhooks, and the queue of their deliveries."""

import re
import secrets
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.orm import Session, joinedload

from broker_lite.config import Settings
from broker_lite.domain import webhook_rules
from broker_lite.store import pacticipants
from broker_lite.store.models import (
    Label,
    Pacticipant,
    PactPublication,
    TriggeredWebhook,
    Webhook,
    WebhookExecution,
    now,
)

NOT_RUN, RETRYING, SUCCESS, FAILURE = "not_run", "retrying", "success", "failure"
CLAIM = timedelta(seconds=90)
"""How long an attempt may take before another worker takes the delivery over (its worker has died)."""


def new_uuid() -> str:
    """A fresh id for a webhook."""
    return secrets.token_urlsafe(16)


def find(session: Session, identifier: str) -> Webhook | None:
    """The webhook of this uuid."""
    return session.scalars(select(Webhook).where(Webhook.uuid == identifier)).one_or_none()


def listed(session: Session, *criteria: ColumnElement[bool]) -> list[Webhook]:
    """Webhooks in order of creation, by criteria."""
    return list(session.scalars(select(Webhook).where(*criteria).order_by(Webhook.id)))


def of_pair(consumer: Pacticipant | None, provider: Pacticipant | None) -> list[ColumnElement[bool]]:
    """Criteria: scoped by name to exactly this consumer and provider (None: no such scope)."""
    return [
        Webhook.consumer_id == consumer.id if consumer is not None else Webhook.consumer_id.is_(None),
        Webhook.provider_id == provider.id if provider is not None else Webhook.provider_id.is_(None),
        Webhook.consumer_label.is_(None),
        Webhook.provider_label.is_(None),
    ]


def matching(consumer: Pacticipant, provider: Pacticipant) -> ColumnElement[bool]:
    """Criterion: the webhook is about this pair, by name, by label or without a scope."""
    sides = []
    for owner, column, label_column in (
        (consumer, Webhook.consumer_id, Webhook.consumer_label),
        (provider, Webhook.provider_id, Webhook.provider_label),
    ):
        labelled = select(Label.name).where(Label.pacticipant_id == owner.id)
        sides.append(
            or_(
                column == owner.id,
                label_column.in_(labelled),
                and_(column.is_(None), label_column.is_(None)),
            )
        )
    return and_(*sides)


def any_for(session: Session, publication: PactPublication) -> bool:
    """Whether any webhook is about this pact, enabled or not."""
    criterion = matching(publication.consumer, publication.provider)
    return session.scalar(select(Webhook.id).where(criterion).limit(1)) is not None


def to_trigger(session: Session, publication: PactPublication, event: str) -> list[Webhook]:
    """Enabled webhooks that want to hear of an event about this pact."""
    criterion = matching(publication.consumer, publication.provider)
    return [one for one in listed(session, criterion, Webhook.enabled.is_(True)) if event in one.events]


def write(session: Session, row: Webhook, definition: Mapping[str, Any]) -> None:
    """Write a checked definition into a row; asterisks keep a stored secret."""
    request = definition["request"]
    row.description = definition.get("description") or None
    row.consumer_id, row.consumer_label = _scope(session, definition.get("consumer"))
    row.provider_id, row.provider_label = _scope(session, definition.get("provider"))
    row.enabled = definition.get("enabled", True)
    events = definition.get("events")
    row.events = [one["name"] for one in events] if events else [webhook_rules.CONTENT_CHANGED]
    row.method = request["method"].upper()
    row.url = request["url"]
    stored_headers = row.headers or {}
    row.headers = {
        name.lower(): _unhidden(value, stored_headers.get(name.lower()))
        for name, value in (request.get("headers") or {}).items()
    }
    row.username = request.get("username") or None
    if "password" in request:
        password = request["password"]
        row.password = _unhidden(password, row.password) if password else None
    row.body = request.get("body")
    row.updated_at = now()


def _unhidden(value: str, stored: str | None) -> str:
    hidden = re.fullmatch(r"\*{3,}", value) is not None
    return stored if hidden and stored is not None else value


def _scope(session: Session, scope: Any) -> tuple[int | None, str | None]:
    if not scope:
        return None, None
    if scope.get("label") is not None:
        return None, scope["label"]
    owner = pacticipants.find(session, scope["name"])
    return (owner.id if owner else None), None


def create(session: Session, definition: Mapping[str, Any], identifier: str | None = None) -> Webhook:
    """A new webhook from a checked definition."""
    row = Webhook(uuid=identifier or new_uuid(), headers={}, created_at=now())
    write(session, row, definition)
    row.updated_at = row.created_at
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def remove(session: Session, row: Webhook) -> None:
    """Delete a webhook; what it already has to deliver fails."""
    session.execute(
        TriggeredWebhook.__table__.update()  # type: ignore[attr-defined]
        .where(TriggeredWebhook.webhook_id == row.id, TriggeredWebhook.status.in_((NOT_RUN, RETRYING)))
        .values(status=FAILURE, next_attempt_at=None, updated_at=now())
    )
    session.execute(delete(Webhook).where(Webhook.id == row.id))


def remove_of_pair(session: Session, consumer: Pacticipant, provider: Pacticipant) -> None:
    """Delete the webhooks scoped to exactly this pair."""
    session.execute(delete(Webhook).where(*of_pair(consumer, provider)))


def enqueue(
    session: Session,
    webhook: Webhook,
    publication: PactPublication,
    verification_id: int | None,
    event: str,
    context: dict[str, Any],
    position: int,
    settings: Settings,
) -> TriggeredWebhook:
    """Queue a delivery, to start after a delay; further ones of the same request start later."""
    delay = settings.first_attempt_delay + position * settings.attempt_spacing
    row = TriggeredWebhook(
        uuid=str(uuid.uuid4()),
        webhook=webhook,
        pact_publication=publication,
        verification_id=verification_id,
        event_name=event,
        event_context=context,
        status=NOT_RUN,
        attempts_made=0,
        attempts_allowed=len(settings.retry_schedule) + 1,
        next_attempt_at=now() + timedelta(seconds=delay),
    )
    session.add(row)
    session.flush()
    return row


def next_due(session: Session) -> datetime | None:
    """When the next attempt of any delivery is due."""
    return session.scalar(
        select(func.min(TriggeredWebhook.next_attempt_at)).where(TriggeredWebhook.status.in_((NOT_RUN, RETRYING)))
    )


def claim(session: Session, limit: int) -> list[int]:
    """Take deliveries that are due; no other worker takes them until the claim runs out."""
    moment = now()
    statement = (
        select(TriggeredWebhook.id, TriggeredWebhook)
        .where(
            TriggeredWebhook.status.in_((NOT_RUN, RETRYING)),
            TriggeredWebhook.next_attempt_at <= moment,
            or_(TriggeredWebhook.claimed_until.is_(None), TriggeredWebhook.claimed_until < moment),
        )
        .options(joinedload(TriggeredWebhook.webhook))
        .order_by(TriggeredWebhook.next_attempt_at, TriggeredWebhook.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=TriggeredWebhook)
    )
    taken = []
    for identifier, row in session.execute(statement):
        row.claimed_until = moment + CLAIM
        taken.append(identifier)
    return taken


def record_attempt(
    session: Session, row: TriggeredWebhook, *, success: bool, logs: str, retry_in: float | None
) -> None:
    """Write down an attempt, and when to try again (None: never)."""
    session.add(WebhookExecution(triggered_webhook_id=row.id, success=success, logs=logs))
    row.attempts_made += 1
    row.claimed_until = None
    row.updated_at = now()
    if success:
        row.status, row.next_attempt_at = SUCCESS, None
    elif retry_in is None:
        row.status, row.next_attempt_at = FAILURE, None
    else:
        row.status, row.next_attempt_at = RETRYING, now() + timedelta(seconds=retry_in)


def find_triggered(session: Session, identifier: str) -> TriggeredWebhook | None:
    """The delivery of this uuid."""
    return session.scalars(select(TriggeredWebhook).where(TriggeredWebhook.uuid == identifier)).one_or_none()


def executions(session: Session, triggered_id: int) -> list[WebhookExecution]:
    """Attempts of a delivery, oldest first."""
    statement = select(WebhookExecution).where(WebhookExecution.triggered_webhook_id == triggered_id)
    return list(session.scalars(statement.order_by(WebhookExecution.id)))


def triggered_by(session: Session, *criteria: ColumnElement[bool]) -> list[TriggeredWebhook]:
    """Deliveries, newest first, by criteria."""
    return list(session.scalars(select(TriggeredWebhook).where(*criteria).order_by(TriggeredWebhook.id.desc())))


def latest_of_pair(session: Session, consumer: Pacticipant, provider: Pacticipant) -> list[TriggeredWebhook]:
    """The latest delivery of each webhook and event for a pair, oldest first."""
    newest = (
        select(func.max(TriggeredWebhook.id))
        .join(PactPublication, PactPublication.id == TriggeredWebhook.pact_publication_id)
        .where(PactPublication.consumer_id == consumer.id, PactPublication.provider_id == provider.id)
        .where(TriggeredWebhook.webhook_id.is_not(None))
        .group_by(TriggeredWebhook.webhook_id, TriggeredWebhook.event_name)
    )
    statement = select(TriggeredWebhook).where(TriggeredWebhook.id.in_(newest)).order_by(TriggeredWebhook.id)
    return list(session.scalars(statement))
