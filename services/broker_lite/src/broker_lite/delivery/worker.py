"""The worker that empties the queue of deliveries. What it has not delivered survives a restart."""

import contextlib
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import joinedload

from broker_lite.config import Settings
from broker_lite.delivery import facts, request
from broker_lite.domain import templates
from broker_lite.store import webhooks
from broker_lite.store.engine import Store
from broker_lite.store.models import TriggeredWebhook, Verification, now

logger = logging.getLogger("broker_lite.delivery")
_PARALLEL = 4
_LONGEST_WAIT = 30.0
"""Seconds after which the queue is looked at even if nothing is known to be due (another server may have died)."""


class Worker:
    """Delivers what is due, in a thread of its own."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhook-delivery", daemon=True)
        self._pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="webhook")
        self._client = request.new_client(settings)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the queue again: something was queued."""
        self._bell.set()

    def stop(self, timeout: float = 20.0) -> None:
        """Finish running attempts and end; the rest stays queued."""
        self._stopping.set()
        self._bell.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._client.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._bell.clear()
            try:
                wait = self._deliver_due()
            except SQLAlchemyError:
                logger.warning("the queue of webhooks cannot be read; trying again", exc_info=True)
                wait = 5.0
            self._bell.wait(wait)

    def _deliver_due(self) -> float:
        """Start what is due; returns the seconds until the next look."""
        with self._store.transaction(writes=False) as session:
            due = webhooks.next_due(session)
        if due is None:
            return _LONGEST_WAIT
        wait = (due - now()).total_seconds()
        if wait > 0:
            return min(wait, _LONGEST_WAIT)
        with self._store.transaction(writes=True) as session:
            taken = webhooks.claim(session, _PARALLEL)
        running = [self._pool.submit(self.deliver, identifier) for identifier in taken]
        for future in running:
            _log_failure(future)
        # Everything due may be claimed by another server; then there is no hurry.
        return 0.0 if taken else 1.0

    def deliver(self, identifier: int) -> None:
        """Make one attempt of a claimed delivery and write down what came of it."""
        with self._store.transaction(writes=False) as session:
            row = session.get(TriggeredWebhook, identifier)
            if row is None:
                return
            schedule = self._settings.retry_schedule
            retry_in = schedule[row.attempts_made] if row.attempts_made < len(schedule) else None
            definition = facts.definition_of(row.webhook) if row.webhook is not None else None
            verification = (
                session.scalars(
                    select(Verification)
                    .where(Verification.id == row.verification_id)
                    .options(joinedload(Verification.provider_version))
                ).one_or_none()
                if row.verification_id is not None
                else None
            )
            context = dict(row.event_context)
            values = templates.parameters(facts.gather(session, row.pact_publication, verification, context))
            uuid, event, attempts = row.uuid, row.event_name, row.attempts_made + 1
        failure_text = (
            f"Retrying webhook in {retry_in} seconds"
            if retry_in is not None
            else f"Webhook execution failed after {attempts} attempts"
        )
        if definition is None:
            success, logs, retry_in = False, "The webhook was deleted.", None
        else:
            made = request.attempt(
                definition,
                values,
                context,
                self._settings,
                self._client,
                failure_text=failure_text,
                success_text="Successfully executed webhook",
            )
            success, logs = made.success, made.logs
            logger.info(
                "webhook attempted",
                extra={
                    "triggered_webhook": uuid,
                    "event": event,
                    "attempt": attempts,
                    "status": made.status,
                    "delivered": success,
                    "error": made.error,
                },
            )
        with self._store.transaction(writes=True) as session:
            row = session.get(TriggeredWebhook, identifier)
            if row is not None:
                webhooks.record_attempt(session, row, success=success, logs=logs, retry_in=retry_in)
        self._bell.set()


def _log_failure(future: "Future[None]") -> None:
    with contextlib.suppress(Exception):
        future.result()
        return
    logger.error("an attempt to deliver a webhook ended in an error", exc_info=future.exception())
