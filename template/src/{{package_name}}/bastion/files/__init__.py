"""Files of users: kept by content and within a quota, under a random name, and sent so that they can do nothing.

An uploaded file can be a page, a script or a disk full of data. No route of ours sends a file: a view of the team finds
the row that has it, which decides who may see it, and sends that row's file. Source: ASVS 5.2 to 5.4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from uuid import UUID
from wsgiref.types import WSGIEnvironment

from flask import Flask, Response, current_app, request, send_file
from sqlalchemy import Connection, event, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, object_session
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import HTTPException

from .. import log
from ..audit.refusal import refuse
from ..clock import now
from ..database import connect, db
from ..identity import sessions
from ..request.authentication import current_user
from ..state import state, state_of
from .content import IMAGES, PDF, TEXT, Types, display_name, type_of
from .storage import Folder
from .tables import HasFile, StoredFile

__all__ = ["IMAGES", "PDF", "TEXT", "HasFile", "StoredFile", "Types", "keep", "send", "takes_files"]

V = TypeVar("V", bound=Callable[..., Any])
SIZE: Final = "upload-size-and-quota"
TYPE: Final = "upload-type-checked"
EXTENSION: Final = "bastion.files"
_MARK: Final = "__bastion_files__"
_TOUCHED: Final = "bastion.files"  # in a session's `info`: ids of files that its transaction has stored or deleted
_GRACE_SECONDS: Final = 3600.0  # from a file's writing to the commit of its row; no request takes so long
_BATCH: Final = 500  # ids in one statement
_log: Final = log.get_logger("bastion.files")
FILES: Final = StoredFile.__table__.c


def takes_files(view: V) -> V:
    """Let a view take files: its body may be larger than others by `file_bytes` of the limits."""
    setattr(view, _MARK, True)
    return view


def takes(view: object) -> bool:
    """Return whether a view takes files."""
    return bool(getattr(view, _MARK, False))


def is_taken() -> bool:
    """Return whether the view of this request takes files."""
    return takes(current_app.view_functions.get(request.endpoint or ""))


def fault(sent: FileStorage, allowed: Types) -> str | None:
    """Return why a file is too large or of no allowed type, as a text for its sender; None if `keep` takes it."""
    data, most = _read(sent), state().limits.file_bytes
    if len(data) > most:
        return f"The file is larger than {most // 1024} KiB."
    if type_of(data) not in allowed:
        return f"This is no file of these types: {', '.join(sorted(kind.suffixes[0] for kind in allowed))}."
    return None


def _read(sent: FileStorage) -> bytes:
    sent.stream.seek(0)
    return sent.stream.read(state().limits.file_bytes + 1)


def keep(sent: FileStorage, *, allowed: Types, name: str = "") -> StoredFile:
    """Store a file of the signed-in user; it exists once the view commits. `name` is for display, else the sent one.

    Refuses a file that is too large with 413, one of no allowed type with 422, and more or more bytes than a user may
    have with 409. Raises RuntimeError in a view without @takes_files: the start checks the storage only for those.
    """
    if not is_taken():
        raise RuntimeError("Put @takes_files on the view that keeps a file.")
    session, limits, data = db.session, state().limits, _read(sent)
    if len(data) > limits.file_bytes:
        refuse(413, SIZE)
    kind = type_of(data)
    if kind is None or kind not in allowed:
        refuse(422, TYPE)
    stored = StoredFile(
        user_id=current_user.id,
        name=display_name(name or sent.filename or "", kind),
        media_type=kind.media_type,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    sessions.hold(session.connection(), current_user.id)  # concurrent uploads of this user wait for the commit
    session.add(stored)
    session.flush()  # before counting: SQLite locks with the first write
    number, size = session.execute(
        select(func.count(), func.sum(FILES.size)).where(FILES.user_id == current_user.id)
    ).one()
    if number > limits.files_per_user or size > limits.file_bytes_per_user:
        session.rollback()  # a caller that goes on commits nothing of it
        refuse(409, SIZE)
    _folder().write(stored.id, data)
    return stored


def send(stored: StoredFile | None, *, inline: bool = False) -> Response:
    """Send a file as a download; with `inline`, a page of this service may show it if it is an image.

    The headers of the edge sandbox both. No part of a file is sent, and no cache keeps it. 404 without a file.
    """
    content = _folder().open(stored.id) if stored is not None else None
    if stored is None or content is None:
        refuse(404, "upload-follows-row")
    shown = inline and any(kind.media_type == stored.media_type for kind in IMAGES)
    answer = send_file(content, stored.media_type, not shown, stored.name, conditional=False, etag=False, max_age=0)
    answer.content_length = stored.size
    return answer


def _folder() -> Folder:
    return cast("Folder", current_app.extensions[EXTENSION])


@event.listens_for(StoredFile, "after_insert")
@event.listens_for(StoredFile, "after_delete")
def _on_change(_mapper: object, _connection: Connection, stored: StoredFile) -> None:
    if (session := object_session(stored)) is not None:
        session.info.setdefault(_TOUCHED, set()).add(stored.id)


@event.listens_for(Session, "after_transaction_end")
def _on_end(session: Session, transaction: Any) -> None:
    """Remove what a roll-back leaves without a row, and what a commit does."""
    if transaction.parent is None and (touched := session.info.pop(_TOUCHED, None)):
        _clean_up(touched)


def _clean_up(idents: Iterable[UUID]) -> None:
    try:
        remove_rowless(idents)
    except (SQLAlchemyError, OSError) as error:  # `sessions purge` removes them
        _log.warning("files_left", kind=type(error).__name__)


def remove_rowless(idents: Iterable[UUID]) -> int:
    """Remove the files of these ids that have no row; return their number."""
    removed = 0
    with connect() as connection:
        rest = iter(idents)
        while some := {*islice(rest, _BATCH)}:
            for ident in some - {*connection.scalars(select(FILES.id).where(FILES.id.in_(some)))}:
                _folder().remove(ident)
                removed += 1
    return removed


def purge() -> int:
    """Remove files without a row: what a killed process, a bulk deletion or a cascade has left. Return their number."""
    return remove_rowless(_folder().older_than(now().timestamp() - _GRACE_SECONDS))


def _on_account_deletion(connection: Connection, user_id: UUID) -> Callable[[], object]:
    idents = connection.scalars(select(FILES.id).where(FILES.user_id == user_id)).all()
    return lambda: _clean_up(idents)  # after the commit


def faults(app: Flask) -> Iterator[str]:
    """Yield reasons against the storage, if a view of this app takes files."""
    if any(takes(view) for view in app.view_functions.values()):
        yield from cast("Folder", app.extensions[EXTENSION]).faults(Path(app.root_path).resolve())


def body_limit_of(app: Flask) -> Callable[[WSGIEnvironment], int]:
    """Return a function from a request to the bytes that its body may have: a file more where the view takes one."""
    limits = state_of(app).limits

    def body_limit(environ: WSGIEnvironment) -> int:
        try:
            endpoint, _values = app.url_map.bind_to_environ(environ).match()
        except HTTPException:
            return limits.body_bytes
        return limits.body_bytes + limits.file_bytes * takes(app.view_functions.get(endpoint))

    return body_limit


def install(app: Flask) -> None:
    """Open the storage, and remove a user's files with the account."""
    service = state_of(app)
    app.extensions[EXTENSION] = Folder(Path(service.settings.files_dir))
    service.before_deletion.append(_on_account_deletion)
    most = service.limits.body_bytes + service.limits.file_bytes + 1  # as in edge/: one byte more

    @app.before_request
    def allow_file() -> None:
        if is_taken():
            request.max_content_length = most
