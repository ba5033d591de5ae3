"""The verifier's settings, read from the environment once and checked before anything is done."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from brokerclient import BrokerAccess, InvalidRequest, broker_access

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_TRUE = {"true", "1", "yes"}
_FALSE = {"false", "0", "no", ""}


class SettingsError(ValueError):
    """A setting is missing or unusable; the message is one sentence that says what to set."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the provider listens; `path` prefixes the paths of interactions (empty for none)."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        """`scheme://host:port`, an IPv6 host in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class OwedPact:
    """A pact to verify: one entry of `PV_PACTS`, or of the broker's answer to `PV_SELECTORS`."""

    consumer: str
    content_sha: str
    url: str
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the verifier is told.

    Attributes:
        pacts: The pacts to verify, or None: ask the broker with `selectors`.
        ready_timeout: Seconds to wait for the provider.
        request_timeout: Seconds the provider may take for one answer.
        readiness_path: Path to GET until the answer is below 400; empty: accepting a connection is enough.
    """

    broker: BrokerAccess
    provider: str
    provider_version: str
    provider_branch: str | None
    provider_url: Address
    readiness_path: str
    ready_timeout: float
    request_timeout: float
    states_path: str | None
    message_path: str | None
    pacts: tuple[OwedPact, ...] | None
    selectors: tuple[Mapping[str, Any], ...]
    include_pending: bool
    include_wip_since: str | None
    publish: bool


def termination_path(env: Mapping[str, str]) -> str:
    """Where the termination message goes; known even when the settings are unusable."""
    return env.get("PV_TERMINATION_PATH") or "/dev/termination-log"


def parse_settings(env: Mapping[str, str]) -> Settings:
    """Read and check all settings.

    Raises:
        SettingsError: One is missing or unusable. Values are repeated only where they cannot be secret.
    """
    try:
        broker = broker_access(env, ca_file=env.get("PV_CA_FILE"))
    except InvalidRequest as error:
        raise SettingsError(str(error)) from None
    pacts, selectors = _what_to_verify(env)
    wip_since = env.get("PV_INCLUDE_WIP_SINCE") or None
    if wip_since and not _DATE.match(wip_since):
        raise SettingsError(f"PV_INCLUDE_WIP_SINCE must be a date like 2026-01-31, not {wip_since!r}.")
    return Settings(
        broker=broker,
        provider=_required(env, "PV_PROVIDER"),
        provider_version=_required(env, "PV_PROVIDER_VERSION"),
        provider_branch=env.get("PV_PROVIDER_BRANCH") or None,
        provider_url=_address(_required(env, "PV_PROVIDER_URL")),
        readiness_path=_path(env, "PV_READINESS_PATH") or "",
        ready_timeout=_seconds(env, "PV_READY_TIMEOUT_SECONDS", 60.0),
        request_timeout=_seconds(env, "PV_REQUEST_TIMEOUT_SECONDS", 5.0),
        states_path=_path(env, "PV_STATES_PATH"),
        message_path=_path(env, "PV_MESSAGE_PATH"),
        pacts=pacts,
        selectors=selectors,
        include_pending=_flag(env, "PV_INCLUDE_PENDING"),
        include_wip_since=wip_since,
        publish=_flag(env, "PV_PUBLISH"),
    )


def _required(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "").strip()
    if not value:
        raise SettingsError(f"{name} is not set.")
    return value


def _flag(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "").strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise SettingsError(f"{name} must be true or false, not {value!r}.")


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 86_400:
        raise SettingsError(f"{name} must be a number of seconds above 0, not {text!r}.")
    return value


def _path(env: Mapping[str, str], name: str) -> str | None:
    text = env.get(name, "").strip()
    if not text:
        return None
    if "://" in text or any(char.isspace() for char in text):
        raise SettingsError(f"{name} must be a path like /_pact/provider_states, not {text!r}.")
    return text if text.startswith("/") else "/" + text


def _address(url: str) -> Address:
    parts = _split(url, "PV_PROVIDER_URL")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise SettingsError("PV_PROVIDER_URL must be like http://localhost:8080, without credentials and query.")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Address(parts.scheme, parts.hostname or "", port, unquote(parts.path).rstrip("/"))


def _split(url: str, name: str) -> Any:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(f"{name} must be an http(s) URL like http://localhost:8080.")
    return parts


def _what_to_verify(env: Mapping[str, str]) -> tuple[tuple[OwedPact, ...] | None, tuple[Mapping[str, Any], ...]]:
    pacts, selectors = env.get("PV_PACTS", "").strip(), env.get("PV_SELECTORS", "").strip()
    if pacts and selectors:
        raise SettingsError("Set PV_PACTS or PV_SELECTORS, not both.")
    if not pacts and not selectors:
        raise SettingsError("Set PV_PACTS (the pacts to verify) or PV_SELECTORS (to let the broker choose them).")
    if selectors:
        return None, tuple(_objects(selectors, "PV_SELECTORS"))
    # One result per content: the same (consumer, content) twice would only be verified twice.
    unique: dict[tuple[str, str], OwedPact] = {}
    for number, item in enumerate(_objects(pacts, "PV_PACTS")):
        pact = _owed(item, number)
        unique.setdefault((pact.consumer, pact.content_sha), pact)
    return tuple(unique.values()), ()


def _owed(item: Mapping[str, Any], number: int) -> OwedPact:
    values = [item.get(key) for key in ("consumer", "contentSha", "url")]
    pending = item.get("pending", False)
    if not all(isinstance(value, str) and value.strip() for value in values) or not isinstance(pending, bool):
        raise SettingsError(
            f'PV_PACTS[{number}] must be like {{"consumer": "c", "contentSha": "4f2a", "url": "http://broker/pacts/...",'
            ' "pending": false}.'
        )
    consumer, content_sha, url = map(str, values)
    return OwedPact(consumer, content_sha, url, pending)


def _objects(text: str, name: str) -> list[Mapping[str, Any]]:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" ({error})" if isinstance(error, json.JSONDecodeError) else ""
        raise SettingsError(f"{name} is not JSON{where}.") from None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise SettingsError(f"{name} must be a JSON array of objects.")
    return items
