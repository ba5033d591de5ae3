"""What this consumer needs of the message that tells of a new user.

A message has no request. The test says what the consumer can handle, and Pact hands exactly that to the real
handler. How messages travel (a queue, a topic) is no part of the contract. These interactions end in the same
pact file as the requests to this provider: there is one contract for each pair.
"""

import pytest
from pact import Pact, match

from consumer import UserDirectory


# Only FastAPI's provider sends messages.
@pytest.mark.parametrize("pact", ["fastapi-provider"], indirect=True)
def test_user_created(pact: Pact) -> None:
    directory = UserDirectory()
    (
        # The description is the message's name: the provider is asked for it when the pact is verified.
        pact.upon_receiving("user created", "Async").with_body(
            {
                # No matcher: the handler acts upon this very value.
                "event": "user_created",
                # No created_on: the handler does not read it.
                "user": {"id": match.int(124), "name": match.like("Bob")},
            },
            content_type="application/json",
        )
    )

    def handle(contents: str | bytes | None, _metadata: dict[str, object]) -> None:
        assert contents is not None
        directory.on_user_created(contents)

    pact.verify(handle, kind="Async")

    assert directory.names == {124: "Bob"}
