"""A pipeline asks about an image that is not deployed: what kubectl answers, and what becomes of the Job."""

import asyncio
from typing import Any

import pytest

from brokerclient import BrokerClient
from tests.integration.conftest import StartOperator, condition_of, until
from tests.integration.scene import PROVIDER, end_pod, make_broker, manifest, pod_of, publish, verifier_says
from tests.support.apiserver import Api, ApiServer, eventually, kubectl

pytestmark = pytest.mark.apiserver

TEMPLATE = {
    "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}},
    "spec": {
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "config", "configMap": {"name": "users"}}],
        "initContainers": [
            {
                "name": "database",
                "image": "postgres:17",
                "restartPolicy": "Always",
                "startupProbe": {"tcpSocket": {"port": 5432}},
            },
            {"name": "migrate", "image": "users:{version}", "args": ["migrate"]},
        ],
        "containers": [
            {
                "name": "provider",
                "image": "users:{version}",
                "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}],
                "envFrom": [{"secretRef": {"name": "users"}}],
                "startupProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
    },
}
SPEC = {
    "brokerRef": {"name": "broker"},
    "pacticipant": PROVIDER,
    "target": {"ephemeral": {"port": 8080, "readinessPath": "/healthz", "template": TEMPLATE}},
    "junit": {"volume": {"persistentVolumeClaim": {"claimName": "reports"}}},
    "run": {"labels": {"kueue.x-k8s.io/queue-name": "contracts"}},
}


async def test_kubectl_wait_gives_a_pipeline_its_answer(
    api: Api, apiserver: ApiServer, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    publish(broker)
    [pact] = broker.pacts_for_verification(PROVIDER, selectors=[{"mainBranch": True}])
    await make_broker(api, namespace, broker.base_url)

    async def ask(name: str, code: int, outcome: str) -> dict[str, Any]:
        spec = {**SPEC, "providerVersion": name}
        await api.create(manifest("PactVerification", namespace, name, spec))
        job: dict[str, Any] = await eventually(lambda: api.find("Job", namespace, name), f"the Job of {name}")
        await end_pod(api, await pod_of(api, job), "verifier", code, verifier_says(outcome, pact.content_sha))
        return job

    async def waits(name: str, what: str, seconds: int) -> int:
        process = await asyncio.create_subprocess_exec(
            str(kubectl()),
            *("--kubeconfig", str(apiserver.kubeconfig("admin")), "--namespace", namespace),
            *("wait", f"--for={what}", f"pactverification/{name}", f"--timeout={seconds}s"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await process.wait()

    async with start_operator():
        job = await ask("kept", 0, "Passed")
        assert await waits("kept", "condition=Succeeded", 60) == 0
        await ask("broken", 1, "ContractBroken")
        over = "jsonpath={.status.completionTime}"
        assert await waits("broken", over, 60) == 0, "the end comes for both"
        assert await waits("broken", "condition=Succeeded", 1) != 0
        await ask("nothing", 2, "NothingToVerify")
        assert await waits("nothing", over, 60) == 0
        assert await waits("nothing", "condition=Succeeded", 1) != 0, "nothing was checked: that is no yes"
        body = await eventually(
            until(api, "PactVerification", namespace, "broken", "Succeeded", "ContractBroken"), "no"
        )
        assert body["status"]["actor"] == "the provider's team"
        assert condition_of(body, "ResultPublished") == {}
    assert broker.version(PROVIDER, "kept") is None, "only asked about: the broker is not told"
    _as_people_wrote_it(job)


def _as_people_wrote_it(job: dict[str, Any]) -> None:
    """The API server took the whole template: sidecars, Secrets, volumes, probes, the queue's label, the report."""
    pod = job["spec"]["template"]["spec"]
    assert [(c["name"], c.get("restartPolicy")) for c in pod["initContainers"]] == [
        ("database", "Always"),
        ("migrate", None),
        ("provider", "Always"),
    ]
    provider = pod["initContainers"][2]
    assert provider["image"] == "users:kept"
    assert provider["env"] == TEMPLATE["spec"]["containers"][0]["env"]  # type: ignore[index]
    assert provider["envFrom"] == [{"secretRef": {"name": "users"}}]
    assert provider["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert {v["name"] for v in pod["volumes"]} == {"data", "config", "pact-operator-tmp", "pact-operator-reports"}
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "contracts"
    assert job["spec"]["template"]["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
    env = {entry["name"]: entry.get("value") for entry in pod["containers"][0]["env"]}
    assert (env["PV_PUBLISH"], env["PV_JUNIT_FILE"]) == ("false", "/reports/kept.xml")
