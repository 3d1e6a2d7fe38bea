"""Tables of accounts, sessions and factors; every service has all of them, so its chain of migrations has no gap."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, String, false
from sqlalchemy.dialects.mysql import VARBINARY
from sqlalchemy.orm import Mapped, mapped_column

from ..clock import now
from ..crypto.encryption import ENCRYPTED
from ..database import HASH, OWNER, Base

HANDLE = LargeBinary().with_variant(VARBINARY(64), "mysql", "mariadb")


class User(Base):
    """An account. A team extends it with its own table, whose foreign key to it has ON DELETE CASCADE."""

    __tablename__ = "auth_user"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str | None] = mapped_column(String(255))  # none: a user who signs in without a password
    active: Mapped[bool] = mapped_column(default=True)
    roles: Mapped[str] = mapped_column(String(500), default="")  # names with single spaces between them, sorted
    created_at: Mapped[datetime] = mapped_column(default=now)
    display_name: Mapped[str] = mapped_column(String(100), default="", server_default="")
    # The WebAuthn userHandle: 64 random bytes, made for the first passkey; independent of all account data.
    passkey_handle: Mapped[bytes | None] = mapped_column(HANDLE, unique=True, index=True)
    # Set when an administrator removes the second factors: the user must enrol a new one before anything else.
    must_enrol: Mapped[bool] = mapped_column(default=False, server_default=false())


class AuthSession(Base):
    """One login, in both styles. The row is authoritative: a cookie or token only names it."""

    __tablename__ = "auth_session"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    token_hash: Mapped[bytes] = mapped_column(HASH, unique=True)  # SHA-256 of 256 random bits: needs no salt
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    verified_at: Mapped[datetime] = mapped_column(default=now)  # when the user last authenticated
    revoked_at: Mapped[datetime | None]
    methods: Mapped[str] = mapped_column(String(100), default="")  # how the user authenticated, as in "password totp"
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
    """A mailed link: one purpose, one address, one use. The row is the only state of its flow."""

    __tablename__ = "auth_link"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    token_hash: Mapped[bytes] = mapped_column(HASH, unique=True)
    purpose: Mapped[str] = mapped_column(String(20))
    email: Mapped[str] = mapped_column(String(254), index=True)  # where it was mailed to
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    # The session that requested it, or the inviting administrator: when either ends, so does the link.
    session_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(AuthSession.id, ondelete="CASCADE"))
    inviter_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"))
    roles: Mapped[str] = mapped_column(String(500), default="")  # that an invitation gives
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Flow(Base):
    """A half-finished flow of one account: a login that waits for its second factor, or an enrolment of an app.

    Its counts and used values are columns here, so a client cannot restore an earlier state.
    """

    __tablename__ = "auth_flow"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    token_hash: Mapped[bytes] = mapped_column(HASH, unique=True)
    purpose: Mapped[str] = mapped_column(String(20))
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    session_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(AuthSession.id, ondelete="CASCADE"), index=True)
    data: Mapped[bytes | None] = mapped_column(LargeBinary, info=ENCRYPTED)  # the seed of an authenticator app
    tries: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Totp(Base):
    """The authenticator app of an account: the seed, encrypted, and the last time step whose code was used."""

    __tablename__ = "auth_totp"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    # The primary key binds the encrypted seed: a row that is moved to another account cannot be decrypted.
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), primary_key=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary, info=ENCRYPTED)
    last_step: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=now)


class RecoveryCode(Base):
    """A code that replaces a lost second factor. Only its SHA-256 is stored; the code has 128 random bits."""

    __tablename__ = "auth_recovery_code"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    code_hash: Mapped[bytes] = mapped_column(HASH, unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    used_at: Mapped[datetime | None]


class Passkey(Base):
    """A WebAuthn credential with only its public key, so a stolen row signs no attacker in."""

    __tablename__ = "auth_passkey"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    credential_hash: Mapped[bytes] = mapped_column(HASH, unique=True)  # of the id, which may be too long for an index
    credential_id: Mapped[bytes] = mapped_column(LargeBinary)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)  # COSE
    sign_count: Mapped[int] = mapped_column(BigInteger)
    transports: Mapped[str] = mapped_column(String(100), default="")  # with single spaces between them
    backup_eligible: Mapped[bool]
    backed_up: Mapped[bool]
    name: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(default=now)
    used_at: Mapped[datetime | None]
    suspended_at: Mapped[datetime | None]  # its counter went back: there may be a copy


class SpentChallenge(Base):
    """A used challenge of a passkey ceremony; it cannot be used again."""

    __tablename__ = "auth_spent_challenge"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    challenge_hash: Mapped[bytes] = mapped_column(HASH, primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Device(Base):
    """A browser or program that a user has signed in from; its failed logins have their own counter."""

    __tablename__ = "auth_device"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    token_hash: Mapped[bytes] = mapped_column(HASH, unique=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime] = mapped_column(default=now)
