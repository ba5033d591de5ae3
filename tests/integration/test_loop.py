"""The whole operator against a real API server and a real broker; Pods are played by the test."""

import asyncio
from typing import Any

import pytest

from brokerclient import BrokerClient
from tests.integration.conftest import HOOK_TOKEN, Running, StartOperator, condition_of, until
from tests.integration.scene import (
    CONSUMER,
    PROVIDER,
    end_pod,
    job_of,
    make_broker,
    make_consumer,
    make_provider,
    pod_of,
    publish,
    publisher_says,
    verifier_says,
    verify,
)
from tests.support.apiserver import Api, eventually

pytestmark = pytest.mark.apiserver

KINDS = ("PactBroker", "PactConsumer", "PactProvider", "PactVerification")


async def versions_of_all(api: Api, namespace: str) -> dict[tuple[str, str], str]:
    return {
        (kind, body["metadata"]["name"]): body["metadata"]["resourceVersion"]
        for kind in (*KINDS, "Job")
        for body in await api.list(kind, namespace)
    }


async def verified(api: Api, namespace: str, broker: BrokerClient) -> dict[str, Any]:
    """Plays a run that passes, and waits until its provider is verified."""
    job = await job_of(api, namespace, "verifier")
    pod = await pod_of(api, job)
    verify(broker)
    sha = broker.pacts_for_verification(PROVIDER, selectors=[{"mainBranch": True}])[0].content_sha
    await end_pod(api, pod, "verifier", 0, verifier_says("Passed", sha))
    return await eventually(until(api, "PactProvider", namespace, "users", "Ready", "AllVerified"), "all is verified")


