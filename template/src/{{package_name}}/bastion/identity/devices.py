"""Known devices: failed logins from a device that the user has signed in from count apart from all others.

This stops an attacker's guesses from locking the owner out. A device token opens nothing and has the same limit of
tries as any other client; without the password it is worthless. A login from an unknown device is mailed to the owner,
who can say whether it was theirs. Source: ASVS 6.3.1, 6.3.5.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from ..clock import now
from ..database import connect, transaction
from .models import Device, User
from .sessions import TOKEN_BYTES, digest

KEPT: Final = timedelta(days=400)  # after its last login; browsers keep no cookie longer (RFC 6265bis, 5.5)
MOST: Final = 10  # of one account; the one unused for longest is deleted
DEVICES, USERS = Device.__table__.c, User.__table__.c
_ACCOUNTS: Final = Device.__table__.join(User.__table__, DEVICES.user_id == USERS.id)
_KNOWN: Final = (
    select(DEVICES.id)
    .select_from(_ACCOUNTS)
    .where(
        DEVICES.token_hash == bindparam("token_hash"),
        (USERS.email == bindparam("email")) | (USERS.id == bindparam("user")),
        DEVICES.seen_at > bindparam("kept_since"),
    )
)


def find(token: str, email: str = "", *, user_id: UUID | None = None) -> UUID | None:
    """Return the device of this token if it belongs to this account (by address or id), or None."""
    values = {"token_hash": digest(token), "email": email, "user": user_id, "kept_since": now() - KEPT}
    with connect() as connection:
        return connection.execute(_KNOWN, values).scalar()


def remember(connection: Connection, user_id: UUID, known: UUID | None, token: str) -> tuple[str, datetime | None]:
    """Store the device of this login, in the login's transaction, as a known device of the account.

    Returns the device token and the time of its previous login, or None for a new device. Only the token's hash is
    stored; it is valid only for this account.
    """
    moment = now()
    if known is not None:
        seen_at: datetime | None = connection.execute(select(DEVICES.seen_at).where(DEVICES.id == known)).scalar()
        if connection.execute(update(Device).where(DEVICES.id == known).values(seen_at=moment)).rowcount == 1:
            return token, seen_at
    token = secrets.token_urlsafe(TOKEN_BYTES)
    made = {"id": uuid4(), "token_hash": digest(token), "user_id": user_id, "created_at": moment, "seen_at": moment}
    connection.execute(insert(Device).values(**made))
    rows = connection.execute(
        select(DEVICES.id).where(DEVICES.user_id == user_id).order_by(DEVICES.seen_at.desc(), DEVICES.id)
    )
    if surplus := [*rows.scalars()][MOST:]:
        connection.execute(delete(Device).where(DEVICES.id.in_(surplus)))
    return token, None


def forget_all(connection: Connection, user_id: UUID) -> None:
    """Delete all devices of this account, in the transaction that changes its credentials."""
    connection.execute(delete(Device).where(DEVICES.user_id == user_id))


def purge() -> int:
    """Delete the devices without a login for 400 days; return their number."""
    with transaction() as connection:
        return connection.execute(delete(Device).where(DEVICES.seen_at < now() - KEPT)).rowcount
