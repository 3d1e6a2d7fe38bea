"""The tables of the audit: its events, and the head of their chain."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from ..clock import now
from ..database import HASH, MAC, OWNER, Base


class AuditEvent(Base):
    """A security event of an account or session, or a refusal."""

    __tablename__ = "audit_event"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    kind: Mapped[str] = mapped_column(String(60))
    outcome: Mapped[str] = mapped_column(String(10), default="success", server_default="success")
    user_id: Mapped[uuid.UUID | None] = mapped_column(index=True)  # no foreign key: it outlives the account
    actor_id: Mapped[uuid.UUID | None] = mapped_column(index=True)  # who did it; user_id is whom it concerns
    session_id: Mapped[uuid.UUID | None]
    address: Mapped[str] = mapped_column(String(45), default="")
    request_id: Mapped[str] = mapped_column(String(36), default="")
    details: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    times: Mapped[int] = mapped_column(default=1, server_default="1")  # how often in its minute, if it is counted
    bucket: Mapped[bytes | None] = mapped_column(HASH, unique=True, index=True)  # the counting key, until sealed
    number: Mapped[int | None] = mapped_column(BigInteger, unique=True, index=True)  # its place in the chain
    mac: Mapped[bytes | None] = mapped_column(MAC)


class AuditHead(Base):
    """The one row with the chain's end (number, HMAC), and the anchor row before its beginning."""

    __tablename__ = "audit_head"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger)
    mac: Mapped[bytes] = mapped_column(MAC)
    anchor_number: Mapped[int] = mapped_column(BigInteger)
    anchor_mac: Mapped[bytes] = mapped_column(MAC)
    seal: Mapped[bytes] = mapped_column(MAC)  # over all four
    version: Mapped[int] = mapped_column(BigInteger)  # compare-and-set; 0: nothing was sealed yet
