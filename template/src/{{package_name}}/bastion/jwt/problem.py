"""An error is a problem document of fixed members (RFC 9457): a client can act on it.

A message, path or value in it would show an attacker how the service is built and whether his guess came near.
"""

from __future__ import annotations

import json
from typing import Final
from uuid import UUID

from flask import Flask

from ..state import ErrorBody

CONTENT_TYPE: Final = "application/problem+json"
_NO_REQUEST: Final = UUID(int=0)  # outside a request there is no id


def error_body(
    status: int,
    title: str,
    _text: str,
    request_id: str,
    errors: list[dict[str, str]] | None = None,
) -> tuple[str, bytes]:
    """Content type and body; it needs neither Flask nor a request, since the edge refuses before there is one."""
    problem: dict[str, object] = {"type": "about:blank", "title": title, "status": status, "instance": _urn(request_id)}
    if errors is not None:
        problem["errors"] = errors
    text = json.dumps(problem, separators=(",", ":"))
    # Names of fields are the only thing from outside in here; even a client that shows it as HTML runs nothing.
    return CONTENT_TYPE, text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()


def error_body_of(_app: Flask) -> ErrorBody:
    """The same for every app."""
    return error_body


def _urn(request_id: str) -> str:
    try:
        return UUID(request_id).urn
    except ValueError:
        return _NO_REQUEST.urn
