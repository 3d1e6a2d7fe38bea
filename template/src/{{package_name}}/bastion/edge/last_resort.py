"""Last-resort error handling: an exception ends one answer, never the worker, and the client gets a fixed text.

A stack trace in an answer, or in a server's own error page, shows paths, statements and values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from .. import log

_log = log.get_logger("bastion.edge")
FALLBACK: Final = ("text/plain; charset=utf-8", b"Something went wrong.")  # when even the error's text can't be made


class AnswerCut(RuntimeError):
    """Raised when an answer breaks off after its first piece; no details, as the server's log has no filter."""


def report(error: Exception) -> None:
    """Log an exception once, with its stack trace; the log adds the request id and removes secrets."""
    log.forget_locals(error)
    _log.error("unhandled_exception", error=type(error).__name__, exc_info=error)


class Body:
    """The body of an answer whose first piece is already made: passes on piece by piece, as the app makes it."""

    __slots__ = ("_first", "_pieces", "_rest")

    def __init__(self, pieces: Iterable[bytes], first: bytes, rest: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._first = first
        self._rest = rest

    def __iter__(self) -> Iterator[bytes]:
        yield self._first
        try:
            for piece in self._rest:  # noqa: UP028  (`yield from` would close the app's body a second time)
                yield piece
        except Exception as error:
            report(error)
            raise AnswerCut from None

    def close(self) -> None:
        """Let the app clean up; the answer is sent, so an error here is only logged."""
        close_quietly(self._pieces)


def close_quietly(pieces: Iterable[bytes] | None) -> None:
    """Call the body's `close()` if it has one (PEP 3333); log an exception in it."""
    close = getattr(pieces, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception as error:
        report(error)
