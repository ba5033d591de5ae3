"""Transactions, concurrency, migrations and the number of queries, on both databases."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Boolean, Column, DateTime, Integer, MetaData, event, func, insert, inspect, select, text

from broker_lite import app
from broker_lite.config import Settings
from broker_lite.http import routes_pages
from broker_lite.store import engine as store_engine
from broker_lite.store import pacticipants, versions
from broker_lite.store.engine import Store, StoreUnavailableError, connect
from broker_lite.store.models import (
    Base,
    Branch,
    BranchVersion,
    DeployedVersion,
    Pacticipant,
    PactPublication,
    PactVersion,
    Tag,
    Version,
    Webhook,
    now,
)
from services.broker_lite.tests.conftest import BACKENDS, NewStore
from services.broker_lite.tests.support.fill import ENVIRONMENT, consumer, content_sha, fill, provider
from services.broker_lite.tests.support.server import Answer, Served, contract, publication, serve


def _count(store: Store, table: type[Base], *criteria: Any) -> int:
    with store.transaction(writes=False) as session:
        return session.scalar(select(func.count()).select_from(table).where(*criteria)) or 0


def _together(*calls: Callable[[], Answer]) -> list[Answer]:
    """Make calls at the same moment."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Answer]) -> Answer:
        barrier.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(run, call) for call in calls]]


@contextlib.contextmanager
def _another(served: Served) -> Iterator[Served]:
    """A second server on the same Postgres; SQLite is given to one server only."""
    if served.store.engine.dialect.name == "sqlite":
        yield served
        return
    store = Store(connect(served.store.engine.url.render_as_string(hide_password=False)))
    with serve(served.settings, store) as other:
        yield other
    store.close()


def test_concurrent_publishes_of_one_version_store_it_once(served: Served) -> None:
    body = publication("C", "1", "P", "same", branch="main", tags=["t"])
    answers = _together(*[lambda: served.send("POST", "/contracts/publish", body)] * 6)
    assert {answer.status for answer in answers} == {200}
    for table in (Version, PactVersion, PactPublication):
        assert _count(served.store, table) == 1
    assert _count(served.store, Pacticipant) == 2


def test_of_concurrent_different_contents_one_wins(served: Served) -> None:
    answers = _together(
        *[
            lambda i=i: served.send("POST", "/contracts/publish", publication("C", "1", "P", f"content {i}"))
            for i in range(5)
        ]
    )
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409]
    assert _count(served.store, PactPublication) == 1
    assert _count(served.store, PactVersion) == 1


def test_of_concurrent_resembling_names_one_is_accepted(served: Served) -> None:
    names = ["order-api", "orders", "OrderService", "order_provider"]
    answers = _together(
        *[lambda name=name: served.send("POST", "/contracts/publish", publication(name, "1", "P")) for name in names]
    )
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]


def test_concurrent_deployments_leave_one_running(served: Served) -> None:
    environment = served.ok("POST", "/environments", {"name": "test", "production": False})["uuid"]
    for number in range(5):
        served.ok("PUT", f"/pacticipants/P/branches/main/versions/{number}", {})
    answers = _together(
        *[
            lambda n=n: served.send(
                "POST", f"/pacticipants/P/versions/{n}/deployed-versions/environment/{environment}", {}
            )
            for n in range(5)
        ]
    )
    assert {answer.status for answer in answers} == {201}
    assert _count(served.store, DeployedVersion) == 5
    assert _count(served.store, DeployedVersion, DeployedVersion.undeployed_at.is_(None)) == 1


def test_concurrent_new_environments_of_one_name(served: Served) -> None:
    body = {"name": "test", "production": False}
    answers = _together(*[lambda: served.send("POST", "/environments", body)] * 4)
    assert sorted(answer.status for answer in answers) == [201, 400, 400, 400]


