"""Environments, deployments and releases."""

import uuid
from collections.abc import Collection
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from broker_lite.store.models import (
    DeployedVersion,
    Environment,
    Pacticipant,
    ReleasedVersion,
    Version,
    now,
)
from broker_lite.store.upsert import insert_if_absent


def environments(session: Session, name: str | None = None) -> list[Environment]:
    """Environments by display name; with `name`, only that one."""
    statement = select(Environment)
    if name is not None:
        statement = statement.where(Environment.name == name)
    return sorted(session.scalars(statement), key=lambda one: (one.display_name or one.name).lower())


def find_environment(session: Session, identifier: str) -> Environment | None:
    """The environment of this uuid."""
    return session.scalars(select(Environment).where(Environment.uuid == identifier)).one_or_none()


def environment_named(session: Session, name: str) -> Environment | None:
    """The environment of this name."""
    return session.scalars(select(Environment).where(Environment.name == name)).one_or_none()


def environment_names(session: Session) -> set[str]:
    """All environment names."""
    return set(session.scalars(select(Environment.name)))


def create_environment(session: Session, values: dict[str, Any], identifier: str | None = None) -> Environment | None:
    """A new environment; None if the name was taken meanwhile."""
    identifier = identifier or str(uuid.uuid4())
    if not insert_if_absent(session, Environment, uuid=identifier, **values):
        return None
    return find_environment(session, identifier)


def remove_environment(session: Session, environment: Environment) -> None:
    """Delete an environment with its deployments and releases."""
    session.execute(delete(Environment).where(Environment.id == environment.id))


def record_deployment(
    session: Session,
    version: Version,
    environment: Environment,
    *,
    target: str | None,
    identifier: str | None = None,
    auto_created: bool = False,
) -> DeployedVersion:
    """Record that a version runs in an environment, in place of what ran there as the same application instance."""
    # The pacticipant's row is the lock: two deployments of one application are taken one after the other.
    session.execute(select(Pacticipant.id).where(Pacticipant.id == version.pacticipant_id).with_for_update())
    same_place = (
        DeployedVersion.environment_id == environment.id,
        DeployedVersion.pacticipant_id == version.pacticipant_id,
        DeployedVersion.target.is_(None) if target is None else DeployedVersion.target == target,
        DeployedVersion.undeployed_at.is_(None),
    )
    running = session.scalars(select(DeployedVersion).where(*same_place)).one_or_none()
    if running is not None and running.version_id == version.id:
        return running
    session.execute(
        update(DeployedVersion)
        .where(*same_place)
        .values(undeployed_at=now(), updated_at=now())
        .execution_options(synchronize_session=False)
    )
    deployed = DeployedVersion(
        uuid=identifier or str(uuid.uuid4()),
        pacticipant_id=version.pacticipant_id,
        version_id=version.id,
        environment_id=environment.id,
        target=target,
        auto_created=auto_created,
        created_at=now(),
        version=version,
        environment=environment,
    )
    session.add(deployed)
    session.flush()
    return deployed


def find_deployed(session: Session, identifier: str) -> DeployedVersion | None:
    """The deployment of this uuid."""
    return session.scalars(select(DeployedVersion).where(DeployedVersion.uuid == identifier)).one_or_none()


def undeploy(deployed: DeployedVersion) -> None:
    """End a deployment; ending it twice changes nothing."""
    if deployed.undeployed_at is None:
        deployed.undeployed_at = deployed.updated_at = now()


def deployments_of(session: Session, version: Version, environment: Environment | None = None) -> list[DeployedVersion]:
    """All deployments of a version (to an environment), newest first."""
    statement = select(DeployedVersion).where(DeployedVersion.version_id == version.id)
    if environment is not None:
        statement = statement.where(DeployedVersion.environment_id == environment.id)
    return list(session.scalars(statement.order_by(DeployedVersion.id.desc())))


