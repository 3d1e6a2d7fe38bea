"""Guessing is slowed down per account, in the database, before anything is computed.

A counter that is looked at after the hash, or kept per process or per address, is passed by guessing in parallel, from
many addresses, or at many processes. The attempt is booked before the password is checked, so that a crash or a race
frees none; a right one gives its booking back.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from flask import Flask, current_app, g, request
from sqlalchemy import Select, bindparam, case, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

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
# Anybody makes a counter by typing an address. Above so many, whoever was not counted yet shares one of BUCKETS of his
# kind with others: the counters that are there stay what they are, and a flood of names makes no more rows.
MOST: Final = 200_000
BUCKETS: Final = 4_096
EVERY: Final = 1_000  # writes of one process, after which it purges, and looks how many counters there are
# Kinds of counters that accounts and their devices have: there are never more of these than of accounts.
BOUNDED: Final = frozenset(
    (
        "device",
        "device-rate",
        "password",
        "password-rate",
        "factor",
        "factor-day",
        "factor-device",
        "factor-device-day",
        "factor-again",
        "factor-again-day",
        "factor-change",
        "export",
        "mail-notice",
        "mail-trusted",
    )
)
OFTEN: Final = 5  # failures in a row after which a success is worth a mail
EXTENSION: Final = "bastion.throttle"
TRIES: Final = 5  # of the compare-and-set, before the request is asked to come back in a second
_c = ThrottleCounter.__table__.c
_COUNTER: Final = select(_c.failures, _c.rounds, _c.window_at, _c.blocked_until, _c.version).where(
    _c.key == bindparam("wanted")
)
NOTHING: Final = {"failures": 0, "rounds": 0, "blocked_until": None}
"""What a counter holds that is not there."""
_t = ThrottleUse.__table__.c
_USES: Final = select(_t.uses, _t.version).where(_t.key == bindparam("wanted"))


@dataclass(frozen=True, slots=True)
class Booking:
    """One booked attempt: the counter, the version that this booking gave it, and what stood there before."""

    key: bytes
    version: int
    before: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `count` uses in any stretch of time of this length."""

    count: int
    per: timedelta


@dataclass(frozen=True, slots=True)
class Spent:
    """One counted use: the subject's key, and when it was; for a network also that of the wider one around it.

    `number`: so many uses of the longest stretch of time there are with it.
    """

    key: bytes
    at: float
    wide: Spent | None = None
    number: int = 0


@dataclass(slots=True)
class _Fill:
    """How many counters there are, as this process saw it last."""

    writes: int = 0
    full: bool = False


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
    longest = max(allowance.per for allowance in allowances)
    for _ in range(TRIES):
        moment = now()
        at = moment.timestamp()
        key, row = _find(_USES, kind, subject)
        since = at - longest.total_seconds()
        # A use of a process whose clock is ahead counts as one of now, and is not forgotten.
        uses = [min(use, at) for use in (row.uses if row is not None else ()) if use > since]
        if wait := max(_wait(uses, at, allowance) for allowance in allowances):
            return None, wait
        values = {"uses": [*uses, at], "last_at": moment, "version": 1 if row is None else row.version + 1}
        if _write(ThrottleUse, key, row, values):
            return Spent(key, at, number=len(uses) + 1), 0.0
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
    for _ in range(TRIES):
        moment = now()
        key, row = _find(_COUNTER, kind, subject)
        if row is not None and row.blocked_until is not None and row.blocked_until > moment:
            refuse(429, reason, retry_after=int((row.blocked_until - moment).total_seconds()) + 1)
        version = 1 if row is None else row.version + 1
        values = {**_counted(row, moment), "version": version}
        if _write(ThrottleCounter, key, row, values):
            return Booking(key, version, _held(row, moment))
    return refuse(429, reason, retry_after=1)


def held(kind: str, subject: str) -> Mapping[str, Any]:
    """What is counted against the subject at this moment, as Booking.before has it."""
    return _held(_find(_COUNTER, kind, subject)[1], now())


def _held(row: Any, moment: datetime) -> Mapping[str, Any]:
    return {name: getattr(row, name, none) for name, none in {**NOTHING, "window_at": moment}.items()}


