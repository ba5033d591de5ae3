"""The operator killed between every two of its effects, against a real API server and a real broker.

Each life of it has one effect on the cluster. Either it never hears the answer, or it goes on to whatever comes next -
a request to the broker, another decision - and dies in front of its next effect. Together these are all the places
where a process can end between two steps.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import pytest

from brokerclient import BrokerClient
from pact_operator.adapters.cluster import KubernetesCluster
from pact_operator.core.facts import Key
from pact_operator.core.plan_broker import webhook_uuid
from tests.integration.conftest import Recorder, StartOperator, condition_of, until
from tests.integration.scene import (
    CONSUMER,
    PROVIDER,
    end_pod,
    job_of,
    make_broker,
    make_consumer,
    make_provider,
    pod_of,
    publish,
    publisher_says,
    verifier_says,
    verify,
)
from tests.support.apiserver import Api

pytestmark = pytest.mark.apiserver

T = TypeVar("T")

# What may be read on the way: nothing went wrong but the operator itself, and nobody has to act.
REASONS = {
    ("PactBroker", "Ready"): {"Reachable"},
    ("PactBroker", "WebhookRegistered"): {"Registering", "Registered"},
    ("PactConsumer", "Ready"): {"TestsRunning", "Published"},
    ("PactConsumer", "Deployable"): {"VersionNotInBroker", "CounterpartNotDeployed"},
    ("PactProvider", "Ready"): {"NothingToVerify", "VerificationPending", "AllVerified"},
    ("PactProvider", "Synced"): {"InSync"},
    ("PactProvider", "Deployable"): {"NothingToCheck"},
    ("PactVerification", "Succeeded"): {"Pending", "Running", "Confirming", "Passed"},
    ("PactVerification", "ResultPublished"): {"Confirming", "ResultsReadBack"},
}
KINDS = ("PactBroker", "PactConsumer", "PactProvider", "PactVerification")
LIFE_SECONDS = 60.0
# Without an effect for so long the operator is taken to be at rest. On a slow machine it may not be: then the world
# only moves on sooner.
REST_SECONDS = 0.7
MANY_LIVES = 60


class Mortal(Recorder):
    """Lets one effect through, and then nothing any more.

    Args:
        cluster: the API server.
        deaf: whether the operator dies before it hears of the effect's answer, not in front of its next effect.
    """

    def __init__(self, cluster: KubernetesCluster, *, deaf: bool) -> None:
        super().__init__(cluster)
        self.effect = ""
        self.dead = asyncio.Event()
        self._deaf = deaf
        self._turn = asyncio.Lock()

    async def create(self, manifest: Mapping[str, Any]) -> None:
        await self._only(f"create {manifest['kind']}", lambda: self._cluster.create(manifest))

    async def delete(self, api_version: str, kind: str, namespace: str, name: str) -> None:
        await self._only(f"delete {kind}", lambda: self._cluster.delete(api_version, kind, namespace, name))

    async def patch_status(self, key: Key, status: Mapping[str, Any], resource_version: str) -> None:
        reasons = ", ".join(f"{c['type']} {c['reason']}" for c in status["conditions"])
        said = f"status {key.kind}: {reasons}"
        await self._only(said, lambda: self._cluster.patch_status(key, status, resource_version))

    async def set_finalizers(self, key: Key, finalizers: Sequence[str], resource_version: str) -> str | None:
        said = f"finalizers {list(finalizers)}"
        return await self._only(said, lambda: self._cluster.set_finalizers(key, finalizers, resource_version))

    async def event(self, key: Key, uid: str, type_: str, reason: str, message: str) -> None:
        await self._only(f"event {reason}", lambda: self._cluster.event(key, uid, type_, reason, message))

    async def _only(self, effect: str, act: Callable[[], Awaitable[T]]) -> T:
        async with self._turn:
            if self.effect:
                await self._die()
            self.effect = effect
            answer = await act()
            if self._deaf:
                await self._die()
            return answer

    async def _die(self) -> None:
        self.dead.set()
        await asyncio.Event().wait()


async def world(api: Api, namespace: str, broker: BrokerClient) -> AsyncIterator[None]:
    """What kubelet, tests, publisher and verifier do, step by step; they know nothing of the operator's deaths."""
    for role, container in (("consumer", "publisher"), ("verifier", "verifier")):
        pod = await pod_of(api, await job_of(api, namespace, role))
        yield
        running = {"name": container, "image": "image", "imageID": "id", "ready": True, "restartCount": 0}
        running["state"] = {"running": {"startedAt": pod["metadata"]["creationTimestamp"]}}
        status = {"phase": "Running", "containerStatuses": [running]}
        await api.patch("Pod", namespace, pod["metadata"]["name"], {"status": status}, "/status")
        yield
        if role == "consumer":
            publish(broker)
            yield
            await end_pod(api, pod, container, 0, publisher_says())
        else:
            sha = broker.pacts_for_verification(PROVIDER, selectors=[{"mainBranch": True}])[0].content_sha
            # The end is seen before the results are: it has to be confirmed.
            await end_pod(api, pod, container, 0, verifier_says("Passed", sha))
            yield
            verify(broker)
        yield


