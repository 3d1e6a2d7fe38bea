"""Mailed links, the outbox and the counters of uses, known devices, and a name for each account.

Revision ID: bastion0002
Revises: bastion0001
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "bastion0002"
down_revision = "bastion0001"
branch_labels = None
depends_on = None


def _moment() -> sa.types.TypeEngine[datetime]:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def _hash() -> sa.types.TypeEngine[bytes]:
    return sa.LargeBinary(32).with_variant(mysql.VARBINARY(32), "mysql", "mariadb")


def _goes_with(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_{column}_{target}"
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=name, ondelete="CASCADE")


def _belongs(table: str) -> tuple[sa.ForeignKeyConstraint, ...]:
    return (
        _goes_with(table, "user_id", "auth_user"),
        _goes_with(table, "session_id", "auth_session"),
        _goes_with(table, "inviter_id", "auth_user"),
    )


def upgrade() -> None:
    op.add_column("auth_user", sa.Column("display_name", sa.String(100), nullable=False, server_default=""))
    op.create_table(
        "auth_link",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", _hash(), nullable=False),
        sa.Column("purpose", sa.String(20), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("user_id", sa.Uuid()),
        sa.Column("session_id", sa.Uuid()),
        sa.Column("inviter_id", sa.Uuid()),
        sa.Column("roles", sa.String(500), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("expires_at", _moment(), nullable=False),
        sa.Column("used_at", _moment()),
        sa.PrimaryKeyConstraint("id", name="pk_auth_link"),
        sa.UniqueConstraint("token_hash", name="uq_auth_link_token_hash"),
        *_belongs("auth_link"),
    )
    op.create_table(
        "mail_outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(20), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("user_id", sa.Uuid()),
        sa.Column("session_id", sa.Uuid()),
        sa.Column("inviter_id", sa.Uuid()),
        sa.Column("roles", sa.String(500), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("due_at", _moment(), nullable=False),
        sa.Column("trusted", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mail_outbox"),
        *_belongs("mail_outbox"),
    )
    op.create_table(
        "throttle_use",
        sa.Column("key", _hash(), nullable=False),
        sa.Column("uses", sa.JSON(), nullable=False),
        sa.Column("last_at", _moment(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_throttle_use"),
    )
    op.create_table(
        "auth_device",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", _hash(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("seen_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_auth_device"),
        sa.UniqueConstraint("token_hash", name="uq_auth_device_token_hash"),
        _goes_with("auth_device", "user_id", "auth_user"),
    )
    for table, column in (
        ("auth_link", "email"),
        ("auth_link", "user_id"),
        ("mail_outbox", "email"),
        ("mail_outbox", "user_id"),
        ("mail_outbox", "due_at"),
        ("throttle_use", "last_at"),
        ("auth_device", "user_id"),
    ):
        op.create_index(f"ix_{table}_{column}", table, [column])


def downgrade() -> None:
    for table in ("auth_device", "throttle_use", "mail_outbox", "auth_link"):
        op.drop_table(table)
    op.drop_column("auth_user", "display_name")
