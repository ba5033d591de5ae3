"""The client of the users API: the code whose needs the pacts write down."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import requests


class UserNotFound(LookupError):  # noqa: N818 - reads as what it says
    """The users API has no such user."""

    def __init__(self, user_id: int) -> None:
        super().__init__(f"There is no user {user_id}.")
        self.user_id = user_id


@dataclass(frozen=True)
class User:
    """What this consumer needs of a user. The API may serve more: a pact asks for no field that is not used."""

    id: int
    name: str
    created_on: datetime

    @classmethod
    def from_json(cls, user: Mapping[str, Any]) -> Self:
        """Read a user as the API serves it.

        Raises:
            KeyError: A field that this consumer needs is missing.
            ValueError: `created_on` is not ISO 8601.
        """
        return cls(id=user["id"], name=user["name"], created_on=datetime.fromisoformat(user["created_on"]))


class UserClient:
    """A client of the users API, whichever provider serves it."""

    def __init__(self, base_url: str, *, timeout: float = 5.0) -> None:
        """Prepare a client.

        Args:
            base_url: Where the API is, such as `http://users:8080`.
            timeout: Seconds to wait for a connection, and then for each part of the answer.
        """
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._session = requests.Session()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get_user(self, user_id: int) -> User:
        """Get a user.

        Raises:
            UserNotFound: There is no such user.
            requests.RequestException: The API could not be reached, or answered with an error.
        """
        return User.from_json(self._call("GET", f"/users/{user_id}", user_id).json())

    def create_user(self, name: str) -> User:
        """Create a user and return it with its id.

        Raises:
            requests.RequestException: The API could not be reached, or refused the user.
        """
        return User.from_json(self._call("POST", "/users", json={"name": name}).json())

    def delete_user(self, user_id: int) -> None:
        """Delete a user.

        Raises:
            UserNotFound: There is no such user.
            requests.RequestException: The API could not be reached, or answered with an error.
        """
        self._call("DELETE", f"/users/{user_id}", user_id)

    def _call(
        self, method: str, path: str, user_id: int | None = None, json: Mapping[str, Any] | None = None
    ) -> requests.Response:
        response = self._session.request(method, self._base_url + path, json=json, timeout=self._timeout)
        if user_id is not None and response.status_code == requests.codes.not_found:
            raise UserNotFound(user_id)
        response.raise_for_status()
        return response
