"""The table of mails that wait to be sent."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from ..clock import now
from ..database import OWNER, Base


class OutgoingMail(Base):
    """A mail that is due. It holds no token: that is made when the mail is sent, and then this row goes."""

    __tablename__ = "mail_outbox"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    purpose: Mapped[str] = mapped_column(String(20))
    email: Mapped[str] = mapped_column(String(254), index=True)
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("auth_user.id", ondelete="CASCADE"), index=True)
    session_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("auth_session.id", ondelete="CASCADE"))
    inviter_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("auth_user.id", ondelete="CASCADE"))
    roles: Mapped[str] = mapped_column(String(500), default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    due_at: Mapped[datetime] = mapped_column(default=now, index=True)
    trusted: Mapped[bool] = mapped_column(default=False)  # asked for by an administrator or a device of the account
    origin: Mapped[str] = mapped_column(String(45), default="", server_default="")  # the address that caused a notice
    attempts: Mapped[int] = mapped_column(default=0)
