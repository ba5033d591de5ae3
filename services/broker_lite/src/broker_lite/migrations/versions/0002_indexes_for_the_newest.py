"""Indexes that lead to the newest of many rows, so that no question costs more for having been asked for years.

Those that begin with the same column as a new one go. A tag learns whose version it is on, for an index of its own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_versions_pacticipant_id", "versions")
    op.create_index("ix_versions_newest", "versions", ["pacticipant_id", "id"])

    op.create_index("ix_branch_versions_head", "branch_versions", ["branch_id", "id"])

    _tags_know_their_pacticipant()

    op.drop_index("ix_pact_publications_pair", "pact_publications")
    op.create_index(
        "ix_pact_publications_newest", "pact_publications", ["consumer_id", "provider_id", "consumer_version_id"]
    )
    op.drop_index("ix_pact_publications_provider_id", "pact_publications")
    op.create_index("ix_pact_publications_recent", "pact_publications", ["provider_id", "created_at"])
    op.drop_index("ix_pact_publications_pact_version_id", "pact_publications")
    op.create_index(
        "ix_pact_publications_content",
        "pact_publications",
        ["pact_version_id", "current", "consumer_version_id", "revision_number"],
    )

    op.drop_index("ix_verifications_pair", "verifications")
    op.create_index("ix_verifications_pair", "verifications", ["pact_version_id", "provider_version_id", "id"])
    op.create_index("ix_verifications_newest", "verifications", ["pact_version_id", "id"])
    op.create_index("ix_verifications_first_success", "verifications", ["pact_version_id", "success", "created_at"])


def _tags_know_their_pacticipant() -> None:
    op.drop_index("ix_tags_name", "tags")
    op.add_column("tags", sa.Column("pacticipant_id", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE tags SET pacticipant_id = (SELECT pacticipant_id FROM versions WHERE versions.id = tags.version_id)"
    )
    # SQLite cannot change a column of a table: alembic makes a new one, and copies.
    with op.batch_alter_table("tags") as tags:
        tags.alter_column("pacticipant_id", existing_type=sa.Integer(), nullable=False)
        tags.create_foreign_key(
            "fk_tags_pacticipant_id", "pacticipants", ["pacticipant_id"], ["id"], ondelete="CASCADE"
        )
    op.create_index("ix_tags_newest", "tags", ["pacticipant_id", "name", "version_id"])
