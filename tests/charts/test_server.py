"""The charts at a real API server: what it accepts, what Pod Security lets in, what its authorizer answers."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.charts.charts import CHARTS, CI_CASES, CI_IDS, Helm, Manifest, pod_templates, title
from tests.charts.test_rights import KINDS, OPERATOR
from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.apiserver

# Kinds of others that a chart can make only where those others are installed.
FOREIGN = {"Certificate", "Issuer", "PrometheusRule", "ServiceMonitor"}
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")


@pytest.fixture(scope="module")
def resources(client: httpx.Client) -> list[dict[str, Any]]:
    """Every resource that the server knows, subresources included, with its group and version."""
    found: list[dict[str, Any]] = []
    versions = [("", "v1", "/api/v1")]
    for group in client.get("/apis").json()["groups"]:
        version = group["preferredVersion"]["version"]
        versions.append((group["name"], version, f"/apis/{group['name']}/{version}"))
    for group, version, base in versions:
        place = {"group": group, "version": version, "base": base}
        found += [resource | place for resource in client.get(base).json()["resources"]]
    return found


def _url(resources: Sequence[dict[str, Any]], manifest: Manifest) -> str | None:
    """Where an object lives; None for a kind that the server does not know."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    for resource in resources:
        if (resource["group"], resource["version"], resource["kind"]) == (group, version, manifest["kind"]) and (
            "/" not in resource["name"]
        ):
            metadata = manifest["metadata"]
            place = f"/namespaces/{metadata['namespace']}" if resource["namespaced"] else ""
            return f"{resource['base']}{place}/{resource['name']}/{metadata['name']}"
    return None


def _lost(sent: Any, kept: Any, path: str) -> Iterator[str]:
    """The paths whose values did not come back."""
    if isinstance(sent, dict) and isinstance(kept, dict):
        for key, value in sent.items():
            yield from _lost(value, kept.get(key), f"{path}.{key}")
    elif isinstance(sent, list) and isinstance(kept, list) and len(sent) == len(kept):
        for index, (one, other) in enumerate(zip(sent, kept, strict=True)):
            yield from _lost(one, other, f"{path}[{index}]")
    elif sent != kept:
        yield path


@pytest.mark.parametrize(("chart", "values"), CI_CASES, ids=CI_IDS)
def test_the_server_accepts_every_object_and_keeps_it_whole(
    helm: Helm, client: httpx.Client, resources: list[dict[str, Any]], chart: str, values: Path
) -> None:
    problems, sent = [], 0
    for manifest in helm.manifests(chart, values=values):
        url = _url(resources, manifest)
        if url is None:
            if manifest["kind"] not in FOREIGN:
                problems.append(f"{title(manifest)}: a kind that the server does not know")
            continue
        answer = client.patch(
            url,
            params={"dryRun": "All", "fieldManager": "charts", "fieldValidation": "Strict", "force": "true"},
            content=yaml.safe_dump(manifest),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        sent += 1
        if answer.status_code >= 400 or "warning" in answer.headers:
            problems.append(f"{title(manifest)}: {answer.headers.get('warning', answer.text)}")
        elif url.startswith("/apis/pact-operator.dev/"):
            # What a definition does not know is dropped without a word.
            problems += [f"{title(manifest)}: {lost} was lost" for lost in _lost(manifest, answer.json(), "")]
    assert problems == []
    assert sent > 0


@pytest.mark.parametrize(("chart", "values"), CI_CASES, ids=CI_IDS)
def test_pod_security_lets_every_pod_into_a_restricted_namespace(
    helm: Helm, client: httpx.Client, chart: str, values: Path
) -> None:
    for template in pod_templates(helm.manifests(chart, values=values)):
        spec = dict(template.spec)
        if template.where.startswith("StatefulSet"):
            # The claim that the StatefulSet's controller would put in.
            claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data-0"}}
            spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] != "data"] + [claim]
        # Priority classes are the cluster's own.
        spec.pop("priorityClassName", None)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": template.labels}, "spec": spec}
        answer = client.post(
            "/api/v1/namespaces/pact-demo/pods", params={"dryRun": "All", "fieldValidation": "Strict"}, json=pod
        )
        assert answer.status_code == 201, f"{template.where}: {answer.json()['message']}"


