"""Engine, transactions and migrations."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

logger = logging.getLogger("broker_lite.store")

_ONE_MIGRATION = threading.Lock()
"""Alembic keeps its state in module globals, so within one process migrations run one after the other."""

_MIGRATION_LOCK = 0x50414354
"""Key of the advisory lock under which one server at a time migrates ("PACT")."""


class StoreUnavailableError(RuntimeError):
    """The database cannot be reached or opened; the text says which and what to check."""


def connect(url: str) -> Engine:
    """An engine for a Postgres or SQLite URL; nothing is connected yet.

    Raises:
        StoreUnavailableError: if the URL cannot be understood.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreUnavailableError("PACT_BROKER_DATABASE_URL is not a database URL.") from None
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    return create_engine(url, pool_size=10, max_overflow=10, pool_pre_ping=True, pool_timeout=30, hide_parameters=True)


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # The driver's own transaction handling is switched off: BEGIN is sent below, so that it can be IMMEDIATE.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes the lock at once: waiting is then a matter of the busy timeout, never of a failed upgrade.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


class Store:
    """The database, and transactions on it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writer = engine.execution_options(writes=True)
        # A reader sees one moment of the store, however many queries it makes; a writer waits for others and sees what
        # they did, row by row. SQLite gives every transaction a view of its own.
        postgres = engine.dialect.name == "postgresql"
        self._reader = engine.execution_options(isolation_level="REPEATABLE READ") if postgres else engine

    @contextlib.contextmanager
    def transaction(self, *, writes: bool) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back on any error."""
        engine = self._writer if writes else self._reader
        with Session(engine, expire_on_commit=False, autoflush=False) as session, session.begin():
            yield session

    def check(self) -> bool:
        """Whether the database answers."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            logger.warning("the database does not answer")
            return False
        return True

    def migrate(self) -> None:
        """Bring the tables to the current form, one server at a time.

        Raises:
            StoreUnavailableError: if the database cannot be reached.
        """
        try:
            with _ONE_MIGRATION, self._writer.connect() as connection:
                postgres = connection.dialect.name == "postgresql"
                if postgres:
                    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
                    connection.commit()
                try:
                    # One transaction around all steps: without it, SQLite would let another server in between two.
                    with connection.begin():
                        _upgrade(connection)
                finally:
                    if postgres:
                        connection.rollback()
                        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})
                        connection.commit()
        except OperationalError as error:
            where = self.engine.url.render_as_string(hide_password=True)
            raise StoreUnavailableError(f"Cannot open the database at {where}: {error.orig}".strip()) from error

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def alembic_config() -> Config:
    """The configuration under which migrations run; the connection is passed as an attribute."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    return config


def _upgrade(connection: Connection, revision: str = "head") -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
