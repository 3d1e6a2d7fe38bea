"""Single time source: all code reads the time here, as aware UTC, so that a proof can travel in time.

Without one source a proof of an expiry needs a switch in the code, and an attacker or a mistake can flip a switch.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime


def _system() -> datetime:
    return datetime.now(UTC)


_source: Callable[[], datetime] = _system


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return _source()


def seconds() -> float:
    """Seconds since the epoch, for windows of counters. It follows the system's clock, leaps included."""
    return _source().timestamp()
