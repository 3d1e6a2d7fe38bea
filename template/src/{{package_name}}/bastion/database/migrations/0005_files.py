"""Files of users: a row for each, with its owner, name, type, size and digest.

Revision ID: bastion0005
Revises: bastion0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "bastion0005"
down_revision = "bastion0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stored_file",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("media_type", sa.String(50), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stored_file"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["auth_user.id"], name="fk_stored_file_user_id_auth_user", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_stored_file_user_id", "stored_file", ["user_id"])


def downgrade() -> None:
    op.drop_table("stored_file")
