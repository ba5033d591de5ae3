"""The users API."""

import os
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from fastapi_provider.events import Publish, publish_to_log, register_user
from fastapi_provider.pact_endpoints import pact_endpoints
from fastapi_provider.users import InMemoryUserRepository, NewUser, User, UserRepository

api = APIRouter()


def user_repository(request: Request) -> UserRepository:
    """Give the data access: the dependency that provider states override."""
    users: UserRepository = request.app.state.users
    return users


def publisher() -> Publish:
    """Give what sends events."""
    return publish_to_log


def json_body(request: Request) -> None:
    """Refuse a body that does not say that it is JSON.

    Raises:
        HTTPException: 415.
    """
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "Send the user as JSON, with the header Content-Type: application/json.")


Users = Annotated[UserRepository, Depends(user_repository)]


def create_app(environ: Mapping[str, str] = os.environ) -> FastAPI:
    """Make the application.

    Args:
        environ: `PACT_PROVIDER_STATES=enabled` adds the endpoints for verification. A deployed provider
            leaves it out: they let their caller replace the data.
    """
    app = FastAPI(title="Users", version="0.1.0")
    app.state.users = InMemoryUserRepository()
    app.include_router(api)
    app.add_exception_handler(StarletteHTTPException, _error_as_json)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(Exception, _defect)
    if environ.get("PACT_PROVIDER_STATES") == "enabled":
        app.include_router(pact_endpoints(app, user_repository))
    return app


@api.get("/healthz")
def healthz() -> dict[str, str]:
    """Answer probes."""
    return {"status": "ok"}


# ":int" is part of the route: /users/alice is no user's address, so it is not found rather than invalid.
@api.get("/users/{user_id:int}")
def get_user(user_id: int, users: Users) -> User:
    """Serve one user."""
    user = users.get(user_id)
    if user is None:
        raise _no_user(user_id)
    return user


@api.post("/users", status_code=201, dependencies=[Depends(json_body)])
def create_user(
    new: NewUser, users: Users, publish: Annotated[Publish, Depends(publisher)], response: Response
) -> User:
    """Create a user from `{"name": ...}` and send the event that tells of it."""
    user = register_user(new, users, publish)
    response.headers["Location"] = f"/users/{user.id}"
    return user


@api.delete("/users/{user_id:int}", status_code=204)
def delete_user(user_id: int, users: Users) -> None:
    """Delete one user."""
    if not users.delete(user_id):
        raise _no_user(user_id)


def _no_user(user_id: int) -> HTTPException:
    return HTTPException(404, f"There is no user {user_id}.")


def _error_as_json(_request: Request, error: Exception) -> Response:
    # The errors of the API are {"error": sentence}, whoever raised them: a route or the framework.
    if not isinstance(error, StarletteHTTPException):
        raise error
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _bad_request(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:] if isinstance(part, str))
    where = f"The field '{field}'" if field else "The body"
    return JSONResponse({"error": f"{where} is not valid: {first['msg']}."}, 400)


def _defect(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "The server made a mistake; its log says which."}, 500)
