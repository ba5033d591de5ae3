import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from brokerclient import BranchVersion, Version
from pact_cluster.demo import BREAK_PATCH, FIX_PATCH, RENAME_PATCH, Progress, Told, in_record, rolled_out, settled
from pact_cluster.demo_broker import Verdict, failure_text, version_to_publish
from pact_cluster.demo_kube import condition
from pact_cluster.demo_releases import broker, consumer, operator, provider
from pact_cluster.demo_source import content_version, patched
from pact_cluster.demo_view import View, broken, describe_excerpt, field_of, gate_excerpt, rows
from pact_cluster.errors import ClusterError
from pact_cluster.report import Reporter
from pact_cluster.workspace import Workspace

MISMATCH = "users-consumer: a request for a user: $.email: expected 'alice@example.com' but was missing"


class Versions:
    """A broker that knows some versions; the last of them is the newest of branch main."""

    def __init__(self, *numbers: str) -> None:
        self.numbers = numbers

    def version(self, pacticipant: str, number: str) -> Version | None:
        assert pacticipant == "c"
        if number not in self.numbers:
            return None
        newest = number == self.numbers[-1]
        return Version(number, None, None, (BranchVersion("main", newest),), ())


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ((), "1.0.0-a"),
        (("1.0.0-a",), "1.0.0-a"),
        (("1.0.0-a", "1.1.0-b"), "1.0.0-a.1"),
        (("1.0.0-a", "1.1.0-b", "1.0.0-a.1"), "1.0.0-a.1"),
        (("1.0.0-a", "1.1.0-b", "1.0.0-a.1", "1.1.0-b.1"), "1.0.0-a.2"),
    ],
)
def test_content_that_is_not_the_newest_any_more_gets_a_fresh_version(known: tuple[str, ...], expected: str) -> None:
    assert version_to_publish(Versions(*known), "c", "1.0.0-a", "main") == expected  # type: ignore[arg-type]


def test_another_branch_does_not_count() -> None:
    assert version_to_publish(Versions("1.0.0-a"), "c", "1.0.0-a", "other") == "1.0.0-a.1"  # type: ignore[arg-type]


def test_a_version_that_the_broker_has_lost_is_not_published_again() -> None:
    assert version_to_publish(Versions(), "c", "1.0.0-a", "main", "1.0.0-a") == "1.0.0-a.1"  # type: ignore[arg-type]
    assert version_to_publish(Versions("1.0.0-a"), "c", "1.0.0-a", "main", "1.0.0-a") == "1.0.0-a"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mismatches", "told"),
    [
        ([{"attribute": "body", "identifier": "$.a", "description": "missing"}], "a request: body at $.a: missing"),
        ([{"mismatch": "wrong"}, {"mismatch": "another"}], "a request: wrong"),
        ([], "a request"),
        (["not what a broker sends"], "a request"),
    ],
)
def test_a_failure_is_told_with_its_place(mismatches: list[Any], told: str) -> None:
    assert failure_text({"interactionDescription": "a request", "mismatches": mismatches}) == told


def pact_provider(
    *contracts: tuple[str, str, str], version: str = "1", ready: str = "True", observed: int = 2
) -> dict[str, Any]:
    return {
        "kind": "PactProvider",
        "metadata": {"name": "p", "generation": 2},
        "spec": {"pacticipant": "p"},
        "status": {
            "version": version,
            "conditions": [{"type": "Ready", "status": ready, "reason": "R", "observedGeneration": observed}],
            "contracts": [
                {"consumer": "c", "providerVersion": v, "contentSha": sha, "state": state, "message": MISMATCH}
                for v, sha, state in contracts
            ],
        },
    }


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, False),
        (pact_provider(("1", "sha", "Verified")), True),
        (pact_provider(("1", "sha", "Failed"), ready="False"), True),
        (pact_provider(("1", "sha", "Running"), ready="Unknown"), False),
        (pact_provider(("1", "sha", "Blocked"), ready="False"), False),
        (pact_provider(("1", "older", "Verified")), False),
        (pact_provider(("0", "sha", "Verified")), False),
        (pact_provider(("1", "sha", "Verified"), version="0"), False),
        (pact_provider(("1", "sha", "Verified"), observed=1), False),
    ],
)
def test_a_verdict_counts_for_its_content_version_and_generation_alone(
    found: dict[str, Any] | None, expected: bool
) -> None:
    assert settled(found, "sha", "1") is expected


def test_a_verdict_on_what_is_not_in_scope_any_more_is_waited_away() -> None:
    found = pact_provider(("1", "sha", "Verified"), ("1", "before", "Failed"))
    assert settled(found, "sha", "1", {"sha", "before"})
    assert not settled(found, "sha", "1", {"sha"}), "the status is from before"


