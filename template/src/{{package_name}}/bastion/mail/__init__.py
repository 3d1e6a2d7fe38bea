"""Mail outbox: a request only queues a mail; content, recipient and link are decided when it is sent.

So requests for unknown and known addresses do the same work (no account enumeration). A slow mail server delays no
request, and no table holds a token. The owner gets a mail about each change that a thief of a session or password could
make, with its time, client address and device. Source: ASVS 6.3.5, 6.3.7, 6.3.8, 11.5.1.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from flask import has_request_context, request
from sqlalchemy import Connection, ForeignKey, String, insert
from sqlalchemy.orm import Mapped, mapped_column

from ..clock import now
from ..database import OWNER, Base
from ..text.user_agent import device_name

# Notices, beside the purposes of links (identity/links.py); no unauthenticated client can cause one.
PASSWORD_CHANGED: Final = "password-changed"  # noqa: S105  (a purpose)
EMAIL_ASKED: Final = "email-asked"
EMAIL_CHANGED: Final = "email-changed"
TOKEN_REUSED: Final = "token-reused"  # noqa: S105
ACCOUNT_DELETED: Final = "account-deleted"
FACTOR_ADDED: Final = "factor-added"
FACTOR_REMOVED: Final = "factor-removed"
FACTORS_RESET: Final = "factors-reset"
CODES_MADE: Final = "codes-made"
CODE_USED: Final = "code-used"
PASSKEY_SUSPENDED: Final = "passkey-suspended"
NEW_DEVICE: Final = "new-device"
AFTER_FAILURES: Final = "after-failures"
FACTOR_GUESSED: Final = "factor-guessed"
NOTICES: Final = frozenset(
    {
        PASSWORD_CHANGED,
        EMAIL_ASKED,
        EMAIL_CHANGED,
        TOKEN_REUSED,
        ACCOUNT_DELETED,
        FACTOR_ADDED,
        FACTOR_REMOVED,
        FACTORS_RESET,
        CODES_MADE,
        CODE_USED,
        PASSKEY_SUSPENDED,
        NEW_DEVICE,
        AFTER_FAILURES,
        FACTOR_GUESSED,
    }
)
BY_OTHERS: Final = frozenset({FACTORS_RESET})
"""Notices of an administrator's action; its origin is hidden from the account's owner."""


class OutgoingMail(Base):
    """A queued mail. It holds no token: the sender makes that, and then deletes this row."""

    __tablename__ = "mail_outbox"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    purpose: Mapped[str] = mapped_column(String(20))
    email: Mapped[str] = mapped_column(String(254), index=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("auth_user.id", ondelete="CASCADE"), index=True)
    session_id: Mapped[UUID | None] = mapped_column(ForeignKey("auth_session.id", ondelete="CASCADE"))
    inviter_id: Mapped[UUID | None] = mapped_column(ForeignKey("auth_user.id", ondelete="CASCADE"))
    roles: Mapped[str] = mapped_column(String(500), default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    due_at: Mapped[datetime] = mapped_column(default=now, index=True)
    trusted: Mapped[bool] = mapped_column(default=False)  # asked for by an administrator or a device of the account
    origin: Mapped[str] = mapped_column(String(45), default="", server_default="")  # the address that caused a notice
    device: Mapped[str] = mapped_column(String(60), default="", server_default="")  # its browser and system
    attempts: Mapped[int] = mapped_column(default=0)


def enqueue(
    connection: Connection,
    purpose: str,
    email: str,
    *,
    user_id: UUID | None = None,
    session_id: UUID | None = None,
    inviter_id: UUID | None = None,
    roles: str = "",
    trusted: bool = False,
) -> None:
    """Queue a mail to one normalised address, in the transaction of its cause; delivery/outbox.py sends it.

    `trusted`: an administrator or a device of the account asked for it, so it does not count against the limit of
    unauthenticated requests. A notice keeps the address and the device of its client.
    """
    moment = now()
    connection.execute(
        insert(OutgoingMail).values(
            id=uuid4(),
            purpose=purpose,
            email=email,
            user_id=user_id,
            session_id=session_id,
            inviter_id=inviter_id,
            roles=roles,
            created_at=moment,
            due_at=moment,
            trusted=trusted,
            origin=_origin() if purpose in NOTICES - BY_OTHERS else "",
            device=_device() if purpose in NOTICES - BY_OTHERS else "",
            attempts=0,
        )
    )


def _origin() -> str:
    return (request.remote_addr or "")[:45] if has_request_context() else ""


def _device() -> str:
    return device_name(request.headers.get("User-Agent", "")) if has_request_context() else ""
