"""A server that is killed in the middle of a write leaves nothing half-written, nor does a database that is."""

import json
import threading
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, count
from typing import Any

import pytest
from sqlalchemy import func, select

from broker_lite import app
from broker_lite.store import webhooks
from broker_lite.store.engine import Store, connect
from broker_lite.store.models import Base, TriggeredWebhook, WebhookExecution, now
from services.broker_lite.tests.conftest import BACKENDS, NewStore
from services.broker_lite.tests.support import faulty, postgres
from services.broker_lite.tests.support.receiver import receive
from services.broker_lite.tests.support.server import Served, contract, pact, publication, serve

SIGKILL = 9
Rows = dict[str, list[tuple[Any, ...]]]


def _rows(store: Store) -> Rows:
    """All rows of all tables."""
    with store.transaction(writes=False) as session:
        return {
            table.name: [tuple(row) for row in session.execute(select(table).order_by(*table.primary_key.columns))]
            for table in Base.metadata.sorted_tables
        }


def _effect(before: Rows, after: Rows) -> dict[str, int]:
    """The tables that a write changed, and how many rows each had more afterwards."""
    return {name: len(after[name]) - len(before[name]) for name in after if after[name] != before[name]}


def _fill(served: Served) -> dict[str, str]:
    """Something of everything, so that each write has much to do; returns the ids that were made up on the way."""
    ok = served.ok
    places = ("test", "doomed")
    ids = {name: ok("POST", "/environments", {"name": name, "production": False})["uuid"] for name in places}
    for name in ("C", "P", "gone"):
        ok("POST", "/pacticipants", {"name": name, "mainBranch": "main"})
    ok("PUT", "/pacticipants/P/branches/main/versions/p1", {})
    for consumer, number in (("C", "1"), ("C", "2"), ("gone", "1")):
        served.publish(consumer, number, "P", f"{consumer} {number}", branch="main", tags=["t"])
        served.verify(consumer, "P", served.sha(consumer, number, "P"), "p1")
    for name in places:
        for kind in ("deployed", "released"):
            path = f"/pacticipants/P/versions/p1/{kind}-versions/environment/{ids[name]}"
            ids[f"{kind} in {name}"] = ok("POST", path, {})["uuid"]
    events = ("contract_published", "contract_requiring_verification_published", "provider_verification_published")
    for uuid in ("webhook-that-stays-0", "webhook-that-goes-00"):
        sent = {"method": "POST", "url": "http://127.0.0.1:1/nowhere"}
        ok("PUT", f"/webhooks/{uuid}", {"events": [{"name": name} for name in events], "request": sent})
    latest = ok("GET", "/pacts/provider/P/consumer/C/latest")["_links"]
    ids["results"] = latest["pb:publish-verification-results"]["href"].removeprefix(served.url)
    return ids


@dataclass(frozen=True)
class Write:
    """A request that writes."""

    handler: str
    method: str
    path: str
    body: Any = None
    every_point: bool = False


