"""Health probes: answer live and ready in one or two words, and reveal nothing else.

Reasons, versions and host names in a health answer would show an attacker outside how the service is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from wsgiref.types import WSGIEnvironment

from .. import log
from .answers import Reply

LIVE: Final = "/healthz"
READY: Final = "/readyz"
PATHS: Final = frozenset({LIVE, READY})
_TEXT: Final = "text/plain; charset=utf-8"
_OK: Final = Reply(200, _TEXT, b"ok")
_READY: Final = Reply(200, _TEXT, b"ready")
_NOT_READY: Final = Reply(503, _TEXT, b"not ready")
_NOT_ALLOWED: Final = Reply(405, _TEXT, b"not allowed", (("Allow", "GET, HEAD"),))
_log = log.get_logger("bastion.health")


def answer(environ: WSGIEnvironment, ready: Callable[[], bool]) -> Reply:
    """Answer a request for one of `PATHS`; an exception in `ready` means not ready. Source: ASVS 13.4.5."""
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return _NOT_ALLOWED
    if environ["PATH_INFO"] == LIVE:
        return _OK
    try:
        return _READY if ready() else _NOT_READY
    except Exception as error:
        _log.error("not_ready", error=type(error).__name__, exc_info=error)
        return _NOT_READY
