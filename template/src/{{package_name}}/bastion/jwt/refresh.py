"""Refresh token rotation with reuse detection: each token is valid once, and a second use ends the login.

This stops an attacker with a copied refresh token from using the account for ever. One conditional UPDATE in the
database decides which use is first, and the end of the login commits before the refusal. Source: RFC 9700, 4.14.2; ASVS
10.4.5.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NoReturn
from uuid import UUID

from sqlalchemy import Connection, bindparam, exists, insert, select, update

from .. import audit, mail, throttle
from ..audit.refusal import refuse
from ..clock import now
from ..database import connect, transaction
from ..identity.models import AuthSession, RefreshToken, User
from ..identity.sessions import TOKEN_BYTES, Opened, digest
from ..state import state
from .settings import settings
from .tokens import issue_access_token, lifetime

INVALID_TOKEN: Final = (("WWW-Authenticate", 'Bearer error="invalid_token"'),)  # RFC 6750, 3.1
TOKENS, SESSIONS, USERS = RefreshToken.__table__.c, AuthSession.__table__.c, User.__table__.c
_LOGIN_LIVES: Final = exists().where(
    SESSIONS.id == TOKENS.session_id,
    SESSIONS.revoked_at.is_(None),
    SESSIONS.expires_at > bindparam("moment"),
    USERS.id == SESSIONS.user_id,
    USERS.active,
)
_SPEND: Final = (
    update(RefreshToken)
    .where(
        TOKENS.token_hash == bindparam("spent"),
        TOKENS.used_at.is_(None),
        TOKENS.created_at > bindparam("alive_since"),
        _LOGIN_LIVES,
    )
    .values(used_at=bindparam("moment"))
)
_FAMILY: Final = (
    select(TOKENS.session_id, TOKENS.used_at, SESSIONS.user_id, SESSIONS.expires_at, USERS.email)
    .join_from(RefreshToken.__table__, AuthSession.__table__, SESSIONS.id == TOKENS.session_id)
    .join(User.__table__, USERS.id == SESSIONS.user_id)
    .where(TOKENS.token_hash == bindparam("wanted"))
)


@dataclass(frozen=True, slots=True)
class Pair:
    """The tokens of a login or an exchange; `expires_in` is the access token's lifetime in seconds."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int


def first_pair(opened: Opened) -> Pair:
    """Return the tokens of a new session, or of a renewed one that keeps its end."""
    with transaction() as connection:
        refresh_token = _issue(connection, opened.id)
    return _pair(opened.user_id, opened.id, refresh_token, opened.expires_at)


def exchange(token: str) -> Pair:
    """Exchange a refresh token for a new pair. 401 for one that is unknown, used, too old, or of an ended login."""
    moment = now()
    alive_since = moment - timedelta(minutes=state().limits.refresh_idle_minutes)
    values = {"spent": digest(token), "alive_since": alive_since, "moment": moment}
    with transaction() as connection:
        spent = connection.execute(_SPEND, values).rowcount == 1  # first, so that the row's lock decides every race
        if spent:
            family = connection.execute(_FAMILY, {"wanted": values["spent"]}).one()
            throttle.count_session(family.session_id)  # one too many rolls back: the token is as good as before
            connection.execute(update(AuthSession).where(SESSIONS.id == family.session_id).values(seen_at=moment))
            refresh_token = _issue(connection, family.session_id)
    if not spent:
        _refuse(digest(token))
    return _pair(family.user_id, family.session_id, refresh_token, family.expires_at)


def _issue(connection: Connection, session_id: UUID) -> str:
    token = secrets.token_urlsafe(TOKEN_BYTES)
    connection.execute(insert(RefreshToken).values(token_hash=digest(token), session_id=session_id, created_at=now()))
    return token


def _pair(user_id: UUID, session_id: UUID, refresh_token: str, ends_at: datetime) -> Pair:
    access_token = issue_access_token(user_id, session_id, ends_at)
    return Pair(access_token, refresh_token, lifetime(int(now().timestamp()), ends_at))


def _refuse(token_hash: bytes) -> NoReturn:
    """Refuse with the same 401 for every reason; for a used token end its login first."""
    with connect() as connection:
        family = connection.execute(_FAMILY, {"wanted": token_hash}).one_or_none()
    if family is None:
        refuse(401, "refresh-one-use", headers=INVALID_TOKEN)
    if family.used_at is None:  # too old, or the login has ended
        refuse(401, "refresh-lifetimes", headers=INVALID_TOKEN)
    race = settings().refresh_race_seconds
    if race and now() - family.used_at < timedelta(seconds=race):  # its own client, twice, on a bad line
        refuse(401, "refresh-one-use", headers=INVALID_TOKEN)
    _end_stolen(family.session_id, family.user_id, family.email)
    refuse(401, "refresh-reuse-revokes-family", headers=INVALID_TOKEN)


def _end_stolen(session_id: UUID, user_id: UUID, email: str) -> None:
    """End the login whose used token came again, and mail its owner: once, committed before the answer."""
    with transaction() as connection:
        if not _revoke(connection, session_id):
            return
        mail.enqueue(connection, mail.TOKEN_REUSED, email)
        audit.record(
            "token.refresh_reuse",
            user_id=user_id,
            session_id=session_id,
            connection=connection,
            family=str(session_id),
        )


def revoke_family(session_id: UUID) -> bool:
    """End a login and all its refresh tokens, in its own transaction; return whether this call ended it."""
    with transaction() as connection:
        return _revoke(connection, session_id)


def _revoke(connection: Connection, session_id: UUID) -> bool:
    moment = now()
    connection.execute(
        update(RefreshToken).where(TOKENS.session_id == session_id, TOKENS.used_at.is_(None)).values(used_at=moment)
    )
    ended = (
        update(AuthSession).where(SESSIONS.id == session_id, SESSIONS.revoked_at.is_(None)).values(revoked_at=moment)
    )
    return connection.execute(ended).rowcount == 1
