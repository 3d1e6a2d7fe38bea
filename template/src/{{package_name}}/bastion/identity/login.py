"""Signing in says no in one way, after the same work, whatever the reason: it tells nobody which accounts exist.

An answer that differs, or comes sooner, for an unknown address turns the login form into a directory of users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, NoReturn, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError

from .. import audit, mail, throttle
from ..audit.refusal import refuse
from ..clock import now
from ..database import connect, transaction
from ..state import state
from . import devices, factors, flows, passkeys, sessions, totp
from .models import AuthSession, User
from .passwords import Busy
from .principal import PASSKEY as BY_PASSKEY
from .principal import PASSWORD, RECOVERY, Principal
from .sessions import Opened, open_session
from .users import normalised

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
T = TypeVar("T")
BUSY_SECONDS: Final = 2  # when to come back after all hash slots were taken
_u, _s = User.__table__.c, AuthSession.__table__.c
_BY_EMAIL: Final = select(_u.id, _u.password_hash, _u.active).where(_u.email == bindparam("email"))
_BY_ID: Final = select(_u.id, _u.password_hash, _u.active).where(_u.id == bindparam("user"), _u.active)


@dataclass(frozen=True, slots=True)
class _Attempt:
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


@dataclass(frozen=True, slots=True)
class Arrival:
    """How somebody comes to sign in: how long the session may live, from where, which it replaces, and the device.

    `device_token` is what an earlier login gave to this device: its failures are then counted apart.
    """

    lifetime: timedelta
    address: str = ""
    agent: str = ""
    replaces: UUID | None = None
    device_token: str = field(default="", repr=False)


def with_password(identifier: str, password: str, arrival: Arrival) -> Opened | flows.Begun:
    """Open a session for the right password, or begin a login that waits for the second factor of the account.

    Otherwise refuse with 401, or 429 or 503 before any hash is computed.
    """
    subject = normalised(identifier)
    network = _spend()
    device = devices.find(arrival.device_token, subject) if arrival.device_token else None
    counter = (KIND, subject) if device is None else (DEVICE, device.hex)
    rate = throttle.spend(f"{counter[0]}-rate", subject, "login-throttle-account", RATE)
    booking = throttle.book(*counter, "login-throttle-account")
    attempt = _Attempt(network, rate, booking, known=device is not None)
    begun: Opened | flows.Begun | None = None
    # Twice when it was changed while the hash was computed: a login at the same moment may have stored the same
    # password anew (`_rehash`). If it is another one now, the second comparison says so.
    for _ in range(2):
        with connect() as connection:
            row = connection.execute(_BY_EMAIL, {"email": subject}).one_or_none()
        matched = _matches(password, row, attempt)
        if row is None or not matched or not row.active:
            break
        unchanged = and_(_u.password_hash == row.password_hash, _u.email == subject)
        with transaction() as connection:
            begun = _begin(connection, row.id, arrival, device, [booking.before], unchanged)
        if begun is not None:
            break
    if begun is None:
        reason = "unknown" if row is None else "disabled" if not row.active else "password"
        audit.record("login.failure", user_id=row.id if row is not None else None, reason=reason)
        refuse_uniformly()
    attempt.succeeded()
    if isinstance(begun, flows.Begun):
        audit.record("login.pending", user_id=begun.user_id)
    else:
        _record_success(begun, PASSWORD)
    _rehash(row, password)
    return begun


def _begin(
    connection: Connection,
    user_id: UUID,
    arrival: Arrival,
    device: UUID | None,
    failures: Sequence[Mapping[str, Any]],
    unchanged: ColumnElement[bool],
) -> Opened | flows.Begun | None:
    """What the right password opens: a session, or for an account with a second factor a login that waits for it.

    The account's row stands still meanwhile: a factor that is added at this moment is either seen here, or ends what
    begins here. None when the account is not `unchanged`.
    """
    sessions.hold(connection, user_id)
    if not factors.held(user_id, connection):
        return _open(connection, user_id, arrival, device, failures, PASSWORD, unchanged)
    same = select(_u.id).where(_u.id == user_id, _u.active, unchanged)
    if connection.execute(same).first() is None:
        return None
    return flows.begin(connection, flows.LOGIN, user_id)


def _open(
    connection: Connection,
    user_id: UUID,
    arrival: Arrival,
    device: UUID | None,
    failures: Sequence[Mapping[str, Any]],
    methods: str,
    only_if: ColumnElement[bool] | None = None,
) -> Opened | None:
    """Every login ends here, whatever it was proved with. `failures`: what was counted before it."""
    opened = open_session(
        user_id,
        lifetime=arrival.lifetime,
        address=arrival.address,
        agent=arrival.agent,
        method=methods,
        replaces=arrival.replaces,
        only_if=only_if,
        connection=connection,
    )
    if opened is None:
        return None
    device_token, seen_at = devices.remember(connection, user_id, device, arrival.device_token)
    if any(throttle.failed_often(counted, seen_at) for counted in failures):
        _notify(connection, user_id, mail.AFTER_FAILURES)
    elif seen_at is None and not _is_first(connection, opened):
        _notify(connection, user_id, mail.NEW_DEVICE)
    return replace(opened, device_token=device_token)


def _failures(user_id: UUID, device: UUID | None) -> Sequence[Mapping[str, Any]]:
    """What is counted against the account, or this device of it, and against its second factors."""
    with connect() as connection:
        email = connection.execute(select(_u.email).where(_u.id == user_id)).scalar()
    first = throttle.held(KIND, email or "") if device is None else throttle.held(DEVICE, device.hex)
    counters = {_counter_of(user_id, None), _counter_of(user_id, device)}
    return first, *(throttle.held(*counter) for counter in counters)


def _counter_of(user_id: UUID, device: UUID | None) -> tuple[str, str]:
    """Where wrong codes of a login are counted."""
    return (FACTOR, user_id.hex) if device is None else (FACTOR_DEVICE, device.hex)


def _is_first(connection: Connection, opened: Opened) -> bool:
    """Whether nobody has signed in to this account before. An old one whose sessions were all purged is not new."""
    created_at = select(_u.created_at).where(_u.id == opened.user_id)
    if connection.execute(created_at).scalar_one() < now() - sessions.KEPT:
        return False
    others = select(_s.id).where(_s.user_id == opened.user_id, _s.id != opened.id).limit(1)
    return connection.execute(others).first() is None


def _notify(connection: Connection, user_id: UUID, notice: str) -> None:
    email = connection.execute(select(_u.email).where(_u.id == user_id)).scalar_one_or_none()
    if email is not None:
        mail.enqueue(connection, notice, email)


def _record_success(opened: Opened, *methods: str, connection: Connection | None = None) -> None:
    audit.record(
        "login.success",
        user_id=opened.user_id,
        session_id=opened.id,
        connection=connection,
        factors=sorted(methods),
    )


def waiting(token: str) -> Any:
    """The login of this handle that waits for its second factor. 401 for any other."""
    flow = flows.find(flows.LOGIN, token)
    if flow is None:
        refuse(401, PENDING)
    return flow


def with_code(token: str, code: str, arrival: Arrival) -> Opened:
    """Complete a login that waits, with a code of the app or a recovery code. 401 for a wrong one, 429 for too many."""
    network = _spend()
    flow = waiting(token)
    device = _device(flow.user_id, arrival)
    failures = _failures(flow.user_id, device)

    def complete(connection: Connection, method: str) -> Opened:
        return _complete(connection, flow, arrival, device, failures, method)

    opened = _try_code(flow.user_id, code, complete, _counter_of(flow.user_id, device), flow=flow)
    throttle.refund(network)
    return opened


def abandon(token: str) -> None:
    """Give up the login that waits, if there is one of this handle."""
    flow = flows.find(flows.LOGIN, token)
    if flow is not None:
        with transaction() as connection:
            flows.spend(connection, flow)


def second_factor_options(token: str) -> passkeys.Asked:
    """What a browser needs to complete the login that waits with a passkey of its account. 401 for any other handle."""
    flow = waiting(token)
    return passkeys.second_factor(flow.user_id, flow.id)


def with_second_passkey(token: str, text: str, answer: object, arrival: Arrival) -> Opened:
    """Complete a login that waits, with a passkey of its account. 401 for every answer that is not right."""
    network = _spend()
    flow = waiting(token)
    if not flows.count(flow):
        refuse(401, PENDING)
    assertion = _assertion(passkeys.SECOND, str(flow.id), text, answer, flow.user_id)
    device = _device(flow.user_id, arrival)
    failures = _failures(flow.user_id, device)

    def complete(connection: Connection) -> Opened:
        return _complete(connection, flow, arrival, device, failures, BY_PASSKEY)

    opened = _with_assertion(assertion, complete)
    throttle.refund(network)
    return opened


def with_passkey(text: str, answer: object, arrival: Arrival) -> Opened:
    """Open a session for a passkey alone, which is two factors. 401 for every answer that is not right."""
    network = _spend()
    assertion = _assertion(passkeys.LOGIN, "", text, answer)
    device = _device(assertion.user_id, arrival)
    failures = _failures(assertion.user_id, device)

    def complete(connection: Connection) -> Opened:
        opened = _open(connection, assertion.user_id, arrival, device, failures, BY_PASSKEY)
        if opened is None:
            refuse_uniformly()
        return opened

    opened = _with_assertion(assertion, complete)
    throttle.refund(network)
    _record_success(opened, BY_PASSKEY)
    return opened


def _complete(
    connection: Connection,
    flow: Any,
    arrival: Arrival,
    device: UUID | None,
    failures: Sequence[Mapping[str, Any]],
    method: str,
) -> Opened:
    """Open the session of a login that waited; 401 when it has ended meanwhile, and then nothing was used up."""
    opened = None
    if flows.spend(connection, flow):
        opened = _open(connection, flow.user_id, arrival, device, failures, f"{PASSWORD} {method}")
    if opened is None:
        refuse(401, PENDING)
    _record_success(opened, PASSWORD, method, connection=connection)
    return opened


def _device(user_id: UUID, arrival: Arrival) -> UUID | None:
    return devices.find(arrival.device_token, user_id=user_id) if arrival.device_token else None


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


def _try_code(
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
            _notify(connection, user_id, mail.FACTOR_GUESSED)


def _tell_of_code(connection: Connection, user_id: UUID, method: str) -> None:
    if method != RECOVERY:
        return
    _notify(connection, user_id, mail.CODE_USED)
    audit.record("mfa.code_used", user_id=user_id, connection=connection)


def _assertion(
    purpose: str, subject: str, text: str, answer: object, user_id: UUID | None = None, status: int = 401
) -> passkeys.Assertion:
    """The verified answer of an authenticator; one refusal for everything that is wrong with it."""
    try:
        return passkeys.verify(purpose, subject, text, answer, user_id)
    except passkeys.Refusal as refused:
        audit.record("login.failure", user_id=user_id, reason=f"passkey: {refused.reason}")
        refuse(status, PASSKEY)


def _with_assertion(assertion: passkeys.Assertion, then: Callable[[Connection], T], status: int = 401) -> T:
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
        _notify(connection, assertion.user_id, mail.PASSKEY_SUSPENDED)
        audit.record(
            "passkey.clone_suspected", user_id=assertion.user_id, connection=connection, passkey=str(assertion.id)
        )
    return refuse(status, PASSKEY)


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
        return state().passwords.verify(password, row.password_hash if row is not None else None, attempt.rank)
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
    """Let the request go on if this is the password of its user; otherwise 403, or 429 or 503 before any hash.

    Not 401: the session is as good as before, and a client that read it as ended would sign its user out.

    Guesses are counted under the account, not the session: a stolen session that signs in again gets no new ones. And
    apart from those at the login, so that a stranger there keeps no signed-in user from changing his password.
    """
    rate = throttle.spend(f"{AGAIN}-rate", user.email, "password-change-needs-current", RATE)
    attempt = _Attempt(_spend(), rate, throttle.book(AGAIN, user.email, "password-change-needs-current"), known=True)
    with connect() as connection:
        row = connection.execute(_BY_ID, {"user": user.id}).one_or_none()
    if not _matches(password, row, attempt):
        audit.record("password.wrong", user_id=user.id, session_id=user.session_id)
        refuse(403, "password-change-needs-current")
    attempt.succeeded()


def prove_code(user: Principal, password: str, code: str, then: Callable[[Connection, frozenset[str]], T]) -> T:
    """Let a signed-in user prove who he is by his password and, if he has a second factor, a code; then do `then`.

    The password alone is not enough for an account with a second factor: 403 then, as for a wrong one.
    """
    prove(user, password)
    if factors.held(user.id):
        return _try_code(
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
    network = _spend()
    assertion = _assertion(passkeys.STEP_UP, str(user.session_id), text, answer, user.id, status=403)
    done = _with_assertion(assertion, then, status=403)
    throttle.refund(network)
    return done


def forgive(email: str) -> None:
    """The password is another one now: nothing that was counted against the former one is held against the account."""
    throttle.forget(KIND, email)
    throttle.forget(AGAIN, email)
