"""Login throttling per account: a lockout in the database, counted before the password is checked.

A counter that is read after the hash, or kept per process or address, fails against parallel or distributed guessing.
The attempt is booked before the password is checked, so that a crash or a race frees none; a success returns its
booking.

A counter's name is an HMAC under a key derived from SECRET_KEY, so a rotation of that key resets all counters.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Final
from uuid import UUID

from flask import Flask, current_app, request
from sqlalchemy import ColumnElement, Select, bindparam, case, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import JSON

from ..audit.refusal import refuse
from ..clock import now
from ..crypto.ring import derived
from ..database import HASH, OWNER, Base, connect, transaction
from ..edge.address import CLIENT, Client
from ..edge.ceiling import WIDE, Ceiling
from ..state import state, state_of

LONGEST_WAIT: Final = timedelta(hours=24)
FORGET: Final = timedelta(hours=24)  # without failures for this long, the wait begins at its shortest again
KEPT: Final = timedelta(hours=48)  # after its end; twice FORGET, so that no counter that still means something goes
# Any client makes a counter by typing an address. Above this number of failures, or uses, those that end first are
# deleted: a flood of names does not shorten a running lockout.
MOST: Final = 200_000
EVERY: Final = 1_000  # writes of one process, after which it purges
OFTEN: Final = 5  # failures in a row after which a success is worth a mail
EXTENSION: Final = "bastion.throttle"
SESSIONS, LINKS, PASSKEYS = (f"bastion.throttle.{of}" for of in ("sessions", "links", "passkeys"))  # in this process
PASSKEY_USES: Final = 20  # of one account, a minute: as many as of right passwords
CHOICES: Final = 20  # of a password by one link, a minute: to refuse one takes 60 ms, and leaves the link good
TRIES: Final = 5  # of the compare-and-set, before the request is asked to come back in a second


class ThrottleCounter(Base):
    """Failed attempts under one key; the key is an HMAC, so that the table holds no address."""

    __tablename__ = "throttle_counter"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    key: Mapped[bytes] = mapped_column(HASH, primary_key=True)
    failures: Mapped[int]
    rounds: Mapped[int]  # full windows of failures in a row
    window_at: Mapped[datetime]
    blocked_until: Mapped[datetime | None]
    version: Mapped[int]  # compare-and-set


class ThrottleUse(Base):
    """Times of uses under one key (registrations of a network, mails to a recipient); the key is an HMAC as well."""

    __tablename__ = "throttle_use"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    key: Mapped[bytes] = mapped_column(HASH, primary_key=True)
    uses: Mapped[list[float]] = mapped_column(JSON, default=list)  # seconds since the epoch, oldest first
    last_at: Mapped[datetime] = mapped_column(index=True)
    version: Mapped[int]  # compare-and-set


COUNTERS = ThrottleCounter.__table__.c
_COUNTER: Final = select(
    COUNTERS.failures, COUNTERS.rounds, COUNTERS.window_at, COUNTERS.blocked_until, COUNTERS.version
).where(COUNTERS.key == bindparam("name"))
NOTHING: Final = {"failures": 0, "rounds": 0, "blocked_until": None}
"""The values of a counter that does not exist."""
USES = ThrottleUse.__table__.c
_USES: Final = select(USES.uses, USES.version).where(USES.key == bindparam("name"))


@dataclass(frozen=True, slots=True)
class Booking:
    """One booked attempt: the counter, the version that this booking gave it, and the values before it."""

    name: bytes
    version: int
    before: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `count` uses within any period of this length."""

    count: int
    per: timedelta


@dataclass(frozen=True, slots=True)
class Spent:
    """One counted use: the subject's key and the time; for a network also the use of the wider one around it.

    `number`: uses in the longest of the allowances' periods, this one included. For a network it is a WIDE-th of the
    wider network's uses, if that is more.
    """

    name: bytes
    at: float
    wide: Spent | None = None
    number: int = 0


def spend(kind: str, subject: str, reason: str, *allowances: Allowance) -> Spent:
    """Count one use before any work is done for it; refuse with 429 when an allowance is used up."""
    spent, wait = take(kind, subject, *allowances)
    if spent is None:
        refuse(429, reason, retry_after=int(wait) + 1)
    return spent


