"""Pure functions on paths and links of the broker's API.

Names of pacticipants, versions, branches and tags may hold any character; in a path each is one segment,
percent-encoded in full (`feat/x` is `feat%2Fx`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from brokerclient.errors import InvalidRequest, ProtocolError

_PACT_VERSION = re.compile(
    r"/pacts/provider/(?P<provider>[^/]+)/consumer/(?P<consumer>[^/]+)/pact-version/(?P<sha>[^/]+)"
    r"(?:/metadata/(?P<metadata>[^/]+))?(?:/verification-results/(?P<number>[^/]+))?/?$"
)
_PACT = re.compile(r"/pacts/provider/(?P<provider>[^/]+)/consumer/(?P<consumer>[^/]+)/")


@dataclass(frozen=True, slots=True)
class PactLink:
    """The parts of a `.../pact-version/{sha}[/metadata/{m}][/verification-results/{n}]` link, decoded."""

    provider: str
    consumer: str
    content_sha: str


def segment(name: str) -> str:
    """Encode a name as one path segment.

    Raises:
        InvalidRequest: The name is empty, consists of dots that a path would swallow (`.`, `..`), or is no text that
            UTF-8 can carry (JSON may hold halves of characters).
    """
    if not name.strip():
        raise InvalidRequest("A name is empty: give the pacticipant, version, branch or environment a name.")
    if name in {".", ".."}:
        raise InvalidRequest(f"The name {name!r} cannot be used in a URL: choose another.")
    try:
        return quote(name, safe="")
    except UnicodeEncodeError:
        raise InvalidRequest(f"The name {name[:100]!a} cannot be used in a URL: choose another.") from None


def path(template: str, *names: str) -> str:
    """Fill names into a path, each as one segment: `path("/pacticipants/{}", name)`.

    Raises:
        InvalidRequest: A name cannot stand in a path; see `segment`.
    """
    return template.format(*map(segment, names))


def with_query(target: str, query: Iterable[tuple[str, str]]) -> str:
    """Append query parameters, order kept (the matrix reads them by position)."""
    encoded = urlencode(list(query), quote_via=quote)
    return f"{target}?{encoded}" if encoded else target


def local_target(href: str, prefix: str) -> str:
    """Reduce a link to path and query below the configured prefix.

    The host in a link is whatever the broker believes to be called; a client must not follow it elsewhere.

    Args:
        href: Absolute or relative link.
        prefix: Path prefix of the configured base URL, empty or `/like/this`.

    Raises:
        ProtocolError: The link is not a URL.
    """
    parts = _split(href)
    target = "/" + parts.path.lstrip("/")
    if prefix and (target == prefix or target.startswith(prefix + "/")):
        target = target[len(prefix) :] or "/"
    return f"{target}?{parts.query}" if parts.query else target


def _split(href: str) -> SplitResult:
    try:
        return urlsplit(href)
    except ValueError:
        raise ProtocolError(f"The broker sent a link that is not a URL: {href[:200]!r}.") from None


def _path_of(href: str) -> str:
    return _split(href).path


def parse_pact_link(href: str) -> PactLink:
    """Read provider, consumer and content SHA out of a pact-version link.

    Source: `_links.self.href` of for-verification entries and of verification results.

    Raises:
        ProtocolError: The link has another form.
    """
    match = _PACT_VERSION.search(_path_of(href))
    if match is None:
        raise ProtocolError(f"The broker sent a pact link of an unknown form: {href[:300]!r}.")
    return PactLink(unquote(match["provider"]), unquote(match["consumer"]), unquote(match["sha"]))


def provider_of(href: str) -> str | None:
    """Name of the provider in any `/pacts/provider/{p}/consumer/{c}/...` link, None if it is not one."""
    match = _PACT.search(_path_of(href))
    return None if match is None else unquote(match["provider"])
