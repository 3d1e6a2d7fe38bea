"""Recovery codes: ten single-use codes in place of a lost second factor, shown once and stored as hashes.

This stops an attacker with a backup from reading a second factor for every account. Each code has 128 random bits, so
plain SHA-256 suffices and no slow hash is needed. Source: ASVS 6.5.1 to 6.5.4.
"""

from __future__ import annotations

import secrets
from base64 import b32encode
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import Connection, delete, insert, update

from ..clock import now
from .models import RecoveryCode
from .sessions import digest

NUMBER: Final = 10
CODE_BYTES: Final = 16
LONGEST: Final = 64  # characters of what is typed; ours have 31
CODES = RecoveryCode.__table__.c


def make(connection: Connection, user_id: UUID) -> list[str]:
    """Replace the account's codes with a new set and return it; only this call ever returns the codes."""
    remove(connection, user_id)
    codes = [_grouped(b32encode(secrets.token_bytes(CODE_BYTES)).decode().rstrip("=")) for _ in range(NUMBER)]
    moment = now()
    rows = [
        {"id": uuid4(), "user_id": user_id, "code_hash": digest(_plain(code)), "created_at": moment} for code in codes
    ]
    connection.execute(insert(RecoveryCode), rows)
    return codes


def use(connection: Connection, user_id: UUID, code: str) -> bool:
    """Use the code up, in the caller's transaction; False when it is not an unused code of this account."""
    good = (CODES.user_id == user_id, CODES.code_hash == digest(_plain(code)), CODES.used_at.is_(None))
    return connection.execute(update(RecoveryCode).where(*good).values(used_at=now())).rowcount == 1


def remove(connection: Connection, user_id: UUID) -> None:
    """Delete every code of the account."""
    connection.execute(delete(RecoveryCode).where(CODES.user_id == user_id))


def _plain(code: str) -> str:
    """Return the code as it is hashed: letter case, spaces and dashes make no difference."""
    return "".join(code[:LONGEST].split()).replace("-", "").upper()


def _grouped(code: str) -> str:
    return "-".join((code[:5], code[5:10], code[10:15], code[15:20], code[20:]))
