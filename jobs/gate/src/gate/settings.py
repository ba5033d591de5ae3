"""The gate Job's settings, read from the environment once and checked before anybody is asked."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_TRUE = {"true", "1", "yes"}
_FALSE = {"false", "0", "no", ""}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class SettingsError(ValueError):
    """A setting is missing or unusable; the message is one sentence that says what to set."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the gate is asked.

    Attributes:
        namespace: Namespace of the PactBroker.
        broker: Name of the PactBroker object.
        pacticipant: Who is to be deployed, by its name in the broker.
        version: The version that is to be deployed.
        environment: Where to; empty: the PactBroker's own.
        verify: Whether the operator is to verify the version if nobody has.
    """

    namespace: str
    broker: str
    pacticipant: str
    version: str
    environment: str
    verify: bool

    def __str__(self) -> str:
        where = self.environment or f"the environment of PactBroker {self.namespace}/{self.broker}"
        return f"May {self.pacticipant} {self.version} go to {where}?"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the Job is told.

    Attributes:
        url: Base URL of the operator's Service.
        question: What it is asked.
        token_file: File with the gate's token; read at every question, since it may be rotated. None: `token` is used.
        token: The token itself, where no file is named.
        ca_file: Certificate authority for an `https` URL; None: the public ones.
        timeout: Seconds to wait for a final answer, all questions together.
        poll: Seconds between two questions.
    """

    url: str
    question: Question
    token_file: Path | None
    token: str
    ca_file: str | None
    timeout: float
    poll: float

    def secret(self) -> str:
        """The token.

        Raises:
            SettingsError: The file cannot be read, or is empty.
        """
        if self.token_file is None:
            return self.token
        try:
            token = self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"GATE_TOKEN_FILE names {self.token_file}, which cannot be read: {error}.") from None
        if not token:
            raise SettingsError(f"GATE_TOKEN_FILE names {self.token_file}, which is empty: put the gate's token there.")
        return token


def termination_path(env: Mapping[str, str]) -> str:
    """Where the termination message goes; known even when the settings are unusable."""
    return env.get("GATE_TERMINATION_PATH") or "/dev/termination-log"


def parse_settings(env: Mapping[str, str]) -> Settings:
    """Read and check all settings.

    Raises:
        SettingsError: One is missing or unusable.
    """
    question = Question(
        namespace=_object_name(env, "GATE_NAMESPACE"),
        broker=_object_name(env, "GATE_BROKER"),
        pacticipant=_required(env, "GATE_PACTICIPANT"),
        version=_required(env, "GATE_VERSION"),
        environment=env.get("GATE_ENVIRONMENT", "").strip(),
        verify=_flag(env, "GATE_VERIFY"),
    )
    file, token = env.get("GATE_TOKEN_FILE", "").strip(), env.get("GATE_TOKEN", "").strip()
    if bool(file) == bool(token):
        raise SettingsError("Set exactly one of GATE_TOKEN_FILE and GATE_TOKEN to the gate's token.")
    settings = Settings(
        url=_url(env),
        question=question,
        token_file=Path(file) if file else None,
        token=token,
        ca_file=_ca_file(env),
        timeout=_seconds(env, "GATE_TIMEOUT_SECONDS", 240.0),
        poll=_seconds(env, "GATE_POLL_SECONDS", 2.0),
    )
    settings.secret()
    return settings


def _required(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "").strip()
    if not value:
        raise SettingsError(f"{name} is not set.")
    return value


def _object_name(env: Mapping[str, str], name: str) -> str:
    value = _required(env, name)
    if not _NAME.fullmatch(value):
        raise SettingsError(f"{name} must be the name of an object in Kubernetes, not {value!r}.")
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


def _ca_file(env: Mapping[str, str]) -> str | None:
    path = env.get("GATE_CA_FILE", "").strip()
    if not path:
        return None
    if not Path(path).is_file():
        raise SettingsError(f"GATE_CA_FILE names {path}, which is no file.")
    return path


def _url(env: Mapping[str, str]) -> str:
    url = _required(env, "GATE_URL")
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        good = good and "@" not in parts.netloc and not parts.query and not parts.fragment
    except ValueError:
        good = False
    if not good:
        # Not repeated: it may hold a password.
        raise SettingsError(
            "GATE_URL must be the operator's address, like http://pact-operator.pact-system.svc:8080, without "
            "credentials and query."
        )
    return url.rstrip("/")
