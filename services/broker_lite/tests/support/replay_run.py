"""Replays all recorded exchanges against a fresh instance, in the order of recording."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, text

from broker_lite.config import Credentials, Settings
from broker_lite.delivery.worker import Worker
from broker_lite.domain.webhook_rules import AllowLists
from broker_lite.store.engine import Store
from broker_lite.store.models import TriggeredWebhook
from services.broker_lite.tests.support import receiver, replay
from services.broker_lite.tests.support.server import Answer, Served, serve

RECORDED_SETTINGS = Settings(
    database_url="",
    allow_lists=AllowLists(hosts=("127.0.0.1",), schemes=("http", "https")),
    retry_schedule=(1, 2),
)
AUTH_SETTINGS = Settings(database_url="", writer=Credentials("rw", "rwpw"), reader=Credentials("ro", "ropw"))
AUTH_FILE = "50"
_DELIVER_BEFORE = {"28#5": 1, "28#6": 100}
"""How many deliveries had run when an exchange was recorded; at the end of a file all had."""


# These show the latest result at the moment of delivery, which fell between later exchanges when they were recorded.
_FROM_PUBLICATION = ("contract_published", "contract_content_changed")
_OF_LATEST_RESULT = (
    "providerVersionNumber",
    "providerVersionTags",
    "providerVersionBranch",
    "verificationResultUrl",
    "githubVerificationStatus",
    "bitbucketVerificationStatus",
    "azureDevOpsVerificationStatus",
    "gitlabVerificationStatus",
)


@dataclass
class Outcome:
    """Differences by exchange key (empty: equal), and by path the webhooks that did not come as recorded."""

    differences: dict[str, list[str]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    webhooks: dict[str, list[str]] = field(default_factory=dict)


class _Deliveries:
    """Runs queued deliveries one by one, in the order in which they fall due."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._worker = Worker(store, RECORDED_SETTINGS)

    def run(self, most: int) -> None:
        for _ in range(most):
            statement = (
                select(TriggeredWebhook.id)
                .where(TriggeredWebhook.status.in_(("not_run", "retrying")))
                .order_by(TriggeredWebhook.next_attempt_at, TriggeredWebhook.id)
                .limit(1)
            )
            with self._store.transaction(writes=False) as session:
                due = session.scalar(statement)
            if due is None:
                return
            self._worker.deliver(due)

    def close(self) -> None:
        self._worker.stop()


def run(main_store: Store, auth_store: Store) -> Outcome:
    """Replay everything."""
    outcome = Outcome()
    _number_results_from(main_store, 101)
    with receiver.receive() as arrived, serve(RECORDED_SETTINGS, main_store) as served:
        same = replay.Correspondence(served.url, arrived.address)
        recorded = json.loads((replay.TRANSCRIPTS / "webhooks-received.json").read_text())
        hooks = _Hooks(recorded, arrived, same, outcome)
        deliveries = _Deliveries(main_store)
        try:
            for name in replay.files():
                if name.startswith(AUTH_FILE):
                    continue
                for exchange in replay.load(name):
                    if exchange.key in _DELIVER_BEFORE:
                        deliveries.run(_DELIVER_BEFORE[exchange.key])
                        hooks.compare()
                    _replay(served, exchange, same, outcome)
                    hooks.compare()
                deliveries.run(1000)
                hooks.compare()
        finally:
            deliveries.close()
        hooks.finish()
        index = same.index
    with serve(AUTH_SETTINGS, auth_store) as served:
        same = replay.Correspondence(served.url, "127.0.0.1:9595", index=index)
        name = next(name for name in replay.files() if name.startswith(AUTH_FILE))
        for exchange in replay.load(name):
            _replay(served, exchange, same, outcome)
    return outcome


def _number_results_from(store: Store, first: int) -> None:
    store.migrate()
    statement = (
        "ALTER SEQUENCE verifications_id_seq RESTART WITH :first"
        if store.engine.dialect.name == "postgresql"
        else "INSERT INTO sqlite_sequence (name, seq) VALUES ('verifications', :first - 1)"
    )
    with store.transaction(writes=True) as session:
        session.execute(text(statement.replace(":first", str(first))))


