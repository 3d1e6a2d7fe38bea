"""What this service gives out and takes back unchanged is signed: for one purpose, for a time, with keys that rotate.

A value that is signed for one purpose and accepted for another is a master key; so is one that never ends. Source:
ASVS 11.4.1 (SHA-256), 11.2.2 (rotation).

A signature that was verified is not verified again, and nothing but the very same text profits from that. A memory that
is keyed by less than the whole text, or that skips the end, the key or the session's row, is a way round them all. So
only what the signature vouches for is remembered; what can change is looked at on every request.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from threading import Lock
from typing import Final, Generic, TypeVar

from itsdangerous import BadSignature, TimestampSigner

from ..clock import now
from ..state import state

SECRET: Final = "SECRET_KEY"  # noqa: S105  (a name, no value)
SALT: Final = "bastion-"
LONGEST: Final = 4096  # characters; a longer text was not signed here
MOST: Final = 4096  # texts, about 1.5 MiB; a process that serves more people verifies some signatures again
C = TypeVar("C")


def sign(purpose: str, value: str) -> str:
    """The value with its time and signature, as text for a cookie or an address. Everybody can read it."""
    stamped = _signer(purpose, state().rings.get(SECRET).texts()).sign(value.encode())
    return stamped.decode()


def unsign(purpose: str, text: str, max_age: timedelta) -> str | None:
    """The value, if this service signed it for this purpose not longer ago than `max_age`; otherwise None."""
    if len(text) > LONGEST:
        return None
    found = state().rings.tried(SECRET, lambda keys: _unsigned(purpose, text, keys))
    if found is None:
        return None
    value, signed_at = found
    return value if now() - signed_at <= max_age else None


def _unsigned(purpose: str, text: str, keys: tuple[str, ...]) -> tuple[str, datetime] | None:
    try:
        value, signed_at = _signer(purpose, keys).unsign(text.encode("utf-8", "surrogatepass"), return_timestamp=True)
    except BadSignature:
        return None
    return value.decode(), signed_at


class _Signer(TimestampSigner):
    """Reads the time where everything here does."""

    def get_timestamp(self) -> int:
        return int(now().timestamp())


def _signer(purpose: str, keys: tuple[str, ...]) -> TimestampSigner:
    # The first of the ring's keys signs, and the others verify; itsdangerous signs with the last of a list.
    return _Signer(keys[::-1], salt=SALT + purpose, key_derivation="hmac", digest_method=hashlib.sha256)


class Verified(Generic[C]):
    """What signed texts say whose signature was right, by SHA-256 of the whole text; the oldest goes when it is full.

    It belongs to the keys that verified, and goes with them. It is never written out. What is
    remembered must be immutable or copied by the caller, so that one request can't change what the next one sees.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._found: dict[bytes, C] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, text: str) -> C | None:
        """What this text says, if exactly these characters were verified before."""
        return self._found.get(_digest(text))

    def remember(self, text: str, content: C) -> None:
        """Keep what a text says that passed every check; nothing that failed may come here."""
        with self._lock:
            if len(self._found) >= self._most:
                del self._found[next(iter(self._found))]
            self._found[_digest(text)] = content


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
