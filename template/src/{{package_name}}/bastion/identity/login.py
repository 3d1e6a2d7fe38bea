"""Signing in says no in one way, after the same work, whatever the reason: it tells nobody which accounts exist.

An answer that differs, or comes sooner, for an unknown address turns the login form into a directory of users.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, NoReturn
from uuid import UUID

from sqlalchemy import and_, bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError

from .. import audit, throttle
from ..database import connect, transaction
from ..errors import refuse
from ..state import state
from . import devices
from .models import User
from .passwords import Busy
from .principal import Principal
from .sessions import Opened, open_session
from .users import normalised

KIND: Final = "login"
DEVICE: Final = "device"  # the counter of one device that the account was signed in to from before
AGAIN: Final = "password"  # the counter of a signed-in user who proves once more who he is
NETWORK: Final = "login-network"
# Of one account, whatever came of them: a right password costs a hash as well. All its devices share one allowance,
# which no stranger can use up.
RATE: Final = throttle.Allowance(20, timedelta(minutes=1))
BUSY_SECONDS: Final = 2  # when to come back after all hash slots were taken
_u = User.__table__.c
_BY_EMAIL: Final = select(_u.id, _u.password_hash, _u.active).where(_u.email == bindparam("email"))
_BY_ID: Final = select(_u.id, _u.password_hash, _u.active).where(_u.id == bindparam("user"), _u.active)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt, counted before it is made."""

    network: throttle.Spent
    account: throttle.Booking

    def succeeded(self) -> None:
        throttle.clear(self.account)
        throttle.refund(self.network)

    def not_made(self) -> None:
        throttle.give_back(self.account)
        throttle.refund(self.network)


def with_password(
    identifier: str,
    password: str,
    *,
    lifetime: timedelta,
    address: str = "",
    agent: str = "",
    replaces: UUID | None = None,
    device_token: str = "",
) -> Opened:
    """Open a session for the right password; otherwise refuse with 401, or 429 or 503 before any hash is computed.

    `device_token` is what an earlier login gave to this device: its failures are then counted apart.
    """
    subject = normalised(identifier)
    network = _spend()
    device = devices.find(device_token, subject) if device_token else None
    counter = (KIND, subject) if device is None else (DEVICE, device.hex)
    throttle.spend(f"{counter[0]}-rate", subject, "login-throttle-account", RATE)
    booking = throttle.book(*counter, "login-throttle-account")
    attempt = _Attempt(network, booking)
    opened: Opened | None = None
    # Twice when it was changed while the hash was computed: a login at the same moment may have stored the same
    # password anew (`_rehash`). If it is another one now, the second comparison says so.
    for _ in range(2):
        with connect() as connection:
            row = connection.execute(_BY_EMAIL, {"email": subject}).one_or_none()
        matched = _matches(password, row, attempt)
        if row is None or not matched or not row.active:
            break
        with transaction() as connection:
            opened = open_session(
                row.id,
                lifetime=lifetime,
                address=address,
                agent=agent,
                replaces=replaces,
                only_if=and_(_u.password_hash == row.password_hash, _u.email == subject),
                connection=connection,
            )
            if opened is not None:
                kept = devices.remember(connection, row.id, device, device_token)
                opened = replace(opened, device_token=kept)
        if opened is not None:
            break
    if opened is None:
        reason = "unknown" if row is None else "disabled" if not row.active else "password"
        audit.record("login.failure", user_id=row.id if row is not None else None, reason=reason)
        refuse_uniformly()
    attempt.succeeded()
    audit.record("login.success", user_id=opened.user_id, session_id=opened.id)
    _rehash(row, password)
    return opened


def _spend() -> throttle.Spent:
    """Count the attempt under the client's network, before anything is looked up for it; a right one is given back."""
    limits = state().limits
    return throttle.spend_for_network(
        NETWORK,
        "login-throttle-ip",
        throttle.Allowance(limits.login_failures_per_minute_and_network, timedelta(minutes=1)),
        throttle.Allowance(limits.login_failures_per_hour_and_network, timedelta(hours=1)),
    )


def _matches(password: str, row: Any, attempt: _Attempt) -> bool:
    """Compare once, whether there is an account or not; 503 when no slot is free, and then nothing was counted."""
    try:
        return state().passwords.verify(password, row.password_hash if row is not None else None)
    except Busy:
        attempt.not_made()
        refuse(503, "password-hash-concurrency", retry_after=BUSY_SECONDS)


def _rehash(row: Any, password: str) -> None:
    """Store a hash of former parameters anew, while its password is at hand. What goes wrong stops no login.

    Not if it was changed in the meantime; no session ends, and no mail is sent: it is the same password.
    """
    passwords = state().passwords
    if not passwords.is_outdated(row.password_hash):
        return
    with suppress(Busy, SQLAlchemyError):
        values = {"password_hash": passwords.hash(password)}
        with transaction() as connection:
            unchanged = (_u.id == row.id, _u.password_hash == row.password_hash)
            connection.execute(update(User).where(*unchanged).values(**values))


def refuse_uniformly() -> NoReturn:
    """The one answer to every failed login."""
    refuse(401, "login-uniform-failure")


def prove(user: Principal, password: str) -> None:
    """Let the request go on if this is the password of its user; otherwise 401, or 429 or 503 before any hash.

    Guesses are counted under the account, not the session: a stolen session that signs in again gets no new ones. And
    apart from those at the login, so that a stranger there keeps no signed-in user from changing his password.
    """
    throttle.spend(f"{AGAIN}-rate", user.email, "password-change-needs-current", RATE)
    attempt = _Attempt(_spend(), throttle.book(AGAIN, user.email, "password-change-needs-current"))
    with connect() as connection:
        row = connection.execute(_BY_ID, {"user": user.id}).one_or_none()
    if not _matches(password, row, attempt):
        audit.record("password.wrong", user_id=user.id, session_id=user.session_id)
        refuse(401, "password-change-needs-current")
    attempt.succeeded()


def forgive(email: str) -> None:
    """The password is another one now: nothing that was counted against the former one is held against the account."""
    throttle.forget(KIND, email)
    throttle.forget(AGAIN, email)
