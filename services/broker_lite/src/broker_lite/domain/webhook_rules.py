"""What a webhook definition must be like, and where webhooks may go."""

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from broker_lite.domain import templates

CONTRACT_PUBLISHED = "contract_published"
CONTENT_CHANGED = "contract_content_changed"
REQUIRES_VERIFICATION = "contract_requiring_verification_published"
VERIFICATION_PUBLISHED = "provider_verification_published"
VERIFICATION_SUCCEEDED = "provider_verification_succeeded"
VERIFICATION_FAILED = "provider_verification_failed"
EVENTS = (
    CONTRACT_PUBLISHED,
    CONTENT_CHANGED,
    VERIFICATION_PUBLISHED,
    VERIFICATION_SUCCEEDED,
    VERIFICATION_FAILED,
    REQUIRES_VERIFICATION,
)
UUID_PATTERN = re.compile(r"[A-Za-z0-9_\-]{16,}")
HIDDEN = "**********"
"""What is shown instead of a secret; sent back, it means: keep the stored value."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"})
_SECRET_HEADER = re.compile(r"authorization|token", re.IGNORECASE)
_SEE = " See /doc/webhooks#whitelist for more information."
Errors = dict[str, list[str]]


@dataclass(frozen=True)
class AllowLists:
    """Where webhooks may go.

    Attributes:
        hosts: names, addresses, CIDR ranges, ``*.wild.card`` or ``/regular expressions/``; empty: anywhere.
        schemes: URL schemes.
        methods: HTTP methods.
    """

    hosts: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ("https",)
    methods: tuple[str, ...] = ("POST",)

    @property
    def shows_responses(self) -> bool:
        """Response details are shown only where the hosts are known."""
        return bool(self.hosts)


def host_allowed(host: str, allowed: Sequence[str]) -> bool:
    """Whether a host is in the list; an address matches addresses and ranges, a name the rest."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return any(_name_matches(host, one) for one in allowed)
    return any(_address_matches(address, one) for one in allowed)


def _address_matches(address: ipaddress.IPv4Address | ipaddress.IPv6Address, allowed: str) -> bool:
    try:
        return address in ipaddress.ip_network(allowed, strict=False)
    except ValueError:
        return False


def _name_matches(host: str, allowed: str) -> bool:
    if len(allowed) > 1 and allowed.startswith("/") and allowed.endswith("/"):
        return re.search(allowed[1:-1], host) is not None
    if allowed.startswith("*."):
        label, _, rest = host.partition(".")
        return bool(label) and rest.lower() == allowed[2:].lower()
    return host == allowed


def is_secret_header(name: str) -> bool:
    """Whether a header's value is never shown."""
    return _SECRET_HEADER.search(name) is not None


