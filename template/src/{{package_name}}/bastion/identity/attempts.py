"""Whoever proves who he is has so many attempts, each counted before it is looked at, and compared at the same cost.

A password, a code or a passkey, of somebody who signs in (login.py) or who is signed in: what is wrong, late or one too
many is refused here, and what is right is for the caller to act on.
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
DEVICE: Final = "device"  # the counter of one device that the account was signed in to from before
AGAIN: Final = "password"  # the counter of a signed-in user who proves once more who he is
NETWORK: Final = "login-network"
# Of one account, whatever came of them: a right password costs a hash as well. All its devices share one allowance,
# which no stranger can use up.
RATE: Final = throttle.Allowance(20, timedelta(minutes=1))
HEAD_START: Final = 5  # attempts a minute of a known device or a session that go before those of any network
# Counters of wrong codes: of an account, of one device that it was signed in to from, of those who are signed in.
# Whoever knows the password can use up the first, and keeps neither the owner's devices out nor anybody who is in.
FACTOR: Final = "factor"
FACTOR_DEVICE: Final = "factor-device"
FACTOR_AGAIN: Final = "factor-again"
PENDING: Final = "mfa-pending-has-no-access"
ATTEMPTS: Final = "mfa-attempts-5"
# Of each counter. A code is right by chance once in a million: so a guesser who is patient enough for every window
# needs a hundred years, and his victim is told. Source: NIST SP 800-63B-4, 3.2.2; ASVS 6.6.3.
WRONG_CODES: Final = throttle.Allowance(20, timedelta(days=1))
PASSKEY: Final = "passkey-options-reveal-nothing"
BUSY_SECONDS: Final = 2  # when to come back after all hash slots were taken
T = TypeVar("T")
_u = User.__table__.c
_BY_ID: Final = select(_u.id, _u.password_hash, _u.active).where(_u.id == bindparam("user"), _u.active)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt, counted before it is made."""

    network: throttle.Spent
    rate: throttle.Spent
    account: throttle.Booking
    known: bool
    """From a known device of the account, or in a session of it."""

    @property
    def rank(self) -> int:
        """In a flood known devices go first, then the network with the fewest failures of the last hour."""
        return self.rate.number - HEAD_START if self.known else self.network.number

    def succeeded(self) -> None:
        # Its own booking alone: if it cleared what strangers were counted, each login of the owner would give them new
        # guesses, and tell them of it.
        throttle.give_back(self.account)
        throttle.refund(self.network)

    def not_made(self) -> None:
        throttle.give_back(self.account)
        throttle.refund(self.rate)
        throttle.refund(self.network)


def spend() -> throttle.Spent:
    """Count the attempt under the client's network, before anything is looked up for it; a right one is given back."""
    limits = state().limits
    return throttle.spend_for_network(
        NETWORK,
        "login-throttle-ip",
        throttle.Allowance(limits.login_failures_per_minute_and_network, timedelta(minutes=1)),
        throttle.Allowance(limits.login_failures_per_hour_and_network, timedelta(hours=1)),
    )


def matches(password: str, row: Any, attempt: Attempt) -> bool:
    """Compare once, whether there is an account or not; 503 when no slot is free, and then nothing was counted."""
    try:
        return state().passwords.verify(password, row.password_hash if row is not None else None, attempt.rank)
    except Busy:
        attempt.not_made()
        refuse(503, "password-hash-concurrency", retry_after=BUSY_SECONDS)


def refuse_uniformly() -> NoReturn:
    """The one answer to every failed login."""
    refuse(401, "login-uniform-failure")


def prove(user: Principal, password: str) -> None:
    """Let the request go on if this is the password of its user; otherwise 403, or 429 or 503 before any hash.

    Not 401: the session is as good as before, and a client that read it as ended would sign its user out.

    Guesses are counted under the account, not the session: a stolen session that signs in again gets no new ones. And
    apart from those at the login, so that a stranger there keeps no signed-in user from changing his password.
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
    """Let a signed-in user prove who he is by his password and, if he has a second factor, a code; then do `then`.

    The password alone is not enough for an account with a second factor: 403 then, as for a wrong one.
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
    """The same by a passkey of his own, which needs no password."""
    network = spend()
    assertion = asserted(passkeys.STEP_UP, str(user.session_id), text, answer, user.id, status=403)
    done = with_assertion(assertion, then, status=403)
    throttle.refund(network)
    return done


def forgive(email: str) -> None:
    """The password is another one now: nothing that was counted against the former one is held against the account."""
    throttle.forget(KIND, email)
    throttle.forget(AGAIN, email)


@dataclass(frozen=True, slots=True)
class _Guess:
    """One code of an app, counted before it is looked at: in its window, and in its day."""

    booking: throttle.Booking
    day: throttle.Spent

    def give_back(self) -> None:
        throttle.give_back(self.booking)
        throttle.refund(self.day)


def _guess(kind: str, subject: str) -> _Guess:
    """Count it; 429 while there were too many."""
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
    """Use the code up for `then`, in one transaction. `status` for a wrong code, 429 for too many of them.

    Codes of an app are counted before they are looked at, whatever flow they come from: a new one gives no new tries.
    One that was right a moment ago is as wrong, but no guess; and nobody guesses a recovery code, so that its owner
    gets in whatever others have tried.
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
    """A wrong code was no guess if it is only late; the last of a day's is worth a mail."""
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
    """The verified answer of an authenticator; one refusal for everything that is wrong with it."""
    try:
        return passkeys.verify(purpose, subject, text, answer, user_id)
    except passkeys.Refusal as refused:
        audit.record("login.failure", user_id=user_id, reason=f"passkey: {refused.reason}")
        refuse(status, PASSKEY)


def with_assertion(assertion: passkeys.Assertion, then: Callable[[Connection], T], status: int = 401) -> T:
    """Do what the answer is for, and store its counter with it; suspend the passkey when that did not go up.

    Each makes rows, and a session that no ceiling has counted yet: so there are as many as of right passwords.
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
        sessions.end_all(assertion.user_id, connection=connection)  # one of them may be the copy's
        notify(connection, assertion.user_id, mail.PASSKEY_SUSPENDED)
        audit.record(
            "passkey.clone_suspected", user_id=assertion.user_id, connection=connection, passkey=str(assertion.id)
        )
    return refuse(status, PASSKEY)


def notify(connection: Connection, user_id: UUID, notice: str) -> None:
    """Mail this notice to the account's address, in the transaction of what it is about."""
    email = connection.execute(select(_u.email).where(_u.id == user_id)).scalar_one_or_none()
    if email is not None:
        mail.enqueue(connection, notice, email)
