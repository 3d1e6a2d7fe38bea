"""Attachments as operations: list, add, open, delete."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from flask import Blueprint, Response
from pydantic import Field
from werkzeug.datastructures import FileStorage

from ..bastion import current_user, files, login_required, owned_or_404
from ..bastion.database import db
from ..bastion.jwt.api import operation
from ..bastion.jwt.schema import Answer, Query
from .model import Attachment

blueprint = Blueprint("attachments", __name__, url_prefix="/attachments")


class NameQuery(Query):
    """How the file is called."""

    name: Annotated[str, Field(max_length=255)] = ""


class AttachmentAnswer(Answer):
    """An attachment as its owner sees it."""

    id: UUID
    name: str
    media_type: str
    size: int


@blueprint.post("")
@login_required
@operation(status=201)
def create(body: FileStorage, query: NameQuery) -> AttachmentAnswer:
    """Keep a file."""
    stored = files.keep(body, name=query.name, allowed=files.IMAGES | files.PDF | files.TEXT)
    attachment = Attachment(user_id=current_user.id, file=stored)
    db.session.add(attachment)
    db.session.commit()
    return AttachmentAnswer(id=attachment.id, name=stored.name, media_type=stored.media_type, size=stored.size)


@blueprint.get("/<uuid:attachment_id>")
@login_required
@operation
def download(attachment_id: UUID) -> Response:
    """Send the file."""
    return files.send(owned_or_404(Attachment, attachment_id).file)


@blueprint.delete("/<uuid:attachment_id>")
@login_required
@operation
def delete(attachment_id: UUID) -> None:
    """Delete the attachment with its file."""
    db.session.delete(owned_or_404(Attachment, attachment_id))
    db.session.commit()
