"""A session is a row, and only a live row lets anybody in: ended there, it is ended everywhere at once.

A cookie or token that carries its own validity stays valid in the hands of whoever copied it, after every logout.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, insert, literal, select, update

from .. import audit
from ..clock import now
from ..database import connect, transaction
from ..state import state
from .models import AuthSession, User
from .principal import Principal

TOKEN_BYTES: Final = 32  # 256 bits from the operating system
# Last use is written when it is older than this: a write a request costs three times as much as the request.
TOUCH: Final = timedelta(seconds=60)

_s, _u = AuthSession.__table__.c, User.__table__.c
_LIVE: Final = (
    select(_s.id, _s.created_at, _s.seen_at, _s.verified_at, _u.id.label("user_id"), _u.email, _u.roles)
    .select_from(AuthSession.__table__.join(User.__table__, _s.user_id == _u.id))
    .where(
        _s.revoked_at.is_(None),
        _s.seen_at > bindparam("alive_since"),
        _s.expires_at > bindparam("moment"),
        _u.active,
    )
)
# Built once: composing a statement for each request costs more than running it.
_BY_TOKEN: Final = _LIVE.where(_s.token_hash == bindparam("token_hash"))
_BY_ID: Final = _LIVE.where(_s.id == bindparam("session_id"), _s.user_id == bindparam("owner_id"))


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that has just begun: its public id, and the token that only the client keeps."""

    id: UUID
    token: str
    user_id: UUID
    expires_at: datetime
    device_token: str = ""  # set by a login: what the device keeps to be known again