def test_concurrent_publishes_of_one_content_store_it_once(served: Served) -> None:
    """The same content by several consumer versions, through two servers where the database can be shared."""
    with _another(served) as other:
        sides = (served, other)
        answers = _together(
            *[
                lambda n=n: sides[n % 2].send(
                    "POST", "/contracts/publish", publication("C", str(n), "P", "same", branch="main", tags=["t"])
                )
                for n in range(8)
            ]
        )
    assert {answer.status for answer in answers} == {200}
    assert _count(served.store, PactVersion) == 1
    assert (_count(served.store, Version), _count(served.store, PactPublication)) == (8, 8)
    assert (_count(served.store, Branch), _count(served.store, Tag)) == (1, 8)


def test_concurrent_results_for_one_pair_are_all_kept(served: Served) -> None:
    served.publish("C", "1", "P")
    path = f"/pacts/provider/P/consumer/C/pact-version/{served.sha('C', '1', 'P')}/verification-results"
    with _another(served) as other:
        sides = (served, other)
        answers = _together(
            *[
                lambda n=n: sides[n % 2].send(
                    "POST", path, {"success": n % 2 == 0, "providerApplicationVersion": f"p{n % 3}"}
                )
                for n in range(9)
            ]
        )
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body["_links"]["self"]["href"].rpartition("/")[2] for answer in answers}) == 9
    assert _count(served.store, Version) == 1 + 3
    rows = served.ok("GET", "/matrix?q[][pacticipant]=P&latestby=cvpv")["matrix"]
    # The latest of each provider version is that with the highest number, whoever was answered last.
    latest = {
        answer.body["providerApplicationVersion"]: answer.body["success"]
        for answer in sorted(answers, key=lambda one: int(one.body["_links"]["self"]["href"].rpartition("/")[2]))
    }
    assert {row["provider"]["version"]["number"]: row["verificationResult"]["success"] for row in rows} == latest


def test_concurrent_writes_of_one_thing(served: Served) -> None:
    """Whatever two may create at once is created once."""
    hook = {"request": {"method": "POST", "url": "https://x"}}
    with _another(served) as other:

        def six(method: str, path: str, body: Any) -> set[int]:
            calls = [lambda side=side: side.send(method, path, body) for side in (served, other) * 3]
            return {answer.status for answer in _together(*calls)}

        for path in ("branches/main/versions/1", "versions/1/tags/t", "versions/1"):
            assert six("PUT", f"/pacticipants/P/{path}", {}) <= {200, 201}
        assert six("POST", "/pacticipants", {"name": "P"}) == {201}
        assert six("PUT", "/webhooks/webhook-of-everybody", hook) <= {200, 201}
    for table, number in ((Pacticipant, 1), (Version, 1), (Branch, 1), (BranchVersion, 1), (Tag, 1), (Webhook, 1)):
        assert _count(served.store, table) == number, table


def test_publishing_while_everything_is_deleted(served: Served) -> None:
    """Each is done before or after the other, never in part."""

    def publish(number: str) -> Callable[[], Answer]:
        return lambda: served.send("POST", "/contracts/publish", publication("C", number, "P", number, tags=["t"]))

    def delete(path: str) -> Callable[[], Answer]:
        return lambda: served.send("DELETE", path)

    def verify(sha: str) -> Callable[[], Answer]:
        path = f"/pacts/provider/P/consumer/C/pact-version/{sha}/verification-results"
        return lambda: served.send("POST", path, {"success": True, "providerApplicationVersion": "p1"})

    for turn in range(5):
        served.publish("C", "1", "P", "old", branch="main")
        sha, number = served.sha("C", "1", "P"), f"2 of {turn}"
        pacts = "/pacts/provider/P/consumer/C/versions"
        answers = _together(delete("/pacticipants/C"), publish(number), publish(number), verify(sha), delete(pacts))
        assert {answer.status for answer in answers} <= {200, 201, 204, 404}, [answer.text for answer in answers]
        # What is left can be shown, and each content belongs to a publication.
        for path in ("/dashboard", "/integrations", "/pacts/latest", "/pacticipants"):
            served.ok("GET", path)
        used = PactVersion.id.in_(select(PactPublication.pact_version_id))
        assert _count(served.store, PactVersion, ~used) == 0


