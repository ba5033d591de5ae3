"""The provider states, used as the verifier uses them."""

import pytest
from flask.testing import FlaskClient

from flask_provider import create_app


@pytest.fixture
def client() -> FlaskClient:
    return create_app(environ={"PACT_PROVIDER_STATES": "enabled"}).test_client()


def _change(client: FlaskClient, action: str, state: str, **params: object) -> None:
    answer = client.post("/_pact/provider_states", json={"action": action, "state": state, "params": params})
    assert answer.status_code == 204, answer.text


def test_user_123_exists_until_teardown(client: FlaskClient) -> None:
    _change(client, "setup", "user 123 exists")
    assert client.get("/users/123").json == {
        "id": 123,
        "name": "Alice",
        "created_on": "2026-01-01T12:00:00+00:00",
    }
    assert client.delete("/users/123").status_code == 204

    _change(client, "teardown", "user 123 exists")
    assert client.get("/users/123").status_code == 404


def test_a_user_that_must_not_exist_does_not_even_without_teardown(client: FlaskClient) -> None:
    _change(client, "setup", "user 123 exists")
    _change(client, "setup", "user 123 doesn't exist")

    assert client.get("/users/123").status_code == 404
    assert client.delete("/users/123").status_code == 404


def test_states_with_parameters_add_up(client: FlaskClient) -> None:
    _change(client, "setup", "a user exists", id=7, name="Bob")
    _change(client, "setup", "a user exists", id=8, name="Carol")

    names = [client.get(f"/users/{user_id}").json for user_id in (7, 8)]
    assert [user and user["name"] for user in names] == ["Bob", "Carol"]


def test_an_interaction_without_a_state_meets_mocks_too(client: FlaskClient) -> None:
    _change(client, "setup", "")
    created = client.post("/users", json={"name": "Dan"})
    assert created.json == {"id": 1, "name": "Dan", "created_on": "2026-01-01T12:00:00+00:00"}

    _change(client, "teardown", "")
    assert client.get("/users/1").status_code == 404


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"action": "setup", "state": "user 5 exists"}, "does not know the state 'user 5 exists'"),
        ({"action": "setup", "state": "a user exists", "params": {"id": 7}}, "'name' (text)"),
        ({"action": "start", "state": "user 123 exists"}, '"setup" or "teardown"'),
        ({"action": "setup"}, "does not know the state None"),
        ([], '"setup" or "teardown"'),
    ],
)
def test_a_bad_change_is_refused_with_a_sentence(client: FlaskClient, body: object, sentence: str) -> None:
    answer = client.post("/_pact/provider_states", json=body)

    assert answer.status_code == 400
    assert answer.json is not None
    assert sentence in answer.json["error"]
