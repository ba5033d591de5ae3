"""The gatekeeper, and the gate by HTTP: who may ask, what is asked of the broker, and how long an answer takes."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pact_operator.api import names
from pact_operator.api.reasons import Reason
from pact_operator.core.facts import Failure, GateRow, Key, Matrix, Question, Trouble
from pact_operator.core.gate import Verdict
from pact_operator.core.times import rfc3339
from pact_operator.engine.queue import KeyedQueue
from pact_operator.engine.reconciler import Reconciler
from pact_operator.handlers.gate import MAX_BODY
from pact_operator.handlers.hooks import create_app
from pact_operator.hooktoken import HookToken
from pact_operator.metrics import Metrics
from pact_operator.ports import BrokerFailureError

BROKER = Key(names.BROKER, "team", "broker")
QUESTION = Question("users", "2.0.0", "production")
ASK = "/v1/gate/team/broker"
FIELDS = {"pacticipant": "users", "version": "2.0.0"}
TOKEN = {"X-Pact-Gate-Token": "gate-secret"}
BROKEN = Matrix(False, "", (GateRow("web", "7", "users", "2.0.0", success=False, result_url="http://b/1"),))
GOOD = Matrix(True, "", (GateRow("web", "7", "users", "2.0.0", success=True),))


@pytest.fixture
def team(world: Any, reconciler: Reconciler) -> None:
    """A PactBroker with an environment, and a PactProvider that can start any version; the indexes are complete."""
    world.put(names.BROKER, "broker", {"url": "http://b", "environment": {"name": "production"}})
    template = {"spec": {"containers": [{"name": "p", "image": "users:{version}"}]}}
    spec = {"brokerRef": {"name": "broker"}, "pacticipant": "users", "version": {"value": "1.0.0"}}
    world.put(names.PROVIDER, "users", {**spec, "target": {"ephemeral": {"template": template, "port": 80}}})
    reconciler.open()


@pytest.fixture
async def http(reconciler: Reconciler, tmp_path: Path, team: None) -> AsyncIterator[httpx.AsyncClient]:
    hook, gate = tmp_path / "hook", tmp_path / "gate"
    hook.write_text("hook-secret", encoding="utf-8")
    gate.write_text("gate-secret\n", encoding="utf-8")
    app = create_app(reconciler, HookToken(hook), Metrics(), lambda: True, HookToken(gate))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://operator") as client:
        yield client


# --- the gatekeeper


async def test_equal_questions_that_come_together_share_one_answer(
    world: Any, reconciler: Reconciler, looks: Any, team: None
) -> None:
    world.matrix, world.holds_up = GOOD, asyncio.Event()
    askers = [asyncio.create_task(reconciler.gate.answer(BROKER, QUESTION)) for _ in range(50)]
    await eventually(lambda: world.called("can_i_deploy"))
    world.holds_up.set()
    assert {decision.verdict for decision in await asyncio.gather(*askers)} == {Verdict.ALLOWED}
    assert world.called("can_i_deploy") == [("can_i_deploy", QUESTION, (), True)]
    assert looks.decisions == [("Allowed", True, False)] * 50
    await reconciler.gate.answer(BROKER, QUESTION)
    assert len(world.called("can_i_deploy")) == 2, "a later question is asked anew"


async def test_one_who_goes_away_does_not_take_the_answer_from_the_others(
    world: Any, reconciler: Reconciler, team: None
) -> None:
    world.matrix, world.holds_up = GOOD, asyncio.Event()
    first = asyncio.create_task(reconciler.gate.answer(BROKER, QUESTION))
    second = asyncio.create_task(reconciler.gate.answer(BROKER, QUESTION))
    await eventually(lambda: world.called("can_i_deploy"))
    first.cancel()
    world.holds_up.set()
    assert (await second).verdict is Verdict.ALLOWED


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Trouble.UNAVAILABLE, Reason.BROKER_UNAVAILABLE),
        (Trouble.BUSY, Reason.GATE_BUSY),
        (Trouble.NO_ENVIRONMENT, Reason.ENVIRONMENT_NOT_IN_BROKER),
        (Trouble.UNAUTHORIZED, Reason.BROKER_UNAUTHORIZED),
    ],
)
async def test_why_the_broker_does_not_answer_is_the_reason(
    world: Any, reconciler: Reconciler, team: None, trouble: Trouble, reason: Reason
) -> None:
    world.errors["can_i_deploy"] = BrokerFailureError(Failure(trouble, "so it is"))
    decision = await reconciler.gate.answer(BROKER, QUESTION)
    assert (decision.verdict, decision.reason, decision.message) == (Verdict.CANNOT_TELL, reason, "so it is")


async def test_a_bug_is_an_answer_too(world: Any, reconciler: Reconciler, team: None) -> None:
    world.errors["can_i_deploy"] = RuntimeError("a bug")
    decision = await reconciler.gate.answer(BROKER, QUESTION)
    assert (decision.verdict, decision.allowed) == (Verdict.CANNOT_TELL, False)


async def test_an_operator_that_has_just_started_cannot_tell(world: Any, reconciler: Reconciler) -> None:
    world.put(names.BROKER, "broker", {"url": "http://b"})
    decision = await reconciler.gate.answer(BROKER, QUESTION, verify=True)
    assert (decision.verdict, decision.reason) == (Verdict.CANNOT_TELL, Reason.OPERATOR_STARTING)
    assert not world.calls, "nobody is asked"
    reconciler.open()
    assert (await reconciler.gate.answer(BROKER, QUESTION)).reason is Reason.NOTHING_TO_CHECK


async def test_a_broker_that_is_suspended_or_not_there_is_not_asked(
    world: Any, reconciler: Reconciler, team: None
) -> None:
    world.objects[BROKER]["spec"]["suspend"] = True
    assert (await reconciler.gate.answer(BROKER, QUESTION)).reason is Reason.SUSPENDED
    del world.objects[BROKER]
    decision = await reconciler.gate.answer(BROKER, QUESTION)
    assert (decision.reason, decision.allowed) == (Reason.BROKER_NOT_FOUND, False)
    assert not world.called("can_i_deploy")


async def test_what_is_broken_is_told_in_the_brokers_words_if_they_come_in_time(
    world: Any, reconciler: Reconciler, team: None
) -> None:
    world.matrix, world.mismatches = BROKEN, {"http://b/1": "$.email is missing"}
    assert (await reconciler.gate.answer(BROKER, QUESTION)).message == "web 7 in production: $.email is missing"
    world.errors["mismatch"] = BrokerFailureError(Failure(Trouble.UNAVAILABLE, "gone"))
    decision = await reconciler.gate.answer(BROKER, QUESTION)
    assert (decision.verdict, decision.message) == (
        Verdict.BROKEN,
        "web 7 in production: see the result in the broker",
    )


async def test_the_broker_hears_of_what_is_ignored_until_that_ends(
    world: Any, reconciler: Reconciler, clock: Any, team: None
) -> None:
    world.objects[BROKER]["spec"]["gate"] = {"ignore": [{"pacticipant": "web", "until": "1970-01-12"}]}
    clock.time = 1_036_799.0  # the last second of that day
    await reconciler.gate.answer(BROKER, QUESTION)
    clock.time += 1
    await reconciler.gate.answer(BROKER, QUESTION)
    assert [call[2] for call in world.called("can_i_deploy")] == [("web",), ()]


# --- versions that are to be verified


def candidates(reconciler: Reconciler, world: Any) -> list[str]:
    from pact_operator.api.v1alpha1 import PactProvider

    provider = PactProvider.parse(world.objects[Key(names.PROVIDER, "team", "users")])
    assert isinstance(provider, PactProvider)
    return list(reconciler.gate.candidates(provider))


async def test_a_version_that_is_asked_about_matters_for_an_hour(
    world: Any, reconciler: Reconciler, queue: KeyedQueue[Key], clock: Any, team: None
) -> None:
    provider = Key(names.PROVIDER, "team", "users")
    await reconciler.gate.answer(BROKER, QUESTION)
    assert candidates(reconciler, world) == []
    await reconciler.gate.answer(BROKER, QUESTION, verify=True)
    assert candidates(reconciler, world) == ["2.0.0"]
    assert queue.take() == provider
    assert queue.origins["gate"] == 1
    queue.done(provider)
    await reconciler.gate.answer(BROKER, QUESTION, verify=True)
    assert queue.take() is None, "nothing is new"
    clock.time += 3599
    assert candidates(reconciler, world) == ["2.0.0"]
    clock.time += 2
    assert candidates(reconciler, world) == []


async def test_a_question_renews_it_and_a_restart_reads_it_from_the_status(
    world: Any, reconciler: Reconciler, clock: Any, team: None
) -> None:
    await reconciler.gate.answer(BROKER, QUESTION, verify=True)
    clock.time += 2000
    await reconciler.gate.answer(BROKER, QUESTION, verify=True)
    clock.time += 3000
    assert candidates(reconciler, world) == ["2.0.0"]
    clock.time += 1000
    assert candidates(reconciler, world) == []
    status = {"candidates": [{"version": "3.0.0", "until": "1970-01-12T15:50:00Z"}]}
    world.objects[Key(names.PROVIDER, "team", "users")]["status"] = status
    assert candidates(reconciler, world) == ["3.0.0"]
    far = {"candidates": [{"version": "3.0.0", "until": "2096-01-12T15:50:00Z"}, {"version": "4", "until": "x"}]}
    world.objects[Key(names.PROVIDER, "team", "users")]["status"] = far
    clock.time += 7200
    assert candidates(reconciler, world) == [], "nobody can have asked for so long"


async def test_only_what_can_be_started_is_verified_and_only_so_much(
    world: Any, reconciler: Reconciler, clock: Any, team: None
) -> None:
    for version in ("a/b:1", "2.0.0@sha256:0", "-x", ""):
        await reconciler.gate.answer(BROKER, Question("users", version, "production"), verify=True)
    await reconciler.gate.answer(BROKER, Question("others", "1", "production"), verify=True)
    assert candidates(reconciler, world) == []
    for number in range(20):
        clock.time += 1
        await reconciler.gate.answer(BROKER, Question("users", f"v{number}", "production"), verify=True)
    assert candidates(reconciler, world) == ["v4", "v3", "v2", "v1", "v0"], "who came first is not displaced"

    def with_status(state: str) -> None:
        status = {
            "candidates": [{"version": f"v{number}", "until": rfc3339(clock.time + 3000)} for number in range(5)],
            "contracts": [{"consumer": "web", "providerVersion": "v0", "contentSha": "a", "state": state}],
        }
        world.objects[Key(names.PROVIDER, "team", "users")]["status"] = status

    for state, newest in (("Running", "v4"), ("Owed", "v4"), ("Blocked", "v5")):
        with_status(state)
        await reconciler.gate.answer(BROKER, Question("users", "v5", "production"), verify=True)
        assert candidates(reconciler, world)[0] == newest
    assert candidates(reconciler, world) == ["v5", "v4", "v3", "v2", "v1"]


# --- HTTP


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer gate-secret"},
        {"Authorization": "bearer gate-secret"},
        {"Authorization": "Basic " + base64.b64encode(b"anyone:gate-secret").decode()},
        {"X-Pact-Gate-Token": "gate-secret"},
    ],
)
async def test_the_token_is_taken_in_each_of_its_forms(
    http: httpx.AsyncClient, world: Any, headers: dict[str, str]
) -> None:
    world.matrix = GOOD
    answer = await http.get(ASK, params=FIELDS, headers=headers)
    assert (answer.status_code, answer.json()["allowed"]) == (200, True)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer hook-secret"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic gate-secret"},
        {"Authorization": "Basic " + base64.b64encode(b"gate-secret").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"gate-secret:").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
        {"X-Pact-Gate-Token": "gate-secret2"},
        {"X-Pact-Gate-Token": "wrong", "Authorization": "Bearer gate-secret"},
    ],
)
async def test_nobody_asks_without_the_gates_own_token(
    http: httpx.AsyncClient, world: Any, headers: dict[str, str]
) -> None:
    for answer in (await http.get(ASK, headers=headers), await http.post("/v1/gate/no/body", headers=headers)):
        assert answer.status_code == 401
        assert "X-Pact-Gate-Token" in answer.json()["detail"]
        assert "Basic" in answer.headers["www-authenticate"]
    assert not world.calls


async def test_without_a_gate_token_there_is_no_gate(reconciler: Reconciler, team: None) -> None:
    app = create_app(reconciler, HookToken(None), Metrics(), lambda: True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://operator") as client:
        answer = await client.get(ASK, params=FIELDS, headers={"Authorization": "Bearer "})
    assert answer.status_code == 404
    assert "PACT_OPERATOR_GATE_TOKEN_FILE" in answer.json()["detail"]


async def test_get_tells_and_post_refuses(http: httpx.AsyncClient, world: Any) -> None:
    world.matrix = BROKEN
    got = await http.get(ASK, params=FIELDS, headers=TOKEN)
    posted = await http.post(ASK, json=FIELDS, headers=TOKEN)
    assert (got.status_code, posted.status_code) == (200, 403)
    assert got.json() == posted.json()
    assert (got.json()["verdict"], got.json()["environment"]) == ("Broken", "production")
    world.objects[BROKER]["spec"]["gate"] = {"mode": "Shadow"}
    shadow = await http.post(ASK, json=FIELDS, headers=TOKEN)
    assert (shadow.status_code, shadow.json()["shadow"], shadow.json()["verdict"]) == (200, True, "Broken")


async def test_a_post_may_have_its_fields_under_metadata_as_flagger_sends_them(
    http: httpx.AsyncClient, world: Any, reconciler: Reconciler
) -> None:
    body = {"name": "users", "namespace": "team", "phase": "Progressing", "metadata": {**FIELDS, "verify": "true"}}
    await http.post(ASK, json=body, headers=TOKEN)
    assert world.called("can_i_deploy")[0][1] == QUESTION
    assert candidates(reconciler, world) == ["2.0.0"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"version": "1"}, "pacticipant is missing"),
        ({"pacticipant": "users"}, "version is missing"),
        ({"pacticipant": "users", "version": ""}, "version is missing"),
        ({"pacticipant": "users", "version": "1\n2"}, "version is no text"),
        ({"pacticipant": "x" * 1025, "version": "1"}, "pacticipant is no text"),
        ({**FIELDS, "verify": "perhaps"}, "verify is neither"),
    ],
)
async def test_a_bad_question_is_told_so_in_one_sentence(
    http: httpx.AsyncClient, world: Any, fields: dict[str, str], said: str
) -> None:
    for answer in (
        await http.get(ASK, params=fields, headers=TOKEN),
        await http.post(ASK, json=fields, headers=TOKEN),
    ):
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(said)
    assert not world.calls


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"[" * 50_000, b'{"pacticipant": 7, "version": "1"}'])
async def test_a_bad_body_is_told_so(http: httpx.AsyncClient, world: Any, body: bytes) -> None:
    answer = await http.post(ASK, content=body, headers=TOKEN)
    assert answer.status_code == 400
    assert answer.json()["detail"]
    assert not world.calls


async def test_a_body_is_bounded(http: httpx.AsyncClient, world: Any) -> None:
    assert (await http.post(ASK, content=b" " * (MAX_BODY + 1), headers=TOKEN)).status_code == 413


async def test_the_environment_is_the_pactbrokers_unless_it_is_given(http: httpx.AsyncClient, world: Any) -> None:
    await http.get(ASK, params={**FIELDS, "environment": "staging"}, headers=TOKEN)
    assert world.called("can_i_deploy")[0][1].environment == "staging"
    del world.objects[BROKER]["spec"]["environment"]
    answer = await http.get(ASK, params=FIELDS, headers=TOKEN)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("environment is missing")


async def test_an_unknown_pactbroker_is_not_found_with_the_same_answer(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/gate/team/nobody", json=FIELDS, headers=TOKEN)
    assert answer.status_code == 404
    assert (answer.json()["reason"], answer.json()["allowed"]) == ("BrokerNotFound", False)


async def test_decisions_are_counted(http: httpx.AsyncClient, world: Any, looks: Any) -> None:
    metrics = Metrics()
    metrics.decided("Broken", "ContractBroken", granted=False, shadow=True)
    labels = 'allowed="false",reason="ContractBroken",shadow="true",verdict="Broken"'
    line = f"pact_operator_gate_decisions_total{{{labels}}} 1.0"
    assert line in metrics.render().decode().splitlines()


async def eventually(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  (what it waits for has no event of its own)
            await asyncio.sleep(0)
