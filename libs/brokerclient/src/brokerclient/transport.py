"""HTTP as we want it towards a broker: bounded in time and size, never to another host, one family of errors."""

import json
import os
import re
import time
from base64 import b64encode
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any, NoReturn
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError as Urllib3Error
from urllib3.exceptions import NewConnectionError
from urllib3.exceptions import TimeoutError as Urllib3Timeout
from urllib3.util.retry import Retry

from brokerclient import parse
from brokerclient.errors import (
    BrokerError,
    BrokerUnauthorized,
    BrokerUnavailable,
    Conflict,
    InvalidRequest,
    NotFound,
    ProtocolError,
)
from brokerclient.links import local_target
from brokerclient.models import BasicAuth, BearerAuth
from brokerclient.text import clean, clean_block

ACCEPT = "application/hal+json, application/json"
MAX_BODY_BYTES = 64 * 1024 * 1024
_CHUNK = 64 * 1024
_CONNECT_SECONDS = 5.0
_MAX_REDIRECTS = 3
_CONFLICT = 20_000
_SAID = 600  # characters of the broker's own words that go into a one-sentence message

_ERRNO = re.compile(r"\[Errno -?\d+\] ")

Auth = BasicAuth | BearerAuth | None


class _QuickRetry(Retry):
    """Two quick further tries for a connection that was refused or reset, none for one that timed out.

    urllib3 retries a refused connection for any method (nothing was sent), a broken read only for GET.
    """

    def increment(  # type: ignore[no-untyped-def]  # the parameters are urllib3's own and passed through
        self, method=None, url=None, response=None, error=None, _pool=None, _stacktrace=None
    ):
        # urllib3 2 counts a refused connection among the timeouts, for old times' sake.
        if isinstance(error, Urllib3Timeout) and not isinstance(error, NewConnectionError):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)


