"""The forms of the tickets."""

from __future__ import annotations

from ..bastion.session.forms import (
    BooleanField,
    DateField,
    InputRequired,
    Length,
    ListQuery,
    Optional,
    PlainText,
    SelectField,
    StringField,
    SubmittedForm,
)
from .model import SORTS, STATES, TITLE_LENGTH


class TicketForm(SubmittedForm):
    """A ticket as a member writes it."""

    title = StringField("Title", [InputRequired(), Length(max=TITLE_LENGTH), PlainText()])
    state = SelectField("State", choices=STATES, default="open")


class TicketsQuery(ListQuery):
    """Which tickets to list: the page, a word to search for, the order, and three filters."""

    sorts = tuple(SORTS)
    state = SelectField("State", choices={"": "Any", **STATES}, default="")
    since = DateField("Written since", [Optional()])
    mine = BooleanField("Only mine")
