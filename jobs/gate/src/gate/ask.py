"""Asks the gate, and asks again while waiting can help."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

import requests
from requests.auth import AuthBase

from gate import __version__
from gate.answer import Answer, clean, no_answer, read
from gate.settings import Settings, SettingsError

MAX_BODY: Final = 4 * 1024 * 1024
_CONNECT_SECONDS, _ANSWER_SECONDS = 5.0, 10.0
_BUSY: Final = {408, 425, 429}


class _Bearer(AuthBase):
    """The token as requests' own authentication, so that nobody's ~/.netrc takes its place."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def ask(settings: Settings, session: requests.Session) -> Answer:
    """Ask once; never raises for what the network or the other side does."""
    question = settings.question
    url = f"{settings.url}/v1/gate/{quote(question.namespace, safe='')}/{quote(question.broker, safe='')}"
    query = {"pacticipant": question.pacticipant, "version": question.version}
    if question.environment:
        query["environment"] = question.environment
    if question.verify:
        query["verify"] = "true"
    try:
        with session.get(
            url,
            params=query,
            auth=_Bearer(settings.secret()),
            headers={"Accept": "application/json", "User-Agent": f"pact-operator-gate/{__version__}"},
            timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS),
            allow_redirects=False,
            stream=True,
            verify=settings.ca_file or True,
        ) as response:
            return _answer(settings, response.status_code, _body(response))
    except requests.exceptions.SSLError as error:
        return no_answer(
            f"The certificate of the gate at {settings.url} is not trusted: {_why(error)}",
            "Set GATE_CA_FILE to the authority that has signed it.",
            retry=False,
        )
    except (requests.RequestException, OSError) as error:
        return no_answer(
            f"The gate at {settings.url} does not answer: {_why(error)}",
            "See that the operator runs, and that NetworkPolicies let this Pod reach it.",
            retry=True,
        )
    except SettingsError as error:
        return no_answer(str(error), "Mount the Secret with the gate's token.", retry=True)


def _why(error: Exception) -> str:
    """The innermost cause: around it requests wraps pools, retries and the URL that was asked for."""
    inner: Any = error
    while True:
        deeper = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)
        if not isinstance(deeper, Exception):
            break
        inner = deeper
    return clean(str(inner).rpartition("): ")[2], 300)


def _body(response: requests.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(65536):
        body += chunk
        if len(body) > MAX_BODY:
            break
    return bytes(body)


def _answer(settings: Settings, status: int, body: bytes) -> Answer:
    said: Any
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    # A gate may refuse with any status; only 200 allows.
    if (answer := read(said)) and (status == 200 or not answer.allowed):
        return answer
    detail = said.get("detail") if isinstance(said, dict) else None
    told = clean(detail, 500) if isinstance(detail, str) else ""
    if status in (401, 403):
        return no_answer(
            f"The gate refuses the token{': ' + told if told else '.'}",
            "Mount the Secret with the gate's token of this operator; a copy in another namespace may be out of date.",
            retry=False,
        )
    if status in _BUSY or status >= 500:
        return no_answer(
            f"The gate at {settings.url} answers with status {status}{': ' + told if told else '.'}",
            "Wait for the operator; if it stays like this, look at its log.",
            retry=True,
        )
    if told and 400 <= status < 500:
        return no_answer(told, "Mend what the sentence names in the settings of this Job.", retry=False)
    return no_answer(
        f"What answers at {settings.url} is no gate: status {status}, and not the JSON of one.",
        "Set GATE_URL to the Service of Pact Operator.",
        retry=False,
    )


def wait(
    settings: Settings,
    session: requests.Session,
    tell: Callable[[float, Answer], None],
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Ask until the answer is final or the time is up.

    Args:
        settings: What to ask, how often, how long.
        session: For HTTP.
        tell: Told every answer, with the seconds since the first question.
        now: A clock that does not jump.
        sleep: Waits.

    Returns:
        The last answer; one that ran out of time says so.
    """
    start = now()
    while True:
        answer = ask(settings, session)
        elapsed = now() - start
        tell(elapsed, answer)
        if answer.final:
            return answer
        left = settings.timeout - elapsed
        if left <= 0:
            return replace(answer, message=f"No final answer within {settings.timeout:g} s: {answer.message}")
        sleep(min(settings.poll, left))
