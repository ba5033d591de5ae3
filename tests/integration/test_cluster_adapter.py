"""The adapter against a real API server, as the user that the chart's rights are granted to."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from pact_operator.adapters.cluster import KubernetesCluster
from pact_operator.core.facts import Key
from pact_operator.ports import ClusterError
from tests.support.apiserver import Api, ApiServer

pytestmark = pytest.mark.apiserver

SPEC = {
    "brokerRef": {"name": "broker"},
    "pacticipant": "p",
    "version": {"value": "1"},
    "target": {"service": {"name": "p"}},
}


@pytest.fixture
async def cluster(apiserver: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KubernetesCluster]:
    monkeypatch.setenv("KUBECONFIG", str(apiserver.kubeconfig("operator")))
    cluster = await KubernetesCluster.connect()
    yield cluster
    await cluster.close()


@pytest.fixture
async def provider(api: Api, namespace: str) -> dict[str, Any]:
    return await api.create(
        {
            "apiVersion": "pact-operator.dev/v1alpha1",
            "kind": "PactProvider",
            "metadata": {"name": "p", "namespace": namespace},
            "spec": SPEC,
        }
    )


def job(namespace: str, owner: str | None) -> dict[str, Any]:
    references = [
        {"apiVersion": "pact-operator.dev/v1alpha1", "kind": "PactProvider", "name": "p", "uid": owner}
        | {"controller": True}
    ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j", "namespace": namespace} | ({"ownerReferences": references} if owner else {}),
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}},
    }


async def test_what_we_own_may_be_created_twice_and_exists_once(
    cluster: KubernetesCluster, api: Api, namespace: str
) -> None:
    await cluster.create(job(namespace, "ours"))
    await cluster.create(job(namespace, "ours"))
    assert len(await api.list("Job", namespace)) == 1


@pytest.mark.parametrize("theirs", ["another", None])
async def test_what_another_owns_is_in_the_way(
    cluster: KubernetesCluster, api: Api, namespace: str, theirs: str | None
) -> None:
    await api.create(job(namespace, theirs))
    with pytest.raises(ClusterError) as caught:
        await cluster.create(job(namespace, "ours"))
    assert (caught.value.status, caught.value.reason) == (409, "AlreadyExists")


async def test_what_the_api_server_finds_wrong_is_said(cluster: KubernetesCluster, namespace: str) -> None:
    bad = job(namespace, "ours")
    bad["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    with pytest.raises(ClusterError, match="restartPolicy") as caught:
        await cluster.create(bad)
    assert caught.value.reason == "Invalid"
    assert not caught.value.retryable


async def test_a_status_is_replaced_whole(cluster: KubernetesCluster, api: Api, provider: dict[str, Any]) -> None:
    key = Key("PactProvider", provider["metadata"]["namespace"], "p")
    condition = {"type": "Ready", "status": "True", "reason": "R", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    whole = {"version": "1", "verified": 3, "conditions": [condition]}
    await cluster.patch_status(key, whole, provider["metadata"]["resourceVersion"])
    body = await api.get(key.kind, key.namespace, key.name)
    assert body["status"] == whole
    await cluster.patch_status(key, {"observedGeneration": 1}, body["metadata"]["resourceVersion"])
    assert (await api.get(key.kind, key.namespace, key.name))["status"] == {"observedGeneration": 1}


async def test_an_object_that_changed_meanwhile_is_not_written_to(
    cluster: KubernetesCluster, api: Api, provider: dict[str, Any]
) -> None:
    key = Key("PactProvider", provider["metadata"]["namespace"], "p")
    await api.patch(key.kind, key.namespace, key.name, {"metadata": {"labels": {"a": "b"}}})
    with pytest.raises(ClusterError) as caught:
        await cluster.patch_status(key, {"version": "1"}, provider["metadata"]["resourceVersion"])
    assert caught.value.status == 409
    assert "status" not in await api.get(key.kind, key.namespace, key.name)


async def test_finalizers_are_replaced_and_the_version_after_it_is_told(
    cluster: KubernetesCluster, api: Api, namespace: str
) -> None:
    broker = await api.create(
        {
            "apiVersion": "pact-operator.dev/v1alpha1",
            "kind": "PactBroker",
            "metadata": {"name": "b", "namespace": namespace},
            "spec": {"url": "http://b"},
        }
    )
    key = Key("PactBroker", namespace, "b")
    version = await cluster.set_finalizers(key, ["pact-operator.dev/webhook"], broker["metadata"]["resourceVersion"])
    body = await api.get("PactBroker", namespace, "b")
    assert version == body["metadata"]["resourceVersion"]
    assert body["metadata"]["finalizers"] == ["pact-operator.dev/webhook"]
    with pytest.raises(ClusterError) as caught:
        await cluster.set_finalizers(key, [], broker["metadata"]["resourceVersion"])
    assert caught.value.status == 409
    await api.delete("PactBroker", namespace, "b")
    leaving = await api.get("PactBroker", namespace, "b")
    await cluster.set_finalizers(key, [], leaving["metadata"]["resourceVersion"])
    assert await api.find("PactBroker", namespace, "b") is None


async def test_what_is_gone_is_no_error(cluster: KubernetesCluster, namespace: str) -> None:
    key = Key("PactBroker", namespace, "gone")
    await cluster.patch_status(key, {}, "1")
    assert await cluster.set_finalizers(key, [], "1") is None
    await cluster.delete("pact-operator.dev/v1alpha1", "PactVerification", namespace, "gone")


async def test_deleting_takes_an_object_away(cluster: KubernetesCluster, api: Api, namespace: str) -> None:
    spec = {"brokerRef": {"name": "broker"}, "pacticipant": "p", "providerVersion": "1", "target": SPEC["target"]}
    await cluster.create(
        {
            "apiVersion": "pact-operator.dev/v1alpha1",
            "kind": "PactVerification",
            "metadata": {"name": "v", "namespace": namespace},
            "spec": spec,
        }
    )
    await cluster.delete("pact-operator.dev/v1alpha1", "PactVerification", namespace, "v")
    assert await api.find("PactVerification", namespace, "v") is None


async def test_a_secret_is_decoded_and_only_the_granted_one_can_be_read(
    cluster: KubernetesCluster, api: Api, namespace: str
) -> None:
    assert await cluster.secret(namespace, "broker-credentials") is None
    await api.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "broker-credentials", "namespace": namespace},
            "stringData": {"username": "reader", "password": "päss"},
        }
    )
    assert await cluster.secret(namespace, "broker-credentials") == {"username": "reader", "password": "päss"}
    with pytest.raises(ClusterError) as caught:
        await cluster.secret(namespace, "another")
    assert caught.value.status == 403


async def test_an_event_is_recorded_on_its_object(
    cluster: KubernetesCluster, api: Api, provider: dict[str, Any]
) -> None:
    meta = provider["metadata"]
    key = Key("PactProvider", meta["namespace"], "p")
    await cluster.event(key, meta["uid"], "Warning", "ContractBroken", "ä" * 2000)
    [event] = await api.list("Event", meta["namespace"])
    assert event["involvedObject"]["uid"] == meta["uid"]
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "ContractBroken", "ä" * 512)


async def test_an_event_that_cannot_be_recorded_is_not_an_error(cluster: KubernetesCluster) -> None:
    await cluster.event(Key("PactProvider", "no-such-namespace", "p"), "u", "Normal", "R", "m")


async def test_an_api_server_that_does_not_answer_is_an_error_of_ours(
    apiserver: ApiServer, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    dead = ApiServer(f"https://127.0.0.1:{unused_tcp_port}", apiserver.tokens, apiserver.directory)
    path = dead.kubeconfig("operator").rename(apiserver.directory / "dead.kubeconfig")
    monkeypatch.setenv("KUBECONFIG", str(path))
    cluster = await KubernetesCluster.connect()
    with pytest.raises(ClusterError) as caught:
        await cluster.secret("n", "s")
    await cluster.close()
    assert caught.value.status == 0
    assert caught.value.retryable


async def test_the_uids_of_all_objects_are_listed_page_by_page(
    cluster: KubernetesCluster, api: Api, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pact_operator.adapters.cluster._PAGE", 2)
    manifests = [job(namespace, None) for _ in range(5)]
    for number, manifest in enumerate(manifests):
        manifest["metadata"] |= {"name": f"j{number}", "labels": {"ours": "yes"}}
    wanted = {(await api.create(manifest))["metadata"]["uid"] for manifest in manifests}
    kinds = [("batch/v1", "jobs", "ours"), ("apps/v1", "deployments", "")]
    assert await cluster.uids(kinds, [namespace]) == wanted
    assert wanted <= await cluster.uids(kinds, [])
    assert not await cluster.uids(kinds, ["nowhere"])
    assert not await cluster.uids([("batch/v1", "jobs", "others")], [namespace])
