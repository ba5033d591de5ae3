"""What a scrape sees."""

from typing import Any

from pact_operator.api import names
from pact_operator.core.measures import Ended
from pact_operator.core.times import rfc3339
from pact_operator.metrics import Metrics

NOW = 1_800_000_000.0


def body(name: str, conditions: list[dict[str, Any]] | None = None, **status: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "team", "name": name}, "status": {"conditions": conditions or [], **status}}


def lines(metrics: Metrics, name: str) -> list[str]:
    return [line for line in metrics.render().decode().splitlines() if line.startswith(name)]


def test_objects_are_read_at_each_scrape() -> None:
    drifting = [{"type": "Recorded", "status": "False", "reason": "Drift"}]
    ready = [{"type": "Ready", "status": "True", "reason": "Reachable"}]
    owed = [{"owedSince": rfc3339(NOW - 60)}]
    objects = {
        names.PROVIDER: [body("users", drifting, verified=2, owed=1, failed=0, contracts=owed)],
        names.CONSUMER: [body("web")],
        names.BROKER: [body("broker", ready), body("other")],
    }
    metrics = Metrics()
    metrics.watch_objects(lambda kind: objects[kind], lambda: NOW)
    assert 'pact_operator_contracts{namespace="team",provider="users",state="verified"} 2.0' in lines(
        metrics, "pact_operator_contracts"
    )
    assert lines(metrics, "pact_operator_oldest_owed") == [
        'pact_operator_oldest_owed_seconds{namespace="team",provider="users"} 60.0'
    ]
    assert lines(metrics, "pact_operator_drift") == [
        'pact_operator_drift{kind="PactProvider",name="users",namespace="team"} 1.0'
    ]
    assert lines(metrics, "pact_operator_broker_up") == [
        'pact_operator_broker_up{name="broker",namespace="team"} 1.0',
        'pact_operator_broker_up{name="other",namespace="team"} 0.0',
    ]
    objects[names.PROVIDER] = []
    assert lines(metrics, "pact_operator_oldest_owed") == [], "an object that went leaves no series behind"


def test_verdicts_are_counted_and_timed() -> None:
    metrics = Metrics()
    metrics.ended(Ended("Passed", (4.0, 700.0), 12.0))
    metrics.ended(Ended("ImagePullFailed"))
    assert 'pact_operator_runs_total{candidate="false",reason="ImagePullFailed"} 1.0' in lines(
        metrics, "pact_operator_runs_total"
    )
    assert lines(metrics, "pact_operator_publish_to_verdict_seconds_count") == [
        "pact_operator_publish_to_verdict_seconds_count 2.0"
    ]
    assert 'pact_operator_publish_to_verdict_seconds_bucket{le="5.0"} 1.0' in lines(
        metrics, "pact_operator_publish_to_verdict"
    )
    assert lines(metrics, "pact_operator_rollout_to_verdict_seconds_sum") == [
        "pact_operator_rollout_to_verdict_seconds_sum 12.0"
    ]