def _writes(ids: dict[str, str]) -> list[Write]:
    """Every kind of write, in an order in which each finds something to do."""
    publish = publication("C", "3", "P", "three", branch="feature", tags=["new", "test"])
    publish["contracts"].append(contract("C", "Q", "three"))
    result = {"success": True, "providerApplicationVersion": "p2", "testResults": {"tests": []}}
    own, test, pacts = "/pacticipants/P/versions/p2", ids["test"], "/pacts/provider/P/consumer/C"
    hook = {"request": {"method": "POST", "url": "http://127.0.0.1:1/x"}}
    ended, unsupported = {"currentlyDeployed": False}, {"currentlySupported": False}
    return [
        Write("publish_contracts", "POST", "/contracts/publish", publish, every_point=True),
        Write("publish_verification_result", "POST", ids["results"], result, every_point=True),
        Write("put_pact", "PUT", f"{pacts}/version/4", pact("C", "P", "new")),
        Write("put_pact", "PUT", f"{pacts}/version/4", pact("C", "P", "written over")),
        Write("merge_pact", "PATCH", f"{pacts}/version/4", pact("C", "P", "and more")),
        Write("put_branch_version", "PUT", "/pacticipants/N/branches/b/versions/1", {}),
        Write("put_tag", "PUT", "/pacticipants/P/versions/p1/tags/test", {}),
        Write("put_version", "PUT", own, {"buildUrl": "https://b"}),
        Write("patch_version", "PATCH", own, {"buildUrl": "https://c"}),
        Write("record_deployment", "POST", f"{own}/deployed-versions/environment/{test}", {"target": "x"}),
        Write("update_deployed_version", "PATCH", f"/deployed-versions/{ids['deployed in doomed']}", ended),
        Write("record_release", "POST", f"{own}/released-versions/environment/{test}", {}),
        Write("update_released_version", "PATCH", f"/released-versions/{ids['released in test']}", unsupported),
        Write("create_environment", "POST", "/environments", {"name": "new", "production": True}),
        Write("replace_environment", "PUT", f"/environments/{test}", {"name": "test", "production": True}),
        Write("create_pacticipant", "POST", "/pacticipants", {"name": "Other"}),
        Write("update_pacticipant", "PATCH", "/pacticipants/C", {"displayName": "c"}),
        Write("replace_pacticipant", "PUT", "/pacticipants/C", {"displayName": "d", "mainBranch": "main"}),
        Write("put_label", "PUT", "/pacticipants/C/labels/l", {}),
        Write("delete_label", "DELETE", "/pacticipants/C/labels/l"),
        Write("create_webhook", "POST", "/webhooks", hook),
        Write("create_scoped_webhook", "POST", "/webhooks/provider/P", hook),
        Write("put_webhook", "PUT", "/webhooks/webhook-that-stays-0", hook),
        Write("delete_webhook", "DELETE", "/webhooks/webhook-that-goes-00"),
        Write("delete_tag", "DELETE", "/pacticipants/P/versions/p1/tags/test"),
        Write("delete_branch_version", "DELETE", "/pacticipants/C/branches/feature/versions/3"),
        Write("delete_branch", "DELETE", "/pacticipants/C/branches/feature"),
        Write("delete_environment", "DELETE", f"/environments/{ids['doomed']}"),
        Write("delete_pact", "DELETE", f"{pacts}/version/2"),
        Write("delete_version", "DELETE", "/pacticipants/C/versions/1"),
        Write("delete_pact_versions", "DELETE", f"{pacts}/versions"),
        Write("delete_integration", "DELETE", "/integrations/provider/P/consumer/gone"),
        Write("delete_pacticipant", "DELETE", "/pacticipants/gone"),
    ]


HARMLESS = {"post_pacts_for_verification", "execute_webhook", "execute_unsaved_webhook", "provoke_error"}
"""These take a body and write nothing."""


def test_every_write_is_here() -> None:
    described = [one for module in app._MODULES for one in module.routes.described]
    handlers = {one.handler.__name__ for one in described if one.method != "GET"}
    ids = dict.fromkeys(
        ("test", "doomed", "results", "deployed in doomed", "released in test"),
        "",
    )
    assert {one.handler for one in _writes(ids)} == handlers - HARMLESS


@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_server_killed_in_the_middle_of_a_write(new_store: NewStore, backend: str) -> None:
    store, twin = new_store(backend), new_store(backend)
    store.migrate()
    with serve(faulty.SETTINGS, store) as served:
        ids = _fill(served)
    with serve(faulty.SETTINGS, twin) as unharmed, faulty.launcher(store) as launcher:
        twins = _writes(_fill(unharmed))
        for write, same in zip(_writes(ids), twins, strict=True):
            before = _rows(twin)
            unharmed.ok(same.method, same.path, same.body, faulty.headers(same))
            wanted = _effect(before, _rows(twin))
            assert wanted, f"{write} changes nothing, so nothing can be left half-written"
            _kill_at_many_points(launcher, store, write, wanted)


