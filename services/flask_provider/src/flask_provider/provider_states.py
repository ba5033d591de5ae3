"""Provider states: the data that an interaction of a pact needs before it can be verified.

A pact says: *given* "user 123 exists", a GET of /users/123 is answered with 200. The consumer only names
the state. What it means, the provider decides here. Before each interaction the verifier posts the state
with action "setup", after it with "teardown".

The state is set up by a mock in place of the data access, never by real rows: verification is about the
shape of answers, so routing, validation and serialization are the real code, while nothing has to be
seeded, cleaned or reached over a network, and the same state gives the same answer every time.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from unittest.mock import create_autospec

from flask import Blueprint, Flask, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from flask_provider.users import User, UserRepository

CREATED_ON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
"""Every user of a provider state was created then: a verification that used the clock could differ."""

Params = Mapping[str, object]
Known = dict[int, User]


def user_123_exists(known: Known, _params: Params) -> None:
    """There is a user 123."""
    known[123] = User(123, "Alice", CREATED_ON)


def user_123_does_not_exist(known: Known, _params: Params) -> None:
    """There is no user 123."""
    known.pop(123, None)


def a_user_exists(known: Known, params: Params) -> None:
    """There is a user with the `id` and `name` of the state's parameters.

    One state with parameters serves every consumer that needs some user: no "user 124 exists" beside it.

    Raises:
        BadRequest: A parameter is missing or has the wrong type.
    """
    user_id, name = params.get("id"), params.get("name")
    if not isinstance(user_id, int) or not isinstance(name, str):
        raise BadRequest("The state 'a user exists' needs the parameters 'id' (integer) and 'name' (text).")
    known[user_id] = User(user_id, name, CREATED_ON)


STATES: Mapping[str, Callable[[Known, Params], None]] = {
    "user 123 exists": user_123_exists,
    "user 123 doesn't exist": user_123_does_not_exist,
    "a user exists": a_user_exists,
    # The verifier sends the empty name for an interaction without a state: mocks without any user.
    "": lambda _known, _params: None,
}


def provider_states(app: Flask) -> Blueprint:
    """Make the endpoint through which the verifier sets up and tears down provider states.

    Args:
        app: Its data access is exchanged for mocks by "setup" and put back by "teardown".
    """
    blueprint = Blueprint("provider_states", __name__)
    real: UserRepository = app.extensions["users"]
    known: Known = {}

    @blueprint.post("/_pact/provider_states")
    def change_state() -> ResponseReturnValue:
        body = request.get_json(silent=True)
        if not isinstance(body, dict) or body.get("action") not in {"setup", "teardown"}:
            raise BadRequest('Send {"state": name, "params": {...}, "action": "setup" or "teardown"} as JSON.')
        state, params = body.get("state"), body.get("params") or {}
        if not isinstance(state, str) or state not in STATES or not isinstance(params, dict):
            raise BadRequest(
                f"This provider does not know the state {state!r}: add it to its provider_states.py. "
                f"Known states: {', '.join(name for name in STATES if name)}."
            )
        if body["action"] == "setup":
            # An interaction may need several states, sent one after the other: each adds to what is known.
            STATES[state](known, params)
            app.extensions["users"] = _mock_of_users(known)
        else:
            known.clear()
            app.extensions["users"] = real
        return "", 204

    return blueprint


def _mock_of_users(known: Known) -> UserRepository:
    # An autospec refuses calls that the protocol does not have, so the mock cannot drift from the real thing.
    users: UserRepository = create_autospec(UserRepository, instance=True, spec_set=True)
    users.get.side_effect = known.get  # type: ignore[attr-defined]
    users.add.side_effect = lambda name: User(max(known, default=0) + 1, name, CREATED_ON)  # type: ignore[attr-defined]
    users.delete.side_effect = lambda user_id: user_id in known  # type: ignore[attr-defined]
    return users
