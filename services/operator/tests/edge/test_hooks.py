from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pact_operator.api import names
from pact_operator.core.facts import Key
from pact_operator.engine.queue import KeyedQueue
from pact_operator.engine.reconciler import Reconciler
from pact_operator.handlers.hooks import MAX_BODY, create_app
from pact_operator.hooktoken import HookToken
from pact_operator.metrics import Metrics

HOOK = "/hooks/team/broker"
GOOD = {"Authorization": "Bearer secret"}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("secret\n", encoding="utf-8")
    return path


@pytest.fixture
def ready() -> list[bool]:
    return [True]


@pytest.fixture
async def http(
    reconciler: Reconciler, queue: KeyedQueue[Key], token_file: Path, ready: list[bool]
) -> AsyncIterator[httpx.AsyncClient]:
    metrics = Metrics()
    metrics.watch_queue(lambda: len(queue), queue.origins)
    metrics.asked("check", "ok")
    metrics.looked("PactBroker", "unchanged", 0.01)
    app = create_app(reconciler, HookToken(token_file), metrics, lambda: ready[0])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://operator") as client:
        yield client


@pytest.fixture
def provider(world: Any) -> Key:
    world.put(names.BROKER, "broker", {"url": "http://b"})
    key: Key = world.put(names.PROVIDER, "users", {"brokerRef": {"name": "broker"}, "pacticipant": "users"})
    return key


async def test_a_hook_is_taken_and_its_provider_is_looked_at(
    http: httpx.AsyncClient, queue: KeyedQueue[Key], provider: Key
) -> None:
    answer = await http.post(HOOK, headers=GOOD, json={"event": "contract_published", "provider": "users"})
    assert answer.status_code == 202
    assert queue.take() == provider


@pytest.mark.parametrize("body", [b"", b"not json", b"[1]", b'{"provider": 7}', b'{"provider": "${pactbroker.x}"}'])
async def test_what_a_hook_says_is_not_needed(
    http: httpx.AsyncClient, queue: KeyedQueue[Key], provider: Key, body: bytes
) -> None:
    assert (await http.post(HOOK, headers=GOOD, content=body)).status_code == 202
    assert queue.take() == provider


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer secretsecret"},
        {"Authorization": "Basic secret"},
        {"Authorization": "secret"},
    ],
)
async def test_nobody_gets_in_without_the_token(
    http: httpx.AsyncClient, queue: KeyedQueue[Key], provider: Key, headers: dict[str, str]
) -> None:
    answer = await http.post(HOOK, headers=headers)
    assert answer.status_code == 401
    assert "Authorization" in answer.json()["detail"]
    assert queue.take() is None


async def test_without_the_token_nobody_learns_which_brokers_there_are(http: httpx.AsyncClient, provider: Key) -> None:
    assert (await http.post("/hooks/team/nobody")).status_code == 401


async def test_an_unknown_broker_is_said_to_be_unknown(http: httpx.AsyncClient) -> None:
    answer = await http.post(HOOK, headers=GOOD)
    assert answer.status_code == 404
    assert "'broker'" in answer.json()["detail"]


async def test_a_large_body_is_refused_whether_its_length_is_given_or_not(
    http: httpx.AsyncClient, queue: KeyedQueue[Key], provider: Key
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 1024 + 1):
            yield b"x" * 1024

    assert (await http.post(HOOK, headers=GOOD, content=b"x" * (MAX_BODY + 1))).status_code == 413
    assert (await http.post(HOOK, headers=GOOD, content=chunks())).status_code == 413
    assert queue.take() is None
    assert (await http.post(HOOK, headers=GOOD, content=b"x" * MAX_BODY)).status_code == 202


async def test_a_rotated_token_counts_at_once_and_the_old_one_no_more(
    http: httpx.AsyncClient, provider: Key, token_file: Path
) -> None:
    assert (await http.post(HOOK, headers=GOOD)).status_code == 202
    # A mounted Secret changes by a rename, so its inode is new.
    new = token_file.with_name("new")
    new.write_text("rotat3", encoding="utf-8")
    new.replace(token_file)
    assert (await http.post(HOOK, headers=GOOD)).status_code == 401
    assert (await http.post(HOOK, headers={"Authorization": "bearer rotat3"})).status_code == 202


def test_an_empty_or_missing_token_lets_nobody_in(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for token in (HookToken(None), HookToken(empty), HookToken(tmp_path / "absent")):
        assert not token.matches("")
        assert token.digest() == ""


def test_a_token_that_cannot_be_read_for_a_moment_stays_in_force(token_file: Path) -> None:
    token = HookToken(token_file)
    assert token.matches("secret")
    token_file.unlink()
    assert token.matches("secret")
    assert len(token.digest()) == 12
    assert "secret" not in token.digest()


async def test_readiness_follows_the_watches(http: httpx.AsyncClient, ready: list[bool]) -> None:
    assert (await http.get("/readyz")).status_code == 200
    ready[0] = False
    assert (await http.get("/readyz")).status_code == 503


async def test_metrics_tell_of_looks_hints_queue_and_brokers(http: httpx.AsyncClient, provider: Key) -> None:
    await http.post(HOOK, headers=GOOD)
    text = (await http.get("/metrics")).text
    for line in (
        'pact_operator_looks_total{kind="PactBroker",outcome="unchanged"} 1.0',
        'pact_operator_hints_total{origin="hook"} 1.0',
        'pact_operator_broker_requests_total{operation="check",outcome="ok"} 1.0',
        "pact_operator_queue_depth 1.0",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc"])
async def test_the_receiver_shows_nothing_else(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404
