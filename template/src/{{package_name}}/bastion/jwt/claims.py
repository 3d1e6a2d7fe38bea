"""What a verified access token says: the part that the signature vouches for."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


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
