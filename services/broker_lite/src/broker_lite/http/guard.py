"""The outermost layer: raw paths, methods, authentication, body size, common headers, one log line per request."""

import base64
import binascii
import hmac
import json
import logging
import re
import time
from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker_lite import API_VERSION
from broker_lite.config import Credentials, Settings

logger = logging.getLogger("broker_lite.access")
_READING = re.compile(r"/pacts/provider/[^/]+/for-verification")
_HEARTBEAT = "/diagnostic/status/heartbeat"
MAX_TARGET = 64 * 1024
"""Bytes of a path with its query. A pact's link grows with the consumer versions that it was selected for."""
MAX_HEAD = 2 * MAX_TARGET
"""Bytes of a request line with all headers that the HTTP server waits for."""
MAX_HEADERS = 100
"""Headers of a request."""
_SUFFIXES = {".json": b"application/hal+json", ".svg": b"image/svg+xml", ".csv": b"text/csv"}


class _TooLargeError(Exception):
    """The body is larger than allowed."""


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0
        # Names hold encoded slashes: split the path as sent, decode each segment afterwards.
        raw = (scope.get("raw_path") or scope["path"].encode()).split(b"?")[0].decode("latin-1")
        scope = {**scope, "path": _normal(raw), "root_path": ""}
        sent = False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status, sent = message["status"], True
                message = {**message, "headers": [*message["headers"], *_COMMON]}
            await send(message)

        try:
            await self._handle(scope, self._bounded(scope, receive), send_with_headers)
        except _TooLargeError:
            if not sent:
                limit = self._settings.max_body_bytes
                body = {"error": f"The request body is larger than {limit} bytes."}
                await _answer(send_with_headers, 413, body)
        finally:
            logger.info(
                "request",
                extra={
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "milliseconds": round((time.monotonic() - started) * 1000, 1),
                },
            )

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if len(scope["path"]) + len(scope["query_string"]) > MAX_TARGET:
            await _answer(send, 414, {"error": f"The path and query are longer than {MAX_TARGET} bytes."})
            return
        if len(scope["headers"]) > MAX_HEADERS:
            await _answer(send, 431, {"error": f"The request has more than {MAX_HEADERS} headers."})
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            status, headers, body = refusal
            await _plain(send, status, headers, body)
            return
        if re.search(r"%(?:0[ad9])", scope["path"], re.IGNORECASE):
            await _answer(send, 422, {"error": "URL path cannot contain a tab or a new line character."})
            return
        for suffix, media_type in _SUFFIXES.items():
            if scope["path"].endswith(suffix) and suffix != ".svg":
                headers = [(name, value) for name, value in scope["headers"] if name != b"accept"]
                scope = {
                    **scope,
                    "path": scope["path"][: -len(suffix)],
                    "headers": [*headers, (b"accept", media_type)],
                }
        await self._app(scope, receive, send)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        limit, seen = self._settings.max_body_bytes, 0
        declared = dict(scope["headers"]).get(b"content-length", b"0")

        async def bounded() -> Message:
            nonlocal seen
            if declared.isdigit() and int(declared) > limit:
                raise _TooLargeError
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _TooLargeError
            return message

        return bounded

    def _refusal(self, scope: Scope) -> tuple[int, list[tuple[bytes, bytes]], str] | None:
        """The answer to a request without sufficient credentials; None if it may pass."""
        settings = self._settings
        if settings.writer is None:
            return None
        method, path = scope["method"], scope["path"]
        reads = method in ("GET", "HEAD", "OPTIONS") or (method == "POST" and _READING.fullmatch(path) is not None)
        if settings.public_heartbeat and path == _HEARTBEAT and reads:
            return None
        if settings.public_read and reads:
            return None
        header = dict(scope["headers"]).get(b"authorization")
        if header is None:
            return _UNAUTHORIZED
        scheme, _, token = header.partition(b" ")
        if scheme.lower() != b"basic":
            return 400, [(b"content-type", b"text/plain")], ""
        given = _credentials(token)
        if given is None:
            return _UNAUTHORIZED
        allowed = [settings.writer, settings.reader] if reads else [settings.writer]
        # Every candidate is compared, so that the time taken says nothing about which one came near.
        matches = [_same(given, one) for one in allowed if one is not None]
        return None if any(matches) else _UNAUTHORIZED


class Methods:
    """ASGI middleware: which methods a path has; OPTIONS is always one of them, HEAD never."""

    def __init__(self, app: ASGIApp, table: Sequence[tuple[re.Pattern[str], str]]) -> None:
        self._app = app
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            method = scope["method"]
            allowed = [one for pattern, one in self._table if pattern.match(scope["path"])]
            if allowed and method not in allowed:
                names = ", ".join([*dict.fromkeys(sorted(allowed)), "OPTIONS"])
                status = 200 if method == "OPTIONS" else 405
                await _plain(send, status, [(b"allow", names.encode())] if status == 405 else [], "")
                return
        await self._app(scope, receive, send)


_UNAUTHORIZED = (
    401,
    [(b"content-type", b"text/plain"), (b"www-authenticate", b'Basic realm="Restricted area"')],
    "",
)
_COMMON = [
    (b"vary", b"Accept"),
    (b"cache-control", b"no-cache"),
    (b"x-pact-broker-version", API_VERSION.encode()),
]


def _normal(path: str) -> str:
    trimmed = path.rstrip("/")
    return trimmed or "/"


def _credentials(token: bytes) -> tuple[bytes, bytes] | None:
    try:
        decoded = base64.b64decode(token.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    username, separator, password = decoded.partition(b":")
    return (username, password) if separator else None


def _same(given: tuple[bytes, bytes], known: Credentials) -> bool:
    username = hmac.compare_digest(given[0], known.username.encode())
    password = hmac.compare_digest(given[1], known.password.encode())
    return username and password


async def _plain(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: str) -> None:
    content = body.encode()
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": content})


async def _answer(send: Send, status: int, body: dict[str, Any]) -> None:
    await _plain(send, status, [(b"content-type", b"application/json;charset=utf-8")], json.dumps(body))
