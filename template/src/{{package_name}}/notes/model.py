"""A note: a title and a text that belong to one user."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.orm import Mapped, mapped_column

from ..bastion.clock import now
from ..bastion.database import Base, Owned

TITLE_LENGTH = 200
BODY_LENGTH = 20_000


class Note(Owned, Base):
    """`Owned` gives it an id and a user: all that the helpers need to keep one user's notes from the others'."""

    __tablename__ = "note"

    title: Mapped[str] = mapped_column(String(TITLE_LENGTH))
    body: Mapped[str] = mapped_column(Text().with_variant(MEDIUMTEXT(), "mysql"), default="")  # its TEXT is 64 KiB
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


SORTS = {
    "newest": Note.created_at.desc(),
    "oldest": Note.created_at.asc(),
    "title": Note.title.asc(),
}
