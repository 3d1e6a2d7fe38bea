"""API description (OpenAPI 3.1), generated from the operations themselves, so it cannot differ from them.

It would show an attacker every address and field, so BASTION_OPENAPI restricts who may read it.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from flask import Flask, Response
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from werkzeug.routing import Rule

from ..request.access import AUTOMATIC, login_required, public
from ..request.cross_site import SAFE_METHODS
from ..request.errors import TEXTS
from ..request.paths import LONGEST, LONGEST_PATH
from ..request.queries import LARGEST_NUMBER
from ..state import state_of
from . import problem
from .api import FILE, Declaration, declaration_of
from .settings import Settings

PATH: Final = "/openapi.json"
ENDPOINT: Final = "bastion.openapi"
_REF: Final = "#/components/schemas/{model}"
_VARIABLE: Final = re.compile(r"<(?:(?P<kind>\w+)(?:\([^)]*\))?:)?(?P<name>\w+)>")
_PATH_TYPES: Final[Mapping[str, dict[str, object]]] = {
    "uuid": {"type": "string", "format": "uuid"},
    "int": {"type": "integer", "minimum": 0, "maximum": LARGEST_NUMBER},
    "path": {"type": "string", "minLength": 1, "maxLength": LONGEST_PATH},
}
_PART: Final[dict[str, object]] = {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": "^[^/]+$"}
_AUDIENCES: Final[Mapping[str, Callable[[Callable[[], Response]], Callable[[], Response]]]] = {
    "signed-in": login_required,
    "public": public,
}
_FRESH: Final = (
    "Needs a user who proved within {seconds} seconds who he is. Otherwise 401 with "
    'error="insufficient_user_authentication" (RFC 9470): POST /auth/reauthenticate, and try again with its token.'
)
_WITHOUT_FACTOR: Final = (
    "Also for a user who must have a second factor and signed in without one; for him everything else is 403, and the "
    "problem's `errors` say what to do."
)
_FILE: Final[dict[str, Any]] = {FILE: {"schema": {"type": "string", "format": "binary"}}}
Named = Mapping[Any, dict[str, Any]]


class FieldError(BaseModel):
    """One invalid field: a JSON pointer into the body, or the name of a query parameter."""

    pointer: str | None = None
    parameter: str | None = None
    detail: str


class Problem(BaseModel):
    """Every error (RFC 9457); `instance` names the request in the log."""

    type: str
    title: str
    status: int
    instance: str
    errors: list[FieldError] | None = None


def install(app: Flask, settings: Settings) -> None:
    """Serve /openapi.json to the clients that BASTION_OPENAPI allows; `off` adds no route."""
    if settings.openapi == "off":
        return
    made: list[str] = []

    def document() -> Response:
        """Return this interface as OpenAPI 3.1."""
        if not made:  # at the first request, when every route is there and sealed
            made.append(json.dumps(describe(app), separators=(",", ":")))
        return Response(made[0], mimetype="application/json")

    app.add_url_rule(PATH, ENDPOINT, _AUDIENCES[settings.openapi](document), methods=["GET"])


def describe(app: Flask) -> dict[str, Any]:
    """Return the OpenAPI document of all operations of the app, including the team's."""
    operations = [*_operations(app)]
    named, schemas = _schemas([declared for _, declared in operations])
    paths: dict[str, dict[str, Any]] = {}
    for rule, declared in operations:
        entry = _operation(app, rule, declared, named)
        methods = sorted((rule.methods or set()) - AUTOMATIC)
        for method in methods:
            operation_id = rule.endpoint if len(methods) == 1 else f"{rule.endpoint}.{method.lower()}"
            paths.setdefault(_VARIABLE.sub(r"{\g<name>}", rule.rule), {})[method.lower()] = {
                "operationId": operation_id,
                **entry,
            }
    return {
        "openapi": "3.1.0",
        "info": {"title": state_of(app).service_name, "version": "1"},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operations(app: Flask) -> Iterator[tuple[Rule, Declaration]]:
    for rule in sorted(app.url_map.iter_rules(), key=lambda one: (one.rule, one.endpoint)):
        declared = declaration_of(app.view_functions[rule.endpoint])
        if declared is not None:
            yield rule, declared


def _schemas(declared: list[Declaration]) -> tuple[Named, dict[str, Any]]:
    sent = {one.body for one in declared if one.body} | {one.query for one in declared if one.query}
    given: set[type[BaseModel]] = {one.answer for one in declared if one.answer} | {Problem}
    given |= {other for one in declared for other in one.also.values()}
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        *((model, "validation") for model in sorted(sent, key=_name)),
        *((model, "serialization") for model in sorted(given, key=_name)),
    ]
    named, definitions = models_json_schema(wanted, ref_template=_REF)
    queries = {one.query.__name__ for one in declared if one.query}
    schemas = {name: schema for name, schema in definitions["$defs"].items() if name not in queries}
    return named, schemas


