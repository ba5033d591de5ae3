"""The demo's cluster as tests use it: namespaces of their own, small objects, and all there is to see on a failure."""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from kubernetes import client as kubernetes
from kubernetes.client.exceptions import ApiException

from brokerclient import BrokerClient
from pact_cluster import ClusterError, Workspace
from pact_cluster.demo_broker import connected
from pact_cluster.demo_kube import GROUP, OUR_KINDS, VERSION, Condition, Kube, Object, condition
from pact_cluster.demo_releases import CONSUMER, DEMO, FLASK, RESTRICTED, SYSTEM, USES_BROKER
from pact_cluster.engine import Engine
from pact_cluster.kind import kubectl
from tests.support.node import GATE, Node, gate_script, until

WAIT_SECONDS = 120.0
E2E_LABEL = "pact-operator.dev/e2e"
BROKER_URL = f"http://pact-broker.{DEMO}.svc:9292"
BROKER_SECRETS = ("pact-broker-readonly", "pact-broker-readwrite")
LOG_LINES = 40

HARDENED: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
POD_SECURITY: Mapping[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass
class Kind:
    """The cluster with the demo in it.

    Attributes:
        engine: The Docker engine that its node runs on; None for a cluster of somebody else's.
        namespaces: Those that tests have made; they are deleted at the end of the session.
    """

    workspace: Workspace
    kube: Kube
    engine: Engine | None = None
    namespaces: list[str] = field(default_factory=list)

    # -- what is there

    @property
    def node(self) -> Node:
        """Its node, from the inside; skips the test where there is no way in."""
        if self.engine is None:
            pytest.skip("the node of this cluster cannot be entered")
        return Node(self.engine)

    def image_of(self, deployment: str = FLASK) -> str:
        """The image that a Deployment of the demo runs."""
        found = self.kube.get("Deployment", DEMO, deployment)
        assert found, f"the demo has no Deployment {deployment}"
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"])

    def consumer_image(self) -> str:
        """The image with the example consumer's tests; it has Python."""
        found = self.kube.get("PactConsumer", DEMO, CONSUMER)
        assert found, "the demo has no PactConsumer"
        version = str(found["spec"]["version"]["value"])
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"]).replace("{version}", version)

    def pods(self, namespace: str, role: str = "") -> list[Object]:
        """The Pods of a namespace, or those with a role of the operator's."""
        selector = f"{GROUP}/role={role}" if role else ""
        return self.kube.objects("Pod", namespace, label_selector=selector)

    def jobs(self, namespace: str) -> list[Object]:
        """The operator's Jobs of a namespace, oldest first."""
        jobs = self.kube.objects("Job", namespace, label_selector=f"{GROUP}/role")
        return sorted(jobs, key=lambda job: str(job["metadata"]["creationTimestamp"]))

    # -- what tests make

    def namespace(self, case: str) -> str:
        """A fresh namespace in which only hardened Pods may run."""
        name = f"e2e-{case}-{secrets.token_hex(3)}"
        self.kube.ensure_namespace(name, {**RESTRICTED, **USES_BROKER, E2E_LABEL: "true"})
        self.namespaces.append(name)
        return name

    def create(self, namespace: str, kind: str, name: str, spec: Mapping[str, Any]) -> Object:
        """Create an object of ours."""
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}
        made = self.kube.custom.create_namespaced_custom_object(GROUP, VERSION, namespace, OUR_KINDS[kind], body)
        return cast("Object", made)

    def secret(self, namespace: str, name: str, values: Mapping[str, str]) -> None:
        """Create a Secret."""
        body = kubernetes.V1Secret(metadata=kubernetes.V1ObjectMeta(name=name), string_data=dict(values))
        self.kube.core.create_namespaced_secret(namespace, body)

    def broker(self, namespace: str, **spec: Any) -> None:
        """Make the demo's broker known in a namespace, as `pact-broker`, with its real credentials."""
        for name in BROKER_SECRETS:
            self.secret(namespace, name, self.kube.secret(DEMO, name))
        self.broker_object(namespace, **spec)

    def broker_object(self, namespace: str, **spec: Any) -> None:
        """Create a PactBroker `pact-broker` that names the usual Secrets."""
        read, write = BROKER_SECRETS
        auth = {"readSecretRef": {"name": read}, "writeSecretRef": {"name": write}}
        self.create(namespace, "PactBroker", "pact-broker", {"url": BROKER_URL, "auth": auth, **spec})

    def provider(
        self, namespace: str, pacticipant: str, *, container: Mapping[str, Any] | None = None, **run: Any
    ) -> None:
        """Create a PactProvider `provider` that runs the Flask provider's image, or what a container says instead."""
        self.create(namespace, "PactProvider", "provider", provider_spec(pacticipant, self.image_of(), container, run))

    def consumer(self, namespace: str, script: str, pacticipant: str = "a-careless-consumer", **spec: Any) -> None:
        """Create a PactConsumer `consumer` whose tests are a Python script."""
        tests = {
            "name": "tests",
            "image": self.consumer_image(),
            "command": ["python", "-c", script],
            "securityContext": dict(HARDENED),
        }
        made = {
            "brokerRef": {"name": "pact-broker"},
            "pacticipant": pacticipant,
            "version": {"value": "1"},
            "template": {"spec": {"securityContext": dict(POD_SECURITY), "containers": [tests]}},
            **spec,
        }
        self.create(namespace, "PactConsumer", "consumer", made)

    def owed(self, case: str, **broker: Any) -> "Owed":
        """A namespace that knows the demo's broker, and a pact for a provider that is still to be created in it."""
        owed = Owed(self.namespace(case), unique(f"{case}-caller"), unique(f"{case}-callee"))
        self.publish(owed.caller, owed.callee)
        self.broker(owed.namespace, **broker)
        return owed

    def gated(self, owed: "Owed", **run: Any) -> None:
        """Create the provider of a pact, behind a gate: it serves once `open` is called."""
        self.provider(owed.namespace, owed.callee, container=gate(owed.namespace), **run)

    def open(self, namespace: str) -> None:
        """Let the provider of a namespace serve, now and in every Pod to come."""
        self.open_later(namespace)
        self.node.open_gates(namespace)

    def open_later(self, namespace: str) -> None:
        """Let the provider of a namespace serve in every Pod to come."""
        body = kubernetes.V1ConfigMap(metadata=kubernetes.V1ObjectMeta(name=GATE), data={"open": "yes"})
        self.kube.core.create_namespaced_config_map(namespace, body)

    def wait_at_gate(self, namespace: str) -> None:
        """Wait until the verifier of a namespace waits for its provider."""

        def running(pods: Mapping[str, Object]) -> bool | None:
            return any(container_of(pod, "verifier").get("state", {}).get("running") for pod in pods.values()) or None

        self.kube.wait("Pod", namespace, running, what=f"a verifier at work in {namespace}", seconds=WAIT_SECONDS)
        until(lambda: bool(self.node.gates(namespace)), f"a provider at its gate in {namespace}")

    def results(self, owed: "Owed") -> list[bool]:
        """Every result that the broker holds of a pact, superseded ones included."""
        with self.broker_client() as client:
            rows = client.matrix([{"pacticipant": owed.caller}, {"pacticipant": owed.callee}]).rows
        return [row.success for row in rows if row.success is not None]

    # -- faults

    @contextmanager
    def gone(self, namespace: str, deployment: str) -> Iterator[None]:
        """No Pod of a Deployment meanwhile, ended without a word; it is ready again at the end."""
        found = self.kube.get("Deployment", namespace, deployment)
        assert found, f"there is no Deployment {namespace}/{deployment}"
        labels = ",".join(f"{k}={v}" for k, v in found["spec"]["selector"]["matchLabels"].items())
        try:
            self._scale(namespace, deployment, 0)
            for pod in self.kube.objects("Pod", namespace, label_selector=labels):
                self.kill_pod(namespace, pod["metadata"]["name"])
            self.kube.wait(
                "Pod",
                namespace,
                lambda pods: True if not pods else None,
                what=f"no Pod of {deployment}",
                seconds=60,
                label_selector=labels,
            )
            yield
        finally:
            self._scale(namespace, deployment, found["spec"]["replicas"])
            self.wait_ready(namespace, deployment)

    def kill_pod(self, namespace: str, name: str) -> None:
        """End a Pod at once; one that has gone meanwhile is as good."""
        try:
            self.kube.core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
        except ApiException as error:
            if error.status != 404:
                raise

    def wait_ready(self, namespace: str, deployment: str) -> None:
        """Wait until all replicas of a Deployment are ready."""

        def ready(deployments: Mapping[str, Object]) -> bool | None:
            found = deployments[deployment]
            status, wanted = found.get("status", {}), found["spec"]["replicas"]
            seen = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
            return True if seen and status.get("readyReplicas", 0) == status.get("replicas", 0) == wanted else None

        self.kube.wait("Deployment", namespace, ready, what=f"{deployment} to be ready", seconds=WAIT_SECONDS)

    def restart_api_server(self) -> None:
        """End the API server, and wait until the one that comes after it answers."""
        self.node.kill_api_server()
        self.wait_for_api()

    def wait_for_api(self) -> None:
        """Wait until the API server answers that it is ready."""

        def answers() -> bool:
            try:
                kubectl(self.workspace, "get", "--raw", "/readyz", timeout=10)
            except ClusterError:
                return False
            return True

        until(answers, "the API server is ready", seconds=120)

    def _scale(self, namespace: str, deployment: str, replicas: int) -> None:
        self.kube.apps.patch_namespaced_deployment_scale(deployment, namespace, {"spec": {"replicas": replicas}})

    @contextmanager
    def broker_client(self, *, write: bool = False) -> Iterator[BrokerClient]:
        """The demo's broker."""
        with connected(self.workspace, self.kube, DEMO, write=write) as client:
            yield client

    def publish(self, consumer: str, provider: str, version: str = "1") -> None:
        """Publish a pact that the Flask provider keeps, whose content nobody has published before."""
        with self.broker_client(write=True) as client:
            client.publish_contracts(consumer, version, [pact(consumer, provider)], branch="main")

    # -- waiting

    def wait(
        self,
        namespace: str,
        kind: str,
        name: str,
        *,
        status: str,
        reason: str,
        of: str = "Ready",
        seconds: float = WAIT_SECONDS,
    ) -> Condition:
        """Wait until a condition of an object has a status and a reason at its present generation."""

        def judge(state: Mapping[str, Object]) -> Condition | None:
            found = condition(state.get(name), of)
            return found if found.current and (found.status, found.reason) == (status, reason) else None

        what = f"{kind} {namespace}/{name} to be {of}={status} with the reason {reason}"
        return self.kube.wait(kind, namespace, judge, what=what, seconds=seconds)

    def wait_read_back(self, namespace: str) -> list[Object]:
        """Wait until the results of every run were read back, and return the runs.

        A provider's verdict needs the broker's answer only: it may be there before the run's own has been taken.
        """
        for run in self.kube.objects("PactVerification", namespace):
            name = run["metadata"]["name"]
            self.wait(
                namespace, "PactVerification", name, of="ResultPublished", status="True", reason="ResultsReadBack"
            )
        return self.kube.objects("PactVerification", namespace)

    # -- the end

    def remove_namespaces(self) -> None:
        """Delete what tests have made; waits for nothing."""
        for name in self.namespaces:
            # Webhooks are removed by the operator before their PactBroker goes; it needs the Secrets for that.
            for broker in self.kube.objects("PactBroker", name):
                self.kube.custom.delete_namespaced_custom_object(
                    GROUP, VERSION, name, OUR_KINDS["PactBroker"], broker["metadata"]["name"]
                )
            self.kube.wait(
                "PactBroker", name, lambda s: True if not s else None, what=f"no broker in {name}", seconds=90
            )
            self.delete_namespace(name)

    def delete_namespace(self, name: str) -> None:
        """Delete a namespace; waits for nothing, and one that has gone is as good."""
        try:
            self.kube.core.delete_namespace(name)
        except ApiException as error:
            if error.status != 404:
                raise

    def dump(self, namespaces: list[str]) -> str:
        """Objects, Events and the ends of logs of some namespaces, for a person who wonders why a test failed."""
        lines: list[str] = []
        for namespace in namespaces:
            lines.append(f"===== namespace {namespace}")
            for kind in OUR_KINDS:
                for item in self.kube.objects(kind, namespace):
                    lines.append(f"--- {kind} {item['metadata']['name']}")
                    lines.append(json.dumps(item.get("status", {}), indent=1))
            for event in self.kube.objects("Event", namespace)[-40:]:
                about = event.get("involvedObject", {})
                lines.append(
                    f"event {about.get('kind')}/{about.get('name')} {event.get('reason')}: {event.get('message')}"
                )
            for pod in self.kube.objects("Pod", namespace):
                lines += self._pod(namespace, pod)
        return "\n".join(lines)

    def _pod(self, namespace: str, pod: Object) -> list[str]:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        lines = [f"--- Pod {name} {status.get('phase')}"]
        for container in [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]:
            try:
                log = self.kube.core.read_namespaced_pod_log(
                    name, namespace, container=container["name"], tail_lines=LOG_LINES
                )
            except ApiException as error:
                log = f"(no log: {error.reason})"
            lines.append(f"log of {name}/{container['name']}:\n{log}")
        return lines


