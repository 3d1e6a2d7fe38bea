"""The forms of the notes: every field with its type and length."""

from __future__ import annotations

from ..bastion.session.forms import (
    InputRequired,
    Length,
    ListQuery,
    PlainText,
    StringField,
    SubmittedForm,
    TextAreaField,
)
from .model import BODY_LENGTH, SORTS, TITLE_LENGTH


class NoteForm(SubmittedForm):
    """What a user writes."""

    title = StringField("Title", [InputRequired(), Length(max=TITLE_LENGTH), PlainText()])
    body = TextAreaField("Text", [Length(max=BODY_LENGTH), PlainText(lines=True)])


class NotesQuery(ListQuery):
    """Which notes to list: the page, a word to search for, the order."""

    sorts = tuple(SORTS)
