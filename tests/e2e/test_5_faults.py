"""What may fail around the loop, each fault on the real cluster: all owed work ends in a verdict all the same.

Three things hold in every case: nothing hangs, nothing is verified twice without cause, and what the objects say in
between is the trouble that there is. A provider behind a gate keeps a run in its middle for as long as a fault takes,
so nothing here depends on being quick. Where the operator may die between two of its own effects is tried out exactly
in tests/integration/test_killed.py; here are the faults that need a kubelet, controllers or a network.

What takes its time by itself (the back-off of an image, of a quota) is begun at once and awaited at the end.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from kubernetes import client as kubernetes
from kubernetes.client.exceptions import ApiException

from pact_cluster.demo_broker import matrix
from pact_cluster.demo_kube import Condition, Object
from pact_cluster.demo_releases import BROKER, CONSUMER, DEMO, PROVIDERS, SYSTEM
from pact_operator.core.plan_broker import webhook_uuid
from tests.support.kind import WAIT_SECONDS, Kind, Owed, container_of, pact
from tests.support.node import until

OPERATOR = "pact-operator"
POSTGRES = "pact-broker-postgres-0"
# Of a registry that is nowhere: once it has gone from the node it cannot be had.
SPARE_IMAGE = "localhost/pact-operator-e2e:1"
HOOKED = {"pollInterval": "1h", "webhook": {"enabled": True}}


@pytest.fixture(scope="module", autouse=True)
def healthy(kind: Kind, command_lines: set[str]) -> Iterator[None]:
    """Whatever happens here, the next tests find the demo as it was; and no command line goes unseen meanwhile."""
    yield
    kind.wait_for_api()
    kind.wait_ready(SYSTEM, OPERATOR)
    kind.wait_ready(DEMO, BROKER)
    kind.wait(DEMO, "PactBroker", BROKER, status="True", reason="Reachable")
    for provider in PROVIDERS:
        kind.wait(DEMO, "PactProvider", provider, status="True", reason="AllVerified")


# --- what is asked again and again


def run_says(kind: Kind, owed: Owed, reason: str) -> Condition:
    """Waits until the one run of a provider is not decided yet for a reason."""
    (run,) = kind.kube.objects("PactVerification", owed.namespace)
    name = run["metadata"]["name"]
    return kind.wait(owed.namespace, "PactVerification", name, of="Succeeded", status="Unknown", reason=reason)


def provider_says(kind: Kind, owed: Owed, reason: str, status: str = "False") -> Condition:
    return kind.wait(owed.namespace, "PactProvider", "provider", status=status, reason=reason)


def verified(kind: Kind, owed: Owed, *, runs: int = 1, jobs: int | None = None, pods: int | None = None) -> None:
    """Waits for the verdict of so many runs, and sees that each has one result, and no more Jobs and Pods than that."""

    def passed(found: Mapping[str, Object]) -> bool | None:
        ends = [run for run in found.values() if run.get("status", {}).get("completionTime")]
        return True if len(ends) >= runs else None

    what = f"{runs} verdicts in {owed.namespace}"
    kind.kube.wait("PactVerification", owed.namespace, passed, what=what, seconds=WAIT_SECONDS)
    provider_says(kind, owed, "AllVerified", "True")
    assert len(kind.wait_read_back(owed.namespace)) == runs
    assert kind.results(owed) == [True] * runs, "the broker holds another number of results"
    assert len(kind.jobs(owed.namespace)) == (runs if jobs is None else jobs)
    assert pods is None or len(kind.pods(owed.namespace)) == pods


def wait_for_end(kind: Kind, owed: Owed) -> None:
    """Waits until a verifier has passed, as the kubelet tells."""

    def judge(pods: Mapping[str, Object]) -> bool | None:
        states = [container_of(pod, "verifier").get("state", {}).get("terminated") for pod in pods.values()]
        return True if states and all(state and state["exitCode"] == 0 for state in states) else None

    what = f"the end of a verifier in {owed.namespace}"
    kind.kube.wait("Pod", owed.namespace, judge, what=what, seconds=WAIT_SECONDS)


def webhook_of(kind: Kind, namespace: str) -> str:
    """Waits until the webhook of a namespace's PactBroker is registered, and returns its id."""
    kind.wait(namespace, "PactBroker", "pact-broker", of="WebhookRegistered", status="True", reason="Registered")
    found = kind.kube.get("PactBroker", namespace, "pact-broker")
    assert found
    return webhook_uuid(found["metadata"]["uid"])


