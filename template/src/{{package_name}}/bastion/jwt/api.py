"""JSON operations: each gets only validated input, of a content type that no other site can send unasked.

This stops CSRF: no attacker's site can call an operation from a user's browser. An HTML form, or a fetch without a
preflight, cannot send application/json. Source: OWASP CSRF Prevention Cheat Sheet; Fetch Standard, CORS-safelisted
types.
"""

from __future__ import annotations

import functools
import inspect
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, UnionType
from typing import Any, Final, TypeVar, get_args, get_type_hints, overload

from flask import Flask, Response, request
from pydantic import ValidationError
from werkzeug.datastructures import FileStorage

from .. import files
from ..audit.refusal import refuse
from ..state import state
from ..text import strict_json
from .schema import Answer, Query, Schema, faults_of

ACCEPTED: Final = frozenset({"application/json"})
FILE: Final = "application/octet-stream"  # of every file, sent or received: its content says more
CHARSETS: Final = frozenset({"utf-8"})
OPERATION: Final = "__bastion_operation__"
_NO_OTHER: Final[Mapping[int, type[Answer]]] = MappingProxyType({})
View = Callable[..., Answer | Response | None]
Operation = Callable[..., Response]
B = TypeVar("B", bound=Schema)
Q = TypeVar("Q", bound=Query)


@dataclass(frozen=True, slots=True)
class Declaration:
    """The input and output of an operation, read from its annotations."""

    body: type[Schema] | None
    query: type[Query] | None
    answer: type[Answer] | None
    files: frozenset[str]  # "body", "return": which of them is a file
    status: int
    also: Mapping[int, type[Answer]]
    refuses: tuple[int, ...]
    summary: str


@overload
def operation(view: View) -> Operation: ...
@overload
def operation(
    *, status: int = 200, also: Mapping[int, type[Answer]] = _NO_OTHER, refuses: tuple[int, ...] = ()
) -> Callable[[View], Operation]: ...
def operation(
    view: View | None = None,
    *,
    status: int = 200,
    also: Mapping[int, type[Answer]] = _NO_OTHER,
    refuses: tuple[int, ...] = (),
) -> Operation | Callable[[View], Operation]:
    """Make a JSON operation of a view: its parameters `body` (a Schema) and `query` (a Query) arrive validated.

    Sends the returned Answer with `status`, and None as 204. Put it below the access mark. For a view that returns `One
    | Other`, `also` names the status of each other answer: {202: Other}. `refuses` lists the view's own refusals for
    the description. Refuses other content types with 415, ambiguous JSON and undeclared or repeated query parameters
    with 400, and other invalid input with 422. Raises TypeError for an unusable annotation.

    `body: FileStorage` takes a file as the whole body, of the type application/octet-stream; `-> Response` sends one
    (see `bastion.files`).
    """
    if view is None:
        return lambda given: _operation(given, status, also, refuses)
    return _operation(view, status, also, refuses)


def _operation(view: View, status: int, also: Mapping[int, type[Answer]], refuses: tuple[int, ...]) -> Operation:
    declared = _declaration(view, status, also, refuses)

    @functools.wraps(view)
    def run(**values: Any) -> Response:
        if declared.query is not None:
            values["query"] = read_query(declared.query)
        elif request.query_string:  # nothing was declared, so nothing is read
            refuse(400, "input-validated-typed")
        if declared.body is not None:
            values["body"] = read_body(declared.body)
        elif "body" in declared.files:
            values["body"] = FileStorage(io.BytesIO(request.get_data()))
        answer = view(**values)
        if isinstance(answer, Response):
            answer.mimetype = FILE
            return answer
        if answer is None:
            return _nothing()
        status = next((one for one, kind in also.items() if isinstance(answer, kind)), declared.status)
        return Response(answer.model_dump_json(), status, mimetype="application/json")

    setattr(run, OPERATION, declared)
    return files.takes_files(run) if "body" in declared.files else run


