"""Owed: contracts in scope, times versions that matter, minus what has a result."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pact_operator.api.v1alpha1 import PactVerification
from pact_operator.core.actions import CreateVerification, DeleteVerification
from pact_operator.core.facts import Contract, Failure, ProviderFacts, Trouble, VersionFacts, WorkloadFacts
from pact_operator.core.plan import MAX_PACTS_PER_RUN, plan_provider
from pact_operator.core.times import backoff
from services.operator.tests.core.worlds import (
    NOW,
    World,
    broken,
    broker,
    condition,
    contract,
    message,
    passed,
    provider,
    results,
)


def facts(*contracts: Contract, given: dict[Any, Any] | None = None, **more: Any) -> ProviderFacts:
    answer = (VersionFacts("1.0.0", contracts, given or {}),)
    return ProviderFacts(
        **{
            "provider": provider(),
            "broker": broker(),
            "workload": None,
            "versions": answer,
            "verifications": (),
            "now": NOW,
            **more,
        }
    )


def test_what_waits_at_the_same_moment_shares_one_run() -> None:
    plan = plan_provider(
        facts(
            contract("web", "a1"),
            contract("mobile", "b2"),
            contract("batch", "c3"),
            given=results(passed("batch", "c3")),
        )
    )
    [create] = plan.actions
    assert isinstance(create, CreateVerification)
    spec = create.manifest["spec"]
    assert [(pact["consumer"], pact["contentSha"]) for pact in spec["pacts"]] == [("mobile", "b2"), ("web", "a1")]
    assert spec["publishResults"] is True
    assert spec["providerVersion"] == "1.0.0"
    assert create.manifest["metadata"]["ownerReferences"][0]["uid"] == "uid-users"
    assert PactVerification.model_validate(create.manifest)
    assert plan.status is not None
    assert (plan.status["verified"], plan.status["owed"], plan.status["failed"]) == (1, 2, 0)
    assert condition(plan.status, "Ready")["status"] == "Unknown"
    assert condition(plan.status, "Ready")["reason"] == "VerificationPending"


def test_the_same_work_has_the_same_name_in_any_order() -> None:
    one = plan_provider(facts(contract("web", "a1"), contract("mobile", "b2")))
    two = plan_provider(facts(contract("mobile", "b2"), contract("web", "a1"), now=NOW + 999))
    assert one.actions == two.actions
    other = plan_provider(facts(contract("mobile", "b2"), contract("web", "a2")))
    assert one.actions != other.actions


def test_nothing_in_scope_is_never_a_yes() -> None:
    plan = plan_provider(facts())
    assert plan.actions == ()
    assert condition(plan.status, "Ready")["status"] == "Unknown"
    assert condition(plan.status, "Ready")["reason"] == "NothingToVerify"


def test_all_verified_is_ready() -> None:
    plan = plan_provider(facts(contract(), given=results(passed())))
    assert plan.actions == ()
    assert condition(plan.status, "Ready")["status"] == "True"
    assert condition(plan.status, "Ready")["message"] == "The one contract holds for 1.0.0."


def test_a_broken_contract_is_not_run_again_and_its_mismatch_is_told() -> None:
    plan = plan_provider(facts(contract(), contract("mobile", "b2"), given=results(broken(), passed("mobile", "b2"))))
    assert plan.actions == ()
    ready = condition(plan.status, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ContractBroken")
    assert ready["message"] == "web with version 1.0.0: body $.email is missing"
    assert plan.status is not None
    assert [c["state"] for c in plan.status["contracts"]] == ["Failed", "Verified"]
    [event] = plan.events
    assert (event.type, event.reason) == ("Warning", "ContractBroken")


def test_a_pending_contract_that_fails_does_not_break_the_promise() -> None:
    plan = plan_provider(
        facts(contract(pending=True), contract("mobile", "b2"), given=results(broken(), passed("mobile", "b2")))
    )
    ready = condition(plan.status, "Ready")
    assert ready["status"] == "True"
    assert "1 more fail and are pending" in ready["message"]


@pytest.mark.parametrize(
    ("more", "status", "reason"),
    [
        ({"broker": None}, "False", "BrokerNotFound"),
        ({"broker": broker(suspend=True)}, "Unknown", "Suspended"),
        ({"provider": provider(suspend=True)}, "Unknown", "Suspended"),
        ({"provider": provider(version={"fromWorkload": {"name": "users"}})}, "False", "WorkloadNotFound"),
        (
            {
                "provider": provider(version={"fromWorkload": {"name": "users"}}),
                "workload": WorkloadFacts("users", {"app": "users"}, {}),
            },
            "False",
            "VersionUnknown",
        ),
        ({"versions": Failure(Trouble.UNAVAILABLE, "no answer")}, "Unknown", "BrokerUnavailable"),
        ({"versions": Failure(Trouble.UNAUTHORIZED, "401")}, "False", "BrokerUnauthorized"),
    ],
)
def test_what_cannot_be_decided_starts_nothing_and_says_why(more: dict[str, Any], status: str, reason: str) -> None:
    plan = plan_provider(facts(contract(), **more))
    assert plan.actions == ()
    for kind in ("Ready", "Synced"):
        assert condition(plan.status, kind)["reason"] == reason
    assert condition(plan.status, "Ready")["status"] == status


def test_an_outage_keeps_what_is_known() -> None:
    world = World(provider(), (contract(),), results=results(passed()))
    world.look_at_provider()
    world.broker_down = Failure(Trouble.UNAVAILABLE, "no answer")
    world.look_at_provider()
    assert [c.state for c in world.provider.status.contracts] == ["Verified"]
    assert world.provider.status.version == "1.0.0"
    world.broker_down = None
    world.look_at_provider()
    assert world.provider.status.conditions[0].status == "True"


def finish(world: World, exit_code: int, text: str, *publish: Any) -> str:
    [name] = [name for name, run in world.runs.items() if run.status.completion_time is None]
    world.look_at_run(name)
    world.end_verifier(name, exit_code, text, publish=publish)
    if exit_code == 75:
        job = world.jobs[name]
        world.jobs[name] = type(job)(
            job.name, job.uid, job.owner_uid, failed=True, failed_reason="BackoffLimitExceeded"
        )
    world.look_at_run(name)
    return name


def test_a_run_that_infrastructure_spoilt_is_tried_again_later_and_never_at_once() -> None:
    world = World(provider(), (contract(),))
    world.look_at_provider()
    trouble = message("InfrastructureError", "ProviderNotReady", text="The provider did not answer within 60 s.")
    for attempt in range(3):
        finish(world, 75, trouble)
        plan = world.look_at_provider()
        ready = condition(plan.status, "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "ProviderNotReady")
        assert not [a for a in plan.actions if isinstance(a, CreateVerification)]
        assert plan.requeue_after == pytest.approx(backoff(attempt), abs=1)
        world.now += backoff(attempt) + 1
        plan = world.look_at_provider()
        assert [a.manifest["spec"]["attempt"] for a in plan.actions if isinstance(a, CreateVerification)] == [
            attempt + 1
        ]
    assert len(set(world.runs)) == 4


def test_a_run_of_a_version_that_no_longer_matters_makes_room() -> None:
    world = World(provider(), (contract(),))
    world.look_at_provider()
    [old] = world.runs
    spec = {**world.provider.spec.model_dump(by_alias=True, exclude_none=True), "version": {"value": "1.1.0"}}
    world.provider = type(world.provider).model_validate(
        {"metadata": world.provider.metadata.model_dump(by_alias=True), "spec": spec, "status": {}}
    )
    plan = world.look_at_provider()
    assert plan.actions[0] == DeleteVerification(old)
    assert [run.spec.provider_version for run in world.runs.values()] == ["1.1.0"]


def test_concurrency_is_bounded() -> None:
    world = World(provider(), (contract("web", "a1"),))
    world.look_at_provider()
    world.contracts = (contract("web", "a1"), contract("mobile", "b2"))
    plan = world.look_at_provider()
    assert plan.actions == ()
    assert plan.status is not None
    assert {c["consumer"]: c["state"] for c in plan.status["contracts"]} == {"mobile": "Owed", "web": "Running"}
    finish(world, 0, message("Passed", "Passed"), passed("web", "a1"))
    [create] = world.look_at_provider().actions
    assert isinstance(create, CreateVerification)
    assert [pact["consumer"] for pact in create.manifest["spec"]["pacts"]] == ["mobile"]


def test_old_runs_go_but_the_last_word_on_a_contract_stays() -> None:
    world = World(provider(), (contract("first", "x"),))
    world.look_at_provider()
    kept = finish(world, 1, message("ContractBroken", "ContractBroken"), broken("first", "x"))
    for n in range(12):
        world.now += 60
        world.contracts = (contract("first", "x"), contract("web", f"sha{n}"))
        world.look_at_provider()
        finish(world, 0, message("Passed", "Passed"), passed("web", f"sha{n}"))
    world.look_at_provider()
    assert kept in world.runs
    assert len(world.runs) <= 5


def test_a_result_that_the_broker_lost_is_owed_again() -> None:
    world = World(provider(), (contract(),))
    world.look_at_provider()
    finish(world, 0, message("Passed", "Passed"), passed())
    world.look_at_provider()
    world.results.clear()
    plan = world.look_at_provider()
    assert condition(plan.status, "Ready")["reason"] == "ResultMissing"
    world.now += backoff(0) + 1
    [create] = world.look_at_provider().actions
    assert isinstance(create, CreateVerification)
    assert create.manifest["spec"]["attempt"] == 1


@pytest.mark.parametrize("hostile", [{"b"}, {"a"}, {"a", "b", "c"}, {"a", "c", "e", "g", "i"}, set("abcdefghij")])
def test_pacts_that_no_verifier_survives_keep_none_of_the_others_from_its_result(hostile: set[str]) -> None:
    everybody = "abcdefghij"
    world = World(provider(), tuple(contract(name, name) for name in everybody))
    for _ in range(len(hostile) + 1):
        world.look_at_provider()
        [name] = [name for name, run in world.runs.items() if run.status.completion_time is None]
        order = [pact.consumer for pact in world.runs[name].spec.pacts or ()]
        survived = order[: next((n for n, consumer in enumerate(order) if consumer in hostile), None)]
        world.look_at_run(name)
        world.end_verifier(name, 137, "", publish=tuple(passed(consumer, consumer) for consumer in survived))
        world.look_at_run(name)
        world.now += 3600
    plan = world.look_at_provider()
    assert plan.status is not None
    states = {c["consumer"]: c["state"] for c in plan.status["contracts"]}
    assert {name for name, state in states.items() if state == "Verified"} == set(everybody) - hostile
    assert {name for name, state in states.items() if state == "Blocked"} == hostile


def test_a_pact_that_is_none_is_not_tried_for_ever_and_a_person_may_ask_again() -> None:
    world = World(provider(), (contract("bad", "x"), contract("good", "y")))
    said = message("InfrastructureError", "PactInvalid", text="What the broker holds as the pact of bad is no pact.")
    world.look_at_provider()
    finish(world, 75, said, passed("good", "y"))
    world.now += 3600
    [again] = world.look_at_provider().actions
    assert isinstance(again, CreateVerification)
    assert [pact["consumer"] for pact in again.manifest["spec"]["pacts"]] == ["bad"], "alone: perhaps it was the other"
    finish(world, 75, said)
    world.now += 9999
    plan = world.look_at_provider()
    assert (plan.actions, plan.requeue_after) == ((), None)
    ready = condition(plan.status, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PactInvalid")
    assert plan.status is not None
    assert plan.status["actor"] == "the consumer's team"
    asked(world, "monday")
    [requested] = world.look_at_provider().actions
    assert isinstance(requested, CreateVerification)
    finish(world, 75, said)
    asked(world, "monday")
    assert world.look_at_provider().actions == (), "asked once, run once"


contracts = st.lists(
    st.builds(
        lambda consumer, sha, pending: contract(consumer, sha, pending=pending),
        st.sampled_from(["web", "mobile", "batch", "a b/c+d", "ü"]),
        st.sampled_from(["a1", "b2", "c3"]),
        st.booleans(),
    ),
    max_size=8,
    unique_by=lambda c: (c.consumer, c.content_sha),
)


@given(contracts, st.data())
def test_a_plan_applied_to_the_state_that_it_made_plans_nothing(given: list[Contract], data: st.DataObject) -> None:
    known = data.draw(st.lists(st.sampled_from(given), unique=True)) if given else []
    outcome = {c: data.draw(st.booleans()) for c in known}
    world = World(
        provider(),
        tuple(given),
        results=results(*((passed if ok else broken)(c.consumer, c.content_sha) for c, ok in outcome.items())),
    )
    world.look_at_provider()
    for name in list(world.runs):
        world.look_at_run(name)
        world.look_at_run(name)
    world.look_at_provider()
    writes, jobs = world.status_writes, list(world.jobs_made)
    world.now += 3.7
    again = world.look_at_provider()
    for name in list(world.runs):
        world.look_at_run(name)
    assert again.actions == ()
    assert again.events == ()
    assert world.status_writes == writes
    assert world.jobs_made == jobs
    # Every contract in scope is counted once, whatever became of it.
    states = [c.state for c in world.provider.status.contracts]
    assert len(states) == len(given)


def test_a_flood_of_contracts_is_taken_in_portions() -> None:
    many = [contract(f"consumer-{n:04}", "s") for n in range(MAX_PACTS_PER_RUN + 20)]
    [create] = plan_provider(facts(*many)).actions
    assert isinstance(create, CreateVerification)
    assert len(create.manifest["spec"]["pacts"]) == MAX_PACTS_PER_RUN


def asked(world: World, token: str) -> None:
    body = {
        "metadata": world.provider.metadata.model_dump(by_alias=True),
        "status": world.provider.status.model_dump(by_alias=True),
    }
    body["metadata"]["annotations"] = {"pact-operator.dev/requested-at": token}
    world.provider = type(world.provider).model_validate(
        {**body, "spec": world.provider.spec.model_dump(by_alias=True, exclude_none=True)}
    )


def test_a_broken_contract_runs_once_more_for_each_request_of_a_person() -> None:
    world = World(provider(), (contract(), contract("mobile", "b2")))
    world.look_at_provider()
    finish(world, 1, message("ContractBroken", "ContractBroken"), broken(), passed("mobile", "b2"))
    assert world.look_at_provider().actions == ()
    for token in ("monday", "tuesday"):
        world.now += 100
        asked(world, token)
        [create] = world.look_at_provider().actions
        assert isinstance(create, CreateVerification)
        assert [pact["consumer"] for pact in create.manifest["spec"]["pacts"]] == ["web"]
        assert world.look_at_provider().actions == ()
        finish(world, 1, message("ContractBroken", "ContractBroken"), broken())
        asked(world, token)
        assert world.look_at_provider().actions == ()
    assert len(world.runs) == 3


def test_a_request_where_nothing_is_broken_runs_nothing() -> None:
    world = World(provider(rerun="now"), (contract(),), results=results(passed()))
    assert world.look_at_provider().actions == ()


def test_every_version_that_matters_owes_its_own_results() -> None:
    answers = (
        VersionFacts("1.0.0", (contract(),), results(passed())),
        VersionFacts("0.9.0", (contract(),), {}, current=False),
    )
    plan = plan_provider(facts(provider=provider(run={"maxConcurrent": 2}), versions=answers))
    [create] = plan.actions
    assert isinstance(create, CreateVerification)
    assert create.manifest["spec"]["providerVersion"] == "0.9.0"
    assert plan.status is not None
    assert plan.status["version"] == "1.0.0"
    assert {(c["providerVersion"], c["state"]) for c in plan.status["contracts"]} == {
        ("1.0.0", "Verified"),
        ("0.9.0", "Owed"),
    }


def test_a_version_that_is_told_of_twice_is_shown_once() -> None:
    answers = (VersionFacts("1.0.0", (contract(),), {}), VersionFacts("1.0.0", (contract(),), results(passed())))
    plan = plan_provider(facts(versions=answers))
    assert plan.status is not None
    assert [c["state"] for c in plan.status["contracts"]] == ["Verified"]


def test_the_words_of_the_verifier_are_told_rather_than_those_of_its_core() -> None:
    world = World(provider(), (contract(),))
    world.look_at_provider()
    said = {
        "consumer": "web",
        "contentSha": "a1",
        "outcome": "Failed",
        "mismatch": "body $.email is missing (expected a string)",
    }
    finish(world, 1, message("ContractBroken", "ContractBroken", said), broken(mismatch="Actual map is missing keys"))
    ready = condition(world.look_at_provider().status, "Ready")
    assert ready["message"] == "web with version 1.0.0: body $.email is missing (expected a string)"
