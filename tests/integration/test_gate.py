"""The gate of a whole operator, against a real API server and a real broker."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from brokerclient import BrokerClient
from tests.integration.conftest import HOOK_TOKEN, StartOperator, condition_of, until
from tests.integration.scene import CONSUMER, PROVIDER, make_broker, make_consumer, make_provider, publish, verify
from tests.support.apiserver import Api, eventually
from tests.support.broker import free_port

pytestmark = pytest.mark.apiserver

PRODUCTION = {"environment": {"name": "production"}}


def deploy(broker: BrokerClient, pacticipant: str, version: str, *, instance: str | None = None) -> None:
    """Records a version as deployed to production."""
    place = broker.ensure_environment("production")
    broker.record_deployment(pacticipant, version, place.uuid, application_instance=instance)


def until_deployable(api: Api, namespace: str, kind: str, name: str, status: str, reason: str) -> Any:
    """Waits for the condition `Deployable`."""

    async def ask() -> dict[str, Any] | None:
        body = await until(api, kind, namespace, name, "Deployable", reason)()
        return body if body and condition_of(body, "Deployable")["status"] == status else None

    return eventually(ask, f"{kind} {name} is Deployable {status} {reason}")


def says(answer: Callable[[], Awaitable[dict[str, Any]]], **wanted: Any) -> Any:
    """Waits until the gate answers so: a changed PactBroker is seen a moment later."""

    async def ask() -> dict[str, Any] | None:
        found = await answer()
        return found if wanted.items() <= found.items() else None

    return eventually(ask, f"the gate says {wanted}")


async def test_a_providers_version_is_pending_then_allowed_then_broken_and_may_be_let_through(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    publish(broker)
    deploy(broker, CONSUMER, "c1")
    await make_broker(api, namespace, broker.base_url, **PRODUCTION)
    await make_provider(api, namespace)
    async with start_operator() as op:
        body = await until_deployable(api, namespace, "PactProvider", "users", "Unknown", "VerificationPending")
        assert condition_of(body, "Ready")["reason"] == "VerificationPending"
        pending = await op.ask(PROVIDER, "p1")
        assert (pending["status"], pending["verdict"], pending["retry"]) == (200, "Pending", True)
        assert pending["message"].startswith(f"{CONSUMER} c1 in production has no result yet")
        assert (await op.ask(PROVIDER, "p1", post=True))["status"] == 403

        verify(broker)
        allowed = await op.ask(PROVIDER, "p1", post=True, environment="production")
        assert (allowed["status"], allowed["verdict"], allowed["allowed"]) == (200, "Allowed", True)
        assert [(c["consumerVersion"], c["providerVersion"], c["state"]) for c in allowed["contracts"]] == [
            ("c1", "p1", "Verified")
        ]
        await op.hook()
        await until_deployable(api, namespace, "PactProvider", "users", "True", "Allowed")

        verify(broker, success=False)
        broken = await op.ask(PROVIDER, "p1")
        assert (broken["verdict"], broken["allowed"], broken["retry"]) == ("Broken", False, False)
        assert broken["message"] == f"{CONSUMER} c1 in production: a user: body at $.name: is missing"
        await op.hook()
        await until_deployable(api, namespace, "PactProvider", "users", "False", "ContractBroken")
        told = [event["reason"] for event in await api.list("Event", namespace)]
        assert "Allowed" not in told, "the gate is no noise"

        async def set_gate(**gate: Any) -> None:
            await api.patch("PactBroker", namespace, "broker", {"spec": {"gate": gate}})

        today = datetime.now(UTC).date()
        entry = {"pacticipant": CONSUMER, "until": (today + timedelta(days=2)).isoformat()}
        await set_gate(ignore=[entry])
        ignored = await says(lambda: op.ask(PROVIDER, "p1"), verdict="Allowed")
        assert [c["ignored"] for c in ignored["contracts"]] == [True]
        await set_gate(ignore=[{**entry, "until": (today - timedelta(days=1)).isoformat()}])
        await says(lambda: op.ask(PROVIDER, "p1"), verdict="Broken")
        await set_gate(mode="Shadow")
        shadow = await says(lambda: op.ask(PROVIDER, "p1", post=True), shadow=True, status=200)
        assert (shadow["verdict"], shadow["allowed"]) == ("Broken", True)
        async with httpx.AsyncClient(trust_env=False) as http:
            for token in ("", "wrong", HOOK_TOKEN):
                url = f"{op.url}/v1/gate/{namespace}/broker"
                assert (await http.get(url, headers={"X-Pact-Gate-Token": token})).status_code == 401
            metrics = (await http.get(f"{op.url}/metrics")).text
        labels = 'allowed="false",reason="ContractBroken",shadow="true",verdict="Broken"'
        assert f"pact_operator_gate_decisions_total{{{labels}}}" in metrics


async def test_every_version_of_a_provider_that_is_in_the_environment_counts(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    publish(broker)
    place = broker.ensure_environment("production")
    await make_broker(api, namespace, broker.base_url, **PRODUCTION)
    async with start_operator() as op:
        await says(lambda: op.ask(CONSUMER, "c1"), reason="CounterpartNotDeployed", verdict="Pending", allowed=False)
        verify(broker)
        deploy(broker, PROVIDER, "p1", instance="blue")
        await says(lambda: op.ask(CONSUMER, "c1"), verdict="Allowed")
        # The broker lets p1, which has a result, stand for all that are deployed.
        for version, put in (
            ("p2", lambda: deploy(broker, PROVIDER, "p2", instance="green")),
            ("p3", lambda: broker.record_release(PROVIDER, "p3", place.uuid)),
        ):
            broker.ensure_branch_version(PROVIDER, "main", version)
            put()
            assert broker.can_i_deploy(CONSUMER, "c1", environment="production").deployable is True
            pending = await says(lambda: op.ask(CONSUMER, "c1"), verdict="Pending", reason="VerificationPending")
            assert pending["message"].startswith(f"{PROVIDER} {version} in production has no result yet")
            verify(broker, version)
            await says(lambda: op.ask(CONSUMER, "c1"), verdict="Allowed")

        unknown = await op.ask(CONSUMER, "c9")
        assert (unknown["verdict"], unknown["reason"]) == ("CannotTell", "VersionNotInBroker")
        assert (await op.ask("nobody", "1"))["reason"] == "VersionNotInBroker"
        assert (await op.ask(CONSUMER, "c1", environment="mars"))["reason"] == "EnvironmentNotInBroker"
        broker.ensure_branch_version("loner", "main", "1")
        nothing = await op.ask("loner", "1", post=True)
        assert (nothing["status"], nothing["verdict"], nothing["allowed"]) == (403, "NothingToCheck", False)
        await api.patch("PactBroker", namespace, "broker", {"spec": {"gate": {"whenNothingToCheck": "Allow"}}})
        await says(lambda: op.ask("loner", "1", post=True), verdict="NothingToCheck", allowed=True, status=200)


async def test_a_consumer_hears_at_once_of_what_a_verification_comes_to(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    """The broker is polled once an hour: what the PactProvider has found is what brings the PactConsumer's look on."""
    publish(broker)
    broker.ensure_branch_version(PROVIDER, "main", "p1")
    deploy(broker, PROVIDER, "p1")
    await make_broker(api, namespace, broker.base_url, **PRODUCTION)
    await make_provider(api, namespace)
    await make_consumer(api, namespace)
    async with start_operator() as op:
        await until_deployable(api, namespace, "PactConsumer", "web", "Unknown", "VerificationPending")
        verify(broker)
        await op.hook({"provider": PROVIDER})
        body = await until_deployable(api, namespace, "PactConsumer", "web", "True", "Allowed")
        assert condition_of(body, "Ready")["reason"] == "TestsRunning", "somebody else has published its pacts"


