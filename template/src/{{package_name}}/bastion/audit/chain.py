"""Audit hash chain: `audit verify` detects each event that was changed, removed, added or moved in the database.

An attacker with access to the database would remove their traces, or plant false ones. Each row is written with an HMAC
over its content. Within about ten seconds it gets the next number, and an HMAC over that, the previous one and the
content. The head of this chain is signed as well, and logged. Requests write without waiting for each other: any worker
or command numbers new rows, one at a time by a compare-and-set on the head.

The key is derived from DATA_KEY (HKDF, RFC 5869). The same processes have both, so a separate secret would be one more
to lose and protect no more. A former DATA_KEY verifies while it is in the ring. It has to stay there for a year, since
a row sealed under a missing key counts as changed.

Rows that are too old to keep are verified before they go: an attacker can't purge traces by back-dating them. Limits:
an attacker with the key, or a former one in the ring, can write another chain. A row that is deleted before it has its
number leaves only its log line, and until then a count can be changed. A database restored as a whole to an earlier
state, or to its empty beginning, verifies. Only `audit verify --head` with a later logged head detects that.

Source: ASVS 16.4.2, 11.4.3; RFC 2104; Schneier, Kelsey: Secure Audit Logs (1999).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, select, update

from .. import log
from ..clock import now
from ..crypto import encryption
from ..crypto.ring import bytes_of, derived
from ..database import connect, transaction
from ..state import state
from .tables import AuditEvent, AuditHead

SIGNED: Final = (
    *("id", "at", "kind", "outcome", "user_id", "actor_id", "session_id", "address", "request_id", "details"),
)
"""The columns that never change after a row was written; its count (`times`) is final once it has a number."""
ROW, NUMBERED, HEAD = b"row", b"numbered", b"head"  # domain separation: no HMAC is valid as another kind
KEY_BYTES: Final = 4  # in front of each HMAC, the beginning of the SHA-256 of its key
BATCH: Final = 200  # rows that are sealed in one transaction, for which writers of SQLite wait some 20 ms
PAGE: Final = 1_000  # rows that are verified at a time
TRIES: Final = 3  # of a verification that a purge came in between, and of a purge that a sealing did
NO_HEAD: Final = "the row of audit_head was removed"
EVENTS, HEADS = AuditEvent.__table__.c, AuditHead.__table__.c
_ONE: Final = HEADS.id == 1
_HEAD: Final = select(AuditHead.__table__).where(_ONE)
_SEALED: Final = update(AuditEvent).where(EVENTS.id == bindparam("row")).values(bucket=None)
START: Final = {"id": 1, "number": 0, "mac": b"", "anchor_number": 0, "anchor_mac": b"", "seal": b"", "version": 0}
"""The head before any row was sealed; the migration inserts it."""
_log: Final = log.get_logger("bastion.audit")


class Ring:
    """The keys for one operation: the active one signs, and all of them verify."""

    def __init__(self) -> None:
        self._keys = _by_name(state().rings.get(encryption.SECRET).texts())

    def sign(self, what: bytes, *parts: object) -> bytes:
        """Return the active key's id, and an HMAC under that key."""
        name, key = next(iter(self._keys.items()))
        return name + _hmac(key, what, parts)

    def fault(self, mac: bytes | None, what: bytes, *parts: object) -> str | None:
        """Return None if this is the HMAC of these parts under one of the keys; otherwise the fault, as a predicate."""
        key = self._key((mac or b"")[:KEY_BYTES])
        if mac and key is None:
            return "is under a key that is not here (a former DATA_KEY? put it back into the ring), or was changed"
        if mac is None or key is None or not hmac.compare_digest(mac[KEY_BYTES:], _hmac(key, what, parts)):
            return "was changed, or is not in its place"
        return None

    def _key(self, name: bytes) -> bytes | None:
        """Return the key of this id, or None; refresh the secret if another process sealed under a newer key."""
        if name and name not in self._keys:
            self._keys |= state().rings.tried(encryption.SECRET, lambda texts: _with(name, texts)) or {}
        return self._keys.get(name)


