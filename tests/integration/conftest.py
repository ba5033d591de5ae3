"""The whole operator in this process, against a real API server."""

import asyncio
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import httpx
import pytest
import yaml

from brokerclient import BasicAuth, BrokerClient
from pact_operator.adapters.cluster import KubernetesCluster
from pact_operator.core.facts import Key
from pact_operator.handlers.operator import operate
from pact_operator.settings import OperatorSettings
from tests.support.apiserver import ROOT, Api, ApiServer, eventually, grant, helm, running_apiserver
from tests.support.broker import WRITER, free_port, running_broker

HOOK_TOKEN = "a-token-for-tests"
GATE_TOKEN = "another-token-for-tests"


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with running_apiserver(tmp_path_factory.mktemp("apiserver")) as server:
        grant(server, _rules_of_the_chart())
        yield server


def _rules_of_the_chart() -> list[Any]:
    """The operator's rights as the chart grants them, for the one Secret that the tests use."""
    rendered = subprocess.run(
        [
            str(helm()),
            "template",
            "test",
            str(ROOT / "charts/pact-operator"),
            "--show-only=templates/rbac.yaml",
            "--set=rbac.brokerSecretNames={broker-credentials}",
        ],
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout
    [role] = [item for item in yaml.safe_load_all(rendered) if item and item["kind"] == "ClusterRole"]
    return list(role["rules"])


@pytest.fixture
async def api(apiserver: ApiServer) -> AsyncIterator[Api]:
    async with apiserver.api() as client:
        yield client


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerClient]:
    """A real broker with credentials, which may call hooks on loopback; the client may write."""
    allowed = {"PACT_BROKER_WEBHOOK_HOST_WHITELIST": "127.0.0.1", "PACT_BROKER_WEBHOOK_SCHEME_WHITELIST": "http"}
    with (
        running_broker(tmp_path, environment=allowed) as url,
        BrokerClient(url, auth=BasicAuth(*WRITER)) as client,
    ):
        yield client


@pytest.fixture
async def namespace(api: Api) -> str:
    return await api.namespace(f"t-{uuid4().hex[:8]}")


class Recorder:
    """The API server as the operator writes to it, with every write counted."""

    def __init__(self, cluster: KubernetesCluster) -> None:
        self._cluster = cluster
        self.writes: Counter[str] = Counter()

    async def create(self, manifest: Mapping[str, Any]) -> None:
        self.writes[f"create {manifest['kind']}"] += 1
        await self._cluster.create(manifest)

    async def delete(self, api_version: str, kind: str, namespace: str, name: str) -> None:
        self.writes[f"delete {kind}"] += 1
        await self._cluster.delete(api_version, kind, namespace, name)

    async def patch_status(self, key: Key, status: Mapping[str, Any], resource_version: str) -> None:
        self.writes[f"status {key.kind}"] += 1
        await self._cluster.patch_status(key, status, resource_version)

    async def set_finalizers(self, key: Key, finalizers: Sequence[str], resource_version: str) -> str | None:
        self.writes["finalizers"] += 1
        return await self._cluster.set_finalizers(key, finalizers, resource_version)

    async def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        return await self._cluster.secret(namespace, name)

    async def complaint(self, namespace: str, job: str) -> str:
        return await self._cluster.complaint(namespace, job)

    async def event(self, key: Key, uid: str, type_: str, reason: str, message: str) -> None:
        self.writes["event"] += 1
        await self._cluster.event(key, uid, type_, reason, message)


