"""Problem documents (RFC 9457): errors with fixed members, on which a program can act.

This stops information leaks: no message, path or value shows an attacker how the service works or how close a guess is.
"""

from __future__ import annotations

import json
from typing import Final
from uuid import UUID

CONTENT_TYPE: Final = "application/problem+json"
_NO_REQUEST: Final = UUID(int=0)  # outside a request there is no id


def error_body(
    status: int,
    title: str,
    _text: str,
    request_id: str,
    errors: list[dict[str, str]] | None = None,
) -> tuple[str, bytes]:
    """Return the content type and body; needs neither Flask nor a request, since the edge refuses before them."""
    problem: dict[str, object] = {"type": "about:blank", "title": title, "status": status, "instance": _urn(request_id)}
    if errors is not None:
        problem["errors"] = errors
    text = json.dumps(problem, separators=(",", ":"))
    # Only field names come from outside; escaped, they run nothing even in a client that shows the body as HTML.
    return CONTENT_TYPE, text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()


def _urn(request_id: str) -> str:
    try:
        return UUID(request_id).urn
    except ValueError:
        return _NO_REQUEST.urn