@dataclass(frozen=True)
class Owed:
    """One pact that a provider of its own namespace owes a result."""

    namespace: str
    caller: str
    callee: str


def gate(name: str) -> dict[str, Any]:
    """The Flask provider behind a gate: it serves once the gate is opened; see `Kind.open`."""
    opened = {"name": GATE, "key": "open", "optional": True}
    return {"command": gate_script(name), "env": [{"name": "GATE", "valueFrom": {"configMapKeyRef": opened}}]}


def container_of(pod: Object, name: str) -> Object:
    """The status of a container; empty if it has none yet."""
    status = pod.get("status", {})
    found = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return next((dict(one) for one in found if one["name"] == name), {})


def provider_spec(
    pacticipant: str, image: str, container: Mapping[str, Any] | None = None, run: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The spec of a PactProvider whose version `1` is started for each run."""
    own = {
        "name": "provider",
        "image": image,
        "securityContext": dict(HARDENED),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        **(container or {}),
    }
    template = {
        "spec": {
            "securityContext": dict(POD_SECURITY),
            "containers": [own],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        }
    }
    return {
        "brokerRef": {"name": "pact-broker"},
        "pacticipant": pacticipant,
        "version": {"value": "1"},
        "branch": "main",
        "target": {"ephemeral": {"port": 8080, "readinessPath": "/healthz", "template": template}},
        "run": dict(run or {}),
    }


def pact(consumer: str, provider: str, nonce: str = "") -> dict[str, Any]:
    """A pact on the example providers' health check; its content is new each time."""
    return {
        "consumer": {"name": consumer},
        "provider": {"name": provider},
        "interactions": [
            {
                "description": f"a question whether it is well ({nonce or secrets.token_hex(8)})",
                "request": {"method": "GET", "path": "/healthz"},
                "response": {"status": 200, "body": {"status": "ok"}},
            }
        ],
        "metadata": {"pactSpecification": {"version": "2.0.0"}},
    }


def unique(name: str) -> str:
    """A pacticipant's name that no other run has used."""
    return f"{name}-{secrets.token_hex(4)}"


__all__ = ["CONSUMER", "DEMO", "SYSTEM", "Kind", "condition", "pact", "provider_spec", "unique"]
