"""Who asks the gate: the Job, and clients that do what Argo Rollouts and Flagger do, against the whole operator."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from brokerclient import BrokerClient
from tests.integration.conftest import Running, StartOperator, until
from tests.integration.scene import CONSUMER, PROVIDER, make_broker, make_provider, publish, verify
from tests.support.apiserver import ROOT, Api, eventually

pytestmark = pytest.mark.apiserver

TOKEN: Final = "the-gates-token"
EXAMPLES: Final = ROOT / "examples/gate"


Start = Callable[[], AbstractAsyncContextManager[Running]]


@pytest.fixture
def asked(api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator, tmp_path: Path) -> Start:
    """Starts an operator whose gate knows a deployed consumer, and two provider versions: p1 holds, p2 does not."""
    publish(broker)
    broker.record_deployment(CONSUMER, "c1", broker.ensure_environment("production").uuid)
    verify(broker, "p1")
    verify(broker, "p2", success=False)
    token = tmp_path / "gate-token"
    token.write_text(TOKEN, encoding="utf-8")

    @asynccontextmanager
    async def start() -> AsyncIterator[Running]:
        async with start_operator(gate_token_file=token) as running:
            await make_broker(api, namespace, broker.base_url, environment={"name": "production"})
            await make_provider(api, namespace)
            await eventually(until(api, "PactProvider", namespace, "users", "Ready", "AllVerified"), "p1 holds")
            yield running

    return start


class Job:
    """The gate Job as a process; its image does nothing else."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def line_with(self, text: str) -> None:
        """Waits for a line of its log."""
        assert self.process.stdout
        while text not in "".join(self.lines[-1:]):
            line = await asyncio.wait_for(self.process.stdout.readline(), 30)
            assert line, "".join(self.lines)
            self.lines.append(line.decode())

    async def end(self) -> tuple[int | None, str]:
        """Waits for its end: exit code and log."""
        output, _ = await asyncio.wait_for(self.process.communicate(), 60)
        return self.process.returncode, "".join(self.lines) + output.decode()


async def job(running: Running, tmp_path: Path, version: str, **env: str) -> Job:
    given = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "jobs/gate/src"),
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": "127.0.0.1",
        "GATE_URL": running.url,
        "GATE_NAMESPACE": running.namespace,
        "GATE_BROKER": "broker",
        "GATE_PACTICIPANT": PROVIDER,
        "GATE_VERSION": version,
        "GATE_TOKEN": TOKEN,
        "GATE_POLL_SECONDS": "0.1",
        "GATE_TIMEOUT_SECONDS": "30",
        "GATE_TERMINATION_PATH": str(tmp_path / "termination"),
    }
    return Job(
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gate",
            env=given | env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    )


async def test_the_job_ends_as_the_gate_answers(asked: Start, tmp_path: Path) -> None:
    async with asked() as running:
        code, log = await (await job(running, tmp_path, "p1")).end()
        assert (code, f"ALLOWED: {PROVIDER} p1 to production" in log) == (0, True), log
        code, log = await (await job(running, tmp_path, "p2")).end()
        assert (code, f"REFUSED: {PROVIDER} p2 to production: {CONSUMER} c1 in production: a user: " in log) == (
            1,
            True,
        ), log
        assert "What to do: Read the mismatch" in log
        code, log = await (
            await job(running, tmp_path, "p1", GATE_PACTICIPANT="nobody", GATE_TIMEOUT_SECONDS="0.5")
        ).end()
        assert (code, "CANNOT TELL" in log) == (75, True), log
        code, log = await (await job(running, tmp_path, "p1", GATE_TOKEN="another")).end()
        assert (code, "The gate refuses the token" in log) == (75, True), log
        code, log = await (await job(running, tmp_path, "p1", GATE_BROKER="none", GATE_TIMEOUT_SECONDS="0.5")).end()
        assert (code, "There is no PactBroker 'none'" in log) == (75, True), log