@dataclass
class Running:
    """A running operator."""

    url: str
    namespace: str
    recorder: Recorder
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def writes(self) -> Counter[str]:
        return self.recorder.writes

    async def looks(self, kind: str) -> float:
        """How many looks at objects of a kind have ended."""
        return await self.metric(f'pact_operator_looks_total{{kind="{kind}"')

    async def metric(self, beginning: str) -> float:
        """The sum of all series that begin like this."""
        async with httpx.AsyncClient(trust_env=False) as http:
            text = (await http.get(f"{self.url}/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith(beginning)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    async def hook(self, body: Any = None) -> int:
        """Sends a hook of the PactBroker `broker`, and returns the status of the answer."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(
                f"{self.url}/hooks/{self.namespace}/broker",
                json=body,
                headers={"Authorization": f"Bearer {HOOK_TOKEN}"},
            )
        return answer.status_code

    async def ask(self, pacticipant: str, version: str, *, post: bool = False, **fields: str) -> dict[str, Any]:
        """Asks the gate of the PactBroker `broker`, and returns its answer with the HTTP status as `status`."""
        question = {"pacticipant": pacticipant, "version": version, **fields}
        url, headers = f"{self.url}/v1/gate/{self.namespace}/broker", {"Authorization": f"Bearer {GATE_TOKEN}"}
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            if post:
                answer = await http.post(url, json=question, headers=headers)
            else:
                answer = await http.get(url, params=question, headers=headers)
        return {**answer.json(), "status": answer.status_code}

    async def looked_again(self, kind: str, times: int = 2) -> None:
        """Waits until objects of a kind have been looked at some more times, hinting at them all the while."""
        before = await self.looks(kind)

        async def enough() -> bool:
            assert await self.hook() == 202
            return await self.looks(kind) >= before + times

        await eventually(enough, f"{times} more looks at {kind}")


class StartOperator(Protocol):
    """Starts an operator, which ends with the context."""

    def __call__(
        self, cluster: Callable[[KubernetesCluster], Recorder] = Recorder, **more: Any
    ) -> AbstractAsyncContextManager[Running]:
        """Args: cluster: what stands between the operator's engine and the API server; more: further settings."""


@pytest.fixture
def start_operator(
    apiserver: ApiServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StartOperator:
    monkeypatch.setenv("KUBECONFIG", str(apiserver.kubeconfig("operator")))
    token = tmp_path / "token"
    token.write_text(HOOK_TOKEN, encoding="utf-8")
    gate_token = tmp_path / "gate-token"
    gate_token.write_text(GATE_TOKEN, encoding="utf-8")
    # The same in all runs of a test, as a Service's address is: brokers are told of it.
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    @asynccontextmanager
    async def start(cluster: Callable[[KubernetesCluster], Recorder] = Recorder, **more: Any) -> AsyncIterator[Running]:
        settings = OperatorSettings(
            verifier_image="pact-operator/verifier:test",
            publisher_image="pact-operator/publisher:test",
            watch_namespaces=(namespace,),
            hook_url=url,
            hook_token_file=token,
            gate_token_file=gate_token,
            http_port=port,
            health_port=free_port(),
            http_host="127.0.0.1",
        )
        kubernetes = await KubernetesCluster.connect()
        running = Running(url, namespace, cluster(kubernetes))
        task = asyncio.create_task(operate(replace(settings, **more), stop=running.stopping, cluster=running.recorder))
        try:
            await eventually(lambda: _ready(url, task), "the operator is ready")
            yield running
        finally:
            running.stopping.set()
            await asyncio.wait_for(task, 30)
            await kubernetes.close()

    return start


async def _ready(url: str, task: "asyncio.Task[None]") -> bool:
    if task.done():
        task.result()
        raise AssertionError("the operator has ended")
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(f"{url}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


def condition_of(body: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A condition of an object, empty if it has none of that type."""
    conditions = (body.get("status") or {}).get("conditions") or []
    return next((dict(condition) for condition in conditions if condition["type"] == kind), {})


def until(
    api: Api, kind: str, namespace: str, name: str, condition: str, *reasons: str
) -> Callable[[], Awaitable[dict[str, Any] | None]]:
    """Asks for an object whose condition has one of these reasons."""

    async def ask() -> dict[str, Any] | None:
        body = await api.find(kind, namespace, name)
        return body if body and condition_of(body, condition).get("reason") in reasons else None

    return ask