# --- begun at once, awaited at the end


@dataclass(frozen=True)
class Begun:
    """Cases whose trouble was there and is gone, and what their PactProviders said of it."""

    no_image: Owed
    no_pod: Owed
    no_job: Owed
    said: Mapping[Owed, Condition]


def fill(kind: Kind, namespace: str, resource: str) -> None:
    """A ResourceQuota `full` that leaves no room for a resource, in force."""
    spec = kubernetes.V1ResourceQuotaSpec(hard={resource: "0"})
    quota = kubernetes.V1ResourceQuota(metadata=kubernetes.V1ObjectMeta(name="full"), spec=spec)
    kind.kube.core.create_namespaced_resource_quota(namespace, quota)

    def in_force() -> bool:
        found = kind.kube.core.read_namespaced_resource_quota("full", namespace)
        return bool(found.status and found.status.used)

    until(in_force, f"the quota of {namespace} is in force")


@pytest.fixture(scope="module", autouse=True)
def begun(kind: Kind, healthy: None) -> Iterator[Begun]:
    image = f"docker.io/{kind.image_of()}"
    kind.node.tag_image(image, SPARE_IMAGE)
    no_image = kind.owed("image-gone", pollInterval="5s")
    kind.provider(no_image.namespace, no_image.callee, container={"image": SPARE_IMAGE})
    no_pod, no_job = kind.owed("quota-pods"), kind.owed("quota-jobs")
    for owed, resource in ((no_pod, "pods"), (no_job, "count/jobs.batch")):
        fill(kind, owed.namespace, resource)
        kind.provider(owed.namespace, owed.callee)
    verified(kind, no_image)
    kind.node.remove_image(SPARE_IMAGE)
    kind.publish(no_image.caller, no_image.callee, "2")

    reasons = {no_image: "ImagePullFailed", no_pod: "JobRejected", no_job: "JobRejected"}
    said = {owed: provider_says(kind, owed, reason) for owed, reason in reasons.items()}
    kind.node.tag_image(image, SPARE_IMAGE)
    for owed, resource in ((no_pod, "pods"), (no_job, "count/jobs.batch")):
        room = {"spec": {"hard": {resource: "10"}}}
        kind.kube.core.patch_namespaced_resource_quota("full", owed.namespace, room)
    yield Begun(no_image, no_pod, no_job, said)
    kind.node.remove_image(SPARE_IMAGE)


# --- operator and broker away


@dataclass(frozen=True)
class Outage:
    """The operator was away and came back to a broker that was away, which came back, too.

    Attributes:
        read_back: Its verifier ended and had published while the operator was away.
        vanished: The same, and Kubernetes removed the Job before the operator was back.
        unheard: A pact was published while the operator, the receiver of hooks, was away.
        left: The namespace was deleted while the operator was away, with a PactBroker that has a finalizer.
        verifying: Its verifier was at work, and could not publish.
        publishing: A consumer whose tests ended meanwhile; its publisher could not publish.
        remaining: Kinds and names of ours that were left in the deleted namespace.
        said: What run, PactProvider or PactConsumer said while the broker was away.
    """

    read_back: Owed
    vanished: Owed
    unheard: Owed
    left: Owed
    verifying: Owed
    publishing: Owed
    remaining: list[tuple[str, str]]
    said: Mapping[str, Condition]


def remaining_in(kind: Kind, namespace: str) -> list[tuple[str, str]]:
    kinds = ("PactBroker", "PactConsumer", "PactProvider", "PactVerification", "Job", "Pod")
    return [(one, item["metadata"]["name"]) for one in kinds for item in kind.kube.objects(one, namespace)]


