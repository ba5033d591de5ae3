"""Fixtures: stores on both databases, and served instances on them."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker_lite.config import Settings
from broker_lite.store.engine import Store, connect
from services.broker_lite.tests.support import postgres, server

BACKENDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
NewStore = Callable[[str], Store]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """One PostgreSQL server for the whole run, started when first needed."""
    with postgres.server() as running:
        yield running


@pytest.fixture(scope="session")
def new_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewStore]:
    """Makes empty stores on the database of the given kind."""
    with contextlib.ExitStack() as stack:

        def make(backend: str) -> Store:
            if backend == "postgres":
                url = request.getfixturevalue("postgres_server").new_database()
            else:
                url = f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db"
            store = Store(connect(url))
            stack.callback(store.close)
            return store

        yield make


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, new_store: NewStore) -> Store:
    """An empty, migrated store on each database."""
    made = new_store(request.param)
    made.migrate()
    return made


@pytest.fixture
def settings() -> Settings:
    """Default settings."""
    return Settings(database_url="")


@pytest.fixture
def served(store: Store, settings: Settings) -> Iterator[server.Served]:
    """A served instance on each database; webhooks stay queued."""
    with server.serve(settings, store) as running:
        yield running


@pytest.fixture
def lite_store(tmp_path: Path) -> Iterator[Store]:
    """An empty, migrated store on SQLite."""
    store = Store(connect(f"sqlite:///{tmp_path}/store.db"))
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def lite(lite_store: Store, settings: Settings) -> Iterator[server.Served]:
    """A served instance on SQLite; webhooks stay queued."""
    with server.serve(settings, lite_store) as running:
        yield running
