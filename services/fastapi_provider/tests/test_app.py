"""The users API itself: what a client sees, without Pact."""

import json
import logging
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient

from fastapi_provider import create_app


@pytest.fixture
def client() -> TestClient:
    return TestClient(create_app(environ={}), raise_server_exceptions=False)


def test_a_user_is_created_served_and_deleted(client: TestClient) -> None:
    before = datetime.now(UTC).replace(microsecond=0)

    created = client.post("/users", json={"name": " Alice "})

    assert created.status_code == 201
    assert created.json()["name"] == "Alice"
    assert datetime.fromisoformat(created.json()["created_on"]) >= before
    location = created.headers["Location"]
    assert location == f"/users/{created.json()['id']}"
    assert client.get(location).json() == created.json()
    assert client.delete(location).status_code == 204
    assert client.get(location).status_code == 404
    assert client.delete(location).status_code == 404


def test_every_user_gets_an_id_of_its_own(client: TestClient) -> None:
    first, second = (client.post("/users", json={"name": "Alice"}).json() for _ in range(2))

    assert first["id"] != second["id"]


def test_creating_a_user_sends_the_event(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fastapi_provider.events"):
        user = client.post("/users", json={"name": "Alice"}).json()

    events = [json.loads(record.message) for record in caplog.records if record.name == "fastapi_provider.events"]
    told = {field: user[field] for field in ("id", "name", "created_on")}
    assert events == [{"event": "user_created", "user": told}]


def test_a_refused_user_sends_no_event(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fastapi_provider.events"):
        assert client.post("/users", json={"name": ""}).status_code == 400

    assert not [record for record in caplog.records if record.name == "fastapi_provider.events"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ('{"name": ""}', "'name' is not valid"),
        ('{"name": "  "}', "'name' is not valid"),
        ('{"name": 7}', "'name' is not valid"),
        ("{}", "'name' is not valid: Field required."),
        ('{"name": "' + "x" * 101 + '"}', "at most 100"),
        ("[]", "The body is not valid"),
        ("{", "The body is not valid"),
    ],
)
def test_a_bad_user_is_refused_with_a_sentence(client: TestClient, body: str, sentence: str) -> None:
    answer = client.post("/users", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert sentence in answer.json()["error"]


def test_a_name_of_the_greatest_length_is_accepted(client: TestClient) -> None:
    assert client.post("/users", json={"name": "x" * 100}).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/users/1", 404),
        ("GET", "/users/alice", 404),
        ("GET", "/nothing", 404),
        ("PUT", "/users/1", 405),
        ("POST", "/users", 415),
        # Not enabled by the environment, so they are not there at all.
        ("POST", "/_pact/provider_states", 404),
        ("POST", "/_pact/messages", 404),
    ],
)
def test_errors_are_json(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path, content="name=Alice")

    assert answer.status_code == status
    assert answer.json()["error"]


def test_a_defect_is_answered_in_json_without_its_trace() -> None:
    app = create_app(environ={})
    app.state.users = None

    answer = TestClient(app, raise_server_exceptions=False).get("/users/1")

    assert answer.status_code == 500
    assert "NoneType" not in answer.json()["error"]


def test_healthz(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
