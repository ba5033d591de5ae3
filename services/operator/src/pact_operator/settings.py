"""What the operator is started with: environment variables, checked before anything runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

PREFIX: Final = "PACT_OPERATOR_"
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
_FORMATS: Final = ("plain", "json")


class SettingsError(Exception):
    """A setting that cannot be used; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """The operator's settings.

    Attributes:
        watch_namespaces: where to look for objects; empty means everywhere.
        hook_url: base URL of the hook receiver as brokers reach it; empty means no webhooks.
        hook_token_file: file with the token that brokers send; None if there is none.
        gate_token_file: file with the token of those who ask the gate; None: nobody can ask it by HTTP.
        admission_certificate_dir: folder with `tls.crt` and `tls.key` of the admission webhook; None: there is none.
        admission_port: of the admission webhook.
        verifier_image: image of the verifier Job.
        publisher_image: image of the publisher.
        image_pull_policy: of both.
        log_level: `DEBUG`, `INFO`, `WARNING` or `ERROR`.
        log_format: `plain` or `json`.
        http_port: of the hook receiver and the metrics.
        health_port: of the liveness endpoint.
        http_host: address that both listen on.
    """

    verifier_image: str
    publisher_image: str
    watch_namespaces: tuple[str, ...] = ()
    hook_url: str = ""
    hook_token_file: Path | None = None
    gate_token_file: Path | None = None
    admission_certificate_dir: Path | None = None
    admission_port: int = 8443
    image_pull_policy: str = "IfNotPresent"
    log_level: str = "INFO"
    log_format: str = "plain"
    http_port: int = 8080
    health_port: int = 8081
    http_host: str = "0.0.0.0"  # noqa: S104  (a Pod is reached at all of its addresses)

    @classmethod
    def load(cls, env: Mapping[str, str]) -> Self:
        """Reads the settings.

        Args:
            env: environment variables; `PACT_OPERATOR_*` of them count.

        Raises:
            SettingsError: one is missing or bad.
        """
        hook_url = _url(env, "HOOK_URL")
        token_file = _file(env, "HOOK_TOKEN_FILE", "hooks carry")
        if hook_url and token_file is None:
            raise SettingsError(
                f"{PREFIX}HOOK_TOKEN_FILE is missing: name a file with the token that hooks carry, "
                f"or leave {PREFIX}HOOK_URL empty."
            )
        return cls(
            verifier_image=_required(env, "VERIFIER_IMAGE"),
            publisher_image=_required(env, "PUBLISHER_IMAGE"),
            watch_namespaces=_namespaces(env),
            hook_url=hook_url,
            hook_token_file=token_file,
            gate_token_file=_file(env, "GATE_TOKEN_FILE", "whoever asks the gate sends"),
            admission_certificate_dir=_certificate_dir(env, "ADMISSION_CERTIFICATE_DIR"),
            admission_port=_port(env, "ADMISSION_PORT", 8443),
            image_pull_policy=_one_of(env, "IMAGE_PULL_POLICY", _PULL_POLICIES, "IfNotPresent"),
            log_level=_one_of(env, "LOG_LEVEL", _LEVELS, "INFO"),
            log_format=_one_of(env, "LOG_FORMAT", _FORMATS, "plain"),
            http_port=_port(env, "HTTP_PORT", 8080),
            health_port=_port(env, "HEALTH_PORT", 8081),
        )


def _text(env: Mapping[str, str], name: str) -> str:
    return env.get(PREFIX + name, "").strip()


def _required(env: Mapping[str, str], name: str) -> str:
    if value := _text(env, name):
        return value
    raise SettingsError(f"{PREFIX}{name} is missing: set it to the image that Jobs use.")


def _namespaces(env: Mapping[str, str]) -> tuple[str, ...]:
    found = [part.strip() for part in _text(env, "WATCH_NAMESPACES").split(",") if part.strip()]
    for name in found:
        if not _NAMESPACE.fullmatch(name):
            raise SettingsError(
                f"{PREFIX}WATCH_NAMESPACES has {name!r}, which is no name of a namespace: "
                "separate names by commas, or leave it empty to watch all."
            )
    return tuple(dict.fromkeys(found))


def _url(env: Mapping[str, str], name: str) -> str:
    value = _text(env, name)
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        good = False
    if not good:
        raise SettingsError(f"{PREFIX}{name} is {value!r}: give a URL such as http://pact-operator.pact-system.svc.")
    return value.rstrip("/")


def _file(env: Mapping[str, str], name: str, who: str) -> Path | None:
    value = _text(env, name)
    if not value:
        return None
    path = Path(value)
    try:
        content = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{PREFIX}{name} names {value}, which cannot be read: {error}.") from None
    if not content:
        raise SettingsError(f"{PREFIX}{name} names {value}, which is empty: put the token that {who} into it.")
    return path


def _certificate_dir(env: Mapping[str, str], name: str) -> Path | None:
    value = _text(env, name)
    if not value:
        return None
    folder = Path(value)
    for file in ("tls.crt", "tls.key"):
        if not (folder / file).is_file():
            raise SettingsError(
                f"{PREFIX}{name} names {value}, which has no {file}: mount a Secret of type kubernetes.io/tls there."
            )
    return folder


def _one_of(env: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = _text(env, name)
    if not value:
        return default
    for item in allowed:
        if value.lower() == item.lower():
            return item
    raise SettingsError(f"{PREFIX}{name} is {value!r}: use one of {', '.join(allowed)}.")


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    value = _text(env, name)
    if not value:
        return default
    if value.isascii() and value.isdigit() and 0 <= int(value) <= 65535:
        return int(value)
    raise SettingsError(f"{PREFIX}{name} is {value!r}: give a port between 0 and 65535.")