def _by_name(texts: Iterable[str]) -> dict[bytes, bytes]:
    keys = (derived(bytes_of(text), b"bastion audit") for text in texts)
    return {hashlib.sha256(key).digest()[:KEY_BYTES]: key for key in keys}


def _with(name: bytes, texts: Iterable[str]) -> dict[bytes, bytes] | None:
    keys = _by_name(texts)
    return keys if name in keys else None


def _hmac(key: bytes, what: bytes, parts: tuple[object, ...]) -> bytes:
    texts = [part.hex() if isinstance(part, bytes) else str(part) for part in parts]
    return hmac.new(key, what + json.dumps(texts).encode(), hashlib.sha256).digest()


def _content(row: Mapping[Any, Any]) -> str:
    """Return the row's content as text, equal before the write and after the read on every database."""
    return json.dumps({name: row[name] for name in SIGNED}, sort_keys=True, default=str)


def signature(row: Mapping[Any, Any]) -> bytes:
    """Return a new row's HMAC, valid until it has its number: without it a row counts as foreign."""
    return Ring().sign(ROW, _content(row))


# --- sealing ----------------------------------------------------------------------------------------------------


def seal() -> int:
    """Give a number to every final row, and return how many got one. Safe to run in many places at once."""
    total = strange = 0
    while True:
        sealed, refused = _seal_batch(strange)
        total, strange = total + sealed, strange + refused
        if sealed + refused < BATCH:
            return total


def _seal_batch(strange_before: int) -> tuple[int, int]:
    """Seal one batch; return how many rows got a number, and how many have no valid HMAC and stay in front."""
    ring, final = Ring(), _final()
    with connect() as connection:
        head = _head(connection)
        if head is None or connection.execute(select(EVENTS.id).where(*final).limit(1)).first() is None:
            return 0, 0
    if fault := _fault_of_head(ring, head):
        _log.error("audit_chain_broken", head=fault)  # signed anew, it would be in order
        return 0, 0
    waiting = select(AuditEvent.__table__).where(*final).order_by(EVENTS.at, EVENTS.id).limit(BATCH).with_for_update()
    if strange_before:
        waiting = waiting.offset(strange_before)
    number, mac, sealed, strange = head.number, head.mac, [], []
    with transaction() as connection:
        if not _take(connection, head):
            return 0, 0
        for row in connection.execute(waiting).mappings():
            content = _content(row)
            if ring.fault(row["mac"], ROW, content):
                strange.append(str(row["id"]))
                continue
            number += 1
            mac = ring.sign(NUMBERED, number, mac, content, row["times"])
            sealed.append({"row": row["id"], "number": number, "mac": mac})
        if sealed:
            connection.execute(_SEALED.values(number=bindparam("number"), mac=bindparam("mac")), sealed)
        _sign_head(connection, ring, number, mac, head.anchor_number, head.anchor_mac)
    if strange:
        _log.error("audit_row_not_ours", rows=strange[:10], count=len(strange))
    if sealed:
        _log.info("audit_sealed", head=f"{number}:{mac.hex()}", rows=len(sealed))
    return len(sealed), len(strange)


def _final() -> tuple[ColumnElement[bool], ...]:
    """Return the condition for final rows without a number: counted rows are final once their minute is over."""
    minute = now().replace(second=0, microsecond=0)
    return EVENTS.number.is_(None), EVENTS.bucket.is_(None) | (EVENTS.at < minute)


def _head(connection: Connection) -> Any | None:
    return connection.execute(_HEAD).one_or_none()


def _take(connection: Connection, head: Any) -> bool:
    """Claim the head by compare-and-set; True if this transaction won."""
    mine = update(AuditHead).where(_ONE, HEADS.version == head.version).values(version=head.version + 1)
    return connection.execute(mine).rowcount == 1


def _sign_head(
    connection: Connection, ring: Ring, number: int, mac: bytes, anchor_number: int, anchor_mac: bytes
) -> None:
    values = {"number": number, "mac": mac, "anchor_number": anchor_number, "anchor_mac": anchor_mac}
    connection.execute(update(AuditHead).where(_ONE).values(**values, seal=ring.sign(HEAD, *values.values())))


