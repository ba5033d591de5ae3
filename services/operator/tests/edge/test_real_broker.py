"""The engine and a real broker behind what stands before brokers in the field: TLS, a path prefix, bearer tokens."""

import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brokerclient import BasicAuth, BearerAuth, BrokerClient
from pact_operator.adapters.brokers import BrokerThreads
from pact_operator.api import names
from pact_operator.core.facts import Key, Settings
from pact_operator.core.plan_broker import GIVE_UP_SECONDS, webhook_uuid
from pact_operator.core.times import rfc3339
from pact_operator.engine.queue import KeyedQueue
from pact_operator.engine.reconciler import Reconciler
from services.broker_lite.tests.support.receiver import Receiver, receive
from tests.support.broker import WRITER
from tests.support.front import READ_TOKEN, WRITE_TOKEN, Front, authority, broker_behind_a_front

UUID = webhook_uuid("uid-main")
TARGET = {"ephemeral": {"template": {"spec": {"containers": [{"name": "p", "image": "p:{version}"}]}}, "port": 80}}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    allowed = {"PACT_BROKER_WEBHOOK_HOST_WHITELIST": "127.0.0.1", "PACT_BROKER_WEBHOOK_SCHEME_WHITELIST": "http"}
    with broker_behind_a_front(tmp_path_factory.mktemp("front"), allowed) as front:
        yield front


@pytest.fixture
def direct(front: Front) -> Iterator[BrokerClient]:
    """The broker as its operators see it."""
    with BrokerClient(front.direct, auth=BasicAuth(*WRITER)) as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive() as receiver:
        yield receiver


class Operator:
    """The engine with real brokers and an API server in memory, whose writes take effect."""

    def __init__(self, world: Any, clock: Any, looks: Any, front: Front, receiver: Receiver) -> None:
        self.world, self.clock = world, clock
        self.token = "first-token"
        self.settings = Settings("v:1", "p:1", hook_url=f"http://{receiver.address}", hook_token_digest="first")
        self.secrets = {
            "read": {"token": READ_TOKEN},
            "write": {"token": WRITE_TOKEN},
            "ca": {"ca.crt": front.authority.read_text()},
        }
        self.brokers = BrokerThreads(self.secret, lambda: self.token, timeout=5.0, patience=10.0)
        self.reconciler = Reconciler(
            snapshot=world,
            cluster=world,
            brokers=self.brokers,
            clock=clock,
            settings=lambda: self.settings,
            queue=KeyedQueue(now=clock.now),
            observer=looks,
        )
        auth = {"readSecretRef": {"name": "read"}, "writeSecretRef": {"name": "write"}}
        common = {"url": front.url, "auth": auth, "caSecretRef": {"name": "ca"}}
        self.broker = world.put(
            names.BROKER, "main", {**common, "environment": {"name": "staging"}, "webhook": {"enabled": True}}
        )

    async def secret(self, _namespace: str, name: str) -> dict[str, str] | None:
        return self.secrets.get(name)

    async def look(self, key: Key | None = None, times: int = 1) -> dict[str, Any]:
        """Looks, carries out what was written, and returns the conditions by type."""
        key = key or self.broker
        for _ in range(times):
            before = len(self.world.calls)
            await self.reconciler.look(key)
            for call in self.world.calls[before:]:
                if call[0] == "patch_status":
                    self.world.objects[call[1]]["status"] = call[2]
                elif call[0] == "set_finalizers":
                    self.world.objects[call[1]]["metadata"]["finalizers"] = list(call[2])
        return {c["type"]: c for c in self.world.objects[key]["status"]["conditions"]}

    def finalizers(self) -> list[str]:
        return list(self.world.objects[self.broker]["metadata"].get("finalizers") or [])


@pytest.fixture
def operator(world: Any, clock: Any, looks: Any, front: Front, receiver: Receiver) -> Iterator[Operator]:
    operator = Operator(world, clock, looks, front, receiver)
    front.asked.clear()
    yield operator
    operator.brokers.close()


def told_by(front: Front, receiver: Receiver, number: int) -> str:
    """Has the broker send the webhook that it holds, and returns the credential that came with it."""
    request = urllib.request.Request(f"{front.direct}/webhooks/{UUID}/execute", b"{}", method="POST")
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Basic {b64encode(':'.join(WRITER).encode()).decode()}")
    with urllib.request.urlopen(request, timeout=30):
        pass
    return str(receiver.wait_for(number)[-1].headers["authorization"])


