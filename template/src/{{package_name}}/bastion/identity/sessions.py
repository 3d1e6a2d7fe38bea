"""Server-side sessions: each login is a database row, and ending the row revokes it at once, everywhere.

This stops an attacker with a copied cookie or token from using it after a logout, as with self-contained tokens.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, insert, literal, select, update

from .. import audit
from ..clock import now
from ..database import connect, transaction
from ..state import state
from .models import AuthSession, Flow, User
from .principal import Principal, second_factor_missing

TOKEN_BYTES: Final = 32  # 256 bits from the operating system
# Update the last use only when it is older than this: a write in each request costs three times the request.
TOUCH: Final = timedelta(seconds=60)
KEPT: Final = timedelta(days=30)  # after its end

SESSIONS, USERS, FLOWS = AuthSession.__table__.c, User.__table__.c, Flow.__table__.c
_LIVE: Final = (
    select(
        SESSIONS.id,
        SESSIONS.created_at,
        SESSIONS.seen_at,
        SESSIONS.verified_at,
        SESSIONS.methods,
        USERS.id.label("user_id"),
        USERS.email,
        USERS.roles,
        USERS.must_enrol,
    )
    .select_from(AuthSession.__table__.join(User.__table__, SESSIONS.user_id == USERS.id))
    .where(
        SESSIONS.revoked_at.is_(None),
        SESSIONS.seen_at > bindparam("alive_since"),
        SESSIONS.expires_at > bindparam("moment"),
        USERS.active,
    )
)
# Built once: composing a statement for each request costs more than running it.
_BY_TOKEN: Final = _LIVE.where(SESSIONS.token_hash == bindparam("token_hash"))
_BY_ID: Final = _LIVE.where(SESSIONS.id == bindparam("session_id"), SESSIONS.user_id == bindparam("owner_id"))


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session: its public id, and the token that only the client keeps."""

    id: UUID
    token: str = field(repr=False)
    user_id: UUID
    expires_at: datetime
    device_token: str = field(default="", repr=False)  # set by a login: the token of the known device


def digest(token: str) -> bytes:
    """Return the SHA-256 of a token, as stored. The token is random, so a fast hash that can be looked up suffices."""
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
    """Open a session that ends after `lifetime` at the latest; end the one it replaces in the same transaction.

    Returns None and changes nothing when the account is inactive or its row does not match `only_if`. A value that was
    compared before may have changed since.
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
        connection.execute(_ending(moment, SESSIONS.id == replaces))
    surplus = _surplus(connection, user_id, session_id, moment)
    for ended in surplus:
        connection.execute(_ending(moment, SESSIONS.id == ended))
        audit.record("session.surplus", user_id=user_id, session_id=ended, connection=connection)
    return Opened(session_id, token, user_id, moment + lifetime)


def hold(connection: Connection, user_id: UUID) -> None:
    """Lock the account's row until the commit.

    Call it first in a transaction that changes several rows of an account or decides by reading them: concurrent ones
    then wait in one order. (SQLite locks no rows; there `transaction` has the lock of the whole file.)
    """
    connection.execute(select(USERS.id).where(USERS.id == user_id).with_for_update(key_share=True))


def renew(
    connection: Connection, old: Principal, *, proved: bool, methods: frozenset[str] | None = None
) -> Opened | None:
    """Renew the session under another token and id: copies of the old token are worthless.

    Keeps the absolute end. Keeps the time of the last authentication too, unless the user has just `proved` their
    identity. `methods` replaces the recorded methods. Returns None when the session has ended since. Locks the
    account's row first and ends the old session before the new one opens. So a concurrent end of all sessions comes
    either before the renewal, which then fails, or after it, and ends the new session.
    """
    hold(connection, old.id)
    row = connection.execute(
        select(SESSIONS.expires_at, SESSIONS.address, SESSIONS.agent).where(
            SESSIONS.id == old.session_id,
            SESSIONS.user_id == old.id,
            SESSIONS.revoked_at.is_(None),
            SESSIONS.expires_at > now(),
        )
    ).one_or_none()
    if row is None or connection.execute(_ending(now(), SESSIONS.id == old.session_id)).rowcount != 1:
        return None
    return open_session(
        old.id,
        lifetime=row.expires_at - now(),
        address=row.address,
        agent=row.agent,
        method=" ".join(sorted(old.methods if methods is None else methods)),
        verified_at=None if proved else old.verified_at,
        connection=connection,
    )


def _surplus(connection: Connection, user_id: UUID, begun: UUID, moment: datetime) -> Sequence[UUID]:
    """Return the live sessions beyond the limit per account, except the new one: those unused for longest."""
    others = (
        SESSIONS.user_id == user_id,
        SESSIONS.id != begun,
        SESSIONS.revoked_at.is_(None),
        SESSIONS.expires_at > moment,
    )
    last_used_first = select(SESSIONS.id).where(*others).order_by(SESSIONS.seen_at.desc(), SESSIONS.created_at.desc())
    return connection.execute(last_used_first.offset(state().limits.sessions_per_account - 1)).scalars().all()


def _beginning(only_if: ColumnElement[bool] | None, **values: object) -> Any:
    """Return the insert of the row if its account is active and matches `only_if`; it locks that until the commit.

    The lock makes a concurrent change of the account or its password wait; that change then finds this session to end.
    Two concurrent logins of one account run one after the other, so that both count.
    """
    row = select(*(literal(value, SESSIONS[name].type) for name, value in values.items()))
    further = () if only_if is None else (only_if,)
    active = row.where(USERS.id == values["user_id"], USERS.active, *further).with_for_update(key_share=True)
    return insert(AuthSession).from_select([*values], active).execution_options(preserve_rowcount=True)


def find_by_token(token: str) -> Principal | None:
    """Return the user of the live session with this token (session style), or None."""
    idle = timedelta(minutes=state().limits.session_idle_minutes)
    return _find(_BY_TOKEN, {"token_hash": digest(token)}, idle)


def find_by_id(session_id: UUID, user_id: UUID) -> Principal | None:
    """Return the user `user_id` through their live session `session_id` (token style), or None."""
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
            connection.execute(update(AuthSession).where(SESSIONS.id == row.id).values(seen_at=moment))
    return _principal(row)


def _mark_idle(key: dict[str, object], moment: datetime, idle: timedelta) -> None:
    """Revoke a session that was used after its idle timeout, so that it stays ended even if the clock goes back."""
    which = SESSIONS.token_hash == key["token_hash"] if "token_hash" in key else SESSIONS.id == key["session_id"]
    dead = (which, SESSIONS.revoked_at.is_(None), SESSIONS.seen_at <= moment - idle)
    with connect() as connection:
        found = connection.execute(select(SESSIONS.id).where(*dead)).first()
    if found is not None:
        with transaction() as connection:
            connection.execute(_ending(moment, *dead))


def _principal(row: Row[Any]) -> Principal:
    roles, methods = frozenset(row.roles.split()), frozenset(row.methods.split())
    permissions = state().permissions(roles)
    return Principal(
        id=row.user_id,
        email=row.email,
        session_id=row.id,
        signed_in_at=row.created_at,
        verified_at=row.verified_at,
        roles=roles,
        permissions=permissions,
        methods=methods,
        factor_missing=second_factor_missing(permissions, methods, must_enrol=row.must_enrol),
    )


def live_sessions(user_id: UUID, *, idle: timedelta) -> Sequence[Any]:
    """Return the user's live sessions, last used first: id, created_at, seen_at, address, agent. No token or hash."""
    moment = now()
    statement = (
        select(SESSIONS.id, SESSIONS.created_at, SESSIONS.seen_at, SESSIONS.address, SESSIONS.agent)
        .where(
            SESSIONS.user_id == user_id,
            SESSIONS.revoked_at.is_(None),
            SESSIONS.seen_at > moment - idle,
            SESSIONS.expires_at > moment,
        )
        .order_by(SESSIONS.seen_at.desc())
    )
    with connect() as connection:
        return connection.execute(statement).all()


