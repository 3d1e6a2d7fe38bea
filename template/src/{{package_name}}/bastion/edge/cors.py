"""CORS: only scripts of origins that the operator listed exactly may read an answer; the default list is empty.

An Origin that is echoed, or compared by prefix, opens the service to every page that can take such a name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from wsgiref.types import WSGIEnvironment

from .answers import Headers, Refusal

ROW: Final = "cors-exact-origin"
PREFIX: Final = "access-control-"  # of the headers that only this module sets
_PREFLIGHT: Final[Headers] = (
    ("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type"),
    ("Access-Control-Max-Age", "600"),  # seconds
)
_ANSWERED: Final = Refusal(204, ROW, logged=False)


class Cors:
    """The origins whose scripts may call; never with cookies, so the session style has no such list.

    Source: Fetch Standard, CORS protocol; ASVS 3.4.2, 3.5.2.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def refuse(self, environ: WSGIEnvironment) -> Refusal | None:
        """Answer a listed origin's preflight request with 204."""
        return _ANSWERED if self._allowed(environ) and _asks(environ) else None

    def headers(self, environ: WSGIEnvironment) -> Headers:
        """Return the CORS headers for a listed origin, and none for another."""
        if not self._allowed(environ):
            return ()
        allowed = ("Access-Control-Allow-Origin", environ["HTTP_ORIGIN"])
        return (allowed, *_PREFLIGHT) if _asks(environ) else (allowed,)

    def _allowed(self, environ: WSGIEnvironment) -> bool:
        return environ.get("HTTP_ORIGIN") in self._origins


def _asks(environ: WSGIEnvironment) -> bool:
    return environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