async def test_a_broker_is_set_up_through_prefix_authority_and_tokens_and_left_clean(
    operator: Operator, front: Front, direct: BrokerClient, receiver: Receiver
) -> None:
    direct.publish_contracts("hooked-consumer", "1", [_pact("hooked-consumer", "hooked-provider")], branch="main")
    conditions = await operator.look(times=4)
    assert (conditions["Ready"]["status"], conditions["WebhookRegistered"]["status"]) == ("True", "True"), conditions
    assert operator.finalizers() == [names.FINALIZER_WEBHOOK]
    assert "staging" in {environment.name for environment in direct.environments()}
    assert front.writes() == {WRITE_TOKEN}
    front.asked.clear()
    await operator.look(times=2)
    assert {token for _, _, token in front.asked} == {READ_TOKEN}, "what only reads never gets what can write"
    assert told_by(front, receiver, 1) == "Bearer first-token"

    # Kubernetes has put a new token into the mounted Secret.
    operator.token, operator.settings = "second-token", replace(operator.settings, hook_token_digest="second")
    await operator.look(times=2)
    assert told_by(front, receiver, 2) == "Bearer second-token"
    held = direct.webhook(UUID)
    assert held is not None
    assert "second-token" not in str(held.definition)

    operator.world.objects[operator.broker]["metadata"]["deletionTimestamp"] = rfc3339(operator.clock.now())
    await operator.look(times=2)
    assert direct.webhook(UUID) is None
    assert operator.finalizers() == []


async def test_what_is_owed_and_held_is_read_through_them_too(
    operator: Operator, front: Front, direct: BrokerClient
) -> None:
    direct.publish_contracts("web", "1", [_pact("web", "users")], branch="main")
    spec = {"brokerRef": {"name": "main"}, "pacticipant": "users", "version": {"value": "1"}, "target": TARGET}
    provider = operator.world.put(names.PROVIDER, "users", {**spec, "mainBranch": "trunk"})
    conditions = await operator.look(provider, times=2)
    assert conditions["MainBranchSet"]["status"] == "True", conditions
    found = direct.pacticipant("users")
    assert found is not None
    assert found.main_branch == "trunk"
    [contract] = operator.world.objects[provider]["status"]["contracts"]
    assert (contract["consumer"], contract["state"]) == ("web", "Running")
    with BrokerClient(front.url, auth=BearerAuth(WRITE_TOKEN), ca_file=str(front.authority)) as fronted:
        [owed] = fronted.pacts_for_verification("users", selectors=[{"mainBranch": True}])
        link = fronted.get_pact(owed.url)["_links"]["pb:publish-verification-results"]["href"]
        fronted.publish_verification_result(link, provider_version="1", success=False)
    conditions = await operator.look(provider)
    assert conditions["Ready"]["reason"] == "ContractBroken"
    url = operator.world.objects[provider]["status"]["contracts"][0]["resultUrl"]
    assert url.startswith(front.url), "links are people's way into the broker: prefix included"
    assert front.writes() == {WRITE_TOKEN}
    assert None not in front.reads(), "nothing was asked outside of the prefix"


async def test_another_authority_is_not_trusted_and_said_to_be_the_trouble(
    operator: Operator, front: Front, tmp_path: Path
) -> None:
    operator.secrets["ca"] = {"ca.crt": authority(tmp_path, "another")[0].read_text()}
    ready = (await operator.look())["Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "BrokerUnavailable")
    assert "certificate" in ready["message"].lower()
    assert front.asked == [], "not even a token was sent"


async def test_a_broker_that_is_gone_holds_its_object_for_a_minute_and_no_longer(
    operator: Operator, unused_tcp_port: int
) -> None:
    body = operator.world.objects[operator.broker]
    body["spec"]["url"] = f"https://127.0.0.1:{unused_tcp_port}"
    body["metadata"] |= {
        "finalizers": [names.FINALIZER_WEBHOOK],
        "deletionTimestamp": rfc3339(operator.clock.now()),
        "generation": 2,
    }
    body["status"] = {"conditions": []}
    await operator.look(times=2)
    assert operator.finalizers() == [names.FINALIZER_WEBHOOK], "it may come back"
    operator.clock.time += GIVE_UP_SECONDS + 1
    await operator.look()
    assert operator.finalizers() == []
    assert [call[3] for call in operator.world.called("event")] == ["WebhookLeftBehind"]


def _pact(consumer: str, provider: str) -> dict[str, Any]:
    interaction = {"description": "d", "request": {"method": "GET", "path": "/"}, "response": {"status": 200}}
    return {
        "consumer": {"name": consumer},
        "provider": {"name": provider},
        "interactions": [interaction],
        "metadata": {"pactSpecification": {"version": "2.0.0"}},
    }
