"""Input validation: each part of a request is bounded, decoded once as UTF-8, and never sent twice.

Two parsers that read one request differently let a value pass the check and arrive as another. Of two equal names one
parser takes the first and one the last. One sees a dot in `%252e`, the other does not. A hundred thousand names cost
more to parse than to send. Source: ASVS 1.1.1, 1.5.3, 2.2.1, 15.3.7; CWE-235, CWE-174.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar
from urllib.parse import unquote_to_bytes

from flask import Flask, current_app, request
from werkzeug.datastructures import MultiDict

from ..audit.refusal import refuse

V = TypeVar("V", bound=Callable[..., Any])
LONGEST_QUERY: Final = 8_192  # bytes as they are sent
MOST_FIELDS: Final = 100  # names and values of a query, or of a form
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
LISTS: Final = "__bastion_lists__"
LIMITS: Final = "form-field-limits"
TYPE: Final = "content-type-strict"
TWICE: Final = "duplicate-parameters-refused"
CHARACTERS: Final = "control-characters-refused"
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


def takes_lists(*names: str) -> Callable[[V], V]:
    """Allow these names of a query or form to occur several times: `@takes_lists("tag")` on the view."""

    def mark(view: V) -> V:
        setattr(view, LISTS, frozenset(names))
        return view

    return mark


def lists() -> frozenset[str]:
    """Return the names that this request's view accepts several times."""
    view = current_app.view_functions.get(request.endpoint or "")
    found: frozenset[str] = getattr(view, LISTS, frozenset())
    return found


def refuse_path() -> None:
    """Refuse a path that is not UTF-8 or has a control character with 400; encoded slashes: edge/request_line.py."""
    sent: str = request.environ.get("RAW_URI", "").partition("?")[0]
    if _CONTROL.search(text_of(sent.encode("latin-1", "replace"))):
        refuse(400, CHARACTERS)


def refuse_query() -> None:
    """Refuse a long query or one of many parts with 413, one with control characters or bad UTF-8 with 400."""
    query = request.query_string
    if not query:
        return
    if len(query) > LONGEST_QUERY:
        refuse(413, LIMITS)
    if query.count(b"&") >= MOST_FIELDS:
        refuse(413, LIMITS)
    if _CONTROL.search(text_of(query)):
        refuse(400, CHARACTERS)


def text_of(sent: bytes) -> str:
    """Decode percent-encoded bytes once; refuse bytes that are not UTF-8, and NUL, with 400."""
    try:
        text = unquote_to_bytes(sent).decode("utf-8", errors="strict")
    except UnicodeDecodeError:
        refuse(400, CHARACTERS)
    if "\x00" in text:
        refuse(400, CHARACTERS)
    return text


def refuse_duplicates(names: Iterable[str]) -> None:
    """Refuse with 400 a repeated name that the view does not take as a list."""
    seen: set[str] = set()
    for name in names:
        if name in seen and name not in lists():
            refuse(400, TWICE)
        seen.add(name)


def refuse_body() -> None:
    """Refuse a compressed body with 415, and a body where the method expects none with 400."""
    if not has_body():
        return
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        refuse(415, TYPE)
    if request.method in SAFE:
        refuse(400, TYPE)


def has_body() -> bool:
    """Return whether the request has a body, by length or chunked."""
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


def names_of(values: MultiDict[str, Any]) -> list[str]:
    """Return each name of a query or form, as often as it occurs."""
    return [name for name, several in values.lists() for _ in several]


def install(app: Flask) -> None:
    """Check each request before any other code reads it."""

    @app.before_request
    def check_input() -> None:
        refuse_path()
        refuse_query()
        refuse_body()
        if request.query_string:
            refuse_duplicates(names_of(request.args))