@pytest.fixture(scope="module")
def outage(kind: Kind) -> Outage:
    read_back, vanished, verifying = kind.owed("read-back"), kind.owed("vanished"), kind.owed("verifying")
    unheard, left = kind.owed("unheard", **HOOKED), kind.owed("left", **HOOKED)
    publishing = kind.owed("publishing")
    kind.gated(read_back)
    kind.gated(vanished, ttlSecondsAfterFinished=0)
    kind.gated(verifying, infraRetries=5)
    kind.gated(left)
    kind.provider(unheard.namespace, unheard.callee)
    verified(kind, unheard)
    webhook_of(kind, unheard.namespace)
    webhook_of(kind, left.namespace)
    for owed in (read_back, vanished, verifying, left):
        kind.wait_at_gate(owed.namespace)
        run_says(kind, owed, "Running")

    said: dict[str, Condition] = {}
    with ExitStack() as broker_back:
        with kind.gone(SYSTEM, OPERATOR):
            kind.open(read_back.namespace)
            kind.open(vanished.namespace)
            kind.publish(unheard.caller, unheard.callee, "2")
            kind.delete_namespace(left.namespace)
            wait_for_end(kind, read_back)
            until(lambda: not kind.jobs(vanished.namespace), "Kubernetes has removed the finished Job")
            until(lambda: len(remaining_in(kind, left.namespace)) <= 1, "all but what a finalizer holds is gone")
            remaining = remaining_in(kind, left.namespace)
            broker_back.enter_context(kind.gone(DEMO, BROKER))
        kind.open(verifying.namespace)
        document = json.dumps(json.dumps(pact(publishing.caller, publishing.callee)))
        script = f"open('/pacts/pact.json', 'w').write({document})"
        again = {"infraRetries": 5}
        kind.consumer(publishing.namespace, script, publishing.caller, version={"value": "2"}, branch="main", run=again)
        said["read back"] = run_says(kind, read_back, "Confirming")
        said["vanished"] = run_says(kind, vanished, "Confirming")
        said["unheard"] = provider_says(kind, unheard, "BrokerUnavailable", "Unknown")
        said["verifying"] = run_says(kind, verifying, "Retrying")
        said["publishing"] = kind.wait(
            publishing.namespace, "PactConsumer", "consumer", status="Unknown", reason="Retrying"
        )
    return Outage(read_back, vanished, unheard, left, verifying, publishing, remaining, said)


def test_results_published_while_the_operator_was_away_count_once_they_can_be_read_back(
    kind: Kind, outage: Outage
) -> None:
    assert "cannot be read back yet" in outage.said["read back"].message
    verified(kind, outage.read_back, pods=1)


def test_a_job_that_was_removed_before_its_end_was_seen_is_not_run_again(kind: Kind, outage: Outage) -> None:
    assert "The Job is gone" in outage.said["vanished"].message
    verified(kind, outage.vanished, jobs=0, pods=0)


def test_a_broker_that_went_during_verification_costs_another_try_of_the_job(kind: Kind, outage: Outage) -> None:
    assert "The Job tries again" in outage.said["verifying"].message
    assert "broker" in outage.said["verifying"].message.lower(), "it does not say whose trouble it is"
    verified(kind, outage.verifying)


def test_a_broker_that_went_before_publication_gets_the_pact_later(kind: Kind, outage: Outage) -> None:
    assert "BrokerUnavailable" in outage.said["publishing"].message
    owed = outage.publishing
    kind.wait(owed.namespace, "PactConsumer", "consumer", status="True", reason="Published")
    assert len(kind.jobs(owed.namespace)) == 1
    with kind.broker_client() as client:
        assert client.version(owed.caller, "2") is not None


def test_a_publication_that_no_hook_told_of_is_found_at_the_start(kind: Kind, outage: Outage) -> None:
    verified(kind, outage.unheard, runs=2)


def test_a_namespace_deleted_while_the_operator_is_away_goes_when_it_is_back(kind: Kind, outage: Outage) -> None:
    assert outage.remaining == [("PactBroker", "pact-broker")], "something else holds the namespace"

    def gone() -> bool:
        try:
            kind.kube.core.read_namespace(outage.left.namespace)
        except ApiException as error:
            return bool(error.status == 404)
        return False

    until(gone, "the deleted namespace is gone", seconds=WAIT_SECONDS)


# --- Pods and database