def _name(model: type[BaseModel]) -> str:
    return f"{model.__module__}.{model.__qualname__}"


def _operation(app: Flask, rule: Rule, declared: Declaration, named: Named) -> dict[str, Any]:
    access = state_of(app).rules[rule.endpoint]
    successes: dict[str, dict[str, Any]] = {str(declared.status): {"description": "Done"}}
    if declared.answer is not None:
        for status, answer in {declared.status: declared.answer, **declared.also}.items():
            schema = named[answer, "serialization"]
            described = {"description": "Done" if status == declared.status else _first_line(answer)}
            successes[str(status)] = {**described, "content": {"application/json": {"schema": schema}}}
    if "return" in declared.files:
        successes[str(declared.status)]["content"] = _FILE
    content = {problem.CONTENT_TYPE: {"schema": named[Problem, "serialization"]}}
    statuses = {400, 429, 500, 503, *declared.refuses}
    statuses |= set() if access.public else {401}
    statuses |= set() if access.public or access.without_factor else {403}
    # A part that no view may get is not found; where the address has other methods, Werkzeug says 405.
    statuses |= {404, 405} if rule.arguments else set()
    statuses |= {409} if (rule.methods or set()) - SAFE_METHODS else set()  # another request was faster
    statuses |= {413, 415} if declared.body else set()
    statuses |= {422} if declared.body or declared.query else set()
    statuses |= {413, 415, 422} if "body" in declared.files else set()
    entry: dict[str, Any] = {
        "summary": declared.summary,
        "security": [] if access.public else [{"bearer": sorted(access.permissions)}],
        "parameters": [*_path_parameters(rule), *_query_parameters(declared)],
        "responses": {
            **successes,
            **{str(status): {"description": TEXTS[status][0], "content": content} for status in sorted(statuses)},
        },
    }
    if access.fresh:
        seconds = state_of(app).limits.fresh_login_seconds
        entry["description"] = _FRESH.format(seconds=seconds)
        entry["x-fresh-login-seconds"] = seconds
    if access.without_factor:
        entry["description"] = " ".join(filter(None, (entry.get("description"), _WITHOUT_FACTOR)))
    if declared.body is not None:
        schema = named[declared.body, "validation"]
        entry["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if "body" in declared.files:
        entry["requestBody"] = {"required": True, "content": _FILE}
    return entry


def _first_line(of: object) -> str:
    return (inspect.getdoc(of) or "").split("\n")[0]


def _path_parameters(rule: Rule) -> Iterator[dict[str, Any]]:
    for variable in _VARIABLE.finditer(rule.rule):
        schema = _PATH_TYPES.get(variable["kind"] or "", _PART)
        yield {"name": variable["name"], "in": "path", "required": True, "schema": schema}


def _query_parameters(declared: Declaration) -> Iterator[dict[str, Any]]:
    if declared.query is None:
        return
    schema = declared.query.model_json_schema(ref_template=_REF)
    for name, described in schema.get("properties", {}).items():
        yield {"name": name, "in": "query", "required": name in schema.get("required", []), "schema": described}
