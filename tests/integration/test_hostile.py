"""One object that means harm must not keep the operator from all the others."""

import json

import pytest

from tests.integration.conftest import StartOperator, until
from tests.integration.scene import make_broker, make_provider, manifest
from tests.support.apiserver import Api, eventually

pytestmark = pytest.mark.apiserver

PROVIDERS = "/apis/pact-operator.dev/v1alpha1/namespaces/{}/pactproviders"


def deep_provider(namespace: str, levels: int) -> str:
    """A PactProvider whose Pod template nests; as text, since no encoder of ours goes that deep."""
    template = {"spec": {"containers": [{"name": "c", "image": "i"}], "affinity": "HERE"}}
    spec = {"brokerRef": {"name": "broker"}, "pacticipant": "deep", "version": {"value": "1"}}
    target = {"ephemeral": {"port": 8080, "template": template}}
    body = json.dumps(manifest("PactProvider", namespace, "deep", {**spec, "target": target}))
    return body.replace('"HERE"', '{"a":' * levels + "1" + "}" * levels)


@pytest.mark.parametrize("levels", [900, 9_900])
async def test_an_object_that_nests_deeply_stops_nobody(
    api: Api, namespace: str, start_operator: StartOperator, levels: int
) -> None:
    await make_broker(api, namespace, "http://127.0.0.1:9")
    collection = PROVIDERS.format(namespace)
    async with start_operator():
        answer = await api.http.post(
            collection, content=deep_provider(namespace, levels), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 201, "the API server lets it through"

        async def told() -> bool:
            return '"reason":"InvalidSpec"' in (await api.http.get(f"{collection}/deep")).text

        await eventually(told, "its own status says what is wrong with it")
        await make_provider(api, namespace)
        await eventually(until(api, "PactProvider", namespace, "users", "Ready", "BrokerUnavailable"), "a good one")
    async with start_operator():
        await api.patch("PactProvider", namespace, "users", {"spec": {"suspend": True}})
        await eventually(until(api, "PactProvider", namespace, "users", "Ready", "Suspended"), "after a restart, too")
