"""What the gate asks of a broker, through the brokers' adapter, against a real HTTP server on loopback."""

import asyncio
import threading
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from pact_operator.adapters import brokers as adapter
from pact_operator.adapters.brokers import BrokerThreads
from pact_operator.core.facts import GateRow, Question, Trouble
from services.operator.tests.edge.test_brokers import Server, asked, broker, brokers, failure, secrets, server

__all__ = ["asked", "brokers", "secrets", "server"]

USERS = Question("users", "2.0.0", "production")
WEB = Question("web", "7", "production")


def side(name: str, version: str | None) -> dict[str, Any]:
    return {"name": name, "version": version and {"number": version}}


def row(consumer: str = "web", provider_version: str | None = "2.0.0", success: bool | None = True) -> dict[str, Any]:
    href = f"http://elsewhere/pacts/provider/users/consumer/{consumer}/pact-version/a1/verification-results/1"
    result = None if success is None else {"success": success, "_links": {"self": {"href": href}}}
    return {"consumer": side(consumer, "7"), "provider": side("users", provider_version), "verificationResult": result}


def matrix(*rows: dict[str, Any], deployable: bool | None = True, reason: str = "so") -> dict[str, Any]:
    return {"summary": {"deployable": deployable, "reason": reason}, "matrix": list(rows)}


def environments(server: Server, *names: str) -> None:
    """Each with users 1.0.0 deployed and users 0.9.0 released."""
    found = [{"uuid": f"u-{name}", "name": name, "displayName": name, "production": True} for name in names]
    server.answers["GET /environments"] = (200, {"_embedded": {"environments": found}})
    for name in names:
        for kind, field, version in (
            ("deployed-versions/currently-deployed", "deployedVersions", "1.0.0"),
            ("released-versions/currently-supported", "releasedVersions", "0.9.0"),
        ):
            one = {"uuid": "x", "_embedded": {"pacticipant": {"name": "users"}, "version": {"number": version}}}
            server.answers[f"GET /environments/u-{name}/{kind}"] = (200, {"_embedded": {field: [one]}})


async def test_a_providers_question_is_one_request(server: Server, brokers: BrokerThreads) -> None:
    queries: list[list[tuple[str, str]]] = []

    def answer(request: Any) -> tuple[int, Any]:
        queries.append(parse_qsl(urlsplit(request.path).query))
        return 200, matrix(row(), row("mobile", None, None), deployable=None)

    server.answers["GET /matrix"] = answer
    found = await brokers.can_i_deploy(broker(server.url), USERS, ("web", "users"), hasty=True)
    assert found.rows[0] == GateRow(
        "web",
        "7",
        "users",
        "2.0.0",
        success=True,
        content_sha="a1",
        result_url=f"{server.url}/pacts/provider/users/consumer/web/pact-version/a1/verification-results/1",
    )
    assert found.rows[1] == GateRow("mobile", "7", "users", None, None)
    assert (found.deployable, found.reason, found.in_environment) == (None, "so", None)
    assert server.asked == ["GET /matrix"]
    assert ("environment", "production") in queries[0]
    assert ("latestby", "cvpv") in queries[0]
    # The pacticipant itself is never ignored: then a version that does not exist would pass.
    assert [value for key, value in queries[0] if key == "ignore[][pacticipant]"] == ["web"]


@pytest.mark.parametrize("hasty", [True, False])
async def test_a_consumers_question_also_asks_what_is_in_that_environment_and_shares_it(
    server: Server, brokers: BrokerThreads, hasty: bool
) -> None:
    server.answers["GET /matrix"] = (200, matrix(row()))
    environments(server, "production", "test")
    questions = [Question("web", "7", "production")] * 5
    found = await asyncio.gather(*(brokers.can_i_deploy(broker(server.url), q, (), hasty=hasty) for q in questions))
    assert [one.in_environment for one in found] == [{"users": ("1.0.0", "0.9.0")}] * 5
    assert server.asked.count("GET /environments") == 1
    assert not [route for route in server.asked if "u-test" in route]


async def test_the_looks_share_what_is_in_use_until_the_broker_tells_of_a_change(
    server: Server, brokers: BrokerThreads
) -> None:
    server.answers["GET /matrix"] = (200, matrix(row()))
    server.answers["GET /metrics"] = (200, {"deployedVersions": {"count": 1}})
    environments(server, "production")
    one = broker(server.url)
    await brokers.fingerprint(one)
    assert await brokers.in_use(one) == {"users": ("1.0.0", "0.9.0")}
    await brokers.can_i_deploy(one, WEB, (), hasty=False)
    await brokers.fingerprint(one)
    await brokers.in_use(one)
    assert server.asked.count("GET /environments") == 1
    server.answers["GET /metrics"] = (200, {"deployedVersions": {"count": 2}})
    await brokers.fingerprint(one)
    await brokers.in_use(one)
    assert server.asked.count("GET /environments") == 2


async def test_an_environment_that_the_broker_does_not_have_is_told_so(server: Server, brokers: BrokerThreads) -> None:
    server.answers["GET /matrix"] = (400, {"errors": ["Environment with name 'production' does not exist"]})
    environments(server, "test")
    trouble, message = await failure(brokers.can_i_deploy(broker(server.url), USERS, (), hasty=True))
    assert trouble is Trouble.NO_ENVIRONMENT
    assert "'production'" in message