def _fault_of_head(ring: Ring, head: Any) -> str | None:
    if not head.version:
        return None if dict(head._mapping) == START else "was changed"
    return ring.fault(head.seal, HEAD, head.number, head.mac, head.anchor_number, head.anchor_mac)


class Broken(Exception):
    """The chain does not verify, so nothing is deleted from it; the text names the row."""


def drop_before(moment: datetime) -> int:
    """Delete the beginning of the chain up to this time, and keep the anchor of the rest.

    First verify all rows to delete and the first row that stays. Otherwise an attacker could have traces purged by
    back-dating a row, or by removing one in front of the new beginning. Raise Broken, and then nothing is deleted.
    """
    seal()
    ring = Ring()
    with connect() as connection:
        head = _head(connection)
        last, mac, fault = _oldest(connection, ring, head, moment)
        after = _head(connection)
    if head is not None and after is not None and after.anchor_number != head.anchor_number:
        return 0  # another purge was faster: the rows that it deleted are no fault
    if head is None or fault is not None:
        _log.error("audit_not_purged", fault=fault)
        raise Broken(fault)
    if last <= head.anchor_number:
        return 0
    for _ in range(TRIES):  # a worker that seals in between moves the other end
        with transaction() as connection:
            newest = _head(connection)
            if newest is None or newest.anchor_number != head.anchor_number:
                return 0
            if _fault_of_head(ring, newest) is None and _take(connection, newest):
                _sign_head(connection, ring, newest.number, newest.mac, last, mac)
                gone = connection.execute(delete(AuditEvent).where(EVENTS.number <= last)).rowcount
                _log.info("audit_purged", beginning=f"{last}:{mac.hex()}", rows=gone)
                return gone
    return 0


def _oldest(connection: Connection, ring: Ring, head: Any, moment: datetime) -> tuple[int, bytes, str | None]:
    """Return the last row older than this, its HMAC, and the first fault up to the row after it."""
    if fault := _fault_of_beginning(connection, ring, head):
        return 0, b"", fault
    kept = connection.scalar(select(func.min(EVENTS.number)).where(EVENTS.at >= moment))
    last = head.number if kept is None else min(kept - 1, head.number)
    fault, mac = _fault_between(connection, ring, head.anchor_number, head.anchor_mac, last)
    if fault is None and last < head.number:
        fault, _ = _fault_between(connection, ring, last, mac, last + 1)
    elif fault is None:
        fault = _fault_of_end(head, mac)
    return last, mac, fault


def restart() -> str:
    """Start a new chain over all rows as they are, after an operator looked into a fault; return the former head."""
    with transaction() as connection:
        former = _head(connection)
        connection.execute(delete(AuditHead).where(_ONE))
        connection.execute(insert(AuditHead).values(**START))
        connection.execute(update(AuditEvent).values(number=None, bucket=None))
        page = select(AuditEvent.__table__).order_by(EVENTS.id).limit(PAGE)
        rows = connection.execute(page).mappings().all()
        while rows:
            signed = [{"row": row["id"], "mac": signature(row)} for row in rows]
            connection.execute(
                update(AuditEvent).where(EVENTS.id == bindparam("row")).values(mac=bindparam("mac")), signed
            )
            rows = connection.execute(page.where(EVENTS.id > rows[-1]["id"])).mappings().all()
    seal()
    return "none" if former is None else f"{former.number}:{former.mac.hex()}"


# --- verifying --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a verification: the first fault or None, the number of sealed and of waiting rows, the head."""

    fault: str | None
    sealed: int
    waiting: int
    head: str


def verify(known: str | None = None) -> Verdict:
    """Compare every row with the chain, and the chain with its head; `known` is a head from the log, "number:mac"."""
    seal()
    ring = Ring()
    for _ in range(TRIES):
        with connect() as connection:
            head = _head(connection)
            if head is None:
                return Verdict(NO_HEAD, 0, 0, "")
            fault = next(_faults(connection, ring, head, known), None)
            after = _head(connection)
            waiting = connection.execute(select(func.count()).where(EVENTS.number.is_(None))).scalar_one()
        found = Verdict(fault, head.number - head.anchor_number, waiting, f"{head.number}:{head.mac.hex()}")
        if fault is None or after is None or after.anchor_number == head.anchor_number:
            break
    return found


