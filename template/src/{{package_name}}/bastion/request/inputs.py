"""A request says one thing: its parts are bounded, decoded once as UTF-8, and none of them is there twice.

Two readers that understand one request differently let it pass the check as one thing and arrive as another: of two
equal names one takes the first and one the last; of `%252e` one sees a dot and one does not; a hundred thousand names
cost more to take apart than to send. Source: ASVS 1.1.1, 1.5.3, 2.2.1, 15.3.7; CWE-235, CWE-174.
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
    """Let these names of a query or form stand there several times: `@takes_lists("tag")` on the view."""

    def mark(view: V) -> V:
        setattr(view, LISTS, frozenset(names))
        return view

    return mark


def lists() -> frozenset[str]:
    """The names that the view of this request takes several times."""
    view = current_app.view_functions.get(request.endpoint or "")
    found: frozenset[str] = getattr(view, LISTS, frozenset())
    return found


def refuse_path() -> None:
    """400 for a path that is no UTF-8 or holds a control character; edge/request_line.py has refused a hidden slash."""
    sent: str = request.environ.get("RAW_URI", "").partition("?")[0]
    if _CONTROL.search(text_of(sent.encode("latin-1", "replace"))):
        refuse(400, CHARACTERS)


def refuse_query() -> None:
    """413 for a long query or one of many parts, 400 for one that is no plain text."""
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
    """What was sent with percent signs, decoded once; 400 when it is not UTF-8 or holds NUL."""
    try:
        text = unquote_to_bytes(sent).decode("utf-8", errors="strict")
    except UnicodeDecodeError:
        refuse(400, CHARACTERS)
    if "\x00" in text:
        refuse(400, CHARACTERS)
    return text


def refuse_duplicates(names: Iterable[str]) -> None:
    """400 for a name that is there twice and that the view does not take as a list."""
    seen: set[str] = set()
    for name in names:
        if name in seen and name not in lists():
            refuse(400, TWICE)
        seen.add(name)


def refuse_body() -> None:
    """415 for a body that is compressed, 400 for one where no method expects it."""
    if not has_body():
        return
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        refuse(415, TYPE)
    if request.method in SAFE:
        refuse(400, TYPE)


def has_body() -> bool:
    """Whether something comes after the headers, announced or in chunks."""
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


def names_of(values: MultiDict[str, Any]) -> list[str]:
    """Each name of a query or form, as often as it is there."""
    return [name for name, several in values.lists() for _ in several]


def install(app: Flask) -> None:
    """Look at each request before anything reads it."""

    @app.before_request
    def check_input() -> None:
        refuse_path()
        refuse_query()
        refuse_body()
        if request.query_string:
            refuse_duplicates(names_of(request.args))