async def test_the_job_has_a_version_verified_and_waits_for_it(
    asked: Start, api: Api, broker: BrokerClient, tmp_path: Path
) -> None:
    async with asked() as running:
        waiting = await job(running, tmp_path, "p3", GATE_VERIFY="true")
        await waiting.line_with("Pending")

        async def owed() -> bool:
            runs = await api.list("PactVerification", running.namespace)
            return any(run["spec"]["providerVersion"] == "p3" for run in runs)

        await eventually(owed, "the version is verified")
        verify(broker, "p3")
        code, log = await waiting.end()
        assert (code, f"ALLOWED: {PROVIDER} p3 to production" in log) == (0, True), log


# --- Argo Rollouts: metricproviders/webmetric of the version that tests/charts/test_gate_examples.py names -----------


def _filled(text: str, arguments: Mapping[str, str]) -> str:
    return re.sub(r"\{\{args\.([\w-]+)\}\}", lambda found: arguments[found[1]], text)


async def _measure(running: Running, version: str) -> tuple[str, Any]:
    """One measurement of the example's web metric: GET, its headers, its JSON path; anything but 2xx is an error."""
    template = yaml.safe_load((EXAMPLES / "argo-rollouts/analysistemplate.yaml").read_text(encoding="utf-8"))
    [metric] = template["spec"]["metrics"]
    web = metric["provider"]["web"]
    arguments = {arg["name"]: arg.get("value", "") for arg in template["spec"]["args"]}
    arguments |= {"pacticipant": PROVIDER, "version": version, "namespace": running.namespace, "token": TOKEN}
    arguments["broker"] = "broker"
    url = _filled(web["url"], arguments).replace("http://pact-operator.pact-system.svc:8080", running.url)
    headers = {header["key"]: _filled(header["value"], arguments) for header in web["headers"]}
    async with httpx.AsyncClient(trust_env=False, timeout=web["timeoutSeconds"]) as http:
        answer = await http.get(url, headers=headers)
    if not answer.is_success:
        return "Error", answer.status_code
    assert web["jsonPath"] == "{$}", "the whole answer is what the conditions are evaluated on"
    result = answer.json()
    # `!result.allowed && !result.retry`, `result.allowed`
    if not result["allowed"] and not result["retry"]:
        return "Failed", result
    return ("Successful" if result["allowed"] else "Inconclusive"), result


# --- Flagger: pkg/controller/webhook.go of the version that tests/charts/test_gate_examples.py names -----------------


async def _confirm(running: Running, version: str) -> tuple[bool, str]:
    """Calls the example's webhook: POST of its payload, the credentials of the URL, more than 202 is a no."""
    canary = yaml.safe_load((EXAMPLES / "flagger/canary.yaml").read_text(encoding="utf-8"))
    [webhook] = canary["spec"]["analysis"]["webhooks"]
    url = httpx.URL(webhook["url"].replace("${PACT_GATE_TOKEN}", TOKEN))
    assert url.path == "/v1/gate/shop/pact-broker"
    payload = {
        "name": canary["metadata"]["name"],
        "namespace": canary["metadata"]["namespace"],
        "phase": "Progressing",
        "checksum": "5b8b6c4d9f",
        "metadata": webhook["metadata"] | {"pacticipant": PROVIDER, "version": version},
    }
    assert set(payload["metadata"]) == {"pacticipant", "version", "verify"}
    assert all(isinstance(value, str) for value in payload["metadata"].values()), "Flagger passes on texts alone"
    target = f"{running.url}/v1/gate/{running.namespace}/broker"
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        # What Go's client makes of user and password in a URL.
        answer = await http.post(target, json=payload, auth=(url.username, url.password))
    return answer.status_code <= 202, answer.text


async def test_argo_rollouts_and_flagger_understand_the_answers(asked: Start) -> None:
    async with asked() as running:
        assert (await _measure(running, "p1"))[0] == "Successful"
        assert (await _confirm(running, "p1"))[0]
        phase, result = await _measure(running, "p2")
        assert (phase, result["verdict"]) == ("Failed", "Broken")
        goes, said = await _confirm(running, "p2")
        assert not goes
        assert "ContractBroken" in said, "the reason is in what Flagger logs"
        assert (await _measure(running, "p3"))[0] == "Inconclusive", "waiting helps: it is being verified"
        assert not (await _confirm(running, "p3"))[0]
