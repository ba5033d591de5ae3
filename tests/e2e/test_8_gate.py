"""The gate on the real cluster: helm and the API server refuse what breaks a contract, and let pass what holds."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from kubernetes import client as kubernetes
from kubernetes.client.exceptions import ApiException

from pact_cluster.demo import RENAME_PATCH, RENAMED, demo, gate_image
from pact_cluster.demo_kube import Object
from pact_cluster.demo_releases import DEMO, FASTAPI, FLASK, SYSTEM, Helm, Release, provider
from pact_cluster.demo_source import content_version, patched
from pact_cluster.demo_view import gate_excerpt
from pact_cluster.engine import ensure_engine
from pact_cluster.errors import CommandFailedError
from pact_cluster.images import build_images, load_images
from tests.support.kind import Kind

LABEL = "pact-operator.dev/gate"
OPERATOR = "pact-operator"


@pytest.fixture(scope="module", autouse=True)
def restored(kind: Kind) -> Iterator[None]:
    """Leaves the demo as it was: the releases are applied anew, which also switches admission off."""
    yield
    for name, namespace in ((FASTAPI, DEMO), (OPERATOR, SYSTEM)):
        kind.kube.apps.patch_namespaced_deployment(name, namespace, {"metadata": {"labels": {LABEL: None}}})
    kind.kube.apps.patch_namespaced_deployment_scale(OPERATOR, SYSTEM, {"spec": {"replicas": 1}})
    assert demo(kind.workspace) == 0


@pytest.fixture(scope="module")
def renamed(kind: Kind) -> str:
    """The image of a FastAPI provider that renames a field which the deployed consumer needs."""
    with patched(kind.workspace, kind.workspace.root / RENAME_PATCH) as changed:
        version = content_version(changed.root, FASTAPI, RENAMED)
        image = build_images(changed, {FASTAPI: version})[FASTAPI]
    load_images(kind.workspace, [image])
    return image


def another_tag(kind: Kind, deployment: str, version: str) -> str:
    """The image that a Deployment runs, under another version: one that nobody has verified, and that holds."""
    image = kind.image_of(deployment)
    copy = f"{image.rpartition(':')[0]}:{version}"
    ensure_engine(kind.workspace).docker("tag", image, copy)
    load_images(kind.workspace, [copy])
    return copy


def test_helm_refuses_an_upgrade_that_breaks_the_deployed_consumer_and_shows_why(kind: Kind, renamed: str) -> None:
    before = kind.image_of(FASTAPI)
    with pytest.raises(CommandFailedError) as refused:
        Helm(kind.workspace).upgrade(provider(FASTAPI, renamed, gate_image(kind.workspace)))
    said = gate_excerpt(refused.value.output)
    assert f"REFUSED: {FASTAPI} {renamed.rpartition(':')[2]} to demo: " in said, refused.value.output
    assert "$.name" in said
    assert "What to do: Read the mismatch" in said
    assert kind.image_of(FASTAPI) == before, "nothing has changed"
    [pod] = kind.kube.objects("Pod", DEMO, label_selector=f"job-name={FASTAPI}-gate")
    assert "REFUSED" in kind.kube.core.read_namespaced_pod_log(pod["metadata"]["name"], DEMO), "the log stays"
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], json.loads(ended["message"])["outcome"]) == (1, "Refused")


def test_helm_has_an_unknown_version_verified_and_lets_it_pass(kind: Kind) -> None:
    image = another_tag(kind, FLASK, "1.0.0-again")
    said = Helm(kind.workspace).upgrade(provider(FLASK, image, gate_image(kind.workspace)))
    assert f"ALLOWED: {FLASK} 1.0.0-again to demo" in said
    assert kind.image_of(FLASK) == image
    jobs = {job["metadata"]["name"] for job in kind.kube.objects("Job", DEMO)}
    assert f"{FLASK}-gate" not in jobs, "a Job that has succeeded goes"
    said = Helm(kind.workspace).upgrade(provider(FLASK, image, gate_image(kind.workspace)))
    assert gate_excerpt(said) == "", "the version that runs is not asked about"


def _with_admission(kind: Kind, policy: str) -> None:
    helm = Helm(kind.workspace)
    values = helm.values(OPERATOR, SYSTEM)
    helm.apply(Release(OPERATOR, OPERATOR, SYSTEM, {**values, "admission": {"enabled": True, "failurePolicy": policy}}))
    kind.kube.wait("Deployment", SYSTEM, _available(1), what="the operator with its webhook", seconds=90)


def _available(replicas: int) -> Any:
    def judge(state: Mapping[str, Object]) -> bool | None:
        found = state[OPERATOR]
        status, seen = found.get("status", {}), found["metadata"]["generation"]
        same = status.get("observedGeneration") == seen and status.get("updatedReplicas", 0) == replicas
        return True if same and status.get("availableReplicas", 0) == status.get("replicas", 0) == replicas else None

    return judge


def _roll_out(kind: Kind, deployment: str, image: str) -> str:
    """What the API server says to a new image; empty if it takes it. Nothing is kept."""
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "provider", "image": image}]}}}}
    try:
        kind.kube.apps.patch_namespaced_deployment(deployment, DEMO, patch, dry_run="All")
    except ApiException as error:
        return str(json.loads(error.body or "{}").get("message", error))
    return ""


def _said(kind: Kind, deployment: str, image: str, words: str) -> str:
    """The same, once it has these words (none at all, if they are empty): the API server hears of a webhook later."""
    deadline = time.monotonic() + 30
    while True:
        said = _roll_out(kind, deployment, image)
        if (words in said if words else not said) or time.monotonic() > deadline:
            return said
        time.sleep(0.2)


def test_admission_refuses_what_the_gate_refuses_and_is_in_nobody_elses_way(kind: Kind, renamed: str) -> None:
    apps: kubernetes.AppsV1Api = kind.kube.apps
    _with_admission(kind, "Fail")
    apps.patch_namespaced_deployment(FASTAPI, DEMO, {"metadata": {"labels": {LABEL: "enabled"}}})
    said = _said(kind, FASTAPI, renamed, "may not go")
    assert f"{FASTAPI} {renamed.rpartition(':')[2]} may not go to demo (Broken)" in said
    assert "$.name" in said
    assert _roll_out(kind, FLASK, renamed) == "", "without the label nobody is asked"

    # The operator goes. Whatever the gate would say: what repairs, scales, or has no label goes on.
    apps.patch_namespaced_deployment_scale(OPERATOR, SYSTEM, {"spec": {"replicas": 0}})
    kind.kube.wait("Deployment", SYSTEM, _available(0), what="no operator", seconds=90)
    assert "failed calling webhook" in _said(kind, FASTAPI, renamed, "failed calling webhook")
    apps.patch_namespaced_deployment(FASTAPI, DEMO, {"spec": {"replicas": 1}, "metadata": {"annotations": {"a": "b"}}})
    assert _roll_out(kind, FLASK, renamed) == ""
    # Even with the label: its namespace is left out.
    repaired = {"template": {"metadata": {"annotations": {"repaired": "true"}}}, "replicas": 1}
    apps.patch_namespaced_deployment(OPERATOR, SYSTEM, {"metadata": {"labels": {LABEL: "enabled"}}, "spec": repaired})
    kind.kube.wait("Deployment", SYSTEM, _available(1), what="the operator again", seconds=90)
    assert "(Broken)" in _said(kind, FASTAPI, renamed, "(Broken)")

    # By a switch of the chart, a webhook that is away lets pass.
    _with_admission(kind, "Ignore")
    apps.patch_namespaced_deployment_scale(OPERATOR, SYSTEM, {"spec": {"replicas": 0}})
    kind.kube.wait("Deployment", SYSTEM, _available(0), what="no operator", seconds=90)
    assert _said(kind, FASTAPI, renamed, "") == ""
