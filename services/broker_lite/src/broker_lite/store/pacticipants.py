"""Pacticipants and their labels."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from broker_lite.domain import names
from broker_lite.store.models import Label, Pacticipant, Version, now
from broker_lite.store.upsert import insert_if_absent

FIELDS = {
    "displayName": "display_name",
    "repositoryUrl": "repository_url",
    "repositoryName": "repository_name",
    "repositoryNamespace": "repository_namespace",
    "mainBranch": "main_branch",
}
"""Properties that clients may write, by their name in JSON."""

_NAMES_LOCK = 0x4E414D45


def find(session: Session, name: str) -> Pacticipant | None:
    """The pacticipant of exactly this name."""
    return session.scalars(select(Pacticipant).where(Pacticipant.name == name)).one_or_none()


def get_or_create(session: Session, name: str) -> Pacticipant:
    """The pacticipant of this name, created with a display name if there was none."""
    found = find(session, name)
    if found is not None:
        return found
    insert_if_absent(session, Pacticipant, name=name, display_name=names.display_name(name))
    return session.scalars(select(Pacticipant).where(Pacticipant.name == name)).one()


def existing(session: Session, wanted: Collection[str]) -> set[str]:
    """Those of the wanted names that exist."""
    return set(session.scalars(select(Pacticipant.name).where(Pacticipant.name.in_(wanted))))


def all_names(session: Session) -> list[str]:
    """All names, in order of creation."""
    return list(session.scalars(select(Pacticipant.name).order_by(Pacticipant.id)))


def lock_names(session: Session) -> None:
    """Hold off other transactions that check new names, until this one ends.

    Without it two new names that resemble one another could both be accepted. SQLite has one writer anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _NAMES_LOCK})


def page(
    session: Session, *, number: int | None, size: int | None, query: str | None = None, label: str | None = None
) -> tuple[list[Pacticipant], int]:
    """Pacticipants by name, one page or all, and how many there are in all."""
    statement = select(Pacticipant)
    if query:
        statement = statement.where(func.lower(Pacticipant.name).contains(query.lower(), autoescape=True))
    if label is not None:
        statement = statement.where(Pacticipant.id.in_(select(Label.pacticipant_id).where(Label.name == label)))
    total = session.scalar(select(func.count()).select_from(statement.subquery())) or 0
    statement = statement.order_by(func.lower(Pacticipant.name), Pacticipant.id)
    if number is not None and size is not None:
        statement = statement.offset((number - 1) * size).limit(size)
    return list(session.scalars(statement)), total


def write(pacticipant: Pacticipant, properties: dict[str, Any], *, replace: bool) -> None:
    """Write the given properties; with `replace`, properties that are not given become null."""
    for key, attribute in FIELDS.items():
        if key in properties or replace:
            setattr(pacticipant, attribute, properties.get(key))
    if pacticipant.display_name is None:
        pacticipant.display_name = names.display_name(pacticipant.name)
    pacticipant.updated_at = now()


def remove(session: Session, pacticipant: Pacticipant) -> None:
    """Delete a pacticipant and everything that belongs to it."""
    session.execute(delete(Pacticipant).where(Pacticipant.id == pacticipant.id))


def labels(session: Session, pacticipant_ids: Sequence[int]) -> dict[int, list[Label]]:
    """Labels by pacticipant, in order of creation."""
    result: dict[int, list[Label]] = {identifier: [] for identifier in pacticipant_ids}
    statement = select(Label).where(Label.pacticipant_id.in_(pacticipant_ids)).order_by(Label.created_at, Label.name)
    for label in session.scalars(statement):
        result[label.pacticipant_id].append(label)
    return result


def all_labels(session: Session) -> list[str]:
    """Distinct label names."""
    return list(session.scalars(select(Label.name).distinct().order_by(Label.name)))


def find_label(session: Session, pacticipant: Pacticipant, name: str) -> Label | None:
    """A label of a pacticipant."""
    return session.get(Label, (pacticipant.id, name))


def add_label(session: Session, pacticipant: Pacticipant, name: str) -> tuple[Label, bool]:
    """Put a label on a pacticipant; also says whether it is new."""
    created = insert_if_absent(session, Label, pacticipant_id=pacticipant.id, name=name)
    statement = select(Label).where(Label.pacticipant_id == pacticipant.id, Label.name == name)
    return session.scalars(statement).one(), created


def latest_versions(session: Session, pacticipant_ids: Sequence[int]) -> dict[int, Version]:
    """The newest version of each pacticipant that has one."""
    newest = select(func.max(Version.id)).where(Version.pacticipant_id == Pacticipant.id).correlate(Pacticipant)
    ids = select(newest.scalar_subquery()).where(Pacticipant.id.in_(pacticipant_ids))
    found = session.scalars(select(Version).where(Version.id.in_(ids)))
    return {version.pacticipant_id: version for version in found}
