"""A note: a title and a text that belong to one user."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ..bastion.clock import now
from ..bastion.database import Base

TITLE_LENGTH = 200
BODY_LENGTH = 20_000


class Note(Base):
    """`user_id` is all that the helpers of bastion need to keep one user's notes from the others."""

    __tablename__ = "note"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("auth_user.id", ondelete="CASCADE"), index=True)
    title: Mapped[str] = mapped_column(String(TITLE_LENGTH))
    body: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


SORTS = {
    "newest": Note.created_at.desc(),
    "oldest": Note.created_at.asc(),
    "title": Note.title.asc(),
}
