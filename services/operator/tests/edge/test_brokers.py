"""The brokers' adapter against a real HTTP server on loopback."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest

from pact_operator.adapters.brokers import BrokerThreads, Threads, first_mismatch
from pact_operator.api.v1alpha1 import PactBroker, Selector
from pact_operator.core.facts import Contract, Deployed, Trouble
from pact_operator.ports import BrokerFailureError, ClusterError

INDEX = {"_links": {"pb:publish-contracts": {"href": "http://elsewhere/contracts/publish"}}}
Answer = tuple[int, Any]


class Server:
    """Answers from `answers` ("GET /path" -> answer or function), and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[Any], Answer]] = {"GET /": (200, INDEX)}
        self.asked: list[str] = []
        self.bodies: list[Any] = []
        self.authorization: list[str | None] = []
        self.silent = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _answer(self) -> None:
                route = f"{self.command} {unquote(self.path).split('?')[0]}"
                server.asked.append(route)
                server.authorization.append(self.headers.get("Authorization"))
                if server.silent:
                    self.close_connection = True
                    return
                length = int(self.headers.get("Content-Length") or 0)
                server.bodies.append(json.loads(self.rfile.read(length)) if length else None)
                answer = server.answers.get(route, (404, {}))
                status, body = answer(self) if callable(answer) else answer
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/hal+json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def secrets() -> dict[str, dict[str, str]]:
    return {}


@pytest.fixture
def asked() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def brokers(secrets: dict[str, dict[str, str]], asked: list[tuple[str, str]]) -> Iterator[BrokerThreads]:
    async def read(_namespace: str, name: str) -> dict[str, str] | None:
        if name == "forbidden":
            raise ClusterError(403, "Forbidden", "no")
        return secrets.get(name)

    brokers = BrokerThreads(
        read, lambda: "the-hook-token", observe=lambda *what: asked.append(what), timeout=2.0, patience=5.0
    )
    yield brokers
    brokers.close()


def broker(url: str, name: str = "main", generation: int = 1, **spec: Any) -> PactBroker:
    parsed = PactBroker.parse(
        {
            "metadata": {"name": name, "namespace": "team", "uid": name, "generation": generation},
            "spec": {"url": url, **spec},
        }
    )
    assert isinstance(parsed, PactBroker)
    return parsed


def with_secret(url: str, name: str, **more: Any) -> PactBroker:
    return broker(url, auth={"readSecretRef": {"name": name}}, **more)


async def failure(call: Any) -> tuple[Trouble, str]:
    with pytest.raises(BrokerFailureError) as caught:
        await call
    return caught.value.failure.trouble, caught.value.failure.message


async def test_a_broker_without_credentials_is_asked_without(
    server: Server, brokers: BrokerThreads, asked: list[tuple[str, str]]
) -> None:
    await brokers.check(broker(server.url))
    assert server.authorization == [None]
    assert asked == [("check", "ok")]


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ({"username": "reader", "password": "pass\n"}, "Basic cmVhZGVyOnBhc3M="),
        ({"token": "t0ken\n"}, "Bearer t0ken"),
    ],
)
async def test_credentials_come_from_the_secret(
    server: Server, brokers: BrokerThreads, secrets: Any, secret: dict[str, str], expected: str
) -> None:
    secrets["read"] = secret
    await brokers.check(with_secret(server.url, "read"))
    assert server.authorization == [expected]


async def test_reading_and_writing_use_their_own_credentials(
    server: Server, brokers: BrokerThreads, secrets: Any
) -> None:
    secrets |= {"read": {"token": "r"}, "write": {"token": "w"}}
    auth = {"readSecretRef": {"name": "read"}, "writeSecretRef": {"name": "write"}}
    one = broker(server.url, auth=auth)
    server.answers["DELETE /webhooks/some-uuid-of-16-chars"] = (204, {})
    await brokers.check(one)
    await brokers.delete_webhook(one, "some-uuid-of-16-chars")
    assert server.authorization == ["Bearer r", "Bearer w"]


