"""The operator as the process that a Deployment runs."""

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from brokerclient import BrokerClient
from tests.integration.conftest import GATE_TOKEN, until
from tests.integration.scene import CONSUMER, PROVIDER, make_broker, make_provider, publish, verify
from tests.support.apiserver import Api, ApiServer, eventually
from tests.support.broker import free_port, source_path

pytestmark = pytest.mark.apiserver

Process = asyncio.subprocess.Process


@pytest.fixture
async def start(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> AsyncIterator[Callable[[], Awaitable[tuple[Process, str, str]]]]:
    started: list[Process] = []
    token = tmp_path / "gate-token"
    token.write_text(GATE_TOKEN, encoding="utf-8")

    async def run() -> tuple[Process, str, str]:
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
                "PACT_OPERATOR_GATE_TOKEN_FILE": str(token),
            },
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=few_files,
        )
        started.append(process)
        await eventually(lambda: answers(f"http://127.0.0.1:{port}/readyz", process), "the operator is ready")
        await eventually(lambda: answers(f"http://127.0.0.1:{health}/healthz", process), "the operator is healthy")
        return process, f"http://127.0.0.1:{health}/healthz", f"http://127.0.0.1:{port}"

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


def few_files() -> None:
    """Less than a thousand connections need, as some container runtimes give; the process may raise it."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


async def answers(url: str, process: Process) -> bool:
    assert process.returncode is None, "the operator has ended"
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(url)).status_code == 200
    except httpx.TransportError:
        return False


async def test_it_works_until_it_is_told_to_end_and_then_ends_cleanly(
    api: Api, namespace: str, start: Callable[[], Awaitable[tuple[Process, str, str]]]
) -> None:
    await make_provider(api, namespace)
    process, health, _ = await start()
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


async def test_a_thousand_questions_at_once_are_a_thousand_answers_and_no_storm_for_the_broker(
    api: Api, namespace: str, broker: BrokerClient, start: Callable[[], Awaitable[tuple[Process, str, str]]]
) -> None:
    publish(broker)
    verify(broker)
    place = broker.ensure_environment("production")
    broker.record_deployment(CONSUMER, "c1", place.uuid)
    await make_broker(api, namespace, broker.base_url, environment={"name": "production"})
    process, _, url = await start()

    async def ask(version: str) -> dict[str, Any]:
        """A connection of its own for each, as that many pipelines have."""
        address = f"/v1/gate/{namespace}/broker?pacticipant={PROVIDER}&version={version}"
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        head = f"GET {address} HTTP/1.1\r\nHost: x\r\nX-Pact-Gate-Token: {GATE_TOKEN}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        answer = await reader.read()
        writer.close()
        return dict(json.loads(answer.partition(b"\r\n\r\n")[2]))

    async def asked_of_the_broker() -> float:
        async with httpx.AsyncClient(trust_env=False) as http:
            text = (await http.get(f"{url}/metrics")).text
        sent = [line for line in text.splitlines() if 'operation="can_i_deploy"' in line and '="skipped"' not in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in sent if "_requests_total" in line)

    async def allowed() -> bool:
        return bool((await ask("p1"))["verdict"] == "Allowed")

    await eventually(allowed, "the gate is open")
    before = await asked_of_the_broker()
    equal = await asyncio.gather(*(ask("p1") for _ in range(1000)))
    # On a machine that has no time the broker may not answer in time: then all are told so.
    assert {answer["verdict"] for answer in equal} <= {"Allowed", "CannotTell"}
    assert await asked_of_the_broker() - before <= 100, "equal questions share answers"
    different = await asyncio.gather(*(ask(f"p{number}") for number in range(1000)))
    assert {answer["reason"] for answer in different} <= {
        "Allowed",
        "VersionNotInBroker",
        "GateBusy",
        "BrokerUnavailable",
    }
    assert [answer["version"] for answer in different] == [f"p{number}" for number in range(1000)]
    await eventually(allowed, "the gate is as open as before")
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert len(errors.decode().splitlines()) < 100, "the log tells of it in few lines, if at all"


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
