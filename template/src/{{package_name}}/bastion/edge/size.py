"""A request's body is as long as it declares, and at most as long as the limit; a longer one is never held in memory.

A client that sends without end, or announces little and sends much, would fill memory or disk with one connection; and
a body that was cut on its way would be taken for a whole one that says less.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Final
from wsgiref.types import InputStream, WSGIEnvironment

from .answers import Refusal

ROW: Final = "body-limit-1-mib"
_BODY: Final = "bastion.body"
TOO_LARGE: Final = Refusal(413, ROW)
CUT_SHORT: Final = Refusal(400, ROW)
_NO_NUMBER: Final = Refusal(400, ROW)


class WrongLength(OSError):
    """The stream is longer than its limit, or shorter than it said.

    An OSError, because that is what a reader expects of a broken connection.
    """


class BrokenBody(OSError):
    """The server could make nothing of it, for example of its chunks: the client's fault, and answered with 400."""


def _received(read: Callable[[int], bytes], size: int) -> bytes:
    try:
        return read(size)
    except OSError:
        raise
    except Exception as error:  # each server has its own
        raise BrokenBody from error


class LimitedBody:
    """A body that ends after `length` bytes. If it was `declared` so, an earlier end raises WrongLength; if not, and
    the length is only the limit, a single further byte does.
    """

    __slots__ = ("_declared", "_left", "_probe", "_stream", "fault")

    def __init__(self, stream: InputStream, length: int, *, declared: bool) -> None:
        self._stream = stream
        self._left = length
        self._declared = declared
        self._probe = not declared
        self.fault: Refusal | None = None

    def read(self, size: int | None = None, /) -> bytes:
        """At most `size` bytes (all that may still come for None or a negative number)."""
        return self._taken(self._stream.read, size)

    def readline(self, size: int | None = None, /) -> bytes:
        """The next line, or its first `size` bytes."""
        return self._taken(self._stream.readline, size)

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        """All lines, or those up to `hint` bytes."""
        lines: list[bytes] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _taken(self, read: Callable[[int], bytes], size: int | None) -> bytes:
        if size is None or size < 0 or size > self._left:
            size = self._left
        data = _received(read, size) if size else b""
        self._left -= len(data)
        if size and not data and self._declared:
            self.fault = CUT_SHORT
        if self._left == 0 and self._probe:
            # Looked for before the last piece is handed over: a reader that stops exactly at the limit (as Werkzeug's)
            # would take the first part of a longer body for the whole.
            self._probe = False
            if _received(self._stream.read, 1):
                self.fault = TOO_LARGE
        if self.fault is not None:
            raise WrongLength
        return data


class BodyLimit:
    """`most` bytes for every path: each of a worker's threads holds one body.

    Source: ASVS 5.2.1, 15.2.2; RFC 9110, 8.6 and 15.5.14.
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def refuse(self, environ: WSGIEnvironment) -> Refusal | None:
        """Refuse by the declared length before a byte is read; bound the stream for everything else."""
        declared = environ.get("CONTENT_LENGTH")
        if declared:
            if not (declared.isascii() and declared.isdecimal()):
                return _NO_NUMBER
            if len(declared) > 18 or int(declared) > self._most:  # 18 digits first: int() of a long number is work
                return TOO_LARGE
            body = LimitedBody(environ["wsgi.input"], int(declared), declared=True)
            environ["wsgi.input"] = environ[_BODY] = body
        elif environ.get("wsgi.input_terminated"):
            body = LimitedBody(environ["wsgi.input"], self._most, declared=False)
            environ["wsgi.input"] = environ[_BODY] = body
        else:
            # Without a length, and from a server that doesn't mark the end, reading on would read the next request.
            environ["wsgi.input"] = io.BytesIO()
        return None


def fault_of(environ: WSGIEnvironment) -> Refusal | None:
    """What the body of this request turned out to be while it was read: too long, or shorter than it said."""
    body: LimitedBody | None = environ.get(_BODY)
    return None if body is None else body.fault
