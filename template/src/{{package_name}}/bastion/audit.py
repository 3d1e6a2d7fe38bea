"""What happened to accounts and sessions is kept for a year; no roll-back of a request undoes what our layers wrote.

An attack that ends in an error page must leave its trace all the same, and none may fill the disk for ever.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from flask import has_request_context, request
from sqlalchemy import Connection, delete, insert

from . import log
from .clock import now
from .database import db, transaction
from .identity.models import AuditEvent

KEPT: Final = timedelta(days=365)  # as PCI DSS 4.0, 10.5.1: twelve months of audit history
_log = log.get_logger("bastion.audit")


def record(
    kind: str,
    *,
    user_id: UUID | None = None,
    session_id: UUID | None = None,
    connection: Connection | None = None,
    **details: Any,
) -> None:
    """Write one audit row and log line. `kind` is a dotted name such as `login.failure`; details hold no secret.

    With `connection` the row is part of that transaction: no change without its row, no row without its change.
    Otherwise it is committed at once, in a transaction of its own, unless `db.session` has written something that is
    not committed yet: then it is part of that work, and comes and goes with it. (It would wait for that work's lock, on
    SQLite until the request is answered with 503.) To keep a row whatever happens, record it before the first write.
    """
    address = (request.remote_addr or "") if has_request_context() else ""
    row = insert(AuditEvent).values(
        at=now(),
        kind=kind,
        user_id=user_id,
        session_id=session_id,
        address=address[:45],
        request_id=log.REQUEST_ID.get()[:36],
        details=log.redact(details),
    )
    work = connection or _unfinished_work()
    if work is not None:
        work.execute(row)
    else:
        with transaction() as connection:
            connection.execute(row)
    _log.info(kind, user_id=str(user_id) if user_id else None, ip=address, **details)


def _unfinished_work() -> Connection | None:
    """The connection of the request's session while it holds writes that are not committed."""
    from .chosen import dialect  # not above: the chosen style imports this module

    session = db.session
    if not session.in_transaction() or not session.is_active:
        return None
    connection = session.connection()
    return connection if dialect.has_written(connection) else None


def purge() -> int:
    """Delete the events older than a year; how many there were."""
    with transaction() as connection:
        return connection.execute(delete(AuditEvent).where(AuditEvent.at < now() - KEPT)).rowcount
