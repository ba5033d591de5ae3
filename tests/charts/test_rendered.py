"""What the charts render: Pods hardened, rights and ways named, nothing that an upgrade cannot change."""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.charts.charts import (
    CHARTS,
    CI_CASES,
    CI_IDS,
    NAMES,
    Helm,
    Manifest,
    PodTemplate,
    of_kind,
    pod_templates,
    title,
)
from tests.charts.security import hardened, restricted

GROUP = "pact-operator.dev"
ROLE = f"{GROUP}/role"

every_case = pytest.mark.parametrize(("chart", "values"), CI_CASES, ids=CI_IDS)


def _is_operator(template: PodTemplate) -> bool:
    return template.where.startswith("Deployment") and template.labels.get("app.kubernetes.io/name") == "pact-operator"


@every_case
def test_every_pod_is_restricted_and_hardened(helm: Helm, chart: str, values: Path) -> None:
    templates = list(pod_templates(helm.manifests(chart, values=values)))
    assert templates != []
    problems = [
        f"{template.where}: {problem}"
        for template in templates
        for problem in (*restricted(template), *hardened(template, with_token=_is_operator(template)))
    ]
    assert problems == []


def _secure() -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsUser": 1, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "c",
                "image": "a:1",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {"requests": {"cpu": "1", "memory": "1"}, "limits": {"memory": "1"}},
            }
        ],
    }


# What the checks above must find: a path into the Pod, the value that is wrong there, words of the problem.
WEAKENED: list[tuple[str, Any, str]] = [
    ("hostNetwork", True, "hostNetwork"),
    ("volumes", [{"name": "v", "hostPath": {"path": "/"}}], "hostPath"),
    ("automountServiceAccountToken", None, "automountServiceAccountToken"),
    ("enableServiceLinks", None, "enableServiceLinks"),
    ("securityContext.runAsNonRoot", None, "runAsNonRoot"),
    ("securityContext.runAsUser", 0, "root"),
    ("securityContext.seccompProfile.type", "Unconfined", "seccomp"),
    ("containers.0.securityContext.privileged", True, "privileged"),
    ("containers.0.securityContext.allowPrivilegeEscalation", None, "allowPrivilegeEscalation"),
    ("containers.0.securityContext.capabilities.drop", ["NET_RAW"], "capabilities"),
    ("containers.0.securityContext.capabilities.add", ["SYS_ADMIN"], "SYS_ADMIN"),
    ("containers.0.securityContext.readOnlyRootFilesystem", False, "writable"),
    ("containers.0.resources.limits", {}, "memory limit"),
    ("containers.0.image", "a", "no fixed tag"),
    ("containers.0.image", "a:latest", "no fixed tag"),
    ("containers.0.env", [{"name": "A_PASSWORD", "value": "x"}], "does not come from a Secret"),
    ("containers.0.volumeMounts", [{"name": "nowhere", "mountPath": "/x"}], "nowhere"),
]


def test_a_secure_pod_has_no_problem() -> None:
    template = PodTemplate("Pod -/p", {}, "", _secure())
    assert [*restricted(template), *hardened(template, with_token=False)] == []


@pytest.mark.parametrize(("path", "value", "words"), WEAKENED, ids=[f"{p}={v}" for p, v, _ in WEAKENED])
def test_a_weakened_pod_is_found(path: str, value: Any, words: str) -> None:
    spec: Any = _secure()
    *parents, last = path.split(".")
    inner = spec
    for key in parents:
        inner = inner[int(key)] if key.isdigit() else inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    template = PodTemplate("Pod -/p", {}, "", spec)
    problems = [*restricted(template), *hardened(template, with_token=False)]
    assert any(words in problem for problem in problems), problems


@every_case
def test_labels_names_and_namespaces(helm: Helm, chart: str, values: Path) -> None:
    manifests = helm.manifests(chart, values=values)
    titles = [title(manifest) for manifest in manifests]
    assert sorted(set(titles)) == sorted(titles), "two objects of one name"
    cluster_wide = {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "ValidatingWebhookConfiguration",
    }
    problems = []
    for manifest in manifests:
        labels = manifest["metadata"]["labels"]
        wanted = {"name", "instance", "component", "version", "part-of", "managed-by"}
        if missing := wanted - {key.removeprefix("app.kubernetes.io/") for key in labels}:
            problems.append(f"{title(manifest)} lacks the labels {sorted(missing)}")
        if labels["app.kubernetes.io/part-of"] != "pact-operator":
            problems.append(f"{title(manifest)} is no part of pact-operator")
        problems += [
            f"{title(manifest)}: {key}={value} is no label"
            for key, value in labels.items()
            if not re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", value)
        ]
        if (manifest["kind"] in cluster_wide) == ("namespace" in manifest["metadata"]):
            problems.append(f"{title(manifest)}: namespace missing, or one too many")
    assert problems == []