async def test_a_pacticipant_that_the_broker_does_not_know_is_a_version_that_it_does_not_know(
    server: Server, brokers: BrokerThreads
) -> None:
    server.answers["GET /matrix"] = (400, {"errors": ["Pacticipant users not found"]})
    environments(server, "production")
    found = await brokers.can_i_deploy(broker(server.url), USERS, (), hasty=True)
    assert (found.deployable, found.rows) == (False, ())
    server.answers["GET /pacticipants/users"] = (200, {"name": "users"})
    trouble, _ = await failure(brokers.can_i_deploy(broker(server.url), USERS, (), hasty=True))
    assert trouble is Trouble.REFUSED


async def test_a_matrix_that_may_be_cut_off_is_asked_for_again_with_more_room(
    server: Server, brokers: BrokerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_GATE_ROWS", (2, 4))
    limits: list[int] = []
    rows = [row(f"c{number}") for number in range(3)]

    def answer(request: Any) -> tuple[int, Any]:
        limits.append(int(dict(parse_qsl(urlsplit(request.path).query))["limit"]))
        return 200, matrix(*rows[: limits[-1]])

    server.answers["GET /matrix"] = answer
    assert len((await brokers.can_i_deploy(broker(server.url), USERS, (), hasty=False)).rows) == 3
    assert limits == [2, 4]
    rows += rows
    trouble, message = await failure(brokers.can_i_deploy(broker(server.url), USERS, (), hasty=False))
    assert trouble is Trouble.REFUSED
    assert "cannot show all" in message


async def test_whoever_is_in_haste_does_not_wait_for_a_broker_that_hangs_and_the_looks_go_on(
    server: Server, brokers: BrokerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "HASTY_SECONDS", 0.2)
    release = threading.Event()

    def hang(_request: Any) -> tuple[int, Any]:
        release.wait(30)
        return 200, matrix(row())

    server.answers["GET /matrix"] = hang
    one = broker(server.url)
    try:
        for said in await asyncio.gather(
            *(
                failure(brokers.can_i_deploy(one, Question("users", str(n), "production"), (), hasty=True))
                for n in range(40)
            )
        ):
            assert said[0] in (Trouble.UNAVAILABLE, Trouble.BUSY)
        trouble, message = await failure(brokers.can_i_deploy(one, USERS, (), hasty=True))
        assert trouble is Trouble.UNAVAILABLE
        assert "did not answer within 0.2 seconds" in message
        # Nobody else is kept from the broker by it.
        await brokers.check(one)
        assert server.asked.count("GET /matrix") <= 3 * 41
    finally:
        release.set()


async def test_more_than_the_broker_answers_in_time_is_turned_away_at_once(
    server: Server, brokers: BrokerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "HASTY_SECONDS", 1.0)
    places = threading.Semaphore(0)

    def slow(_request: Any) -> tuple[int, Any]:
        places.acquire(timeout=30)
        return 200, matrix(row())

    server.answers["GET /matrix"] = slow
    one = broker(server.url)
    # Three are under way, and the average says that each takes long: a fourth would wait in vain.
    brokers._known(one).haste._seconds = 1.0
    under_way = [
        asyncio.create_task(brokers.can_i_deploy(one, Question("users", str(n), "production"), (), hasty=True))
        for n in range(3)
    ]
    await eventually(lambda: server.asked.count("GET /matrix") == 3)
    assert await failure(brokers.can_i_deploy(one, USERS, (), hasty=True)) == (
        Trouble.BUSY,
        f"More is asked of the broker at {server.url} at once than it answers in time.",
    )
    for _ in under_way:
        places.release()
    assert [found.deployable for found in await asyncio.gather(*under_way)] == [True] * 3


async def test_an_answer_that_is_at_hand_is_taken_though_the_loop_was_too_busy_to_see_it() -> None:
    loop, asked_for = asyncio.get_running_loop(), asyncio.Event()

    async def answer() -> int:
        future: asyncio.Future[int] = loop.create_future()
        asked_for.set()
        threading.Timer(0.01, lambda: loop.call_soon_threadsafe(future.set_result, 7)).start()
        return await future

    waiting = asyncio.create_task(adapter._within(0.05, answer()))
    await asked_for.wait()
    threading.Event().wait(0.1)  # the loop is busy, until long after the end
    assert await waiting == 7


async def test_the_words_of_a_mismatch_are_asked_for_once(server: Server, brokers: BrokerThreads) -> None:
    url = f"{server.url}/pacts/provider/users/consumer/web/pact-version/a1/verification-results/1"
    tests = [{"success": False, "interactionDescription": "a user", "mismatches": [{"description": "is missing"}]}]
    server.answers[f"GET {urlsplit(url).path}"] = (
        200,
        {"success": False, "providerApplicationVersion": "1", "testResults": tests},
    )
    one = broker(server.url)
    assert await brokers.mismatch(one, url) == "a user: is missing"
    assert await brokers.mismatch(one, url) == "a user: is missing"
    assert len(server.asked) == 1


async def eventually(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  (what it waits for has no event of its own)
            await asyncio.sleep(0.005)
