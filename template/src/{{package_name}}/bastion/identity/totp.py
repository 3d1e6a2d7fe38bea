"""TOTP: a code of an authenticator app is valid once, only in its own 30-second step, by the server's clock.

This stops an attacker who reads a code over a shoulder. pyotp remembers no used code, and a window would keep each one
valid for 90 seconds. The app uses SHA-1 only inside an HMAC (RFC 6238, 1.2). Source: ASVS 6.5.1, 6.5.5, 6.5.8.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pyotp
from sqlalchemy import Connection, delete, insert, select, update

from ..clock import now
from ..crypto import encryption
from ..database import connect
from ..state import state
from .models import Totp

STEP: Final = timedelta(seconds=30)
SEED_CHARACTERS: Final = 32  # of base32: 160 bits (RFC 4226, 4, R6)
_CODE: Final = re.compile(r"[0-9]{6}")
APPS = Totp.__table__.c


def is_code(text: str) -> bool:
    """Return whether this has the form of a code: six ASCII digits, spaces allowed as apps show them."""
    return _CODE.fullmatch(_typed(text)) is not None


def _typed(text: str) -> str:
    return text.replace(" ", "")


def new_seed() -> str:
    """Return a seed from the operating system's random source, as the text to type into an app."""
    return pyotp.random_base32(SEED_CHARACTERS)


def uri(seed: str, email: str) -> str:
    """Return the text of the QR code (otpauth://, Key URI Format)."""
    return pyotp.TOTP(seed).provisioning_uri(name=email, issuer_name=state().service_name)


def step_of(seed: str, code: str, moment: datetime) -> int | None:
    """Return the number of the time step at this moment if the code belongs to exactly this step, else None."""
    if not is_code(code) or not pyotp.TOTP(seed).verify(_typed(code), for_time=moment, valid_window=0):
        return None
    return int(moment.timestamp()) // int(STEP.total_seconds())


def is_late(user_id: UUID, code: str) -> bool:
    """Return whether the code was right one step ago: it was typed in time, arrives late, and is no guess."""
    seed = _seed(user_id)
    return seed is not None and step_of(seed, code, now() - STEP) is not None


def use(connection: Connection, user_id: UUID, code: str) -> bool:
    """Use the code up, in the caller's transaction; False when it is wrong or was used before.

    Raises encryption.DecryptError when the stored seed cannot be read.
    """
    row = _row(connection, user_id)
    step = None if row is None else step_of(_decrypted(row), code, now())
    if row is None or step is None:
        return False
    later = (APPS.user_id == user_id, APPS.last_step < step)
    return connection.execute(update(Totp).where(*later).values(last_step=step)).rowcount == 1


def store(connection: Connection, user_id: UUID, seed: str, step: int) -> None:
    """Store the app as active; the code of the step that confirmed it counts as used."""
    connection.execute(
        insert(Totp).values(
            user_id=user_id,
            secret=encryption.encrypt(seed.encode(), _place(user_id)),
            last_step=step,
            created_at=now(),
        )
    )


def remove(connection: Connection, user_id: UUID) -> bool:
    """Remove the app; return whether there was one."""
    return connection.execute(delete(Totp).where(APPS.user_id == user_id)).rowcount == 1


def _row(connection: Connection, user_id: UUID) -> Any | None:
    return connection.execute(select(Totp.__table__).where(APPS.user_id == user_id)).one_or_none()


def _seed(user_id: UUID) -> str | None:
    with connect() as connection:
        row = _row(connection, user_id)
    return None if row is None else _decrypted(row)


def _decrypted(row: Any) -> str:
    return encryption.decrypt(row.secret, _place(row.user_id)).decode()


def _place(user_id: UUID) -> str:
    return encryption.place_of(Totp.__tablename__, "secret", user_id)
