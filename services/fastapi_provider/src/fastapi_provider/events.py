"""The messages that this provider sends."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from fastapi_provider.users import NewUser, User, UserRepository

logger = logging.getLogger("fastapi_provider.events")


class CreatedUser(BaseModel):
    """The user, as far as the event tells of it."""

    id: int
    name: str
    created_on: datetime


class UserCreated(BaseModel):
    """Sent once for every user that was created."""

    event: Literal["user_created"] = "user_created"
    user: CreatedUser

    @classmethod
    def of(cls, user: User) -> "UserCreated":
        """Build the event that tells of this user."""
        return cls(user=CreatedUser(id=user.id, name=user.name, created_on=user.created_on))


Publish = Callable[[UserCreated], None]
"""Sends an event. A queue's client in a larger system; Pact is about contents and does not ask how they travel."""


def publish_to_log(event: UserCreated) -> None:
    """Send the event as one line of JSON on the log, whose collector is the transport of this example."""
    logger.info(event.model_dump_json())


def register_user(new: NewUser, users: UserRepository, publish: Publish) -> User:
    """Create a user and tell of it: the one way in which a user comes to be.

    Both the route and the verification of the message call this, so a pact checks the event that is really sent.
    """
    user = users.add(new)
    publish(UserCreated.of(user))
    return user
