"""A signature that was verified is not verified again, and nothing but the very same text profits from that.

A memory that is keyed by less than the whole text, or that skips the end, the key or the session's row, is a way round
them all. So only what the signature vouches for is remembered; what can change is looked at on every request.
"""

from __future__ import annotations

import hashlib
from threading import Lock
from typing import Final, Generic, TypeVar

MOST: Final = 4096  # texts, about 1.5 MiB; a process that serves more people verifies some signatures again
C = TypeVar("C")


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
