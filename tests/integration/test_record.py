"""What runs is recorded: the whole operator against a real API server and a real broker; rollouts are played."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from brokerclient import BrokerClient
from tests.integration.conftest import StartOperator, condition_of, until
from tests.integration.scene import PROVIDER, make_broker, make_provider, manifest, publish, verify
from tests.support.apiserver import Api, eventually

pytestmark = pytest.mark.apiserver

FROM = {"fromWorkload": {"name": "users"}}
LABELS = {"app": "users"}


def containers(version: str) -> dict[str, Any]:
    return {"containers": [{"name": "web", "image": f"users:{version}"}]}


async def make_deployment(api: Api, namespace: str, version: str) -> None:
    template = {"metadata": {"labels": LABELS}, "spec": containers(version)}
    await api.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "users", "namespace": namespace},
            "spec": {"replicas": 2, "selector": {"matchLabels": LABELS}, "template": template},
        }
    )


async def apply(api: Api, namespace: str, spec: Mapping[str, Any]) -> None:
    await api.patch("Deployment", namespace, "users", {"spec": spec})


async def roll_out(api: Api, namespace: str, version: str) -> None:
    await apply(api, namespace, {"template": {"spec": containers(version)}})


async def pods(api: Api, namespace: str, updated: int, available: int, there: int | None = None) -> None:
    """Writes what the Deployment controller does: it has seen the present spec, and so many Pods are there."""
    body = await api.get("Deployment", namespace, "users")
    status = {
        "observedGeneration": body["metadata"]["generation"],
        "replicas": updated if there is None else there,
        "updatedReplicas": updated,
        "availableReplicas": available,
        "readyReplicas": available,
    }
    await api.patch("Deployment", namespace, "users", {"status": status}, "/status")


def held(broker: BrokerClient, environment: str = "test") -> list[str]:
    """What the broker holds as deployed of the provider."""
    [place] = [one for one in broker.environments() if one.name == environment]
    return [one.version for one in broker.currently_deployed(place.uuid) if one.pacticipant == PROVIDER]


def record_by_hand(broker: BrokerClient, version: str) -> None:
    [place] = [one for one in broker.environments() if one.name == "test"]
    broker.record_deployment(PROVIDER, version, place.uuid)


async def scene(api: Api, namespace: str, broker: BrokerClient, mode: str = "Record", interval: str = "1s") -> None:
    """A provider whose versions p1 and p2 the broker knows; p1 is being rolled out."""
    publish(broker)
    for version in ("p1", "p2"):
        verify(broker, version)
    records = {"environment": {"name": "test"}, "recording": {"mode": mode}}
    await make_broker(api, namespace, broker.base_url, pollInterval=interval, **records)
    await make_deployment(api, namespace, "p1")
    await make_provider(api, namespace, FROM)


def reason(api: Api, namespace: str, *reasons: str) -> Any:
    return until(api, "PactProvider", namespace, "users", "Recorded", *reasons)


async def test_a_rollout_is_recorded_once_it_has_completed_and_taken_back_when_it_is_gone(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    await scene(api, namespace, broker)
    async with start_operator() as op:
        await eventually(reason(api, namespace, "RolloutInProgress"), "the rollout is seen")
        await pods(api, namespace, updated=2, available=1)
        await op.looked_again("PactProvider")
        assert held(broker) == []
        await pods(api, namespace, updated=2, available=2)
        body = await eventually(reason(api, namespace, "DeploymentRecorded"), "it is recorded")
        assert held(broker) == ["p1"]
        shown = body["status"]["deployment"]
        assert (shown["environment"], shown["running"], shown["inBroker"], shown["recorded"]) == (
            "test",
            "p1",
            ["p1"],
            "p1",
        )

        await roll_out(api, namespace, "p2")
        await eventually(reason(api, namespace, "RolloutInProgress"), "the next rollout is seen")
        await pods(api, namespace, updated=2, available=2, there=3)
        await op.looked_again("PactProvider")
        assert held(broker) == ["p1"], "an old Pod is left"
        await pods(api, namespace, updated=2, available=2)
        await eventually(reason(api, namespace, "DeploymentRecorded"), "the next is recorded")
        assert held(broker) == ["p2"]

        await apply(api, namespace, {"replicas": 0})
        await pods(api, namespace, updated=0, available=0)
        await eventually(reason(api, namespace, "NothingDeployed"), "that nothing runs is recorded")
        assert held(broker) == []
        await apply(api, namespace, {"replicas": 1})
        await pods(api, namespace, updated=1, available=1)
        await eventually(reason(api, namespace, "DeploymentRecorded"), "it is recorded again")
        await api.delete("Deployment", namespace, "users")
        await eventually(reason(api, namespace, "NothingDeployed"), "that it is gone is recorded")
        assert held(broker) == []
        reasons = {event["reason"] for event in await api.list("Event", namespace)}
        assert {"DeploymentRecorded", "NothingDeployed"} <= reasons


async def test_a_record_made_by_hand_is_shown_and_not_fought_until_somebody_asks(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    await scene(api, namespace, broker)
    await pods(api, namespace, updated=2, available=2)
    async with start_operator() as op:
        await eventually(reason(api, namespace, "DeploymentRecorded"), "it is recorded")
        record_by_hand(broker, "p2")
        # Nothing has told the operator: the broker's counts have changed, and the next sweep sees that.
        drift = await eventually(reason(api, namespace, "Drift"), "drift is shown")
        assert condition_of(drift, "Recorded")["message"].startswith(
            "p1 runs, but the broker holds p2 as deployed in test."
        )
        await op.looked_again("PactProvider", 3)
        assert held(broker) == ["p2"]
        assert ("Warning", "Drift") in {
            (event["type"], event["reason"]) for event in await api.list("Event", namespace)
        }
        asked = {"metadata": {"annotations": {"pact-operator.dev/record-requested-at": "now"}}}
        await api.patch("PactProvider", namespace, "users", asked)
        body = await eventually(reason(api, namespace, "DeploymentRecorded"), "it is recorded once more")
        assert held(broker) == ["p1"]
        assert body["status"]["deployment"]["request"] == "now"


async def test_a_restart_and_a_lost_status_record_nothing_again(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    await scene(api, namespace, broker, interval="1h")
    await pods(api, namespace, updated=2, available=2)
    async with start_operator():
        await eventually(reason(api, namespace, "DeploymentRecorded"), "it is recorded")
    counted = broker.counts()
    assert counted is not None
    assert counted["deployedVersions"]["count"] == 1
    # A backup that was put back brings no status.
    await api.patch("PactProvider", namespace, "users", {"status": None}, "/status")
    async with start_operator() as op:
        await eventually(reason(api, namespace, "DeploymentRecorded"), "it is adopted")
        await op.looked_again("PactProvider", 3)
    assert broker.counts() == counted


async def test_observing_shows_and_writes_nothing(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    await scene(api, namespace, broker, mode="Observe")
    await pods(api, namespace, updated=2, available=2)
    async with start_operator():
        drift = await eventually(reason(api, namespace, "Drift"), "drift is shown")
        assert "Observe" in condition_of(drift, "Recorded")["message"]
        assert held(broker) == []
        record_by_hand(broker, "p1")
        await eventually(reason(api, namespace, "DeploymentRecorded"), "a pipeline's record is seen")


async def test_a_service_that_is_consumer_and_provider_is_recorded_once_and_two_instances_apart(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    await scene(api, namespace, broker)
    common = {"brokerRef": {"name": "broker"}, "pacticipant": PROVIDER, "version": FROM}
    template = {"spec": {"containers": [{"name": "tests", "image": "users-tests:{version}"}]}}
    await api.create(manifest("PactConsumer", namespace, "users", {**common, "template": template}))
    await pods(api, namespace, updated=2, available=2)
    async with start_operator():
        both = [
            eventually(until(api, kind, namespace, "users", "Recorded", "DeploymentRecorded"), f"{kind} is recorded")
            for kind in ("PactProvider", "PactConsumer")
        ]
        await asyncio.gather(*both)
        counted = broker.counts()
        assert counted is not None
        assert counted["deployedVersions"]["count"] == 1
        # Another Deployment of the same pacticipant: neither records, until they say which they are.
        other = {**common, "version": {"fromWorkload": {"name": "users-blue"}}, "template": template}
        await api.create(manifest("PactConsumer", namespace, "blue", other))
        await eventually(reason(api, namespace, "InstanceConflict"), "two claim one instance")
        await api.patch("PactConsumer", namespace, "blue", {"spec": {"applicationInstance": "blue"}})
        await eventually(reason(api, namespace, "DeploymentRecorded"), "they are told apart")
