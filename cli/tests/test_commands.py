"""Each command against a scripted API server: what is shown, what is asked, how it ends."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from cli.tests.scripted import TOKEN, World, broker, condition, contract, provider, serving
from pactctl.app import app
from pactctl.exits import Exit, PactctlError


class Shell:
    """Runs commands against a world."""

    def __init__(self, world: World, kubeconfig: Path) -> None:
        self.world = world
        self._kubeconfig = kubeconfig

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(app, ["--kubeconfig", str(self._kubeconfig), *words])

    def refused(self, *words: str) -> PactctlError:
        found = self.run(*words).exception
        assert isinstance(found, PactctlError), found
        return found


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    world = World()
    with serving(world, tmp_path) as kubeconfig:
        yield Shell(world, kubeconfig)


# --- status


def test_status_shows_what_is_broken_first_and_ends_with_1(shell: Shell) -> None:
    shell.world.put(broker())
    shell.world.put(
        provider(contracts=[contract("web", "Verified"), contract("app", "Failed", message="body $.email is missing")])
    )
    found = shell.run("status")
    assert found.exit_code == Exit.NO
    assert found.output.index("body $.email is missing") < found.output.index("Verified")
    assert "pactbroker/pact-broker" in found.output


def test_status_of_a_namespace_where_all_holds_ends_with_0(shell: Shell) -> None:
    shell.world.put(provider(contracts=[contract("web", "Verified")]))
    assert shell.run("status").exit_code == Exit.YES


def test_a_broken_candidate_is_shown_last_and_breaks_nothing(shell: Shell) -> None:
    contracts = [contract("web", "Failed", version="2.0.0-rc1"), contract("web", "Verified")]
    shell.world.put(
        provider(contracts=contracts, candidates=[{"version": "2.0.0-rc1", "until": "2026-01-01T00:00:00Z"}])
    )
    found = shell.run("status")
    assert found.exit_code == Exit.YES
    assert found.output.index("Verified") < found.output.index("2.0.0-rc1 (asked about)")


@pytest.mark.parametrize(("form", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_status_for_machines(shell: Shell, form: str, parse: Any) -> None:
    shell.world.put(provider(contracts=[contract("web", "Verified", version="0.9.0")]))
    told = parse(shell.run("status", "-o", form).output)
    assert told["contracts"][0]["providerVersion"] == "0.9.0"
    assert told["contracts"][0]["current"] is False
    assert told["objects"][0]["object"] == "pactprovider/catalog"


def test_a_namespace_without_objects_says_what_to_do(shell: Shell) -> None:
    assert "create a PactBroker" in shell.run("status", "-n", "empty").output


def test_an_object_that_the_operator_has_not_seen_says_so(shell: Shell) -> None:
    body = provider()
    body["metadata"]["generation"] = 2
    shell.world.put(body)
    assert "of an older spec" in shell.run("status").output


# --- verify


def finish(outcome: str, status: str, reason: str, **pact: Any) -> Any:
    def act(world: World, run: dict[str, Any]) -> None:
        run["status"] = {
            "observedGeneration": 1,
            "completionTime": "2026-01-01T00:00:00Z",
            "conditions": [condition("Succeeded", status, reason, f"so: {outcome}")],
            "pacts": [{"consumer": "web", "contentSha": "a", "outcome": outcome, "interactions": 3, **pact}],
        }
        world.put(run)

    return act


@pytest.mark.parametrize(
    ("outcome", "status", "reason", "code"),
    [
        ("Passed", "True", "Passed", Exit.YES),
        ("Failed", "False", "ContractBroken", Exit.NO),
        ("Error", "Unknown", "NothingToVerify", Exit.NOTHING),
        ("Error", "False", "ImagePullFailed", Exit.UNAVAILABLE),
    ],
)
def test_a_candidate_is_verified_and_the_verdict_is_the_exit_code(
    shell: Shell, outcome: str, status: str, reason: str, code: Exit
) -> None:
    shell.world.put(provider())
    shell.world.on_create = finish(outcome, status, reason, mismatch="body $.name is missing")
    found = shell.run("verify", "registry.example.com/catalog:2.0.0-rc1", "-p", "catalog")
    assert found.exit_code == code, found.output
    assert "body $.name is missing" in found.output
    [run] = shell.world.of("pactverifications", "shop")
    assert run["spec"]["providerVersion"] == "2.0.0-rc1"
    assert run["spec"]["publishResults"] is False
    images = {one["name"]: one["image"] for one in run["spec"]["target"]["ephemeral"]["template"]["spec"]["containers"]}
    assert images == {"database": "postgres:17", "provider": "registry.example.com/catalog:2.0.0-rc1"}
    assert run["spec"]["selectors"] == [{"mainBranch": True}]
    assert not run["metadata"]["ownerReferences"][0].get("controller")


def test_a_candidate_without_a_verdict_in_time_is_undecided_and_says_how_to_go_on(shell: Shell) -> None:
    shell.world.put(provider())
    error = shell.refused("verify", "catalog:2", "-p", "catalog", "--timeout", "1")
    assert error.code == Exit.UNDECIDED
    assert "kubectl wait --for=condition=Succeeded pactverification/catalog-candidate-" in str(error)


def test_a_candidate_without_a_tag_needs_a_version(shell: Shell) -> None:
    shell.world.put(provider())
    error = shell.refused("verify", "registry:5000/catalog", "-p", "catalog")
    assert (error.code, "--version" in str(error)) == (Exit.USAGE, True)
    assert shell.world.of("pactverifications", "shop") == []


def test_a_live_service_has_no_candidates(shell: Shell) -> None:
    body = provider()
    body["spec"]["target"] = {"service": {"name": "catalog"}}
    shell.world.put(body)
    assert "spec.target.ephemeral" in str(shell.refused("verify", "catalog:2", "-p", "catalog"))


def test_a_container_that_is_not_there_is_named_with_those_that_are(shell: Shell) -> None:
    shell.world.put(provider())
    error = shell.refused("verify", "catalog:2", "-p", "catalog", "--container", "web")
    assert "it has database, provider" in str(error)


# --- can-i-deploy


def answer(verdict: str, *, allowed: bool = False, retry: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "allowed": allowed,
        "verdict": verdict,
        "reason": verdict,
        "shadow": False,
        "message": f"so: {verdict}",
        "nextStep": "Do something.",
        "retry": retry,
        "pacticipant": "catalog",
        "version": "2.0.0",
        "environment": "production",
        "contracts": [],
        **more,
    }


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        ("Allowed", Exit.YES),
        ("Broken", Exit.NO),
        ("Pending", Exit.UNDECIDED),
        ("NothingToCheck", Exit.NOTHING),
        ("CannotTell", Exit.UNAVAILABLE),
    ],
)
def test_the_gate_is_asked_through_the_api_server_and_its_verdict_is_the_exit_code(
    shell: Shell, verdict: str, code: Exit
) -> None:
    shell.world.put(broker())
    shell.world.gate = lambda _: (200, answer(verdict, allowed=verdict == "Allowed"))
    found = shell.run("can-i-deploy", "-a", "catalog", "-e", "2.0.0", "--to-environment", "production")
    assert found.exit_code == code, found.output
    assert f"so: {verdict}" in found.output
    [(path, headers)] = shell.world.gate_requests
    assert path.startswith(
        "/api/v1/namespaces/pact-system/services/http:pact-operator:8080/proxy/v1/gate/shop/pact-broker?"
    )
    assert "environment=production" in path
    assert headers["X-Pact-Gate-Token"] == TOKEN


def test_a_refusal_shows_the_contract_and_the_next_step(shell: Shell) -> None:
    shell.world.put(broker())
    row = {
        "consumer": "web",
        "consumerVersion": "1.2.0",
        "provider": "catalog",
        "providerVersion": "2.0.0",
        "state": "Failed",
        "ignored": False,
        "message": "body $.email is missing",
    }
    shell.world.gate = lambda _: (200, answer("Broken", contracts=[row]))
    found = shell.run("can-i-deploy", "-a", "catalog", "-e", "2.0.0")
    assert "body $.email is missing" in found.output
    assert "Next: Do something." in found.output


def test_shadow_mode_passes_and_says_what_it_would_have_said(shell: Shell) -> None:
    shell.world.put(broker())
    shell.world.gate = lambda _: (200, answer("Broken", allowed=True, shadow=True))
    found = shell.run("can-i-deploy", "-a", "catalog", "-e", "2.0.0")
    assert found.exit_code == Exit.YES
    assert "Broken (the gate is in shadow mode" in found.output


def test_waiting_asks_again_when_something_changes(shell: Shell) -> None:
    shell.world.put(broker())
    answers = iter([answer("Pending", retry=True), answer("Pending", retry=True), answer("Allowed", allowed=True)])

    def gate(_: Mapping[str, list[str]]) -> tuple[int, Any]:
        told = next(answers)
        if told["retry"]:
            shell.world.put(provider(contracts=[contract("web", "Running")]))
        return 200, told

    shell.world.gate = gate
    found = shell.run("can-i-deploy", "-a", "catalog", "-e", "2.0.0", "--verify", "--wait", "--timeout", "30")
    assert found.exit_code == Exit.YES, found.output
    assert len(shell.world.gate_requests) == 3
    assert all("verify=true" in path for path, _ in shell.world.gate_requests)


def test_several_brokers_have_to_be_told_apart(shell: Shell) -> None:
    shell.world.put(broker("one"))
    shell.world.put(broker("two"))
    error = shell.refused("can-i-deploy", "-a", "catalog", "-e", "2.0.0")
    assert (error.code, "--broker one or two" in str(error)) == (Exit.USAGE, True)


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        (400, {"detail": "environment is missing"}, Exit.USAGE, "environment is missing"),
        (401, {"detail": "Send the gate's token."}, Exit.UNAVAILABLE, "Send the gate's token."),
        (503, {"kind": "Status", "message": "no endpoints available"}, Exit.UNAVAILABLE, "no endpoints"),
        (404, {"kind": "Status", "message": "not found"}, Exit.USAGE, "--operator-namespace"),
        (403, {"kind": "Status", "message": "forbidden"}, Exit.UNAVAILABLE, "services/proxy"),
        (200, "not an answer", Exit.UNAVAILABLE, "nothing that can be read"),
    ],
)
def test_a_gate_that_does_not_answer_is_one_sentence(
    shell: Shell, status: int, body: Any, code: Exit, words: str
) -> None:
    shell.world.put(broker())
    shell.world.gate = lambda _: (status, body)
    error = shell.refused("can-i-deploy", "-a", "catalog", "-e", "2.0.0")
    assert (error.code, words in str(error)) == (code, True), str(error)


def test_an_operator_that_is_elsewhere_is_asked_for(shell: Shell) -> None:
    shell.world.put(broker())
    error = shell.refused("can-i-deploy", "-a", "catalog", "-e", "2.0.0", "--operator-service", "other")
    assert (error.code, "Secret other-gate" in str(error)) == (Exit.USAGE, True)


# --- explain


def test_explain_says_why_who_and_what_next(shell: Shell) -> None:
    broken = [condition("Ready", "False", "ContractBroken", "web with version 1.0.0: body $.email is missing")]
    shell.world.put(
        provider(conditions=broken, contracts=[contract("web", "Failed", message="body $.email is missing")])
    )
    shell.world.events = [
        {"type": "Warning", "reason": "ContractBroken", "message": "m", "lastTimestamp": "2026-01-01"}
    ]
    found = shell.run("explain", "pprov/catalog")
    assert found.exit_code == Exit.YES
    for words in ("ContractBroken", "the provider's team", "serve what the consumer expects", "waiting help: no"):
        assert words in found.output
    told = json.loads(shell.run("explain", "catalog", "-o", "json").output)
    assert told["conditions"][0]["actor"] == "the provider's team"
    assert told["events"][0]["reason"] == "ContractBroken"


def test_explain_knows_a_reason_of_a_newer_operator_not_and_says_so(shell: Shell) -> None:
    shell.world.put(provider(conditions=[condition("Ready", "False", "OfTomorrow", "who knows")]))
    assert "older than the operator" in shell.run("explain", "catalog").output


@pytest.mark.parametrize(
    ("name", "words"),
    [("nobody", "There is no nobody"), ("deployment/x", "names no object of ours"), ("both", "is ambiguous")],
)
def test_an_object_that_is_not_clear_is_one_sentence(shell: Shell, name: str, words: str) -> None:
    shell.world.put(provider("both"))
    shell.world.put(broker("both"))
    error = shell.refused("explain", name)
    assert (error.code, words in str(error)) == (Exit.USAGE, True)


# --- record and drift


def deployed(running: str, held: list[str], status: str, reason: str, **more: Any) -> dict[str, Any]:
    return {
        "deployment": {"environment": "production", "running": running, "inBroker": held, **more},
        "conditions": [
            condition("Ready", "True", "AllVerified"),
            condition("Recorded", status, reason, f"{running} runs, the broker holds {', '.join(held)}."),
        ],
    }


def test_drift_names_both_sides_and_ends_with_1(shell: Shell) -> None:
    shell.world.put(provider(**deployed("2.0.0", ["1.0.0"], "False", "Drift")))
    shell.world.put(provider("orders", **deployed("3.0.0", ["3.0.0"], "True", "DeploymentRecorded")))
    found = shell.run("drift")
    assert found.exit_code == Exit.NO
    assert "2.0.0 runs, the broker holds 1.0.0." in found.output
    told = json.loads(shell.run("drift", "-o", "json").output)
    assert [(one["object"], one["inBroker"]) for one in told] == [
        ("pactprovider/catalog", ["1.0.0"]),
        ("pactprovider/orders", ["3.0.0"]),
    ]


def test_no_drift_ends_with_0(shell: Shell) -> None:
    shell.world.put(provider(**deployed("3.0.0", ["3.0.0"], "True", "DeploymentRecorded")))
    assert shell.run("drift").exit_code == Exit.YES


def test_record_asks_once_and_waits_for_the_answer(shell: Shell) -> None:
    shell.world.put(provider(**deployed("2.0.0", ["1.0.0"], "False", "Drift", request="before")))

    def act(world: World, body: dict[str, Any]) -> None:
        body["status"].update(deployed("2.0.0", ["2.0.0"], "True", "DeploymentRecorded", request="after"))
        world.put(body)

    shell.world.on_annotate = act
    found = shell.run("record", "catalog", "--timeout", "30")
    assert found.exit_code == Exit.YES, found.output
    [body] = shell.world.of("pactproviders", "shop")
    assert "pact-operator.dev/record-requested-at" in body["metadata"]["annotations"]


def test_record_without_an_answer_in_time_is_undecided(shell: Shell) -> None:
    shell.world.put(provider(**deployed("2.0.0", ["1.0.0"], "False", "Drift", request="before")))
    assert shell.refused("record", "catalog", "--timeout", "1").code == Exit.UNDECIDED


def test_record_of_what_is_not_watched_says_what_it_needs(shell: Shell) -> None:
    shell.world.put(provider())
    error = shell.refused("record", "catalog")
    assert (error.code, "spec.environment" in str(error)) == (Exit.USAGE, True)


# --- trouble


@pytest.mark.parametrize(
    ("refuse", "code", "words"),
    [
        ((404, "the server could not find the requested resource"), Exit.USAGE, "install the chart"),
        ((403, "forbidden by RBAC"), Exit.USAGE, "forbidden by RBAC"),
        ((401, "Unauthorized"), Exit.USAGE, "log in anew"),
        ((500, "etcd is away"), Exit.UNAVAILABLE, "etcd is away"),
    ],
)
def test_an_api_server_that_says_no_is_one_sentence(
    shell: Shell, refuse: tuple[int, str], code: Exit, words: str
) -> None:
    shell.world.refuse = refuse
    error = shell.refused("status")
    assert (error.code, words in str(error)) == (code, True), str(error)


def test_a_cluster_that_is_not_there_is_one_sentence(shell: Shell, tmp_path: Path) -> None:
    config = yaml.safe_load((tmp_path / "kubeconfig").read_text())
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    gone = tmp_path / "gone"
    gone.write_text(yaml.safe_dump(config))
    found = CliRunner().invoke(app, ["--kubeconfig", str(gone), "status"]).exception
    assert isinstance(found, PactctlError)
    assert (found.code, "does not answer" in str(found)) == (Exit.UNAVAILABLE, True)


def test_a_kubeconfig_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["--kubeconfig", str(tmp_path / "none"), "status"]).exception
    assert isinstance(found, PactctlError)
    assert found.code == Exit.USAGE
