"""Rows of stored files: each belongs to one user, and its content exists only as long as its row.

A file whose row is gone is in no export and no deletion, and yet on the disk. A model that has a file says so with
`HasFile`; who may see the file is decided by the model's own row.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, relationship

from ..clock import now
from ..database import OWNER, Base, Owned
from .content import LONGEST_NAME


class StoredFile(Owned, Base):
    """A stored file: its content has the row's id as its name. `name` is only for display."""

    __tablename__ = "stored_file"
    __table_args__ = {"info": OWNER}  # noqa: RUF012

    name: Mapped[str] = mapped_column(String(LONGEST_NAME))
    media_type: Mapped[str] = mapped_column(String(50))
    size: Mapped[int]  # bytes
    sha256: Mapped[str] = mapped_column(String(64))  # of the content, in hex
    created_at: Mapped[datetime] = mapped_column(default=now)


class HasFile:
    """Mixin for rows with a file: deleted with the row, or when another one replaces it.

    `file` is None once its owner's account is deleted, if the row still exists then.
    """

    file_id: Mapped[UUID | None] = mapped_column(ForeignKey("stored_file.id", ondelete="SET NULL"), index=True)

    @declared_attr
    def file(cls) -> Mapped[StoredFile | None]:
        """Return the relation to the stored file."""
        return relationship(StoredFile, cascade="all, delete-orphan", single_parent=True)