def spend_for_network(kind: str, reason: str, *allowances: Allowance) -> Spent:
    """Count a use like `spend`, for this request's network: an IPv4 address, an IPv6 /64.

    The /48 around that may take WIDE times as much in all: a hosting provider gives a customer 65,536 /64.
    """
    client: Client = request.environ[CLIENT]
    spent = spend(kind, client.network, reason, *allowances)
    if client.wide is None:
        return spent
    wider, wait = take(kind, client.wide, *(replace(one, count=one.count * WIDE) for one in allowances))
    if wider is None:
        refund(spent)
        refuse(429, reason, retry_after=int(wait) + 1)
    return replace(spent, wide=wider, number=max(spent.number, wider.number // WIDE))


def take(kind: str, subject: str, *allowances: Allowance) -> tuple[Spent | None, float]:
    """Count one use if all allowances have room, otherwise none and return the seconds until they have.

    A compare-and-set: if two requests race for the last use, only one gets it.
    """
    longest = max(allowance.per for allowance in allowances)
    for _ in range(TRIES):
        moment = now()
        at = moment.timestamp()
        name = _name(kind, subject)
        row = _read(_USES, name)
        since = at - longest.total_seconds()
        # A use from a process whose clock is ahead counts as one of now, and is kept.
        uses = [min(use, at) for use in (row.uses if row is not None else ()) if use > since]
        if wait := max(_wait(uses, at, allowance) for allowance in allowances):
            return None, wait
        if _write(ThrottleUse, name, row, {"uses": [*uses, at], "last_at": moment}):
            return Spent(name, at, number=len(uses) + 1), 0.0
    return None, 1.0


def _wait(uses: list[float], at: float, allowance: Allowance) -> float:
    recent = [use for use in uses if use > at - allowance.per.total_seconds()]
    return recent[-allowance.count] + allowance.per.total_seconds() - at if len(recent) >= allowance.count else 0.0


def refund(spent: Spent) -> None:
    """Remove a counted use: it succeeded, or was not made after all."""
    if spent.wide is not None:
        refund(spent.wide)
    for _ in range(TRIES):
        row = _read(_USES, spent.name)
        if row is None or not row.uses:
            return
        uses = [*row.uses]
        # `take` may have moved it to now, in a process whose clock is behind.
        uses.remove(spent.at if spent.at in uses else max(uses))
        if _write(ThrottleUse, spent.name, row, {"uses": uses}):
            return


def _name(kind: str, subject: str) -> bytes:
    """Return the counter's key for this subject: a reader of the database learns no address from it."""
    key = derived(state().rings.get("SECRET_KEY").keys[0].text.encode(), b"bastion throttle")
    what = f"{kind}:{subject}".encode("utf-8", "surrogatepass")
    return hmac.new(key, what, hashlib.sha256).digest()


def book(kind: str, subject: str, reason: str) -> Booking:
    """Count one attempt before it is made; refuse with 429 while the subject is locked out."""
    for _ in range(TRIES):
        moment = now()
        name = _name(kind, subject)
        row = _read(_COUNTER, name)
        if row is not None and row.blocked_until is not None and row.blocked_until > moment:
            refuse(429, reason, retry_after=int((row.blocked_until - moment).total_seconds()) + 1)
        if version := _write(ThrottleCounter, name, row, _counted(row, moment)):
            return Booking(name, version, _held(row, moment))
    return refuse(429, reason, retry_after=1)


def held(kind: str, subject: str) -> Mapping[str, Any]:
    """Return the subject's counter at this moment, as in Booking.before."""
    return _held(_read(_COUNTER, _name(kind, subject)), now())


def _held(row: Any, moment: datetime) -> Mapping[str, Any]:
    return {name: getattr(row, name, none) for name, none in {**NOTHING, "window_at": moment}.items()}


def failed_often(counted: Mapping[str, Any], since: datetime | None) -> bool:
    """Return whether enough attempts failed in a row within a day, one of them after `since`, to report a success.

    A success does not reset the counter (that would give an attacker new guesses). Without `since`, each success of a
    day would be reported.
    """
    if not counted["rounds"] and counted["failures"] < OFTEN:
        return False
    recent = now() - FORGET
    return bool(counted["window_at"] > (recent if since is None else max(recent, since)))


def _read(wanted: Select[Any], name: bytes) -> Any:
    with connect() as connection:
        return connection.execute(wanted, {"name": name}).one_or_none()


def _write(
    model: type[ThrottleCounter | ThrottleUse], name: bytes, row: Any, values: Mapping[str, object]
) -> int | None:
    """Compare-and-set: return the row's new version, or None if another process changed the row after the read."""
    if not next(current_app.extensions[EXTENSION]) % EVERY:
        with suppress(SQLAlchemyError):  # the write itself says whether the store is there
            purge()
    columns = model.__table__.c
    version = 1 if row is None else row.version + 1
    with suppress(IntegrityError), transaction() as connection:
        if row is None:
            connection.execute(insert(model).values(key=name, version=version, **values))
            return version
        as_read = update(model).where(columns.key == name, columns.version == row.version)
        return version if connection.execute(as_read.values(version=version, **values)).rowcount == 1 else None
    return None


def _counted(row: Any, moment: datetime) -> dict[str, Any]:
    """Return the counter after one more attempt. The last of a window locks out, each round twice as long."""
    limits = state().limits
    window = timedelta(minutes=limits.login_wait_minutes)
    failures, rounds = 1, 0
    if row is not None:
        last = row.blocked_until or row.window_at
        rounds = 0 if moment - last > FORGET else row.rounds
        if row.blocked_until is None and moment - row.window_at <= window:
            failures = row.failures + 1
    # Each failure restarts the window: guesses around the end of a fixed one would be almost twice as many.
    counted = {"failures": failures, "rounds": rounds, "window_at": moment, "blocked_until": None}
    if failures < limits.login_failures:
        return counted
    wait = min(window * 2 ** min(rounds, 10), LONGEST_WAIT)
    return {**counted, "rounds": rounds + 1, "blocked_until": moment + wait}


def forget(kind: str, subject: str) -> None:
    """Reset the subject's counter after proof of identity by means that can't be guessed."""
    with transaction() as connection:
        connection.execute(delete(ThrottleCounter).where(COUNTERS.key == _name(kind, subject)))


def give_back(booking: Booking) -> None:
    """Undo the booking: the attempt succeeded, or was not made after all (no slot was free).

    If later attempts were counted, those stay; only a lockout that this attempt may have started ends.
    """
    counter = update(ThrottleCounter).where(COUNTERS.key == booking.name).values(version=COUNTERS.version + 1)
    undone = counter.where(COUNTERS.version == booking.version).values(**booking.before)
    one_less = counter.where(COUNTERS.failures > 0).values(
        failures=COUNTERS.failures - 1,
        rounds=COUNTERS.rounds - case((COUNTERS.blocked_until.is_(None), 0), else_=1),
        blocked_until=None,
    )
    with transaction() as connection:
        if connection.execute(undone).rowcount != 1:
            connection.execute(one_less)


def purge() -> int:
    """Delete counters 48 h after their end, and above MOST those that end first; return how many."""
    over = now() - KEPT
    waits: ColumnElement[datetime] = func.coalesce(COUNTERS.blocked_until, COUNTERS.window_at)
    with transaction() as connection:
        gone = 0
        for model, ends in ((ThrottleUse, USES.last_at), (ThrottleCounter, waits)):
            above = connection.scalar(select(ends).order_by(ends.desc()).offset(MOST).limit(1))
            gone += connection.execute(delete(model).where(ends <= max(over, above or over))).rowcount
        return gone


def install(app: Flask) -> None:
    """Create the counters of this process."""
    app.extensions[EXTENSION] = count(1)
    app.extensions[SESSIONS] = Ceiling(state_of(app).limits.requests_per_minute_and_session)
    app.extensions[LINKS] = Ceiling(CHOICES)
    app.extensions[PASSKEYS] = Ceiling(PASSKEY_USES)


def count_session(session_id: UUID) -> None:
    """Count one request of this session; refuse with 429 above the limit per minute."""
    ceiling: Ceiling = current_app.extensions[SESSIONS]
    wait = ceiling.hit(session_id.hex)
    if wait is not None:
        refuse(429, "default-throttle", retry_after=wait)


def count_passkey(user_id: UUID) -> None:
    """Count one use of a passkey of this account; refuse with 429 above the limit per minute."""
    _count(PASSKEYS, user_id, "default-throttle")


def count_link(link_id: UUID) -> None:
    """Count one password chosen through this mailed link; refuse with 429 above the limit per minute."""
    _count(LINKS, link_id, "reset-throttle")


def _count(of: str, which: UUID, row: str) -> None:
    ceiling: Ceiling = current_app.extensions[of]
    if (wait := ceiling.hit(which.hex)) is not None:
        refuse(429, row, retry_after=wait)