class History:
    """All lives of the operator, one after the other, and what could be seen in between."""

    def __init__(
        self, api: Api, namespace: str, start: StartOperator, world: AsyncIterator[None], *, deaf: bool
    ) -> None:
        self.effects: list[str] = []
        self.seen: dict[tuple[str, str], set[str]] = {}
        self.made: dict[str, set[str]] = {"Job": set(), "PactVerification": set()}
        self._api = api
        self._namespace = namespace
        self._start = start
        self._deaf = deaf
        self._world = world

    async def live_until(self, done: Callable[[], Awaitable[Any]]) -> None:
        """One life after the other until something holds; the world moves when the operator is at rest."""
        while not await done():
            assert len(self.effects) < MANY_LIVES, f"it comes to no end: {self}"
            async with self._start(partial(Mortal, deaf=self._deaf)) as operator:
                life = operator.recorder
                assert isinstance(life, Mortal)
                await self._live(life, done)
            self.effects.append(life.effect)
            await self._look()

    async def _live(self, life: Mortal, done: Callable[[], Awaitable[Any]]) -> None:
        deadline = time.monotonic() + LIFE_SECONDS
        while not await done():
            try:
                await asyncio.wait_for(life.dead.wait(), REST_SECONDS)
            except TimeoutError:
                await anext(self._world, None)
            else:
                return
            assert time.monotonic() < deadline, f"it hangs after {self}; then {life.effect}"

    async def _look(self) -> None:
        for kind in KINDS:
            for body in await self._api.list(kind, self._namespace):
                for condition in (body.get("status") or {}).get("conditions") or []:
                    self.seen.setdefault((kind, condition["type"]), set()).add(condition["reason"])
        for kind, uids in self.made.items():
            uids |= {body["metadata"]["uid"] for body in await self._api.list(kind, self._namespace)}

    def __str__(self) -> str:
        return "; ".join(self.effects)


@pytest.mark.parametrize("deaf", [True, False], ids=["before-the-answer", "before-the-next"])
async def test_killed_after_each_of_its_effects_it_ends_as_if_it_had_lived(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator, deaf: bool
) -> None:
    await make_broker(api, namespace, broker.base_url, webhook={"enabled": True}, environment={"name": "test"})
    await make_provider(api, namespace)
    await make_consumer(api, namespace)
    history = History(api, namespace, start_operator, world(api, namespace, broker), deaf=deaf)
    uuid = webhook_uuid((await api.get("PactBroker", namespace, "broker"))["metadata"]["uid"])

    async def converged() -> bool:
        wanted = [
            until(api, "PactBroker", namespace, "broker", "WebhookRegistered", "Registered"),
            until(api, "PactConsumer", namespace, "web", "Ready", "Published"),
            until(api, "PactProvider", namespace, "users", "Ready", "AllVerified"),
        ]
        runs = await api.list("PactVerification", namespace)
        verdicts = [condition_of(run, "Succeeded").get("reason") == "Passed" for run in runs]
        return bool(verdicts) and all(verdicts) and all([await ask() for ask in wanted])

    await history.live_until(converged)
    for place, reasons in history.seen.items():
        assert reasons <= REASONS[place], f"{place} on the way: {history}"
    assert len(history.made["Job"]) == 2, f"not one Job each for consumer and provider: {history}"
    assert len(history.made["PactVerification"]) == 1, f"more than one run of the same work: {history}"
    assert len(history.effects) > 8, f"it was hardly ever killed: {history}"
    results = broker.matrix([{"pacticipant": CONSUMER}, {"pacticipant": PROVIDER}]).rows
    assert [row.success for row in results] == [True]
    assert broker.webhook(uuid) is not None
    assert [environment.name for environment in broker.environments()] == ["test"]

    # And the way out: the webhook goes before the object, whenever the operator dies on the way.
    await api.delete("PactBroker", namespace, "broker")

    async def gone() -> bool:
        return await api.find("PactBroker", namespace, "broker") is None

    await history.live_until(gone)
    assert broker.webhook(uuid) is None, f"it was left behind: {history}"