def _declaration(view: View, status: int, also: Mapping[int, type[Answer]], refuses: tuple[int, ...]) -> Declaration:
    hints = get_type_hints(view)
    body, query, answer = hints.get("body"), hints.get("query"), hints.get("return")
    sent = frozenset(name for name in ("body", "return") if hints.get(name) in (FileStorage, Response))
    body = None if "body" in sent else body
    nothing = answer is type(None) or "return" in sent  # `-> None`; a missing annotation is no None here
    for name, found, base in (("body", body, Schema), ("query", query, Query)):
        if found is not None and not (isinstance(found, type) and issubclass(found, base)):
            raise TypeError(f"{view.__qualname__}: annotate {name} with a subclass of {base.__name__}")
    answer, *others = get_args(answer) if isinstance(answer, UnionType) else (answer,)
    if not nothing and not all(isinstance(one, type) and issubclass(one, Answer) for one in (answer, *others)):
        raise TypeError(f"{view.__qualname__}: annotate what it returns with a subclass of Answer, or None")
    if {*others} != {*also.values()}:
        raise TypeError(f"{view.__qualname__}: `also` names the status of each answer but the first")
    return Declaration(
        body=body,
        query=query,
        answer=None if nothing else answer,
        files=sent,
        status=204 if answer is type(None) else status,
        also=also,
        refuses=refuses,
        summary=(inspect.getdoc(view) or view.__name__).split("\n")[0],
    )


def _nothing() -> Response:
    answer = Response(status=204)
    del answer.headers["Content-Type"]  # there is no content
    return answer


def declaration_of(view: object) -> Declaration | None:
    """Return the declaration of an operation, or None for any other view."""
    found: Declaration | None = getattr(view, OPERATION, None)
    return found


def require_type() -> None:
    """Refuse with 415 a content type other than JSON in UTF-8, or than FILE where the view takes files."""
    if not files.is_taken():
        require_json()
    elif request.mimetype != FILE or request.mimetype_params:
        refuse(415, "api-needs-json-preflight")


def require_json() -> None:
    """Refuse with 415 a content type other than JSON in UTF-8, and a missing one."""
    parameters = request.mimetype_params
    if (
        request.mimetype not in ACCEPTED
        or parameters.keys() - {"charset"}
        or parameters.get("charset", "utf-8").lower() not in CHARSETS
    ):
        refuse(415, "api-needs-json-preflight")


def read_body(schema: type[B]) -> B:
    """Return the request's JSON, parsed strictly and validated; 415, 400 or 422 when it is invalid."""
    require_json()
    data = request.get_data()
    try:
        # First: pydantic's parser takes the last of two equal names, and NaN.
        strict_json.loads(data, most_values=state().limits.json_values_per_body)
    except strict_json.InvalidJSON:
        refuse(400, "json-strict")
    try:
        return schema.model_validate_json(data)
    except ValidationError as error:
        refuse(422, "input-validated-typed", errors=faults_of(error, in_query=False))


def read_query(model: type[Q]) -> Q:
    """Return the validated query string; 400 for an undeclared or repeated parameter, 422 for an invalid value."""
    given = request.args
    if given.keys() - model.model_fields.keys() or any(len(values) != 1 for _, values in given.lists()):
        refuse(400, "input-validated-typed")
    try:
        return model.model_validate_strings(given.to_dict())
    except ValidationError as error:
        refuse(422, "input-validated-typed", errors=faults_of(error, in_query=True))


class _PlainResponse(Response):
    """Send the text of a bare view as plain text: this service sends no HTML, not even by default."""

    default_mimetype = "text/plain"


def install(app: Flask) -> None:
    """Refuse every content type but JSON, and that of a file where one is taken, before any view runs."""
    app.response_class = _PlainResponse
    app.url_map.merge_slashes = app.url_map.strict_slashes = False  # Flask would answer `//x` with an HTML redirect

    @app.before_request
    def check_content_type() -> None:
        if request.content_length or "Transfer-Encoding" in request.headers:
            require_type()