def _faults(connection: Connection, ring: Ring, head: Any, known: str | None) -> Iterator[str]:
    """Yield the faults, the first row first."""
    if fault := _fault_of_beginning(connection, ring, head):
        yield fault
    fault, mac = _fault_between(connection, ring, head.anchor_number, head.anchor_mac, head.number)
    if fault := fault or _fault_of_end(head, mac):
        yield fault
    yield from _faults_behind(connection, ring)
    yield from _fault_of_known(connection, head, known)


def _fault_of_beginning(connection: Connection, ring: Ring, head: Any) -> str | None:
    """Return a fault of the head, or in front of the first row that it names."""
    if head is None:
        return NO_HEAD
    if fault := _fault_of_head(ring, head):
        return f"the head of the chain {fault}"
    for old in connection.execute(select(EVENTS.id, EVENTS.number).where(EVENTS.number <= head.anchor_number).limit(1)):
        return f"row {old.number} ({old.id}) was inserted: the chain begins with {head.anchor_number + 1}"
    return None


def _fault_between(connection: Connection, ring: Ring, number: int, mac: bytes, end: int) -> tuple[str | None, bytes]:
    """Return the first fault of the rows after this one, up to `end`, and the HMAC of the last correct row."""
    for first in range(number + 1, end + 1, PAGE):
        last = min(first + PAGE - 1, end)
        page = select(AuditEvent.__table__).where(EVENTS.number.between(first, last)).order_by(EVENTS.number)
        for row in connection.execute(page).mappings():
            if row["number"] == number:
                return f"row {number} ({row['id']}) was inserted: there are two", mac
            if row["number"] != number + 1:
                return f"row {number + 1} was removed", mac
            if fault := ring.fault(row["mac"], NUMBERED, row["number"], mac, _content(row), row["times"]):
                return f"row {row['number']} ({row['id']}) {fault}", mac
            number, mac = row["number"], row["mac"]
        if number != last:
            return f"row {number + 1} was removed", mac
    return None, mac


def _fault_of_end(head: Any, mac: bytes) -> str | None:
    """Return the fault if the head does not name this HMAC as the last row's."""
    return (
        None if hmac.compare_digest(mac or b"", head.mac) else f"row {head.number} is not the one that the head names"
    )


def _faults_behind(connection: Connection, ring: Ring) -> Iterator[str]:
    """Yield faults of rows after the head, which were sealed since or not yet."""
    newest = _head(connection)
    end = newest.number if newest is not None else 0
    for new in connection.execute(
        select(EVENTS.id, EVENTS.number).where(EVENTS.number > end).order_by(EVENTS.number).limit(1)
    ):
        yield f"row {new.number} ({new.id}) was inserted: the chain ends with {end}"
    waiting = select(AuditEvent.__table__).where(EVENTS.number.is_(None)).order_by(EVENTS.at, EVENTS.id)
    for row in connection.execute(waiting).mappings():
        if ring.fault(row["mac"], ROW, _content(row)):
            yield f"row {row['id']}, which has no number yet, was inserted or changed"


def _fault_of_known(connection: Connection, head: Any, known: str | None) -> Iterator[str]:
    """Yield the fault if the chain does not contain this logged head."""
    if known is None:
        return
    number, _, text = known.partition(":")
    expected = bytes.fromhex(text)
    if int(number) > head.number:
        yield f"rows up to {number} were sealed once, and the chain ends with {head.number}: its end was cut off"
    elif int(number) < head.anchor_number:
        yield (
            f"row {number} is not kept any more; if its head was logged less than a year ago it was taken out, "
            "otherwise take a later one from the log"
        )
    else:
        found = connection.scalar(select(EVENTS.mac).where(EVENTS.number == int(number)))
        kept = head.anchor_mac if int(number) == head.anchor_number else found
        if not hmac.compare_digest(kept or b"", expected):
            yield f"row {number} is not the one whose head was logged"
