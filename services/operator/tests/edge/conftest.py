"""The outside in memory: what the ports ask for, with every call recorded in order."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from pact_operator.api import names
from pact_operator.api.v1alpha1 import PactBroker, Selector
from pact_operator.core.facts import (
    Contract,
    Deployed,
    Key,
    Matrix,
    Question,
    Result,
    Settings,
    WorkloadFacts,
)
from pact_operator.core.measures import Ended
from pact_operator.engine.queue import KeyedQueue
from pact_operator.engine.reconciler import Reconciler
from pact_operator.ports import BrokerFailureError

NS = "team"


class FakeClock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time


@dataclass
class World:
    """Snapshot, cluster and brokers in one; `calls` has what was asked of the last two, in order."""

    objects: dict[Key, dict[str, Any]] = field(default_factory=dict)
    job_bodies: list[dict[str, Any]] = field(default_factory=list)
    pod_bodies: list[dict[str, Any]] = field(default_factory=list)
    workloads: dict[tuple[str, str], WorkloadFacts] = field(default_factory=dict)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    errors: dict[str, Exception] = field(default_factory=dict)
    counted: str | None = None
    complaints: dict[str, str] = field(default_factory=dict)
    contracts_in_scope: tuple[Contract, ...] = ()
    held: dict[tuple[str, str], Result] = field(default_factory=dict)
    main_branches: dict[str, str] = field(default_factory=dict)
    webhooks: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    matrix: Matrix = field(default_factory=lambda: Matrix(True))
    mismatches: dict[str, str] = field(default_factory=dict)
    holds_up: asyncio.Event | None = None
    """What the broker waits for before it answers the gate."""
    finalizers_version: str | None = "2"
    deployments: dict[str, tuple[Deployed, ...]] = field(default_factory=dict)
    """Pacticipant -> what the broker holds as deployed."""
    versions: set[tuple[str, str]] = field(default_factory=set)

    def put(self, kind: str, name: str, spec: Mapping[str, Any], **meta: Any) -> Key:
        key = Key(kind, NS, name)
        self.objects[key] = {
            "apiVersion": names.API_VERSION,
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": NS,
                "uid": f"uid-{name}",
                "generation": 1,
                "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                **meta,
            },
            "spec": dict(spec),
        }
        return key

    def called(self, name: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] == name]

    def _call(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        if error := self.errors.get(name):
            raise error

    # the snapshot

    def body(self, key: Key) -> Mapping[str, Any] | None:
        return self.objects.get(key)

    def bodies(self, kind: str, namespace: str) -> Iterable[Mapping[str, Any]]:
        return [body for key, body in self.objects.items() if (key.kind, key.namespace) == (kind, namespace)]

    def verifications(self, namespace: str, provider: str) -> Iterable[Mapping[str, Any]]:
        return [
            body
            for body in self.bodies(names.VERIFICATION, namespace)
            if (body["metadata"].get("labels") or {}).get(names.LABEL_PROVIDER) == provider
        ]

    def jobs(self, namespace: str, role: str, owner: str) -> Iterable[Mapping[str, Any]]:
        return _owned(self.job_bodies, namespace, role, owner)

    def pods(self, namespace: str, role: str, owner: str) -> Iterable[Mapping[str, Any]]:
        return _owned(self.pod_bodies, namespace, role, owner)

    def workload(self, namespace: str, name: str) -> WorkloadFacts | None:
        return self.workloads.get((namespace, name))

    # the cluster

    async def create(self, manifest: Mapping[str, Any]) -> None:
        self._call("create", manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"])

    async def delete(self, api_version: str, kind: str, namespace: str, name: str) -> None:
        self._call("delete", kind, namespace, name)

    async def patch_status(self, key: Key, status: Mapping[str, Any], resource_version: str) -> None:
        self._call("patch_status", key, status, resource_version)

    async def set_finalizers(self, key: Key, finalizers: Sequence[str], resource_version: str) -> str | None:
        self._call("set_finalizers", key, tuple(finalizers), resource_version)
        return self.finalizers_version

    async def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        self._call("secret", namespace, name)
        return None

    async def complaint(self, namespace: str, job: str) -> str:
        self._call("complaint", namespace, job)
        return self.complaints.get(job, "")

    async def event(self, key: Key, uid: str, type_: str, reason: str, message: str) -> None:
        self.calls.append(("event", key, type_, reason))

    # the brokers

    async def check(self, broker: PactBroker) -> None:
        self._call("check", broker.metadata.name)

    async def contracts(
        self,
        broker: PactBroker,
        provider: str,
        selectors: Sequence[Selector],
        *,
        branch: str | None,
        enable_pending: bool,
        wip_since: str | None,
    ) -> tuple[Contract, ...]:
        self._call("contracts", provider, branch, enable_pending, wip_since)
        return self.contracts_in_scope

    async def results(self, broker: PactBroker, provider: str, version: str) -> Mapping[tuple[str, str], Result]:
        self._call("results", provider, version)
        return self.held

    async def fingerprint(self, broker: PactBroker) -> str | None:
        self._call("fingerprint")
        return self.counted

    async def in_use(self, broker: PactBroker) -> Mapping[str, tuple[str, ...]]:
        return {}

    async def main_branch(self, broker: PactBroker, pacticipant: str) -> str | None:
        self._call("main_branch", pacticipant)
        return self.main_branches.get(pacticipant)

    async def ensure_main_branch(self, broker: PactBroker, pacticipant: str, branch: str) -> None:
        self._call("ensure_main_branch", pacticipant, branch)
        self.main_branches.setdefault(pacticipant, branch)

    async def deployed(self, broker: PactBroker, environment: str) -> Mapping[str, tuple[Deployed, ...]]:
        self._call("deployed", environment)
        return dict(self.deployments)

    async def has_version(self, broker: PactBroker, pacticipant: str, version: str) -> bool:
        self._call("has_version", pacticipant, version)
        return (pacticipant, version) in self.versions

    async def record_deployment(
        self, broker: PactBroker, pacticipant: str, version: str, environment: str, instance: str | None
    ) -> None:
        self._call("record_deployment", pacticipant, version, environment, instance)
        held = [one for one in self.deployments.get(pacticipant, ()) if one.instance != instance]
        self.deployments[pacticipant] = (Deployed(f"{pacticipant}-{version}", version, instance), *held)

    async def record_undeployment(self, broker: PactBroker, uuid: str) -> None:
        self._call("record_undeployment", uuid)
        for pacticipant, held in self.deployments.items():
            self.deployments[pacticipant] = tuple(one for one in held if one.uuid != uuid)

    async def can_i_deploy(
        self, broker: PactBroker, question: Question, ignore: Sequence[str], *, hasty: bool
    ) -> Matrix:
        self._call("can_i_deploy", question, tuple(ignore), hasty)
        if self.holds_up is not None:
            await self.holds_up.wait()
        return self.matrix

    async def mismatch(self, broker: PactBroker, result_url: str) -> str:
        self._call("mismatch", result_url)
        return self.mismatches.get(result_url, "")

    async def environments(self, broker: PactBroker) -> frozenset[str]:
        self._call("environments")
        return frozenset({"test"})

    async def ensure_environment(
        self, broker: PactBroker, name: str, display_name: str | None, production: bool
    ) -> None:
        self._call("ensure_environment", name)

    async def webhook(self, broker: PactBroker, uuid: str) -> Mapping[str, Any] | None:
        self._call("webhook", uuid)
        return self.webhooks.get(uuid)

    async def put_webhook(self, broker: PactBroker, uuid: str, definition: Mapping[str, Any]) -> None:
        self._call("put_webhook", uuid, definition)

    async def delete_webhook(self, broker: PactBroker, uuid: str) -> None:
        self._call("delete_webhook", uuid)


def _owned(bodies: Iterable[dict[str, Any]], namespace: str, role: str, owner: str) -> list[dict[str, Any]]:
    wanted = {names.LABEL_ROLE: role, names.LABEL_OWNER: owner}
    return [
        body
        for body in bodies
        if body["metadata"]["namespace"] == namespace and wanted.items() <= body["metadata"]["labels"].items()
    ]


@dataclass
class Looks:
    seen: list[tuple[str, str]] = field(default_factory=list)
    decisions: list[tuple[str, bool, bool]] = field(default_factory=list)

    def ended(self, run: Ended) -> None: ...

    def looked(self, kind: str, outcome: str, seconds: float) -> None:
        self.seen.append((kind, outcome))

    def decided(self, verdict: str, reason: str, *, granted: bool, shadow: bool) -> None:
        self.decisions.append((verdict, granted, shadow))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
def settings() -> Settings:
    return Settings("verifier:1", "publisher:1", hook_url="http://operator", hook_token_digest="abc")


@pytest.fixture
def queue(clock: FakeClock) -> KeyedQueue[Key]:
    return KeyedQueue(now=clock.now, base=1.0, cap=60.0, jitter=lambda: 1.0)


@pytest.fixture
def reconciler(world: World, clock: FakeClock, queue: KeyedQueue[Key], settings: Settings, looks: Looks) -> Reconciler:
    return Reconciler(
        snapshot=world,
        cluster=world,
        brokers=world,
        clock=clock,
        settings=lambda: settings,
        queue=queue,
        observer=looks,
    )


@pytest.fixture
def failing() -> type[BrokerFailureError]:
    return BrokerFailureError
