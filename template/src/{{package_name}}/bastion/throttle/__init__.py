"""Guessing is slowed down per account, in the database, before anything is computed.

A counter that is looked at after the hash, or kept per process or per address, is passed by guessing in parallel, from
many addresses, or at many processes. The attempt is booked before the password is checked, so that a crash or a race
frees none; a right one gives its booking back.

A counter's name is an HMAC under THROTTLE_KEY. After a rotation of that it is looked for under every key that counts,
and moves to its new name with the next attempt; processes that disagree for a while about the keys see each other's.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID

from flask import Flask, current_app, request
from sqlalchemy import ColumnElement, Select, and_, bindparam, case, delete, false, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ..audit.refusal import refuse
from ..clock import now
from ..database import connect, transaction
from ..edge.address import CLIENT, Client
from ..edge.ceiling import WIDE, Ceiling
from ..state import state, state_of
from .tables import ThrottleCounter, ThrottleUse

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
SESSIONS, LINKS, PASSKEYS = (f"bastion.throttle.{of}" for of in ("sessions", "links", "passkeys"))  # in this process
PASSKEY_USES: Final = 20  # of one account, a minute: as many as of right passwords
CHOICES: Final = 20  # of a password by one link, a minute: to refuse one takes 60 ms, and leaves the link good
TRIES: Final = 5  # of the compare-and-set, before the request is asked to come back in a second
_c = ThrottleCounter.__table__.c
_COUNTER: Final = select(_c.key, _c.failures, _c.rounds, _c.window_at, _c.blocked_until, _c.version)
NOTHING: Final = {"failures": 0, "rounds": 0, "blocked_until": None}
"""What a counter holds that is not there."""
_t = ThrottleUse.__table__.c
_USES: Final = select(_t.key, _t.uses, _t.version)


@dataclass(frozen=True, slots=True)
class _Names:
    """How a subject's counter is called under each key that counts; a new one gets the first name."""

    all: tuple[bytes, ...]
    present: int
    """So many are of the active key and of next ones: a counter of these names stays where it is."""

    def __contains__(self, name: bytes) -> bool:
        return name in self.all[: self.present]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a subject is counted: the names, and what was found under them, the row to go on with first."""

    names: _Names
    rows: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Booking:
    """One booked attempt: the counter, the version that this booking gave it, and what stood there before."""

    names: tuple[bytes, ...]
    version: int
    before: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `count` uses in any stretch of time of this length."""

    count: int
    per: timedelta