async def test_a_version_is_verified_before_it_is_rolled_out_and_pages_nobody_when_it_breaks(
    api: Api, namespace: str, broker: BrokerClient, start_operator: StartOperator
) -> None:
    publish(broker)
    deploy(broker, CONSUMER, "c1")
    verify(broker)
    await make_broker(api, namespace, broker.base_url, **PRODUCTION)
    await make_provider(api, namespace)

    async def run_of_p2() -> dict[str, Any] | None:
        found = await api.list("PactVerification", namespace)
        return next((run for run in found if run["spec"]["providerVersion"] == "p2"), None)

    async def candidate() -> dict[str, Any] | None:
        status = (await api.get("PactProvider", namespace, "users")).get("status") or {}
        return status if [one["version"] for one in status.get("candidates", ())] == ["p2"] else None

    async with start_operator() as op:
        await until_deployable(api, namespace, "PactProvider", "users", "True", "Allowed")
        assert (await op.ask(PROVIDER, "p2"))["reason"] == "VersionNotInBroker"
        asked = await op.ask(PROVIDER, "p2", verify="true")
        assert (asked["verdict"], asked["retry"]) == ("Pending", True)
        run = await eventually(run_of_p2, "p2 is verified")
        assert run["spec"]["target"]["ephemeral"]["template"]["spec"]["containers"][0]["image"] == "users:{version}"
        await eventually(candidate, "the status says so")
        assert (await op.ask(PROVIDER, "p2"))["verdict"] == "Pending"
    async with start_operator() as op:
        # Until the operator has read its objects it says that it cannot tell.
        await says(lambda: op.ask(PROVIDER, "p2"), verdict="Pending")
        await op.looked_again("PactProvider")
        assert await candidate(), "a restart forgets nothing"
        assert await run_of_p2()
        verify(broker, "p2", success=False)
        assert (await op.ask(PROVIDER, "p2", verify="true"))["verdict"] == "Broken"
        await op.looked_again("PactProvider")
        status = (await api.get("PactProvider", namespace, "users"))["status"]
        assert (status["verified"], status["owed"], status["failed"]) == (1, 0, 0)
        states = {contract["providerVersion"]: contract["state"] for contract in status["contracts"]}
        assert states == {"p1": "Verified", "p2": "Failed"}
        reasons = {condition["type"]: condition["reason"] for condition in status["conditions"]}
        assert (reasons["Ready"], reasons["Deployable"]) == ("AllVerified", "Allowed")


