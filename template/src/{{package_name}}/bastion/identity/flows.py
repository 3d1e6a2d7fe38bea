"""Half-finished flows: a database row with one purpose, one account, one end and a count of tries.

This stops a client from replaying an earlier state, as it could with a signed cookie, and trying for ever. Without a
purpose, the token of one flow would open another. Source: ASVS 6.3.4, 7.2.1.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Connection, delete, exists, insert, select, update

from ..clock import now
from ..crypto import encryption
from ..database import connect, transaction
from .models import Flow, SpentChallenge, User
from .principal import Principal
from .sessions import TOKEN_BYTES, digest

LOGIN: Final = "login"  # the password was right, the second factor is still to come
ENROL: Final = "enrol"  # the seed is shown, and the authenticator app's first code is still to come
LIFETIME: Final = {LOGIN: timedelta(minutes=5), ENROL: timedelta(minutes=10)}
MOST_TRIES: Final = 5  # wrong codes; then the flow ends, and the user must enter the password again (ASVS 6.3.1, 6.6.3)
KEPT: Final = timedelta(days=1)  # after its end
FLOWS, USERS, CHALLENGES = Flow.__table__.c, User.__table__.c, SpentChallenge.__table__.c


@dataclass(frozen=True, slots=True)
class Begun:
    """A new flow: the token that only the client keeps, the account, and the flow's end."""

    token: str = field(repr=False)
    user_id: UUID
    expires_at: datetime


def begin(
    connection: Connection, purpose: str, user_id: UUID, *, session_id: UUID | None = None, data: bytes = b""
) -> Begun:
    """Begin a flow, in the caller's transaction; end an earlier one of its session and purpose. `data` is encrypted."""
    if session_id is not None:
        _end(connection, FLOWS.session_id == session_id, FLOWS.purpose == purpose)
    flow_id, token, moment = uuid4(), secrets.token_urlsafe(TOKEN_BYTES), now()
    expires_at = moment + LIFETIME[purpose]
    connection.execute(
        insert(Flow).values(
            id=flow_id,
            token_hash=digest(token),
            purpose=purpose,
            user_id=user_id,
            session_id=session_id,
            data=encryption.encrypt(data, _place(flow_id)) if data else None,
            tries=0,
            created_at=moment,
            expires_at=expires_at,
        )
    )
    return Begun(token, user_id, expires_at)


def _place(flow_id: UUID) -> str:
    return encryption.place_of(Flow.__tablename__, "data", flow_id)


def secret_of(flow: Any) -> bytes:
    """Return the decrypted data of the flow. Raises encryption.DecryptError."""
    return encryption.decrypt(flow.data, _place(flow.id))


def _live(purpose: str) -> tuple[Any, ...]:
    """Return all conditions of a live flow, for one condition of one statement."""
    return (
        FLOWS.purpose == purpose,
        FLOWS.used_at.is_(None),
        FLOWS.expires_at > now(),
        FLOWS.tries < MOST_TRIES,
        exists().where(USERS.id == FLOWS.user_id, USERS.active),
    )


def find(purpose: str, token: str) -> Any | None:
    """Return the live flow of this purpose and token, or None. A flow of a session has no token and is never found."""
    wanted = select(Flow.__table__).where(
        FLOWS.token_hash == digest(token), FLOWS.session_id.is_(None), *_live(purpose)
    )
    with connect() as connection:
        return connection.execute(wanted).one_or_none()


def find_own(purpose: str, user: Principal) -> Any | None:
    """Return the live flow of this purpose in the user's own session, or None."""
    own = (FLOWS.session_id == user.session_id, FLOWS.user_id == user.id)
    with connect() as connection:
        return connection.execute(select(Flow.__table__).where(*own, *_live(purpose))).one_or_none()


def count(flow: Any) -> bool:
    """Count one try before the check; False when the flow has no try left or has ended."""
    counted = update(Flow).where(FLOWS.id == flow.id, *_live(flow.purpose)).values(tries=FLOWS.tries + 1)
    with transaction() as connection:
        return connection.execute(counted).rowcount == 1


def give_back(flow: Any) -> None:
    """Give back a try that was no guess."""
    with transaction() as connection:
        connection.execute(update(Flow).where(FLOWS.id == flow.id, FLOWS.tries > 0).values(tries=FLOWS.tries - 1))


def spend(connection: Connection, flow: Any) -> bool:
    """End the flow, in the caller's transaction; False when it has expired or another request has ended it.

    `count` has already counted the last try, so the limit itself is allowed.
    """
    mine = (FLOWS.id == flow.id, FLOWS.used_at.is_(None), FLOWS.expires_at > now(), FLOWS.tries <= MOST_TRIES)
    return connection.execute(update(Flow).where(*mine).values(used_at=now(), data=None)).rowcount == 1


def cancel(connection: Connection, user_id: UUID) -> None:
    """End every flow of the account, in the transaction of the event that revokes them."""
    _end(connection, FLOWS.user_id == user_id)


def _end(connection: Connection, *which: Any) -> None:
    connection.execute(update(Flow).where(FLOWS.used_at.is_(None), *which).values(used_at=now(), data=None))


def purge() -> int:
    """Delete flows that expired a day ago and spent challenges that have expired; return their number."""
    with transaction() as connection:
        gone = connection.execute(delete(Flow).where(FLOWS.expires_at < now() - KEPT)).rowcount
        return gone + connection.execute(delete(SpentChallenge).where(CHALLENGES.expires_at < now())).rowcount