def test_publishing_is_all_or_nothing(served: Served) -> None:
    served.publish("C", "1", "P2", "first")
    body = publication("C", "1", "P1", "new", branch="feature", tags=["t"])
    body["contracts"].append(contract("C", "P2", "changed"))
    answer = served.send("POST", "/contracts/publish", body)
    assert answer.status == 409
    assert "Cannot change the content of the pact for C version 1 and provider P2" in answer.text
    assert served.send("GET", "/pacts/provider/P1/consumer/C/version/1").status == 404
    assert served.send("GET", "/pacticipants/P1").status == 404
    assert served.ok("GET", "/pacticipants/C/versions/1")["_embedded"] == {"branchVersions": [], "tags": []}


def test_deleting_a_pacticipant_takes_everything_with_it(served: Served) -> None:
    served.publish("C", "1", "P", branch="main", tags=["t"])
    served.verify("C", "P", served.sha("C", "1", "P"), "p1")
    served.ok("PUT", "/pacticipants/C/labels/l", {})
    assert served.send("DELETE", "/pacticipants/C").status == 204
    with served.store.transaction(writes=False) as session:
        left = {
            table.name: session.scalar(select(func.count()).select_from(table)) for table in Base.metadata.sorted_tables
        }
    assert {name: number for name, number in left.items() if number} == {"pacticipants": 1, "versions": 1}


def test_ids_are_never_used_again(served: Served) -> None:
    served.ok("PUT", "/pacticipants/P/versions/1", {})
    served.ok("PUT", "/pacticipants/P/versions/2", {})
    with served.store.transaction(writes=False) as session:
        last = session.scalar(select(func.max(Version.id))) or 0
    assert served.send("DELETE", "/pacticipants/P/versions/2").status == 204
    served.ok("PUT", "/pacticipants/P/versions/3", {})
    with served.store.transaction(writes=False) as session:
        assert (session.scalar(select(func.max(Version.id))) or 0) > last


_MIGRATE = "import sys; from broker_lite.store.engine import Store, connect; Store(connect(sys.argv[1])).migrate()"


@pytest.mark.parametrize("backend", BACKENDS)
def test_servers_that_start_together_migrate_once(new_store: NewStore, backend: str) -> None:
    store = new_store(backend)
    url = store.engine.url.render_as_string(hide_password=False)
    source = str(Path(store_engine.__file__).parents[2])
    environ = {**os.environ, "PYTHONPATH": source}
    servers = [subprocess.Popen([sys.executable, "-c", _MIGRATE, url], env=environ) for _ in range(4)]
    assert [server.wait(120) for server in servers] == [0, 0, 0, 0]
    assert "pact_publications" in inspect(store.engine).get_table_names()


def _revisions() -> list[str]:
    """All revisions, oldest first."""
    scripts = ScriptDirectory.from_config(store_engine.alembic_config())
    return [one.revision for one in reversed(list(scripts.walk_revisions()))]


def _upgrade(store: Store, revision: str) -> None:
    with store.engine.connect() as connection:
        configuration = store_engine.alembic_config()
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, revision)
        connection.commit()


def _filler(column: "Column[Any]", number: int) -> Any:
    """A value for the `number`-th row."""
    if column.foreign_keys or isinstance(column.type, Integer):
        return number
    if isinstance(column.type, Boolean):
        return True
    if isinstance(column.type, DateTime):
        return datetime(2026, 1, number, tzinfo=UTC)
    if isinstance(column.type, JSON):
        return {"number": number}
    return f"{column.name} {number}"


