"""What may happen to the operator and on the way to it."""

from collections.abc import Mapping

from tests.support.kind import SYSTEM, WAIT_SECONDS, Kind, unique

OPERATOR = "app.kubernetes.io/component=operator"


def test_an_operator_killed_in_the_middle_makes_one_job_of_one_run(kind: Kind) -> None:
    namespace = kind.namespace("killed")
    callee = unique("callee")
    kind.publish(unique("caller"), callee)
    kind.broker(namespace)
    kind.provider(namespace, callee)
    kind.kube.wait(
        "Job", namespace, lambda jobs: bool(jobs) or None, what=f"a Job in {namespace}", seconds=WAIT_SECONDS
    )
    (old,) = kind.kube.objects("Pod", SYSTEM, label_selector=OPERATOR)
    kind.kube.core.delete_namespaced_pod(old["metadata"]["name"], SYSTEM, grace_period_seconds=0)

    kind.wait(namespace, "PactProvider", "provider", status="True", reason="AllVerified")
    assert len(kind.wait_read_back(namespace)) == 1
    assert len(kind.jobs(namespace)) == 1
    assert len(kind.pods(namespace)) == 1, "the Job tried more than once"

    def replaced(pods: Mapping[str, object]) -> bool | None:
        return True if pods and old["metadata"]["name"] not in pods else None

    kind.kube.wait("Pod", SYSTEM, replaced, what="a new operator Pod", seconds=WAIT_SECONDS, label_selector=OPERATOR)


def test_a_publication_reaches_the_operator_through_the_webhook(kind: Kind) -> None:
    # Nothing but the webhook can tell of the pact: the next poll is an hour away.
    namespace = kind.namespace("hook")
    callee = unique("callee")
    kind.broker(namespace, pollInterval="1h", webhook={"enabled": True})
    kind.wait(namespace, "PactBroker", "pact-broker", of="WebhookRegistered", status="True", reason="Registered")
    kind.provider(namespace, callee)
    kind.wait(namespace, "PactProvider", "provider", status="Unknown", reason="NothingToVerify")
    kind.publish(unique("caller"), callee)
    kind.wait(namespace, "PactProvider", "provider", status="True", reason="AllVerified")


def test_pacts_that_wait_at_the_same_moment_share_one_run(kind: Kind) -> None:
    namespace = kind.namespace("shared")
    callee = unique("callee")
    for _ in range(3):
        kind.publish(unique("caller"), callee)
    kind.broker(namespace)
    kind.provider(namespace, callee)
    ready = kind.wait(namespace, "PactProvider", "provider", status="True", reason="AllVerified")
    assert ready.message.startswith("All 3 contracts hold")
    assert len(kind.jobs(namespace)) == 1
