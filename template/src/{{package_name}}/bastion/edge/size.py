"""A request's body is at most as long as the limit, whatever it declares, and a longer one is never held in memory.

A client that sends without end, or announces little and sends much, would fill memory or disk with one connection.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final
from wsgiref.types import InputStream, WSGIEnvironment

from .answers import Refusal

ROW: Final = "body-limit-1-mib"
MOST: Final = 16 * 1024 * 1024  # bytes; no route may declare more: a worker's threads hold one body each
_BODY: Final = "bastion.body"
_NO_LARGER: Final[Mapping[str, int]] = MappingProxyType({})
TOO_LARGE: Final = Refusal(413, ROW)
_NO_NUMBER: Final = Refusal(400, ROW)


class BodyTooLarge(OSError):
    """The stream went past its limit. An OSError, because that is what a reader expects of a broken connection."""


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
    """A body that ends after `length` bytes; with `overrun_is_error` a single further byte raises BodyTooLarge."""

    __slots__ = ("_left", "_probe", "_stream", "exceeded")

    def __init__(self, stream: InputStream, length: int, *, overrun_is_error: bool) -> None:
        self._stream = stream
        self._left = length
        self._probe = overrun_is_error
        self.exceeded = False

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes (all that may still come for None or a negative number)."""
        if size is None or size < 0 or size > self._left:
            size = self._left
        return self._taken(_received(self._stream.read, size) if size else b"")

    def readline(self, size: int | None = -1, /) -> bytes:
        """The next line, or its first `size` bytes."""
        if size is None or size < 0 or size > self._left:
            size = self._left
        return self._taken(_received(self._stream.readline, size) if size else b"")

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

    def _taken(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left == 0 and self._probe:
            # Looked for before the last piece is handed over: a reader that stops exactly at the limit (as Werkzeug's)
            # would take the first part of a longer body for the whole.
            self._probe = False
            self.exceeded = _received(self._stream.read, 1) != b""
        if self.exceeded:
            raise BodyTooLarge
        return data


class BodyLimit:
    """`most` bytes for every path, except the exact paths of `larger`. Raises ValueError for a limit above `MOST`.

    Source: ASVS 5.2.1, 15.2.2; RFC 9110, 8.6 and 15.5.14.
    """

    def __init__(self, most: int, larger: Mapping[str, int] = _NO_LARGER) -> None:
        if max(most, *larger.values(), 0) > MOST:
            raise ValueError(f"a body limit is above {MOST} bytes")
        self._most = most
        self._larger = dict(larger)

    def refuse(self, environ: WSGIEnvironment) -> Refusal | None:
        """Refuse by the declared length before a byte is read; bound the stream for everything else."""
        limit = self._larger.get(environ["PATH_INFO"], self._most)
        declared = environ.get("CONTENT_LENGTH")
        if declared:
            if not (declared.isascii() and declared.isdecimal()):
                return _NO_NUMBER
            if len(declared) > 18 or int(declared) > limit:  # 18 digits first: int() of a long number is work
                return TOO_LARGE
            environ["wsgi.input"] = LimitedBody(environ["wsgi.input"], int(declared), overrun_is_error=False)
        elif environ.get("wsgi.input_terminated"):
            body = LimitedBody(environ["wsgi.input"], limit, overrun_is_error=True)
            environ["wsgi.input"] = environ[_BODY] = body
        else:
            # Without a length, and from a server that doesn't mark the end, reading on would read the next request.
            environ["wsgi.input"] = io.BytesIO()
        return None


def exceeded(environ: WSGIEnvironment) -> bool:
    """Whether the body of this request turned out to be longer than its limit while it was read."""
    body: LimitedBody | None = environ.get(_BODY)
    return body is not None and body.exceeded
