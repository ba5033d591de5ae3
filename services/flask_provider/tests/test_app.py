"""The users API itself: what a client sees, without Pact."""

from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient

from flask_provider import create_app


@pytest.fixture
def client() -> FlaskClient:
    return create_app(environ={}).test_client()


def test_a_user_is_created_served_and_deleted(client: FlaskClient) -> None:
    before = datetime.now(UTC).replace(microsecond=0)

    created = client.post("/users", json={"name": " Alice "})

    assert created.status_code == 201
    assert created.json is not None
    assert created.json["name"] == "Alice"
    assert datetime.fromisoformat(created.json["created_on"]) >= before
    location = created.headers["Location"]
    assert location == f"/users/{created.json['id']}"
    assert client.get(location).json == created.json
    assert client.delete(location).status_code == 204
    assert client.get(location).status_code == 404
    assert client.delete(location).status_code == 404


def test_every_user_gets_an_id_of_its_own(client: FlaskClient) -> None:
    first, second = (client.post("/users", json={"name": "Alice"}).json for _ in range(2))

    assert first is not None
    assert second is not None
    assert first["id"] != second["id"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ('{"name": ""}', "not blank"),
        ('{"name": "  "}', "not blank"),
        ('{"name": 7}', "must be a text"),
        ("{}", "'name' is required"),
        ('{"name": "' + "x" * 101 + '"}', "at most 100"),
        ("[]", "JSON object"),
        ("{", "JSON object"),
    ],
)
def test_a_bad_user_is_refused_with_a_sentence(client: FlaskClient, body: str, sentence: str) -> None:
    answer = client.post("/users", data=body, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json is not None
    assert sentence in answer.json["error"]


def test_a_name_of_the_greatest_length_is_accepted(client: FlaskClient) -> None:
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
    ],
)
def test_errors_are_json(client: FlaskClient, method: str, path: str, status: int) -> None:
    answer = client.open(path, method=method, data="name=Alice")

    assert answer.status_code == status
    assert answer.is_json
    assert answer.json is not None
    assert answer.json["error"]


def test_method_not_allowed_names_the_methods_that_are(client: FlaskClient) -> None:
    assert {"GET", "DELETE"} <= set(client.put("/users/1").headers["Allow"].split(", "))


def test_a_defect_is_answered_in_json_without_its_trace() -> None:
    app = create_app(environ={})
    app.extensions["users"] = None

    answer = app.test_client().get("/users/1")

    assert answer.status_code == 500
    assert answer.json is not None
    assert "NoneType" not in answer.json["error"]


def test_healthz(client: FlaskClient) -> None:
    assert client.get("/healthz").json == {"status": "ok"}
