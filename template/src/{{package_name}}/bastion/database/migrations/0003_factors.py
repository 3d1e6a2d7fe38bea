"""Second factors: half-finished flows, authenticator apps, recovery codes, passkeys; where a notice came from.

Revision ID: bastion0003
Revises: bastion0002
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "bastion0003"
down_revision = "bastion0002"
branch_labels = None
depends_on = None


def _moment() -> sa.types.TypeEngine[datetime]:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def _binary(length: int) -> sa.types.TypeEngine[bytes]:
    return sa.LargeBinary(length).with_variant(mysql.VARBINARY(length), "mysql", "mariadb")


def _goes_with(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_{column}_{target}"
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    # No constraint, but an index: for a constraint SQLite copies the table, and to drop the old one would cascade.
    op.add_column("auth_user", sa.Column("passkey_handle", _binary(64)))
    op.create_index("ix_auth_user_passkey_handle", "auth_user", ["passkey_handle"], unique=True)
    op.add_column("auth_user", sa.Column("must_enrol", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("mail_outbox", sa.Column("origin", sa.String(45), nullable=False, server_default=""))
    op.add_column("mail_outbox", sa.Column("device", sa.String(60), nullable=False, server_default=""))
    op.create_table(
        "auth_flow",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", _binary(32), nullable=False),
        sa.Column("purpose", sa.String(20), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid()),
        sa.Column("data", sa.LargeBinary()),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("expires_at", _moment(), nullable=False),
        sa.Column("used_at", _moment()),
        sa.PrimaryKeyConstraint("id", name="pk_auth_flow"),
        sa.UniqueConstraint("token_hash", name="uq_auth_flow_token_hash"),
        _goes_with("auth_flow", "user_id", "auth_user"),
        _goes_with("auth_flow", "session_id", "auth_session"),
    )
    op.create_table(
        "auth_totp",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_auth_totp"),
        _goes_with("auth_totp", "user_id", "auth_user"),
    )
    op.create_table(
        "auth_recovery_code",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("code_hash", _binary(32), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("used_at", _moment()),
        sa.PrimaryKeyConstraint("id", name="pk_auth_recovery_code"),
        sa.UniqueConstraint("code_hash", name="uq_auth_recovery_code_code_hash"),
        _goes_with("auth_recovery_code", "user_id", "auth_user"),
    )
    op.create_table(
        "auth_passkey",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("credential_hash", _binary(32), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("transports", sa.String(100), nullable=False),
        sa.Column("backup_eligible", sa.Boolean(), nullable=False),
        sa.Column("backed_up", sa.Boolean(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("used_at", _moment()),
        sa.Column("suspended_at", _moment()),
        sa.PrimaryKeyConstraint("id", name="pk_auth_passkey"),
        sa.UniqueConstraint("credential_hash", name="uq_auth_passkey_credential_hash"),
        _goes_with("auth_passkey", "user_id", "auth_user"),
    )
    op.create_table(
        "auth_spent_challenge",
        sa.Column("challenge_hash", _binary(32), nullable=False),
        sa.Column("expires_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("challenge_hash", name="pk_auth_spent_challenge"),
    )
    for table, column in (
        ("auth_flow", "user_id"),
        ("auth_flow", "session_id"),
        ("auth_recovery_code", "user_id"),
        ("auth_passkey", "user_id"),
        ("auth_spent_challenge", "expires_at"),
    ):
        op.create_index(f"ix_{table}_{column}", table, [column])


def downgrade() -> None:
    for table in ("auth_spent_challenge", "auth_passkey", "auth_recovery_code", "auth_totp", "auth_flow"):
        op.drop_table(table)
    op.drop_column("mail_outbox", "device")
    op.drop_column("mail_outbox", "origin")
    op.drop_index("ix_auth_user_passkey_handle", "auth_user")
    op.drop_column("auth_user", "must_enrol")
    op.drop_column("auth_user", "passkey_handle")
