"""Webhooks are delivered, retried, survive a restart, and keep their secrets."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from broker_lite.config import Settings
from broker_lite.delivery.worker import Worker
from broker_lite.domain.webhook_rules import AllowLists
from broker_lite.store import webhooks
from broker_lite.store.engine import Store
from broker_lite.store.models import TriggeredWebhook, now
from services.broker_lite.tests.support.receiver import Receiver, receive
from services.broker_lite.tests.support.server import Served, serve

UUID = "webhook-of-the-tests"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive() as running:
        yield running


@pytest.fixture
def settings() -> Settings:
    """At once instead of after five seconds; hosts as a deployment would set them."""
    lists = AllowLists(hosts=("127.0.0.1",), schemes=("http", "https"))
    return Settings(database_url="", allow_lists=lists, first_attempt_delay=0, attempt_spacing=0, retry_schedule=(0, 0))


def _webhook(served: Served, receiver: Receiver, path: str = "/hook", **request: object) -> None:
    body = {
        "description": "tests",
        "events": [{"name": "contract_published"}],
        "request": {
            "method": "POST",
            "url": f"http://{receiver.address}{path}",
            "headers": {"Content-Type": "application/json", "Authorization": "Bearer top-secret"},
            "body": {"consumer": "${pactbroker.consumerName}", "url": "${pactbroker.pactUrl}"},
            **request,
        },
    }
    served.ok("PUT", f"/webhooks/{UUID}", body)


def _until(store: Store, condition: Callable[[list[TriggeredWebhook]], bool]) -> list[TriggeredWebhook]:
    """Wait until the queue is as wanted; woken by each look of the database, bounded by the test's timeout."""
    pause = threading.Event()
    while True:
        with store.transaction(writes=False) as session:
            rows = list(session.scalars(select(TriggeredWebhook).order_by(TriggeredWebhook.id)))
        if condition(rows):
            return rows
        pause.wait(0.05)


def _logs(served: Served) -> str:
    with served.store.transaction(writes=False) as session:
        uuid = session.scalars(select(TriggeredWebhook.uuid)).one()
    return served.send("GET", f"/triggered-webhooks/{uuid}/logs", headers={"accept": "text/plain"}).text


def test_a_publication_is_told(store: Store, settings: Settings, receiver: Receiver) -> None:
    with serve(settings, store, deliver=True) as served:
        _webhook(served, receiver)
        served.publish("C", "1", "P")
        (got,) = receiver.wait_for(1)
        assert got.body["consumer"] == "C"
        assert got.headers["authorization"] == "Bearer top-secret"
        pact = served.ok("GET", got.body["url"].removeprefix(served.url))
        assert pact["consumer"] == {"name": "C"}
        (row,) = _until(store, lambda rows: rows[0].status == webhooks.SUCCESS)
        assert (row.attempts_made, row.next_attempt_at) == (1, None)
        text = _logs(served)
        assert "authorization: **********" in text
        assert "top-secret" not in text
        shown = served.send("GET", f"/webhooks/{UUID}").text
        assert "top-secret" not in shown


def test_the_first_attempt_comes_after_the_answer(lite_store: Store, receiver: Receiver) -> None:
    lists = AllowLists(hosts=("127.0.0.1",), schemes=("http",))
    settings = Settings(database_url="", allow_lists=lists)
    with serve(settings, lite_store) as served:
        _webhook(served, receiver)
        before = now()
        served.publish("C", "1", "P1")
        served.publish("C", "1", "P2")
    with lite_store.transaction(writes=False) as session:
        due = list(session.scalars(select(TriggeredWebhook.next_attempt_at).order_by(TriggeredWebhook.id)))
    assert all(moment is not None and moment >= before + timedelta(seconds=5) for moment in due)


def test_failures_are_retried_as_scheduled_and_then_given_up(
    store: Store, settings: Settings, receiver: Receiver
) -> None:
    with serve(settings, store, deliver=True) as served:
        _webhook(served, receiver, "/status/503")
        served.publish("C", "1", "P")
        (row,) = _until(store, lambda rows: rows[0].status == webhooks.FAILURE)
        assert row.attempts_made == 3
        assert len(receiver.requests) == 3
        text = _logs(served)
        assert text.count("Retrying webhook in 0 seconds") == 2
        assert "Webhook execution failed after 3 attempts" in text


def test_redirects_are_failures_and_are_not_followed(lite_store: Store, settings: Settings, receiver: Receiver) -> None:
    with serve(settings, lite_store, deliver=True) as served:
        _webhook(served, receiver, "/redir")
        served.publish("C", "1", "P")
        _until(lite_store, lambda rows: rows[0].status == webhooks.FAILURE)
    assert {one.path for one in receiver.requests} == {"/redir"}


