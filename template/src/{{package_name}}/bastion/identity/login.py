"""Signing in says no in one way, after the same work, whatever the reason: it tells nobody which accounts exist.

An answer that differs, or comes sooner, for an unknown address turns the login form into a directory of users.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import bindparam, select

from .. import audit, throttle
from ..database import connect
from ..errors import refuse
from ..state import state
from .models import User
from .passwords import Busy
from .sessions import Opened, open_session
from .users import normalised

KIND: Final = "login"
BUSY_SECONDS: Final = 2  # when to come back after all hash slots were taken
_u = User.__table__.c
_BY_EMAIL: Final = select(_u.id, _u.password_hash, _u.active).where(_u.email == bindparam("email"))


def with_password(
    identifier: str,
    password: str,
    *,
    lifetime: timedelta,
    address: str = "",
    agent: str = "",
    replaces: UUID | None = None,
) -> Opened:
    """Open a session for the right password; otherwise refuse with 401, or 429 or 503 before any hash is computed."""
    subject = normalised(identifier)
    booking = throttle.book(KIND, subject, "login-throttle-account")
    with connect() as connection:
        row = connection.execute(_BY_EMAIL, {"email": subject}).one_or_none()
    try:
        matched = state().passwords.verify(password, row.password_hash if row is not None else None)
    except Busy:
        throttle.give_back(booking)
        refuse(503, "password-hash-concurrency", retry_after=BUSY_SECONDS)
    opened: Opened | None = None
    if row is not None and matched and row.active:
        opened = open_session(row.id, lifetime=lifetime, address=address, agent=agent, replaces=replaces)
    if opened is None:  # or the account was disabled while the hash was computed
        reason = "unknown" if row is None else "disabled" if matched or not row.active else "password"
        audit.record("login.failure", user_id=row.id if row is not None else None, reason=reason)
        refuse(401, "login-uniform-failure")
    throttle.clear(booking)
    audit.record("login.success", user_id=opened.user_id, session_id=opened.id)
    return opened
