"""The template's tables. They are the same for every answer, so that the chain of migrations has no gap."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, LargeBinary, String
from sqlalchemy.dialects.mysql import VARBINARY
from sqlalchemy.orm import Mapped, mapped_column

from ..clock import now
from ..database import OWNER, Base

HASH = LargeBinary(32).with_variant(VARBINARY(32), "mysql", "mariadb")  # SHA-256: 32 bytes, comparable and indexable


class User(Base):
    """An account. A team extends it by a table of its own with a foreign key to it, ON DELETE CASCADE."""

    __tablename__ = "auth_user"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str | None] = mapped_column(String(255))  # none: a user who signs in without a password
    active: Mapped[bool] = mapped_column(default=True)
    roles: Mapped[str] = mapped_column(String(500), default="")  # names with single spaces between them, sorted
    created_at: Mapped[datetime] = mapped_column(default=now)
    display_name: Mapped[str] = mapped_column(String(100), default="", server_default="")


class AuthSession(Base):
    """One login, in both styles. The row is the truth: a cookie or token only names it."""

    __tablename__ = "auth_session"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    token_hash: Mapped[bytes] = mapped_column(HASH, unique=True)  # SHA-256 of 256 random bits: needs no salt
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    verified_at: Mapped[datetime] = mapped_column(default=now)  # when the user last proved who he is
    revoked_at: Mapped[datetime | None]
    methods: Mapped[str] = mapped_column(String(100), default="")  # how the user proved it, as in "password"
    address: Mapped[str] = mapped_column(String(45), default="")
    agent: Mapped[str] = mapped_column(String(200), default="")


class RefreshToken(Base):
    """A refresh token of one login (token style): used once; its family is the login's session row."""

    __tablename__ = "auth_refresh_token"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    token_hash: Mapped[bytes] = mapped_column(HASH, primary_key=True)
    session_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(AuthSession.id, ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    used_at: Mapped[datetime | None]


class Link(Base):
    """A link that was mailed: one purpose, one address, one use. A half-finished flow is such a row, nothing else."""

    __tablename__ = "auth_link"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    token_hash: Mapped[bytes] = mapped_column(HASH, unique=True)
    purpose: Mapped[str] = mapped_column(String(20))
    email: Mapped[str] = mapped_column(String(254), index=True)  # where it was mailed to
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    # The login that asked for it, or the administrator who invites: without them it opens nothing.
    session_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(AuthSession.id, ondelete="CASCADE"))
    inviter_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"))
    roles: Mapped[str] = mapped_column(String(500), default="")  # that an invitation gives
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class OutgoingMail(Base):
    """A mail that is due. It holds no token: that is made when the mail is sent, and then this row goes."""

    __tablename__ = "mail_outbox"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    purpose: Mapped[str] = mapped_column(String(20))
    email: Mapped[str] = mapped_column(String(254), index=True)
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    session_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(AuthSession.id, ondelete="CASCADE"))
    inviter_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"))
    roles: Mapped[str] = mapped_column(String(500), default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    due_at: Mapped[datetime] = mapped_column(default=now, index=True)
    trusted: Mapped[bool] = mapped_column(default=False)  # asked for by an administrator or a device of the account
    attempts: Mapped[int] = mapped_column(default=0)


class Device(Base):
    """A browser or program that its user has signed in from: it has a counter of its own for failed logins."""

    __tablename__ = "auth_device"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    token_hash: Mapped[bytes] = mapped_column(HASH, unique=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime] = mapped_column(default=now)


class ThrottleCounter(Base):
    """Failures under one key; the key is an HMAC, so that no address is in here."""

    __tablename__ = "throttle_counter"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    key: Mapped[bytes] = mapped_column(HASH, primary_key=True)
    failures: Mapped[int] = mapped_column(default=0)
    rounds: Mapped[int] = mapped_column(default=0)  # full windows of failures in a row
    window_at: Mapped[datetime]
    blocked_until: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=0)  # compare-and-set


class ThrottleUse(Base):
    """When something was done under one key (registrations of a network, mails to a recipient); an HMAC as well."""

    __tablename__ = "throttle_use"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    key: Mapped[bytes] = mapped_column(HASH, primary_key=True)
    uses: Mapped[list[float]] = mapped_column(JSON, default=list)  # seconds since the epoch, oldest first
    last_at: Mapped[datetime] = mapped_column(index=True)
    version: Mapped[int] = mapped_column(default=0)  # compare-and-set


class AuditEvent(Base):
    """What happened to accounts and sessions, and what was refused."""

    __tablename__ = "audit_event"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    kind: Mapped[str] = mapped_column(String(60))
    user_id: Mapped[uuid.UUID | None] = mapped_column(index=True)  # no foreign key: it outlives the account
    session_id: Mapped[uuid.UUID | None]
    address: Mapped[str] = mapped_column(String(45), default="")
    request_id: Mapped[str] = mapped_column(String(36), default="")
    details: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
