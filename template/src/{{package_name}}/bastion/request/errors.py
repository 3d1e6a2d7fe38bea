"""Error answers: the client gets a fixed text and a request id; every detail goes only to the log.

A message, path, statement or stack trace in an answer shows an attacker how the service is built and how close a guess
came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from flask import Flask, Response, request
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError
from werkzeug.exceptions import HTTPException

from .. import log
from ..crypto import encryption
from ..secrets import SecretUnavailable
from ..state import state
from . import problem
from .access import expects_json

# One title and one sentence a status: it says how the user can continue, and nothing about the cause.
TEXTS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("Bad request", "The request could not be understood. Go back, reload the page and try again."),
    401: ("Not signed in", "Sign in and try again."),
    403: ("Not allowed", "You may not do this."),
    404: ("Not found", "There is nothing at this address."),
    405: ("Method not allowed", "This address does not take this method."),
    409: ("Conflict", "Something changed in the meantime. Reload and try again."),
    410: ("Link not valid", "This link has been used or has ended. Ask for a new one."),
    413: ("Too large", "What was sent is too large."),
    414: ("Too long", "This address is longer than any here."),
    415: ("Unsupported media type", "This address does not take this type of content."),
    417: ("Expectation failed", "What the request expects of the server is not done here."),
    422: ("Not valid", "Something in the request is not valid."),
    429: ("Too many requests", "Wait a while, then try again."),
    431: ("Too large", "The browser sends too much with each request. Delete the cookies of this site and try again."),
    500: ("Something went wrong", "It is our fault, and it has been logged. Try again later."),
    501: ("Not supported", "What was sent is coded in a way that is not read here."),
    503: ("Not available", "The service is busy or not ready. Try again in a moment."),
}
RETRY_SECONDS: Final = 5  # Retry-After of a 503 when the database does not answer
_log = log.get_logger("bastion.errors")


def response(
    status: int, headers: Iterable[tuple[str, str]] = (), errors: list[dict[str, str]] | None = None
) -> Response:
    """Return the fixed answer for a status, in the style's format (page or RFC 9457 problem); a JSON view's problem."""
    title, text = TEXTS.get(status, TEXTS[500 if status >= 500 else 400])
    make = problem.error_body if expects_json() else state().error_body
    content_type, body = make(status, title, text, log.REQUEST_ID.get(), errors)
    answer = Response(body, status, content_type=content_type)
    for name, value in headers:
        if name.lower() not in ("content-type", "content-length"):
            answer.headers.add(name, value)
    return answer


def _on_http(error: HTTPException) -> Response | HTTPException:
    if error.response is not None or error.code is None:
        return error
    if isinstance(away := getattr(error, "original_exception", None), SecretUnavailable):
        return _on_secret(away)  # before any view: Flask has made a 500 of it
    return response(error.code, error.get_headers(request.environ), getattr(error, "errors", None))


def _come_back() -> Response:
    return response(503, [("Retry-After", str(RETRY_SECONDS))])


def _on_database(error: Exception) -> Response:
    # The database is away: answer 503 with Retry-After. No client counts as signed in or allowed in that time.
    _log.error("database_unavailable", error=type(error).__name__, exc_info=error)
    return _come_back()


def _on_statement(error: DBAPIError) -> Response:
    # A lost connection, under any error class of the driver; every other statement error is a bug of ours.
    return _on_database(error) if error.connection_invalidated else _on_exception(error)


def _on_conflict(error: Exception) -> Response:
    # Another request deleted the row, or took its unique value, between the read and the write of this one.
    status = 409
    log.refused("transaction-all-or-nothing", status=status, error=type(error).__name__)
    return response(status)


def _on_constraint(error: IntegrityError) -> Response:
    return _on_conflict(error) if state().dialect.is_conflict(error.orig) else _on_exception(error)


def _on_secret(error: Exception) -> Response:
    # The backend is unreachable for longer than its last value counts. There is no fallback.
    _log.error("secret_unavailable", error=str(error))
    return _come_back()  # no fallback value


def _on_unreadable(_error: Exception) -> Response:
    # A stored value was changed, or its key is gone. The request ends without the value.
    status = 500
    log.refused("data-encryption-authenticated", status=status)
    return response(status)


def _on_exception(error: Exception) -> Response:
    _log.error("unhandled_exception", error=type(error).__name__, exc_info=error)
    return response(500)


def install(app: Flask) -> None:
    """Answer every error of the app with the fixed texts."""
    app.register_error_handler(HTTPException, _on_http)
    app.register_error_handler(Exception, _on_exception)
    app.register_error_handler(encryption.DecryptError, _on_unreadable)
    app.register_error_handler(SecretUnavailable, _on_secret)
    app.register_error_handler(DBAPIError, _on_statement)
    app.register_error_handler(IntegrityError, _on_constraint)
    for overtaken in (StaleDataError, ObjectDeletedError):
        app.register_error_handler(overtaken, _on_conflict)
    for away in (OperationalError, InterfaceError, PoolTimeout):
        app.register_error_handler(away, _on_database)
