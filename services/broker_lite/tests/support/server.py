"""A served instance for tests: the real server on a loopback port, in a thread of the test's process."""

import base64
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from broker_lite.app import create_app
from broker_lite.config import Settings
from broker_lite.http.guard import MAX_HEAD
from broker_lite.store.engine import Store


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def text(self) -> str:
        return self.raw.decode()

    @property
    def body(self) -> Any:
        try:
            return json.loads(self.raw)
        except ValueError:
            return self.text


@dataclass
class Served:
    """A running instance."""

    port: int
    store: Store
    settings: Settings
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str | Sequence[str]] | None = None
    ) -> Answer:
        """Send a request exactly as given; objects become JSON."""
        sent: dict[str, str | Sequence[str]] = {"accept": "application/hal+json", **self.headers, **(headers or {})}
        content = body
        if body is not None and not isinstance(body, str | bytes):
            content = json.dumps(body)
            if headers is None or "content-type" not in headers:
                sent["content-type"] = "application/json"
        raw = content.encode() if isinstance(content, str) else content
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in sent.items():
                for one in [value] if isinstance(value, str) else value:
                    connection.putheader(name, one)
            if raw is not None or method in ("POST", "PUT", "PATCH"):
                connection.putheader("content-length", str(len(raw or b"")))
            connection.endheaders(raw)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def ok(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """Send, expect success, return the body."""
        answer = self.send(method, path, body, headers)
        assert answer.status < 400, f"{method} {path}: {answer.status} {answer.text}"
        return answer.body

    def publish(self, consumer: str, version: str, provider: str, content: str = "", **extra: Any) -> Any:
        """Publish a small pact whose one interaction is named by `content`."""
        return self.ok("POST", "/contracts/publish", publication(consumer, version, provider, content, **extra))

    def verify(
        self, consumer: str, provider: str, sha: str, version: str, *, success: bool = True, metadata: str = ""
    ) -> Any:
        """Publish a verification result."""
        kept = f"/metadata/{metadata}" if metadata else ""
        path = f"/pacts/provider/{provider}/consumer/{consumer}/pact-version/{sha}{kept}/verification-results"
        return self.ok("POST", path, {"success": success, "providerApplicationVersion": version})

    def sha(self, consumer: str, version: str, provider: str) -> str:
        """Content SHA of a consumer version's pact."""
        body = self.ok("GET", f"/pacts/provider/{provider}/consumer/{consumer}/version/{version}")
        return str(body["_links"]["pb:pact-version"]["name"])


def pact(consumer: str, provider: str, content: str = "") -> dict[str, Any]:
    """A pact of one interaction."""
    interaction = {
        "description": content or "a request",
        "request": {"method": "GET", "path": "/"},
        "response": {"status": 200},
    }
    return {
        "consumer": {"name": consumer},
        "provider": {"name": provider},
        "interactions": [interaction],
        "metadata": {"pactSpecification": {"version": "2.0.0"}},
    }


def contract(consumer: str, provider: str, content: str = "") -> dict[str, str]:
    """A contract as a publish request holds it."""
    text = json.dumps(pact(consumer, provider, content))
    return {
        "consumerName": consumer,
        "providerName": provider,
        "specification": "pact",
        "contentType": "application/json",
        "content": base64.b64encode(text.encode()).decode(),
    }


def publication(consumer: str, version: str, provider: str, content: str = "", **extra: Any) -> dict[str, Any]:
    """A publish request of one contract."""
    return {
        "pacticipantName": consumer,
        "pacticipantVersionNumber": version,
        "contracts": [contract(consumer, provider, content)],
        **extra,
    }


@contextlib.contextmanager
def serve(settings: Settings, store: Store, *, deliver: bool = False) -> Iterator[Served]:
    """Serve until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(settings, store, deliver=deliver),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=MAX_HEAD,
    )
    server = uvicorn.Server(config)
    started = threading.Event()
    failure: list[BaseException] = []

    def run() -> None:
        try:
            server.run(sockets=[listener])
        except BaseException as error:  # noqa: BLE001 - raised again in the test
            failure.append(error)
        finally:
            started.set()

    original = server.startup

    async def startup(sockets: list[socket.socket] | None = None) -> None:
        await original(sockets)
        started.set()

    server.startup = startup  # type: ignore[method-assign]
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(60), "the server did not start"
    if failure:
        raise failure[0]
    assert server.started, "the server ended while starting"
    try:
        yield Served(listener.getsockname()[1], store, settings)
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
        assert not thread.is_alive(), "the server did not stop"
