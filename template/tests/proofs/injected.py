"""What an attacker's statement does when it has got past the service: it comes by the service's own connection.

It stops proofs of the database's own rights from asking as somebody else.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from .running import Service


def executed(service: Service, statements: tuple[str, ...]) -> tuple[list[str], list[Any]]:
    """Which of these the server does for the service's role, each by itself; and how it refuses the others."""
    done, refusals = list[str](), list[Any]()
    with service.app.app_context():
        engine = service.module("database").db.engine
    event.listen(engine, "handle_error", lambda context: refusals.append(context.original_exception))
    for statement in statements:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection, suppress(DBAPIError):
            connection.exec_driver_sql(statement)
            done.append(statement)
    return done, refusals
