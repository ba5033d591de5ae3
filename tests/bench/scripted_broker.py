"""A Pact Broker that knows its answers by heart: quick enough not to be what a benchmark measures.

It serves what the operator asks a broker in which nothing happens any more: the index, the counts, and for each of its
providers the same contracts, every one of them verified. It counts the requests by route.
"""

import asyncio
import json
import re
from collections import Counter
from typing import Any, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

MAX_BODY: Final = 1024 * 1024
_FOR_VERIFICATION: Final = re.compile(r"/pacts/provider/([^/]+)/for-verification")


class ScriptedBroker:
    """The broker; an asynchronous context manager that serves on loopback while it is open.

    Args:
        contracts: how many each provider has.
    """

    def __init__(self, contracts: int) -> None:
        self._contracts = contracts
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.requests: Counter[str] = Counter()
        """Route -> requests since the start."""
        self.published = 0
        """Shown among the counts: another value says that something happened."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Its base URL."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                if length:
                    await reader.readexactly(min(int(length[1]), MAX_BODY))
                status, body = self._answer(method, target)
                content = json.dumps(body).encode()
                writer.write(
                    b"HTTP/1.1 %d -\r\nContent-Type: application/hal+json\r\nContent-Length: %d\r\n\r\n"
                    % (status, len(content))
                    + content
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    def _answer(self, method: str, target: str) -> tuple[int, Any]:
        parts = urlsplit(target)
        if found := _FOR_VERIFICATION.fullmatch(parts.path):
            self.requests["for-verification"] += 1
            provider = unquote(found[1])
            return 200, {"_embedded": {"pacts": [self._pact(provider, n) for n in range(self._contracts)]}}
        self.requests[f"{method} {parts.path}"] += 1
        if parts.path == "/":
            return 200, {"_links": {"pb:publish-contracts": {"href": f"{self.url}/contracts/publish"}}}
        if parts.path == "/metrics":
            return 200, {"pactPublications": {"count": self.published}, "verificationResults": {"count": 1}}
        if parts.path == "/matrix":
            query = parse_qs(parts.query)
            provider, version = query["q[][pacticipant]"][0], query["q[][version]"][0]
            rows = [self._row(provider, version, n) for n in range(self._contracts)]
            summary = {"deployable": True, "reason": "", "success": len(rows), "failed": 0, "unknown": 0}
            return 200, {"summary": summary, "matrix": rows}
        if parts.path == "/environments":
            return 200, {"_embedded": {"environments": []}}
        return 404, {"error": "not served here"}

    def _link(self, provider: str, number: int) -> str:
        return f"{self.url}/pacts/provider/{provider}/consumer/{consumer(number)}/pact-version/{sha(provider, number)}"

    def _pact(self, provider: str, number: int) -> dict[str, Any]:
        name = f"Pact between {consumer(number)} and {provider}"
        return {
            "shortDescription": "latest from main branch",
            "verificationProperties": {"notices": [{"when": "before_verification", "text": name}]},
            "_links": {"self": {"href": f"{self._link(provider, number)}/metadata/c1tdW2xdPXRydWU", "name": name}},
        }

    def _row(self, provider: str, version: str, number: int) -> dict[str, Any]:
        link = f"{self._link(provider, number)}/verification-results/1"
        return {
            "consumer": {"name": consumer(number), "version": {"number": "1"}},
            "provider": {"name": provider, "version": {"number": version}},
            "pact": {"_links": {"self": {"href": self._link(provider, number)}}},
            "verificationResult": {
                "success": True,
                "verifiedAt": "2026-01-01T00:00:00+00:00",
                "_links": {"self": {"href": link}},
            },
        }


def consumer(number: int) -> str:
    """Name of a consumer."""
    return f"consumer-{number}"


def sha(provider: str, number: int) -> str:
    """Content of a contract: 40 characters, as a broker's."""
    return f"{provider[-12:]}{number:04d}".rjust(40, "0")
