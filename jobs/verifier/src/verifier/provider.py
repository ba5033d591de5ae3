"""The provider's own endpoints: is it ready, can it set up states, can it make messages."""

import http.client
import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from brokerclient.text import clean
from verifier.outcome import Problem, Reason
from verifier.pact import Interaction, State
from verifier.settings import Address

_POLL_SECONDS = 0.02
_ATTEMPT_SECONDS = 2.0
_MAX_BODY = 8 * 1024 * 1024
_NOT_SERVED = {404, 405, 501}
Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer of the provider."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def words(self) -> str:
        """Status and what the body says, in one line: JSON's usual error fields, else the text itself."""
        text = self.body[:4000].decode("utf-8", "replace")
        try:
            decoded = json.loads(self.body)
        except (ValueError, RecursionError):
            decoded = None
        if isinstance(decoded, dict):
            said = next((decoded[key] for key in ("error", "detail", "message", "description") if key in decoded), None)
            text = said if isinstance(said, str) else text
        text = clean(text, 300)
        return f"the provider answered {self.status}" + (f": {text}" if text else "")


class NoAnswerError(Exception):
    """The provider did not answer; the message says how."""


def send(address: Address, method: str, path: str, body: bytes | None, timeout: float) -> Answer:
    """Send one request to the provider's origin.

    Args:
        address: Where the provider listens; its path prefix is not used.
        method: HTTP method.
        path: Path from the root of the provider's host.
        body: JSON, or None.
        timeout: Seconds for each step.

    Raises:
        NoAnswerError: Refused, reset, timed out, or not HTTP.
    """
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.host, address.port, timeout=timeout)
    headers = {"Accept": "*/*", "Connection": "close"} | ({"Content-Type": "application/json"} if body else {})
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, tuple(response.getheaders()), response.read(_MAX_BODY))
    except TimeoutError:
        raise NoAnswerError(f"no answer within {timeout:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise NoAnswerError(clean(words or type(error).__name__).lower()) from None
    finally:
        connection.close()


def not_ready(address: Address, readiness_path: str, timeout: float) -> str | None:
    """Ask once whether the provider is ready; None if it is, else why not."""
    try:
        if not readiness_path:
            with socket.create_connection((address.host, address.port), timeout=timeout):
                return None
        answer = send(address, "GET", readiness_path, None, timeout)
    except OSError as error:
        return clean(error.strerror or str(error) or type(error).__name__).lower()
    except NoAnswerError as error:
        return str(error)
    return None if answer.status < 400 else answer.words()


def wait_until_ready(
    address: Address, readiness_path: str, timeout: float, *, give_up: Callable[[], bool] = lambda: False
) -> Problem | None:
    """Wait for the provider.

    Args:
        address: Where it listens.
        readiness_path: Path to GET until the answer is below 400; empty: a connection is enough.
        timeout: Seconds to wait altogether.
        give_up: Asked between two attempts: True ends the wait, because it has become pointless.

    Returns:
        None if the provider is ready or the wait has become pointless, else the last error seen.
    """
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        error = not_ready(address, readiness_path, max(0.05, min(_ATTEMPT_SECONDS, left)))
        if error is None or give_up():
            return None
        if time.monotonic() + _POLL_SECONDS >= deadline:
            what = f"GET {readiness_path}" if readiness_path else "connecting"
            return Problem(
                Reason.PROVIDER_NOT_READY,
                f"The provider at {address.origin} was not ready within {timeout:g} s: {what}: {error}.",
            )
        time.sleep(_POLL_SECONDS)


def state_body(state: State, action: str) -> bytes:
    """The request body with which the verifier core asks for a provider state."""
    return json.dumps({"action": action, "params": dict(state.params), "state": state.name}).encode()


def check_states_endpoint(address: Address, path: str, state: State, timeout: float) -> Problem | None:
    """Make sure that the provider serves provider states at all, before every interaction fails for it.

    It is asked for a state of the pact itself, set up and torn down again: exactly what the verification does next,
    so the question cannot do what the verification would not. Only "there is nothing here" (404, 405, 501) counts;
    a state that cannot be set up is that interaction's failure.
    """
    try:
        answer = send(address, "POST", path, state_body(state, "setup"), timeout)
        if answer.status not in _NOT_SERVED:
            send(address, "POST", path, state_body(state, "teardown"), timeout)
            return None
    except NoAnswerError:
        return None  # whether the provider is still there is asked where interactions get no answer
    return Problem(
        Reason.PROVIDER_STATES_UNAVAILABLE,
        f"The provider answers {answer.status} at {path}: start it with its provider-state endpoint enabled.",
    )


def check_message_endpoint(address: Address, path: str, message: Interaction, timeout: float) -> Problem | None:
    """Make sure that the provider makes messages at all: the core takes a 404 page for the message.

    It is asked for a message of the pact itself, as the verification does next.
    """
    body = {"description": message.description}
    try:
        answer = send(address, "POST", path, json.dumps(body).encode(), timeout)
    except NoAnswerError:
        return None
    if answer.status not in _NOT_SERVED:
        return None
    return Problem(
        Reason.PROVIDER_STATES_UNAVAILABLE,
        f"The provider answers {answer.status} at {path}: start it with its message endpoint enabled.",
    )