def test_pod_security_is_on(client: httpx.Client) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "a:1"}]},
    }
    answer = client.post("/api/v1/namespaces/pact-demo/pods", params={"dryRun": "All"}, json=pod)
    assert answer.status_code == 403
    assert "violates PodSecurity" in answer.json()["message"]


@pytest.fixture(scope="module")
def live(helm: Helm, server: ApiServer, client: httpx.Client) -> Helm:
    """A helm that speaks to the server, where the operator's chart is installed."""
    assert client.get("/readyz").status_code == 200
    connected = replace(helm, environment={"KUBECONFIG": str(server.kubeconfig("admin"))})
    # The server's fixture has brought the definitions already.
    _do(connected, "install", "pact-operator", "pact-operator", "--namespace", "pact-system", "--take-ownership")
    return connected


def _do(helm: Helm, verb: str, release: str, chart: str, *arguments: str) -> str:
    outcome = helm.run(verb, release, str(CHARTS / chart), *arguments)
    assert outcome.code == 0, outcome.errors
    return outcome.output


def _secrets(client: httpx.Client, namespace: str) -> dict[str, dict[str, str]]:
    items = client.get(f"/api/v1/namespaces/{namespace}/secrets").json()["items"]
    return {
        item["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in item["data"].items()}
        for item in items
        if item["type"] != "helm.sh/release.v1"
    }


def test_credentials_outlive_upgrades_and_the_release(live: Helm, client: httpx.Client) -> None:
    where = ("--namespace", "pact-demo")
    _do(live, "install", "pact-broker", "pact-broker", *where, "--set", "pactBroker.create=true")
    first = _secrets(client, "pact-demo")
    assert set(first) == {"pact-broker-readwrite", "pact-broker-readonly", "pact-broker-postgres"}
    passwords = [secret["password"] for secret in first.values()]
    assert len(set(passwords)) == 3
    assert {len(password) for password in passwords} == {32}

    notes = _do(live, "upgrade", "pact-broker", "pact-broker", *where, "--set", "flavour=lite,logLevel=debug")
    assert "Pact Broker (lite, pact-operator/broker-lite:0.1.0)" in notes
    assert _secrets(client, "pact-demo") == first
    settings = "auth.readonly.username=reader,postgres.username=other"
    _do(live, "upgrade", "pact-broker", "pact-broker", *where, "--set", settings)
    renamed = first | {"pact-broker-readonly": first["pact-broker-readonly"] | {"username": "reader"}}
    assert _secrets(client, "pact-demo") == renamed, "the database's user is the one that it was made with"

    gone = live.run("uninstall", "pact-broker", *where)
    assert gone.code == 0, gone.errors
    assert _secrets(client, "pact-demo") == renamed
    assert client.get("/apis/apps/v1/namespaces/pact-demo/deployments").json()["items"] == []
    _do(live, "install", "pact-broker", "pact-broker", *where)
    assert _secrets(client, "pact-demo") == first


def test_the_hooks_token_outlives_upgrades(live: Helm, client: httpx.Client) -> None:
    before = _secrets(client, "pact-system")["pact-operator-hook"]
    assert len(before["token"]) == 48
    _do(live, "upgrade", "pact-operator", "pact-operator", "--namespace", "pact-system", "--set", "log.level=debug")
    assert _secrets(client, "pact-system")["pact-operator-hook"] == before


def test_the_gates_token_and_the_webhooks_certificate_outlive_upgrades(live: Helm, client: httpx.Client) -> None:
    where = ("--namespace", "pact-system", "--reuse-values")
    settings = ("--set", "admission.enabled=true,gate.copyTokenTo={team-b}")
    _do(live, "upgrade", "pact-operator", "pact-operator", *where, *settings)
    before = _secrets(client, "pact-system")
    hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/pact-operator"
    [webhook] = client.get(hooks).json()["webhooks"]
    assert base64.b64decode(webhook["clientConfig"]["caBundle"]).decode() == before["pact-operator-admission"]["ca.crt"]
    assert len(before["pact-operator-gate"]["token"]) == 48
    assert _secrets(client, "team-b")["pact-operator-gate"] == before["pact-operator-gate"]
    _do(live, "upgrade", "pact-operator", "pact-operator", *where, "--set", "log.level=debug")
    assert _secrets(client, "pact-system") == before
    assert client.get(hooks).json()["webhooks"] == [webhook]
    # Rotated: what the README says.
    client.delete("/api/v1/namespaces/pact-system/secrets/pact-operator-gate").raise_for_status()
    _do(live, "upgrade", "pact-operator", "pact-operator", *where)
    token = _secrets(client, "pact-system")["pact-operator-gate"]
    assert token != before["pact-operator-gate"]
    assert _secrets(client, "team-b")["pact-operator-gate"] == token, "the copies follow"
    _do(live, "upgrade", "pact-operator", "pact-operator", *where, "--set", "admission.enabled=false")
    assert client.get(hooks).status_code == 404, "what is switched off is in nobody's way"


def test_a_new_version_is_one_upgrade(live: Helm, client: httpx.Client) -> None:
    where = ("--namespace", "team-a", "--reuse-values")
    _do(live, "install", "flask-provider", "provider", *where[:2], "--set", "pactProvider.create=true,image.tag=1.0.0")
    _do(
        live, "upgrade", "flask-provider", "provider", *where, "--set-string", "image.tag=2", "--set", "service.port=80"
    )
    deployment = client.get("/apis/apps/v1/namespaces/team-a/deployments/flask-provider").json()
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "pact-operator/flask-provider:2"
    service = client.get("/api/v1/namespaces/team-a/services/flask-provider").json()
    assert [port["port"] for port in service["spec"]["ports"]] == [80]
    _do(live, "install", "users-consumer", "consumer", *where[:2], "--set", "version=1.0.0")
    _do(live, "upgrade", "users-consumer", "consumer", *where, "--set", "version=1.1.0,branch=feat/x")
    consumer = client.get("/apis/pact-operator.dev/v1alpha1/namespaces/team-a/pactconsumers/users-consumer").json()
    assert consumer["spec"]["version"] == {"value": "1.1.0"}
    assert consumer["spec"]["branch"] == "feat/x"


def _may(client: httpx.Client, account: str, attributes: dict[str, str]) -> bool:
    namespace, name = account.split("/")
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{namespace}:{name}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
            "resourceAttributes": attributes,
        },
    }
    answer = client.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json=review)
    answer.raise_for_status()
    return bool(answer.json()["status"]["allowed"])


