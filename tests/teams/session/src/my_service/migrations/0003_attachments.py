"""Attachments.

Revision ID: attachments0003
Revises: tickets0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "attachments0003"
down_revision = "tickets0002"
branch_labels = None
depends_on = "bastion0005"


def upgrade() -> None:
    op.create_table(
        "attachment",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["file_id"], ["stored_file.id"], name=op.f("fk_attachment_file_id_stored_file"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["auth_user.id"], name=op.f("fk_attachment_user_id_auth_user"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachment")),
    )
    op.create_index(op.f("ix_attachment_file_id"), "attachment", ["file_id"])
    op.create_index(op.f("ix_attachment_user_id"), "attachment", ["user_id"])


def downgrade() -> None:
    op.drop_table("attachment")
