"""One request: what the handlers see of it, and the transaction they run in."""

import json
import logging
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NoResultFound, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError
from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import compile_path

from broker_lite.config import Settings
from broker_lite.domain import content, nested_query
from broker_lite.http.errors import HAL, PROBLEM, ApiError, invalid, malformed
from broker_lite.store.engine import Store
from broker_lite.urls import Urls

logger = logging.getLogger("broker_lite.http")

_ATTEMPTS = 4
_RETRYABLE_STATES = {"40001", "40P01"}
JSON_TYPES = ("application/json",)
PATCH_TYPES = ("application/merge-patch+json",)


@dataclass
class Application:
    """What handlers share: configuration, database, the bell of the delivery worker, and the table of routes."""

    settings: Settings
    store: Store
    wake: Callable[[], None] = lambda: None
    routes: Sequence["Described"] = ()


@dataclass
class Call:
    """One request inside its transaction.

    Attributes:
        app: what handlers share.
        session: the transaction.
        urls: links from the base URL of this request.
        path: decoded path parameters.
        raw_path: the path as sent.
        query_string: the query as sent.
        body: the body as sent.
        accept: joined Accept headers.
        triggered: number of webhooks that this request queued so far.
        rehearsal: the request is only checked: nothing that it does is kept, and nothing may leave this server.
    """

    app: Application
    session: Session
    urls: Urls
    path: dict[str, str]
    raw_path: str
    query_string: str
    body: bytes
    accept: str
    content_type: str
    triggered: int = field(default=0)
    rehearsal: bool = field(default=False)

    @property
    def settings(self) -> Settings:
        """The configuration."""
        return self.app.settings

    @property
    def url(self) -> str:
        """This resource's URL, without the query."""
        return self.urls.base + self.raw_path.rstrip("/")

    @property
    def url_with_query(self) -> str:
        """This resource's URL, with the query."""
        return f"{self.url}?{self.query_string}" if self.query_string else self.url

    @cached_property
    def query(self) -> nested_query.Params:
        """The parsed query string."""
        try:
            return nested_query.parse(self.query_string)
        except nested_query.InvalidQueryError as error:
            raise malformed(str(error)) from None

    def text_query(self, name: str) -> str | None:
        """A query parameter that is one text; blank means absent."""
        value = self.query.get(name)
        return value if isinstance(value, str) and value else None

    def wants(self, media_type: str) -> bool:
        """Whether the client asks for a media type by name."""
        return media_type in self.accept

    @cached_property
    def document(self) -> Any:
        """The parsed JSON body.

        Raises:
            ApiError: 400 if it is not JSON.
        """
        try:
            text = self.body.decode("utf-8")
        except UnicodeDecodeError as error:
            before = self.body[max(0, error.start - 20) : error.start].decode("utf-8", "ignore")
            raise malformed(
                f"Request body has a non UTF-8 character at char {error.start + 1} and cannot be parsed as JSON. "
                f"Fragment preceding invalid character is: '{before}'"
            ) from None
        try:
            return content.parse_json(text)
        except content.InvalidContentError as error:
            raise malformed(f"The request body is not valid JSON: {error}") from None

    @property
    def properties(self) -> dict[str, Any]:
        """The JSON body as an object; an absent body is an empty object."""
        if not self.body.strip():
            return {}
        if not isinstance(self.document, dict):
            raise malformed("The request body must be a JSON object.")
        return self.document

    def page(self) -> tuple[int | None, int | None]:
        """Number (from 1) and size of the page asked for; both None without paging.

        Raises:
            ApiError: 400 if a value is not a positive whole number.
        """
        values: list[int | None] = []
        problems: dict[str, list[str]] = {}
        for names in (("pageNumber", "page"), ("pageSize", "size")):
            name = next((one for one in names if self.text_query(one)), None)
            if name is None:
                values.append(None)
                continue
            value = whole_number(self.text_query(name) or "")
            if value is None:
                problems[name] = ["must be an integer"]
            elif value < 1:
                problems[name] = ["must be greater than 0"]
            else:
                values.append(min(value, 2**31 - 1))
        if problems:
            raise invalid(problems)
        number, size = values
        if number is None and size is None:
            return None, None
        return number or 1, size or 100


Handler = Callable[[Call], Response]


