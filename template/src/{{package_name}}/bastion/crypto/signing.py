"""Signed values: cookies and links are signed (HMAC-SHA-256) for one purpose and a time, with rotating keys.

A value that is signed for one purpose and accepted for another opens everything; so does one that never ends. Source:
ASVS 11.4.1 (SHA-256), 11.2.2 (rotation).

Verified signatures are cached, keyed by the SHA-256 of the exact signed text. A cache that is keyed by less than the
whole text, or that skips expiry, key or session row, would bypass those checks. So only the signed content is cached;
every request checks the rest.
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
    """Sign the value with its time, as text for a cookie or an address. Any holder can read it."""
    stamped = _signer(purpose, state().rings.get(SECRET).texts()).sign(value.encode())
    return stamped.decode()


def unsign(purpose: str, text: str, max_age: timedelta) -> str | None:
    """Return the value if this service signed it for this purpose within `max_age`; otherwise None."""
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
    """Takes the time from clock.py, like all code here."""

    def get_timestamp(self) -> int:
        return int(now().timestamp())


def _signer(purpose: str, keys: tuple[str, ...]) -> TimestampSigner:
    # The ring's first key signs, and the others verify; itsdangerous signs with the last of a list.
    return _Signer(keys[::-1], salt=SALT + purpose, key_derivation="hmac", digest_method=hashlib.sha256)


class Verified(Generic[C]):
    """Cache of the contents of verified texts, keyed by SHA-256 of the whole text; when full, the oldest entry goes.

    It belongs to the keys that verified, and ends with them. It is never written out. Contents must be immutable or
    copied by the caller, so that no request can change the content that the next one reads.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._found: dict[bytes, C] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, text: str) -> C | None:
        """Return the content of exactly this text if it was verified before."""
        return self._found.get(_digest(text))

    def remember(self, text: str, content: C) -> None:
        """Cache the content of a text that passed every check; a text that failed one must never come here."""
        with self._lock:
            if len(self._found) >= self._most:
                del self._found[next(iter(self._found))]
            self._found[_digest(text)] = content


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