def _all_rights(
    client: httpx.Client, resources: Sequence[dict[str, Any]], account: str, namespace: str, name: str = ""
) -> set[tuple[str, str, str]]:
    """Everything that an account may do in a namespace, asked of the server's authorizer, verb by verb."""
    return {
        (resource["group"], resource["name"], verb)
        for resource in resources
        for verb in VERBS
        if _may(
            client,
            account,
            {
                "namespace": namespace,
                "group": resource["group"],
                "resource": resource["name"].split("/")[0],
                "subresource": resource["name"].partition("/")[2],
                "verb": verb,
                "name": name,
            },
        )
    }


def test_the_authorizer_grants_the_operator_what_the_table_says_and_nothing_else(
    live: Helm, client: httpx.Client, resources: list[dict[str, Any]]
) -> None:
    assert live.environment
    anyone = _all_rights(client, resources, "pact-demo/default", "pact-demo")
    own = _all_rights(client, resources, "pact-system/pact-operator", "pact-demo") - anyone
    assert own == {(group, resource, verb) for group, resource, verb, names in OPERATOR if not names}
    for name, allowed in (("pact-broker-readonly", True), ("pact-broker-postgres", False), ("", False)):
        attributes = {"namespace": "pact-demo", "resource": "secrets", "verb": "get", "name": name}
        assert _may(client, "pact-system/pact-operator", attributes) is allowed, name


def test_the_rights_of_a_namespaced_operator_end_at_its_namespaces(live: Helm, client: httpx.Client) -> None:
    settings = "watchNamespaces={team-a},rbac.aggregate=false,crds.enabled=false"
    _do(live, "install", "pact-operator-a", "pact-operator", "--namespace", "pact-system", "--set", settings)
    for kind in KINDS:
        attributes = {"group": "pact-operator.dev", "resource": kind, "verb": "list"}
        for namespace, allowed in (("team-a", True), ("team-b", False), ("", False)):
            assert _may(client, "pact-system/pact-operator-a", attributes | {"namespace": namespace}) is allowed