def _replay(served: Served, exchange: replay.Exchange, same: replay.Correspondence, outcome: Outcome) -> None:
    request = exchange.request
    headers = {name: value for name, value in (request.get("headers") or {}).items() if name != "user-agent"}
    headers.setdefault("accept", "*/*")
    body = same.request(request.get("body"))
    auth = request.get("auth")
    if auth is not None:
        encoded = f"Basic {base64.b64encode(auth.encode()).decode()}"
        headers["authorization"] = auth if auth.startswith("Bearer ") else encoded
    if "auth" in request and body is not None:
        headers["content-type"] = "application/json"
    sent = json.dumps(body) if isinstance(body, dict | list) else body
    answer = served.send(request["method"], same.to_ours(request["path"]), sent, headers)
    outcome.differences[exchange.key] = _compare(exchange, answer, same)
    outcome.titles[exchange.key] = exchange.title


def _compare(exchange: replay.Exchange, answer: Answer, same: replay.Correspondence) -> list[str]:
    recorded = exchange.response
    if answer.status != recorded["status"]:
        return [f"status: recorded {recorded['status']}, got {answer.status} {answer.text[:300]}"]
    if same.index is None:
        same.index = recorded["body"]
    found = []
    headers = dict(recorded["headers"])
    # These answers have no body; the recorded type of nothing is of no interest.
    names = ("location", "allow") if answer.status in (204, 406, 415) else ("location", "allow", "content-type")
    for name in names:
        one, other = headers.get(name), answer.headers.get(name)
        if name == "allow" and one is not None and other is not None:
            one, other = (", ".join(sorted(value.split(", "))) for value in (one, other))
        found += same.differences(one, other, name)
    # Pages are for people: each broker has its own.
    page = recorded["body"] == "(html left out)"
    return found if page else found + same.differences(recorded["body"] or "", answer.body or "")


class _Hooks:
    """Compares webhooks that arrived with the recorded ones; each recorded one is used once."""

    def __init__(
        self, recorded: list[dict[str, Any]], arrived: receiver.Receiver, same: replay.Correspondence, outcome: Outcome
    ) -> None:
        self._open = list(recorded)
        self._arrived = arrived
        self._seen = 0
        self._same = same
        self._outcome = outcome

    def compare(self) -> None:
        with self._arrived.arrived:
            new = self._arrived.requests[self._seen :]
            self._seen = len(self._arrived.requests)
        for got in new:
            self._compare_one(got)

    def _compare_one(self, got: receiver.Received) -> None:
        tried = []
        for index, one in enumerate(self._open):
            if one["path"] != got.path:
                continue
            found = self._differences(one, got)
            if not found:
                del self._open[index]
                return
            tried.append(found)
        closest = min(tried, key=len, default=["no recorded one is left"])
        self._note(got.path, f"came as {got.body}: {closest}")

    def _differences(self, one: dict[str, Any], got: receiver.Received) -> list[str]:
        wanted = {name.lower(): value for name, value in one["headers"].items()}
        if one["body"] in (None, "null"):
            # The reference broker sends the text null for no body, and calls it a form.
            wanted.pop("content-type", None)
            body = []
        else:
            late = one["body"].get("eventName") in _FROM_PUBLICATION if isinstance(one["body"], dict) else False
            wanted_body, got_body = (
                {key: value for key, value in body.items() if not (late and key in _OF_LATEST_RESULT)}
                if isinstance(body, dict)
                else body
                for body in (one["body"], got.body)
            )
            body = self._same.differences(wanted_body, got_body)
        headers = {name: value for name, value in got.headers.items() if name in wanted}
        return self._same.differences(wanted, headers, "header") + body

    def finish(self) -> None:
        for one in self._open:
            self._note(one["path"], f"did not come: {one['body']}")

    def _note(self, path: str, text: str) -> None:
        self._outcome.webhooks.setdefault(path, []).append(text)