@dataclass(frozen=True)
class Described:
    """A route: what it is asked with, and what it answers in.

    Attributes:
        method, path, handler: which route.
        consumes: media types of the body; an empty one: no body is needed; None: no body is read.
        produces: media types of the answer.
    """

    method: str
    path: str
    handler: Handler
    consumes: tuple[str, ...] | None
    produces: tuple[str, ...]


_WHOLE = re.compile(r"-?[0-9]{1,18}")


def whole_number(text: str) -> int | None:
    """The whole number that a text is; None if it is none, or absurdly large."""
    return int(text) if _WHOLE.fullmatch(text) else None


class _Segment(Convertor[str]):
    """One path segment as sent; the decoded name is what handlers see."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """Decode a segment."""
        return unquote(value)

    def to_string(self, value: str) -> str:
        """Not used: links are built elsewhere."""
        return value


register_url_convertor("segment", _Segment())


class JsonResponse(Response):
    """A JSON body, compact and not escaped."""

    def __init__(self, body: Any, status: int = 200, media_type: str = HAL, location: str | None = None) -> None:
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
        super().__init__(
            text.encode("utf-8", "replace"),
            status,
            headers={"location": location} if location else None,
            media_type=media_type,
        )


def hal(body: Any, status: int = 200, location: str | None = None) -> Response:
    """A HAL answer."""
    return JsonResponse(body, status, HAL, location)


def no_content() -> Response:
    """204."""
    return Response(status_code=204)


def text_response(text: str) -> Response:
    """A plain text answer."""
    return Response(text, media_type="text/plain;charset=utf-8")


class Routes:
    """Collects handlers; the shared parts (transaction, negotiation, errors) are put around each."""

    def __init__(self) -> None:
        self.router = APIRouter()
        self.table: list[tuple[re.Pattern[str], str]] = []
        self.described: list[Described] = []

    def get(self, *paths: str, produces: tuple[str, ...] = ("application/hal+json",)) -> Callable[[Handler], Handler]:
        """A route that reads."""
        return self._route("GET", paths, writes=False, consumes=None, produces=produces)

    def post(
        self,
        *paths: str,
        writes: bool = True,
        consumes: tuple[str, ...] | None = JSON_TYPES,
        produces: tuple[str, ...] = ("application/hal+json",),
    ) -> Callable[[Handler], Handler]:
        """A route that creates, or asks with a body."""
        return self._route("POST", paths, writes=writes, consumes=consumes, produces=produces)

    def put(self, *paths: str, consumes: tuple[str, ...] = JSON_TYPES) -> Callable[[Handler], Handler]:
        """A route that creates or replaces."""
        return self._route("PUT", paths, writes=True, consumes=consumes, produces=("application/hal+json",))

    def patch(self, *paths: str, consumes: tuple[str, ...] = PATCH_TYPES) -> Callable[[Handler], Handler]:
        """A route that changes some properties."""
        return self._route("PATCH", paths, writes=True, consumes=consumes, produces=("application/hal+json",))

    def delete(
        self, *paths: str, produces: tuple[str, ...] = ("application/hal+json",)
    ) -> Callable[[Handler], Handler]:
        """A route that removes."""
        return self._route("DELETE", paths, writes=True, consumes=None, produces=produces)

    def _route(
        self,
        method: str,
        paths: tuple[str, ...],
        *,
        writes: bool,
        consumes: tuple[str, ...] | None,
        produces: tuple[str, ...],
    ) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            endpoint = endpoint_of(handler, writes=writes, consumes=consumes, produces=produces)
            for path in paths:
                # Every parameter is one path segment, decoded only after the path was split.
                template = path.replace("}", ":segment}")
                self.table.append((compile_path(template)[0], method))
                self.described.append(Described(method, path, handler, consumes, produces))
                self.router.add_route(template, endpoint, methods=[method], name=handler.__name__)
            return handler

        return register


Refusal = Callable[[ApiError, str, str], Response]
"""Makes the answer that an error stands for, from the error, the Accept header and the base URL."""


def endpoint_of(
    handler: Handler,
    *,
    writes: bool,
    consumes: tuple[str, ...] | None,
    produces: tuple[str, ...],
    refusal: Refusal | None = None,
) -> Callable[[Request], Awaitable[Response]]:
    """A handler with what is around each: negotiation, the transaction, answers to errors."""

    async def endpoint(request: Request) -> Response:
        app: Application = request.app.state.application
        accept = ",".join(request.headers.getlist("accept"))
        urls = Urls(base_url(app.settings, request))
        try:
            acceptable = _acceptable(accept, produces)
            body = await request.body()
            content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if consumes is not None and content_type not in consumes:
                return Response(status_code=415 if acceptable else 406)

            def call_in(session: Session) -> Call:
                return Call(
                    app=app,
                    session=session,
                    urls=urls,
                    path=dict(request.path_params),
                    raw_path=request.scope["path"],
                    query_string=request.scope["query_string"].decode("latin-1"),
                    body=body,
                    accept=accept,
                    content_type=content_type,
                    rehearsal=not acceptable,
                )

            try:
                return await run_in_threadpool(_run, app, handler, call_in, writes)
            except _RehearsedError:
                return Response(status_code=406)
            except ApiError as error:
                # An invalid request is told so before it is told that no answer would be acceptable.
                if not acceptable and error.status in (404, 409):
                    return Response(status_code=406)
                raise
        except ApiError as error:
            return (refusal or error_response)(error, accept, urls.base)

    return endpoint


class _RehearsedError(Exception):
    """Raised to undo what a request did whose answer the client would not take."""


def _run(app: Application, handler: Handler, call_in: Callable[[Session], Call], writes: bool) -> Response:
    """Run a handler in a transaction; again if another transaction got in the way."""
    for attempt in range(_ATTEMPTS):
        try:
            with app.store.transaction(writes=writes) as session:
                call = call_in(session)
                response = handler(call)
                if call.rehearsal:
                    raise _RehearsedError
        except (DBAPIError, PoolTimeout) as error:
            if attempt + 1 < _ATTEMPTS and _worth_another_try(error):
                time.sleep(0.01 * 2**attempt)
                continue
            if isinstance(error, DataError):
                raise malformed("A name or text holds a character that cannot be stored, such as NUL.") from error
            if _unavailable(error):
                logger.warning("the database did not answer", exc_info=error)
                raise ApiError(503, {"error": "The database is not available. Please try again."}) from error
            raise
        except (LookupError, AttributeError, NoResultFound, ObjectDeletedError, StaleDataError) as error:
            # Another transaction may have deleted what this one had found. What is really wrong comes again, and is
            # then an error of the server.
            if not writes or attempt > 0:
                raise
            logger.info("a write found its ground gone and is tried again", exc_info=error)
            continue
        if call.triggered:
            app.wake()
        return response
    raise AssertionError("unreachable")


def _unavailable(error: DBAPIError | PoolTimeout) -> bool:
    """Whether the database is away or busy, as opposed to a statement that is wrong."""
    if isinstance(error, PoolTimeout):
        return True
    if isinstance(error.orig, sqlite3.OperationalError):
        return re.search(r"locked|busy|unable to open|readonly|disk", str(error.orig)) is not None
    return isinstance(error, OperationalError)


def _worth_another_try(error: DBAPIError | PoolTimeout) -> bool:
    if isinstance(error, IntegrityError):
        return True
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state in _RETRYABLE_STATES


def _acceptable(accept: str, produces: tuple[str, ...]) -> bool:
    if not accept.strip():
        return True
    offered = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return any(one in ("*/*", "application/*") or one in produces for one in offered)


def base_url(settings: Settings, request: Request) -> str:
    """The base of this request's links: the configured URL for its host, the first one, or what the headers say."""
    headers = request.headers
    host = headers.get("x-forwarded-host", headers.get("host", "")).partition(",")[0].strip()
    scheme = headers.get("x-forwarded-proto", request.url.scheme).partition(",")[0].strip()
    derived = f"{scheme}://{host}"
    if not settings.base_urls:
        return derived
    return next(
        (url for url in settings.base_urls if url == derived or url.startswith(derived + "/")), settings.base_urls[0]
    )


def error_response(error: ApiError, accept: str, base: str) -> Response:
    """The answer that an error stands for."""
    if error.body is None:
        return Response(status_code=error.status)
    if "application/problem+json" in accept and isinstance(error.body, dict):
        return JsonResponse(error.problem(base), error.status, PROBLEM)
    return JsonResponse(error.body, error.status, error.media_type)
