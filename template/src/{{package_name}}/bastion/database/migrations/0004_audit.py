"""Each audit event with its outcome and whoever caused it, counted where many are alike, and chained to the one before.

Revision ID: bastion0004
Revises: bastion0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "bastion0004"
down_revision = "bastion0003"
branch_labels = None
depends_on = None


def _binary(length: int) -> sa.types.TypeEngine[bytes]:
    return sa.LargeBinary(length).with_variant(mysql.VARBINARY(length), "mysql", "mariadb")


def upgrade() -> None:
    op.add_column("audit_event", sa.Column("outcome", sa.String(10), nullable=False, server_default="success"))
    op.add_column("audit_event", sa.Column("actor_id", sa.Uuid()))
    op.add_column("audit_event", sa.Column("times", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("audit_event", sa.Column("bucket", _binary(32)))
    op.add_column("audit_event", sa.Column("number", sa.BigInteger()))
    op.add_column("audit_event", sa.Column("mac", _binary(36)))
    op.create_index("ix_audit_event_actor_id", "audit_event", ["actor_id"])
    op.create_index("ix_audit_event_bucket", "audit_event", ["bucket"], unique=True)
    op.create_index("ix_audit_event_number", "audit_event", ["number"], unique=True)
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("mac", _binary(36), nullable=False),
        sa.Column("anchor_number", sa.BigInteger(), nullable=False),
        sa.Column("anchor_mac", _binary(36), nullable=False),
        sa.Column("seal", _binary(36), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_head"),
    )
    start = {"id": 1, "number": 0, "mac": b"", "anchor_number": 0, "anchor_mac": b"", "seal": b"", "version": 0}
    op.bulk_insert(head, [start])


def downgrade() -> None:
    op.drop_table("audit_head")
    for column in ("number", "bucket", "actor_id"):
        op.drop_index(f"ix_audit_event_{column}", "audit_event")
    for column in ("mac", "number", "bucket", "times", "actor_id", "outcome"):
        op.drop_column("audit_event", column)
