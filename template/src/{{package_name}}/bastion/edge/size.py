"""Body size limit: refuse a body that is too long or shorter than declared; read it whole before the app runs.

A client that sends without end would fill memory or disk with one connection. A body that was cut on its way would be
taken for a complete one. The server has gathered the body, or given it a thread, before this layer: reading it at once
delays no other request.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final
from wsgiref.types import InputStream, WSGIEnvironment

from .answers import Refusal

ROW: Final = "body-limit-1-mib"
TOO_LARGE: Final = Refusal(413, ROW)
MALFORMED: Final = Refusal(400, ROW)


class BodyLimit:
    """Limits the body to `most` bytes on every path: each of a worker's threads holds one body.

    Only the route of a longer one is looked up: `most_of` returns its own limit, if it takes files.
    Werkzeug's own limit applies only to reads through the request object. Source: ASVS 5.2.1, 15.2.2; RFC 9110, 8.6 and
    15.5.14.
    """

    def __init__(self, most: int, most_of: Callable[[WSGIEnvironment], int]) -> None:
        self._most = most
        self._most_of = most_of

    def refuse(self, environ: WSGIEnvironment) -> Refusal | None:
        """Refuse by the declared length before reading; then read, and refuse a body too long, cut or broken."""
        declared = environ.get("CONTENT_LENGTH")
        most = self._most
        length = 0  # of what has no length, from a server that doesn't mark the end: the next request would follow
        if declared:
            if not (declared.isascii() and declared.isdecimal()):
                return MALFORMED
            if len(declared) > 18:  # first: int() of a long number is work
                return TOO_LARGE
            length = int(declared)
            if length > most and length > (most := self._most_of(environ)):
                return TOO_LARGE
        elif environ.get("wsgi.input_terminated"):
            length = self._most + 1
        try:
            body = _read(environ["wsgi.input"], length)
        except Exception:  # each server has its own for a lost client, and for invalid chunks
            return MALFORMED
        environ["wsgi.input"] = io.BytesIO(body)
        if len(body) > most:
            return TOO_LARGE
        return MALFORMED if declared and len(body) < length else None


def _read(stream: InputStream, length: int) -> bytes:
    pieces = []
    while length and (piece := stream.read(length)):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)
