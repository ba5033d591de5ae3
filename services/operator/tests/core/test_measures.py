"""Statuses in numbers."""

from typing import Any

import pytest

from pact_operator.core.measures import drifts, is_ready, of_provider, promise, run_ended
from pact_operator.core.times import rfc3339

NOW = 1_800_000_000.0


def at(seconds: float) -> str:
    return rfc3339(NOW + seconds)


def condition(kind: str, status: str, reason: str = "R") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason}


def provider(**status: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "team", "name": "users"}, "status": status}


def test_a_promise_is_counted_and_its_oldest_debt_is_the_one_that_counts() -> None:
    contracts = [{"owedSince": at(-30)}, {"owedSince": at(-90)}, {"state": "Verified"}]
    told = promise(provider(verified=1, owed=2, failed=0, contracts=contracts), NOW)
    assert (told.namespace, told.name) == ("team", "users")
    assert told.counts == {"verified": 1, "owed": 2, "failed": 0}
    assert told.oldest_owed == 90


def test_what_was_only_asked_about_is_nobodys_debt() -> None:
    contracts = [{"owedSince": at(-30)}, {"owedSince": at(-90), "providerVersion": "3"}]
    asked = provider(owed=1, contracts=contracts, candidates=[{"version": "3", "until": at(600)}])
    assert promise(asked, NOW).oldest_owed == 30
    ended = run_ended(run(spec={"providerVersion": "3"}), verdict(status="False", reason="ImagePullFailed"), asked)
    assert ended is not None
    assert ended.candidate
    own = run_ended(run(spec={"providerVersion": "2"}), verdict(), asked)
    assert own is not None
    assert not own.candidate


@pytest.mark.parametrize("status", [{}, {"contracts": [{"state": "Verified"}]}, {"contracts": [{"owedSince": at(5)}]}])
def test_nothing_owed_and_a_clock_ahead_are_no_debt(status: dict[str, Any]) -> None:
    assert promise(provider(**status), NOW).oldest_owed == 0


def test_an_object_without_a_status_can_be_read() -> None:
    body = {"metadata": {"name": "new"}}
    assert promise(body, NOW).counts == {"verified": 0, "owed": 0, "failed": 0}
    assert drifts(body) is None
    assert not is_ready(body)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([condition("Recorded", "False", "Drift")], True),
        ([condition("Recorded", "True", "DeploymentRecorded")], False),
        ([condition("Ready", "True")], None),
    ],
)
def test_drift_is_told_only_where_somebody_compares(conditions: list[Any], expected: bool | None) -> None:
    assert drifts(provider(conditions=conditions)) is expected


def run(**more: Any) -> dict[str, Any]:
    spec = {"providerVersion": "2", **more.pop("spec", {})}
    return {"metadata": {"name": "r", "labels": {"pact-operator.dev/provider": "users"}}, "spec": spec, **more}


def verdict(*published_at: float, status: str = "True", reason: str = "Passed") -> dict[str, Any]:
    return {
        "completionTime": at(0),
        "conditions": [condition("Succeeded", status, reason), condition("ResultPublished", "True")],
        "pacts": [{"publishedAt": at(seconds)} for seconds in published_at],
    }


OWNER = provider(version="2", versionSince=at(-60))


def test_a_run_that_ends_tells_its_reason_once() -> None:
    ended = run_ended(run(), verdict(status="False", reason="ContractBroken"), OWNER)
    assert ended is not None
    assert ended.reason == "ContractBroken"
    assert run_ended(run(status={"completionTime": at(-5)}), verdict(), OWNER) is None
    assert run_ended(run(), {"conditions": [condition("Succeeded", "Unknown", "Running")]}, OWNER) is None


def test_what_came_last_is_what_the_time_is_counted_from() -> None:
    ended = run_ended(run(), verdict(-5, -9, -600), OWNER)
    assert ended is not None
    assert ended.since_publication == (5, 9)
    assert ended.since_rollout == 60
    published = run_ended(run(), verdict(-5), OWNER)
    assert published is not None
    assert published.since_rollout is None


@pytest.mark.parametrize(
    ("body", "owner"),
    [
        (run(spec={"attempt": 1}), OWNER),
        (run(spec={"request": "again"}), OWNER),
        (run(spec={"providerVersion": "1"}), OWNER),
        (run(), provider(version="2")),
        (run(), None),
    ],
)
def test_other_runs_are_counted_and_not_timed(body: dict[str, Any], owner: dict[str, Any] | None) -> None:
    ended = run_ended(body, verdict(-5, -600), owner)
    assert ended is not None
    assert (ended.since_publication, ended.since_rollout) == ((), None)


def test_a_run_whose_result_is_missing_is_not_timed() -> None:
    told = verdict(-5)
    told["conditions"][1]["status"] = "False"
    ended = run_ended(run(), told, OWNER)
    assert ended is not None
    assert ended.since_publication == ()


def test_a_run_knows_whose_it_is() -> None:
    assert of_provider(run()) == "users"
    assert of_provider({"metadata": {"name": "by-hand"}}) == ""
