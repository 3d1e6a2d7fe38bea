"""Notes.

Revision ID: notes0001
Revises:
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "notes0001"
down_revision = None
branch_labels = ("team",)
depends_on = "bastion0001"  # the table of users comes first


def _moment() -> sa.types.TypeEngine[datetime]:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")  # without, it would be rounded to a second


def upgrade() -> None:
    op.create_table(
        "note",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("body", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql"), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("updated_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_note"),
        sa.ForeignKeyConstraint(["user_id"], ["auth_user.id"], name="fk_note_user_id_auth_user", ondelete="CASCADE"),
    )
    op.create_index("ix_note_user_id", "note", ["user_id"])


def downgrade() -> None:
    op.drop_table("note")
