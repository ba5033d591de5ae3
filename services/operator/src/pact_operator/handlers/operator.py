"""The whole operator in one event loop: kopf's watches, the engine's workers, the HTTP endpoints."""

import asyncio
import contextlib
import logging
import resource
import signal
import ssl
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import kopf
import uvicorn
from fastapi import FastAPI

from pact_operator.adapters.brokers import BrokerThreads
from pact_operator.adapters.clock import SystemClock
from pact_operator.adapters.cluster import KubernetesCluster
from pact_operator.api import names
from pact_operator.core.facts import Key, Settings
from pact_operator.engine.queue import KeyedQueue
from pact_operator.engine.reconciler import Reconciler
from pact_operator.handlers import lifecycle, watches
from pact_operator.handlers.admission import Certificate, create_admission_app
from pact_operator.handlers.hooks import create_app
from pact_operator.handlers.indexes import IndexSnapshot
from pact_operator.hooktoken import HookToken
from pact_operator.metrics import Metrics
from pact_operator.ports import Cluster, ClusterError
from pact_operator.settings import OperatorSettings

logger = logging.getLogger(__name__)

HANDLERS: Final = (lifecycle, watches)
"""Importing these registers their functions with kopf."""

NESTING: Final = 12_000
"""Levels that JSON may nest: more than the API server lets through (10,000). With Python's thousand, one object whose
Pod template nests deeper would end the watches, and so the operator, for everybody. Some 4 MiB of stack, of 8."""

WATCHED: Final = (
    *((names.API_VERSION, plural, "") for plural in names.PLURALS.values()),
    ("batch/v1", "jobs", names.LABEL_ROLE),
    ("v1", "pods", names.LABEL_ROLE),
    ("apps/v1", "deployments", ""),
)
"""API version, plural and label selector of what `watches` watches."""

LISTED_SECONDS: Final = 5.0
"""How long a list is good for that the start is held against; and what a watch may lag behind one."""

COMPARE_SECONDS: Final = 600.0
"""How often what the watches have told is compared with a list."""

CONNECTIONS: Final = 1500
"""Connections at the same time to the HTTP endpoints; more are answered with 503. A pipeline of many services may ask
the gate a thousand questions at once."""

FILES: Final = 4096
"""Open files, sockets included: those connections, the watches and the brokers'."""

WORKERS: Final = 32
"""Looks at the same time. They mostly wait for the API server or a broker."""


async def operate(
    settings: OperatorSettings,
    *,
    stop: asyncio.Event | None = None,
    cluster: Cluster | None = None,
) -> None:
    """Runs the operator until it is told to stop (SIGTERM, SIGINT, or `stop`).

    Args:
        settings: see `OperatorSettings`.
        stop: ends it when set; for tests and embedding.
        cluster: takes the place of the API server for the engine; watches go to the one that
            `KubernetesCluster.connect` finds in any case.

    Raises:
        ClusterError: there is no cluster to work in, or it does not know our kinds.
        RuntimeError: a part ended by itself; whatever started the process should start it anew.
    """
    sys.setrecursionlimit(max(sys.getrecursionlimit(), NESTING))
    _allow_files(FILES)
    kubernetes = await KubernetesCluster.connect()
    try:
        await kubernetes.require_kinds()
        await _run(settings, stop or asyncio.Event(), kubernetes, cluster or kubernetes)
    finally:
        await kubernetes.close()


