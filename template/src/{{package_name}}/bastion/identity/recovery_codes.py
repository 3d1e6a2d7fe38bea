"""Ten codes, shown once, each good once, in place of a second factor that was lost; only their hashes are kept.

Stored as they are, whoever reads a backup has a second factor for every account. Each has 128 random bits, so that
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
_r = RecoveryCode.__table__.c


def make(connection: Connection, user_id: UUID) -> list[str]:
    """A new set, in place of the old one; this is the only time that anybody sees it."""
    remove(connection, user_id)
    codes = [_grouped(b32encode(secrets.token_bytes(CODE_BYTES)).decode().rstrip("=")) for _ in range(NUMBER)]
    moment = now()
    rows = [
        {"id": uuid4(), "user_id": user_id, "code_hash": digest(_plain(code)), "created_at": moment} for code in codes
    ]
    connection.execute(insert(RecoveryCode), rows)
    return codes


def use(connection: Connection, user_id: UUID, code: str) -> bool:
    """Use the code up, in the transaction of what it is for; False when it is none of this account, or was used."""
    good = (_r.user_id == user_id, _r.code_hash == digest(_plain(code)), _r.used_at.is_(None))
    return connection.execute(update(RecoveryCode).where(*good).values(used_at=now())).rowcount == 1


def remove(connection: Connection, user_id: UUID) -> None:
    """Make every code of the account worthless."""
    connection.execute(delete(RecoveryCode).where(_r.user_id == user_id))


def _plain(code: str) -> str:
    """As it is hashed: upper and lower case, spaces and dashes make no difference."""
    return "".join(code[:LONGEST].split()).replace("-", "").upper()


def _grouped(code: str) -> str:
    return "-".join((code[:5], code[5:10], code[10:15], code[15:20], code[20:]))
