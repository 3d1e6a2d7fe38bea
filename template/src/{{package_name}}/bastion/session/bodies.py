"""Request bodies: a form or JSON, with a limited number of fields, each only once; others reach no view.

This stops resource exhaustion: Flask limits only the fields of a form with files, and parses an ordinary form into a
hundred thousand entries. It also stops attacks by bodies that two readers decode differently. Source: ASVS 1.5.3,
2.4.1, 4.1.1, 15.3.7.
"""

from __future__ import annotations

from typing import Any, Final

from flask import Flask, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from ..audit.refusal import refuse
from ..request.inputs import CHARACTERS, LIMITS, MOST_FIELDS, TYPE, has_body, names_of, refuse_duplicates, text_of

LONGEST_FIELD: Final = 64_000  # bytes; a field of a form declares its own, smaller length
FORM: Final = "application/x-www-form-urlencoded"
FILES: Final = "multipart/form-data"
JSON: Final = "application/json"
REPORTS: Final = "bastion.csp_report"  # csp_report.py looks at its two types itself
CHARSET: Final = frozenset({"charset"})
PARAMETERS: Final = {FORM: CHARSET, JSON: CHARSET, FILES: CHARSET | {"boundary"}}


class _Parser(FormDataParser):
    """Raise ValueError for an invalid multipart form, which Werkzeug would parse as an empty form."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **{**values, "silent": False})


def require_content_type() -> None:
    """Refuse with 415 a body that is neither a form nor JSON, or declares another encoding than UTF-8."""
    parameters = request.mimetype_params
    allowed = PARAMETERS.get(request.mimetype)
    if allowed is None or parameters.keys() - allowed:
        refuse(415, TYPE)
    if parameters.get("charset", "utf-8").lower() != "utf-8":
        refuse(415, TYPE)


def check_fields() -> None:
    """Refuse too many or too large fields with 413, before parsing; invalid UTF-8 or NUL with 400."""
    data = request.get_data()
    if data.count(b"&") >= MOST_FIELDS:
        refuse(413, LIMITS)
    for part in data.split(b"&"):
        if len(part) > 4 * LONGEST_FIELD:  # with its name, and three times as long in % escapes; decoding takes memory
            refuse(413, LIMITS)
        refuse_large(text_of(part.partition(b"=")[2]))
        text_of(part)
    request.max_form_memory_size = None  # Werkzeug's bound is for the whole; edge/size.py has one


def check_parts() -> None:
    """Apply the same limits to a form with files, whose parts Werkzeug counts while it reads them."""
    request.max_form_parts = MOST_FIELDS
    try:
        fields = [*request.form.items(multi=True)]
        fields += [(name, file.filename or "") for name, file in request.files.items(multi=True)]
    except RequestEntityTooLarge:
        refuse(413, LIMITS)
    except ValueError:  # cut, or never taken together by its boundary
        refuse(400, TYPE)
    for name, text in fields:
        refuse_large(text)
        if not name or {"\x00", "\ufffd"} & {*name, *text}:  # None, or invalid UTF-8
            refuse(400, CHARACTERS)


def refuse_large(text: str) -> None:
    """Refuse with 413 a field of more than LONGEST_FIELD bytes."""
    if len(text) > LONGEST_FIELD // 4 and len(text.encode()) > LONGEST_FIELD:
        refuse(413, LIMITS)


def install(app: Flask) -> None:
    """Check each body before any other code reads it."""
    # Keeps the request class of the layers before this one.
    app.request_class = type("FormRequest", (app.request_class,), {"form_data_parser_class": _Parser})

    @app.before_request
    def check_body() -> None:
        if not has_body() or request.endpoint == REPORTS:
            return
        require_content_type()
        if request.mimetype == JSON:
            return
        if request.mimetype == FORM:
            check_fields()
        else:
            check_parts()
        parts = (request.args, request.form, request.files)
        refuse_duplicates(name for part in parts for name in names_of(part))