def _fill_tables(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Put two rows into every table that there is at this revision, whatever it is; returns all rows."""
    metadata = MetaData()
    metadata.reflect(store.engine)
    with store.engine.begin() as connection:
        for table in metadata.sorted_tables:
            if table.name != "alembic_version":
                rows = [{one.name: _filler(one, number) for one in table.columns} for number in (1, 2)]
                connection.execute(table.insert(), rows)
    return _all_rows(store)


def _all_rows(store: Store) -> dict[str, list[dict[str, Any]]]:
    metadata = MetaData()
    metadata.reflect(store.engine)
    with store.engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in metadata.sorted_tables
            if table.name != "alembic_version"
        }


@pytest.mark.parametrize("revision", _revisions())
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_store_filled_at_any_revision_moves_forward(new_store: NewStore, backend: str, revision: str) -> None:
    store = new_store(backend)
    _upgrade(store, revision)
    before = _fill_tables(store)
    assert len(before) >= 15
    store.migrate()
    after = _all_rows(store)
    for name, rows in before.items():
        kept = [{key: row[key] for key in rows[0] if key in row} for row in after[name]]
        assert kept == rows, f"{name} at {revision}"
    store.migrate()
    assert _all_rows(store) == after, "at the newest revision there is nothing to do"


def test_migrating_a_filled_store_keeps_it(served: Served) -> None:
    served.publish("C", "1", "P", "content")
    sha = served.sha("C", "1", "P")
    served.store.migrate()
    assert served.sha("C", "1", "P") == sha


@pytest.mark.filterwarnings("ignore:.*uq_deployed_versions_current")
def test_migrations_lead_to_the_tables_of_the_models(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, Base.metadata)
    # An index on an expression cannot be read back from SQLite, so it cannot be compared there.
    assert [one for one in differences if "uq_deployed_versions_current" not in str(one)] == []


def test_a_store_that_cannot_be_opened_is_named() -> None:
    store = Store(connect("sqlite:////nowhere/at/all.db"))
    with pytest.raises(StoreUnavailableError, match=r"/nowhere/at/all\.db"):
        store.migrate()


@contextlib.contextmanager
def _counted(store: Store) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(store.engine, "before_cursor_execute", note)


QUERIES = {
    "/matrix": "q[][pacticipant]=P&q[][version]=p1&latestby=cvpv&environment=test",
    "/can-i-deploy": "pacticipant=C0&version=1&environment=test",
}
"""What a route needs to be asked at all."""
MORE_READS = [
    ("/matrix?q[][pacticipant]=P&q[][version]=p1&latestby=cvpv", None),
    ("/matrix?q[][pacticipant]=C0&q[][pacticipant]=P", None),
    (
        "/pacts/provider/P/for-verification",
        {
            "providerVersionBranch": "main",
            "includeWipPactsSince": "2020-01-01",
            "consumerVersionSelectors": [{"mainBranch": True}, {"deployedOrReleased": True}, {"latest": True}],
        },
    ),
    (
        "/pacts/provider/P/for-verification",
        {"providerVersionTags": ["p"], "consumerVersionSelectors": [{"tag": "t1"}, {"branch": True}]},
    ),
    ("/pacts/provider/P/for-verification", {}),
]


def _reads(known: dict[str, str]) -> list[tuple[str, str, Any, str]]:
    """A request to every route that reads, and to every page: method, path, body, Accept header."""
    routes = [one for module in app._MODULES for one in module.routes.described]
    # One route fails on purpose.
    found = [("GET", one.path, None, "*/*") for one in routes if one.method == "GET" and one.path != "/test/error"]
    found += [("GET", path, None, "text/html") for _, path, _ in routes_pages.pages.described]
    filled = []
    for method, path, body, accept in found:
        tail = f"?{QUERIES[path]}" if path in QUERIES else ""
        names = known | ({"number": "1"} if path.startswith("/verification-results") else {})
        if "/verification-results/{number}" not in path:
            names |= {"number": "1"}
        if path.startswith("/pacticipants/{pacticipant}/") and "can-i-deploy" in path:
            names |= {"environment": "test", "target": "t1"}
        if path == "/matrix" and accept == "text/html":
            tail += "&limit=50"
        kind = "/" + path.split("/")[1]
        names |= {"uuid": names[kind]} if kind in names else {}
        filled.append((method, path.format_map(names) + tail, body, accept))
    return filled + [("GET" if body is None else "POST", path, body, "*/*") for path, body in MORE_READS]


def _fill(served: Served, environment: str, start: int, end: int) -> None:
    for index in range(start, end):
        name = f"C{index}"
        for number in ("1", "2") if start == 0 else ("1", "2", "3", "4"):
            served.publish(name, number, "P", f"{index} {number}", branch="main", tags=[f"t{number}"])
            served.verify(name, "P", served.sha(name, number, "P"), f"p{number}")
        path = f"/pacticipants/{name}/versions/1/deployed-versions/environment/{environment}"
        served.ok("POST", path, {})


def test_the_number_of_queries_of_every_read_does_not_grow_with_the_store(served: Served) -> None:
    environment = served.ok("POST", "/environments", {"name": "test", "production": False})["uuid"]
    request = {"method": "POST", "url": "https://ci.example.com/"}
    webhook = {"request": request, "events": [{"name": "contract_published"}]}
    hook = served.ok("POST", "/webhooks", webhook)["_links"]["self"]["href"].rsplit("/", 1)[1]
    served.publish("C0", "0", "P", "without a tag")
    _fill(served, environment, 0, 2)
    served.ok("PUT", "/pacticipants/P/branches/main/versions/p1", {})
    served.ok("PUT", "/pacticipants/P/versions/p1/tags/p", {})
    served.ok("PUT", "/pacticipants/C0/labels/l", {})
    deployed = f"/environments/{environment}/deployed-versions/currently-deployed"
    released = served.ok("POST", f"/pacticipants/C0/versions/1/released-versions/environment/{environment}", {})["uuid"]
    deliveries = "/pacts/provider/P/consumer/C0/version/1/triggered-webhooks"
    logs = served.ok("GET", deliveries)["_embedded"]["triggeredWebhooks"][0]["_links"]["logs"]["href"]
    sha, other = served.sha("C0", "1", "P"), served.sha("C0", "2", "P")
    result = served.ok("GET", f"/pacts/provider/P/consumer/C0/pact-version/{sha}/verification-results/latest")
    known = {
        "pacticipant": "C0", "consumer": "C0", "provider": "P", "version": "1", "branch": "main", "tag": "t1",
        "label": "l", "sha": sha, "other": other, "metadata": "e30", "environment": environment,
        "number": result["_links"]["self"]["href"].rsplit("/", 1)[1],
        "/webhooks": hook, "/triggered-webhooks": logs.split("/")[-2], "/released-versions": released,
        "/deployed-versions": served.ok("GET", deployed)["_embedded"]["deployedVersions"][0]["uuid"],
    }  # fmt: skip
    reads = _reads(known)

    def counts() -> dict[tuple[str, str, str], int]:
        result = {}
        for method, path, body, accept in reads:
            with _counted(served.store) as statements:
                answer = served.send(method, path, body, {"accept": accept, "content-type": "application/json"})
            assert answer.status in (200, 307), f"{method} {path}: {answer.status} {answer.text[:300]}"
            result[method, f"{path} {body}", accept] = len(statements)
        return result

    few = counts()
    assert len(few) > 90
    _fill(served, environment, 2, 8)
    served.publish("C0", "3", "P", "more")
    served.verify("C0", "P", served.sha("C0", "3", "P"), "p3")
    assert counts() == few


def test_characters_that_a_database_cannot_keep_are_no_error_of_the_server(served: Served) -> None:
    for method, path, body in (
        ("GET", "/pacticipants/a%00b", None),
        ("PUT", "/pacticipants/a%00b/versions/1", {}),
        ("POST", "/pacticipants", {"name": "a", "displayName": "x\0y"}),
        ("GET", "/pacts/provider/%ff/latest", None),
        ("GET", "/matrix?q[][pacticipant]=%00&q[][version]=%ff", None),
    ):
        assert served.send(method, path, body).status < 500, path
    result = {"success": False, "providerApplicationVersion": "p", "testResults": [{"message": "a\0b"}]}
    served.publish("C", "1", "P")
    path = f"/pacts/provider/P/consumer/C/pact-version/{served.sha('C', '1', 'P')}/verification-results"
    shown = served.ok("POST", path, result)
    assert shown["testResults"] == result["testResults"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_filled_store_moves_forward(new_store: NewStore, backend: str) -> None:
    """From the first form of the tables to the current one, with rows in them."""
    store = new_store(backend)
    with store.engine.execution_options(writes=True).connect() as connection, connection.begin():
        configuration = store_engine.alembic_config()
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "0001")
    moment = now()
    at = {"created_at": moment, "updated_at": moment}
    with store.engine.execution_options(writes=True).begin() as connection:
        for identifier, name in ((1, "C"), (2, "P")):
            connection.execute(insert(Pacticipant).values(id=identifier, name=name, **at))
            connection.execute(insert(Version).values(id=identifier, pacticipant_id=identifier, number="1", **at))
            connection.execute(
                text("INSERT INTO tags (version_id, name, created_at, updated_at) VALUES (:id, 'prod', :at, :at)"),
                {"id": identifier, "at": moment},
            )
    store.migrate()
    store.migrate()
    with store.transaction(writes=False) as session:
        tags = session.execute(select(Tag.version_id, Tag.pacticipant_id, Tag.name).order_by(Tag.version_id)).all()
        assert [tuple(tag) for tag in tags] == [(1, 1, "prod"), (2, 2, "prod")]
        assert versions.latest(session, "P", "prod") is not None
    with store.transaction(writes=True) as session:
        pacticipants.remove(session, session.get_one(Pacticipant, 1))
    assert _count(store, Tag) == 1


class _Work:
    """Counts the steps of SQLite's virtual machine: what a question costs, whatever else the machine does."""

    GRAIN = 100

    def __init__(self, store: Store) -> None:
        self.steps = 0
        event.listen(store.engine, "connect", self._connected)
        store.engine.dispose()

    def _connected(self, connection: Any, _record: Any) -> None:
        connection.set_progress_handler(self._step, self.GRAIN)

    def _step(self) -> int:
        self.steps += self.GRAIN
        return 0


def test_no_question_costs_more_for_a_long_history(tmp_path: Path) -> None:
    found: dict[int, dict[str, int]] = {}
    for size in (1_000, 10_000):
        store = Store(connect(f"sqlite:///{tmp_path}/{size}.db"))
        store.migrate()
        made = fill(store, size)
        last, own = made.newest_provider_version, made.newest_consumer_version
        one, changing, other = consumer(0), consumer(1), provider(0)
        result = f"/pacts/provider/{other}/consumer/{one}/pact-version/{content_sha(0, 0)}/verification-results"
        asked = {"providerVersionBranch": "new", "consumerVersionSelectors": [{"mainBranch": True}, {"deployed": True}]}
        calls: list[tuple[str, str, Any]] = [
            (
                "GET",
                f"/matrix?q[][pacticipant]={one}&q[][version]={own}&q[][pacticipant]={other}&q[][version]={last}",
                None,
            ),
            ("GET", f"/can-i-deploy?pacticipant={one}&version={own}&environment={ENVIRONMENT}", None),
            ("GET", f"/can-i-deploy?pacticipant={other}&version={last}&environment={ENVIRONMENT}", None),
            ("GET", f"/pacticipants/{other}/versions/{last}", None),
            ("GET", f"/pacts/provider/{other}/consumer/{changing}/latest", None),
            ("POST", f"/pacts/provider/{other}/for-verification", {**asked, "providerVersionBranch": "main"}),
            ("POST", f"/pacts/provider/{other}/for-verification", asked),
            ("POST", result, {"success": True, "providerApplicationVersion": "new"}),
            ("POST", "/contracts/publish", publication(changing, "new", other, branch="main", tags=["main"])),
        ]
        work = _Work(store)
        with serve(Settings(database_url=""), store) as served:
            found[size] = {}
            for method, path, body in calls:
                before = work.steps
                served.ok(method, path, body)
                found[size][f"{method} {path.replace(last, 'N').replace(own, 'N')} {body}"[:200]] = work.steps - before
        store.close()
    few, many = (list(one.values()) for one in found.values())
    assert len(few) == len(many) == 9
    grown = {
        name: (one, other) for name, one, other in zip(found[1_000], few, many, strict=True) if other > 2 * one + 2_000
    }
    assert list(grown) == []