def redacted_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers for display: values of secret headers are hidden unless they hold a template parameter."""
    return {
        name: HIDDEN if is_secret_header(name) and not templates.has_parameter(value) else value
        for name, value in headers.items()
    }


def problems(definition: Any, pacticipants: Collection[str], allowed: AllowLists, uuid: str | None = None) -> Errors:
    """What is wrong with a webhook as sent, by dotted field name; empty if nothing is.

    Args:
        definition: the parsed body.
        pacticipants: names that exist, among those the definition mentions.
        allowed: where webhooks may go.
        uuid: the uuid from the path, if any.
    """
    if not isinstance(definition, dict):
        return {"request": ["is missing"]}
    errors: Errors = {}
    for role in ("consumer", "provider"):
        errors.update(_pacticipant_problems(role, definition.get(role), pacticipants))
    errors.update(_request_problems(definition, allowed))
    errors.update(_event_problems(definition.get("events")))
    if "enabled" in definition and not isinstance(definition["enabled"], bool):
        errors["enabled"] = ["must be boolean"]
    description = definition.get("description")
    if description is not None and not isinstance(description, str):
        errors["description"] = ["must be a string"]
    if uuid is not None and not UUID_PATTERN.fullmatch(uuid):
        errors["uuid"] = [
            "The UUID can only contain the characters A-Z, a-z, 0-9, _ and -, and must be 16 or more characters."
        ]
    return errors


def mentioned_pacticipants(definition: Any) -> set[str]:
    """Names of pacticipants that a definition mentions."""
    if not isinstance(definition, dict):
        return set()
    scopes = (definition.get(role) for role in ("consumer", "provider"))
    return {scope["name"] for scope in scopes if isinstance(scope, dict) and isinstance(scope.get("name"), str)}


def _pacticipant_problems(role: str, scope: Any, pacticipants: Collection[str]) -> Errors:
    if scope is None:
        return {}
    if not isinstance(scope, dict):
        return {role: ["must be a hash"]}
    name, label = scope.get("name"), scope.get("label")
    if name is not None and label is not None:
        return {f"{role}.label": ["name and label cannot be provided at the same time"]}
    for key, value in (("name", name), ("label", label)):
        if value is not None and (not isinstance(value, str) or not value.strip()):
            return {f"{role}.{key}": ["must be filled"]}
    if name is None and label is None:
        return {f"{role}.name": ["is missing"]}
    if name is not None and name not in pacticipants:
        return {f"{role}.name": ["does not match an existing pacticipant"]}
    return {}


def _event_problems(events: Any) -> Errors:
    if events is None:
        return {}
    if not isinstance(events, list):
        return {"events": ["must be an array"]}
    if not events:
        return {"events": ["size cannot be less than 1"]}
    found = []
    for index, event in enumerate(events):
        name = event.get("name") if isinstance(event, dict) else None
        if name is None:
            found.append(f"name is missing (at index {index})")
        elif name not in EVENTS:
            found.append(f"name must be one of: {', '.join(EVENTS)} (at index {index})")
    return {"events": found} if found else {}


def _request_problems(definition: dict[str, Any], allowed: AllowLists) -> Errors:
    request = definition.get("request")
    if "request" not in definition:
        return {"request": ["is missing"]}
    if not isinstance(request, dict) or not request:
        return {"request": ["must be filled"]}
    errors: Errors = {}
    method_problem = _method_problem(request, allowed)
    if method_problem:
        errors["request.method"] = [method_problem]
    url_problem = _url_problem(request, allowed)
    if url_problem:
        errors["request.url"] = [url_problem]
    headers = request.get("headers")
    if headers is not None and not (
        isinstance(headers, dict) and all(isinstance(value, str) for value in headers.values())
    ):
        errors["request.headers"] = ["must be a hash of strings"]
    for key in ("username", "password"):
        if request.get(key) is not None and not isinstance(request[key], str):
            errors[f"request.{key}"] = ["must be a string"]
    return errors


def _method_problem(request: dict[str, Any], allowed: AllowLists) -> str | None:
    if "method" not in request:
        return "is missing"
    method = request["method"]
    if not isinstance(method, str) or not method:
        return "must be filled"
    if method.upper() not in _METHODS:
        return "is not a recognised HTTP method"
    if method.upper() not in allowed.methods:
        return f"must be {', '.join(allowed.methods)}.{_SEE}"
    return None


_INVALID_URL = "is not a valid URL eg. http://example.org"


def _url_problem(request: dict[str, Any], allowed: AllowLists) -> str | None:
    if "url" not in request:
        return "is missing"
    url = request["url"]
    if not isinstance(url, str) or not url:
        return "must be filled"
    try:
        host_part = re.match(r"[^:/?#]+://([^/?#]*)", url)
        parts = urlsplit(templates.placeholder_url(url))
        host, _ = parts.hostname, parts.port
    except ValueError:
        return _INVALID_URL
    if not parts.scheme or not host or re.search(r"\s", url):
        return _INVALID_URL
    if parts.scheme.lower() not in allowed.schemes:
        return f"scheme must be {', '.join(allowed.schemes)}.{_SEE}"
    if host_part is not None and templates.has_parameter(host_part[1]):
        return "cannot have a template parameter in the host"
    if allowed.hosts and not host_allowed(host, allowed.hosts):
        listed = ", ".join(f'"{one}"' for one in allowed.hosts)
        return f"host must be in the whitelist {listed}.{_SEE}"
    return None
