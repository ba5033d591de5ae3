"""The users API."""

import os
from collections.abc import Mapping
from typing import cast

from flask import Blueprint, Flask, current_app, jsonify, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, HTTPException, NotFound, UnsupportedMediaType

from flask_provider.provider_states import provider_states
from flask_provider.users import InMemoryUserRepository, UserRepository

NAME_MAX = 100
"""Longest name of a user, in characters."""

api = Blueprint("api", __name__)


def create_app(environ: Mapping[str, str] = os.environ) -> Flask:
    """Make the application.

    Args:
        environ: `PACT_PROVIDER_STATES=enabled` adds the endpoint that sets up provider states. A deployed
            provider leaves it out: the endpoint lets its caller replace the data.
    """
    app = Flask(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask types the default provider too broadly
    app.extensions["users"] = InMemoryUserRepository()
    app.register_blueprint(api)
    app.register_error_handler(HTTPException, _error_as_json)
    if environ.get("PACT_PROVIDER_STATES") == "enabled":
        app.register_blueprint(provider_states(app))
    return app


@api.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Answer probes."""
    return {"status": "ok"}


@api.get("/users/<int:user_id>")
def get_user(user_id: int) -> ResponseReturnValue:
    """Serve one user."""
    user = _users().get(user_id)
    if user is None:
        raise _no_user(user_id)
    return user.to_json()


@api.post("/users")
def create_user() -> ResponseReturnValue:
    """Create a user from `{"name": ...}`."""
    user = _users().add(_name_in_body())
    return user.to_json(), 201, {"Location": url_for("api.get_user", user_id=user.id)}


@api.delete("/users/<int:user_id>")
def delete_user(user_id: int) -> ResponseReturnValue:
    """Delete one user."""
    if not _users().delete(user_id):
        raise _no_user(user_id)
    return "", 204


def _users() -> UserRepository:
    # Looked up for every request, never kept: this is where a provider state puts its mock.
    return cast("UserRepository", current_app.extensions["users"])


def _no_user(user_id: int) -> NotFound:
    return NotFound(f"There is no user {user_id}.")


def _name_in_body() -> str:
    if not request.is_json:
        raise UnsupportedMediaType("Send the user as JSON, with the header Content-Type: application/json.")
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise BadRequest('The body must be a JSON object such as {"name": "Alice"}.')
    name = body.get("name")
    if not isinstance(name, str) or not name.strip():
        raise BadRequest("The field 'name' is required and must be a text that is not blank.")
    if len(name.strip()) > NAME_MAX:
        raise BadRequest(f"The field 'name' must have at most {NAME_MAX} characters.")
    return name.strip()


def _error_as_json(error: HTTPException) -> ResponseReturnValue:
    # Clients of a JSON API cannot read the HTML page that is Flask's default. The headers stay: a 405
    # must say in Allow what would be allowed.
    headers = {name: value for name, value in error.get_headers() if name != "Content-Type"}
    return jsonify(error=error.description), error.code or 500, headers
