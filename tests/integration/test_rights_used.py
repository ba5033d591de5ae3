"""The operator uses every right that the chart gives it: one that it does not use is one too many."""

import pytest

from brokerclient import BrokerClient
from pact_operator.adapters.cluster import KubernetesCluster
from tests.charts.test_rights import OPERATOR
from tests.integration.conftest import StartOperator, until
from tests.integration.scene import job_of, make_broker, make_consumer, make_provider, manifest, publish
from tests.support.apiserver import Api, ApiServer, eventually

pytestmark = pytest.mark.apiserver


async def test_no_right_is_granted_that_the_operator_does_not_use(
    apiserver: ApiServer, api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    publish(broker)
    await make_broker(api, namespace, broker.base_url, webhook={"enabled": True})
    await make_provider(api, namespace)
    await make_consumer(api, namespace)
    async with start_operator():
        # Why these Jobs have no Pod is asked of Events after some seconds.
        await job_of(api, namespace, "consumer")
        job = await job_of(api, namespace, "verifier")
        await api.patch("PactProvider", namespace, "users", {"spec": {"version": {"value": "p2"}}})
        await job_of(api, namespace, "verifier", but=job["metadata"]["name"])
        await eventually(until(api, "PactBroker", namespace, "broker", "WebhookRegistered", "Registered"), "registered")

        async def asked_why() -> bool:
            return ("", "events", "list") in apiserver.used("operator")

        await eventually(asked_why, "it asks why a Job has no Pod")

    # Only a lost answer, or a watch that lags behind, makes it ask whose an object is that is there already.
    cluster = await KubernetesCluster.connect()
    for kind, api_version in (("PactVerification", "pact-operator.dev/v1alpha1"), ("Job", "batch/v1")):
        found = (await api.list(kind, namespace))[-1]
        spec = found["spec"] if kind == "PactVerification" else {"template": found["spec"]["template"]}
        if kind == "Job":  # without the labels that the API server has added
            spec["template"]["metadata"] = {}
        again = manifest(kind, namespace, found["metadata"]["name"], spec)
        again["apiVersion"] = api_version
        again["metadata"]["ownerReferences"] = found["metadata"]["ownerReferences"]
        await cluster.create(again)
    await cluster.close()

    granted = {(group, resource, verb) for group, resource, verb, _ in OPERATOR}
    assert granted - apiserver.used("operator") == set()
