"""What verification needs from this provider: provider states and messages.

**Provider states.** A pact says: *given* "user 123 exists", a GET of /users/123 is answered with 200. The
consumer only names the state. What it means, the provider decides here. Before each interaction the verifier
posts the state with action "setup", after it with "teardown". The state is set up by a mock in place of the
data access, never by real rows: verification is about the shape of answers, so routing, validation and
serialization are the real code, while nothing has to be seeded, cleaned or reached over a network, and the
same state gives the same answer every time.

**Messages.** A pact says: a consumer can handle a message with these contents. There is no request to
replay, so the verifier asks by the description, and is answered with the message that the real code sends.
"""

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from unittest.mock import create_autospec

from fastapi import APIRouter, FastAPI, HTTPException, Response
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from fastapi_provider.events import UserCreated, register_user
from fastapi_provider.users import NewUser, User, UserRepository

CREATED_ON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
"""Every user of a provider state was created then: a verification that used the clock could differ."""

Params = Mapping[str, Any]
Known = dict[int, User]


class StateChange(BaseModel):
    """What the verifier posts before and after an interaction."""

    state: str
    params: dict[str, Any] = {}
    action: Literal["setup", "teardown"]


class MessageRequest(BaseModel):
    """What the verifier posts to get a message; the states were already set up through their own endpoint."""

    model_config = ConfigDict(alias_generator=to_camel)

    description: str
    provider_states: list[dict[str, Any]] = []


def user_123_exists(known: Known, _params: Params) -> None:
    """There is a user 123."""
    known[123] = User(id=123, name="Alice", created_on=CREATED_ON)


def user_123_does_not_exist(known: Known, _params: Params) -> None:
    """There is no user 123."""
    known.pop(123, None)


def a_user_exists(known: Known, params: Params) -> None:
    """There is a user with the `id` and `name` of the state's parameters.

    One state with parameters serves every consumer that needs some user: no "user 124 exists" beside it.

    Raises:
        HTTPException: 400; a parameter is missing or has the wrong type.
    """
    try:
        user = TypeAdapter(User).validate_python({**params, "created_on": CREATED_ON}, strict=True)
    except ValidationError as error:
        raise HTTPException(
            400, "The state 'a user exists' needs the parameters 'id' (integer) and 'name' (text)."
        ) from error
    known[user.id] = user


STATES: Mapping[str, Callable[[Known, Params], None]] = {
    "user 123 exists": user_123_exists,
    "user 123 doesn't exist": user_123_does_not_exist,
    "a user exists": a_user_exists,
    # The verifier sends the empty name for an interaction without a state: mocks without any user.
    "": lambda _known, _params: None,
}


def user_created() -> UserCreated:
    """Get the event by creating a user with the real code; only data access and transport are replaced."""
    sent: list[UserCreated] = []
    register_user(NewUser(name="Alice"), _mock_of_users({}), sent.append)
    return sent[0]


MESSAGES: Mapping[str, Callable[[], BaseModel]] = {"user created": user_created}


def pact_endpoints(app: FastAPI, user_repository: Callable[..., UserRepository]) -> APIRouter:
    """Make the endpoints that the verifier calls.

    Args:
        app: The application whose data access "setup" exchanges for mocks and "teardown" puts back.
        user_repository: The dependency that gives the data access.
    """
    router = APIRouter(prefix="/_pact", include_in_schema=False)
    known: Known = {}

    @router.post("/provider_states", status_code=204)
    def change_state(change: StateChange) -> None:
        if change.state not in STATES:
            raise HTTPException(
                400,
                f"This provider does not know the state {change.state!r}: add it to its pact_endpoints.py. "
                f"Known states: {', '.join(name for name in STATES if name)}.",
            )
        if change.action == "setup":
            # An interaction may need several states, sent one after the other: each adds to what is known.
            STATES[change.state](known, change.params)
            mock = _mock_of_users(known)
            app.dependency_overrides[user_repository] = lambda: mock
        else:
            known.clear()
            app.dependency_overrides.pop(user_repository, None)

    @router.post("/messages")
    def message(wanted: MessageRequest) -> Response:
        produce = MESSAGES.get(wanted.description)
        if produce is None:
            raise HTTPException(
                404,
                f"This provider does not send the message {wanted.description!r}: add it to its "
                f"pact_endpoints.py. Known messages: {', '.join(MESSAGES)}.",
            )
        # Metadata is what a queue would carry beside the contents. The verifier reads it from this header.
        metadata = base64.b64encode(json.dumps({"contentType": "application/json"}).encode()).decode()
        return Response(
            produce().model_dump_json(),
            media_type="application/json",
            headers={"Pact-Message-Metadata": metadata},
        )

    return router


def _mock_of_users(known: Known) -> UserRepository:
    # An autospec refuses calls that the protocol does not have, so the mock cannot drift from the real thing.
    users: UserRepository = create_autospec(UserRepository, instance=True, spec_set=True)
    users.get.side_effect = known.get  # type: ignore[attr-defined]
    users.add.side_effect = lambda new: User(  # type: ignore[attr-defined]
        id=max(known, default=0) + 1, name=new.name, created_on=CREATED_ON
    )
    users.delete.side_effect = lambda user_id: user_id in known  # type: ignore[attr-defined]
    return users
