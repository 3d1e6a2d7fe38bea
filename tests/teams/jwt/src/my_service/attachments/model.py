"""A file that a user has attached."""

from __future__ import annotations

from ..bastion.database import Base, Owned
from ..bastion.files import HasFile


class Attachment(HasFile, Owned, Base):
    """`HasFile` gives it `file`, which is deleted with it; `Owned` decides who may see it."""

    __tablename__ = "attachment"
