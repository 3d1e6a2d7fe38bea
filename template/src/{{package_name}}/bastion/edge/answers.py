"""Fixed refusal texts: the client receives the status and nothing else.

The reason goes only to the log, because it would show an attacker how close the attempt came.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

Headers = tuple[tuple[str, str], ...]
STATUS_LINES: Final = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused request; `reason` (an id of the catalogue) and `facts` go only to the log."""

    status: int
    reason: str
    headers: Headers = ()
    facts: dict[str, object] = field(default_factory=dict)
    logged: bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer that the edge makes itself."""

    status: int
    content_type: str
    body: bytes
    headers: Headers = ()
