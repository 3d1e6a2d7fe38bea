"""Authentication attempts: rate limits, counted before each check, and the same cost for every comparison.

This stops an attacker from guessing passwords, codes and passkeys, at the login (login.py) or in a session. Wrong, late
or excess attempts are refused here; after a success the caller acts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NoReturn, TypeVar
from uuid import UUID

from sqlalchemy import Connection, bindparam, select

from .. import audit, mail, throttle
from ..audit.refusal import refuse
from ..database import connect, transaction
from ..state import state
from . import factors, flows, passkeys, sessions, totp
from .models import User
from .passwords import Busy
from .principal import RECOVERY, Principal

KIND: Final = "login"
DEVICE: Final = "device"  # the counter of one device from which the user has signed in to the account before
AGAIN: Final = "password"  # the counter of a signed-in user who re-authenticates
NETWORK: Final = "login-network"
# Attempts on one account, failed or not: a right password costs a hash as well. All its known devices share one
# allowance, which an attacker without such a device cannot use up.
RATE: Final = throttle.Allowance(20, timedelta(minutes=1))
HEAD_START: Final = 5  # attempts a minute of a known device or a session that go before those of any network
# Counters of wrong codes: of an account, of one known device of it, of its signed-in users. An attacker with the
# password can use up only the first; this locks out neither the owner's devices nor signed-in users.
FACTOR: Final = "factor"
FACTOR_DEVICE: Final = "factor-device"
FACTOR_AGAIN: Final = "factor-again"
PENDING: Final = "mfa-pending-has-no-access"
ATTEMPTS: Final = "mfa-attempts-5"
# Per counter. A random code is right once in a million: even in every window, an attacker needs a hundred years of
# guesses, and the owner gets a mail. Source: NIST SP 800-63B-4, 3.2.2; ASVS 6.6.3.
WRONG_CODES: Final = throttle.Allowance(20, timedelta(days=1))
PASSKEY: Final = "passkey-options-reveal-nothing"
BUSY_SECONDS: Final = 2  # when to come back after all hash slots were taken
T = TypeVar("T")
USERS = User.__table__.c
_BY_ID: Final = select(USERS.id, USERS.password_hash, USERS.active).where(USERS.id == bindparam("user"), USERS.active)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt; it is counted before the check."""

    network: throttle.Spent
    rate: throttle.Spent
    account: throttle.Booking
    known: bool
    """From a known device of the account, or in a session of it."""

    @property
    def rank(self) -> int:
        """Rank the attempt for a flood: known devices first, then networks by their failures of the last hour."""
        return self.rate.number - HEAD_START if self.known else self.network.number

    def succeeded(self) -> None:
        # Clears only its own booking. If it cleared those of attackers, each login of the owner would give them new
        # guesses and reveal the login.
        throttle.give_back(self.account)
        throttle.refund(self.network)

    def not_made(self) -> None:
        throttle.give_back(self.account)
        throttle.refund(self.rate)
        throttle.refund(self.network)


def spend() -> throttle.Spent:
    """Count the attempt under the client's network, before any lookup; a successful attempt is given back."""
    limits = state().limits
    return throttle.spend_for_network(
        NETWORK,
        "login-throttle-ip",
        throttle.Allowance(limits.login_failures_per_minute_and_network, timedelta(minutes=1)),
        throttle.Allowance(limits.login_failures_per_hour_and_network, timedelta(hours=1)),
    )


def matches(password: str, row: Any, attempt: Attempt) -> bool:
    """Compare the password once, account or not. 503 without a free slot, and then nothing is counted."""
    try:
        return state().passwords.verify(password, row.password_hash if row is not None else None, attempt.rank)
    except Busy:
        attempt.not_made()
        refuse(503, "password-hash-concurrency", retry_after=BUSY_SECONDS)


def refuse_uniformly() -> NoReturn:
    """Refuse with 401: the same answer for every failed login."""
    refuse(401, "login-uniform-failure")


def prove(user: Principal, password: str) -> None:
    """Check the password of a signed-in user. 403 when it is wrong; 429 or 503 before any hash is computed.

    Not 401: the session is still valid, and a client that reads a 401 as its end would sign the user out.

    Guesses count per account, not per session: a second stolen session gives no new ones. They count apart from guesses
    at the login, so an attacker there cannot stop a signed-in user from changing the password.
    """
    rate = throttle.spend(f"{AGAIN}-rate", user.email, "password-change-needs-current", RATE)
    attempt = Attempt(spend(), rate, throttle.book(AGAIN, user.email, "password-change-needs-current"), known=True)
    with connect() as connection:
        row = connection.execute(_BY_ID, {"user": user.id}).one_or_none()
    if not matches(password, row, attempt):
        audit.record("password.wrong", user_id=user.id, session_id=user.session_id)
        refuse(403, "password-change-needs-current")
    attempt.succeeded()


def prove_code(user: Principal, password: str, code: str, then: Callable[[Connection, frozenset[str]], T]) -> T:
    """Re-authenticate a signed-in user by the password and, with a second factor, a code; then call `then`.

    Only the password is not enough for an account with a second factor: 403, as for a wrong password.
    """
    prove(user, password)
    if factors.held(user.id):
        return try_code(
            user.id,
            code,
            lambda connection, method: then(connection, frozenset({method})),
            (FACTOR_AGAIN, user.id.hex),
            session_id=user.session_id,
            status=403,
        )
    with transaction() as connection:
        sessions.hold(connection, user.id)
        if factors.held(user.id, connection):  # added since
            refuse(403, ATTEMPTS)
        return then(connection, frozenset())


