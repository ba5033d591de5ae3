"""Brokers, Secrets and hooks that mean harm: bounded, never followed elsewhere, and no secret is ever told."""

import json
import logging
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import httpx
import pytest

from pact_operator.adapters import cluster as cluster_adapter
from pact_operator.adapters.brokers import BrokerThreads
from pact_operator.api import names
from pact_operator.api.v1alpha1 import PactBroker
from pact_operator.core.facts import Key, Settings, Trouble
from pact_operator.core.selectors import effective
from pact_operator.engine.queue import KeyedQueue
from pact_operator.engine.reconciler import Reconciler
from pact_operator.handlers.hooks import MAX_BODY, create_app
from pact_operator.hooktoken import HookToken
from pact_operator.metrics import Metrics
from pact_operator.ports import BrokerFailureError
from services.operator.tests.edge.conftest import FakeClock, Looks, World

MARKER = "s3cr3t-marker"
Handler = Callable[[socket.socket, str], None]


class RawServer:
    """Speaks whatever it is told to, byte by byte, and remembers the first line of every request."""

    def __init__(self, answer: Handler) -> None:
        self.seen: list[str] = []
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with closing(connection):
            head = b""
            while b"\r\n\r\n" not in head and (chunk := connection.recv(65536)):
                head += chunk
            if not head:
                return
            line = head.split(b"\r\n", 1)[0].decode("latin-1")
            self.seen.append(line)
            with suppress(OSError):
                self._answer(connection, line)

    def close(self) -> None:
        self.closing.set()
        # A thread that waits in accept() is not woken by close() alone.
        with socket.socket() as knock:
            knock.connect(self._socket.getsockname())
        self._socket.close()
        self._thread.join(10)


def http_answer(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def says(value: Any) -> Handler:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda connection, _line: connection.sendall(http_answer(body))


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], RawServer]]:
    started: list[RawServer] = []

    def start(answer: Handler) -> RawServer:
        started.append(RawServer(answer))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def secrets() -> dict[str, dict[str, str]]:
    return {}


@pytest.fixture
def brokers(secrets: dict[str, dict[str, str]]) -> Iterator[BrokerThreads]:
    async def read(_namespace: str, name: str) -> dict[str, str] | None:
        return secrets.get(name)

    made = BrokerThreads(read, lambda: "the-hook-token", timeout=0.5, patience=8.0)
    yield made
    made.close()


def pact_broker(url: str, **spec: Any) -> PactBroker:
    meta = {"name": "main", "namespace": "team", "uid": "u", "generation": 1}
    parsed = PactBroker.parse({"metadata": meta, "spec": {"url": url, **spec}})
    assert isinstance(parsed, PactBroker)
    return parsed


async def every_question(brokers: BrokerThreads, broker: PactBroker) -> dict[str, BrokerFailureError | None]:
    """Asks all that the operator ever asks a broker; any other error than the port's fails the test."""

    async def contracts() -> Any:
        return await brokers.contracts(
            broker, "users", effective(()), branch="main", enable_pending=True, wip_since=None
        )

    questions: dict[str, Callable[[], Any]] = {
        "check": lambda: brokers.check(broker),
        "fingerprint": lambda: brokers.fingerprint(broker),
        "contracts": contracts,
        "results": lambda: brokers.results(broker, "users", "1"),
        "in_use": lambda: brokers.in_use(broker),
        "deployed": lambda: brokers.deployed(broker, "test"),
        "has_version": lambda: brokers.has_version(broker, "users", "1"),
        "record_deployment": lambda: brokers.record_deployment(broker, "users", "1", "test", None),
        "record_undeployment": lambda: brokers.record_undeployment(broker, "0123"),
        "environments": lambda: brokers.environments(broker),
        "ensure_environment": lambda: brokers.ensure_environment(broker, "test", None, False),
        "webhook": lambda: brokers.webhook(broker, "pact-operator-0123456789"),
        "put_webhook": lambda: brokers.put_webhook(broker, "pact-operator-0123456789", {"request": {}}),
        "delete_webhook": lambda: brokers.delete_webhook(broker, "pact-operator-0123456789"),
    }
    found: dict[str, BrokerFailureError | None] = {}
    for name, question in questions.items():
        try:
            await question()
        except BrokerFailureError as error:
            found[name] = error
        else:
            found[name] = None
    return found


# --- brokers ---------------------------------------------------------------------------------------------------------


