"""The admission webhook: an HTTPS server of its own, which asks the gate before a labelled Deployment gets other Pods.

While the operator does not know its objects yet it answers 503, which for the API server is no answer: then
`admission.failurePolicy` of the chart decides, as it does while there is no operator at all.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request
from starlette.responses import JSONResponse

from pact_operator.api import names
from pact_operator.api.v1alpha1 import PactConsumer, PactProvider
from pact_operator.core.admission import (
    Ask,
    Inquiry,
    Response,
    Review,
    inquire,
    respond,
    review_of,
    without_environment,
)
from pact_operator.core.facts import Key
from pact_operator.core.gate import Decision
from pact_operator.engine.gate import Gatekeeper
from pact_operator.engine.gather import workload_facts
from pact_operator.engine.snapshot import Snapshot

logger = logging.getLogger(__name__)

MAX_BODY: Final = 8 * 1024 * 1024
"""Two objects of etcd's 1.5 MiB each, as JSON, and the request around them."""


def create_admission_app(gate: Gatekeeper, snapshot: Snapshot) -> FastAPI:
    """Makes the ASGI app.

    Args:
        gate: answers.
        snapshot: what the watches have told.
    """
    app = FastAPI(title="pact-operator admission", docs_url=None, redoc_url=None, openapi_url=None)

    async def admit(request: Request) -> JSONResponse:
        """Answers one AdmissionReview."""
        review = review_of(await _body(request), workload_facts)
        if isinstance(review, str):
            raise HTTPException(400, review)
        if not gate.opened():
            raise HTTPException(503, "The operator has just started, and is still reading its objects.")
        response = await _decide(gate, snapshot, review)
        if not response.allowed:
            logger.info("admission: Deployment %s/%s refused: %s", review.namespace, review.name, response.message)
        return JSONResponse(response.as_review(review.uid))

    app.add_route("/admission", admit, methods=["POST"])
    return app


async def _decide(gate: Gatekeeper, snapshot: Snapshot, review: Review) -> Response:
    inquiry = inquire(review, _objects(snapshot, review.namespace))
    asked: list[tuple[Ask, str]] = []
    warnings = list(inquiry.warnings)
    for ask in inquiry.asks:
        environment = gate.environment(Key(names.BROKER, review.namespace, ask.broker))
        if environment is None:
            warnings.append(without_environment(ask))
        else:
            asked.append((ask, environment))
    answers: list[Decision] = await asyncio.gather(
        *(
            gate.answer(
                Key(names.BROKER, review.namespace, ask.broker), ask.question(environment), verify=not review.dry_run
            )
            for ask, environment in asked
        )
    )
    return respond(Inquiry(tuple(ask for ask, _ in asked), tuple(warnings)), answers)


def _objects(snapshot: Snapshot, namespace: str) -> Iterable[PactConsumer | PactProvider]:
    for body in snapshot.bodies(names.PROVIDER, namespace):
        if isinstance(provider := PactProvider.parse(body), PactProvider):
            yield provider
    for body in snapshot.bodies(names.CONSUMER, namespace):
        if isinstance(consumer := PactConsumer.parse(body), PactConsumer):
            yield consumer


async def _body(request: Request) -> Any:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY:
            raise HTTPException(413, f"An AdmissionReview may have {MAX_BODY} bytes.")
    try:
        return json.loads(bytes(content))
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is no JSON: send an AdmissionReview.") from None


class Certificate:
    """A certificate and its key in a folder, `tls.crt` and `tls.key`, which may be renewed at any time.

    Args:
        folder: as the kubelet mounts a Secret of the type `kubernetes.io/tls`.

    Raises:
        OSError: the files cannot be read.
        ssl.SSLError: they are no certificate with its key.
    """

    def __init__(self, folder: Path) -> None:
        self._certificate, self._key = folder / "tls.crt", folder / "tls.key"
        self._seen = self._look()
        self._current = self._load()
        # Each connection looks whether there is a newer one: no timer, and never a stale answer.
        self.context = self._current
        self.context.sni_callback = self._renew

    def _renew(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        try:
            seen = self._look()
            if seen != self._seen:
                self._current, self._seen = self._load(), seen
                logger.info("admission: the certificate has been renewed")
        except (OSError, ssl.SSLError) as error:
            # In the middle of a renewal; the last one serves on.
            logger.warning("admission: the new certificate cannot be used yet: %s", error)
        connection.context = self._current

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        stats = [path.stat() for path in (self._certificate, self._key)]
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._certificate, self._key)
        return context
