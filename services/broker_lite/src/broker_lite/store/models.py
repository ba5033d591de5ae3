"""The tables. Row ids rise with time and are never used twice, so they also order versions and results."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    Boolean,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC, on databases with and without time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC; SQLite keeps no zone."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Read UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: UtcDateTime,
        bool: Boolean,
        int: Integer,
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
    }
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    # SQLite gives the id of a deleted last row to the next one unless told not to; ids are an order here.
    __table_args__: Any = {"sqlite_autoincrement": True}  # noqa: RUF012 - the declared form of SQLAlchemy


class Timestamps:
    """When a row was made and last changed."""

    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)


def _owner(target: str, *, index: bool = True) -> Mapped[int]:
    return mapped_column(ForeignKey(target, ondelete="CASCADE"), index=index)


class Pacticipant(Timestamps, Base):
    """An application that is a consumer, a provider, or both."""

    __tablename__ = "pacticipants"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    display_name: Mapped[str | None]
    repository_url: Mapped[str | None]
    repository_name: Mapped[str | None]
    repository_namespace: Mapped[str | None]
    main_branch: Mapped[str | None]


class Label(Timestamps, Base):
    """A word put on a pacticipant; webhooks can be scoped by it."""

    __tablename__ = "labels"
    __table_args__ = ()
    pacticipant_id: Mapped[int] = mapped_column(ForeignKey("pacticipants.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True, index=True)
    pacticipant: Mapped[Pacticipant] = relationship()


class Version(Timestamps, Base):
    """A version of a pacticipant; versions are ordered by creation, which is by id."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("pacticipant_id", "number"),
        Index("ix_versions_newest", "pacticipant_id", "id"),
        {"sqlite_autoincrement": True},
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    pacticipant_id: Mapped[int] = _owner("pacticipants.id", index=False)
    number: Mapped[str]
    build_url: Mapped[str | None]
    pacticipant: Mapped[Pacticipant] = relationship(lazy="joined", innerjoin=True)


