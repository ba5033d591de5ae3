"""The operator as the process that a Deployment runs."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import until
from tests.integration.scene import make_provider
from tests.support.apiserver import Api, ApiServer, eventually
from tests.support.broker import free_port, source_path

pytestmark = pytest.mark.apiserver

Process = asyncio.subprocess.Process


@pytest.fixture
async def start(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> AsyncIterator[Callable[[], Awaitable[tuple[Process, str]]]]:
    started: list[Process] = []

    async def run() -> tuple[Process, str]:
        port, health = free_port(), free_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pact_operator",
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": source_path(),
                "KUBECONFIG": str(apiserver.kubeconfig("operator")),
                "PACT_OPERATOR_WATCH_NAMESPACES": namespace,
                "PACT_OPERATOR_VERIFIER_IMAGE": "verifier:1",
                "PACT_OPERATOR_PUBLISHER_IMAGE": "publisher:1",
                "PACT_OPERATOR_LOG_FORMAT": "json",
                "PACT_OPERATOR_HTTP_PORT": str(port),
                "PACT_OPERATOR_HEALTH_PORT": str(health),
            },
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        await eventually(lambda: answers(f"http://127.0.0.1:{port}/readyz", process), "the operator is ready")
        await eventually(lambda: answers(f"http://127.0.0.1:{health}/healthz", process), "the operator is healthy")
        return process, f"http://127.0.0.1:{health}/healthz"

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def answers(url: str, process: Process) -> bool:
    assert process.returncode is None, "the operator has ended"
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(url)).status_code == 200
    except httpx.TransportError:
        return False


async def test_it_works_until_it_is_told_to_end_and_then_ends_cleanly(
    api: Api, namespace: str, start: Callable[[], Awaitable[tuple[Process, str]]]
) -> None:
    await make_provider(api, namespace)
    process, health = await start()
    await eventually(until(api, "PactProvider", namespace, "users", "Ready", "BrokerNotFound"), "it works")
    async with httpx.AsyncClient(trust_env=False) as http:
        assert "secondsSinceLastLook" in (await http.get(health)).json()
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0
    lines = errors.decode().splitlines()
    assert lines
    assert [line for line in lines if not line.startswith('{"')] == [], "every line of the log is JSON"
    assert "Traceback" not in errors.decode()
    body = await api.get("PactProvider", namespace, "users")
    assert "finalizers" not in body["metadata"]
    assert "annotations" not in body["metadata"], "no marks are left on the object"


async def test_a_cluster_without_our_kinds_is_one_sentence(apiserver: ApiServer, tmp_path: Path) -> None:
    """Anything else that answers like an API server will do: here the real one behind a path that serves no groups."""
    bare = ApiServer(f"{apiserver.url}/api/v1", apiserver.tokens, tmp_path)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pact_operator",
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": source_path(),
            "KUBECONFIG": str(bare.kubeconfig("admin")),
            "PACT_OPERATOR_VERIFIER_IMAGE": "verifier:1",
            "PACT_OPERATOR_PUBLISHER_IMAGE": "publisher:1",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert "PactBroker, PactConsumer, PactProvider, PactVerification" in errors.decode()
    assert "Traceback" not in errors.decode()
