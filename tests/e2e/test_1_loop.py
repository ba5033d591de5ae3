"""The whole loop as people see it: green, broken with a reason, mended by a rollout alone, and back again."""

from typing import Any

import pytest

from pact_cluster.demo import demo, demo_break, demo_fix, demo_status
from pact_cluster.demo_broker import Verdict, contents, matrix
from pact_cluster.demo_releases import CONSUMER, DEMO, FASTAPI, FLASK, PROVIDERS
from tests.support.kind import Kind, condition


def contracts(kind: Kind, provider: str) -> list[dict[str, Any]]:
    """The contracts of a provider's present version with the newest content, from its status."""
    found = kind.kube.get("PactProvider", DEMO, provider)
    assert found
    with kind.broker_client() as client:
        newest = contents(client, CONSUMER, (provider,))[provider]
    status = found["status"]
    return [c for c in status["contracts"] if (c["contentSha"], c["providerVersion"]) == (newest, status["version"])]


def from_broker(kind: Kind, provider: str) -> list[Verdict]:
    """What the broker says of the same contracts."""
    (contract,) = contracts(kind, provider)
    with kind.broker_client() as client:
        return [
            verdict
            for verdict in matrix(client, CONSUMER, (provider,))
            if (verdict.content_sha, verdict.provider_version) == (contract["contentSha"], contract["providerVersion"])
        ]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_contracts_hold_for_objects_and_broker_alike(kind: Kind, provider: str) -> None:
    ready = condition(kind.kube.get("PactProvider", DEMO, provider))
    assert (ready.status, ready.reason) == ("True", "AllVerified"), ready
    assert [contract["state"] for contract in contracts(kind, provider)] == ["Verified"]
    told = from_broker(kind, provider)
    assert told, "the broker holds no result of what the object calls verified"
    assert all(verdict.success for verdict in told)


def test_the_version_verified_is_the_one_that_runs(kind: Kind) -> None:
    for provider in PROVIDERS:
        found = kind.kube.get("PactProvider", DEMO, provider)
        assert found
        assert kind.image_of(provider).endswith(":" + found["status"]["version"])


def test_every_run_was_read_back_from_the_broker(kind: Kind) -> None:
    runs = kind.wait_read_back(DEMO)
    assert {run["spec"]["pacticipant"] for run in runs} == set(PROVIDERS)


def test_pods_of_the_operator_hold_no_token_and_no_privilege(kind: Kind) -> None:
    namespace = kind.kube.core.read_namespace(DEMO)
    assert namespace.metadata is not None
    labels = namespace.metadata.labels or {}
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted", "the API server would let other Pods in"
    for role in ("verifier", "consumer"):
        pods = kind.pods(DEMO, role)
        assert pods, f"no Pod of role {role} is left to look at"
        for pod in pods:
            spec = pod["spec"]
            assert spec["automountServiceAccountToken"] is False
            volumes = [volume for volume in spec["volumes"] if "projected" in volume]
            assert not volumes, "a projected volume could carry a token"
            assert spec["activeDeadlineSeconds" if "activeDeadlineSeconds" in spec else "restartPolicy"] != "Always"
            for container in [*spec.get("initContainers", []), *spec["containers"]]:
                security = container["securityContext"]
                assert security["capabilities"]["drop"] == ["ALL"], container["name"]
                assert security["allowPrivilegeEscalation"] is False, container["name"]


def test_a_second_run_changes_nothing(kind: Kind) -> None:
    before = {job["metadata"]["uid"] for job in kind.jobs(DEMO)}
    assert demo(kind.workspace) == 0
    assert {job["metadata"]["uid"] for job in kind.jobs(DEMO)} == before


def test_the_fix_says_that_nothing_is_broken_yet(kind: Kind) -> None:
    from pact_cluster import ClusterError

    with pytest.raises(ClusterError, match="make demo-break"):
        demo_fix(kind.workspace)


def test_a_broken_contract_names_interaction_and_field(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo_break(kind.workspace) == 0
    shown = capsys.readouterr().out
    assert "$.email" in shown
    assert "describe pactprovider flask-provider" in shown
    assert f"REFUSED: {FASTAPI} 2.0.0-" in shown, "the upgrade that would break the deployed consumer"
    assert kind.image_of(FASTAPI).rpartition(":")[2].startswith("1.0.0-"), "it was not rolled out"
    for provider in PROVIDERS:
        ready = condition(kind.kube.get("PactProvider", DEMO, provider))
        assert (ready.status, ready.reason) == ("False", "ContractBroken")
        assert "$.email" in ready.message
        assert "a request for user 123" in ready.message
        assert {verdict.success for verdict in from_broker(kind, provider)} == {False}
        events = kind.kube.events_of(DEMO, provider)
        assert any(e["reason"] == "ContractBroken" and "$.email" in e["message"] for e in events), "no Event tells it"


def test_a_second_break_changes_nothing(kind: Kind) -> None:
    before = {job["metadata"]["uid"] for job in kind.jobs(DEMO)}
    assert demo_break(kind.workspace) == 0
    assert {job["metadata"]["uid"] for job in kind.jobs(DEMO)} == before


def test_a_rollout_alone_mends_one_provider_and_not_the_other(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo_fix(kind.workspace) == 0
    assert f"ALLOWED: {FASTAPI} 1.1.0-" in capsys.readouterr().out, "the gate lets the mended version in"
    fastapi = condition(kind.kube.get("PactProvider", DEMO, FASTAPI))
    flask = condition(kind.kube.get("PactProvider", DEMO, FLASK))
    assert (fastapi.status, fastapi.reason) == ("True", "AllVerified")
    assert (flask.status, flask.reason) == ("False", "ContractBroken")
    assert {verdict.success for verdict in from_broker(kind, FASTAPI)} == {True}


def test_the_demo_again_goes_back_under_a_fresh_version(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    before = kind.kube.get("PactConsumer", DEMO, CONSUMER)
    assert demo(kind.workspace) == 0
    after = kind.kube.get("PactConsumer", DEMO, CONSUMER)
    assert before
    assert after
    assert after["status"]["version"].startswith("1.0.0-")
    assert "." in after["status"]["version"].removeprefix("1.0.0-"), "a revert is a version of its own"
    assert demo_status(kind.workspace) == 0
    assert "the two disagree" not in capsys.readouterr().out
