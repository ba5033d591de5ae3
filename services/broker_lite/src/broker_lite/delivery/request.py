"""One delivery of a webhook: rendering, the HTTP request, and its log."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from broker_lite import API_VERSION
from broker_lite.config import Settings
from broker_lite.domain import templates, webhook_rules

logger = logging.getLogger("broker_lite.delivery")
MAX_RESPONSE = 64 * 1024
"""Bytes of a response that are kept for the log."""
MAX_SECONDS = 30.0
"""How long a response is read; the status counts even if its body never ends."""


@dataclass(frozen=True)
class Definition:
    """What a webhook sends, with its template parameters. Secrets stay out of representations."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Attempt:
    """What happened on one attempt.

    Attributes:
        success: whether the receiver answered with a status that counts as success.
        logs: readable log, secrets hidden.
        request_headers, request_body, request_path: what was sent, secrets hidden.
        status, response_headers, response_body: the answer; status is None if there was none.
        error: why there was none.
    """

    success: bool
    logs: str
    request_headers: dict[str, str]
    request_body: str | None
    request_path: str
    status: int | None = None
    response_headers: dict[str, str] = field(default_factory=dict)
    response_body: str | None = None
    error: str | None = None


class _Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, text: str, level: str = "INFO") -> None:
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.lines.append(f"[{moment}] {level}: {text}")

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


def hidden_message(base_url: str) -> str:
    """What stands in place of a response that must not be shown."""
    return (
        "For security purposes, the response details are not logged. To enable response logging, configure the "
        f"webhook_host_whitelist property. See {base_url}/doc/webhooks#whitelist for more information."
    )


def build(definition: Definition, values: Mapping[str, str]) -> httpx.Request:
    """The rendered request."""
    headers = httpx.Headers({"accept": "*/*", "user-agent": f"Pact Broker v{API_VERSION}"})
    for name, value in definition.headers.items():
        headers[name] = templates.render(value, values).replace("\r", " ").replace("\n", " ")
    body = templates.render_body(definition.body, values)
    content: bytes | None = None
    if isinstance(body, str):
        content = body.encode()
    elif body is not None:
        content = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    if content is not None and "content-type" not in headers:
        headers["content-type"] = "application/x-www-form-urlencoded"
    url = templates.render_url(definition.url, values)
    request = httpx.Request(definition.method, url, headers=headers, content=content)
    if definition.username:
        secret = templates.render(definition.password or "", values)
        basic = httpx.BasicAuth(templates.render(definition.username, values), secret)
        request = next(basic.auth_flow(request))
    return request


def new_client(settings: Settings) -> httpx.Client:
    """The client for deliveries: 15 s to connect and to read, no redirects, proxies from the environment."""
    return httpx.Client(timeout=httpx.Timeout(15.0), follow_redirects=False, verify=settings.verify_tls)


def attempt(
    definition: Definition,
    values: Mapping[str, str],
    context: Mapping[str, Any],
    settings: Settings,
    client: httpx.Client,
    *,
    failure_text: str,
    success_text: str | None = None,
) -> Attempt:
    """Send once. Never raises: what goes wrong is part of the result."""
    log = _Log()
    base_url = str(context.get("base_url", ""))
    log.add(f"Webhook context {json.dumps(dict(context), separators=(',', ':'), ensure_ascii=False)}", "DEBUG")
    try:
        request = build(definition, values)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        log.add(f"Error executing webhook: the rendered request is not valid ({error})", "ERROR")
        log.add(failure_text)
        return Attempt(False, log.text, {}, None, "", error=f"The rendered request is not valid: {error}")
    shown_headers = _redacted(request.headers)
    body_text = request.content.decode("utf-8", "replace") if request.content else None
    path = request.url.raw_path.decode("ascii", "replace")
    log.add(f"HTTP/1.1 {request.method} {_without_userinfo(str(request.url))}")
    for name, value in shown_headers.items():
        log.add(f"{name}: {value}")
    if body_text is not None:
        log.add(body_text)
    sent = (shown_headers, body_text, path)
    shows = settings.allow_lists.shows_responses
    try:
        response = client.send(request, stream=True)
        try:
            text = _read(response)
        finally:
            response.close()
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
        reason = str(error) or type(error).__name__
        log.add(f"Error executing webhook. {reason if shows else hidden_message(base_url)}", "ERROR")
        log.add(failure_text)
        return Attempt(False, log.text, *sent, error=reason)
    if shows:
        log.add(f"{response.http_version} {response.status_code} {response.reason_phrase}")
        for name, value in response.headers.items():
            log.add(f"{name}: {value}")
        log.add(text)
    else:
        log.add(hidden_message(base_url))
    success = response.status_code in settings.webhook_success
    conclusion = success_text if success else failure_text
    if conclusion is not None:
        log.add(conclusion)
    return Attempt(success, log.text, *sent, response.status_code, dict(response.headers), text)


def _redacted(headers: httpx.Headers) -> dict[str, str]:
    """Headers for display, those that every request has at the end."""
    order = sorted(headers.items(), key=lambda one: _EVERY.index(one[0]) if one[0] in _EVERY else -1)
    return {name: webhook_rules.HIDDEN if webhook_rules.is_secret_header(name) else value for name, value in order}


_EVERY = ("host", "content-length")


def _without_userinfo(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _read(response: httpx.Response) -> str:
    kept = bytearray()
    deadline = time.monotonic() + MAX_SECONDS
    for chunk in response.iter_bytes():
        kept += chunk
        if len(kept) >= MAX_RESPONSE or time.monotonic() > deadline:
            break
    return bytes(kept[:MAX_RESPONSE]).decode("utf-8", "replace").replace("\x00", "")
