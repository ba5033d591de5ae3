"""The admission webhook, called by a real API server with the configuration that the chart makes."""

import base64
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from brokerclient import BrokerClient
from tests.integration.conftest import StartOperator, until
from tests.integration.scene import CONSUMER, make_broker, make_provider, publish, verify
from tests.support.apiserver import ROOT, Api, ApiError, eventually, helm
from tests.support.broker import free_port

pytestmark = pytest.mark.apiserver

HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
LABEL = {"pact-operator.dev/gate": "enabled"}


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    folder = tmp_path / "admission"
    folder.mkdir()
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return folder


def configuration(namespace: str, failure_policy: str) -> dict[str, Any]:
    """The chart's ValidatingWebhookConfiguration, for one namespace."""
    settings = f"admission.enabled=true,admission.failurePolicy={failure_policy}"
    command = [str(helm()), "template", namespace, str(ROOT / "charts/pact-operator"), "--namespace", "pact-system"]
    command += ["--show-only=templates/admission.yaml", f"--set={settings},watchNamespaces={{{namespace}}}"]
    rendered = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    [body] = [b for b in yaml.safe_load_all(rendered) if b and b["kind"] == "ValidatingWebhookConfiguration"]
    return dict(body)


Install = Callable[..., Awaitable[int]]


@pytest.fixture
async def install(api: Api, namespace: str, certificate: Path) -> AsyncIterator[Install]:
    """Makes the chart's ValidatingWebhookConfiguration, for one namespace and a port on loopback; returns the port."""

    async def make(failure_policy: str) -> int:
        body = configuration(namespace, failure_policy)
        [webhook] = body["webhooks"]
        port = free_port()
        authority = base64.b64encode((certificate / "tls.crt").read_bytes()).decode()
        webhook["clientConfig"] = {"url": f"https://127.0.0.1:{port}/admission", "caBundle": authority}
        body["metadata"]["name"] = namespace
        answer = await api.http.post(HOOKS, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert answer.status_code == 201, answer.text
        return port

    yield make
    await api.http.delete(f"{HOOKS}/{namespace}")


def deployment(namespace: str, version: str, labels: Mapping[str, str], name: str = "users") -> dict[str, Any]:
    selected = {"app": name}
    containers = [{"name": "provider", "image": f"users:{version}"}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "selector": {"matchLabels": selected},
            "template": {"metadata": {"labels": selected}, "spec": {"containers": containers}},
        },
    }


def image(version: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "provider", "image": f"users:{version}"}]}}}}


async def refused(
    api: Api, namespace: str, patch: Mapping[str, Any], *, name: str = "users", query: str = ""
) -> str | None:
    """What the API server says to a change, None if it takes it."""
    try:
        await api.patch("Deployment", namespace, name, patch, query)
    except ApiError as error:
        return error.message
    return None


def deploy(broker: BrokerClient, version: str) -> None:
    """Records a consumer version as deployed in production."""
    broker.record_deployment(CONSUMER, version, broker.ensure_environment("production").uuid)


async def test_an_upgrade_that_breaks_a_contract_is_refused_and_the_mended_one_is_not(
    api: Api,
    namespace: str,
    broker: BrokerClient,
    install: Install,
    certificate: Path,
    start_operator: StartOperator,
) -> None:
    publish(broker)
    deploy(broker, "c1")
    for version, success in (("p1", True), ("p2", False), ("p3", True)):
        verify(broker, version, success=success)
    port = await install("Fail")
    async with start_operator(admission_certificate_dir=certificate, admission_port=port):
        await make_broker(api, namespace, broker.base_url, environment={"name": "production"})
        await make_provider(api, namespace, {"fromWorkload": {"name": "users"}})
        # The first of all finds the operator knowing its objects, and the API server the webhook.
        await eventually(until(api, "PactProvider", namespace, "users", "Ready", "WorkloadNotFound"), "it is known")
        await api.create(deployment(namespace, "p1", LABEL))
        await eventually(until(api, "PactProvider", namespace, "users", "Ready", "AllVerified"), "p1 holds")

        async def no() -> str | None:
            # On a busy machine the first answers may come without the mismatch: nobody is kept waiting for it.
            told = await refused(api, namespace, image("p2"), query="?dryRun=All")
            return told if told and "a user: " in told else None

        told = await eventually(no, "the webhook is in force")
        assert f"denied the request: users-provider p2 may not go to production (Broken): {CONSUMER} c1" in told
        assert "is missing. What to do: Read the mismatch" in told
        assert "denied the request" in (await refused(api, namespace, image("p2")) or ""), "not only as a dry run"
        assert await refused(api, namespace, {"metadata": {"labels": {"pact-operator.dev/gate": None}}, **image("p2")})
        assert await refused(api, namespace, {"spec": {"replicas": 3}}) is None, "scaling is no upgrade"
        assert await refused(api, namespace, image("p3")) is None

        unknown = await refused(api, namespace, image("p4"))
        assert unknown
        assert "(Pending)" in unknown or "(CannotTell)" in unknown
        assert "Try again in a while." in unknown

        async def wanted() -> bool:
            runs = await api.list("PactVerification", namespace)
            return any(run["spec"]["providerVersion"] == "p4" for run in runs)

        await eventually(wanted, "the refused version is verified")
        verify(broker, "p4")

        async def passes() -> bool:
            return await refused(api, namespace, image("p4")) is None

        await eventually(passes, "the next try passes")
    found = await api.get("Deployment", namespace, "users")
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "users:p4"


async def test_a_webhook_that_is_away_is_in_nobodys_way_but_that_of_new_versions_with_the_label(
    api: Api, namespace: str, install: Install
) -> None:
    for name, labels in (("users", LABEL), ("plain", {})):
        await api.create(deployment(namespace, "p1", labels, name))
    # Nobody listens at that port.
    await install("Fail")

    async def no() -> str | None:
        return await refused(api, namespace, image("p2"), query="?dryRun=All")

    assert "failed calling webhook" in await eventually(no, "the webhook is in force")
    assert await refused(api, namespace, image("p2"))
    for change in ({"spec": {"replicas": 5}}, {"spec": {"paused": True}}, {"metadata": {"annotations": {"a": "b"}}}):
        assert await refused(api, namespace, change) is None, change
    assert await refused(api, namespace, {"status": {"replicas": 5}}, query="/status") is None
    assert await refused(api, namespace, image("p2"), name="plain") is None
    await api.create(deployment(namespace, "p1", {}, "another"))
    with pytest.raises(ApiError, match="failed calling webhook"):
        await api.create(deployment(namespace, "p1", LABEL, "labelled"))
    await api.delete("Deployment", namespace, "users")


async def test_a_webhook_that_is_away_lets_pass_where_the_chart_says_so(
    api: Api, namespace: str, install: Install
) -> None:
    await api.create(deployment(namespace, "p1", LABEL))
    await install("Ignore")

    async def overlooked() -> bool:
        # The API server notes in the answer that it could not ask.
        answer = await api.http.patch(
            f"/apis/apps/v1/namespaces/{namespace}/deployments/users?dryRun=All",
            content=json.dumps(image("p2")),
            headers={"Content-Type": "application/merge-patch+json"},
        )
        assert answer.status_code == 200, answer.text
        metrics = (await api.http.get("/metrics")).text
        return 'apiserver_admission_webhook_fail_open_count{name="gate.pact-operator.dev"' in metrics

    await eventually(overlooked, "the API server could not ask, and went on")
    assert await refused(api, namespace, image("p2")) is None