def test_a_deleted_verifier_pod_and_a_restarted_postgres_cost_time_only(kind: Kind) -> None:
    with kind.broker_client() as client:
        before = {(row.consumer_version, row.provider_version) for row in matrix(client, CONSUMER, PROVIDERS)}
    deleted, database = kind.owed("pod-deleted"), kind.owed("postgres")
    for owed in (deleted, database):
        kind.gated(owed)
    for owed in (deleted, database):
        kind.wait_at_gate(owed.namespace)
    (pod,) = kind.pods(deleted.namespace, "verifier")
    kind.kill_pod(deleted.namespace, pod["metadata"]["name"])
    old = kind.kube.get("Pod", DEMO, POSTGRES)
    assert old
    kind.kill_pod(DEMO, POSTGRES)
    kind.open(deleted.namespace)
    kind.open(database.namespace)

    verified(kind, deleted, pods=1)
    assert kind.pods(deleted.namespace)[0]["metadata"]["uid"] != pod["metadata"]["uid"]
    verified(kind, database)
    new = kind.kube.get("Pod", DEMO, POSTGRES)
    assert new
    assert new["metadata"]["uid"] != old["metadata"]["uid"], "it was not restarted"
    with kind.broker_client() as client:
        after = {(row.consumer_version, row.provider_version) for row in matrix(client, CONSUMER, PROVIDERS)}
    assert before <= after, "the database has lost results"


# --- kubelet and API server


def test_a_kubelet_that_stops_and_starts_again_costs_time_only(kind: Kind) -> None:
    under_way, waiting = kind.owed("kubelet", pollInterval="5s"), kind.owed("kubelet-late")
    kind.gated(under_way)
    kind.wait_at_gate(under_way.namespace)
    with kind.node.kubelet_stopped():
        kind.open(under_way.namespace)
        kind.provider(waiting.namespace, waiting.callee)
        # The verifier publishes without any kubelet, and a PactProvider asks only the broker.
        provider_says(kind, under_way, "AllVerified", "True")
        run_says(kind, under_way, "Running")
        run_says(kind, waiting, "Pending")
    verified(kind, under_way, pods=1)
    verified(kind, waiting, pods=1)


def operator_restarts(kind: Kind) -> tuple[str, int]:
    (pod,) = kind.kube.objects("Pod", SYSTEM, label_selector="app.kubernetes.io/component=operator")
    return pod["metadata"]["uid"], container_of(pod, "operator")["restartCount"]


def test_an_api_server_that_restarts_during_a_run_costs_time_only(kind: Kind) -> None:
    owed = kind.owed("api-server")
    kind.gated(owed)
    kind.wait_at_gate(owed.namespace)
    kind.open_later(owed.namespace)
    restarts = operator_restarts(kind)
    try:
        kind.node.kill_api_server()
        # The new one is not ready yet: the run ends while nobody can be told.
        kind.node.open_gates(owed.namespace)
    finally:
        kind.wait_for_api()
    verified(kind, owed, pods=1)
    assert operator_restarts(kind) == restarts, "the operator did not outlive it"


# --- hooks


def test_a_webhook_that_the_broker_has_lost_costs_one_poll_and_is_registered_again(kind: Kind) -> None:
    owed = kind.owed("hook-lost", pollInterval="10s", webhook={"enabled": True})
    kind.provider(owed.namespace, owed.callee)
    verified(kind, owed)
    uuid = webhook_of(kind, owed.namespace)
    with kind.broker_client(write=True) as client:
        assert client.delete_webhook(uuid)
        client.publish_contracts(owed.caller, "2", [pact(owed.caller, owed.callee)], branch="main")
    verified(kind, owed, runs=2)
    with kind.broker_client(write=True) as client:
        until(lambda: client.webhook(uuid) is not None, "the webhook is back in the broker")


# --- what was begun at the beginning


def test_a_provider_image_that_has_gone_is_named_and_verified_once_it_is_back(kind: Kind, begun: Begun) -> None:
    assert SPARE_IMAGE in begun.said[begun.no_image].message
    verified(kind, begun.no_image, runs=2)


def test_a_quota_without_room_for_pods_is_named_and_waited_for(kind: Kind, begun: Begun) -> None:
    assert "quota" in begun.said[begun.no_pod].message
    verified(kind, begun.no_pod, pods=1)


def test_a_quota_without_room_for_jobs_is_named_and_waited_for(kind: Kind, begun: Begun) -> None:
    assert "quota" in begun.said[begun.no_job].message
    verified(kind, begun.no_job, pods=1)
