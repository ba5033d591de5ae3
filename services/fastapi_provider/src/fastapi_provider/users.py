"""Users and where they are kept: the data access that provider states replace."""

from datetime import UTC, datetime
from itertools import count
from typing import Annotated, Protocol

from pydantic import BaseModel, Field, StringConstraints

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


class NewUser(BaseModel):
    """What a client sends to create a user."""

    name: Name


class User(BaseModel):
    """A user of the API.

    Attributes:
        id: Positive, unique, given by the repository.
        name: 1 to 100 characters.
        created_on: When the user was added, in UTC, to the second; served as ISO 8601.
    """

    id: int = Field(gt=0)
    name: Name
    created_on: datetime


class UserRepository(Protocol):
    """All that the API asks of its data access; anything that has these methods will do."""

    def get(self, user_id: int) -> User | None:
        """Find a user, or None."""

    def add(self, new: NewUser) -> User:
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

    def add(self, new: NewUser) -> User:
        """Keep a new user and return it with its id."""
        created_on = datetime.now(UTC).replace(microsecond=0)
        user = User(id=next(self._ids), name=new.name, created_on=created_on)
        self._users[user.id] = user
        return user

    def delete(self, user_id: int) -> bool:
        """Remove a user; False if there was none."""
        return self._users.pop(user_id, None) is not None
