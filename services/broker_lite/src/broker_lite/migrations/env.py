"""Runs migrations on the connection that the server passes in."""

from alembic import context

from broker_lite.store.models import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
