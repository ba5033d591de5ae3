"""A store with a history: rows written in bulk, below the routes, in the shape that years of use leave behind.

The number of pacticipants is fixed, so that answers are of one size whatever the history: what a route then takes more
is the price of the history alone.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, text

from broker_lite.store.engine import Store
from broker_lite.store.models import (
    Base,
    Branch,
    BranchVersion,
    DeployedVersion,
    Environment,
    Pacticipant,
    PactPublication,
    PactVersion,
    Tag,
    Verification,
    Version,
    now,
)

CONSUMERS: Final = 5
PROVIDERS: Final = 2
ENVIRONMENT: Final = "production"
_CONTENT_LASTS: Final = 20
"""Consumer versions between two changes of a contract; the first consumer's contracts never change."""
_BRANCH_EVERY: Final = 10
"""One version in so many is on a branch of its own."""
_DEPLOYED_EVERY: Final = 20
_AT_ONCE: Final = 2_000


def consumer(number: int) -> str:
    """Name of a consumer, from 0."""
    return f"shop-consumer-{number}"


def provider(number: int) -> str:
    """Name of a provider, from 0."""
    return f"shop-provider-{number}"


def content_sha(consumer_number: int, provider_number: int, content: int = 0) -> str:
    """SHA of a content, from 0, of two who are numbered from 0."""
    text = f"{consumer(consumer_number)} {provider(provider_number)} {content}"
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Filled:
    """What was written.

    Attributes:
        results: Number of results.
        provider_versions: Versions of each provider; each verified the main pact of every consumer.
        consumer_versions: Versions of each consumer; each has a pact with every provider.
    """

    results: int
    provider_versions: int
    consumer_versions: int

    @property
    def newest_consumer_version(self) -> str:
        """The number of each consumer's newest version, which is on its main branch and deployed."""
        return str(self.consumer_versions - 1)

    @property
    def newest_provider_version(self) -> str:
        """The number of each provider's newest version, which is on its main branch and deployed."""
        return str(self.provider_versions - 1)


