"""What stands in front of brokers in the field: TLS by a private authority, a path prefix, bearer tokens."""

import contextlib
import http.client
import ssl
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.broker import READER, WRITER, running_broker

PREFIX = "/teams/shop/pacts"
READ_TOKEN, WRITE_TOKEN = "read-token", "write-token"
_USERS = {READ_TOKEN: READER, WRITE_TOKEN: WRITER}


@dataclass
class Front:
    """A running front, and what was asked of it."""

    url: str
    direct: str
    """The broker's own address, with basic authentication."""
    authority: Path
    """The certificate of the authority, PEM."""
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path below the prefix, token; None for a request that was turned away."""

    def writes(self) -> set[str | None]:
        """The tokens that were used for anything but reading."""
        return {token for method, path, token in self.asked if method != "GET" and "for-verification" not in path}

    def reads(self) -> set[str | None]:
        """The tokens that were used for reading."""
        return {token for method, _, token in self.asked if method == "GET"}


def authority(folder: Path, name: str = "front") -> tuple[Path, Path]:
    """Makes a private authority for 127.0.0.1: certificate and key, PEM."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return certificate, key


@contextlib.contextmanager
def broker_behind_a_front(folder: Path, environment: dict[str, str] | None = None) -> Iterator[Front]:
    """Starts a real broker and a front before it; the broker believes to be called by the front's URL."""
    certificate, key = authority(folder)
    front = Front("", "", certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(front))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    front.url = f"https://127.0.0.1:{server.server_port}{PREFIX}"
    told = {"PACT_BROKER_BASE_URL": front.url, **(environment or {})}
    try:
        with running_broker(folder, environment=told) as front.direct:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            yield front
            server.shutdown()
    finally:
        server.server_close()


def _handler(front: Front) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            below = self.path.removeprefix(PREFIX)
            allowed = token in _USERS and below != self.path
            front.asked.append((self.command, below, token if allowed else None))
            if not allowed:
                self.answer(404 if token in _USERS else 401, "text/html", b"<h1>no</h1>")
                return
            user = b64encode(":".join(_USERS[token]).encode()).decode()
            headers = {name: self.headers[name] for name in ("Accept", "Content-Type") if name in self.headers}
            connection = http.client.HTTPConnection(front.direct.removeprefix("http://"), timeout=30)
            connection.request(self.command, below or "/", body, {**headers, "Authorization": f"Basic {user}"})
            answer = connection.getresponse()
            self.answer(answer.status, answer.getheader("Content-Type", ""), answer.read())
            connection.close()

        def answer(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler
