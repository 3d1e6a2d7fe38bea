"""Guessing is slowed down per account, in the database, before anything is computed.

A counter that is looked at after the hash, or kept per process or per address, is passed by guessing in parallel, from
many addresses, or at many processes. The attempt is booked before the password is checked, so that a crash or a race
frees none; a right one gives its booking back.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from flask import Flask, g, request
from sqlalchemy import bindparam, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from .authentication import PASSIVE, current_user
from .clock import now
from .database import connect, transaction
from .edge.address import CLIENT, Client
from .edge.ceiling import WIDE, Ceiling
from .errors import refuse
from .identity.models import ThrottleCounter, ThrottleUse
from .state import state, state_of

LONGEST_WAIT: Final = timedelta(hours=24)
FORGET: Final = timedelta(hours=24)  # without failures for this long, the wait begins at its shortest again
KEPT: Final = timedelta(hours=48)  # after its end; twice FORGET, so that no counter that still means something goes
TRIES: Final = 5  # of the compare-and-set, before the request is asked to come back in a second
_c = ThrottleCounter.__table__.c
_COUNTER: Final = select(_c.failures, _c.rounds, _c.window_at, _c.blocked_until, _c.version).where(
    _c.key == bindparam("wanted")
)
_t = ThrottleUse.__table__.c
_USES: Final = select(_t.uses, _t.version).where(_t.key == bindparam("wanted"))


@dataclass(frozen=True, slots=True)
class Booking:
    """One booked attempt: the counter and the version that this booking gave it."""

    key: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `count` uses in any stretch of time of this length."""

    count: int
    per: timedelta


@dataclass(frozen=True, slots=True)
class Spent:
    """One counted use: the subject's key, and when it was; for a network also that of the wider one around it."""

    key: bytes
    at: float
    wide: Spent | None = None


def spend(kind: str, subject: str, reason: str, *allowances: Allowance) -> Spent:
    """Count one use before any work is done for it; refuse with 429 when an allowance is used up."""
    spent, wait = take(kind, subject, *allowances)
    if spent is None:
        refuse(429, reason, retry_after=int(wait) + 1)
    return spent


def spend_for_network(kind: str, reason: str, *allowances: Allowance) -> Spent:
    """As `spend`, for the network that this request comes from: an IPv4 address, an IPv6 /64.

    The /48 around that may take WIDE times as much in all: a hoster gives 65,536 /64 to anybody who asks.
    """
    client: Client = request.environ[CLIENT]
    spent = spend(kind, client.network, reason, *allowances)
    if client.wide is None:
        return spent
    wider, wait = take(kind, client.wide, *(replace(one, count=one.count * WIDE) for one in allowances))
    if wider is None:
        refund(spent)
        refuse(429, reason, retry_after=int(wait) + 1)
    return replace(spent, wide=wider)


def take(kind: str, subject: str, *allowances: Allowance) -> tuple[Spent | None, float]:
    """Count one use if all allowances have room, otherwise none: then the seconds until there is.

    By compare and set, so that of two that race for the last use one alone gets it.
    """
    key, longest = key_for(kind, subject), max(allowance.per for allowance in allowances)
    for _ in range(TRIES):
        moment = now()
        at = moment.timestamp()
        with connect() as connection:
            row = connection.execute(_USES, {"wanted": key}).one_or_none()
        since = at - longest.total_seconds()
        # A use of a process whose clock is ahead counts as one of now, and is not forgotten.
        uses = [min(use, at) for use in (row.uses if row is not None else ()) if use > since]
        if wait := max(_wait(uses, at, allowance) for allowance in allowances):
            return None, wait
        values = {"uses": [*uses, at], "last_at": moment, "version": 1 if row is None else row.version + 1}
        if _write(ThrottleUse, key, row, values):
            return Spent(key, at), 0.0
    return None, 1.0


def _wait(uses: list[float], at: float, allowance: Allowance) -> float:
    recent = [use for use in uses if use > at - allowance.per.total_seconds()]
    return recent[-allowance.count] + allowance.per.total_seconds() - at if len(recent) >= allowance.count else 0.0


def refund(spent: Spent) -> None:
    """The use was right, or not made after all: it does not count."""
    if spent.wide is not None:
        refund(spent.wide)
    for _ in range(TRIES):
        with connect() as connection:
            row = connection.execute(_USES, {"wanted": spent.key}).one_or_none()
        if row is None or not row.uses:
            return
        uses = [*row.uses]
        # A process whose clock is behind may have counted it as one of its own now, in `take`.
        uses.remove(spent.at if spent.at in uses else max(uses))
        if _write(ThrottleUse, spent.key, row, {"uses": uses, "version": row.version + 1}):
            return


def key_for(kind: str, subject: str) -> bytes:
    """The counter's key: an HMAC under a key that is not SECRET_KEY, so that a rotation of that frees nobody."""
    secret = state().secrets.get("THROTTLE_KEY").reveal()
    return hmac.new(secret.encode(), f"{kind}:{subject}".encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def book(kind: str, subject: str, reason: str) -> Booking:
    """Count one attempt before it is made; refuse with 429 while the subject has to wait."""
    key = key_for(kind, subject)
    for _ in range(TRIES):
        moment = now()
        with connect() as connection:
            row = connection.execute(_COUNTER, {"wanted": key}).one_or_none()
        if row is not None and row.blocked_until is not None and row.blocked_until > moment:
            refuse(429, reason, retry_after=int((row.blocked_until - moment).total_seconds()) + 1)
        version = 1 if row is None else row.version + 1
        values = {**_counted(row, moment), "version": version}
        if _write(ThrottleCounter, key, row, values):
            return Booking(key, version)
    return refuse(429, reason, retry_after=1)


def _write(model: type[ThrottleCounter | ThrottleUse], key: bytes, row: Any, values: dict[str, object]) -> bool:
    """Compare and set: False when somebody else was counted since `row` was read."""
    columns = model.__table__.c
    if row is not None:
        with transaction() as connection:
            changed = update(model).where(columns.key == key, columns.version == row.version).values(**values)
            return connection.execute(changed).rowcount == 1
    try:
        with transaction() as connection:
            connection.execute(insert(model).values(key=key, **values))
    except IntegrityError:
        return False
    return True


def _counted(row: Any, moment: datetime) -> dict[str, object]:
    """The counter after one more attempt. The last of a window blocks, each window for twice as long."""
    limits = state().limits
    window = timedelta(minutes=limits.login_wait_minutes)
    failures, rounds = 1, 0
    if row is not None:
        last = row.blocked_until or row.window_at
        rounds = 0 if moment - last > FORGET else row.rounds
        if row.blocked_until is None and moment - row.window_at <= window:
            failures = row.failures + 1
    # Each failure begins the window anew: one that only ran off could be straddled, for almost twice as many guesses.
    counted = {"failures": failures, "rounds": rounds, "window_at": moment, "blocked_until": None}
    if failures < limits.login_failures:
        return counted
    wait = min(window * 2 ** min(rounds, 10), LONGEST_WAIT)
    return {**counted, "rounds": rounds + 1, "blocked_until": moment + wait}


def clear(booking: Booking) -> None:
    """The attempt succeeded completely: nothing is held against the subject any more."""
    _delete(booking.key)


def forget(kind: str, subject: str) -> None:
    """As `clear`, for whoever proved in another way who he is."""
    _delete(key_for(kind, subject))


def _delete(key: bytes) -> None:
    with transaction() as connection:
        connection.execute(delete(ThrottleCounter).where(_c.key == key))


def give_back(booking: Booking) -> None:
    """The attempt was not made after all (no slot was free): it counts neither way."""
    with transaction() as connection:
        connection.execute(
            update(ThrottleCounter)
            .where(_c.key == booking.key, _c.version == booking.version, _c.failures > 0)
            .values(
                failures=_c.failures - 1,
                rounds=_c.rounds - case((_c.blocked_until.is_(None), 0), else_=1),
                blocked_until=None,
                version=_c.version + 1,
            )
        )


def purge() -> int:
    """Delete the counters whose last attempt and wait are over for two days; how many there were.

    Anybody makes one by typing an address, and a right password alone removes one.
    """
    over = now() - KEPT
    waits_no_more = _c.blocked_until.is_(None) | (_c.blocked_until < over)
    with transaction() as connection:
        unused = connection.execute(delete(ThrottleUse).where(_t.last_at < over)).rowcount
        return unused + connection.execute(delete(ThrottleCounter).where(_c.window_at < over, waits_no_more)).rowcount


def install(app: Flask) -> None:
    """A ceiling for each signed-in session, so that one stolen session can't empty the service in a minute."""
    ceiling = Ceiling(state_of(app).limits.requests_per_minute_and_session)

    @app.before_request
    def count_session() -> None:
        if request.endpoint in PASSIVE or not current_user.is_authenticated:
            return
        wait = ceiling.hit(current_user.session_id.hex)
        if wait is not None:
            g.pop("principal", None)
            refuse(429, "default-throttle", retry_after=wait)