def prove_passkey(user: Principal, text: str, answer: object, then: Callable[[Connection], T]) -> T:
    """Re-authenticate a signed-in user with one of their own passkeys, without a password; then call `then`."""
    network = spend()
    assertion = asserted(passkeys.STEP_UP, str(user.session_id), text, answer, user.id, status=403)
    done = with_assertion(assertion, then, status=403)
    throttle.refund(network)
    return done


def forgive(email: str) -> None:
    """Reset the counters of password guesses for this address, after a password reset."""
    throttle.forget(KIND, email)
    throttle.forget(AGAIN, email)


@dataclass(frozen=True, slots=True)
class _Guess:
    """One guess of an app code, counted before the check: in its window and in its day."""

    booking: throttle.Booking
    day: throttle.Spent

    def give_back(self) -> None:
        throttle.give_back(self.booking)
        throttle.refund(self.day)


def _guess(kind: str, subject: str) -> _Guess:
    """Count the guess; 429 after too many."""
    booking = throttle.book(kind, subject, ATTEMPTS)
    day, wait = throttle.take(f"{kind}-day", subject, WRONG_CODES)
    if day is None:
        throttle.give_back(booking)
        refuse(429, ATTEMPTS, retry_after=int(wait) + 1)
    return _Guess(booking, day)


def try_code(
    user_id: UUID,
    code: str,
    then: Callable[[Connection, str], T],
    counter: tuple[str, str],
    *,
    flow: Any | None = None,
    session_id: UUID | None = None,
    status: int = 401,
) -> T:
    """Use the code up for `then`, in one transaction. `status` for a wrong code, 429 after too many.

    App codes are counted before the check, over all flows: a new flow gives no new tries. A code of the previous time
    step is wrong, but is no guess. Recovery codes are not counted, as they cannot be guessed: the owner can always use
    one.
    """
    guess = _guess(*counter) if totp.is_code(code) else None
    if flow is not None and not flows.count(flow):
        if guess is not None:
            guess.give_back()
        refuse(401, PENDING)
    with transaction() as connection:
        sessions.hold(connection, user_id)
        method = factors.use_code(connection, user_id, code)
        if method is not None:
            result = then(connection, method)
            _tell_of_code(connection, user_id, method)
    if method is not None:
        if guess is not None:
            guess.give_back()
        return result
    if guess is not None:
        _judge(guess, user_id, code, flow)
    audit.record("mfa.failure", user_id=user_id, session_id=session_id)
    return refuse(status, ATTEMPTS)


def _judge(guess: _Guess, user_id: UUID, code: str, flow: Any | None) -> None:
    """Give the guess back if the code is only late; mail the owner at the last allowed guess of a day."""
    if totp.is_late(user_id, code):
        guess.give_back()
        if flow is not None:
            flows.give_back(flow)
    elif guess.day.number == WRONG_CODES.count:
        with transaction() as connection:
            notify(connection, user_id, mail.FACTOR_GUESSED)


def _tell_of_code(connection: Connection, user_id: UUID, method: str) -> None:
    if method != RECOVERY:
        return
    notify(connection, user_id, mail.CODE_USED)
    audit.record("mfa.code_used", user_id=user_id, connection=connection)


def asserted(
    purpose: str, subject: str, text: str, answer: object, user_id: UUID | None = None, status: int = 401
) -> passkeys.Assertion:
    """Return the verified assertion of an authenticator; refuse every invalid one with the same answer."""
    try:
        return passkeys.verify(purpose, subject, text, answer, user_id)
    except passkeys.Refusal as refused:
        audit.record("login.failure", user_id=user_id, reason=f"passkey: {refused.reason}")
        refuse(status, PASSKEY)


def with_assertion(assertion: passkeys.Assertion, then: Callable[[Connection], T], status: int = 401) -> T:
    """Store the counter and call `then` in one transaction; suspend the passkey when its counter did not increase.

    Each call adds rows and a session that no other limit has counted, so the same limit applies as for right passwords.
    """
    throttle.count_passkey(assertion.user_id)
    with transaction() as connection:
        sessions.hold(connection, assertion.user_id)
        counted = passkeys.use(connection, assertion)
        if counted:
            result = then(connection)
    if counted:
        return result
    with transaction() as connection:
        passkeys.suspend(connection, assertion)
        sessions.end_all(assertion.user_id, connection=connection)  # one of them may belong to the copied passkey
        notify(connection, assertion.user_id, mail.PASSKEY_SUSPENDED)
        audit.record(
            "passkey.clone_suspected", user_id=assertion.user_id, connection=connection, passkey=str(assertion.id)
        )
    return refuse(status, PASSKEY)


def notify(connection: Connection, user_id: UUID, notice: str) -> None:
    """Mail this notice to the account's address, in the transaction of the event."""
    email = connection.execute(select(USERS.email).where(USERS.id == user_id)).scalar_one_or_none()
    if email is not None:
        mail.enqueue(connection, notice, email)
