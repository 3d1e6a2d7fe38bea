"""The pages of attachments: list, add, open, delete."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from ..bastion import current_user, files, login_required, owned, owned_or_404
from ..bastion.database import db
from ..bastion.request.queries import page_of
from ..bastion.session.forms import FileRequired, SubmittedForm, UploadField
from .model import Attachment

blueprint = Blueprint("attachments", __name__, template_folder="templates", url_prefix="/attachments")


class AttachmentForm(SubmittedForm):
    """What a user attaches."""

    file = UploadField("File", [FileRequired()], allowed=files.IMAGES | files.PDF | files.TEXT)


@blueprint.get("")
@login_required
def index() -> ResponseReturnValue:
    """The user's attachments."""
    page = page_of(owned(Attachment).order_by(Attachment.id), 1)
    return render_template("attachments/list.html", page=page)


@blueprint.get("/new")
@login_required
def new() -> ResponseReturnValue:
    """An empty form."""
    return render_template("attachments/new.html", form=AttachmentForm())


@blueprint.post("")
@login_required
@files.takes_files
def create() -> ResponseReturnValue:
    """Keep a file."""
    form = AttachmentForm()
    if not form.validate():
        return render_template("attachments/new.html", form=form), 422
    db.session.add(Attachment(user_id=current_user.id, file=form.file.keep()))
    db.session.commit()
    return redirect(url_for("attachments.index"), 303)


@blueprint.get("/<uuid:attachment_id>")
@login_required
def download(attachment_id: UUID) -> ResponseReturnValue:
    """Send the file; a page may show it if it is an image."""
    return files.send(owned_or_404(Attachment, attachment_id).file, inline=True)


@blueprint.post("/<uuid:attachment_id>/delete")
@login_required
def delete(attachment_id: UUID) -> ResponseReturnValue:
    """Delete the attachment with its file."""
    db.session.delete(owned_or_404(Attachment, attachment_id))
    db.session.commit()
    return redirect(url_for("attachments.index"), 303)