def failed_often(counted: Mapping[str, Any], since: datetime | None) -> bool:
    """Whether so many attempts failed in a row within a day that a success is suspicious, and one of them `since` then.

    A success takes nothing off the counter (it would give strangers new guesses): without `since`, each one for a day
    would be told of.
    """
    if not counted["rounds"] and counted["failures"] < OFTEN:
        return False
    recent = now() - FORGET
    return bool(counted["window_at"] > (recent if since is None else max(recent, since)))


def _find(wanted: Select[Any], kind: str, subject: str) -> tuple[bytes, Any]:
    """The counter of this subject, or the one that it shares while there are too many; no row if it is new."""
    key = key_for(kind, subject)
    with connect() as connection:
        row = connection.execute(wanted, {"wanted": key}).one_or_none()
        if row is None and kind not in BOUNDED and _fill().full:
            key = key_for(f"{kind}-shared", str(int.from_bytes(key) % BUCKETS))
            row = connection.execute(wanted, {"wanted": key}).one_or_none()
    return key, row


def _fill() -> _Fill:
    found: _Fill = current_app.extensions[EXTENSION]
    return found


def _look_after() -> None:
    """After every so many writes: delete what is over, and look how many counters are left."""
    fill = _fill()
    fill.writes += 1
    if fill.writes % EVERY:
        return
    with suppress(SQLAlchemyError):  # the write itself says whether the store is there
        purge()
        some = [select(func.count()).select_from(select(one.key).limit(MOST).subquery()) for one in (_c, _t)]
        with connect() as connection:
            fill.full = sum(connection.execute(one).scalar_one() for one in some) >= MOST


def _write(model: type[ThrottleCounter | ThrottleUse], key: bytes, row: Any, values: dict[str, object]) -> bool:
    """Compare and set: False when somebody else was counted since `row` was read."""
    _look_after()
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


def _counted(row: Any, moment: datetime) -> dict[str, Any]:
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


def forget(kind: str, subject: str) -> None:
    """Nothing is held against the subject any more: it proved who it is by something that no guess is about."""
    key = key_for(kind, subject)
    with transaction() as connection:
        connection.execute(delete(ThrottleCounter).where(_c.key == key))
        if _fill().full:  # from here on it has a counter of its own, not the one that it shared
            connection.execute(insert(ThrottleCounter).values(key=key, version=1, window_at=now(), **NOTHING))


def give_back(booking: Booking) -> None:
    """The attempt was right, or not made after all (no slot was free): all is as if it had never been booked.

    If others were counted since, theirs stay, and the wait goes that began with one attempt too many.
    """
    counter = update(ThrottleCounter).where(_c.key == booking.key).values(version=_c.version + 1)
    with transaction() as connection:
        undone = counter.where(_c.version == booking.version).values(**booking.before)
        if connection.execute(undone).rowcount == 1:
            return
        connection.execute(
            counter.where(_c.failures > 0).values(
                failures=_c.failures - 1,
                rounds=_c.rounds - case((_c.blocked_until.is_(None), 0), else_=1),
                blocked_until=None,
            )
        )


def purge() -> int:
    """Delete the counters whose last attempt and wait are over for two days; how many there were.

    Anybody makes one by typing an address.
    """
    over = now() - KEPT
    waits_no_more = _c.blocked_until.is_(None) | (_c.blocked_until < over)
    with transaction() as connection:
        unused = connection.execute(delete(ThrottleUse).where(_t.last_at < over)).rowcount
        return unused + connection.execute(delete(ThrottleCounter).where(_c.window_at < over, waits_no_more)).rowcount


def install(app: Flask) -> None:
    """A ceiling for each signed-in session, so that one stolen session can't empty the service in a minute."""
    app.extensions[EXTENSION] = _Fill()
    ceiling = Ceiling(state_of(app).limits.requests_per_minute_and_session)

    @app.before_request
    def count_session() -> None:
        if request.endpoint in PASSIVE or not current_user.is_authenticated:
            return
        wait = ceiling.hit(current_user.session_id.hex)
        if wait is not None:
            g.pop("principal", None)
            refuse(429, "default-throttle", retry_after=wait)