def test_what_was_queued_survives_a_restart(store: Store, settings: Settings, receiver: Receiver) -> None:
    with serve(settings, store) as served:
        _webhook(served, receiver)
        served.publish("C", "1", "P")
    assert receiver.requests == []
    with serve(settings, store, deliver=True):
        receiver.wait_for(1)
        _until(store, lambda rows: rows[0].status == webhooks.SUCCESS)


def test_a_delivery_whose_server_died_is_taken_over(store: Store, settings: Settings, receiver: Receiver) -> None:
    with serve(settings, store) as served:
        _webhook(served, receiver)
        served.publish("C", "1", "P")
    with store.transaction(writes=True) as session:
        assert len(webhooks.claim(session, 10)) == 1
    with store.transaction(writes=True) as session:
        assert webhooks.claim(session, 10) == []
        row = session.scalars(select(TriggeredWebhook)).one()
        row.claimed_until = now() - timedelta(seconds=1)
    with serve(settings, store, deliver=True):
        receiver.wait_for(1)


def test_two_servers_deliver_once(store: Store, settings: Settings, receiver: Receiver) -> None:
    with serve(settings, store) as served:
        _webhook(served, receiver)
        for number in range(8):
            served.publish("C", str(number), "P", f"content {number}")
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            worker = Worker(store, settings)
            worker.start()
            stack.callback(worker.stop)
        _until(store, lambda rows: all(row.status == webhooks.SUCCESS for row in rows))
    assert len(receiver.requests) == 8


def test_a_deleted_webhook_is_not_delivered(lite_store: Store, settings: Settings, receiver: Receiver) -> None:
    with serve(settings, lite_store) as served:
        _webhook(served, receiver)
        served.publish("C", "1", "P")
        assert served.send("DELETE", f"/webhooks/{UUID}").status == 204
    with serve(settings, lite_store, deliver=True):
        (row,) = _until(lite_store, lambda rows: True)
    assert row.status == webhooks.FAILURE
    assert receiver.requests == []


def test_asterisks_keep_the_stored_secret(lite_store: Store, settings: Settings, receiver: Receiver) -> None:
    with serve(settings, lite_store, deliver=True) as served:
        _webhook(served, receiver, username="u", password="pass-word")
        shown = served.ok("GET", f"/webhooks/{UUID}")
        assert shown["request"]["password"] == "**********"
        assert shown["request"]["headers"]["authorization"] == "**********"
        served.ok("PUT", f"/webhooks/{UUID}", {"events": shown["events"], "request": shown["request"]})
        served.publish("C", "1", "P")
        (got,) = receiver.wait_for(1)
    # "u:pass-word"; a user name and password win over an Authorization header.
    assert got.headers["authorization"] == "Basic dTpwYXNzLXdvcmQ="


def test_required_verifications_name_each_provider_version(
    lite_store: Store, settings: Settings, receiver: Receiver
) -> None:
    with serve(settings, lite_store, deliver=True) as served:
        environment = served.ok("POST", "/environments", {"name": "test", "production": False})["uuid"]
        served.ok("PUT", "/pacticipants/P/branches/main/versions/p1", {})
        served.ok("PUT", "/pacticipants/P/branches/main/versions/p2", {})
        served.ok("POST", f"/pacticipants/P/versions/p1/deployed-versions/environment/{environment}", {})
        body = {
            "events": [{"name": "contract_requiring_verification_published"}],
            "request": {
                "method": "POST",
                "url": f"http://{receiver.address}/hook",
                "headers": {"content-type": "application/json"},
                "body": {"v": "${pactbroker.providerVersionNumber}", "d": "${pactbroker.providerVersionDescriptions}"},
            },
        }
        served.ok("PUT", f"/webhooks/{UUID}", body)
        served.publish("C", "1", "P")
        got = [one.body for one in receiver.wait_for(2)]
    assert sorted(got, key=json.dumps) == sorted(
        [{"v": "p2", "d": "latest from main branch"}, {"v": "p1", "d": "deployed in test"}], key=json.dumps
    )


def test_stopping_leaves_the_rest_in_the_queue(lite_store: Store, settings: Settings, receiver: Receiver) -> None:
    later = replace(settings, first_attempt_delay=3600)
    with serve(later, lite_store, deliver=True) as served:
        _webhook(served, receiver)
        served.publish("C", "1", "P")
    (row,) = _until(lite_store, lambda rows: True)
    assert (row.status, row.attempts_made) == (webhooks.NOT_RUN, 0)