def test_a_condition_without_a_generation_is_taken_as_it_is() -> None:
    body = {"metadata": {"generation": 3}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert condition(body).current
    assert condition({"metadata": {}}).status == ""
    assert str(condition(None)) == "not looked at yet"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}, True),
        ({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}, None),
        ({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}, None),
        ({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1}, None),
        ({}, None),
    ],
)
def test_a_rollout_is_over_when_only_its_own_pods_are_left(status: dict[str, int], expected: bool | None) -> None:
    found = {"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status}
    assert rolled_out("d", {"d": found}) is expected
    assert rolled_out("another", {"d": found}) is None


@pytest.mark.parametrize(
    ("status", "reason", "running", "observed", "expected"),
    [
        ("True", "DeploymentRecorded", "1", 2, True),
        ("True", "DeploymentRecorded", "0", 2, False),
        ("True", "NothingDeployed", None, 2, False),
        ("False", "Drift", "1", 2, False),
        ("Unknown", "Recording", "1", 2, False),
        ("True", "DeploymentRecorded", "1", 1, False),
    ],
)
def test_what_runs_is_in_the_record_when_its_own_version_is(
    status: str, reason: str, running: str | None, observed: int, expected: bool
) -> None:
    body = pact_provider()
    told = {"type": "Recorded", "status": status, "reason": reason, "observedGeneration": observed}
    body["status"]["conditions"].append(told)
    body["status"]["deployment"] = {"environment": "demo", "running": running, "inBroker": ["1"]}
    assert in_record(body, "1") is expected
    assert not in_record(None, "1")


def test_what_runs_stands_beside_what_the_broker_holds() -> None:
    body = pact_provider()
    body["status"]["conditions"].append({"type": "Recorded", "status": "False", "reason": "Drift"})
    body["status"]["deployment"] = {"environment": "demo", "running": "2", "inBroker": ["0", "1"]}
    output = io.StringIO()
    View(Console(file=output, width=120)).deployments([body, pact_provider()])
    lines = [[cell.strip() for cell in line.split("│")] for line in output.getvalue().splitlines() if "│" in line]
    assert [cells[1:-1] for cells in lines] == [
        ["p", "demo", "2", "0, 1", "Drift"],
        ["p", "", "nothing", "nothing", "-"],
    ]


def verdict(version: str, *, success: bool, sha: str = "sha") -> Verdict:
    return Verdict("c", "9", "p", version, sha, success, "2026-01-01T00:00:00+00:00", () if success else ("told",))


def test_the_two_sides_of_the_matrix_are_joined_by_content_and_version() -> None:
    providers = {"p": pact_provider(("1", "sha", "Failed"), ("2", "sha", "Verified"))}
    found = rows([verdict("1", success=False), verdict("2", success=False), verdict("3", success=False)], providers)
    assert [(row.objects, row.agree) for row in found] == [("Failed", True), ("Verified", False), ("-", True)]
    assert found[0].failure == MISMATCH, "the object names the field"
    assert found[2].failure == "told", "of older versions only the broker knows"


def test_what_matters_now_stands_first() -> None:
    found = rows(
        [verdict("0", success=True), verdict("1", success=True)], {"p": pact_provider(("1", "sha", "Verified"))}
    )
    assert [row.provider for row in found] == ["p 1", "p 0"]


def test_versions_of_equal_content_share_a_row() -> None:
    first = verdict("1", success=True)
    second = dataclasses.replace(first, consumer_version="8")
    (row,) = rows([first, second], {})
    assert row.consumer == "c 9 (and 1 before it, alike)"
    assert len(rows([first, dataclasses.replace(second, content_sha="other")], {})) == 2


def test_a_disagreement_shows_in_the_table() -> None:
    out = io.StringIO()
    view = View(Console(file=out, width=200))
    view.matrix(rows([verdict("1", success=True)], {"p": pact_provider(("1", "sha", "Failed"))}))
    assert "the two disagree" in out.getvalue()


def test_broken_contracts_name_the_field() -> None:
    (only,) = broken({"p": pact_provider(("1", "sha", "Failed"), ("1", "other", "Verified"))})
    assert (only.provider, only.version, only.consumer, only.field) == ("p", "1", "c", "$.email")


@pytest.mark.parametrize(
    ("message", "path"),
    [("at $.user.email it", "$.user.email"), ("$['a b'][0].c!", "$['a b'][0].c"), ("costs $5", ""), ("", "")],
)
def test_the_field_is_the_json_path(message: str, path: str) -> None:
    assert field_of(message) == path


def test_brackets_in_a_mismatch_are_text_not_markup() -> None:
    out = io.StringIO()
    View(Console(file=out, width=200)).broken(
        broken(
            {
                "p": {
                    "status": {
                        "contracts": [
                            {
                                "consumer": "c",
                                "providerVersion": "1",
                                "state": "Failed",
                                "message": "$['bold'] was [red]",
                            }
                        ]
                    }
                }
            }
        )
    )
    assert "$['bold'] was [red]" in out.getvalue()


def test_the_excerpt_holds_conditions_and_events_alone() -> None:
    text = """Name:         flask-provider
Namespace:    pact-demo
Kind:         PactProvider
Spec:
  Branch:  main
Status:
  Conditions:
    Message:  broken
    Reason:   ContractBroken
  Contracts:
    Consumer:  users-consumer
Events:
  Type     Reason          Message
  Warning  ContractBroken  broken
"""
    assert describe_excerpt(text).splitlines() == [
        "Name:         flask-provider",
        "Kind:         PactProvider",
        "  Conditions:",
        "    Message:  broken",
        "    Reason:   ContractBroken",
        "Events:",
        "  Type     Reason          Message",
        "  Warning  ContractBroken  broken",
    ]


def test_what_the_gate_said_is_found_in_what_helm_wrote() -> None:
    asked = "May x 2 go to demo? Asking http://gate, for at most 240 s."
    log = (
        f"{asked}\n    0 s  Pending: wait\n\nconsumer  provider  state\n\nREFUSED: x 2 to demo: no\nWhat to do: mend it"
    )
    helm = f'level=WARN msg="something"\n{log}\nError: UPGRADE FAILED: pre-upgrade hooks failed: 1 error'
    assert gate_excerpt(helm) == log
    assert gate_excerpt(f'{log}\nRelease "x" has been upgraded. Happy Helming!\nNAME: x') == log
    assert gate_excerpt('Release "x" has been upgraded.') == "", "nobody asked"
    quoted = log.replace('"', '\\"').replace("\n", "\\n")
    assert gate_excerpt(f'level=INFO msg="{quoted}"\nlevel=WARN msg="upgrade failed"') == log, "as helm 4 writes it"


def test_a_candidate_that_breaks_is_no_broken_contract() -> None:
    entry = {"consumer": "web", "contentSha": "a", "state": "Failed", "message": "$.name is missing"}
    contracts = [{**entry, "providerVersion": version} for version in ("1", "2")]
    item = {"status": {"version": "1", "candidates": [{"version": "1"}, {"version": "2"}], "contracts": contracts}}
    assert [(found.provider, found.version) for found in broken({"users": item})] == [("users", "1")]


@pytest.mark.parametrize(
    ("patch", "image"),
    [(BREAK_PATCH, "consumer"), (FIX_PATCH, "fastapi-provider"), (RENAME_PATCH, "fastapi-provider")],
    ids=["break", "fix", "rename"],
)
def test_the_patches_fit_the_tree_and_make_another_version(patch: str, image: str) -> None:
    workspace = Workspace.find()
    before = content_version(workspace.root, image, "1.0.0")
    with patched(workspace, workspace.root / patch) as changed:
        after = content_version(changed.root, image, "1.0.0")
        copy = changed.root
    assert after != before
    assert content_version(workspace.root, image, "1.0.0") == before, "the tree stays as it is"
    assert not copy.exists()


def test_a_patch_that_does_not_fit_says_so_in_a_sentence(tmp_path: Path) -> None:
    workspace = Workspace.find()
    patch = workspace.root / "jobs/consumer/demo/expects-email.patch"
    wrong = tmp_path / "wrong.patch"
    wrong.write_text(patch.read_text().replace("created_on: datetime", "created_on: something_else"))
    with pytest.raises(ClusterError, match="does not fit the tree any more"), patched(workspace, wrong):
        pytest.fail("it must not get here")


IMAGES: Mapping[str, str] = {
    "operator": "pact-operator/operator:o1",
    "verifier": "pact-operator/verifier:v1",
    "publisher": "pact-operator/publisher:p1",
    "postgres": "pact-operator/postgres:17",
    "broker-lite": "pact-operator/broker-lite:b1",
}


def test_the_releases_name_the_images_that_were_built() -> None:
    assert operator(IMAGES).values["jobImages"] == {"verifier": {"tag": "v1"}, "publisher": {"tag": "p1"}}
    assert provider("flask-provider", "pact-operator/flask-provider:1.0.0-a").values["image"] == {
        "repository": "pact-operator/flask-provider",
        "tag": "1.0.0-a",
    }
    assert "gate" not in provider("flask-provider", "pact-operator/flask-provider:1.0.0-a").values
    asking = provider("flask-provider", "pact-operator/flask-provider:1.0.0-a", "pact-operator/gate:g1").values["gate"]
    assert asking == {"enabled": True, "image": {"tag": "g1"}}
    values = consumer("pact-operator/consumer:1.0.0-a", "1.0.0-a.1").values
    assert (values["image"]["tag"], values["version"]) == ("1.0.0-a", "1.0.0-a.1"), "a revert needs no other image"


def test_the_official_broker_runs_where_a_registry_answers() -> None:
    assert broker(IMAGES).values["flavour"] == "lite"
    official = broker({name: ref for name, ref in IMAGES.items() if name not in ("postgres", "broker-lite")}).values
    assert "flavour" not in official
    assert "postgres" not in official


def test_progress_says_what_runs_and_what_is_next_without_a_terminal() -> None:
    out = io.StringIO()
    progress = Progress(Reporter(out), ["first", "second"])
    with progress.step() as step:
        told = Told(step, progress.report)
        told("waiting")
        told("waiting")
    with progress.step():
        pass
    text = out.getvalue()
    assert "1/2 first; next: second" in text
    assert "2/2 second; the last step" in text
    assert text.count("waiting") == 1
    assert [title for title, _ in progress.timings] == ["first", "second"]
