"""What happened to accounts and sessions is kept, in a transaction of its own that no roll-back of a request undoes.

An attack that ends in an error page must leave its trace all the same.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import has_request_context, request
from sqlalchemy import insert

from . import log
from .clock import now
from .database import transaction
from .identity.models import AuditEvent

_log = log.get_logger("bastion.audit")


def record(kind: str, *, user_id: UUID | None = None, session_id: UUID | None = None, **details: Any) -> None:
    """Write one audit row and log line. `kind` is a dotted name such as `login.failure`; details hold no secret."""
    address = (request.remote_addr or "") if has_request_context() else ""
    with transaction() as connection:
        connection.execute(
            insert(AuditEvent).values(
                at=now(),
                kind=kind,
                user_id=user_id,
                session_id=session_id,
                address=address[:45],
                request_id=log.REQUEST_ID.get()[:36],
                details=log.redact(details),
            )
        )
    _log.info(kind, user_id=str(user_id) if user_id else None, ip=address, **details)
