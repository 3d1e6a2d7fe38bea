"""A user's private notes, as JSON: list, write, read, change, delete."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from flask import Blueprint
from pydantic import Field

from ..bastion import current_user, login_required, owned, owned_or_404
from ..bastion.database import db
from ..bastion.jwt.api import operation
from ..bastion.jwt.schema import Answer, ListQuery, PageAnswer, Schema, Text
from ..bastion.request.queries import contains, page_of, sort_by
from .model import BODY_LENGTH, SORTS, TITLE_LENGTH, Note

blueprint = Blueprint("notes", __name__, url_prefix="/notes")


class NoteBody(Schema):
    """What a user writes."""

    title: Annotated[str, Field(min_length=1, max_length=TITLE_LENGTH)]
    body: Annotated[Text, Field(max_length=BODY_LENGTH)] = ""


class NotesQuery(ListQuery):
    """Which notes to list: the page, a word to search for, the order."""

    sort: Literal["newest", "oldest", "title"] = "newest"


class NoteAnswer(Answer):
    """A note as its owner sees it."""

    id: UUID
    title: str
    body: str
    created_at: datetime
    updated_at: datetime


@blueprint.get("")
@login_required
@operation
def index(query: NotesQuery) -> PageAnswer[NoteAnswer]:
    """The user's notes, in pages."""
    rows = owned(Note).order_by(sort_by(SORTS, query.sort), Note.id)
    if query.q:
        rows = rows.where(contains(Note.title, query.q) | contains(Note.body, query.q))
    return PageAnswer[NoteAnswer].of_page(page_of(rows, query.page, size=query.size))


@blueprint.post("")
@login_required
@operation(status=201)
def create(body: NoteBody) -> NoteAnswer:
    """Keep a new note."""
    note = Note(user_id=current_user.id, title=body.title, body=body.body)
    db.session.add(note)
    db.session.commit()
    return NoteAnswer.of(note)


@blueprint.get("/<uuid:note_id>")
@login_required
@operation
def read(note_id: UUID) -> NoteAnswer:
    """One note."""
    return NoteAnswer.of(owned_or_404(Note, note_id))


@blueprint.put("/<uuid:note_id>")
@login_required
@operation
def change(note_id: UUID, body: NoteBody) -> NoteAnswer:
    """Keep what was changed."""
    note = owned_or_404(Note, note_id)
    note.title, note.body = body.title, body.body
    db.session.commit()
    return NoteAnswer.of(note)


@blueprint.delete("/<uuid:note_id>")
@login_required
@operation
def delete(note_id: UUID) -> None:
    """Delete the note."""
    db.session.delete(owned_or_404(Note, note_id))
    db.session.commit()
