"""What people use beside kubectl: the metrics, and pactctl with nothing but the kubeconfig."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from pact_cluster import ensure_cluster
from pact_cluster.demo_releases import CONSUMER, DEMO, FLASK
from tests.support.kind import SYSTEM, Kind
from tests.support.promtool import promtool


def scraped(kind: Kind) -> str:
    text: str = kind.kube.core.connect_get_namespaced_service_proxy_with_path(
        "http:pact-operator:8080", SYSTEM, "metrics"
    )
    return text


def series(text: str, beginning: str) -> float:
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(beginning))


def test_a_scrape_tells_of_the_loop(kind: Kind) -> None:
    text = scraped(kind)
    checked = subprocess.run(
        [str(promtool()), "check", "metrics"], input=text, text=True, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert series(text, f'pact_operator_contracts{{namespace="{DEMO}",provider="{FLASK}",state="verified"}}') >= 1
    assert series(text, f'pact_operator_broker_up{{name="pact-broker",namespace="{DEMO}"}}') == 1
    assert series(text, f'pact_operator_oldest_owed_seconds{{namespace="{DEMO}"') == 0
    assert series(text, 'pact_operator_looks_total{kind="PactProvider"') > 0
    assert series(text, 'pact_operator_broker_requests_total{operation="verification_results",outcome="ok"}') > 0
    assert series(text, 'pact_operator_hints_total{origin="watch"}') > 0


def pactctl(kind: Kind, *words: str) -> subprocess.CompletedProcess[str]:
    cluster = ensure_cluster(kind.workspace)
    where = ["--kubeconfig", str(cluster.kubeconfig), "--context", cluster.context]
    return subprocess.run(
        [sys.executable, "-m", "pactctl", *where, *words], capture_output=True, text=True, check=False, timeout=600
    )


def told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_status_shows_what_kubectl_shows(kind: Kind) -> None:
    done = pactctl(kind, "status", "--namespace", DEMO, "--output", "json")
    shown: Mapping[str, Any] = told(done)
    assert done.returncode == 0, "every contract of the demo holds"
    # What was only asked about, such as a version that the gate has refused, breaks nothing.
    own = [row for row in shown["contracts"] if not row["candidate"]]
    assert {(row["consumer"], row["state"]) for row in own} == {(CONSUMER, "Verified")}
    table = pactctl(kind, "status", "--namespace", DEMO)
    assert f"pactprovider/{FLASK}" in table.stdout


def test_a_candidate_is_verified_by_one_command(kind: Kind) -> None:
    image = kind.image_of(FLASK)
    done = pactctl(
        kind, "verify", image, "--provider", FLASK, "--namespace", DEMO, "--version", "candidate-of-a-person"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert CONSUMER in done.stdout
    with kind.broker_client() as client:
        assert client.version(FLASK, "candidate-of-a-person") is None, "nothing is published unless it is asked for"


def test_the_gate_answers_through_the_api_server(kind: Kind) -> None:
    found = kind.kube.get("PactProvider", DEMO, FLASK)
    assert found
    version = found["status"]["version"]
    words = ("can-i-deploy", "--pacticipant", FLASK, "--version", version, "--namespace", DEMO, "--output", "json")
    done = pactctl(kind, *words, "--operator-namespace", SYSTEM)
    assert told(done)["verdict"] == "Allowed", done.stdout
    assert done.returncode == 0
    unheard = pactctl(
        kind,
        *("can-i-deploy", "--pacticipant", FLASK, "--version", "nobody-has-heard-of-it", "--namespace", DEMO),
        *("--operator-namespace", SYSTEM, "--output", "json"),
    )
    assert told(unheard)["allowed"] is False
    assert unheard.returncode != 0


@pytest.mark.parametrize("name", [f"pactprovider/{FLASK}", "pact-broker"])
def test_why_an_object_is_as_it_is(kind: Kind, name: str) -> None:
    done = pactctl(kind, "explain", name, "--namespace", DEMO)
    assert done.returncode == 0, done.stderr
    assert "Ready is True" in done.stdout


def test_cluster_and_broker_agree(kind: Kind) -> None:
    done = pactctl(kind, "drift", "--namespace", DEMO, "--output", "json")
    shown = {row["object"]: row for row in told(done)}
    assert done.returncode == 0, shown
    assert shown[f"pactprovider/{FLASK}"]["status"] == "True"