async def test_a_broker_that_is_away_or_hangs_is_said_to_be_so(
    api: Api, namespace: str, start_operator: StartOperator
) -> None:
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _reader, writer: held.append(writer), "127.0.0.1", 0)
    hanging = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    away = f"http://127.0.0.1:{free_port()}"
    await make_broker(api, namespace, away, **PRODUCTION)
    try:
        async with start_operator() as op:
            gone = await says(lambda: op.ask(PROVIDER, "p1"), reason="BrokerUnavailable")
            assert (gone["verdict"], gone["allowed"], gone["retry"]) == ("CannotTell", False, True)
            assert away in gone["message"]
            await api.patch("PactBroker", namespace, "broker", {"spec": {"url": hanging}})

            async def hangs() -> dict[str, Any] | None:
                found = await op.ask(PROVIDER, "p1")
                return found if hanging in found["message"] else None

            slow = await eventually(hangs, "the broker hangs")
            assert slow["message"].startswith(f"The broker at {hanging} did not answer within 1.5 seconds")
            await api.patch("PactBroker", namespace, "broker", {"spec": {"gate": {"whenCannotTell": "Allow"}}})
            await says(lambda: op.ask(PROVIDER, "p1", post=True), verdict="CannotTell", allowed=True, status=200)
    finally:
        for writer in held:
            writer.close()
        silent.close()