class Branch(Timestamps, Base):
    """A branch of a pacticipant's repository. Its head is the version added to it last."""

    __tablename__ = "branches"
    __table_args__ = (UniqueConstraint("pacticipant_id", "name"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(primary_key=True)
    pacticipant_id: Mapped[int] = _owner("pacticipants.id", index=False)
    name: Mapped[str] = mapped_column(index=True)
    pacticipant: Mapped[Pacticipant] = relationship(lazy="joined", innerjoin=True)


class BranchVersion(Timestamps, Base):
    """A version on a branch."""

    __tablename__ = "branch_versions"
    __table_args__ = (
        UniqueConstraint("branch_id", "version_id"),
        Index("ix_branch_versions_head", "branch_id", "id"),
        {"sqlite_autoincrement": True},
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    branch_id: Mapped[int] = _owner("branches.id", index=False)
    version_id: Mapped[int] = _owner("versions.id")
    auto_created: Mapped[bool] = mapped_column(default=False)
    branch: Mapped[Branch] = relationship(lazy="joined", innerjoin=True)
    version: Mapped[Version] = relationship()


class Tag(Timestamps, Base):
    """A word put on a version."""

    __tablename__ = "tags"
    __table_args__ = (Index("ix_tags_newest", "pacticipant_id", "name", "version_id"),)
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    # The version's owner once more, so that an index leads to its newest version with a tag.
    pacticipant_id: Mapped[int] = _owner("pacticipants.id", index=False)
    version: Mapped[Version] = relationship(lazy="joined", innerjoin=True)


class Environment(Timestamps, Base):
    """A place where versions run or are released to."""

    __tablename__ = "environments"
    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(unique=True)
    display_name: Mapped[str | None]
    production: Mapped[bool]
    contacts: Mapped[list[Any] | None]


class DeployedVersion(Timestamps, Base):
    """A deployment; current until undeployed or replaced by the next one of the same application instance."""

    __tablename__ = "deployed_versions"
    __table_args__ = (
        Index(
            "uq_deployed_versions_current",
            "environment_id",
            "pacticipant_id",
            func.coalesce(text("target"), ""),
            unique=True,
            sqlite_where=text("undeployed_at IS NULL"),
            postgresql_where=text("undeployed_at IS NULL"),
        ),
        {"sqlite_autoincrement": True},
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str] = mapped_column(unique=True)
    pacticipant_id: Mapped[int] = _owner("pacticipants.id")
    version_id: Mapped[int] = _owner("versions.id")
    environment_id: Mapped[int] = _owner("environments.id")
    target: Mapped[str | None]
    auto_created: Mapped[bool] = mapped_column(default=False)
    undeployed_at: Mapped[datetime | None]
    version: Mapped[Version] = relationship(lazy="joined", innerjoin=True)
    environment: Mapped[Environment] = relationship(lazy="joined", innerjoin=True)


class ReleasedVersion(Timestamps, Base):
    """A release; supported until ended."""

    __tablename__ = "released_versions"
    __table_args__ = (UniqueConstraint("version_id", "environment_id"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str] = mapped_column(unique=True)
    pacticipant_id: Mapped[int] = _owner("pacticipants.id")
    version_id: Mapped[int] = _owner("versions.id", index=False)
    environment_id: Mapped[int] = _owner("environments.id")
    support_ended_at: Mapped[datetime | None]
    version: Mapped[Version] = relationship(lazy="joined", innerjoin=True)
    environment: Mapped[Environment] = relationship(lazy="joined", innerjoin=True)


class PactVersion(Base):
    """A content between a consumer and a provider; publications with the same SHA share one."""

    __tablename__ = "pact_versions"
    __table_args__ = (UniqueConstraint("consumer_id", "provider_id", "sha"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(primary_key=True)
    consumer_id: Mapped[int] = _owner("pacticipants.id", index=False)
    provider_id: Mapped[int] = _owner("pacticipants.id")
    sha: Mapped[str] = mapped_column(index=True)
    content: Mapped[str] = mapped_column(deferred=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    consumer: Mapped[Pacticipant] = relationship(foreign_keys=[consumer_id])
    provider: Mapped[Pacticipant] = relationship(foreign_keys=[provider_id])


class PactPublication(Base):
    """A consumer version's contract with a provider; the last revision is the current one."""

    __tablename__ = "pact_publications"
    __table_args__ = (
        UniqueConstraint("consumer_version_id", "provider_id", "revision_number"),
        Index("ix_pact_publications_newest", "consumer_id", "provider_id", "consumer_version_id"),
        Index("ix_pact_publications_recent", "provider_id", "created_at"),
        Index("ix_pact_publications_content", "pact_version_id", "current", "consumer_version_id", "revision_number"),
        {"sqlite_autoincrement": True},
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    consumer_version_id: Mapped[int] = _owner("versions.id", index=False)
    consumer_id: Mapped[int] = _owner("pacticipants.id", index=False)
    provider_id: Mapped[int] = _owner("pacticipants.id", index=False)
    pact_version_id: Mapped[int] = _owner("pact_versions.id", index=False)
    revision_number: Mapped[int]
    current: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    consumer_version: Mapped[Version] = relationship(lazy="joined", innerjoin=True)
    consumer: Mapped[Pacticipant] = relationship(foreign_keys=[consumer_id], lazy="joined", innerjoin=True)
    provider: Mapped[Pacticipant] = relationship(foreign_keys=[provider_id], lazy="joined", innerjoin=True)
    pact_version: Mapped[PactVersion] = relationship(lazy="joined", innerjoin=True)


class Verification(Base):
    """A verification result; its id is its public number."""

    __tablename__ = "verifications"
    __table_args__ = (
        Index("ix_verifications_pair", "pact_version_id", "provider_version_id", "id"),
        Index("ix_verifications_newest", "pact_version_id", "id"),
        Index("ix_verifications_first_success", "pact_version_id", "success", "created_at"),
        {"sqlite_autoincrement": True},
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    pact_version_id: Mapped[int] = _owner("pact_versions.id", index=False)
    provider_version_id: Mapped[int] = _owner("versions.id")
    success: Mapped[bool]
    wip: Mapped[bool] = mapped_column(default=False)
    build_url: Mapped[str | None]
    test_results: Mapped[list[Any] | None] = mapped_column(deferred=True)
    verified_by: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    pact_version: Mapped[PactVersion] = relationship()
    provider_version: Mapped[Version] = relationship(lazy="joined", innerjoin=True)


class Webhook(Timestamps, Base):
    """Where to say that something happened."""

    __tablename__ = "webhooks"
    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str | None]
    consumer_id: Mapped[int | None] = mapped_column(ForeignKey("pacticipants.id", ondelete="CASCADE"), index=True)
    consumer_label: Mapped[str | None]
    provider_id: Mapped[int | None] = mapped_column(ForeignKey("pacticipants.id", ondelete="CASCADE"), index=True)
    provider_label: Mapped[str | None]
    enabled: Mapped[bool] = mapped_column(default=True)
    events: Mapped[list[Any]]
    method: Mapped[str]
    url: Mapped[str]
    username: Mapped[str | None]
    password: Mapped[str | None]
    headers: Mapped[dict[str, Any]]
    body: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)
    consumer: Mapped[Pacticipant | None] = relationship(foreign_keys=[consumer_id], lazy="joined")
    provider: Mapped[Pacticipant | None] = relationship(foreign_keys=[provider_id], lazy="joined")


class TriggeredWebhook(Timestamps, Base):
    """One delivery: what happened, which webhook tells it, and how far that is. This table is the queue."""

    __tablename__ = "triggered_webhooks"
    __table_args__ = (
        Index("ix_triggered_webhooks_due", "status", "next_attempt_at"),
        {"sqlite_autoincrement": True},
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str] = mapped_column(unique=True)
    webhook_id: Mapped[int | None] = mapped_column(ForeignKey("webhooks.id", ondelete="SET NULL"), index=True)
    pact_publication_id: Mapped[int] = _owner("pact_publications.id")
    verification_id: Mapped[int | None] = mapped_column(ForeignKey("verifications.id", ondelete="CASCADE"), index=True)
    event_name: Mapped[str]
    event_context: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(default="not_run")
    attempts_made: Mapped[int] = mapped_column(default=0)
    attempts_allowed: Mapped[int] = mapped_column(default=1)
    next_attempt_at: Mapped[datetime | None]
    claimed_until: Mapped[datetime | None]
    webhook: Mapped[Webhook | None] = relationship(lazy="joined")
    pact_publication: Mapped[PactPublication] = relationship()
    verification: Mapped[Verification | None] = relationship()


class WebhookExecution(Base):
    """One attempt to deliver, with its log."""

    __tablename__ = "webhook_executions"
    id: Mapped[int] = mapped_column(primary_key=True)
    triggered_webhook_id: Mapped[int] = _owner("triggered_webhooks.id")
    success: Mapped[bool]
    logs: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