def end(session_id: UUID, user_id: UUID, *, connection: Connection | None = None) -> bool:
    """End one session of this user, also as part of `connection`; return whether there was one to end."""
    if connection is None:
        with transaction() as own:
            return end(session_id, user_id, connection=own)
    return connection.execute(_ending(now(), SESSIONS.id == session_id, SESSIONS.user_id == user_id)).rowcount == 1


def end_all(user_id: UUID, *, but: UUID | None = None, connection: Connection | None = None) -> int:
    """End all sessions of the user except `but`, and waiting logins; return the number of ended sessions.

    With `connection`, as part of that transaction: a new password and the end of the old sessions commit together.
    """
    if connection is None:
        with transaction() as own:
            return end_all(user_id, but=but, connection=own)
    # Flows first: a concurrent login has then either opened its session, which ends below, or can no longer do so.
    connection.execute(_ending_flows(FLOWS.user_id == user_id))
    others = () if but is None else (SESSIONS.id != but,)
    return connection.execute(_ending(now(), SESSIONS.user_id == user_id, *others)).rowcount


def end_of_everybody(*, but: UUID) -> int:
    """End all sessions of all users except `but`, and waiting logins; return the number of ended sessions."""
    with transaction() as connection:
        connection.execute(_ending_flows())
        return connection.execute(_ending(now(), SESSIONS.id != but)).rowcount


def _ending(moment: datetime, *which: ColumnElement[bool]) -> Any:
    return update(AuthSession).where(SESSIONS.revoked_at.is_(None), *which).values(revoked_at=moment)


def _ending_flows(*which: ColumnElement[bool]) -> Any:
    return update(Flow).where(FLOWS.used_at.is_(None), FLOWS.session_id.is_(None), *which).values(used_at=now())


def purge(*, older_than: timedelta = KEPT) -> int:
    """Delete session rows that ended that long ago, with their refresh tokens; return the number of sessions."""
    moment = now() - older_than
    with transaction() as connection:
        gone = delete(AuthSession).where((SESSIONS.revoked_at < moment) | (SESSIONS.expires_at < moment))
        return connection.execute(gone).rowcount
