"""Column encryption: AES-256-GCM for values that must be readable again, bound to their row and column.

A reader of a backup would have the seed of every authenticator app. An attacker who can write rows would copy their own
seed into another account. Each write takes a random nonce of 96 bits, which is safe for 2^32 writes under one key (NIST
SP 800-38D, 8.3). Rotate the key long before. Source: ASVS 11.2.2, 11.3.1 to 11.3.4.

`keys rotate data` makes a new key (crypto/ring.py); `keys reencrypt` then re-encrypts values of former keys. After that
only backups need the former keys (and audit/chain.py, for a year). The restoration of an old value to its own row is
not detected.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Column, ColumnElement, Select, literal, select, update

from ..database import Base, connect, transaction
from ..state import state
from .ring import bytes_of

SECRET: Final = "DATA_KEY"  # noqa: S105  (a name, no value)
ENCRYPTED: Final = {"encrypted": True}
"""Marks an encrypted column, mapped_column(LargeBinary, info=ENCRYPTED), so that `renew` finds it."""
VERSION: Final = b"\x01"  # of the layout: version, key id, nonce, text with its tag
HEADER_BYTES: Final = 5  # the version, and the first four of the SHA-256 of the key
NONCE_BYTES: Final = 12
TEXT_AT: Final = HEADER_BYTES + NONCE_BYTES
BATCH: Final = 100  # rows that are read at a time


class DecryptError(Exception):
    """A stored value can't be decrypted. The reason stays hidden: changed, cut, moved, of an unknown key or layout."""

    def __init__(self) -> None:
        super().__init__("a stored value can't be decrypted")


def place_of(table: str, column: str, row_id: object) -> str:
    """Return a value's place for `encrypt` and `decrypt`, which binds the value to it."""
    return f"{table}|{column}|{row_id}"


def encrypt(plain: bytes, place: str) -> bytes:
    """Return the bytes to store at this place (see `place_of`), different at each call."""
    header, key = next(iter(_by_header(state().rings.get(SECRET).texts()).items()))
    nonce = secrets.token_bytes(NONCE_BYTES)
    return header + nonce + AESGCM(key).encrypt(nonce, plain, header + place.encode())


def decrypt(stored: bytes, place: str) -> bytes:
    """Decrypt a value of this place, under any key of the ring. Raise DecryptError."""
    plain = state().rings.tried(SECRET, lambda texts: _decrypted(stored, place, _by_header(texts)))
    if plain is None:
        raise DecryptError
    return plain


def _decrypted(stored: bytes, place: str, keys: Mapping[bytes, bytes]) -> bytes | None:
    header, nonce, text = stored[:HEADER_BYTES], stored[HEADER_BYTES:TEXT_AT], stored[TEXT_AT:]
    try:
        return AESGCM(keys[header]).decrypt(nonce, text, header + place.encode())
    except (KeyError, InvalidTag, ValueError):  # ValueError: the nonce was cut
        return None


# --- keys -------------------------------------------------------------------------------------------------------


def header_of(key: bytes) -> bytes:
    """Return the header of values under this key: the layout, and an id that reveals nothing about the key."""
    return VERSION + hashlib.sha256(key).digest()[: HEADER_BYTES - 1]


def _by_header(texts: Iterable[str]) -> dict[bytes, bytes]:
    """Return the keys by their headers, the active one (which encrypts) first."""
    return {header_of(key): key for key in map(bytes_of, texts)}


# --- encrypting anew --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Renewal:
    """The result of one run: values re-encrypted, values changed during it, and places that no key reads."""

    renewed: int = 0
    missed: int = 0
    unreadable: list[str] = field(default_factory=list)


def columns() -> Iterator[Column[Any]]:
    """Yield every encrypted column, the team's too."""
    for table in Base.metadata.sorted_tables:
        yield from (column for column in table.columns if column.info.get("encrypted"))


def is_used(text: str) -> bool:
    """Return whether any value in the database is encrypted under this key."""
    first = header_of(bytes_of(text))
    behind = (int.from_bytes(first) + 1).to_bytes(HEADER_BYTES)
    with connect() as connection:
        return any(
            connection.execute(select(literal(1)).where(column >= first, column < behind).limit(1)).first()
            for column in columns()
        )


def renew() -> Renewal:
    """Re-encrypt values of former keys under the active one, each in a transaction of its own.

    Each value is replaced by compare-and-set, so no concurrent write is lost; after an interruption a further run
    continues with the rest.
    """
    done = Renewal()
    for column in columns():
        (row_id,) = column.table.primary_key
        rows = select(row_id, column).where(column.is_not(None)).order_by(row_id).limit(BATCH)
        found = _read(rows)
        while found:
            for key, stored in found:
                _renew(column, row_id == key, place_of(str(column.table), column.name, key), stored, done)
            found = _read(rows.where(row_id > found[-1][0]))
    return done


def _read(rows: Select[Any]) -> list[tuple[Any, bytes]]:
    with connect() as connection:
        return [(key, stored) for key, stored in connection.execute(rows)]


def _renew(column: Column[Any], this: ColumnElement[bool], where: str, stored: bytes, done: Renewal) -> None:
    if stored.startswith(next(iter(_by_header(state().rings.get(SECRET).texts())))):
        return
    try:
        renewed = encrypt(decrypt(stored, where), where)
    except DecryptError:
        done.unreadable.append(where)
        return
    with transaction() as connection:
        exchanged = update(column.table).where(this, column == stored).values({column: renewed})
        if connection.execute(exchanged).rowcount == 1:
            done.renewed += 1
        else:
            done.missed += 1
