"""Configuration from the environment; the names are those of the official image (prefix ``PACT_BROKER_``)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from broker_lite.domain.webhook_rules import AllowLists

PREFIX = "PACT_BROKER_"


class InvalidConfigurationError(ValueError):
    """An environment variable has a value that cannot be used; the text says which and what to set."""


@dataclass(frozen=True)
class Credentials:
    """One user of basic authentication. The password never appears in a representation."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Settings:
    """All settings, checked.

    Attributes:
        database_url: SQLAlchemy URL of the store.
        connect_retries: how often to try again while the database cannot be reached at the start.
        base_urls: public URLs of this server, for links; empty: from the request's headers.
        host, port: where to listen.
        writer: read-write user, if basic authentication is on.
        reader: read-only user.
        public_read: whether reading needs no credentials.
        public_heartbeat: whether the heartbeat needs none.
        allow_lists: where webhooks may go.
        webhook_success: status codes that count as delivered.
        retry_schedule: seconds before each further attempt of a delivery.
        first_attempt_delay: seconds between an event and the first attempt.
        attempt_spacing: seconds between the first attempts of one request's webhooks.
        verify_tls: whether receivers' certificates are checked.
        max_body_bytes: largest request body accepted.
        main_branch_candidates: branch names that become the main branch if none is set.
        log_level: name of the level.
    """

    database_url: str = field(repr=False)
    connect_retries: int = 0
    base_urls: tuple[str, ...] = ()
    host: str = "0.0.0.0"  # noqa: S104 - a container listens on all its addresses
    port: int = 9292
    writer: Credentials | None = None
    reader: Credentials | None = None
    public_read: bool = False
    public_heartbeat: bool = False
    allow_lists: AllowLists = field(default_factory=AllowLists)
    webhook_success: frozenset[int] = frozenset(range(200, 207))
    retry_schedule: tuple[int, ...] = (10, 60, 120, 300, 600, 1200)
    first_attempt_delay: float = 5.0
    attempt_spacing: float = 3.0
    verify_tls: bool = True
    max_body_bytes: int = 50 * 1024 * 1024
    main_branch_candidates: tuple[str, ...] = ("develop", "main", "master")
    auto_detect_main_branch: bool = True
    use_first_tag_as_branch: bool = True
    deployed_versions_for_tags: bool = True
    check_duplicate_names: bool = True
    allow_content_modification: bool = False
    diagnostics: bool = True
    log_level: str = "INFO"


