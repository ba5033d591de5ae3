"""Rows that two requests may create at the same moment: one of them does, both find it."""

from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from broker_lite.store.models import Base


def insert_if_absent(session: Session, model: type[Base], **values: Any) -> bool:
    """Insert a row unless its unique key exists; True if this call inserted it.

    On Postgres this waits for another transaction that is inserting the same key, so a following SELECT finds the row.
    """
    key = next(iter(model.__mapper__.primary_key))
    if session.get_bind().dialect.name == "postgresql":
        statement = postgresql.insert(model).values(**values).on_conflict_do_nothing().returning(key)
        return session.execute(statement).first() is not None
    lite = sqlite.insert(model).values(**values).on_conflict_do_nothing().returning(key)
    return session.execute(lite).first() is not None
