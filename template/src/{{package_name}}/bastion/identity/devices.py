"""A device that its user has signed in from is known again, so that a stranger's guesses do not keep its owner out.

What makes a guesser wait makes the owner wait as well, unless his own failures are counted apart. A device opens
nothing: it has as many tries as everybody else, and without the password it is worth nothing. And a login from one that
is not known is told to the owner, who alone can say whether it was his. Source: ASVS 6.3.1, 6.3.5.
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
MOST: Final = 10  # of one account; the one unused for longest goes
_d, _u = Device.__table__.c, User.__table__.c
_ACCOUNTS: Final = Device.__table__.join(User.__table__, _d.user_id == _u.id)
_KNOWN: Final = (
    select(_d.id)
    .select_from(_ACCOUNTS)
    .where(
        _d.token_hash == bindparam("token_hash"),
        (_u.email == bindparam("email")) | (_u.id == bindparam("user")),
        _d.seen_at > bindparam("kept_since"),
    )
)


def find(token: str, email: str = "", *, user_id: UUID | None = None) -> UUID | None:
    """The device of this token, if this very account, named by its address or its id, was signed in to from it."""
    values = {"token_hash": digest(token), "email": email, "user": user_id, "kept_since": now() - KEPT}
    with connect() as connection:
        return connection.execute(_KNOWN, values).scalar()


def remember(connection: Connection, user_id: UUID, known: UUID | None, token: str) -> tuple[str, datetime | None]:
    """Know the device of this login from now on, in the login's transaction.

    The token that it keeps, and when it was last signed in from; None for a device that is new. Only the token's hash
    is stored, and it belongs to this account alone.
    """
    moment = now()
    if known is not None:
        seen_at: datetime | None = connection.execute(select(_d.seen_at).where(_d.id == known)).scalar()
        if connection.execute(update(Device).where(_d.id == known).values(seen_at=moment)).rowcount == 1:
            return token, seen_at
    token = secrets.token_urlsafe(TOKEN_BYTES)
    made = {"id": uuid4(), "token_hash": digest(token), "user_id": user_id, "created_at": moment, "seen_at": moment}
    connection.execute(insert(Device).values(**made))
    rows = connection.execute(select(_d.id).where(_d.user_id == user_id).order_by(_d.seen_at.desc(), _d.id))
    if surplus := [*rows.scalars()][MOST:]:
        connection.execute(delete(Device).where(_d.id.in_(surplus)))
    return token, None


def forget_all(connection: Connection, user_id: UUID) -> None:
    """Know no device of this account any more, in the transaction that changes what it signs in with."""
    connection.execute(delete(Device).where(_d.user_id == user_id))


def purge() -> int:
    """Delete the devices that nobody has signed in from for so long; how many there were."""
    with transaction() as connection:
        return connection.execute(delete(Device).where(_d.seen_at < now() - KEPT)).rowcount
