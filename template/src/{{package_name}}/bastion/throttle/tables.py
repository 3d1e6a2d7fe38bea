"""The tables of attempts and of uses that are counted."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON
from sqlalchemy.orm import Mapped, mapped_column

from ..database import HASH, OWNER, Base


class ThrottleCounter(Base):
    """Failures under one key; the key is an HMAC, so that no address is in here."""

    __tablename__ = "throttle_counter"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    key: Mapped[bytes] = mapped_column(HASH, primary_key=True)
    failures: Mapped[int]
    rounds: Mapped[int]  # full windows of failures in a row
    window_at: Mapped[datetime]
    blocked_until: Mapped[datetime | None]
    version: Mapped[int]  # compare-and-set


class ThrottleUse(Base):
    """When something was done under one key (registrations of a network, mails to a recipient); an HMAC as well."""

    __tablename__ = "throttle_use"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    key: Mapped[bytes] = mapped_column(HASH, primary_key=True)
    uses: Mapped[list[float]] = mapped_column(JSON, default=list)  # seconds since the epoch, oldest first
    last_at: Mapped[datetime] = mapped_column(index=True)
    version: Mapped[int]  # compare-and-set