@dataclass(frozen=True, slots=True)
class Spent:
    """One counted use: the subject's names, and when it was; for a network also that of the wider one around it.

    `number`: so many uses of the longest stretch of time there are with it; for a network a WIDE-th of those of the
    wider one, if that is more.
    """

    names: tuple[bytes, ...]
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
    return replace(spent, wide=wider, number=max(spent.number, wider.number // WIDE))


def take(kind: str, subject: str, *allowances: Allowance) -> tuple[Spent | None, float]:
    """Count one use if all allowances have room, otherwise none: then the seconds until there is.

    By compare and set, so that of two that race for the last use one alone gets it.
    """
    longest = max(allowance.per for allowance in allowances)
    for _ in range(TRIES):
        moment = now()
        at = moment.timestamp()
        place = _find(_USES, kind, subject)
        row = _uses_of(place.rows)
        since = at - longest.total_seconds()
        # A use of a process whose clock is ahead counts as one of now, and is not forgotten.
        uses = [min(use, at) for use in row.uses if use > since]
        if wait := max(_wait(uses, at, allowance) for allowance in allowances):
            return None, wait
        values = {"uses": [*uses, at], "last_at": moment, "version": row.version + 1}
        if _write(ThrottleUse, place, values):
            return Spent(place.names.all, at, number=len(uses) + 1), 0.0
    return None, 1.0


def _wait(uses: list[float], at: float, allowance: Allowance) -> float:
    recent = [use for use in uses if use > at - allowance.per.total_seconds()]
    return recent[-allowance.count] + allowance.per.total_seconds() - at if len(recent) >= allowance.count else 0.0


def refund(spent: Spent) -> None:
    """The use was right, or not made after all: it does not count."""
    if spent.wide is not None:
        refund(spent.wide)
    for _ in range(TRIES):
        place = _place(_USES, _Names(spent.names, len(spent.names)))  # where it is, it stays
        row = _uses_of(place.rows)
        if not row.uses:
            return
        uses = [*row.uses]
        # A process whose clock is behind may have counted it as one of its own now, in `take`.
        uses.remove(spent.at if spent.at in uses else max(uses))
        if _write(ThrottleUse, place, {"uses": uses, "version": row.version + 1}):
            return


def _names(kind: str, subject: str) -> _Names:
    """HMACs under a key that is not SECRET_KEY: nobody learns an address from them, and a rotation frees nobody."""
    ring, what = state().rings.get("THROTTLE_KEY"), _subject(kind, subject)
    names = tuple(hmac.new(key.encode(), what, hashlib.sha256).digest() for key in ring.texts())
    return _Names(names, len(ring.present))


def _subject(kind: str, subject: str) -> bytes:
    return f"{kind}:{subject}".encode("utf-8", "surrogatepass")


def book(kind: str, subject: str, reason: str) -> Booking:
    """Count one attempt before it is made; refuse with 429 while the subject has to wait."""
    for _ in range(TRIES):
        moment = now()
        place = _find(_COUNTER, kind, subject)
        row = _counter_of(place.rows)
        if row is not None and row.blocked_until is not None and row.blocked_until > moment:
            refuse(429, reason, retry_after=int((row.blocked_until - moment).total_seconds()) + 1)
        version = 1 if row is None else row.version + 1
        values = {**_counted(row, moment), "version": version}
        if _write(ThrottleCounter, place, values):
            return Booking(place.names.all, version, _held(row, moment))
    return refuse(429, reason, retry_after=1)


def held(kind: str, subject: str) -> Mapping[str, Any]:
    """What is counted against the subject at this moment, as Booking.before has it."""
    return _held(_counter_of(_find(_COUNTER, kind, subject).rows), now())


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


def _find(wanted: Select[Any], kind: str, subject: str) -> _Place:
    """The counter of this subject, or the one that it shares while there are too many; no row if it is new."""
    place = _place(wanted, _names(kind, subject))
    if not place.rows and kind not in BOUNDED and _fill().full:
        # The same for every key, or a rotation would free whoever shares it.
        bucket = int.from_bytes(hashlib.sha256(_subject(kind, subject)).digest()) % BUCKETS
        return _place(wanted, _names(f"{kind}-shared", str(bucket)))
    return place


def _place(wanted: Select[Any], names: _Names) -> _Place:
    with connect() as connection:
        named = {f"name_{number}": name for number, name in enumerate(names.all)}
        rows = connection.execute(_under(wanted, len(named)), named).all()
    return _Place(names, sorted(rows, key=lambda row: names.all.index(row.key)))


@functools.cache
def _under(wanted: Select[Any], names: int) -> Select[Any]:
    """The statement for so many names: written once, since an IN of any length would be at each use."""
    key = wanted.selected_columns.key
    return wanted.where(or_(false(), *(key == bindparam(f"name_{number}") for number in range(names))))


def _counter_of(rows: Sequence[Any]) -> Any:
    """What the rows say together: two processes that knew other keys, and began at one moment, have each made one."""
    if len(rows) < 2:
        return rows[0] if rows else None
    return SimpleNamespace(
        failures=sum(row.failures for row in rows),
        rounds=max(row.rounds for row in rows),
        window_at=max(row.window_at for row in rows),
        blocked_until=max((row.blocked_until for row in rows if row.blocked_until), default=None),
        version=max(row.version for row in rows),
    )


def _uses_of(rows: Sequence[Any]) -> Any:
    """The same for uses; none at all when there is no row."""
    uses = sorted(use for row in rows for use in row.uses)
    return SimpleNamespace(uses=uses, version=max((row.version for row in rows), default=0))


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


class _Overtaken(Exception):
    """Somebody else was counted since the row was read."""


def _write(model: type[ThrottleCounter | ThrottleUse], place: _Place, values: dict[str, object]) -> bool:
    """Compare and set: False when somebody else was counted since the rows were read. One row is left, or made."""
    _look_after()
    names, rows = place.names, place.rows
    try:
        with transaction() as connection:
            if not rows:
                connection.execute(insert(model).values(key=names.all[0], **values))
                return True
            kept = rows[0].key
            name = kept if kept in names else names.all[0]
            for row in sorted(rows, key=lambda row: row.key):  # always in this order: no two wait for each other
                as_read = _as_read(model, row)
                changed = update(model).where(as_read).values(key=name, **values) if row.key == kept else None
                done = connection.execute(delete(model).where(as_read) if changed is None else changed)
                if done.rowcount != 1:
                    raise _Overtaken
    except (IntegrityError, _Overtaken):
        return False
    return True


def _as_read(model: type[ThrottleCounter | ThrottleUse], row: Any) -> ColumnElement[bool]:
    columns = model.__table__.c
    return and_(columns.key == row.key, columns.version == row.version)


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
    names = _names(kind, subject).all
    with transaction() as connection:
        connection.execute(delete(ThrottleCounter).where(_c.key.in_(names)))
        if _fill().full:  # from here on it has a counter of its own, not the one that it shared
            connection.execute(insert(ThrottleCounter).values(key=names[0], version=1, window_at=now(), **NOTHING))


def give_back(booking: Booking) -> None:
    """The attempt was right, or not made after all (no slot was free): all is as if it had never been booked.

    If others were counted since, theirs stay, and the wait goes that began with one attempt too many.
    """
    counter = update(ThrottleCounter).values(version=_c.version + 1)
    undone = counter.where(_c.version == booking.version).values(**booking.before)
    one_less = counter.where(_c.failures > 0).values(
        failures=_c.failures - 1,
        rounds=_c.rounds - case((_c.blocked_until.is_(None), 0), else_=1),
        blocked_until=None,
    )
    with transaction() as connection:
        for name in booking.names:  # there is one row, wherever a process with other keys may have moved it
            for change in (undone, one_less):
                if connection.execute(change.where(_c.key == name)).rowcount == 1:
                    return


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
    """Make the counters that this process keeps."""
    app.extensions[EXTENSION] = _Fill()
    app.extensions[SESSIONS] = Ceiling(state_of(app).limits.requests_per_minute_and_session)
    app.extensions[LINKS] = Ceiling(CHOICES)
    app.extensions[PASSKEYS] = Ceiling(PASSKEY_USES)


def count_session(session_id: UUID) -> None:
    """Count one request of this session; refuse one too many in its minute with 429."""
    ceiling: Ceiling = current_app.extensions[SESSIONS]
    wait = ceiling.hit(session_id.hex)
    if wait is not None:
        refuse(429, "default-throttle", retry_after=wait)


def count_passkey(user_id: UUID) -> None:
    """Count one use of a passkey of this account; refuse one too many in its minute with 429."""
    _count(PASSKEYS, user_id, "default-throttle")


def count_link(link_id: UUID) -> None:
    """Count one password that is chosen by this mailed link; refuse one too many in its minute with 429."""
    _count(LINKS, link_id, "reset-throttle")


def _count(of: str, which: UUID, row: str) -> None:
    ceiling: Ceiling = current_app.extensions[of]
    if (wait := ceiling.hit(which.hex)) is not None:
        refuse(429, row, retry_after=wait)
