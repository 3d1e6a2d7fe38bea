"""A request does what its method says: unknown methods and headers that rename a method are refused.

TRACE echoes a cookie to a script that may not read it; a POST that a header turns into DELETE passes checks of methods.
"""

from __future__ import annotations

from typing import Final
from wsgiref.types import WSGIEnvironment

from .answers import Refusal

ROW: Final = "methods-closed"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNKNOWN: Final = Refusal(405, ROW, headers=(("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),))
_RENAMED: Final = Refusal(400, ROW)


def refuse(environ: WSGIEnvironment) -> Refusal | None:
    """Refuse with 405 a method outside `METHODS`, with 400 a header that names another one. Source: ASVS 4.1.4."""
    if environ["REQUEST_METHOD"] not in METHODS:
        return _UNKNOWN
    if (
        "HTTP_X_HTTP_METHOD_OVERRIDE" in environ
        or "HTTP_X_HTTP_METHOD" in environ
        or "HTTP_X_METHOD_OVERRIDE" in environ
    ):
        return _RENAMED
    return None
