"""A relay on loopback between the verifier core and the provider's own endpoints.

Why it is there: the core repeats a provider state that answers 5xx for two minutes per interaction, says only
"handlers have failed" and not why, and takes the body of an error page for the message it asked for. The relay
asks the provider once, remembers what it said, and answers the core so that it goes on.
"""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from brokerclient.text import clean
from verifier.provider import Answer, NoAnswerError, send
from verifier.settings import Address
from verifier.wording import Heard

_STATES, _MESSAGES = "/states", "/messages"
_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "date",
    "server",
    "trailer",
    "upgrade",
}
_REFUSED = 400  # any other 4xx would do: the core repeats 5xx, 408 and 429
_MIN_SECONDS = 30.0


class Relay:
    """Forwards provider states and messages, and remembers failures.

    Args:
        address: Where the provider listens.
        states_path: Its provider-state endpoint, None if it has none.
        message_path: Its message endpoint, None if it has none.
        timeout: Seconds for one answer; never less than 30, since a state may fill a database.

    Attributes:
        lost: The provider did not answer at least once.
        warnings: Things worth a line in the log.
    """

    def __init__(self, address: Address, states_path: str | None, message_path: str | None, timeout: float) -> None:
        self._address = address
        self._paths = {_STATES: states_path, _MESSAGES: message_path}
        self._timeout = max(timeout, _MIN_SECONDS)
        self._states: dict[str, str] = {}
        self._messages: dict[str, str] = {}
        self.lost = False
        self.warnings: list[str] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.relay = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True, name="relay")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Port on 127.0.0.1."""
        return int(self._server.server_port)

    @property
    def states_url(self) -> str:
        """Where the core asks for provider states."""
        return f"http://127.0.0.1:{self.port}{_STATES}"

    @property
    def messages_path(self) -> str:
        """Path at which the core asks for messages."""
        return _MESSAGES

    def heard(self) -> Heard:
        """What the provider refused since the last `forget`."""
        return Heard(dict(self._states), dict(self._messages))

    def forget(self) -> None:
        """Start anew: the next pact, or another try of the same."""
        self.lost = False
        self._states.clear()
        self._messages.clear()

    def forward(self, path: str, content: bytes) -> Answer:
        """Forward one request of the core; called by the server's threads."""
        target = self._paths.get(path)
        if target is None:
            return _refusal("The relay forwards provider states and messages only.")
        try:
            asked = json.loads(content)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, Mapping):
            return _refusal("The relay forwards JSON objects only.")
        try:
            answer = send(self._address, "POST", target, content, self._timeout)
        except NoAnswerError as error:
            self.lost = True
            return _refusal(str(error))
        if path == _MESSAGES:
            if answer.status >= 400:
                self._messages[str(asked.get("description", ""))] = answer.words()
            return answer
        return self._state_answer(asked, answer)

    def _state_answer(self, asked: Mapping[str, Any], answer: Answer) -> Answer:
        if answer.status < 400:
            return answer
        name = str(asked.get("state", ""))
        if not name:
            # The core's word for "no state needed": nobody asked the provider to know it.
            return Answer(200, (), b"{}")
        if asked.get("action") == "teardown":
            # The interaction has been verified by now; setting up the next state is the test of a clean provider.
            self.warnings.append(f"tearing down provider state {clean(name, 100)!r} failed: {answer.words()}")
            return Answer(200, (), b"{}")
        self._states[name] = answer.words()
        return _refusal(answer.words())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    relay: Relay


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024  # headers and body in one packet: otherwise each answer waits 40 ms for an acknowledgement

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.relay.forward(self.path, content)
        self.send_response(answer.status)
        for key, value in answer.headers:
            if key.lower() not in _HOP_BY_HOP:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: the log is for the verdict."""


def _refusal(text: str) -> Answer:
    return Answer(_REFUSED, (("Content-Type", "application/json"),), json.dumps({"error": text}).encode())
