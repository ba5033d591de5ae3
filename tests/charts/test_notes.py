"""What a person reads after an installation: it names what is there, and what to type next."""

import re
from pathlib import Path

import pytest

from tests.charts.charts import CHARTS, CI_CASES, CI_IDS, Helm

_NAMED = re.compile(
    r"kubectl [^\n]*?\b(?P<kind>service|deployment|secret|pact(?:broker|consumer|provider))[/ ](?P<name>[a-z0-9.-]+)"
)


def _notes(helm: Helm, chart: str, *arguments: str) -> str:
    outcome = helm.run("install", "rel", str(CHARTS / chart), "--namespace", "ns1", "--dry-run=client", *arguments)
    assert outcome.code == 0, outcome.errors
    _, found, notes = outcome.output.partition("\nNOTES:\n")
    assert found, "no notes"
    return notes


@pytest.mark.parametrize(("chart", "values"), CI_CASES, ids=CI_IDS)
def test_every_object_that_the_notes_name_is_there(helm: Helm, chart: str, values: Path) -> None:
    notes = _notes(helm, chart, "--values", str(values))
    manifests = helm.manifests(chart, values=values, release="rel", namespace="ns1")
    there = {(manifest["kind"].lower(), manifest["metadata"]["name"]) for manifest in manifests}
    # Secrets that the values name are made by someone else.
    there |= {("secret", name) for name in re.findall(r"existingSecret: ([a-z-]+)", values.read_text(encoding="utf-8"))}
    named = {(match["kind"], match["name"]) for match in _NAMED.finditer(notes)}
    assert named - there == set()
    assert named != set()
    assert "helm test rel --namespace ns1" in notes
    assert "<no value>" not in notes


def test_the_notes_say_what_an_uninstall_keeps(helm: Helm) -> None:
    notes = _notes(helm, "pact-broker")
    assert "data-rel-pact-broker-postgres-0" in notes
    assert "the data is lost with the Postgres Pod" not in notes
    assert "the data is lost with the Postgres Pod" in _notes(
        helm, "pact-broker", "--set", "postgres.persistence.enabled=false"
    )
    assert "leaves the CustomResourceDefinitions" in _notes(helm, "pact-operator")
    assert "also deletes every object" in _notes(helm, "pact-operator", "--set", "crds.keep=false")


def test_the_notes_say_which_secrets_the_operator_must_be_given(helm: Helm) -> None:
    create = ("--set", "pactBroker.create=true")
    assert "rbac.brokerSecretNames:\n  rel-pact-broker-readonly\n  rel-pact-broker-readwrite\n" in _notes(
        helm, "pact-broker", *create
    )
    assert "rbac.brokerSecretNames" not in _notes(helm, "pact-broker", *create, "--set", "fullnameOverride=pact-broker")