async def test_a_consumer_runs_once_and_what_it_publishes_is_verified_at_once(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    await make_broker(api, namespace, broker.base_url)
    await make_provider(api, namespace)
    async with start_operator() as op:
        await eventually(until(api, "PactProvider", namespace, "users", "Ready", "NothingToVerify"), "nothing yet")
        await make_consumer(api, namespace)
        job = await job_of(api, namespace, "consumer")
        for number in range(10):
            await api.patch("PactConsumer", namespace, "web", {"metadata": {"labels": {"n": str(number)}}})
            assert await op.hook() == 202
        await settled(api, namespace)
        assert len(await api.list("Job", namespace)) == 1
        assert job["spec"]["template"]["spec"]["initContainers"][0]["image"] == "users-consumer:c1"

        pod = await pod_of(api, job)
        publish(broker)
        await end_pod(api, pod, "publisher", 0, publisher_says())
        body = await eventually(until(api, "PactConsumer", namespace, "web", "Ready", "Published"), "published")
        assert body["status"]["pacts"] == [{"provider": PROVIDER, "interactions": 1}]
        # The broker is polled once an hour and has no webhook: the finished Job alone has brought this about.
        run = await job_of(api, namespace, "verifier")
        assert run["spec"]["template"]["spec"]["initContainers"][0]["image"] == "users:p1"


async def test_a_verdict_is_taken_only_once_the_broker_holds_the_result(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    publish(broker)
    await make_broker(api, namespace, broker.base_url)
    await make_provider(api, namespace)
    async with start_operator() as op:
        pod = await pod_of(api, await job_of(api, namespace, "verifier"))
        [run] = await api.list("PactVerification", namespace)
        name, sha = run["metadata"]["name"], run["spec"]["pacts"][0]["contentSha"]
        await end_pod(api, pod, "verifier", 0, verifier_says("Passed", sha))
        await eventually(
            until(api, "PactVerification", namespace, name, "ResultPublished", "Confirming"), "it is being confirmed"
        )
        await op.looked_again("PactVerification", 3)
        unconfirmed = await api.get("PactVerification", namespace, name)
        assert condition_of(unconfirmed, "Succeeded")["status"] == "Unknown"
        waiting = await api.get("PactProvider", namespace, "users")
        assert condition_of(waiting, "Ready")["status"] != "True"
        since = waiting["status"]["contracts"][0]["owedSince"]
        assert since >= waiting["metadata"]["creationTimestamp"]
        assert await op.metric(f'pact_operator_contracts{{namespace="{namespace}",provider="users",state="owed"') == 1

        verify(broker)
        confirmed = await eventually(until(api, "PactVerification", namespace, name, "Succeeded", "Passed"), "passed")
        assert condition_of(confirmed, "ResultPublished")["status"] == "True"
        ready = await eventually(until(api, "PactProvider", namespace, "users", "Ready", "AllVerified"), "all verified")
        assert (ready["status"]["verified"], ready["status"]["owed"], ready["status"]["failed"]) == (1, 0, 0)
        assert "owedSince" not in ready["status"]["contracts"][0]
        # The content was there before the version was: that is a rollout's time, not a publication's.
        assert await op.metric('pact_operator_runs_total{candidate="false",reason="Passed"}') == 1
        assert await op.metric("pact_operator_rollout_to_verdict_seconds_count") == 1
        assert await op.metric("pact_operator_publish_to_verdict_seconds_count") == 0
        assert await op.metric("pact_operator_oldest_owed_seconds") == 0


async def test_a_broken_contract_says_which_interaction_and_stays_broken(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    publish(broker)
    await make_broker(api, namespace, broker.base_url, pollInterval="1s")
    await make_provider(api, namespace)
    async with start_operator() as op:
        pod = await pod_of(api, await job_of(api, namespace, "verifier"))
        [run] = await api.list("PactVerification", namespace)
        verify(broker, success=False)
        sha = run["spec"]["pacts"][0]["contentSha"]
        await end_pod(api, pod, "verifier", 1, verifier_says("ContractBroken", sha))
        body = await eventually(until(api, "PactProvider", namespace, "users", "Ready", "ContractBroken"), "broken")
        assert "is missing" in condition_of(body, "Ready")["message"]
        assert [(entry["consumer"], entry["state"]) for entry in body["status"]["contracts"]] == [(CONSUMER, "Failed")]
        await op.looked_again("PactProvider", 3)
        assert len(await api.list("PactVerification", namespace)) == 1
        reasons = {event["reason"] for event in await api.list("Event", namespace)}
        assert "ContractBroken" in reasons


async def test_a_new_image_of_a_deployment_is_a_new_version_to_verify(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    publish(broker)
    labels = {"app": "users"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "users", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "users:p1"}]},
            },
        },
    }
    await make_broker(api, namespace, broker.base_url)
    await make_provider(api, namespace, {"fromWorkload": {"name": "users"}})
    async with start_operator():
        await eventually(until(api, "PactProvider", namespace, "users", "Ready", "WorkloadNotFound"), "no Deployment")
        await api.create(deployment)
        await verified(api, namespace, broker)
        [first] = await api.list("PactVerification", namespace)
        changed = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "users:p2"}]}}}}
        await api.patch("Deployment", namespace, "users", changed)
        await job_of(api, namespace, "verifier", but=first["status"]["jobName"])
        versions = {run["spec"]["providerVersion"] for run in await api.list("PactVerification", namespace)}
        assert versions == {"p1", "p2"}


