"""The verifier's Job: what people write in their Pod template is kept, and what is ours does not give way to it."""

from typing import Any

import pytest

from pact_operator.api.v1alpha1 import PactProvider, PactVerification
from pact_operator.core.actions import CreateVerification
from pact_operator.core.facts import ProviderFacts, VersionFacts
from pact_operator.core.jobspec import consumer_job, verifier_job
from pact_operator.core.plan import plan_provider
from services.operator.tests.core.worlds import NOW, SETTINGS, broker, consumer, contract, meta, provider

FULL: dict[str, Any] = {
    "metadata": {"labels": {"team": "users"}, "annotations": {"sidecar.istio.io/inject": "false"}},
    "spec": {
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"disk": "ssd"},
        "securityContext": {"runAsUser": 10001},
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "config", "configMap": {"name": "users"}}],
        "initContainers": [
            {"name": "database", "image": "postgres:17", "restartPolicy": "Always", "startupProbe": {"exec": {}}},
            {"name": "migrate", "image": "users:{version}", "args": ["migrate"]},
        ],
        "containers": [
            {
                "name": "users",
                "image": "registry:5000/users:{version}@sha256:{version}",
                "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}],
                "envFrom": [{"secretRef": {"name": "users"}}],
                "ports": [{"containerPort": 8080}],
                "startupProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                "resources": {"limits": {"memory": "1Gi"}},
            },
            {"name": "queue", "image": "redis:8", "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}}},
        ],
    },
}


def run(template: dict[str, Any] | None = None, name: str = "run", **spec: Any) -> PactVerification:
    given = {
        "brokerRef": {"name": "broker"},
        "pacticipant": "users",
        "providerVersion": "1.2.3",
        "target": {"ephemeral": {"template": FULL if template is None else template, "port": 8080}},
        **spec,
    }
    return PactVerification.model_validate({"metadata": meta(name), "spec": given})


def job(**spec: Any) -> dict[str, Any]:
    return verifier_job(run(**spec), broker(), SETTINGS, "run")


def test_a_providers_own_sidecars_secrets_volumes_and_init_containers_are_kept() -> None:
    pod = job()["spec"]["template"]["spec"]
    database, migrate, users, queue = pod["initContainers"]
    # In the order in which they need each other: the database runs before the migration, and both before the provider.
    assert [c["name"] for c in pod["initContainers"]] == ["database", "migrate", "users", "queue"]
    assert [c.get("restartPolicy") for c in pod["initContainers"]] == ["Always", None, "Always", "Always"]
    assert migrate["image"] == "users:1.2.3"
    assert users["image"] == "registry:5000/users:1.2.3@sha256:1.2.3"
    for field in ("env", "envFrom", "ports", "startupProbe", "volumeMounts", "resources"):
        assert users[field] == FULL["spec"]["containers"][0][field], field
    assert database["startupProbe"] == {"exec": {}}
    assert queue["securityContext"]["capabilities"] == {"add": ["NET_BIND_SERVICE"]}, "what people say counts"
    assert users["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert [v["name"] for v in pod["volumes"]] == ["data", "config", "pact-operator-tmp"]
    for field in ("imagePullSecrets", "nodeSelector"):
        assert pod[field] == FULL["spec"][field]
    assert pod["securityContext"] == {
        "runAsUser": 10001,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_the_template_of_the_spec_is_not_touched() -> None:
    import copy

    before = copy.deepcopy(FULL)
    job(junit={"volume": {"emptyDir": {}}})
    assert before == FULL


def test_labels_and_annotations_reach_job_and_pod_and_ours_do_not_give_way() -> None:
    queue = {"kueue.x-k8s.io/queue-name": "contracts"}
    made = job(
        run={
            "labels": {**queue, "team": "platform", "pact-operator.dev/owner": "somebody"},
            "annotations": {"cost-centre": "7"},
        }
    )
    template = made["spec"]["template"]["metadata"]
    for labels in (made["metadata"]["labels"], template["labels"]):
        assert labels["kueue.x-k8s.io/queue-name"] == "contracts"
        assert labels["team"] == "platform"
        assert labels["pact-operator.dev/owner"] == "run"
    assert made["metadata"]["annotations"] == {"cost-centre": "7"}
    assert template["annotations"] == {"sidecar.istio.io/inject": "false", "cost-centre": "7"}
    tests = consumer_job(consumer(run={"labels": queue}), "2.0.0", broker(), SETTINGS, "tests")
    assert tests["metadata"]["labels"].items() >= queue.items()


def test_run_settings_become_the_jobs() -> None:
    resources = {"limits": {"memory": "2Gi"}}
    made = job(
        run={
            "activeDeadlineSeconds": 77,
            "infraRetries": 5,
            "ttlSecondsAfterFinished": 9,
            "readyTimeoutSeconds": 33,
            "resources": resources,
        }
    )
    spec = made["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (77, 5, 9)
    [verifier] = spec["template"]["spec"]["containers"]
    assert verifier["resources"] == resources
    assert env_of(made)["PV_READY_TIMEOUT_SECONDS"] == "33"


def test_a_junit_report_goes_into_the_volume_that_was_named() -> None:
    claim = {"persistentVolumeClaim": {"claimName": "reports"}}
    made = job(junit={"volume": {**claim, "name": "mine"}})
    pod = made["spec"]["template"]["spec"]
    assert pod["volumes"][-2] == {**claim, "name": "pact-operator-reports"}
    assert {"name": "pact-operator-reports", "mountPath": "/reports"} in pod["containers"][0]["volumeMounts"]
    assert env_of(made)["PV_JUNIT_FILE"] == "/reports/run.xml"
    assert pod["securityContext"]["fsGroup"] == 10001, "a fresh claim belongs to root"
    long = verifier_job(run(name="x" * 250, junit={"volume": claim}), broker(), SETTINGS, "run")
    assert len(env_of(long)["PV_JUNIT_FILE"]) < 100
    assert "PV_JUNIT_FILE" not in env_of(job())


def test_the_group_that_a_template_asks_for_stays() -> None:
    template = {"spec": {**FULL["spec"], "securityContext": {"fsGroup": 7}}}
    pod = job(template=template, junit={"volume": {"emptyDir": {}}})["spec"]["template"]["spec"]
    assert pod["securityContext"]["fsGroup"] == 7


def test_a_provider_hands_its_settings_to_its_runs() -> None:
    claim = {"volume": {"persistentVolumeClaim": {"claimName": "reports"}}}
    labels = {"kueue.x-k8s.io/queue-name": "contracts"}
    subject: PactProvider = provider(
        junit=claim, run={"labels": labels}, messagePath="/m", providerStates={"path": "/s"}, branch="main"
    )
    versions = (VersionFacts("1.0.0", (contract(),), {}),)
    [create] = plan_provider(ProviderFacts(subject, broker(), None, versions, (), NOW)).actions
    assert isinstance(create, CreateVerification)
    spec = create.manifest["spec"]
    assert spec["junit"] == claim
    assert spec["run"]["labels"] == labels
    assert (spec["messagePath"], spec["providerStates"], spec["providerBranch"]) == ("/m", {"path": "/s"}, "main")
    assert PactVerification.model_validate(create.manifest)


@pytest.mark.parametrize("publish", [True, False])
def test_a_candidate_publishes_only_if_asked(publish: bool) -> None:
    assert env_of(job(publishResults=publish))["PV_PUBLISH"] == str(publish).lower()
    assert env_of(job())["PV_PUBLISH"] == "false"


def env_of(made: dict[str, Any]) -> dict[str, str]:
    [verifier] = made["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", "") for entry in verifier["env"]}