class Transport:
    """Sends requests to one broker and returns decoded JSON.

    Safe to share between threads as far as `requests.Session` is: no cookies are kept and nothing else changes
    after construction.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: Auth,
        ca_file: str | None,
        timeout: float,
        user_agent: str,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self.base_url, self.prefix = checked_base_url(base_url)
        self._origin = self.base_url[: len(self.base_url) - len(self.prefix)]
        self._auth = auth
        self._verify: str | bool = (
            ca_file or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        )
        self._timeout = (min(timeout, _CONNECT_SECONDS), timeout)
        self._total = 6 * timeout
        self._max_body_bytes = max_body_bytes
        self._session = requests.Session()
        self._session.headers.update({"Accept": ACCEPT, "User-Agent": user_agent})
        # Proxies and CA bundle of the environment count, but are looked up once: per request that is a sixth of it.
        self._session.trust_env = False
        self._session.proxies = requests.utils.get_environ_proxies(self.base_url)
        # A function as auth also keeps requests from reading ~/.netrc on our behalf.
        self._session.auth = self._authorize
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        retry = _QuickRetry(
            total=2,
            connect=2,
            read=1,
            status=0,
            redirect=0,
            other=0,
            backoff_factor=0.1,
            allowed_methods={"GET"},
            respect_retry_after_header=False,  # how long to wait is the caller's decision: BrokerUnavailable says it
        )
        adapter = HTTPAdapter(max_retries=retry, pool_maxsize=16)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def close(self) -> None:
        """Close pooled connections."""
        self._session.close()

    def __enter__(self) -> "Transport":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def absolute(self, href: str) -> str:
        """Move a link of the broker to the configured base URL (host and prefix)."""
        return self.base_url + local_target(href, self.prefix)

    def target(self, url: str) -> str:
        """Path and query of a link, below the configured base URL."""
        return local_target(url, self.prefix)

    def send(
        self,
        method: str,
        target: str,
        *,
        body: Any = None,
        content_type: str = "application/json",
        expect_body: bool = True,
    ) -> Mapping[str, Any]:
        """Send one request.

        Args:
            method: HTTP method.
            target: Path and query below the base URL, encoded.
            body: Anything JSON can hold; None sends no body.
            content_type: Of the body.
            expect_body: False for answers without a JSON body (204): returns `{}`.

        Raises:
            BrokerError: One of its subclasses; see `brokerclient.errors`.
        """
        try:
            data = None if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, TypeError, RecursionError):
            raise InvalidRequest(
                f"What was to be sent with {method} {_short(target)} cannot be written as JSON.",
                method=method,
                path=target,
            ) from None
        headers = {} if data is None else {"Content-Type": content_type}
        try:
            response, content = self._exchange(method, target, data, headers)
        except BrokerError:
            raise
        except (requests.RequestException, Urllib3Error, UnicodeError, ValueError, OSError) as error:
            self._fail_without_answer(error, method, target)
        decoded = _decode(content)
        if not 200 <= response.status_code < 300:
            self._fail(response, decoded, method, target)
        if isinstance(decoded, Mapping):
            return decoded
        if not expect_body:
            return {}
        raise ProtocolError(
            f"{self.base_url} answered {method} {_short(target)} with something that is not a JSON object"
            " as a Pact Broker sends: check the broker's URL.",
            status=response.status_code,
            method=method,
            path=target,
        )

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if isinstance(self._auth, BasicAuth):
            try:
                pair = f"{self._auth.username}:{self._auth.password}".encode()
            except UnicodeError:
                raise BrokerUnauthorized("The user name or password is no text that UTF-8 can carry.") from None
            request.headers["Authorization"] = f"Basic {b64encode(pair).decode()}"
        elif isinstance(self._auth, BearerAuth):
            # What cannot be sent must not get as far as http.client: its error repeats the whole header.
            if not (self._auth.token.isascii() and self._auth.token.isprintable()):
                raise BrokerUnauthorized(
                    "The bearer token holds a line break or another character that HTTP cannot carry:"
                    " give the token alone."
                )
            request.headers["Authorization"] = f"Bearer {self._auth.token}"
        return request

    def _exchange(
        self, method: str, target: str, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[requests.Response, bytes]:
        deadline = time.monotonic() + self._total
        url = self.base_url + target
        for _ in range(_MAX_REDIRECTS + 1):
            with self._session.request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
                verify=self._verify,
            ) as response:
                location = response.headers.get("Location", "")
                if not (300 <= response.status_code < 400 and location):
                    return response, self._read(response, deadline, method, target)
                url = self._redirected(urljoin(url, location), response.status_code, method, target)
        raise ProtocolError(
            f"{self.base_url} keeps redirecting {method} {_short(target)}: check the broker's URL.",
            method=method,
            path=target,
        )

    def _redirected(self, location: str, status: int, method: str, target: str) -> str:
        parts = urlsplit(location)
        origin = f"{parts.scheme}://{parts.netloc}"
        if method == "GET" and origin.lower() == self._origin.lower():
            return location
        raise ProtocolError(
            f"{self.base_url} redirects {method} {_short(target)} to {origin}{parts.path[:200]}:"
            " configure that as the broker's URL if it is the broker.",
            status=status,
            method=method,
            path=target,
        )

    def _read(self, response: requests.Response, deadline: float, method: str, target: str) -> bytes:
        # read1 returns what has arrived, so that a body which trickles in cannot outlast the deadline.
        chunks: list[bytes] = []
        size = 0
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            chunks.append(chunk)
            size += len(chunk)
            if size > self._max_body_bytes:
                raise ProtocolError(
                    f"The answer to {method} {_short(target)} is larger than {self._max_body_bytes} bytes:"
                    " ask the broker for less.",
                    status=response.status_code,
                    method=method,
                    path=target,
                )
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"The broker at {self.base_url} took more than {self._total:g} seconds to answer"
                    f" {method} {_short(target)}.",
                    method=method,
                    path=target,
                )
        return b"".join(chunks)

    def _fail_without_answer(self, error: Exception, method: str, target: str) -> NoReturn:
        where: dict[str, Any] = {"method": method, "path": target}
        if isinstance(error, requests.exceptions.SSLError):
            raise BrokerUnavailable(
                f"The TLS certificate of {self.base_url} is not accepted ({_innermost(error)}):"
                " give the CA that signed it, or the host name that it was made for.",
                **where,
            ) from None
        if isinstance(error, (requests.Timeout, Urllib3Timeout)):
            raise BrokerUnavailable(
                f"The broker at {self.base_url} did not answer {method} {_short(target)} in time"
                f" ({self._timeout[1]:g} s).",
                **where,
            ) from None
        if isinstance(error, ValueError) and not isinstance(error, OSError):
            # Its words may repeat what was to be sent, credentials included.
            raise InvalidRequest(
                f"{method} {_short(target)} holds something that HTTP cannot carry.", **where
            ) from None
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
            # requests raises a bare OSError for a CA file that is not there.
            raise BrokerUnavailable(f"The CA file {self._verify} cannot be used: {error}.", **where) from None
        raise BrokerUnavailable(
            f"The broker at {self.base_url} cannot be reached: {_innermost(error)}.", **where
        ) from None

    def _fail(self, response: requests.Response, decoded: Any, method: str, target: str) -> NoReturn:
        status = response.status_code
        said = parse.complaints(decoded)
        words = clean("; ".join(said), _SAID)
        request = f"{method} {_short(target)}"
        where: dict[str, Any] = {"method": method, "path": target}
        if status in {401, 403} or (status == 400 and isinstance(self._auth, BearerAuth) and decoded is None):
            raise BrokerUnauthorized(self._unauthorized(status, request), status=status, **where)
        if status == 404 and isinstance(decoded, Mapping):
            detail = f" ({words})" if words else ""
            raise NotFound(f"The broker knows nothing at {_short(target)}{detail}.", status=status, **where)
        if status == 409:
            text = "\n".join(n.text for n in parse.notices(decoded or {})) or "\n".join(said) or "conflict"
            text = clean_block(text, _CONFLICT)
            summary = words or clean(text, _SAID) or "conflict"
            raise Conflict(f"The broker refuses {request}: {summary}", text=text, **where)
        if status in {400, 422}:
            raise InvalidRequest(
                f"The broker does not accept {request}: {words or f'status {status}'}",
                errors=said,
                status=status,
                **where,
            )
        if status in {408, 429} or status >= 500:
            raise BrokerUnavailable(
                f"The broker at {self.base_url} answered {request} with status {status}"
                + (f": {words}" if words else "."),
                retry_after=_seconds(response.headers.get("Retry-After")),
                status=status,
                **where,
            )
        # A broker explains its 404 in JSON; a bare one is a wrong URL, and must not be taken for "nothing there".
        raise ProtocolError(
            f"{self.base_url} answered {request} with status {status} as a Pact Broker does not:"
            " check the broker's URL.",
            status=status,
            **where,
        )

    def _unauthorized(self, status: int, request: str) -> str:
        if self._auth is None:
            return f"The broker at {self.base_url} wants credentials for {request}: none are configured."
        if isinstance(self._auth, BearerAuth):
            return (
                f"The broker at {self.base_url} does not accept the bearer token for {request} (status {status});"
                " the open-source broker takes a user name and password instead."
            )
        return (
            f"The broker at {self.base_url} does not accept the user name and password for {request}"
            f" (status {status}): they are wrong, or may only read."
        )


def checked_base_url(base_url: str) -> tuple[str, str]:
    """Check a broker's base URL.

    Returns:
        The URL without a trailing slash, and its path prefix (empty for none).

    Raises:
        InvalidRequest: It is not an http(s) URL, or holds credentials, a query or a fragment.
    """
    hint = "give it like https://broker.example.com or http://pact-broker:9292/prefix"
    try:
        parts = urlsplit(base_url.strip())
        valid = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        raise InvalidRequest(f"The broker's URL is not a URL: {hint}.") from None
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest("The broker's URL holds credentials: give them apart from the URL.")
    if not valid:
        raise InvalidRequest(f"The broker's URL {base_url!r} is not an http(s) URL: {hint}.")
    if parts.query or parts.fragment:
        raise InvalidRequest(f"The broker's URL {base_url!r} must not have a query or fragment: {hint}.")
    prefix = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{prefix}", prefix


def _decode(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _innermost(error: BaseException) -> str:
    """The operating system's or TLS library's own words, without the wrappers' object addresses."""
    seen: BaseException = error
    for _ in range(10):
        inner = getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in seen.args if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        seen = inner
    text = str(seen)
    if isinstance(seen, NewConnectionError):
        # "HTTPConnection(...): Failed to establish a new connection: [Errno 111] Connection refused"
        text = text.rsplit(": ", 1)[-1]
    return clean(_ERRNO.sub("", text), 300).lower() or type(seen).__name__


def _seconds(value: str | None) -> float | None:
    try:
        return None if value is None else max(0.0, float(value))
    except ValueError:
        return None


def _short(target: str) -> str:
    return target if len(target) <= 200 else target[:200] + "..."
