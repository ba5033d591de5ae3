"""A scripted API server on loopback: lists, watches, creates and annotates our objects, and proxies to a gate.

Only what `pactctl` asks; the real one stands in `tests/integration/test_pactctl.py`.
"""

import base64
import functools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

PREFIX = "/apis/pact-operator.dev/v1alpha1"
PLURALS = {
    "PactBroker": "pactbrokers",
    "PactConsumer": "pactconsumers",
    "PactProvider": "pactproviders",
    "PactVerification": "pactverifications",
}
TOKEN = "the-gates-own-token"

Body = dict[str, Any]


@dataclass
class World:
    """What the server holds; every change wakes the watches."""

    objects: list[Body] = field(default_factory=list)
    events: list[Body] = field(default_factory=list)
    gate: Callable[[Mapping[str, list[str]]], tuple[int, Any]] | None = None
    gate_requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    refuse: tuple[int, str] | None = None
    on_create: Callable[["World", Body], None] | None = None
    on_annotate: Callable[["World", Body], None] | None = None
    revision: int = 1
    changed: threading.Condition = field(default_factory=threading.Condition)
    closing: bool = False

    def put(self, body: Body) -> None:
        """Adds an object, or takes the place of one."""
        with self.changed:
            self.revision += 1
            body["metadata"]["resourceVersion"] = str(self.revision)
            place = (body["kind"], body["metadata"]["name"])
            self.objects = [one for one in self.objects if (one["kind"], one["metadata"]["name"]) != place] + [body]
            self.changed.notify_all()

    def of(self, plural: str, namespace: str | None) -> list[Body]:
        return [
            one
            for one in self.objects
            if PLURALS[one["kind"]] == plural and namespace in (None, one["metadata"]["namespace"])
        ]


class Handler(BaseHTTPRequestHandler):
    world: World
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def _answer(self, status: int, body: Any) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _sent(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _refused(self) -> bool:
        if self.world.refuse is None:
            return False
        status, message = self.world.refuse
        self._answer(status, {"kind": "Status", "message": message})
        return True

    def do_GET(self) -> None:
        if self._refused():
            return
        url = urlsplit(self.path)
        parts = url.path.strip("/").split("/")
        query = parse_qs(url.query)
        if "/proxy/v1/gate/" in url.path:
            self.world.gate_requests.append((self.path, dict(self.headers)))
            if self.world.gate is None:
                self._answer(404, {"kind": "Status", "message": 'services "pact-operator" not found'})
            else:
                self._answer(*self.world.gate(query))
        elif parts[-2:-1] == ["secrets"]:
            if parts[-1] == "pact-operator-gate":
                self._answer(200, {"data": {"token": base64.b64encode(TOKEN.encode()).decode()}})
            else:
                self._answer(404, {"kind": "Status", "message": "not found"})
        elif parts[-1] == "events":
            self._answer(200, {"items": self.world.events})
        elif url.path.startswith(PREFIX):
            namespace = parts[4] if "namespaces" in parts else None
            if query.get("watch"):
                self._watch(parts[-1], namespace, int(query["resourceVersion"][0]))
            else:
                items = self.world.of(parts[-1], namespace)
                self._answer(200, {"metadata": {"resourceVersion": str(self.world.revision)}, "items": items})
        else:
            self._answer(404, {"kind": "Status", "message": "no such path"})

    def _watch(self, plural: str, namespace: str | None, seen: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not self.world.closing:
            with self.world.changed:
                self.world.changed.wait_for(functools.partial(self._news, seen))
                news = [
                    one for one in self.world.of(plural, namespace) if int(one["metadata"]["resourceVersion"]) > seen
                ]
                seen = self.world.revision
            for one in news:
                line = json.dumps({"type": "MODIFIED", "object": one}).encode() + b"\n"
                try:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                    self.wfile.flush()
                except OSError:
                    return

    def _news(self, seen: int) -> bool:
        return self.world.closing or self.world.revision > seen

    def do_POST(self) -> None:
        if self._refused():
            return
        body = self._sent()
        body["metadata"].setdefault("uid", "made")
        body["metadata"].setdefault("generation", 1)
        self.world.put(body)
        self._answer(201, body)
        if self.world.on_create:
            self.world.on_create(self.world, json.loads(json.dumps(body)))

    def do_PATCH(self) -> None:
        if self._refused():
            return
        patch, name = self._sent(), self.path.rsplit("/", 1)[1]
        [found] = [one for one in self.world.objects if one["metadata"]["name"] == name]
        body = json.loads(json.dumps(found))
        body["metadata"].setdefault("annotations", {}).update(patch["metadata"]["annotations"])
        self.world.put(body)
        self._answer(200, body)
        if self.world.on_annotate:
            self.world.on_annotate(self.world, json.loads(json.dumps(body)))


@contextmanager
def serving(world: World, directory: Path) -> Iterator[Path]:
    """Serves a world; yields a kubeconfig for it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Serving", (Handler,), {"world": world}))
    server.daemon_threads = True
    thread = threading.Thread(target=functools.partial(server.serve_forever, 0.02), daemon=True)
    thread.start()
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
        ),
        encoding="utf-8",
    )
    try:
        yield kubeconfig
    finally:
        with world.changed:
            world.closing = True
            world.changed.notify_all()
        server.shutdown()
        server.server_close()


def condition(kind: str, status: str, reason: str, message: str = "") -> Body:
    return {"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 1}


def provider(name: str = "catalog", *, conditions: list[Body] | None = None, **status: Any) -> Body:
    return {
        "apiVersion": "pact-operator.dev/v1alpha1",
        "kind": "PactProvider",
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}", "generation": 1},
        "spec": {
            "brokerRef": {"name": "pact-broker"},
            "pacticipant": name,
            "version": {"fromWorkload": {"name": name}},
            "branch": "main",
            "selectors": [{"mainBranch": True}],
            "providerStates": {"path": "/states"},
            "run": {"maxConcurrent": 2},
            "target": {
                "ephemeral": {
                    "port": 8080,
                    "template": {
                        "spec": {
                            "containers": [
                                {"name": "database", "image": "postgres:17"},
                                {"name": "provider", "image": f"registry.example.com/{name}:{{version}}"},
                            ]
                        }
                    },
                }
            },
        },
        "status": {
            "observedGeneration": 1,
            "version": "1.0.0",
            "conditions": [condition("Ready", "True", "AllVerified", "The one contract holds for 1.0.0.")]
            if conditions is None
            else conditions,
            **status,
        },
    }


def contract(consumer: str, state: str, *, version: str = "1.0.0", message: str = "", reason: str = "") -> Body:
    return {
        "consumer": consumer,
        "providerVersion": version,
        "contentSha": f"sha-{consumer}",
        "state": state,
        "reason": reason,
        "message": message,
        "verification": f"catalog-{consumer}",
    }


def broker(name: str = "pact-broker") -> Body:
    return {
        "apiVersion": "pact-operator.dev/v1alpha1",
        "kind": "PactBroker",
        "metadata": {"name": name, "namespace": "shop", "generation": 1},
        "spec": {"url": "http://broker"},
        "status": {"observedGeneration": 1, "conditions": [condition("Ready", "True", "Reachable", "It answers.")]},
    }
