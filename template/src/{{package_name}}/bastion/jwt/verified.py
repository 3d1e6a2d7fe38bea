"""A signature that was verified is not verified again, and nothing but the very same token profits from that.

A memory that is keyed by less than the whole token, or that skips the end, the key or the session, is a way round them
all. So only the signature and the fixed claims are remembered; what can change is looked at on every request.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Final
from uuid import UUID

from ..identity.sessions import digest

MOST: Final = 4096  # tokens, about 1.5 MiB; a process that serves more people verifies some signatures again


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified access token says; immutable, so that one request can't change what the next one sees."""

    user_id: UUID
    session_id: UUID
    key_id: str
    issued_at: int
    not_before: int
    expires_at: int
    """Times are whole seconds since the epoch, UTC."""


class Verified:
    """The claims of tokens whose signature was right, by SHA-256 of the whole token; the oldest goes when it is full.

    It belongs to one key ring and goes with it. It is in this process alone, and never written out.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._claims: dict[bytes, Claims] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._claims)

    def get(self, token: str) -> Claims | None:
        """The claims of this token, if exactly these characters were verified before."""
        return self._claims.get(digest(token))

    def remember(self, token: str, claims: Claims) -> None:
        """Keep the claims of a token that passed every check; nothing that failed may come here."""
        with self._lock:
            if len(self._claims) >= self._most:
                del self._claims[next(iter(self._claims))]
            self._claims[digest(token)] = claims