async def test_a_rotated_secret_is_read_again_as_soon_as_the_broker_refuses_the_old_one(
    server: Server, brokers: BrokerThreads, secrets: Any
) -> None:
    secrets["read"] = {"token": "old"}
    one = with_secret(server.url, "read")
    await brokers.check(one)
    server.answers["GET /"] = lambda request: (
        (200, INDEX) if request.headers["Authorization"] == "Bearer new" else (401, {})
    )
    secrets["read"] = {"token": "new"}
    await brokers.check(one)
    assert server.authorization == ["Bearer old", "Bearer old", "Bearer new"]


async def test_refused_credentials_name_their_secret(server: Server, brokers: BrokerThreads, secrets: Any) -> None:
    secrets["read"] = {"token": "wrong"}
    server.answers["GET /"] = (401, {})
    trouble, message = await failure(brokers.check(with_secret(server.url, "read")))
    assert trouble is Trouble.UNAUTHORIZED
    assert server.url in message
    assert "'read'" in message
    assert "wrong" not in message.replace("they are wrong", "")
    assert len(server.asked) == 1, "the same credentials are not tried twice"


async def test_missing_credentials_say_what_to_name(server: Server, brokers: BrokerThreads) -> None:
    server.answers["GET /"] = (401, {})
    trouble, message = await failure(brokers.check(broker(server.url)))
    assert trouble is Trouble.UNAUTHORIZED
    assert "spec.auth.readSecretRef" in message


@pytest.mark.parametrize(
    ("name", "words"),
    [("absent", "no Secret 'absent'"), ("forbidden", "may not read"), ("odd", "neither a token nor username")],
)
async def test_a_secret_that_is_of_no_use_is_a_failure_of_its_own(
    server: Server, brokers: BrokerThreads, secrets: Any, name: str, words: str
) -> None:
    secrets["odd"] = {"user": "x"}
    trouble, message = await failure(brokers.check(with_secret(server.url, name)))
    assert trouble is Trouble.NO_CREDENTIALS
    assert words in message
    assert server.url in message
    assert server.asked == []


async def test_a_missing_certificate_authority_is_said(server: Server, brokers: BrokerThreads, secrets: Any) -> None:
    secrets["ca"] = {"other": "x"}
    trouble, message = await failure(brokers.check(broker(server.url, caSecretRef={"name": "ca"})))
    assert trouble is Trouble.NO_CREDENTIALS
    assert "'ca.crt'" in message


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        ((503, {}), Trouble.UNAVAILABLE),
        ((403, {}), Trouble.UNAUTHORIZED),
        ((200, {"hello": "world"}), Trouble.NOT_A_BROKER),
        ((400, {"error": "no"}), Trouble.REFUSED),
    ],
)
async def test_every_answer_becomes_one_sentence_that_names_the_url(
    server: Server, brokers: BrokerThreads, answer: Answer, trouble: Trouble
) -> None:
    server.answers["GET /"] = answer
    got, message = await failure(brokers.check(broker(server.url)))
    assert got is trouble
    assert server.url in message
    assert message.endswith(".")
    assert "\n" not in message


async def test_contracts_keep_consumer_content_and_whether_they_are_pending(
    server: Server, brokers: BrokerThreads
) -> None:
    href = "http://another-host/pacts/provider/users/consumer/web/pact-version/abc/metadata/m"
    server.answers["POST /pacts/provider/users/for-verification"] = (
        200,
        {"_embedded": {"pacts": [{"verificationProperties": {"pending": True}, "_links": {"self": {"href": href}}}]}},
    )
    found = await brokers.contracts(
        broker(server.url), "users", [Selector(main_branch=True)], branch="main", enable_pending=True, wip_since=None
    )
    url = f"{server.url}/pacts/provider/users/consumer/web/pact-version/abc/metadata/m"
    assert found == (Contract("web", "abc", url, pending=True),)
    assert server.bodies == [
        {
            "consumerVersionSelectors": [{"mainBranch": True}],
            "includePendingStatus": True,
            "providerVersionBranch": "main",
        }
    ]