_TRUE, _FALSE = {"true", "yes", "1", "on"}, {"false", "no", "0", "off", ""}


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ

    def text(self, name: str, default: str = "") -> str:
        return self.environ.get(PREFIX + name, default).strip()

    def words(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self.text(name).split()) or default

    def flag(self, name: str, *, default: bool) -> bool:
        raw = self.environ.get(PREFIX + name)
        if raw is None:
            return default
        value = raw.strip().lower()
        if value in _TRUE | _FALSE:
            return value in _TRUE
        raise InvalidConfigurationError(f"{PREFIX}{name} is '{raw}'; set it to true or false.")

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        raw = self.text(name)
        if not raw:
            return default
        if not raw.isascii() or not raw.isdigit() or not low <= int(raw) <= high:
            raise InvalidConfigurationError(
                f"{PREFIX}{name} is '{raw}'; set it to a whole number from {low} to {high}."
            )
        return int(raw)

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        words = self.words(name, ())
        if not all(word.isascii() and word.isdigit() for word in words):
            raise InvalidConfigurationError(f"{PREFIX}{name} must be whole numbers separated by spaces.")
        return tuple(int(word) for word in words) or default

    def user(self, username: str, password: str) -> Credentials | None:
        name, secret = self.text(username), self.environ.get(PREFIX + password, "")
        if not name and not secret:
            return None
        if not name or not secret:
            raise InvalidConfigurationError(f"Set both {PREFIX}{username} and {PREFIX}{password}, or neither.")
        return Credentials(name, secret)


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        InvalidConfigurationError: with one sentence on what to set.
    """
    read = _Reader(environ)
    writer = read.user("BASIC_AUTH_USERNAME", "BASIC_AUTH_PASSWORD")
    reader = read.user("BASIC_AUTH_READ_ONLY_USERNAME", "BASIC_AUTH_READ_ONLY_PASSWORD")
    # The official image switches authentication on by the mere presence of credentials; the flag can switch it off.
    if not read.flag("BASIC_AUTH_ENABLED", default=writer is not None):
        writer = reader = None
    elif writer is None:
        raise InvalidConfigurationError(
            f"Basic authentication is on: set {PREFIX}BASIC_AUTH_USERNAME and {PREFIX}BASIC_AUTH_PASSWORD."
        )
    return Settings(
        database_url=_database_url(read),
        connect_retries=read.integer("DATABASE_CONNECT_MAX_RETRIES", 0, 0, 1000),
        base_urls=tuple(_base_url(url) for url in read.words("BASE_URL", ())),
        host=read.text("HOST", "0.0.0.0"),  # noqa: S104
        port=read.integer("PORT", 9292, 1, 65535),
        writer=writer,
        reader=reader,
        public_read=read.flag("ALLOW_PUBLIC_READ", default=False),
        public_heartbeat=read.flag("PUBLIC_HEARTBEAT", default=False),
        allow_lists=_allow_lists(read),
        webhook_success=frozenset(read.integers("WEBHOOK_HTTP_CODE_SUCCESS", tuple(range(200, 207)))),
        retry_schedule=read.integers("WEBHOOK_RETRY_SCHEDULE", (10, 60, 120, 300, 600, 1200)),
        verify_tls=not read.flag("DISABLE_SSL_VERIFICATION", default=False),
        max_body_bytes=read.integer("MAX_BODY_BYTES", 50 * 1024 * 1024, 1024, 2**31),
        main_branch_candidates=read.words("MAIN_BRANCH_CANDIDATES", ("develop", "main", "master")),
        auto_detect_main_branch=read.flag("AUTO_DETECT_MAIN_BRANCH", default=True),
        use_first_tag_as_branch=read.flag("USE_FIRST_TAG_AS_BRANCH", default=True),
        deployed_versions_for_tags=read.flag("CREATE_DEPLOYED_VERSIONS_FOR_TAGS", default=True),
        check_duplicate_names=read.flag("CHECK_FOR_POTENTIAL_DUPLICATE_PACTICIPANT_NAMES", default=True),
        allow_content_modification=read.flag("ALLOW_DANGEROUS_CONTRACT_MODIFICATION", default=False),
        diagnostics=read.flag("ENABLE_DIAGNOSTIC_ENDPOINTS", default=True),
        log_level=_log_level(read),
    )


def _log_level(read: _Reader) -> str:
    level = read.text("LOG_LEVEL", "info").upper()
    level = {"WARN": "WARNING", "FATAL": "CRITICAL"}.get(level, level)
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
        raise InvalidConfigurationError(f"{PREFIX}LOG_LEVEL is '{level}'; set it to debug, info, warn, error or fatal.")
    return level


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
        raise InvalidConfigurationError(
            f"{PREFIX}BASE_URL holds '{url}'; give absolute URLs such as http://pact-broker:9292."
        )
    return url.rstrip("/")


def _allow_lists(read: _Reader) -> AllowLists:
    hosts = read.words("WEBHOOK_HOST_WHITELIST", ())
    for host in hosts:
        if len(host) > 1 and host.startswith("/") and host.endswith("/"):
            try:
                re.compile(host[1:-1])
            except re.error as error:
                raise InvalidConfigurationError(
                    f"{PREFIX}WEBHOOK_HOST_WHITELIST holds {host}, which is not a regular expression: {error}."
                ) from None
    return AllowLists(
        hosts=hosts,
        schemes=tuple(word.lower() for word in read.words("WEBHOOK_SCHEME_WHITELIST", ("https",))),
        methods=tuple(word.upper() for word in read.words("WEBHOOK_HTTP_METHOD_WHITELIST", ("POST",))),
    )


def _database_url(read: _Reader) -> str:
    url = read.text("DATABASE_URL")
    if not url:
        url = _database_url_from_parts(read)
    scheme, separator, rest = url.partition("://")
    drivers = {
        "postgres": "postgresql+psycopg",
        "postgresql": "postgresql+psycopg",
        "postgresql+psycopg": "postgresql+psycopg",
        "sqlite": "sqlite",
        "sqlite3": "sqlite",
    }
    if not separator or scheme not in drivers:
        raise InvalidConfigurationError(
            f"{PREFIX}DATABASE_URL must start with postgres:// or sqlite:// (its scheme is '{scheme}')."
        )
    return f"{drivers[scheme]}://{rest}"


def _database_url_from_parts(read: _Reader) -> str:
    adapter = read.text("DATABASE_ADAPTER", "postgres" if read.text("DATABASE_HOST") else "sqlite")
    name = read.text("DATABASE_NAME", "pact_broker.sqlite3" if adapter.startswith("sqlite") else "postgres")
    if adapter.startswith("sqlite"):
        return f"sqlite:///{name}"
    user, password = read.text("DATABASE_USERNAME"), read.environ.get(PREFIX + "DATABASE_PASSWORD", "")
    host, port = read.text("DATABASE_HOST"), read.integer("DATABASE_PORT", 5432, 1, 65535)
    if not host:
        raise InvalidConfigurationError(f"Set {PREFIX}DATABASE_HOST, or {PREFIX}DATABASE_URL, to reach the database.")
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
    mode = read.text("DATABASE_SSLMODE")
    return f"{adapter}://{login}{host}:{port}/{name}" + (f"?sslmode={quote(mode)}" if mode else "")
