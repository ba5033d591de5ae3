"""Users and where they are kept: the data access that provider states replace."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Protocol


@dataclass(frozen=True)
class User:
    """A user of the API.

    Attributes:
        id: Positive, unique, given by the repository.
        name: 1 to 100 characters.
        created_on: When the user was added, in UTC, to the second.
    """

    id: int
    name: str
    created_on: datetime

    def to_json(self) -> dict[str, object]:
        """Give the user as the API serves it, `created_on` as ISO 8601."""
        return {"id": self.id, "name": self.name, "created_on": self.created_on.isoformat()}


class UserRepository(Protocol):
    """All that the API asks of its data access; anything that has these methods will do."""

    def get(self, user_id: int) -> User | None:
        """Find a user, or None."""

    def add(self, name: str) -> User:
        """Keep a new user and return it with its id."""

    def delete(self, user_id: int) -> bool:
        """Remove a user; False if there was none."""


class InMemoryUserRepository:
    """Users in a dictionary: gone when the process ends, which suits an example."""

    def __init__(self) -> None:
        self._users: dict[int, User] = {}
        self._ids = count(1)

    def get(self, user_id: int) -> User | None:
        """Find a user, or None."""
        return self._users.get(user_id)

    def add(self, name: str) -> User:
        """Keep a new user and return it with its id."""
        user = User(next(self._ids), name, datetime.now(UTC).replace(microsecond=0))
        self._users[user.id] = user
        return user

    def delete(self, user_id: int) -> bool:
        """Remove a user; False if there was none."""
        return self._users.pop(user_id, None) is not None