async def test_no_link_of_a_broker_leads_to_another_host(
    serve: Callable[[Handler], RawServer], brokers: BrokerThreads, secrets: dict[str, dict[str, str]]
) -> None:
    other = serve(says({}))
    secrets["read"] = {"token": MARKER}

    def answer(connection: socket.socket, line: str) -> None:
        link = f"{other.url}/pacts/provider/users/consumer/web/pact-version/a1"
        row = {
            "consumer": {"name": "web", "version": {"number": "1"}},
            "provider": {"name": "users", "version": {"number": "1"}},
            "verificationResult": {
                "success": False,
                "verifiedAt": "2026",
                "_links": {"self": {"href": f"{link}/verification-results/1"}},
            },
        }
        bodies = {
            "/metrics": {"_links": {"self": {"href": other.url}}},
            "/pacts/provider/users/for": {"_embedded": {"pacts": [{"_links": {"self": {"href": link}}}]}},
            "/matrix": {"summary": {}, "matrix": [row]},
            "/pacts/": {"success": False, "providerApplicationVersion": "1", "_links": {"self": {"href": link}}},
            "/environments": {"_embedded": {"environments": [{"uuid": f"{other.url}/x", "name": "e"}]}},
        }
        path = line.split(" ")[1]
        body = next((value for start, value in bodies.items() if path.startswith(start)), {"_links": {"pb:x": {}}})
        connection.sendall(http_answer(json.dumps(body).encode()))

    server = serve(answer)
    one = pact_broker(server.url, auth={"readSecretRef": {"name": "read"}})
    await every_question(brokers, one)
    [contract] = await brokers.contracts(one, "users", (), branch=None, enable_pending=False, wip_since=None)
    [result] = (await brokers.results(one, "users", "1")).values()
    assert contract.url.startswith(server.url)
    assert result.url.startswith(server.url)
    assert any("/verification-results/1" in line for line in server.seen), "the detail was fetched, from the broker"
    assert other.seen == []


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_no_redirect_leads_to_another_host(
    serve: Callable[[Handler], RawServer], brokers: BrokerThreads, status: str
) -> None:
    other = serve(says({"_links": {"pb:x": {}}}))
    location = f"Location: {other.url}/\r\n"
    server = serve(lambda connection, _: connection.sendall(http_answer(b"{}", status, location)))
    for name, error in (await every_question(brokers, pact_broker(server.url))).items():
        assert error is not None, name
        assert error.failure.trouble is Trouble.NOT_A_BROKER
    assert other.seen == []


