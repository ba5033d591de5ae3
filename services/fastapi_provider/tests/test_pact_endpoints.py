"""Provider states and messages, used as the verifier uses them."""

import base64
import json

import pytest
from fastapi.testclient import TestClient

from fastapi_provider import create_app


@pytest.fixture
def client() -> TestClient:
    return TestClient(create_app(environ={"PACT_PROVIDER_STATES": "enabled"}))


def _change(client: TestClient, action: str, state: str, **params: object) -> None:
    answer = client.post("/_pact/provider_states", json={"action": action, "state": state, "params": params})
    assert answer.status_code == 204, answer.text


def test_user_123_exists_until_teardown(client: TestClient) -> None:
    _change(client, "setup", "user 123 exists")
    user = client.get("/users/123").json()
    assert (user["id"], user["name"], user["created_on"]) == (123, "Alice", "2026-01-01T12:00:00Z")
    assert client.delete("/users/123").status_code == 204

    _change(client, "teardown", "user 123 exists")
    assert client.get("/users/123").status_code == 404


def test_a_user_that_must_not_exist_does_not_even_without_teardown(client: TestClient) -> None:
    _change(client, "setup", "user 123 exists")
    _change(client, "setup", "user 123 doesn't exist")

    assert client.get("/users/123").status_code == 404
    assert client.delete("/users/123").status_code == 404


def test_states_with_parameters_add_up(client: TestClient) -> None:
    _change(client, "setup", "a user exists", id=7, name="Bob")
    _change(client, "setup", "a user exists", id=8, name="Carol")

    assert [client.get(f"/users/{user_id}").json()["name"] for user_id in (7, 8)] == ["Bob", "Carol"]


def test_an_interaction_without_a_state_meets_mocks_too(client: TestClient) -> None:
    _change(client, "setup", "")
    created = client.post("/users", json={"name": "Dan"}).json()
    assert (created["id"], created["name"]) == (1, "Dan")

    _change(client, "teardown", "")
    assert client.get("/users/1").status_code == 404


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"action": "setup", "state": "user 5 exists"}, "does not know the state 'user 5 exists'"),
        ({"action": "setup", "state": "a user exists", "params": {"id": 7}}, "'name' (text)"),
        ({"action": "start", "state": "user 123 exists"}, "'action' is not valid"),
        ({"action": "setup"}, "'state' is not valid"),
        ([], "The body is not valid"),
    ],
)
def test_a_bad_change_is_refused_with_a_sentence(client: TestClient, body: object, sentence: str) -> None:
    answer = client.post("/_pact/provider_states", json=body)

    assert answer.status_code == 400
    assert sentence in answer.json()["error"]


def test_the_message_is_the_event_that_the_real_code_sends(client: TestClient) -> None:
    answer = client.post("/_pact/messages", json={"description": "user created", "providerStates": []})

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(base64.b64decode(answer.headers["Pact-Message-Metadata"])) == {"contentType": "application/json"}
    assert answer.json() == {
        "event": "user_created",
        "user": {"id": 1, "name": "Alice", "created_on": "2026-01-01T12:00:00Z"},
    }


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"description": "user deleted"}, 404, "does not send the message 'user deleted'"),
        ({}, 400, "'description' is not valid"),
    ],
)
def test_a_message_that_is_not_sent_is_refused_with_a_sentence(
    client: TestClient, body: object, status: int, sentence: str
) -> None:
    answer = client.post("/_pact/messages", json=body)

    assert answer.status_code == status
    assert sentence in answer.json()["error"]