async def test_a_restart_makes_nothing_twice_and_writes_nothing(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    publish(broker)
    await make_broker(api, namespace, broker.base_url, webhook={"enabled": True}, environment={"name": "test"})
    await make_provider(api, namespace)
    await make_consumer(api, namespace)
    async with start_operator():
        await verified(api, namespace, broker)
        await eventually(until(api, "PactBroker", namespace, "broker", "WebhookRegistered", "Registered"), "registered")
        await job_of(api, namespace, "consumer")
        await settled(api, namespace)
    before = await versions_of_all(api, namespace)
    assert {kind for kind, _ in before} == {*KINDS, "Job"}
    async with start_operator() as op:
        for kind in KINDS:
            await looked_at(op, kind)
        assert not op.writes
    assert await versions_of_all(api, namespace) == before


async def test_a_run_goes_on_where_a_restart_left_it(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    publish(broker)
    await make_broker(api, namespace, broker.base_url)
    await make_provider(api, namespace)
    async with start_operator():
        job = await job_of(api, namespace, "verifier")
        # It stops only after it has written down that the Job was asked for.
        started = until(api, "PactVerification", namespace, job["metadata"]["name"], "Succeeded", "Pending")
        await eventually(started, "the run has started")
    # While the operator is away the run ends, and its Job is cleaned up.
    verify(broker)
    await api.delete("Job", namespace, job["metadata"]["name"])
    async with start_operator():
        await eventually(until(api, "PactProvider", namespace, "users", "Ready", "AllVerified"), "all is verified")
    assert await api.list("Job", namespace) == []
    [run] = await api.list("PactVerification", namespace)
    assert condition_of(run, "Succeeded")["status"] == "True"


async def test_what_is_converged_is_looked_at_and_never_written_to(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    publish(broker)
    await make_broker(api, namespace, broker.base_url, pollInterval="1s")
    await make_provider(api, namespace)
    async with start_operator() as op:
        await verified(api, namespace, broker)
        await settled(api, namespace)
        before, writes = await versions_of_all(api, namespace), dict(op.writes)
        await op.looked_again("PactBroker", 3)
        await op.looked_again("PactProvider", 2)
        assert op.writes == writes
        assert await versions_of_all(api, namespace) == before


async def test_the_brokers_own_webhook_wakes_the_provider_and_leaves_with_the_object(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    await make_broker(api, namespace, broker.base_url, webhook={"enabled": True})
    await make_provider(api, namespace)
    async with start_operator() as op:
        body = await eventually(
            until(api, "PactBroker", namespace, "broker", "WebhookRegistered", "Registered"), "the webhook is there"
        )
        assert body["metadata"]["finalizers"] == ["pact-operator.dev/webhook"]
        await eventually(until(api, "PactProvider", namespace, "users", "Ready", "NothingToVerify"), "nothing yet")
        publish(broker)
        # The broker sends its hook after some five seconds; the next poll would be in an hour.
        await job_of(api, namespace, "verifier")
        assert op.writes["create Job"] == 1

        uuid = await webhook_uuid(api, namespace)
        held = broker.webhook(uuid)
        assert held is not None
        assert HOOK_TOKEN not in str(held.definition)
        await api.delete("PactBroker", namespace, "broker")
        await eventually(lambda: gone(api, namespace), "the PactBroker is gone")
        assert broker.webhook(uuid) is None
        await eventually(until(api, "PactProvider", namespace, "users", "Ready", "BrokerNotFound"), "it is missed")


async def test_a_broker_that_was_away_is_found_again_and_told_of_meanwhile(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator, unused_tcp_port: int
) -> None:
    publish(broker)
    await make_broker(api, namespace, f"http://127.0.0.1:{unused_tcp_port}", pollInterval="1s")
    await make_provider(api, namespace)
    async with start_operator() as op:
        for kind, name in (("PactBroker", "broker"), ("PactProvider", "users")):
            body = await eventually(until(api, kind, namespace, name, "Ready", "BrokerUnavailable"), f"{kind} says so")
            assert str(unused_tcp_port) in condition_of(body, "Ready")["message"]
        # The Events of a look come after its status: only the next look proves that all of them are written.
        await op.looked_again("PactProvider", 1)
        writes = dict(op.writes)
        await op.looked_again("PactBroker", 2)
        assert op.writes == writes, "the same trouble is told once"
        await api.patch("PactBroker", namespace, "broker", {"spec": {"url": broker.base_url}})
        await job_of(api, namespace, "verifier")


async def test_a_spec_that_only_the_operator_can_find_wrong_gets_a_reason(
    api: Api, namespace: str, start_operator: StartOperator
) -> None:
    await make_provider(api, namespace)
    async with start_operator():
        body = await eventually(until(api, "PactProvider", namespace, "users", "Ready", "BrokerNotFound"), "a reason")
    assert "'broker'" in condition_of(body, "Ready")["message"]


async def settled(api: Api, namespace: str) -> None:
    """Waits until nothing has changed for some looks."""
    same, before = 0, await versions_of_all(api, namespace)
    while same < 20:
        await asyncio.sleep(0.05)
        now = await versions_of_all(api, namespace)
        same, before = (same + 1, before) if now == before else (0, now)


async def looked_at(op: Running, kind: str) -> None:
    async def once() -> bool:
        return await op.looks(kind) >= 1

    await eventually(once, f"{kind} is looked at")


async def gone(api: Api, namespace: str) -> bool:
    return await api.find("PactBroker", namespace, "broker") is None


async def webhook_uuid(api: Api, namespace: str) -> str:
    from pact_operator.core.plan_broker import webhook_uuid

    return webhook_uuid((await api.get("PactBroker", namespace, "broker"))["metadata"]["uid"])
