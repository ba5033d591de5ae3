"""A consumer of the users API."""

from consumer.client import User, UserClient, UserNotFound
from consumer.directory import UserDirectory

__all__ = ["User", "UserClient", "UserDirectory", "UserNotFound"]