def _fits(selector: dict[str, str], template: PodTemplate) -> bool:
    return selector.items() <= template.labels.items()


def _selections(manifest: Manifest) -> Iterator[dict[str, str]]:
    """The selectors of an object that must find Pods of the same release."""
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Service":
            yield spec["selector"]
        case "Deployment" | "StatefulSet" | "PodDisruptionBudget":
            yield spec["selector"]["matchLabels"]
        case "NetworkPolicy":
            yield spec["podSelector"]["matchLabels"]


@every_case
def test_every_selector_finds_exactly_the_pods_of_one_object(helm: Helm, chart: str, values: Path) -> None:
    manifests = helm.manifests(chart, values=values)
    templates = [template for template in pod_templates(manifests) if not template.where.startswith("Pod ")]
    tests = [template for template in pod_templates(manifests) if template.where.startswith("Pod ")]
    problems = []
    for manifest in manifests:
        for selector in _selections(manifest):
            found = [template.where for template in templates if _fits(selector, template)]
            # A verification of the live Service describes no Pod; the operator makes it all.
            if set(selector) == {ROLE}:
                if len(found) > 1:
                    problems.append(f"{title(manifest)} selects {found}")
                continue
            if len(found) != 1:
                problems.append(f"{title(manifest)} selects {found}")
            problems += [f"{title(manifest)} also selects {test.where}" for test in tests if _fits(selector, test)]
    assert problems == []