def row(consumer: str, version: str, sha: str, *, success: bool, at: str, number: int) -> dict[str, Any]:
    href = f"http://b/pacts/provider/users/consumer/{consumer}/pact-version/{sha}/verification-results/{number}"
    return {
        "consumer": {"name": consumer, "version": {"number": version}},
        "provider": {"name": "users", "version": {"number": "7"}},
        "pact": {"createdAt": at, "_links": {"self": {"href": "http://b/pacts"}}},
        "verificationResult": {"success": success, "verifiedAt": at, "_links": {"self": {"href": href}}},
    }


async def test_a_failed_result_carries_its_first_mismatch_which_is_fetched_once(
    server: Server, brokers: BrokerThreads
) -> None:
    detail = "/pacts/provider/users/consumer/web/pact-version/abc/verification-results/1"
    server.answers["GET /matrix"] = (
        200,
        {
            "summary": {"deployable": False, "reason": "r", "success": 1, "failed": 1, "unknown": 0},
            "matrix": [
                row("web", "1", "abc", success=False, at="2026-01-01T00:00:00+00:00", number=1),
                row("app", "1", "def", success=False, at="2026-01-01T00:00:00+00:00", number=1),
                row("app", "2", "def", success=True, at="2026-01-02T00:00:00+00:00", number=2),
            ],
        },
    )
    server.answers[f"GET {detail}"] = (
        200,
        {
            "success": False,
            "providerApplicationVersion": "7",
            "testResults": [
                {
                    "interactionDescription": "a user",
                    "success": False,
                    "mismatches": [{"attribute": "body", "identifier": "$.name", "description": "is missing"}],
                }
            ],
        },
    )
    for _ in range(2):
        found = await brokers.results(broker(server.url), "users", "7")
    assert set(found) == {("web", "abc"), ("app", "def")}
    assert found["web", "abc"].mismatch == "a user: body at $.name: is missing"
    assert not found["web", "abc"].success
    assert found["app", "def"].success, "the newest result of a content counts"
    assert server.asked.count(f"GET {detail}") == 1


async def test_a_webhook_gets_the_token_in_its_authorization_header_and_nowhere_else(
    server: Server, brokers: BrokerThreads
) -> None:
    uuid = "pact-operator-abcdefghij"
    server.answers[f"PUT /webhooks/{uuid}"] = lambda _request: (201, {"description": "d", "enabled": True})
    definition: dict[str, Any] = {
        "description": "d",
        "request": {"url": "http://op", "headers": {"Content-Type": "application/json"}},
    }
    await brokers.put_webhook(broker(server.url), uuid, definition)
    [body] = server.bodies
    assert body["request"]["headers"].pop("Authorization") == "Bearer the-hook-token"
    assert body == definition
    assert "Authorization" not in definition["request"]["headers"]


async def test_a_new_generation_is_asked_at_its_own_url(server: Server, brokers: BrokerThreads) -> None:
    await failure(brokers.check(broker("http://127.0.0.1:1", generation=1)))
    await brokers.check(broker(server.url, generation=2))
    assert server.asked == ["GET /"]


async def test_a_broker_that_hangs_holds_nobody_up_who_does_not_ask_it(server: Server, brokers: BrokerThreads) -> None:
    hung = Server()
    release = threading.Event()
    arrived = threading.Semaphore(0)

    def hang(_request: Any) -> Answer:
        arrived.release()
        release.wait(30)
        return 200, INDEX

    hung.answers["GET /"] = hang
    try:
        waiting = [asyncio.create_task(brokers.check(broker(hung.url, "hung"))) for _ in range(12)]
        assert await asyncio.to_thread(arrived.acquire, timeout=10)
        await brokers.check(broker(server.url, "fine"))
        assert not any(task.done() for task in waiting)
        release.set()
        await asyncio.gather(*waiting)
    finally:
        release.set()
        hung.close()


async def test_after_no_answer_only_the_check_is_sent_until_one_comes(
    server: Server, brokers: BrokerThreads, asked: list[tuple[str, str]]
) -> None:
    one = broker(server.url)
    server.answers["GET /environments"] = (200, {"_embedded": {"environments": []}})
    server.silent = True
    first = await failure(brokers.environments(one))
    assert first[0] is Trouble.UNAVAILABLE
    sent = len(server.asked)
    assert await failure(brokers.environments(one)) == first
    assert len(server.asked) == sent, "the second question was not sent"
    await failure(brokers.check(one))
    assert len(server.asked) > sent
    server.silent = False
    await brokers.check(one)
    assert await brokers.environments(one) == frozenset()
    assert [outcome for _, outcome in asked] == ["BrokerUnavailable", "skipped", "BrokerUnavailable", "ok", "ok"]


