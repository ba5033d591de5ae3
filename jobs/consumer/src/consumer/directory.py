"""The names of users, learned from messages: no request is needed to show a name."""

import json


class UserDirectory:
    """Names by user id, kept up to date by the provider's events."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}

    def on_user_created(self, message: str | bytes) -> None:
        """Handle the event that a user was created.

        Args:
            message: The contents, JSON: `{"event": "user_created", "user": {"id": ..., "name": ...}}`.

        Raises:
            ValueError: It is not JSON, or another event.
            KeyError: A field that is needed is missing.
        """
        contents = json.loads(message)
        if contents["event"] != "user_created":
            raise ValueError(f"Expected the event 'user_created', got {contents['event']!r}.")
        self.names[contents["user"]["id"]] = contents["user"]["name"]