def fill(store: Store, results: int) -> Filled:
    """Write a history into an empty, migrated store.

    Args:
        store: The store.
        results: How many results; a multiple of `CONSUMERS` times `PROVIDERS`.
    """
    per_provider = results // (CONSUMERS * PROVIDERS)
    made = Filled(results, per_provider, max(1, per_provider // 5))
    with store.engine.execution_options(writes=True).begin() as connection:
        _Writer(connection, made).write()
    if store.engine.dialect.name == "postgresql":
        # Postgres does so by itself in time, and a measurement must not depend on when; SQLite never does.
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
    return made


class _Writer:
    def __init__(self, connection: Connection, made: Filled) -> None:
        self._connection = connection
        self._made = made
        longest = max(made.provider_versions, made.consumer_versions)
        self._start = now() - timedelta(minutes=longest + 1)

    def write(self) -> None:
        consumers = [self._pacticipant(number + 1, consumer(number)) for number in range(CONSUMERS)]
        providers = [self._pacticipant(CONSUMERS + number + 1, provider(number)) for number in range(PROVIDERS)]
        self._insert(Pacticipant, iter([*consumers, *providers]))
        environment = {"id": 1, "uuid": str(uuid.uuid4()), "name": ENVIRONMENT, "production": True}
        self._insert(Environment, iter([environment | self._at(0)]))
        for owner in consumers:
            self._versions(owner["id"], self._made.consumer_versions)
        for owner in providers:
            self._versions(owner["id"], self._made.provider_versions)
        for number, owner in enumerate(consumers):
            for other in providers:
                self._contracts(owner["id"], other["id"], changes=number > 0)
        if self._connection.dialect.name == "postgresql":
            self._restart_sequences()

    def _moment(self, number: int) -> datetime:
        return self._start + timedelta(minutes=number)

    def _pace(self, count: int) -> int:
        """Minutes between two versions: all histories take equally long, up to now."""
        return max(self._made.provider_versions, self._made.consumer_versions) // count

    def _at(self, number: int) -> dict[str, datetime]:
        return {"created_at": self._moment(number), "updated_at": self._moment(number)}

    def _pacticipant(self, identifier: int, name: str) -> dict[str, Any]:
        return {"id": identifier, "name": name, "display_name": name, "main_branch": "main"} | self._at(0)

    def _next_id(self, table: type[Base]) -> int:
        return int(self._connection.scalar(select(func.max(next(iter(table.__mapper__.primary_key))))) or 0) + 1

    def _insert(self, table: type[Base], rows: Iterator[dict[str, Any]]) -> None:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == _AT_ONCE:
                self._connection.execute(insert(table), batch)
                batch = []
        if batch:
            self._connection.execute(insert(table), batch)

    def _version_id(self, owner: int, number: int) -> int:
        # Versions of all pacticipants come about in turns, as they do where many teams publish.
        longest = max(self._made.provider_versions, self._made.consumer_versions)
        assert number < longest
        return number * (CONSUMERS + PROVIDERS) + owner

    def _own_branch(self, number: int, count: int) -> bool:
        return number % _BRANCH_EVERY == 1 and number != count - 1

    def _versions(self, owner: int, count: int) -> None:
        ids = [self._version_id(owner, number) for number in range(count)]
        pace = self._pace(count)
        self._insert(
            Version,
            (
                {"id": ids[number], "pacticipant_id": owner, "number": str(number)} | self._at(number * pace)
                for number in range(count)
            ),
        )
        main = self._next_id(Branch)
        own = [number for number in range(count) if self._own_branch(number, count)]
        branches = {number: main + index for index, number in enumerate(own, 1)}
        self._insert(Branch, iter([{"id": main, "pacticipant_id": owner, "name": "main"} | self._at(0)]))
        self._insert(
            Branch,
            (
                {"id": branches[number], "pacticipant_id": owner, "name": f"feature-{number}"} | self._at(number * pace)
                for number in own
            ),
        )
        self._insert(
            BranchVersion,
            (
                {"branch_id": branches.get(number, main), "version_id": ids[number], "auto_created": False}
                | self._at(number * pace)
                for number in range(count)
            ),
        )
        self._insert(
            Tag,
            (
                {
                    "version_id": ids[number],
                    "pacticipant_id": owner,
                    "name": f"feature-{number}" if number in branches else "main",
                }
                | self._at(number * pace)
                for number in range(count)
            ),
        )
        deployed = [number for number in range(count) if number % _DEPLOYED_EVERY == 0 or number == count - 1]
        self._insert(
            DeployedVersion,
            (
                {
                    "uuid": str(uuid.uuid4()),
                    "pacticipant_id": owner,
                    "version_id": ids[number],
                    "environment_id": 1,
                    "auto_created": False,
                    "undeployed_at": None if number == deployed[-1] else self._moment((number + 1) * pace),
                }
                | self._at(number * pace)
                for number in deployed
            ),
        )

    def _contracts(self, owner: int, other: int, *, changes: bool) -> None:
        versions, results = self._made.consumer_versions, self._made.provider_versions
        # Rows of all pairs come about in turns, too.
        pairs, pair = CONSUMERS * PROVIDERS, (owner - 1) * PROVIDERS + other - CONSUMERS
        first = self._next_id(PactVersion)
        last_content = (versions - 1) // _CONTENT_LASTS if changes else 0
        self._insert(PactVersion, (self._content(first, owner, other, number) for number in range(last_content + 1)))
        self._insert(
            PactPublication,
            (
                {
                    "id": number * pairs + pair,
                    "consumer_version_id": self._version_id(owner, number),
                    "consumer_id": owner,
                    "provider_id": other,
                    "pact_version_id": first + (number // _CONTENT_LASTS if changes else 0),
                    "revision_number": 1,
                    "current": True,
                    "created_at": self._moment(number * self._pace(versions)),
                }
                for number in range(versions)
            ),
        )
        self._insert(
            Verification,
            (
                {
                    "id": number * pairs + pair,
                    "pact_version_id": first + (number * (last_content + 1)) // results,
                    "provider_version_id": self._version_id(other, number),
                    # The newest two passed; before that one in seven failed.
                    "success": number % 7 != 3 or number >= results - 2,
                    "wip": False,
                    "test_results": [{"interactionId": "a", "success": True}],
                    "verified_by": {"implementation": "filled"},
                    "created_at": self._moment(number),
                }
                for number in range(results)
            ),
        )

    def _content(self, first: int, owner: int, other: int, number: int) -> dict[str, Any]:
        document = {
            "consumer": {"name": consumer(owner - 1)},
            "provider": {"name": provider(other - CONSUMERS - 1)},
            "interactions": [
                {
                    "_id": f"{number}-{index}",
                    "description": f"request {index}",
                    "providerState": f"thing {index} exists",
                    "request": {"method": "GET", "path": f"/things/{index}"},
                    "response": {"status": 200, "body": {"id": index, "version": number}},
                }
                for index in range(10)
            ],
            "metadata": {"pactSpecification": {"version": "2.0.0"}},
        }
        content = json.dumps(document, separators=(",", ":"))
        return {
            "id": first + number,
            "consumer_id": owner,
            "provider_id": other,
            "sha": content_sha(owner - 1, other - CONSUMERS - 1, number),
            "content": content,
            "created_at": self._moment(number * _CONTENT_LASTS * self._pace(self._made.consumer_versions)),
        }

    def _restart_sequences(self) -> None:
        for table in Base.metadata.sorted_tables:
            if "id" in table.c:
                self._connection.execute(
                    text(
                        f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), "
                        f"coalesce((SELECT max(id) FROM {table.name}), 0) + 1, false)"
                    )
                )
