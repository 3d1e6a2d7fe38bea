"""CSP reports: browsers' reports of Content-Security-Policy violations are logged, truncated, and change nothing.

This stops a flood of the log and terminal injection, as any client can send reports. Few are read, strictly; only three
fields of the first in a request are logged, with their number. Source: ASVS 2.4.1, 16.4.1.
"""

from __future__ import annotations

from typing import Any, Final

from flask import Flask, Response, current_app, request

from .. import log
from ..audit.refusal import refuse
from ..edge.address import CLIENT, Client
from ..edge.ceiling import Ceiling
from ..text import strict_json

ROW: Final = "csp-report-endpoint"
EXTENSION: Final = "bastion.csp_report"
KINDS: Final = ("application/csp-report", "application/reports+json")  # of report-uri, and of Reporting-Endpoints
PER_MINUTE: Final = 10  # of one network; each may hold MOST reports
LARGEST: Final = 16_384  # bytes
MOST: Final = 20  # reports in one request
LONGEST: Final = 200  # characters of a field
_log = log.get_logger("bastion.csp")


def receive() -> Response:
    """Return 204 for well-formed reports; 400, 413, 415 or 429 otherwise."""
    client: Client = request.environ[CLIENT]
    ceiling: Ceiling = current_app.extensions[EXTENSION]
    if (wait := ceiling.hit(client.network)) is not None:  # in memory: a stranger makes no row
        refuse(429, ROW, retry_after=wait)
    if request.mimetype not in KINDS:
        refuse(415, ROW)
    if (request.content_length or 0) > LARGEST or len(data := request.get_data(cache=False)) > LARGEST:
        refuse(413, ROW)
    several = request.mimetype == KINDS[1]
    try:
        found = strict_json.loads(data, top=list, most=MOST) if several else [strict_json.loads(data)]
    except strict_json.InvalidJSON:
        refuse(400, "json-strict")
    parts = [one.get("body") or one.get("csp-report") for one in found if isinstance(one, dict)]
    bodies = [body for body in parts if isinstance(body, dict)]
    if bodies:  # one line a request, or a stranger fills the log twenty times as fast
        _log.warning(
            "csp_violation",
            reports=len(bodies),
            page=_short(bodies[0], "documentURL", "document-uri"),
            directive=_short(bodies[0], "effectiveDirective", "violated-directive"),
            blocked=_short(bodies[0], "blockedURL", "blocked-uri"),
        )
    return Response(status=204)


def _short(body: dict[str, Any], *names: str) -> str:
    for name in names:
        value = body.get(name)
        if isinstance(value, str):
            return _plain(value.partition("?")[0][:LONGEST])
    return ""


def _plain(text: str) -> str:
    """Escape line breaks, terminal codes and bidirectional controls as in source code: `\\r`, `\\x1b`."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def install(app: Flask) -> None:
    """Count requests per network and minute, in this process."""
    app.extensions[EXTENSION] = Ceiling(PER_MINUTE)