def _kill_at_many_points(launcher: faulty.Launcher, store: Store, write: Write, wanted: dict[str, int]) -> None:
    before = _rows(store)
    last = launcher.rehearse(write)
    # A database server ends the transaction of a client that is gone, wherever it was: there, some points are enough.
    every = 1 if store.engine.dialect.name == "sqlite" else 6
    early = range(every, last + 1, every) if write.every_point else [max(last // 2, 1)]
    # Then, one by one, what the rehearsal did not do: what is written at the commit, the commit, and after it.
    for point in chain(early, count(last + 1)):
        process = launcher.start(point)
        assert process.send(write) is None, f"{write} was answered before point {point}, and changed nothing"
        assert process.wait() == SIGKILL
        effect = _effect(before, _rows(store))
        if effect:
            assert point > last, f"{write} is half-written after a kill at point {point} of {last}"
            assert effect == wanted, f"{write} was committed, but not whole"
            return


@pytest.mark.postgres
def test_a_database_killed_in_the_middle_of_a_write() -> None:
    with postgres.server() as database:
        store = Store(connect(database.new_database()))
        store.migrate()
        with serve(faulty.SETTINGS, store) as served:
            ids = _fill(served)
        publish = _writes(ids)[0]
        with faulty.launcher(store) as launcher:
            before, last = _rows(store), launcher.rehearse(publish)
            # In the middle, and then until the answer is that it was done.
            for point in chain((2, last // 2), count(last + 1)):
                process = launcher.start(point, kill=database.pid)
                answer = process.send(publish)
                assert answer is not None
                database.restart()
                # The server needs no restart of its own: its next connection is a fresh one.
                assert process.served.send("GET", "/pacticipants/C").status == 200
                assert process.end() == SIGKILL
                effect = _effect(before, _rows(store))
                if answer.status == 200:
                    assert point > last
                    assert effect["pact_publications"] == 2
                    break
                assert (answer.status, list(answer.body)) == (503, ["error"])
                assert effect == {}
        store.close()


def _status(store: Store) -> str:
    with store.transaction(writes=False) as session:
        return session.scalars(select(TriggeredWebhook.status)).one()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_server_killed_in_the_middle_of_a_delivery(new_store: NewStore, backend: str) -> None:
    """Whenever it dies: the delivery is made by the next server, and no attempt is half-recorded."""
    store = new_store(backend)
    store.migrate()
    with receive() as receiver, faulty.launcher(store) as launcher:
        with serve(faulty.SETTINGS, store) as served:
            sent = {"method": "POST", "url": f"http://{receiver.address}/hook", "body": {"v": "1"}}
            hook = {"events": [{"name": "contract_published"}], "request": sent}
            served.ok("PUT", "/webhooks/webhook-of-the-faults", hook)
            served.publish("C", "1", "P")
        point, deaths, status = 0, 0, webhooks.NOT_RUN
        while status != webhooks.SUCCESS:
            assert status == webhooks.NOT_RUN
            point, deaths = point + (1 if backend == "sqlite" else 3), deaths + 1
            process = launcher.start(point, deliver=True)
            pause = threading.Event()
            while process.runs() and _status(store) != webhooks.SUCCESS:
                pause.wait(0.02)
            assert process.end() == SIGKILL
            with store.transaction(writes=True) as session:
                row = session.scalars(select(TriggeredWebhook)).one()
                recorded = session.scalar(select(func.count()).select_from(WebhookExecution))
                assert (row.attempts_made, recorded) in ((0, 0), (1, 1))
                status = row.status
                # Ninety seconds later.
                row.claimed_until = now() - timedelta(seconds=1) if row.claimed_until is not None else None
        assert deaths > 4
        assert 1 <= len(receiver.requests) <= deaths
        assert {json.dumps(one.body) for one in receiver.requests} == {'{"v": "1"}'}
