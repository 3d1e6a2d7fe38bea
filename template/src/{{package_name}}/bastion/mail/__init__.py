"""A request only notes that a mail is due; what is sent, to whom, and with which link is decided when it is sent.

So a request for an unknown address does the same work as one for a known, no slow mail server holds a request up, and
no table ever holds a token. Whatever a thief of a session or a password could do to an account is told to its owner,
with the time and the address that it came from. Source: ASVS 6.3.5, 6.3.7, 6.3.8, 11.5.1.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID, uuid4

from flask import has_request_context, request
from sqlalchemy import Connection, insert

from ..clock import now
from .tables import OutgoingMail

# Beside the purposes of links (identity/links.py): notices, which no stranger can cause.
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
"""Notices of what an administrator did; from where is no concern of the account's owner."""


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
    """Note a mail to one normalised address, in the transaction of what causes it; delivery/outbox.py sends it.

    `trusted`: no stranger asked for it, so it is not counted with what strangers may ask for. A notice keeps the
    address of the client whose request it is about.
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
            attempts=0,
        )
    )


def _origin() -> str:
    return (request.remote_addr or "")[:45] if has_request_context() else ""
