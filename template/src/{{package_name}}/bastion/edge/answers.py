"""What the edge itself answers is a fixed text: a refusal tells the client its status and nothing else.

The reason, which would tell an attacker how close the attempt came, goes to the log alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

Headers = tuple[tuple[str, str], ...]
STATUS_LINES: Final = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that goes no further; `reason` (an id of the catalogue) and `facts` are for the log alone."""

    status: int
    reason: str
    headers: Headers = ()
    facts: dict[str, object] = field(default_factory=dict)
    logged: bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer of the edge's own."""

    status: int
    content_type: str
    body: bytes
    headers: Headers = ()