def current_deployments(
    session: Session,
    *,
    environment_id: int | None = None,
    pacticipant: str | None = None,
    pacticipant_id: int | None = None,
    version_ids: Collection[int] | None = None,
    by_target: bool = False,
    target: str | None = None,
) -> list[DeployedVersion]:
    """What runs now, newest first; with `by_target`, only the given application instance (None is one)."""
    statement = select(DeployedVersion).where(DeployedVersion.undeployed_at.is_(None))
    if environment_id is not None:
        statement = statement.where(DeployedVersion.environment_id == environment_id)
    if pacticipant is not None:
        statement = statement.join(Pacticipant, Pacticipant.id == DeployedVersion.pacticipant_id).where(
            Pacticipant.name == pacticipant
        )
    if pacticipant_id is not None:
        statement = statement.where(DeployedVersion.pacticipant_id == pacticipant_id)
    if version_ids is not None:
        statement = statement.where(DeployedVersion.version_id.in_(version_ids))
    if by_target:
        statement = statement.where(
            DeployedVersion.target.is_(None) if target is None else DeployedVersion.target == target
        )
    return list(session.scalars(statement.order_by(DeployedVersion.id.desc())))


def record_release(
    session: Session, version: Version, environment: Environment, identifier: str | None = None
) -> tuple[ReleasedVersion, bool]:
    """Record that a version is released to an environment; a release whose support had ended is supported again."""
    created = insert_if_absent(
        session,
        ReleasedVersion,
        uuid=identifier or str(uuid.uuid4()),
        pacticipant_id=version.pacticipant_id,
        version_id=version.id,
        environment_id=environment.id,
    )
    released = session.scalars(
        select(ReleasedVersion).where(
            ReleasedVersion.version_id == version.id, ReleasedVersion.environment_id == environment.id
        )
    ).one()
    if released.support_ended_at is not None:
        released.support_ended_at = None
        released.updated_at = now()
    return released, created


def find_released(session: Session, identifier: str) -> ReleasedVersion | None:
    """The release of this uuid."""
    return session.scalars(select(ReleasedVersion).where(ReleasedVersion.uuid == identifier)).one_or_none()


def end_support(released: ReleasedVersion) -> None:
    """End the support of a release; ending it twice changes nothing."""
    if released.support_ended_at is None:
        released.support_ended_at = released.updated_at = now()


def releases_of(session: Session, version: Version, environment: Environment | None = None) -> list[ReleasedVersion]:
    """The releases of a version (to an environment), newest first."""
    statement = select(ReleasedVersion).where(ReleasedVersion.version_id == version.id)
    if environment is not None:
        statement = statement.where(ReleasedVersion.environment_id == environment.id)
    return list(session.scalars(statement.order_by(ReleasedVersion.id.desc())))


def supported_releases(
    session: Session,
    *,
    environment_id: int | None = None,
    pacticipant: str | None = None,
    pacticipant_id: int | None = None,
    number: str | None = None,
    version_ids: Collection[int] | None = None,
) -> list[ReleasedVersion]:
    """What is released and supported now, oldest first."""
    statement = select(ReleasedVersion).where(ReleasedVersion.support_ended_at.is_(None))
    if environment_id is not None:
        statement = statement.where(ReleasedVersion.environment_id == environment_id)
    if pacticipant is not None:
        statement = statement.join(Pacticipant, Pacticipant.id == ReleasedVersion.pacticipant_id).where(
            Pacticipant.name == pacticipant
        )
    if pacticipant_id is not None:
        statement = statement.where(ReleasedVersion.pacticipant_id == pacticipant_id)
    if number is not None:
        own = select(Version.id).where(Version.id == ReleasedVersion.version_id, Version.number == number)
        statement = statement.where(own.exists())
    if version_ids is not None:
        statement = statement.where(ReleasedVersion.version_id.in_(version_ids))
    return list(session.scalars(statement.order_by(ReleasedVersion.id)))


def current_environments(session: Session, version_ids: Collection[int]) -> list[tuple[int, Environment]]:
    """(version id, environment) of what is deployed or supported, oldest first."""
    deployed = current_deployments(session, version_ids=version_ids)
    released = supported_releases(session, version_ids=version_ids)
    both: list[DeployedVersion | ReleasedVersion] = [*deployed, *released]
    places = [(one.created_at, one.version_id, one.environment) for one in both]
    return [(version_id, environment) for _, version_id, environment in sorted(places, key=lambda one: one[0])]
