"""What the client does where the contract ends: errors, and messages that are not for it."""

import pytest
import requests
import responses

from consumer import UserClient, UserDirectory, UserNotFound

API = "http://users.test:8080"


@pytest.mark.parametrize("status", [500, 503, 400])
@responses.activate
def test_an_error_of_the_api_is_no_missing_user(status: int) -> None:
    responses.get(f"{API}/users/7", status=status, json={"error": "no"})

    with UserClient(API) as client, pytest.raises(requests.HTTPError):
        client.get_user(7)


@responses.activate
def test_a_missing_route_is_no_missing_user() -> None:
    responses.post(f"{API}/users", status=404)

    with UserClient(API) as client, pytest.raises(requests.HTTPError):
        client.create_user("Alice")


@responses.activate
def test_a_missing_user_is_named() -> None:
    responses.delete(f"{API}/users/7", status=404)

    with UserClient(API + "/") as client, pytest.raises(UserNotFound, match="user 7") as caught:
        client.delete_user(7)
    assert caught.value.user_id == 7


@responses.activate
def test_every_request_has_a_timeout() -> None:
    responses.delete(f"{API}/users/7", status=204)

    with UserClient(API, timeout=1.5) as client:
        client.delete_user(7)

    assert responses.calls[0].request.req_kwargs["timeout"] == 1.5  # type: ignore[attr-defined]


def test_another_event_is_refused_and_changes_nothing() -> None:
    directory = UserDirectory()

    with pytest.raises(ValueError, match="user_deleted"):
        directory.on_user_created('{"event": "user_deleted", "user": {"id": 7, "name": "Alice"}}')

    assert directory.names == {}