async def test_a_caller_that_gives_up_does_not_free_the_place_of_its_thread() -> None:
    threads = Threads(1)
    release = threading.Event()
    started = threading.Event()

    def hang() -> str:
        started.set()
        release.wait(30)
        return "hung"

    first = asyncio.create_task(threads.run(hang))
    assert await asyncio.to_thread(started.wait, 10)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(threads.run(lambda: "second"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not second.done()
    release.set()
    assert await second == "second"


# --- what is deployed ------------------------------------------------------------------------------------------------

LIST = "GET /environments/e1/deployed-versions/currently-deployed"
RELEASES = "GET /environments/e1/released-versions/currently-supported"
RECORD = "POST /pacticipants/users/versions/7/deployed-versions/environment/e1"
VERSION = "GET /pacticipants/users/versions/7"


def deployed(uuid: str, version: str, instance: str | None = None) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "currentlyDeployed": True,
        "applicationInstance": instance,
        "createdAt": "2026-01-01T00:00:00+00:00",
        "_embedded": {"pacticipant": {"name": "users"}, "version": {"number": version}},
    }


@pytest.fixture
def environment(server: Server) -> Server:
    """A broker with one environment, where version 6 of `users` is deployed, and 5 as the instance blue."""
    place = {"uuid": "e1", "name": "test", "displayName": "Test", "production": False}
    server.answers["GET /environments"] = (200, {"_embedded": {"environments": [place]}})
    held = [deployed("d6", "6"), deployed("d5", "5", "blue")]
    server.answers[LIST] = (200, {"_embedded": {"deployedVersions": held}})
    server.answers[RELEASES] = (200, {"_embedded": {"releasedVersions": []}})
    server.answers[RECORD] = (201, deployed("d7", "7"))
    return server


async def test_what_is_deployed_is_asked_once_for_all_who_look_at_the_same_time(
    environment: Server, brokers: BrokerThreads, asked: list[tuple[str, str]]
) -> None:
    one = broker(environment.url)
    answers = await asyncio.gather(*(brokers.deployed(one, "test") for _ in range(5)))
    assert answers == [{"users": (Deployed("d6", "6"), Deployed("d5", "5", "blue"))}] * 5
    assert environment.asked == ["GET /environments", LIST]
    assert await brokers.in_use(one) == {"users": ("6", "5")}
    assert environment.asked == ["GET /environments", LIST, RELEASES], "what is known already is not asked again"
    assert asked == [("deployed", "ok"), ("in_use", "ok")]


async def test_an_environment_that_the_broker_does_not_hold_says_so(
    environment: Server, brokers: BrokerThreads
) -> None:
    trouble, message = await failure(brokers.deployed(broker(environment.url), "prod"))
    assert trouble is Trouble.REFUSED
    assert "no environment 'prod'" in message


async def test_those_who_look_because_something_changed_do_not_get_the_answer_of_before(
    environment: Server, brokers: BrokerThreads
) -> None:
    one = broker(environment.url)
    for number in (1, 1, 2):
        environment.answers["GET /metrics"] = (200, {"deployedVersions": {"count": number}})
        await brokers.fingerprint(one)
        await brokers.deployed(one, "test")
    assert environment.asked.count(LIST) == 2


async def test_a_deployment_is_recorded_with_the_write_credentials_and_read_back_anew(
    environment: Server, brokers: BrokerThreads, secrets: dict[str, dict[str, str]]
) -> None:
    secrets["reads"], secrets["writes"] = {"token": "may-read"}, {"token": "may-write"}
    auth = {"readSecretRef": {"name": "reads"}, "writeSecretRef": {"name": "writes"}}
    one = broker(environment.url, auth=auth)
    await brokers.deployed(one, "test")
    await brokers.record_deployment(one, "users", "7", "test", "blue")
    await brokers.deployed(one, "test")
    sent = list(zip(environment.asked, environment.authorization, strict=True))
    assert sent[-4:] == [
        ("GET /environments", "Bearer may-write"),
        (RECORD, "Bearer may-write"),
        ("GET /environments", "Bearer may-read"),
        (LIST, "Bearer may-read"),
    ]
    assert {"applicationInstance": "blue", "target": "blue"} in environment.bodies


async def test_an_undeployment_is_recorded_by_its_id_and_one_that_is_gone_is_done(
    environment: Server, brokers: BrokerThreads
) -> None:
    one = broker(environment.url)
    environment.answers["PATCH /deployed-versions/d6"] = (200, {**deployed("d6", "6"), "currentlyDeployed": False})
    await brokers.deployed(one, "test")
    await brokers.record_undeployment(one, "d6")
    await brokers.record_undeployment(one, "d0")
    assert environment.bodies[-2:] == [{"currentlyDeployed": False}] * 2
    await brokers.deployed(one, "test")
    assert environment.asked.count(LIST) == 2


async def test_what_was_asked_before_a_record_was_written_is_not_kept(
    environment: Server, brokers: BrokerThreads
) -> None:
    one = broker(environment.url)
    arrived, release = threading.Event(), threading.Event()
    answer = environment.answers[LIST]

    def slow(_request: Any) -> Answer:
        arrived.set()
        release.wait(30)
        assert isinstance(answer, tuple)
        return answer

    environment.answers[LIST] = slow
    asking = asyncio.create_task(brokers.deployed(one, "test"))
    assert await asyncio.to_thread(arrived.wait, 10)
    await brokers.record_deployment(one, "users", "7", "test", None)
    release.set()
    await asking
    environment.answers[LIST] = (200, {"_embedded": {"deployedVersions": [deployed("d7", "7")]}})
    assert await brokers.deployed(one, "test") == {"users": (Deployed("d7", "7"),)}


async def test_a_version_that_the_broker_knows_is_remembered_until_it_is_refused(
    environment: Server, brokers: BrokerThreads
) -> None:
    one = broker(environment.url)
    assert not await brokers.has_version(one, "users", "7")
    assert not await brokers.has_version(one, "users", "7"), "it may come at any time"
    environment.answers[VERSION] = (200, {"number": "7", "createdAt": "2026-01-01T00:00:00+00:00"})
    for _ in range(3):
        assert await brokers.has_version(one, "users", "7")
    assert environment.asked.count(VERSION) == 3
    del environment.answers[RECORD], environment.answers[VERSION]
    assert (await failure(brokers.record_deployment(one, "users", "7", "test", None)))[0] is Trouble.REFUSED
    assert not await brokers.has_version(one, "users", "7")


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([], ""),
        ([{"success": True}], ""),
        ([{"success": False, "interactionDescription": "a user"}], "a user failed"),
        ([{"success": False, "interactionId": "1", "exceptions": [{"message": "refused"}]}], "1: refused"),
        ([{"success": False, "mismatches": "nonsense"}], "an interaction failed"),
        (
            [
                {"success": True, "interactionDescription": "fine"},
                {
                    "success": False,
                    "interactionDescription": "broken",
                    "mismatches": [{"attribute": "status", "description": "expected 200\nbut was 500"}],
                },
            ],
            "broken: status: expected 200 but was 500",
        ),
    ],
)
def test_the_first_mismatch_in_words(results: list[Any], words: str) -> None:
    assert first_mismatch(results) == words


async def test_threads_stay_for_the_next_call_and_end_when_told_to() -> None:
    threads = Threads(3)
    first = await threads.run(threading.current_thread)
    assert await threads.run(threading.current_thread) is first, "one call at a time needs one thread"
    together = threading.Barrier(3)
    several = set(await asyncio.gather(*(threads.run(lambda: met(together)) for _ in range(3))))
    assert len(several) == 3
    assert await threads.run(threading.current_thread) in several
    threads.close()
    for thread in several:
        thread.join(10)
        assert not thread.is_alive()


def met(barrier: threading.Barrier) -> threading.Thread:
    """The thread that it is called in, once as many are at it as the barrier wants."""
    barrier.wait(10)
    return threading.current_thread()