@every_case
def test_every_port_that_is_named_exists(helm: Helm, chart: str, values: Path) -> None:
    manifests = helm.manifests(chart, values=values)
    templates = list(pod_templates(manifests))
    for service in of_kind(manifests, "Service"):
        (target,) = [template for template in templates if _fits(service["spec"]["selector"], template)]
        ports = {port["name"] for container in target.containers for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for template in templates:
        for container in template.containers:
            ports = {port["name"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if "httpGet" in container.get(probe, {}):
                    assert container[probe]["httpGet"]["port"] in ports
    for policy in of_kind(manifests, "NetworkPolicy"):
        selector = policy["spec"]["podSelector"]["matchLabels"]
        for template in templates:
            if template.ours or not _fits(selector, template):
                continue
            ports = {port["containerPort"] for container in template.containers for port in container.get("ports", [])}
            opened = {port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]}
            assert opened <= ports, f"{title(policy)} opens ports that nobody listens on"


@every_case
def test_every_secret_that_is_used_is_made_or_was_named_in_the_values(helm: Helm, chart: str, values: Path) -> None:
    manifests = helm.manifests(chart, values=values)
    made = {secret["metadata"]["name"]: set(secret["data"]) for secret in of_kind(manifests, "Secret")}
    # What cert-manager makes of a Certificate: https://cert-manager.io/docs/usage/certificate/#target-secret
    made |= {
        certificate["spec"]["secretName"]: {"tls.crt", "tls.key", "ca.crt"}
        for certificate in of_kind(manifests, "Certificate")
    }
    given = values.read_text(encoding="utf-8")
    for template in pod_templates(manifests):
        references = [
            (variable["valueFrom"]["secretKeyRef"]["name"], variable["valueFrom"]["secretKeyRef"]["key"])
            for container in template.containers
            for variable in container.get("env", [])
            if "secretKeyRef" in variable.get("valueFrom", {})
        ]
        references += [
            (volume["secret"]["secretName"], item["key"])
            for volume in template.spec.get("volumes", [])
            if "secret" in volume
            for item in volume["secret"]["items"]
        ]
        for name, key in references:
            assert key in made[name] if name in made else name in given, f"{template.where}: Secret {name}, key {key}"


@pytest.mark.parametrize("chart", NAMES)
def test_the_longest_release_name_makes_names_that_fit(helm: Helm, chart: str) -> None:
    everything = CHARTS / chart / "ci" / "everything-values.yaml"
    manifests = helm.manifests(
        chart, values=everything, settings=["fullnameOverride=", "nameOverride="], release="r" * 52 + "e"
    )
    names = [manifest["metadata"]["name"] for manifest in manifests]
    # 52: a CronJob adds its own suffix; a StatefulSet's Pods carry a revision as a label.
    limits = {"CronJob": 52, "StatefulSet": 52}
    long = [title(m) for m in manifests if len(m["metadata"]["name"]) > limits.get(m["kind"], 63)]
    assert long == []
    assert len(set(zip([m["kind"] for m in manifests], names, strict=True))) == len(names)


@every_case
def test_an_upgrade_changes_no_field_that_kubernetes_holds_fixed(
    helm: Helm, tmp_path: Path, chart: str, values: Path
) -> None:
    newer = tmp_path / chart
    shutil.copytree(CHARTS / chart, newer)
    description = yaml.safe_load((newer / "Chart.yaml").read_text(encoding="utf-8"))
    (newer / "Chart.yaml").write_text(
        yaml.safe_dump(description | {"version": "9.9.9", "appVersion": "9.9.9"}), encoding="utf-8"
    )

    def fixed(manifests: Sequence[Manifest]) -> dict[str, Any]:
        return {
            title(manifest): [
                manifest["spec"].get(key)
                for key in ("selector", "serviceName", "volumeClaimTemplates", "podManagementPolicy")
            ]
            for manifest in of_kind(manifests, "Deployment", "StatefulSet")
        }

    before = helm.manifests(chart, values=values, release="r")
    after = helm.manifests(newer, values=values, release="r")
    assert fixed(before) == fixed(after)
    assert [title(manifest) for manifest in before] == [title(manifest) for manifest in after]


def _closed(schema: Any) -> Any:
    """The schema of a kind with unknown fields refused, as the API server drops them."""
    if isinstance(schema, dict):
        closed = {key: _closed(value) for key, value in schema.items()}
        if "properties" in closed and not closed.get("x-kubernetes-preserve-unknown-fields"):
            closed.setdefault("additionalProperties", False)
        return closed
    return [_closed(item) for item in schema] if isinstance(schema, list) else schema


def _crd(kind: str) -> dict[str, Any]:
    path = CHARTS / "pact-operator" / "files" / "crds" / f"{kind.lower()}s.yaml"
    version = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["versions"][0]
    schema: dict[str, Any] = _closed(version["schema"]["openAPIV3Schema"])
    # Every object's metadata is Kubernetes' own.
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


@every_case
def test_objects_of_our_kinds_follow_their_schema(helm: Helm, chart: str, values: Path) -> None:
    ours = [m for m in helm.manifests(chart, values=values) if m["apiVersion"].startswith(GROUP)]
    for manifest in ours:
        jsonschema.Draft202012Validator(_crd(manifest["kind"])).validate(manifest)


def test_the_definitions_are_rendered_whole(helm: Helm) -> None:
    rendered = {m["metadata"]["name"]: m for m in of_kind(helm.manifests("pact-operator"), "CustomResourceDefinition")}
    files = sorted((CHARTS / "pact-operator" / "files" / "crds").glob("*.yaml"))
    originals = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    assert {o["metadata"]["name"]: o["spec"] for o in originals} == {n: m["spec"] for n, m in rendered.items()}
    assert len(originals) == 4


@pytest.mark.parametrize("chart", NAMES)
def test_the_tests_of_helm_test_are_there_and_go_away(helm: Helm, chart: str) -> None:
    (pod,) = of_kind(helm.manifests(chart), "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["restartPolicy"] == "Never"
    assert of_kind(helm.manifests(chart, settings=["tests.enabled=false"]), "Pod") == []


def test_only_a_verification_serves_provider_states(helm: Helm) -> None:
    manifests = helm.manifests("provider", settings=["pactProvider.create=true"])
    having = [
        template.where
        for template in pod_templates(manifests)
        for container in template.containers
        for variable in container.get("env", [])
        if variable["name"] == "PACT_PROVIDER_STATES"
    ]
    assert having == ["PactProvider pact-demo/provider"]
