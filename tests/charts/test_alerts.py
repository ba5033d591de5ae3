"""Alerts and dashboard: rules that promtool takes and fires; metrics that exist; entries in the runbook."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.charts import CHARTS, ROOT, Helm
from tests.support.promtool import NoPromtoolError, promtool

FILES = CHARTS / "pact-operator/files"
RULES = FILES / "alerts.yaml"
UNIT_TESTS = Path(__file__).with_name("alerts_test.yaml")
METRICS = ROOT / "services/operator/src/pact_operator/metrics.py"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]


@pytest.fixture(scope="session")
def program() -> Path:
    try:
        return promtool()
    except NoPromtoolError as error:
        pytest.fail(str(error), pytrace=False)


def ran(program: Path, *arguments: str) -> str:
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_rules(program: Path) -> None:
    assert f"{len(ALERTS)} rules found" in ran(program, "check", "rules", str(RULES))


def test_each_alert_fires_when_it_should_and_not_before(program: Path, tmp_path: Path) -> None:
    text = UNIT_TESTS.read_text(encoding="utf-8").replace("[RULES]", f"[{RULES}]")
    tests = yaml.safe_load(text)
    # promtool compares annotations too: they are the rule's own words, and said once.
    said = {rule["alert"]: rule["annotations"] for rule in ALERTS}
    fired: dict[str, set[bool]] = {name: set() for name in said}
    for test in tests["tests"]:
        for case in test["alert_rule_test"]:
            fired[case["alertname"]].add(bool(case["exp_alerts"]))
    assert fired == {name: {True, False} for name in said}, "each alert is fired once, and kept quiet once"
    bare = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in bare["groups"]:
        for rule in group["rules"]:
            rule.pop("annotations")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(bare), encoding="utf-8")
    tests["rule_files"] = ["rules.yaml"]
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    ran(program, "test", "rules", str(tmp_path / "tests.yaml"))


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\bpact_operator_\w+", text))


def made() -> set[str]:
    """Every series that the operator makes, as Prometheus names them."""
    source = METRICS.read_text(encoding="utf-8")
    found: set[str] = set()
    for kind, name in re.findall(r'(\w+)\(\s*"(pact_operator_\w+)"', source):
        base = name.removesuffix("_total")
        if kind.startswith("Counter"):
            found.add(f"{base}_total")
        elif kind.startswith("Histogram"):
            found |= {f"{base}_{part}" for part in ("bucket", "sum", "count")}
        else:
            found.add(name)
    return found


@pytest.mark.parametrize("source", [RULES, FILES / "dashboard.json", UNIT_TESTS], ids=lambda path: path.name)
def test_every_metric_that_is_asked_for_is_made(source: Path) -> None:
    used = metrics_in(source.read_text(encoding="utf-8"))
    assert used
    assert used - made() == set()


def test_every_alert_has_an_entry_in_the_runbook_and_words_for_whoever_is_woken() -> None:
    runbook = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    anchors = {heading.lower() for heading in re.findall(r"^### (\w+)$", runbook, re.MULTILINE)}
    for rule in ALERTS:
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (page, anchor) == ("RUNBOOK", rule["alert"].lower())
        assert anchor in anchors, rule["alert"]
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_the_chart_makes_the_very_rules_and_the_very_dashboard(helm: Helm) -> None:
    settings = (
        "metrics.prometheusRule.enabled=true",
        "metrics.prometheusRule.runbookUrl=https://docs.example.org/runbook",
        "metrics.dashboard.enabled=true",
    )
    rendered = [
        item
        for item in yaml.safe_load_all(helm.template("pact-operator", settings=settings).output)
        if item is not None
    ]
    [rule] = [item for item in rendered if item["kind"] == "PrometheusRule"]
    text = RULES.read_text(encoding="utf-8").replace("RUNBOOK", "https://docs.example.org/runbook")
    assert rule["spec"] == yaml.safe_load(text)
    [board] = [item for item in rendered if item["kind"] == "ConfigMap"]
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    shown = json.loads(board["data"]["pact-operator.json"])
    assert shown == json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))


def test_panels_of_the_dashboard_do_not_lie_on_each_other() -> None:
    board = json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
