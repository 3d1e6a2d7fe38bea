"""Request line: refuse unknown methods, method overrides and paths that two servers could read differently.

TRACE echoes a cookie to a script that may not read it. A POST that a header turns into DELETE passes method checks.
`/account%2Fx.css` is a stylesheet to a shared cache in front, and the account page to a server that decodes it first.
Some proxies read a backslash as a slash.
"""

from __future__ import annotations

from typing import Final
from wsgiref.types import WSGIEnvironment

from .answers import Refusal

ROW: Final = "methods-closed"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
RENAMING: Final = ("HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_HTTP_METHOD", "HTTP_X_METHOD_OVERRIDE")
_UNKNOWN: Final = Refusal(405, ROW, headers=(("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),))
_RENAMED: Final = Refusal(400, ROW)
_AMBIGUOUS: Final = Refusal(400, "no-store-by-default")


def refuse_method(environ: WSGIEnvironment) -> Refusal | None:
    """Refuse with 405 a method outside `METHODS`, with 400 a method-override header. Source: ASVS 4.1.4."""
    if environ["REQUEST_METHOD"] not in METHODS:
        return _UNKNOWN
    return _RENAMED if any(name in environ for name in RENAMING) else None


def refuse_target(environ: WSGIEnvironment) -> Refusal | None:
    """Refuse with 400 an encoded slash, a backslash, and a server that does not pass on the raw path (RAW_URI).

    WSGI's own PATH_INFO is decoded already. Source: RFC 3986, 2.2 and 6.2.2; ASVS 14.2.5.
    """
    path = environ.get("RAW_URI", "").partition("?")[0].lower()
    return _AMBIGUOUS if not path or "%2f" in path or "%5c" in path or "\\" in path else None
