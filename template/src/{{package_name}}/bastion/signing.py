"""What this service gives out and takes back unchanged is signed: for one purpose, for a time, with keys that rotate.

A value that is signed for one purpose and accepted for another is a master key; so is one that never ends. Source:
ASVS 11.4.1 (SHA-256), 11.2.2 (rotation).
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Final

from itsdangerous import BadSignature, TimestampSigner

from . import guards
from .clock import now
from .state import state

SALT: Final = "bastion-"
LONGEST: Final = 4096  # characters; a longer text was not signed here


def sign(purpose: str, value: str) -> str:
    """The value with its time and signature, as text for a cookie or an address. Everybody can read it."""
    stamped = _signer(purpose).sign(value.encode())
    return stamped.decode()


def unsign(purpose: str, text: str, max_age: timedelta) -> str | None:
    """The value, if this service signed it for this purpose not longer ago than `max_age`; otherwise None."""
    if len(text) > LONGEST:
        return None
    try:
        value, signed_at = _signer(purpose).unsign(text.encode("utf-8", "surrogatepass"), return_timestamp=True)
    except BadSignature:
        return None
    return value.decode() if now() - signed_at <= max_age else None


class _Signer(TimestampSigner):
    """Reads the time where everything here does."""

    def get_timestamp(self) -> int:
        return int(now().timestamp())


def _signer(purpose: str) -> TimestampSigner:
    # Former keys verify and never sign: itsdangerous signs with the last of a list.
    secrets = state().secrets
    keys = [key.reveal() for key in (*reversed(guards.fallbacks(secrets)), secrets.get("SECRET_KEY"))]
    return _Signer(keys, salt=SALT + purpose, key_derivation="hmac", digest_method=hashlib.sha256)
