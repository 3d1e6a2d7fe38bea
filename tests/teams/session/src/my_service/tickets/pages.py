"""The pages of an organisation's tickets: list, write, change, delete."""

from __future__ import annotations

from datetime import UTC, datetime, time
from uuid import UUID

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from ..bastion import current_user, login_required, visible_or_404
from ..bastion.database import db
from ..bastion.request.queries import contains, page_of, sort_by
from .forms import TicketForm, TicketsQuery
from .model import SORTS, Organisation, Ticket

blueprint = Blueprint("tickets", __name__, template_folder="templates", url_prefix="/tickets")


@blueprint.get("")
@login_required
def index() -> ResponseReturnValue:
    """The tickets of the user's organisations, in pages."""
    query = TicketsQuery.read()
    rows = select(Ticket).order_by(sort_by(SORTS, query.sort.data), Ticket.id)
    if query.q.data:
        rows = rows.where(contains(Ticket.title, query.q.data))
    if query.state.data:
        rows = rows.where(Ticket.state == query.state.data)
    if query.since.data:
        rows = rows.where(Ticket.created_at >= datetime.combine(query.since.data, time(), UTC))
    if query.mine.data:
        rows = rows.where(Ticket.author_id == current_user.id)
    page = page_of(rows, query.page.number, size=query.size.number)
    return render_template("tickets/list.html", page=page, query=query)


@blueprint.get("/new")
@login_required
def choose() -> ResponseReturnValue:
    """The user's organisations, to write a ticket in one of them."""
    organisations = db.session.scalars(select(Organisation).order_by(Organisation.name).limit(100)).all()
    return render_template("tickets/choose.html", organisations=organisations)


@blueprint.get("/in/<uuid:organisation_id>")
@login_required
def new(organisation_id: UUID) -> ResponseReturnValue:
    """An empty form."""
    visible_or_404(Organisation, organisation_id)
    return render_template("tickets/edit.html", form=TicketForm())


@blueprint.post("/in/<uuid:organisation_id>")
@login_required
def create(organisation_id: UUID) -> ResponseReturnValue:
    """Keep a new ticket in an organisation of the user."""
    organisation = visible_or_404(Organisation, organisation_id)
    form = TicketForm()
    if not form.validate():
        return render_template("tickets/edit.html", form=form), 422
    ticket = Ticket(
        organisation_id=organisation.id, author_id=current_user.id, title=form.title.data, state=form.state.data
    )
    db.session.add(ticket)
    db.session.commit()
    return redirect(url_for("tickets.index"), 303)


@blueprint.get("/<uuid:ticket_id>")
@login_required
def edit(ticket_id: UUID) -> ResponseReturnValue:
    """One ticket, to read and to change."""
    ticket = visible_or_404(Ticket, ticket_id)
    return render_template("tickets/edit.html", form=TicketForm(obj=ticket))


@blueprint.post("/<uuid:ticket_id>")
@login_required
def change(ticket_id: UUID) -> ResponseReturnValue:
    """Keep what was changed."""
    ticket = visible_or_404(Ticket, ticket_id)
    form = TicketForm()
    if not form.validate():
        return render_template("tickets/edit.html", form=form), 422
    form.populate_obj(ticket)
    db.session.commit()
    return redirect(url_for("tickets.index"), 303)
