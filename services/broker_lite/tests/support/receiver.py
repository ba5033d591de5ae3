"""A webhook receiver: remembers what it got; answers as its path asks."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Receiver:
    """What arrived so far; `arrived` can be waited on."""

    port: int = 0
    requests: list[Received] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def wait_for(self, number: int, timeout: float = 60) -> list[Received]:
        """Wait until so many requests have arrived."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= number, timeout), (
                f"{len(self.requests)} of {number} requests arrived"
            )
            return list(self.requests)


@contextlib.contextmanager
def receive() -> Iterator[Receiver]:
    """Receive until the block ends. Paths: /status/{code} answers so, /redir redirects, all others succeed."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        server_version = "BaseHTTP/0.6"
        sys_version = "Python/3.11.7"

        def handle_any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", "0")))
            try:
                body = json.loads(raw)
            except ValueError:
                body = raw.decode()
            with receiver.arrived:
                received = Received(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                receiver.requests.append(received)
                receiver.arrived.notify_all()
            answer = b'{"received":true}'
            if self.path.startswith("/status/"):
                self.send_response(int(self.path.split("/")[2]))
            elif self.path == "/redir":
                self.send_response(302)
                self.send_header("location", f"http://{receiver.address}/landed")
                answer = b""
            else:
                self.send_response(200)
            if answer:
                self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