def digest(token: str) -> bytes:
    """What is stored of a token. It is random, so plain SHA-256 suffices and can be looked up."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def open_session(
    user_id: UUID,
    *,
    lifetime: timedelta,
    address: str = "",
    agent: str = "",
    method: str = "password",
    replaces: UUID | None = None,
    only_if: ColumnElement[bool] | None = None,
    verified_at: datetime | None = None,
    connection: Connection | None = None,
) -> Opened | None:
    """Begin a session that ends after `lifetime` at the latest; the one it replaces ends in the same transaction.

    None, and nothing is changed, when the account is not active at this very moment, or its row is not (any more) what
    `only_if` says: what was compared before may have been changed since.
    """
    if connection is None:
        with transaction() as own:
            return open_session(
                user_id,
                lifetime=lifetime,
                address=address,
                agent=agent,
                method=method,
                replaces=replaces,
                only_if=only_if,
                verified_at=verified_at,
                connection=own,
            )
    moment, token, session_id = now(), secrets.token_urlsafe(TOKEN_BYTES), uuid4()
    begun = _beginning(
        only_if,
        id=session_id,
        token_hash=digest(token),
        user_id=user_id,
        created_at=moment,
        seen_at=moment,
        verified_at=verified_at or moment,
        expires_at=moment + lifetime,
        methods=method,
        address=address[:45],
        agent=agent[:200],
    )
    if connection.execute(begun).rowcount != 1:
        return None
    if replaces is not None:
        connection.execute(_ending(moment, _s.id == replaces))
    surplus = _surplus(connection, user_id, session_id, moment)
    for ended in surplus:
        connection.execute(_ending(moment, _s.id == ended))
        audit.record("session.surplus", user_id=user_id, session_id=ended, connection=connection)
    return Opened(session_id, token, user_id, moment + lifetime)


def hold(connection: Connection, user_id: UUID) -> None:
    """Lock the account's row until the commit.

    Whoever changes several rows of an account begins with it, so that two that meet wait for each other in one order.
    """
    connection.execute(select(_u.id).where(_u.id == user_id).with_for_update(key_share=True))


def renew(connection: Connection, old: Principal, *, proved: bool) -> Opened | None:
    """Begin the session anew under another token and id: copies of the old are dead.

    Its absolute end stays where it was and, unless its user has just `proved` who he is, the time when he last did.
    None when the session has ended in the meantime. The account's row is locked first, and the old session ended before
    the new one begins: whoever ends all sessions at this moment comes either before, and this one is not renewed, or
    after, and finds the new one.
    """
    hold(connection, old.id)
    row = connection.execute(
        select(_s.expires_at, _s.methods, _s.address, _s.agent).where(
            _s.id == old.session_id, _s.user_id == old.id, _s.revoked_at.is_(None), _s.expires_at > now()
        )
    ).one_or_none()
    if row is None or connection.execute(_ending(now(), _s.id == old.session_id)).rowcount != 1:
        return None
    return open_session(
        old.id,
        lifetime=row.expires_at - now(),
        address=row.address,
        agent=row.agent,
        method=row.methods,
        verified_at=None if proved else old.verified_at,
        connection=connection,
    )


def _surplus(connection: Connection, user_id: UUID, begun: UUID, moment: datetime) -> Sequence[UUID]:
    """The live sessions that are too many for one account beside the one that begins: those unused for longest."""
    others = (_s.user_id == user_id, _s.id != begun, _s.revoked_at.is_(None), _s.expires_at > moment)
    last_used_first = select(_s.id).where(*others).order_by(_s.seen_at.desc(), _s.created_at.desc())
    return connection.execute(last_used_first.offset(state().limits.sessions_per_account - 1)).scalars().all()


def _beginning(only_if: ColumnElement[bool] | None, **values: object) -> Any:
    """Insert the row if its account is active and as `only_if` says, and keep it so until the commit.

    The lock makes whoever disables the account or changes its password wait, and then find this session to end; and two
    logins of one account begin one after the other, so that both count.
    """
    row = select(*(literal(value, _s[name].type) for name, value in values.items()))
    further = () if only_if is None else (only_if,)
    active = row.where(_u.id == values["user_id"], _u.active, *further).with_for_update(key_share=True)
    return insert(AuthSession).from_select([*values], active).execution_options(preserve_rowcount=True)


def find_by_token(token: str) -> Principal | None:
    """The user of the live session that this token opens (session style), or None."""
    idle = timedelta(minutes=state().limits.session_idle_minutes)
    return _find(_BY_TOKEN, {"token_hash": digest(token)}, idle)


def find_by_id(session_id: UUID, user_id: UUID) -> Principal | None:
    """The user `user_id` through his live session `session_id` (token style), or None."""
    idle = timedelta(minutes=state().limits.refresh_idle_minutes)
    return _find(_BY_ID, {"session_id": session_id, "owner_id": user_id}, idle)


def _find(statement: Any, key: dict[str, object], idle: timedelta) -> Principal | None:
    moment = now()
    with connect() as connection:
        row = connection.execute(statement, {**key, "alive_since": moment - idle, "moment": moment}).one_or_none()
    if row is None:
        _mark_idle(key, moment, idle)
        return None
    if moment - row.seen_at > TOUCH:
        with transaction() as connection:
            connection.execute(update(AuthSession).where(_s.id == row.id).values(seen_at=moment))
    return _principal(row)


def _mark_idle(key: dict[str, object], moment: datetime, idle: timedelta) -> None:
    """A session that was met after its idle time stays ended, even if the clock went back."""
    which = _s.token_hash == key["token_hash"] if "token_hash" in key else _s.id == key["session_id"]
    dead = (which, _s.revoked_at.is_(None), _s.seen_at <= moment - idle)
    with connect() as connection:
        found = connection.execute(select(_s.id).where(*dead)).first()
    if found is not None:
        with transaction() as connection:
            connection.execute(_ending(moment, *dead))


def _principal(row: Row[Any]) -> Principal:
    roles = frozenset(row.roles.split())
    return Principal(
        id=row.user_id,
        email=row.email,
        session_id=row.id,
        signed_in_at=row.created_at,
        verified_at=row.verified_at,
        roles=roles,
        permissions=state().permissions(roles),
    )


def live_sessions(user_id: UUID, *, idle: timedelta) -> Sequence[Any]:
    """The user's live sessions, last used first: id, created_at, seen_at, address, agent. Never a token or its hash."""
    moment = now()
    statement = (
        select(_s.id, _s.created_at, _s.seen_at, _s.address, _s.agent)
        .where(_s.user_id == user_id, _s.revoked_at.is_(None), _s.seen_at > moment - idle, _s.expires_at > moment)
        .order_by(_s.seen_at.desc())
        .limit(100)
    )
    with connect() as connection:
        return connection.execute(statement).all()


def end(session_id: UUID, user_id: UUID) -> bool:
    """End one session of this user; whether there was one to end."""
    return _end(_s.id == session_id, _s.user_id == user_id) == 1


def end_all(user_id: UUID, *, but: UUID | None = None, connection: Connection | None = None) -> int:
    """End every session of the user, except perhaps the present one; how many were ended.

    With `connection` as part of that transaction: no new password without the end of what the old one opened.
    """
    others = () if but is None else (_s.id != but,)
    return _end(_s.user_id == user_id, *others, connection=connection)


def end_of_everybody(*, but: UUID) -> int:
    """End all sessions of all users except the one that asks; how many were ended."""
    return _end(_s.id != but)


def _ending(moment: datetime, *which: ColumnElement[bool]) -> Any:
    return update(AuthSession).where(_s.revoked_at.is_(None), *which).values(revoked_at=moment)


def _end(*which: ColumnElement[bool], connection: Connection | None = None) -> int:
    if connection is not None:
        return connection.execute(_ending(now(), *which)).rowcount
    with transaction() as own:
        return own.execute(_ending(now(), *which)).rowcount


def purge(*, older_than: timedelta = timedelta(days=30)) -> int:
    """Delete the rows of sessions that ended that long ago; how many there were. Refresh tokens go with them."""
    moment = now() - older_than
    with transaction() as connection:
        gone = delete(AuthSession).where((_s.revoked_at < moment) | (_s.expires_at < moment))
        return connection.execute(gone).rowcount
