"""What all pages share: who gets one, how templates are filled, and what a browser may do with the result.

A page is served where a client names HTML and no JSON in its Accept header, as browsers do; so clients of the API are
answered as if there were no pages. Pages only read, run no script and load nothing.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from fastapi import Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.routing import Match, Route
from starlette.types import Scope

from broker_lite import API_VERSION
from broker_lite.domain import nested_query, readable
from broker_lite.http.call import Call, Handler, endpoint_of
from broker_lite.http.errors import ApiError
from broker_lite.urls import Urls, encode

HTML = "text/html"
_STYLE = resources.files("broker_lite").joinpath("templates/style.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    # Names and pacts were written by anybody: nothing of them may run, load, frame or send anything.
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def wants_page(scope: Scope) -> bool:
    """Whether a request asks for HTML by name, and not for JSON (or CSV), as the reference broker tells them apart."""
    accept = b",".join(value for name, value in scope["headers"] if name == b"accept").lower()
    return HTML.encode() in accept and b"json" not in accept and b"csv" not in accept


class _Page(Route):
    """A route that matches only requests for a page."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Leave all other requests to the route of the API with the same path."""
        return super().matches(scope) if wants_page(scope) else (Match.NONE, {})


class Pages:
    """Collects the pages."""

    def __init__(self) -> None:
        self.routes: list[Route] = []
        self.described: list[tuple[str, str, Handler]] = []

    def get(self, *paths: str) -> Callable[[Handler], Handler]:
        """A page."""

        def register(handler: Handler) -> Handler:
            endpoint = endpoint_of(handler, writes=False, consumes=None, produces=(HTML,), refusal=_refusal)
            for path in paths:
                template = path.replace("}", ":segment}")
                self.described.append(("GET", path, handler))
                self.routes.append(_Page(template, endpoint, methods=["GET"], name=f"page {handler.__name__}"))
            return handler

        return register


def _shown(value: Any) -> Any:
    """Every value that a template puts out: nothing that is invisible in a text passes."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else readable.visible(value)


_templates = Environment(
    loader=PackageLoader("broker_lite"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _moment(value: datetime) -> Markup:
    utc = value.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        utc.isoformat(timespec="seconds"), utc.strftime("%Y-%m-%d %H:%M")
    )


def _web_address(text: str | None) -> str | None:
    """A text that may stand in a link: an address of the web, nothing that a browser would run."""
    if text is None:
        return None
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        return None
    return text.strip() if parts.scheme in ("http", "https") and parts.netloc else None


_templates.filters["moment"] = _moment
_templates.filters["web_address"] = _web_address
_templates.filters["how"] = lambda one, word: (word, one)
_templates.filters["cut"] = readable.cut
_templates.globals["broker_version"] = API_VERSION
_templates.globals["style"] = Markup(_STYLE)  # noqa: S704 - a file of this package


class Links(Urls):
    """Links between pages: paths without a host, so that they hold wherever the browser found the server."""

    @classmethod
    def of(cls, base: str) -> "Links":
        """Links below a base URL."""
        return cls(urlsplit(base).path)

    @property
    def index(self) -> str:
        """The first page."""
        return f"{self.base}/"

    def versions(self, pacticipant: str) -> str:
        """The versions of a pacticipant."""
        return f"{self.pacticipant(pacticipant)}/versions"

    def matrix_of_pair(self, consumer: str, provider: str) -> str:
        """The matrix of two."""
        return f"{self.base}/matrix/provider/{encode(provider)}/consumer/{encode(consumer)}"

    def can_i_deploy(self, pacticipant: str, number: str, environment: str) -> str:
        """Whether a version may go to an environment."""
        pairs = [("pacticipant", pacticipant), ("version", number), ("environment", environment)]
        return f"{self.base}/can-i-deploy?{nested_query.build(pairs)}"


def render(call: Call, template: str, **values: Any) -> Response:
    """A page."""
    return _page(Links.of(call.urls.base), template, 200, values)


def _page(links: Links, template: str, status: int, values: dict[str, Any]) -> Response:
    text = _templates.get_template(template).render(links=links, **values)
    return Response(text.encode("utf-8", "replace"), status, dict(_HEADERS), f"{HTML};charset=utf-8")


def _refusal(error: ApiError, _accept: str, base: str) -> Response:
    headings = {404: "Not found", 400: "This question cannot be answered", 503: "Not available now"}
    return _page(
        Links.of(base),
        "error.html",
        error.status,
        {"heading": headings.get(error.status, "Error"), "sentences": _sentences(error.body)},
    )


def _sentences(body: Any) -> Sequence[str]:
    if not isinstance(body, dict):
        return []
    if isinstance(body.get("error"), str):
        return [body["error"]]
    errors = body.get("errors")
    if isinstance(errors, dict):
        return [f"{field} {text}".strip() for field, texts in errors.items() for text in texts]
    return [str(text) for text in errors or []]


def page_number(call: Call) -> int:
    """The page asked for, from 1; anything that is no such number is the first."""
    text = call.text_query("page") or call.text_query("pageNumber") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 and int(text) > 0 else 1
