"""Places for runs that all PactProviders of a PactBroker share: bounded, in turn, and never blocked by one."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pact_operator.api.v1alpha1 import PactProvider, PactVerification
from pact_operator.core.actions import CreateVerification, Plan
from pact_operator.core.facts import Failure, InLine, Places, ProviderFacts, Trouble, VersionFacts
from pact_operator.core.places import KEEP_SECONDS, granted, look_again_in, next_in_line
from pact_operator.core.plan import plan_provider
from pact_operator.core.times import rfc3339
from services.operator.tests.core.worlds import NOW, broker, condition, contract, meta, provider

FULL = Places(limit=1, taken=frozenset({"another"}))


def look(places: Places | None, subject: PactProvider | None = None, **more: Any) -> Plan:
    answer = (VersionFacts("1.0.0", (contract(), contract("till", "b2")), {}),)
    return plan_provider(
        ProviderFacts(
            **{
                "provider": subject or provider(),
                "broker": broker(maxConcurrentRuns=1),
                "workload": None,
                "versions": answer,
                "verifications": (),
                "now": NOW,
                "places": places,
                **more,
            }
        )
    )


def waiting(plan: Plan, subject: PactProvider | None = None) -> PactProvider:
    subject = subject or provider()
    return subject.model_copy(update={"status": type(subject.status).model_validate(plan.status)})


def test_who_gets_no_place_says_what_it_waits_for_and_since_when() -> None:
    plan = look(FULL)
    assert plan.actions == ()
    ready = condition(plan.status, "Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "VerificationPending")
    assert ready["message"] == (
        "2 of 2 contracts have no result yet; waiting for the one place that PactBroker 'broker' has for runs "
        "(spec.maxConcurrentRuns)."
    )
    assert plan.status is not None
    assert plan.status["queuedSince"] == rfc3339(NOW)
    assert {c["state"] for c in plan.status["contracts"]} == {"Owed"}
    assert "spec.maxConcurrentRuns" in plan.status["contracts"][0]["message"]
    again = look(FULL, waiting(plan), now=NOW + 99)
    assert again.status == plan.status, "waiting on is no news"


def test_who_waits_for_a_run_of_its_own_says_so_and_is_in_nobodys_way() -> None:
    [create] = look(Places(limit=9)).actions
    assert isinstance(create, CreateVerification)
    body = {**create.manifest, "metadata": {**create.manifest["metadata"], "uid": "r"}}
    run = PactVerification.model_validate(body)
    more = (VersionFacts("1.0.0", (contract(), contract("till", "b2"), contract("new", "c3")), {}),)
    plan = look(Places(9, frozenset({run.metadata.name})), verifications=(run,), versions=more)
    assert plan.actions == ()
    assert "waiting until a run of its own ends" in condition(plan.status, "Ready")["message"]
    assert plan.status is not None
    assert "queuedSince" not in plan.status


def test_whoever_waits_longer_goes_first() -> None:
    free_one = Places(1, line=(InLine(NOW - 50, "zebra"),), freed_at=NOW)
    assert look(free_one).actions == ()
    first = provider()
    queued = first.model_copy(update={"status": first.status.model_copy(update={"queued_since": rfc3339(NOW - 60)})})
    assert len(look(free_one, queued).actions) == 1
    two = replace(free_one, limit=2)
    assert len(look(two).actions) == 1, "there is a place for each"


def test_whoever_is_served_goes_to_the_end_of_the_line() -> None:
    both = tuple(VersionFacts(version, (contract(),), {}, current=version == "1.0.0") for version in ("1.0.0", "0.9.0"))
    subject = provider(run={"maxConcurrent": 2})
    old = subject.model_copy(update={"status": subject.status.model_copy(update={"queued_since": rfc3339(NOW - 60)})})
    plan = look(Places(1), old, versions=both)
    assert len(plan.actions) == 1
    assert plan.status is not None
    assert plan.status["queuedSince"] == rfc3339(NOW)


def test_a_place_is_not_kept_for_ever_for_one_who_does_not_take_it() -> None:
    stuck = Places(1, line=(InLine(1.0, "stuck"), InLine(2.0, "second")), freed_at=NOW)
    me = InLine(3.0, "me")
    assert granted(stuck, me, NOW) == 0
    again_in = look_again_in(stuck, me, NOW)
    assert again_in == 2 * KEEP_SECONDS
    assert granted(stuck, me, NOW + again_in) == 1
    assert granted(stuck, InLine(2.0, "second"), NOW + KEEP_SECONDS) == 1, "in turn"
    assert look(stuck).requeue_after == again_in


def test_without_a_free_place_no_time_brings_one() -> None:
    assert look_again_in(FULL, InLine(NOW, "me"), NOW + 9999) is None
    assert look(FULL).requeue_after is None


@pytest.mark.parametrize(
    "more",
    [
        {"failed": {"CreateVerification": Failure(Trouble.REFUSED, "exceeded quota")}, "places": Places(1)},
        {"broker": None},
        {"provider": provider(suspend=True)},
        {"versions": Failure(Trouble.UNAVAILABLE, "down")},
    ],
)
def test_who_cannot_go_leaves_the_line(more: dict[str, Any]) -> None:
    subject = more.pop("provider", provider())
    queued = subject.model_copy(update={"status": subject.status.model_copy(update={"queued_since": rfc3339(NOW)})})
    places = more.pop("places", FULL)
    plan = look(places, queued, **more)
    assert plan.status is not None
    assert "queuedSince" not in plan.status


def test_those_whose_turn_it_is_are_as_many_as_there_are_places() -> None:
    line = (InLine(3.0, "c"), InLine(1.0, "b"), InLine(1.0, "a"))
    assert [one.name for one in next_in_line(Places(3, frozenset({"run"}), line))] == ["a", "b"]
    assert next_in_line(Places(1, frozenset({"run"}), line)) == ()


@given(st.integers(1, 3), st.integers(2, 8), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_everybodys_turn_comes_in_whatever_order_they_are_looked_at(limit: int, count: int, random: Any) -> None:
    """Every provider always owes something new; in no order of looks is anybody left behind."""
    subjects = {f"p{n}": provider() for n in range(count)}
    for name, subject in subjects.items():
        subjects[name] = PactProvider.model_validate(
            {"metadata": meta(name), "spec": subject.spec.model_dump(by_alias=True, exclude_none=True)}
        )
    active: dict[str, str] = {}
    served = dict.fromkeys(subjects, 0)
    now, freed_at = NOW, 0.0
    for round_ in range(count * 6):
        now += 5
        if active and round_ % 2:
            active.pop(next(iter(active)))  # the one that started first
            freed_at = now
        names = sorted(subjects)
        random.shuffle(names)
        for name in names:
            line = tuple(
                InLine(_since(other), key) for key, other in subjects.items() if other.status.queued_since is not None
            )
            places = Places(limit, frozenset(active.values()), line, freed_at)
            mine = [_active_run(name, active[name])] if name in active else []
            versions = (VersionFacts("1.0.0", (contract("web", f"{name}-{round_}"),), {}),)
            plan = look(places, subjects[name], versions=versions, verifications=tuple(mine), now=now)
            for action in plan.actions:
                assert isinstance(action, CreateVerification)
                active[name] = action.manifest["metadata"]["name"]
                served[name] += 1
            assert len(active) <= limit
            subjects[name] = waiting(plan, subjects[name])
    assert max(served.values()) - min(served.values()) <= 1 + limit, served
    assert min(served.values()) >= 1, served


def _since(subject: PactProvider) -> float:
    from pact_operator.core.times import parse

    return parse(subject.status.queued_since)


def _active_run(owner: str, name: str) -> PactVerification:
    return PactVerification.model_validate(
        {
            "metadata": meta(name, creationTimestamp=rfc3339(NOW)),
            "spec": {
                "brokerRef": {"name": "broker"},
                "pacticipant": "users",
                "providerVersion": "1.0.0",
                "target": {"service": {"name": "x"}},
                "pacts": [{"consumer": "web", "contentSha": owner, "url": "http://broker/x"}],
            },
        }
    )
