"""Every time in this service is read here, as aware UTC, so that a proof can travel in time.

Without one source a proof of an expiry needs a switch in the code, and what has a switch can be switched off.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime


def _system() -> datetime:
    return datetime.now(UTC)


_source: Callable[[], datetime] = _system


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return _source()


def seconds() -> float:
    """Seconds since the epoch, for windows of counters. It follows the system's clock, leaps included."""
    return _source().timestamp()