def _allow_files(wanted: int) -> None:
    """Raises the limit of open files as far as it may be: some container runtimes give 1,024, sockets included."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == unlimited else min(wanted, hard), hard))


async def _run(settings: OperatorSettings, stop: asyncio.Event, kubernetes: KubernetesCluster, api: Cluster) -> None:
    token = HookToken(settings.hook_token_file)
    metrics = Metrics()
    brokers = BrokerThreads(api.secret, token.value, observe=metrics.asked)
    queue: KeyedQueue[Key] = KeyedQueue(cap=60.0)
    metrics.watch_queue(lambda: len(queue), queue.origins)
    snapshot = IndexSnapshot()
    clock = SystemClock()
    metrics.watch_objects(snapshot.everywhere, clock.now)
    reconciler = Reconciler(
        snapshot=snapshot,
        cluster=api,
        brokers=brokers,
        clock=clock,
        settings=lambda: _facts(settings, token),
        queue=queue,
        observer=metrics,
    )
    watching = asyncio.Event()
    app = create_app(reconciler, token, metrics, watching.is_set, HookToken(settings.gate_token_file))
    servers = {"http": _Server(_http(app, settings, settings.http_port))}
    if settings.admission_certificate_dir is not None:
        admission = create_admission_app(reconciler.gate, snapshot)
        servers["admission"] = _Server(_https(admission, settings, settings.admission_certificate_dir))
    parts = {
        asyncio.create_task(reconciler.run(WORKERS), name="engine"),
        *(asyncio.create_task(server.serve(), name=name) for name, server in servers.items()),
        asyncio.create_task(_compare(reconciler, snapshot, kubernetes, settings, watching), name="lists"),
    }
    signals = asyncio.create_task(_obey_signals(stop, watching), name="signals")
    # kopf takes every task that is made after its own for one of its own, and ends it when it stops: the others, with
    # the workers, must have begun before.
    await asyncio.sleep(0)
    parts.add(
        asyncio.create_task(
            kopf.operator(
                memo=kopf.Memo(reconciler=reconciler, snapshot=snapshot),
                standalone=True,
                clusterwide=not settings.watch_namespaces,
                namespaces=settings.watch_namespaces,
                liveness_endpoint=f"http://{settings.http_host}:{settings.health_port}/healthz",
                stop_flag=stop,
                ready_flag=watching,
            ),
            name="watches",
        )
    )
    try:
        await _until_one_ends(parts)
    finally:
        signals.cancel()
        stop.set()
        for server in servers.values():
            server.should_exit = True
        await _end(parts)
        brokers.close()


async def _obey_signals(stop: asyncio.Event, watching: asyncio.Event) -> None:
    """Takes the signals over from kopf, which after one of its own waits 5 seconds for its waiter on `stop`."""
    await watching.wait()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _compare(
    reconciler: Reconciler,
    snapshot: IndexSnapshot,
    kubernetes: KubernetesCluster,
    settings: OperatorSettings,
    watching: asyncio.Event,
) -> None:
    """Holds what the watches tell against lists: before the workers begin, and every so often afterwards.

    A watch that was cut off for longer than the API server remembers begins anew, and never tells of what went
    meanwhile. A run that is only thought to be under way would keep its provider waiting for good.
    """
    await _open(reconciler, snapshot, kubernetes, settings, watching)
    while True:
        await asyncio.sleep(COMPARE_SECONDS)
        known = snapshot.known()
        try:
            gone = known - await kubernetes.uids(WATCHED, settings.watch_namespaces)
        except ClusterError as error:
            logger.warning("What the watches have told cannot be compared with a list: %s", error)
            continue
        if gone:
            # Mostly what goes just now: the watches are about to tell of it.
            await asyncio.sleep(LISTED_SECONDS)
        if missed := gone & snapshot.known():
            logger.warning("%d objects went without a word of the watches; all others are looked at.", len(missed))
            snapshot.forget(missed)
            for key in snapshot.ours():
                reconciler.hint(key, "list")


async def _open(
    reconciler: Reconciler,
    snapshot: IndexSnapshot,
    kubernetes: KubernetesCluster,
    settings: OperatorSettings,
    watching: asyncio.Event,
) -> None:
    """Lets the workers begin once the watches have told of everything that the API server lists.

    What is created after the list comes as an event, and is a hint by itself. What was deleted before the watches
    listed it never comes: that is why the list is asked for again.
    """
    await watching.wait()
    while True:
        try:
            listed = await kubernetes.uids(WATCHED, settings.watch_namespaces)
        except ClusterError as error:
            logger.warning("The operator cannot begin yet: %s", error)
            await asyncio.sleep(LISTED_SECONDS)
            continue
        deadline = time.monotonic() + LISTED_SECONDS
        while not snapshot.has_seen(listed):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.05)
        else:
            reconciler.open()
            return


async def _until_one_ends(parts: set[asyncio.Task[None]]) -> None:
    ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    for part in ended:
        if not part.cancelled() and (error := part.exception()) is not None:
            raise RuntimeError(f"The part {part.get_name()!r} of the operator has failed: {error}") from error
        if part.get_name() != "watches":
            # Only the watches may end: they do when the process is told to.
            raise RuntimeError(f"The part {part.get_name()!r} of the operator has ended.")


async def _end(parts: set[asyncio.Task[None]]) -> None:
    for part in parts:
        if part.get_name() in ("engine", "lists"):
            part.cancel()
    _, pending = await asyncio.wait(parts, timeout=10.0)
    for part in pending:
        logger.warning("The part %r of the operator did not end in time.", part.get_name())
        part.cancel()
    await asyncio.gather(*parts, return_exceptions=True)


def _facts(settings: OperatorSettings, token: HookToken) -> Settings:
    return Settings(
        verifier_image=settings.verifier_image,
        publisher_image=settings.publisher_image,
        image_pull_policy=settings.image_pull_policy,
        hook_url=settings.hook_url,
        hook_token_digest=token.digest(),
    )


def _http(app: FastAPI, settings: OperatorSettings, port: int, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.http_host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        limit_concurrency=CONNECTIONS,
        **more,
    )


def _https(app: FastAPI, settings: OperatorSettings, folder: Path) -> uvicorn.Config:
    """The same behind a certificate that may be renewed while it serves.

    Raises:
        RuntimeError: the certificate cannot be used.
    """
    try:
        certificate = Certificate(folder)
        paths = {"ssl_certfile": folder / "tls.crt", "ssl_keyfile": folder / "tls.key"}
        config = _http(app, settings, settings.admission_port, **paths)
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise RuntimeError(f"The certificate of the admission webhook in {folder} cannot be used: {error}") from error
    config.ssl = certificate.context
    return config


class _Server(uvicorn.Server):
    """A server that leaves the process's signals alone: they are handled once, for all parts."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
