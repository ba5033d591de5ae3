"""What this consumer needs of the users API, for every provider that may serve it.

Each test says what the consumer will send and what it needs to get. Pact starts a mock server that behaves
exactly so, and the test calls it with the *real* client, the class that runs in production: a pact is worth
something only if the code that relies on it was seen sending this request and living with this answer. A
hand-written call in its place would prove nothing about the client.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
from pact import Pact, match

from consumer import User, UserClient, UserNotFound

CREATED_ON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def a_user(user_id: int, name: str) -> dict[str, Any]:
    """Describe a user with matchers.

    A matcher carries an example, which the mock server answers with, and a rule, which the provider's answer
    is held to. Without matchers the provider would have to know a user with this very name.
    """
    return {
        "id": match.int(user_id),
        "name": match.like(name),  # like: any value of the same type
        # A datetime of ISO 8601 with an offset, "+00:00" or "Z".
        "created_on": match.datetime("2026-01-01T12:00:00+00:00", "%Y-%m-%dT%H:%M:%S%:z"),
    }


def test_get_a_user(pact: Pact) -> None:
    (
        pact.upon_receiving("a request for user 123")
        # A provider state: what must be true at the provider for this answer. The consumer names it, the
        # provider's own endpoint sets it up when the pact is verified.
        .given("user 123 exists")
        .with_request("GET", "/users/123")
        .will_respond_with(200)
        .with_header("Content-Type", "application/json")
        .with_body(a_user(123, "Alice"))
    )

    with pact.serve() as server, UserClient(server.url) as client:
        assert client.get_user(123) == User(id=123, name="Alice", created_on=CREATED_ON)


def test_get_a_user_that_does_not_exist(pact: Pact) -> None:
    (
        pact.upon_receiving("a request for user 123")
        # The same request in another state is another interaction.
        .given("user 123 doesn't exist")
        .with_request("GET", "/users/123")
        # Only the status: the client does not read the body, so the pact leaves the provider free to word it.
        .will_respond_with(404)
    )

    with pact.serve() as server, UserClient(server.url) as client, pytest.raises(UserNotFound):
        client.get_user(123)


def test_create_a_user(pact: Pact) -> None:
    (
        pact.upon_receiving("a request to create a user")
        # No state: creating a user needs nothing to be there.
        .with_request("POST", "/users")
        .with_header("Content-Type", "application/json")
        .with_body({"name": "Bob"})
        .will_respond_with(201)
        .with_header("Content-Type", "application/json")
        .with_body(a_user(124, "Bob"))
    )

    with pact.serve() as server, UserClient(server.url) as client:
        assert client.create_user("Bob") == User(id=124, name="Bob", created_on=CREATED_ON)


def test_delete_a_user(pact: Pact) -> None:
    (
        pact.upon_receiving("a request to delete a user")
        # A state with parameters: the provider writes it once, and consumers choose the user.
        .given("a user exists", id=124, name="Bob")
        .with_request("DELETE", "/users/124")
        .will_respond_with(204)
    )

    with pact.serve() as server, UserClient(server.url) as client:
        client.delete_user(124)


def test_delete_a_user_that_does_not_exist(pact: Pact) -> None:
    (
        pact.upon_receiving("a request to delete user 123")
        .given("user 123 doesn't exist")
        .with_request("DELETE", "/users/123")
        .will_respond_with(404)
    )

    with pact.serve() as server, UserClient(server.url) as client, pytest.raises(UserNotFound):
        client.delete_user(123)
