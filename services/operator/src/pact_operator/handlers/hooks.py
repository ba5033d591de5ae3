"""The HTTP endpoints: the hook receiver, the gate, the metrics, readiness."""

import json
from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import FastAPI, Header, HTTPException, Request, Response

from pact_operator.api import names
from pact_operator.core.facts import Key
from pact_operator.engine.reconciler import Reconciler
from pact_operator.handlers.gate import add_gate
from pact_operator.hooktoken import HookToken
from pact_operator.metrics import CONTENT_TYPE, Metrics

MAX_BODY: Final = 64 * 1024


def create_app(
    reconciler: Reconciler,
    token: HookToken,
    metrics: Metrics,
    ready: Callable[[], bool],
    gate_token: HookToken | None = None,
) -> FastAPI:
    """Makes the ASGI app.

    Args:
        reconciler: is told where to look.
        token: what a hook must carry.
        metrics: what `/metrics` shows.
        ready: whether the operator watches.
        gate_token: what whoever asks the gate must send.
    """
    app = FastAPI(title="pact-operator", docs_url=None, redoc_url=None, openapi_url=None)
    add_gate(app, reconciler.gate, gate_token or HookToken(None))

    @app.post("/hooks/{namespace}/{name}", status_code=202)
    async def hook(
        namespace: str, name: str, request: Request, authorization: Annotated[str, Header()] = ""
    ) -> dict[str, str]:
        """Takes a hint that something changed in a broker; what it says is not believed, only looked after."""
        _authenticate(token, authorization)
        body = await _bounded(request)
        if not reconciler.hint_hook(Key(names.BROKER, namespace, name), _provider(body)):
            raise HTTPException(404, f"There is no PactBroker {name!r} in namespace {namespace!r} here.")
        return {"detail": "Thank you: it is being looked at."}

    @app.get("/metrics")
    async def show_metrics() -> Response:
        """Shows metrics in Prometheus' text format."""
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        """Tells whether hooks are of use yet."""
        if not ready():
            raise HTTPException(503, "The operator is starting.")
        return {"status": "ok"}

    return app


def _authenticate(token: HookToken, authorization: str) -> None:
    scheme, _, candidate = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.matches(candidate.strip()):
        raise HTTPException(
            401,
            "Send the operator's hook token as a bearer token in the Authorization header.",
            {"WWW-Authenticate": "Bearer"},
        )


async def _bounded(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"A hook's body may have {MAX_BODY} bytes; send less, it is hardly read.")
    return bytes(body)


def _provider(body: bytes) -> str | None:
    """The provider that a hook speaks of, if it says so in a way that can be read."""
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    name = said.get("provider") if isinstance(said, dict) else None
    return name if isinstance(name, str) and name and not name.startswith("${") else None