def endless(connection: socket.socket, _line: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    while True:
        connection.sendall(chunk)


def endless_header(connection: socket.socket, _line: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: " + b"a" * 60000 + b"\r\n")


def hundred_megabytes(connection: socket.socket, _line: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b"[" * 1_000_000)


def trickle(connection: socket.socket, _line: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    connection.settimeout(0.1)
    while True:
        connection.sendall(b" ")
        try:
            if not connection.recv(1):
                return
        except TimeoutError:
            pass


def nothing(connection: socket.socket, _line: str) -> None:
    connection.recv(1)


@pytest.mark.parametrize("answer", [endless, endless_header, hundred_megabytes, trickle, nothing])
async def test_an_answer_without_end_ends_all_the_same(
    serve: Callable[[Handler], RawServer], brokers: BrokerThreads, monkeypatch: pytest.MonkeyPatch, answer: Handler
) -> None:
    monkeypatch.setattr("pact_operator.adapters.brokers._MAX_BODY_BYTES", 4 * 1024 * 1024)
    server = serve(answer)
    tracemalloc.start()
    try:
        with pytest.raises(BrokerFailureError) as caught:
            await brokers.check(pact_broker(server.url))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.failure.trouble in (Trouble.UNAVAILABLE, Trouble.NOT_A_BROKER)
    assert peak < 32 * 1024 * 1024


def nested(levels: int) -> bytes:
    return b'{"_links":' * levels + b"1" + b"}" * levels


ODD: dict[str, Any] = {
    "nothing": b"",
    "no JSON": b"<html>",
    "binary": bytes(range(256)) * 100,
    "a list": [1, 2],
    "a text": "x",
    "null": None,
    "deep": nested(100_000),
    "nearly too deep": nested(900),
    "deep within": b'{"matrix":'
    + b"[" * 900
    + b"]" * 900
    + b',"summary":{},"errors":'
    + b"[" * 900
    + b"]" * 900
    + b"}",
    "wrong types": {
        "_links": [],
        "_embedded": {"pacts": [1, None, {"_links": "x"}], "environments": {"a": 1}},
        "summary": 7,
        "matrix": {},
        "notices": 3,
    },
    "links that are none": {
        "_links": {"pb:x": {"href": 5}},
        "_embedded": {
            "pacts": [{"_links": {"self": {"href": "http://[::bad/pacts"}}}],
            "environments": [{"uuid": "..", "name": "e"}],
        },
        "summary": {},
        "matrix": [
            {
                "consumer": {"name": "c", "version": {"number": "1"}},
                "provider": {"name": "users", "version": {"number": "1"}},
                "verificationResult": {"success": True, "_links": {"self": {"href": "http://[::bad"}}},
            }
        ],
    },
    "half characters": {
        "_links": {"pb:\ud800": {}},
        "_embedded": {
            "pacts": [{"_links": {"self": {"href": "http://h/pacts/provider/p/consumer/\ud800/pact-version/\udfff"}}}],
            "environments": [{"uuid": "\ud800", "name": "\ud800"}],
        },
        "errors": ["\ud800\x00\x1b[2J"],
        "\ud800": 1,
    },
    "huge numbers": b'{"_links":{"pb:x":1},"count":1' + b"0" * 10_000 + b"}",
    "not a number": b'{"_links":{"pb:x":1},"count":NaN,"b":Infinity}',
}


@pytest.mark.parametrize(
    "status", ["200 OK", "400 Bad", "401 No", "404 Not Found", "409 Conflict", "500 Oops", "204 None"]
)
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
async def test_any_answer_is_an_answer_or_a_failure_in_one_line(
    serve: Callable[[Handler], RawServer], brokers: BrokerThreads, odd: Any, status: str
) -> None:
    body = odd if isinstance(odd, bytes) else json.dumps(odd).encode()
    server = serve(lambda connection, _: connection.sendall(http_answer(body, status)))
    for error in (await every_question(brokers, pact_broker(server.url))).values():
        if error is not None:
            assert len(error.failure.message) < 2000
            assert "\n" not in error.failure.message
            assert "\x1b" not in error.failure.message


# --- secrets ---------------------------------------------------------------------------------------------------------

ODD_SECRETS: dict[str, dict[str, str]] = {
    "line break in the token": {"token": f"{MARKER}\r\nHost: evil"},
    "token beyond Latin 1": {"token": f"{MARKER}€"},
    "token with half a character": {"token": f"{MARKER}\ud800"},
    "token with a null": {"token": f"{MARKER}\x00"},
    "long token": {"token": MARKER * 10_000},
    "line break in the name": {"username": f"{MARKER}\nX: y", "password": MARKER},
    "password of any characters": {"username": "me", "password": f"{MARKER}€\x00\ud800\n{MARKER}"},
    "colon in the name": {"username": f"a:{MARKER}", "password": MARKER},
    "only a password": {"password": MARKER},
    "other keys": {"passwd": MARKER},
}


@pytest.mark.parametrize("status", ["200 OK", "401 No", "500 Oops", "302 Found"])
@pytest.mark.parametrize("secret", ODD_SECRETS.values(), ids=ODD_SECRETS.keys())
async def test_no_credential_is_told_whatever_goes_wrong(
    serve: Callable[[Handler], RawServer],
    brokers: BrokerThreads,
    secrets: dict[str, dict[str, str]],
    caplog: pytest.LogCaptureFixture,
    secret: dict[str, str],
    status: str,
) -> None:
    """A whole look at a PactBroker and a PactProvider, everything that it writes, logs or raises."""
    caplog.set_level(logging.DEBUG)
    secrets["read"] = secret
    server = serve(lambda connection, _: connection.sendall(http_answer(b'{"errors": ["no"]}', status)))
    world, clock = World(), FakeClock()
    auth = {"readSecretRef": {"name": "read"}, "writeSecretRef": {"name": "read"}}
    key = world.put(names.BROKER, "main", {"url": server.url, "auth": auth, "webhook": {"enabled": True}})
    spec = {"brokerRef": {"name": "main"}, "pacticipant": "users", "version": {"value": "1"}}
    users = world.put(names.PROVIDER, "users", {**spec, "target": {"service": {"name": "users"}}})
    told: list[Any] = []

    async def event(key: Key, uid: str, type_: str, reason: str, message: str) -> None:
        told.append((reason, message))

    world.event = event  # type: ignore[method-assign]
    reconciler = Reconciler(
        snapshot=world,
        cluster=world,
        brokers=brokers,
        clock=clock,
        settings=lambda: Settings("v", "p", hook_url="http://hook", hook_token_digest="abc"),
        queue=KeyedQueue(now=clock.now),
        observer=Looks(),
    )
    for one in (key, users):
        outcome = await reconciler.look(one)
        assert outcome != "error", caplog.text
    for name, error in (await every_question(brokers, pact_broker(server.url, auth=auth))).items():
        told.append((name, str(error), repr(error), repr(error and error.__cause__)))
    assert [call for call in world.calls if call[0] == "patch_status"], "something was told"
    everything = json.dumps([repr(call) for call in world.calls]) + repr(told) + caplog.text
    for word in (MARKER, MARKER.upper(), "czNjcjN0"):
        assert word not in everything


def test_a_secret_with_any_data_can_be_read() -> None:
    for value in (None, "", "=", "not base64!", "/w==", "é"):
        assert cluster_adapter._decoded(value) == "" or value == "not base64!"


# --- hooks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def scene(tmp_path: Any) -> tuple[httpx.AsyncClient, KeyedQueue[Key], World, Looks]:
    world, clock, looks = World(), FakeClock(), Looks()
    world.put(names.BROKER, "broker", {"url": "http://b"})
    world.put(names.PROVIDER, "users", {"brokerRef": {"name": "broker"}, "pacticipant": "users"})
    queue: KeyedQueue[Key] = KeyedQueue(now=clock.now)
    reconciler = Reconciler(
        snapshot=world,
        cluster=world,
        brokers=world,
        clock=clock,
        settings=lambda: Settings("v", "p"),
        queue=queue,
        observer=looks,
    )
    path = tmp_path / "token"
    path.write_text(MARKER, encoding="utf-8")
    app = create_app(reconciler, HookToken(path), Metrics(), lambda: True)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://operator"), queue, world, looks


async def test_a_thousand_replays_of_a_hook_are_one_look(scene: Any) -> None:
    http, queue, _, _ = scene
    for _ in range(1000):
        answer = await http.post(
            "/hooks/team/broker", headers={"Authorization": f"Bearer {MARKER}"}, json={"provider": "users"}
        )
        assert answer.status_code == 202
    assert len(queue._heap) == 1
    assert queue.take() is not None
    assert queue.take() is None


@pytest.mark.parametrize(
    "body",
    [
        b"[" * MAX_BODY,
        b'{"provider":' * 4000,
        json.dumps({"provider": "x" * 60_000}).encode(),
        b"\xff" * MAX_BODY,
        b"\x00",
    ],
)
async def test_no_body_of_a_hook_breaks_it(scene: Any, body: bytes) -> None:
    http, _, _, _ = scene
    answer = await http.post("/hooks/team/broker", headers={"Authorization": f"Bearer {MARKER}"}, content=body)
    assert answer.status_code == 202


@pytest.mark.parametrize("authorization", [b"Bearer \xff\xfe", b"Bearer " + b"x" * 60_000, b"\x80", b"Bearer  "])
async def test_no_header_lets_anybody_in_or_breaks_it(scene: Any, authorization: bytes) -> None:
    http, queue, _, _ = scene
    answer = await http.post("/hooks/team/broker", headers=[(b"Authorization", authorization)])
    assert answer.status_code == 401
    assert MARKER not in answer.text
    assert queue.take() is None


@pytest.mark.parametrize(
    "path", ["/hooks/%00/x", "/hooks/team/" + "x" * 60_000, "/hooks/team/..%2f..", "/hooks/%ff/%fe"]
)
async def test_no_path_breaks_it(scene: Any, path: str) -> None:
    http, queue, _, _ = scene
    answer = await http.post(path, headers={"Authorization": f"Bearer {MARKER}"})
    assert answer.status_code == 404
    assert queue.take() is None


async def test_who_is_not_let_in_is_not_read(scene: Any) -> None:
    http, _, _, _ = scene
    read = 0

    async def chunks() -> Any:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b"x" * 65536

    answer = await http.post("/hooks/team/broker", content=chunks())
    assert answer.status_code == 401
    assert read < 10
