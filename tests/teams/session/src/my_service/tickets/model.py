"""Tickets that the members of an organisation share."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, ForeignKey, String, select, true
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..bastion import Principal, Scoped
from ..bastion.clock import now
from ..bastion.database import Base

TITLE_LENGTH = 200
STATES = {"open": "Open", "closed": "Closed"}


class Membership(Base):
    """A user's place in an organisation."""

    __tablename__ = "membership"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisation.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("auth_user.id", ondelete="CASCADE"), index=True)


class Organisation(Scoped, Base):
    """A company that uses the service; its members see it."""

    __tablename__ = "organisation"

    name: Mapped[str] = mapped_column(String(100))

    @classmethod
    def visible_to(cls, user: Principal) -> ColumnElement[bool]:
        """Members see their organisations."""
        return cls.id.in_(select(Membership.organisation_id).where(Membership.user_id == user.id))


class Ticket(Scoped, Base):
    """A request for help, which every member of the organisation sees."""

    __tablename__ = "ticket"

    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisation.id", ondelete="CASCADE"), index=True)
    author_id: Mapped[UUID | None] = mapped_column(ForeignKey("auth_user.id", ondelete="SET NULL"), index=True)
    assignee_id: Mapped[UUID | None] = mapped_column(ForeignKey("auth_user.id", ondelete="SET NULL"), index=True)
    title: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(20), default="open")
    created_at: Mapped[datetime] = mapped_column(default=now)
    organisation: Mapped[Organisation] = relationship()

    @classmethod
    def visible_to(cls, user: Principal) -> ColumnElement[bool]:
        """Members of the organisation, the assignee, and users with a permission."""
        if "tickets.read_all" in user.permissions:
            return true()
        mine = select(Membership.organisation_id).where(Membership.user_id == user.id)
        return cls.organisation_id.in_(mine) | (cls.assignee_id == user.id)


SORTS = {"newest": Ticket.created_at.desc(), "oldest": Ticket.created_at.asc(), "title": Ticket.title.asc()}
