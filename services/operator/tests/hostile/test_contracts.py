"""Contracts that nobody sane would publish: the good ones beside them run all the same."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pact_operator.api.v1alpha1 import PactVerification
from pact_operator.core import versions
from pact_operator.core.actions import CreateVerification
from pact_operator.core.facts import Contract, Ended, JobFacts, PodFacts, ProviderFacts, Result, VersionFacts
from pact_operator.core.jobspec import verifier_job
from pact_operator.core.outcome import publisher_message, verifier_message
from pact_operator.core.plan import MAX_PACTS_BYTES, plan_provider
from services.operator.tests.core.worlds import NOW, SETTINGS, TEMPLATE, World, broker, contract, provider
from services.operator.tests.hostile.hostile import LONG, assert_harmless

GOOD = contract("web", "good")
BASE = "http://broker:9292/pacts/provider/users/consumer"
MAX_ARG_STRLEN = 128 * 1024  # of Linux: one argument or environment variable

BAD = {
    "long name": Contract("x" * 1025, "bad", f"{BASE}/x/pact-version/bad"),
    "huge name": Contract("x" * LONG, "bad", f"{BASE}/x/pact-version/bad"),
    "no name": Contract("", "bad", f"{BASE}/x/pact-version/bad"),
    "control characters": Contract("we\x00b\n", "bad", f"{BASE}/x/pact-version/bad"),
    "half a character": Contract("web\ud800", "bad", f"{BASE}/x/pact-version/bad"),
    "long content": Contract("web", "b" * 1025, f"{BASE}/x/pact-version/bad"),
    "long link": Contract("web", "bad", f"{BASE}/{'x' * 4096}/pact-version/bad"),
    "no link": Contract("web", "bad", "javascript:alert(1)"),
    "link of two lines": Contract("web", "bad", f"{BASE}/x\r\nHost: evil"),
}


def facts(*contracts: Contract) -> ProviderFacts:
    return ProviderFacts(provider(), broker(), None, (VersionFacts("1.0.0", contracts, {}),), (), NOW)


def runs(given: ProviderFacts) -> list[PactVerification]:
    plan = plan_provider(given)
    assert_harmless(plan)
    made = []
    for action in plan.actions:
        if isinstance(action, CreateVerification):
            run = PactVerification.parse(action.manifest)
            assert isinstance(run, PactVerification), run
            made.append(run)
    return made


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_contract_that_no_run_can_hold_is_told_in_its_row_and_the_others_run(bad: Contract) -> None:
    [run] = runs(facts(bad, GOOD))
    assert [pact.content_sha for pact in run.spec.pacts or ()] == ["good"]
    plan = plan_provider(facts(bad, GOOD))
    assert plan.status is not None
    rows = {row["state"]: row for row in plan.status["contracts"]}
    assert rows["Blocked"]["reason"] == "PactInvalid"
    assert "publish it under" in rows["Blocked"]["message"]
    assert rows["Owed"]["consumer"] == "web"
    [ready] = [c for c in plan.status["conditions"] if c["type"] == "Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "PactInvalid")


def test_alone_it_starts_nothing_and_the_next_look_changes_nothing() -> None:
    first = plan_provider(facts(BAD["huge name"]))
    assert first.actions == ()
    assert first.requeue_after is None, "no time will mend it"
    again = replace(facts(BAD["huge name"]), provider=_with_status(first.status))
    assert plan_provider(again).status == first.status


def _with_status(status: Any) -> Any:
    made = provider()
    return type(made).model_validate({**made.model_dump(by_alias=True, exclude_none=True), "status": status})


def test_two_bad_names_that_look_alike_are_two_rows() -> None:
    one, other = Contract("we\x00b", "a", BASE), Contract("we\x01b", "a", BASE)
    plan = plan_provider(facts(one, other, one))
    assert_harmless(plan)
    assert plan.status is not None
    assert len(plan.status["contracts"]) == 2


def test_a_link_that_is_long_only_by_its_metadata_is_verified_without_it() -> None:
    link = f"{BASE}/web/pact-version/a1"
    [run] = runs(facts(Contract("web", "a1", f"{link}/metadata/{'c1tdW2xdPXRydWU' * 400}")))
    assert [pact.url for pact in run.spec.pacts or ()] == [link]


def test_many_contracts_become_runs_that_a_container_can_start_with() -> None:
    """250 contracts with long links: every one has its turn, and no run is more than one variable can hold."""
    many = [
        Contract(
            f"consumer-{n:03d}", f"{n:040d}", f"{BASE}/consumer-{n:03d}/pact-version/{n:040d}/metadata/{'m' * 2000}"
        )
        for n in range(250)
    ]
    world = World(provider(), tuple(many))
    sizes = []
    while not (plan := world.look_at_provider()).status or plan.status["verified"] < len(many):
        assert_harmless(plan)
        [name] = [name for name, run in world.runs.items() if not run.status.completion_time]
        pacts = world.runs[name].spec.pacts or []
        sizes.append(len(pacts))
        job = verifier_job(world.runs[name], broker(), SETTINGS, name)
        [said] = [e for e in job["spec"]["template"]["spec"]["containers"][0]["env"] if e["name"] == "PV_PACTS"]
        assert len(said["value"].encode()) < MAX_ARG_STRLEN
        world.look_at_run(name)
        world.end_verifier(name, 0, "", publish=tuple(Result(p.consumer, p.content_sha, success=True) for p in pacts))
        world.look_at_run(name)
    assert sum(sizes) == len(many), "each ran once"
    assert max(sizes) < 100, "the size of the links was the limit"


def test_the_widest_names_still_fit() -> None:
    wide = Contract("\U0001f600" * 1024, "\U0001f600" * 1024, "http://b/" + "x" * 4087)
    [run] = runs(facts(wide, GOOD))
    assert len(run.spec.pacts or ()) == 2
    assert len(json.dumps([pact.model_dump() for pact in run.spec.pacts or ()])) < MAX_PACTS_BYTES


def test_a_status_stays_below_what_the_api_server_takes() -> None:
    many = [Contract("\U0001f600" * 1000 + str(n), f"{n:040d}", BASE) for n in range(600)]
    told = {
        (c.consumer, c.content_sha): Result(c.consumer, c.content_sha, success=False, mismatch="é" * LONG) for c in many
    }
    plan = plan_provider(replace(facts(), versions=(VersionFacts("1.0.0", tuple(many), told),)))
    assert_harmless(plan)
    assert plan.status is not None
    assert plan.status["failed"] == 600, "counts are of all, whatever is shown"
    assert len(plan.status["contracts"]) > 50


@pytest.mark.parametrize("version", ["5000/evil/image:1", "1@sha256:0", "1 2", "", "../x", "1\n", "x" * 129])
def test_a_version_from_the_broker_chooses_a_tag_and_never_an_image(version: str) -> None:
    assert versions.that_matter("1", [version, "2.0.0"], provider().spec.target) == ("1", "2.0.0")
    assert "{version}" in json.dumps(TEMPLATE)


MESSAGE = {"schema": "pact-operator.dev/verifier/v1", "outcome": "Passed", "reason": "Passed", "pacts": []}
LIES = {
    "nothing": "",
    "no JSON": "segfault",
    "deep list": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "deep within": json.dumps({**MESSAGE, "x": 0})[:-2] + "[" * 50_000 + "]" * 50_000 + "}",
    "4 MB": json.dumps({**MESSAGE, "message": "x" * 4_000_000}),
    "4 MB of lines": "\n" * 4_000_000,
    "many pacts": json.dumps(
        {**MESSAGE, "pacts": [{"consumer": "c", "contentSha": "s", "outcome": "Passed"}] * 50_000}
    ),
    "wrong types": json.dumps({**MESSAGE, "pacts": {"consumer": 1}}),
    "huge numbers": json.dumps(MESSAGE)[:-2]
    + '{"consumer":"web","contentSha":"good","outcome":"Passed","interactions":1'
    + "0" * 3000
    + ',"failed":-1'
    + "0" * 30
    + "}]}",
    "another outcome than its exit code": json.dumps({**MESSAGE, "outcome": "ContractBroken"}),
    "claims of contracts not asked for": json.dumps(
        {**MESSAGE, "pacts": [{"consumer": "\x1b[2Jother", "contentSha": "x", "outcome": "Passed", "mismatch": "\x00"}]}
    ),
}


@pytest.mark.parametrize("publish", [True, False])
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
@pytest.mark.parametrize("code", [0, 1, 2, 75, 137])
def test_a_last_word_is_never_believed_against_the_broker_nor_breaks_a_look(lie: str, code: int, publish: bool) -> None:
    world = World(provider(), (GOOD,))
    world.look_at_provider()
    [name] = world.runs
    if not publish:
        run = world.runs[name]
        world.runs[name] = run.model_copy(update={"spec": run.spec.model_copy(update={"publish_results": False})})
    world.look_at_run(name)
    world.end_verifier(name, code, lie)
    world.now += 60
    plan = world.look_at_run(name)
    assert_harmless(plan)
    assert plan.status is not None
    if publish:
        assert plan.status["conditions"][0]["status"] != "True", "the broker holds no result"


@given(st.text(), st.integers(0, 255))
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_any_text_is_a_message_or_none(text: str, code: int) -> None:
    end = Ended("verifier", code, message=text)
    assert verifier_message(end) is None or json.loads(text)["schema"]
    assert publisher_message(end) is None or json.loads(text)["schema"]


def test_a_pod_that_ended_in_every_way_at_once_has_one_verdict() -> None:
    world = World(provider(), (GOOD,))
    world.look_at_provider()
    [name] = world.runs
    world.look_at_run(name)
    ends = tuple(Ended("verifier", code, "OOMKilled", LIES["4 MB"], NOW) for code in (75, 0, 1))
    world.pods[name] = PodFacts(name, "Failed", ended=ends)
    world.jobs[name] = JobFacts(name, "uid", "uid", complete=True, failed=True)
    assert_harmless(world.look_at_run(name))
