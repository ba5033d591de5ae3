"""What runs is what the broker holds as deployed: real rollouts of a real Deployment, and a real broker."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from brokerclient import BrokerClient
from pact_cluster.demo_kube import Object
from tests.support.kind import HARDENED, POD_SECURITY, SYSTEM, Kind, unique

NAME = "provider"
LABELS = {"app": "recorded"}
VERSION = "app.kubernetes.io/version"
"""The label that says the version: the same image can be any."""
OPERATOR = "app.kubernetes.io/component=operator"


class Recorded:
    """A namespace that is an environment of its own, with a Deployment whose versions v1 and v2 the broker knows."""

    def __init__(self, kind: Kind, case: str, mode: str) -> None:
        self.kind, self.pacticipant = kind, unique(case)
        self.namespace = kind.namespace(case)
        self.environment = self.namespace
        with kind.broker_client(write=True) as client:
            for version in ("v1", "v2"):
                client.ensure_branch_version(self.pacticipant, "main", version)
        kind.broker(self.namespace, pollInterval="2s", environment={"name": self.environment}, recording={"mode": mode})
        self._create("v1")
        source = {"fromWorkload": {"name": NAME, "label": VERSION}}
        spec = {"brokerRef": {"name": "pact-broker"}, "pacticipant": self.pacticipant, "version": source}
        kind.create(self.namespace, "PactProvider", NAME, {**spec, "target": {"service": {"name": NAME}}})

    def _template(self, version: str, image: str) -> dict[str, Any]:
        container = {
            "name": NAME,
            "image": image,
            "securityContext": dict(HARDENED),
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
        }
        volumes = [{"name": "tmp", "emptyDir": {}}]
        spec = {
            "securityContext": dict(POD_SECURITY),
            "containers": [container],
            "volumes": volumes,
            "terminationGracePeriodSeconds": 1,
        }
        return {"metadata": {"labels": {**LABELS, VERSION: version}}, "spec": spec}

    def _create(self, version: str) -> None:
        template = self._template(version, self.kind.image_of())
        spec = {"replicas": 1, "selector": {"matchLabels": LABELS}, "template": template}
        body: Any = {"metadata": {"name": NAME}, "spec": spec}
        self.kind.kube.apps.create_namespaced_deployment(self.namespace, body)

    def roll_out(self, version: str, image: str | None = None) -> None:
        template = self._template(version, image or self.kind.image_of())
        self.kind.kube.apps.patch_namespaced_deployment(NAME, self.namespace, {"spec": {"template": template}})

    def scale(self, replicas: int) -> None:
        self.kind.kube.apps.patch_namespaced_deployment(NAME, self.namespace, {"spec": {"replicas": replicas}})

    def wait(self, status: str, reason: str) -> str:
        """Waits for the condition Recorded; returns its message."""
        return self.kind.wait(self.namespace, "PactProvider", NAME, of="Recorded", status=status, reason=reason).message

    @contextmanager
    def broker(self) -> Iterator[tuple[BrokerClient, str]]:
        with self.kind.broker_client(write=True) as client:
            [place] = [one for one in client.environments() if one.name == self.environment]
            yield client, place.uuid

    def held(self) -> list[str]:
        """What the broker holds as deployed."""
        with self.broker() as (client, place):
            return [one.version for one in client.currently_deployed(place) if one.pacticipant == self.pacticipant]

    def record_by_hand(self, version: str) -> None:
        with self.broker() as (client, place):
            client.record_deployment(self.pacticipant, version, place)

    def uuids(self) -> list[str]:
        with self.broker() as (client, place):
            return [one.uuid for one in client.currently_deployed(place) if one.pacticipant == self.pacticipant]

    def status(self) -> Object:
        found = self.kind.kube.get("PactProvider", self.namespace, NAME)
        assert found
        return dict(found["status"]["deployment"])


@pytest.fixture(scope="module")
def recorded(kind: Kind) -> Recorded:
    return Recorded(kind, "recorded", "Record")


def test_a_rollout_is_recorded_once_it_has_completed(recorded: Recorded) -> None:
    recorded.wait("True", "DeploymentRecorded")
    assert recorded.held() == ["v1"]
    # It cannot complete: nobody has such an image.
    recorded.roll_out("v2", f"{recorded.kind.image_of()}-there-is-none")
    recorded.wait("Unknown", "RolloutInProgress")
    assert recorded.held() == ["v1"]
    recorded.roll_out("v2")
    recorded.wait("True", "DeploymentRecorded")
    assert recorded.held() == ["v2"]


def test_a_restart_of_the_operator_records_nothing_twice(recorded: Recorded, kind: Kind) -> None:
    before, status = recorded.uuids(), recorded.status()
    (old,) = kind.kube.objects("Pod", SYSTEM, label_selector=OPERATOR)
    kind.kube.core.delete_namespaced_pod(old["metadata"]["name"], SYSTEM, grace_period_seconds=0)
    # A change that only an operator at work can tell of.
    recorded.scale(0)
    recorded.wait("True", "NothingDeployed")
    assert recorded.held() == [], "what was taken away is no longer recorded"
    recorded.scale(1)
    recorded.wait("True", "DeploymentRecorded")
    assert (recorded.held(), len(recorded.uuids())) == (["v2"], 1)
    assert recorded.uuids() != before, "it is a deployment of its own"
    assert recorded.status()["recordedAt"] >= status["recordedAt"]


def test_a_record_made_by_hand_is_shown_and_not_fought(recorded: Recorded, kind: Kind) -> None:
    recorded.record_by_hand("v1")
    message = recorded.wait("False", "Drift")
    assert message.startswith(f"v2 runs, but the broker holds v1 as deployed in {recorded.environment}.")
    events = {(event["type"], event["reason"]) for event in kind.kube.events_of(recorded.namespace, NAME)}
    assert ("Warning", "Drift") in events
    # The next version that is rolled out is recorded all the same, and nothing was before.
    assert recorded.held() == ["v1"]
    recorded.roll_out("v1")
    recorded.wait("True", "DeploymentRecorded")
    assert recorded.held() == ["v1"]


def test_observing_writes_nothing_until_a_person_asks(kind: Kind) -> None:
    observed = Recorded(kind, "observed", "Observe")
    assert "is Observe" in observed.wait("False", "Drift")
    assert observed.held() == []
    asked = {"metadata": {"annotations": {"pact-operator.dev/record-requested-at": "now"}}}
    kind.kube.custom.patch_namespaced_custom_object(
        "pact-operator.dev", "v1alpha1", observed.namespace, "pactproviders", NAME, asked
    )
    observed.wait("True", "DeploymentRecorded")
    assert observed.held() == ["v1"]
