"""An organisation's tickets, as JSON: list, write, read, change."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Annotated, Literal
from uuid import UUID

from flask import Blueprint
from pydantic import Field
from sqlalchemy import select

from ..bastion import current_user, login_required, visible_or_404
from ..bastion.database import db
from ..bastion.jwt.api import operation
from ..bastion.jwt.schema import Answer, ListQuery, PageAnswer, Schema
from ..bastion.request.queries import contains, page_of, sort_by
from .model import SORTS, TITLE_LENGTH, Organisation, Ticket

blueprint = Blueprint("tickets", __name__, url_prefix="/tickets")
State = Literal["open", "closed"]


class TicketBody(Schema):
    """A ticket as a member writes it."""

    title: Annotated[str, Field(min_length=1, max_length=TITLE_LENGTH)]
    state: State = "open"


class TicketsQuery(ListQuery):
    """Which tickets to list: the page, a word to search for, the order, and three filters."""

    sort: Literal["newest", "oldest", "title"] = "newest"
    state: Literal["open", "closed"] | None = None
    since: date | None = None
    mine: bool = False


class TicketAnswer(Answer):
    """A ticket as a member sees it."""

    id: UUID
    organisation_id: UUID
    title: str
    state: State
    created_at: datetime


@blueprint.get("")
@login_required
@operation
def index(query: TicketsQuery) -> PageAnswer[TicketAnswer]:
    """The tickets of the user's organisations, in pages."""
    rows = select(Ticket).order_by(sort_by(SORTS, query.sort), Ticket.id)
    if query.q:
        rows = rows.where(contains(Ticket.title, query.q))
    if query.state:
        rows = rows.where(Ticket.state == query.state)
    if query.since:
        rows = rows.where(Ticket.created_at >= datetime.combine(query.since, time(), UTC))
    if query.mine:
        rows = rows.where(Ticket.author_id == current_user.id)
    return PageAnswer[TicketAnswer].of_page(page_of(rows, query.page, size=query.size))


@blueprint.post("/in/<uuid:organisation_id>")
@login_required
@operation(status=201)
def create(organisation_id: UUID, body: TicketBody) -> TicketAnswer:
    """Keep a new ticket in an organisation of the user."""
    organisation = visible_or_404(Organisation, organisation_id)
    ticket = Ticket(organisation_id=organisation.id, author_id=current_user.id, title=body.title, state=body.state)
    db.session.add(ticket)
    db.session.commit()
    return TicketAnswer.of(ticket)


@blueprint.get("/<uuid:ticket_id>")
@login_required
@operation
def read(ticket_id: UUID) -> TicketAnswer:
    """One ticket."""
    return TicketAnswer.of(visible_or_404(Ticket, ticket_id))


@blueprint.put("/<uuid:ticket_id>")
@login_required
@operation
def change(ticket_id: UUID, body: TicketBody) -> TicketAnswer:
    """Keep what was changed."""
    ticket = visible_or_404(Ticket, ticket_id)
    ticket.title, ticket.state = body.title, body.state
    db.session.commit()
    return TicketAnswer.of(ticket)
