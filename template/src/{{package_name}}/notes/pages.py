"""The pages of a user's private notes: list, write, change, delete."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from ..bastion import current_user, login_required, owned, owned_or_404
from ..bastion.database import db
from ..bastion.request.queries import contains, page_of, sort_by
from .forms import NoteForm, NotesQuery
from .model import SORTS, Note

blueprint = Blueprint("notes", __name__, template_folder="templates", url_prefix="/notes")


@blueprint.get("")
@login_required
def index() -> ResponseReturnValue:
    """The user's notes, in pages."""
    query = NotesQuery.read()
    rows = owned(Note).order_by(sort_by(SORTS, query.sort.data), Note.id)
    if query.q.data:
        rows = rows.where(contains(Note.title, query.q.data) | contains(Note.body, query.q.data))
    page = page_of(rows, query.page.number, size=query.size.number)
    return render_template("notes/list.html", page=page, query=query, q=query.q.data, sort=query.sort.data)


@blueprint.get("/new")
@login_required
def new() -> ResponseReturnValue:
    """An empty form."""
    return render_template("notes/edit.html", form=NoteForm())


@blueprint.post("/new")
@login_required
def create() -> ResponseReturnValue:
    """Keep a new note."""
    form = NoteForm()
    if not form.validate():
        return render_template("notes/edit.html", form=form), 422
    db.session.add(Note(user_id=current_user.id, title=form.title.data, body=form.body.data))
    db.session.commit()
    flash("The note is saved.", "success")
    return redirect(url_for("notes.index"), 303)


@blueprint.get("/<uuid:note_id>")
@login_required
def edit(note_id: UUID) -> ResponseReturnValue:
    """One note, to read and to change."""
    note = owned_or_404(Note, note_id)
    return render_template("notes/edit.html", form=NoteForm(obj=note), note=note)


@blueprint.post("/<uuid:note_id>")
@login_required
def change(note_id: UUID) -> ResponseReturnValue:
    """Keep what was changed."""
    note = owned_or_404(Note, note_id)
    form = NoteForm()
    if not form.validate():
        return render_template("notes/edit.html", form=form, note=note), 422
    form.populate_obj(note)
    db.session.commit()
    flash("The note is saved.", "success")
    return redirect(url_for("notes.index"), 303)


@blueprint.get("/<uuid:note_id>/delete")
@login_required
def confirm_delete(note_id: UUID) -> ResponseReturnValue:
    """Ask before deleting."""
    return render_template("notes/delete.html", note=owned_or_404(Note, note_id))


@blueprint.post("/<uuid:note_id>/delete")
@login_required
def delete(note_id: UUID) -> ResponseReturnValue:
    """Delete the note."""
    db.session.delete(owned_or_404(Note, note_id))
    db.session.commit()
    flash("The note is deleted.", "success")
    return redirect(url_for("notes.index"), 303)
