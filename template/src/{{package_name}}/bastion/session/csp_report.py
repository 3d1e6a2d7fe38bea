"""What a browser reports about the Content-Security-Policy is logged, cut short, and changes nothing.

Anybody can send a report: it is read strictly, and three fields of the first in a request are kept, with how many came.
"""

from __future__ import annotations

from typing import Any, Final

from flask import Response, request

from .. import log, strict_json
from ..errors import refuse

LARGEST: Final = 16_384  # bytes
MOST: Final = 20  # reports in one request
LONGEST: Final = 200  # characters of a field
_log = log.get_logger("bastion.csp")


def receive() -> Response:
    """204 for well-formed reports; 400, 413 or 415 otherwise."""
    several = request.mimetype == "application/reports+json"
    if not several and request.mimetype not in ("application/csp-report", "application/json"):
        refuse(415, "csp-html-exact")
    data = request.get_data(cache=False)
    if len(data) > LARGEST:
        refuse(413, "csp-html-exact")
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
            return value.partition("?")[0][:LONGEST]
    return ""
