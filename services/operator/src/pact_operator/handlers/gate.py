"""The gate by HTTP: `GET` tells, `POST` answers 403 where the version may not go.

Whoever asks sends the gate's token: as a bearer token, as the password of basic authentication (for callers that can
only put it into a URL), or in `X-Pact-Gate-Token` (through the API server's proxy, which keeps `Authorization`).
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request
from starlette.responses import JSONResponse

from pact_operator.api import names
from pact_operator.api.reasons import Reason
from pact_operator.core.facts import Key, Question
from pact_operator.engine.gate import Gatekeeper
from pact_operator.hooktoken import HookToken

MAX_BODY: Final = 64 * 1024
_MAX_TEXT: Final = 1024
_HEADER: Final = "X-Pact-Gate-Token"
_YES_NO: Final[Mapping[str, bool]] = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def add_gate(app: FastAPI, gate: Gatekeeper, token: HookToken) -> None:
    """Adds the gate to an app.

    Args:
        app: the operator's app.
        gate: answers.
        token: what whoever asks must send; without one nobody can ask.
    """

    async def ask(request: Request) -> JSONResponse:
        if not token.value():
            raise HTTPException(
                404,
                "The gate does not answer by HTTP: start the operator with PACT_OPERATOR_GATE_TOKEN_FILE "
                "to have it do so, as the chart does.",
            )
        if not token.matches(_sent(request)):
            raise HTTPException(
                401,
                f"Send the gate's token as a bearer token, as the password of basic authentication, or in {_HEADER}.",
                {"WWW-Authenticate": 'Bearer, Basic realm="gate"'},
            )
        said = await _body(request) if request.method == "POST" else request.query_params
        broker = Key(names.BROKER, request.path_params["namespace"], request.path_params["name"])
        environment = _text(said, "environment") or gate.environment(broker)
        question = Question(
            _needed(said, "pacticipant", "the name in the broker of what is to be rolled out"),
            _needed(said, "version", "the version that is to be rolled out"),
            environment or "",
        )
        verify = _flag(said, "verify")
        if environment is None:
            raise HTTPException(
                400, "environment is missing: name the environment, or set spec.environment of the PactBroker."
            )
        decision = await gate.answer(broker, question, verify=verify)
        status = 200 if decision.allowed or request.method == "GET" else 403
        if decision.reason is Reason.BROKER_NOT_FOUND:
            status = 404
        return JSONResponse(decision.as_json(), status, {"Cache-Control": "no-store"})

    # Not by FastAPI's own decorators: what these do for each request is more than all the rest of an answer.
    app.add_route("/v1/gate/{namespace}/{name}", ask, methods=["GET", "POST"])


def _sent(request: Request) -> str:
    if candidate := request.headers.get(_HEADER, ""):
        return candidate.strip()
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return ""
    return ""


async def _body(request: Request) -> Mapping[str, Any]:
    """The fields of a POST: at the top, or under `metadata`, as Flagger sends them."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY:
            raise HTTPException(413, f"A question may have {MAX_BODY} bytes.")
    try:
        said = json.loads(bytes(content))
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is no JSON: send an object with pacticipant and version.") from None
    if not isinstance(said, dict):
        raise HTTPException(400, "The body is no JSON object: send one with pacticipant and version.")
    metadata = said.get("metadata")
    return {**(metadata if isinstance(metadata, dict) else {}), **said}


def _text(said: Mapping[str, Any], field: str) -> str | None:
    """A field, None where it is left out or empty."""
    value = said.get(field)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isprintable():
        raise HTTPException(400, f"{field} is no text of at most {_MAX_TEXT} printable characters.")
    return value


def _needed(said: Mapping[str, Any], field: str, what: str) -> str:
    value = _text(said, field)
    if value is None:
        raise HTTPException(400, f"{field} is missing: give {what}.")
    return value


def _flag(said: Mapping[str, Any], field: str) -> bool:
    value = said.get(field, False)
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _YES_NO:
        return _YES_NO[value.lower()]
    raise HTTPException(400, f"{field} is neither true nor false.")
