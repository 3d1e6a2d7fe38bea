"""The routes of an application and what guards each, by its syntax tree: none may be without a rule afterwards.

The template refuses to start while a route has no access rule. So each is listed beforehand, with its place and
the decorator that replaces its present guard.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from .blueprints import Key, key_of, variables

MOST: Final = 5000
"""Routes of one application."""
_VERBS: Final = frozenset({"route", "get", "post", "put", "patch", "delete"})
_LONGEST: Final = 200
DECIDE: Final = "decide: @login_required, @requires(...), or @public if it needs no login"
_RULES: Final = {
    "login_required": "@login_required of .bastion, in place of the one that is imported now",
    "auth_required": "@login_required",
    "token_required": "@login_required",
    "jwt_required": "@login_required",
    "fresh_login_required": "@login_required(fresh=True)",
    "fresh_jwt_required": "@login_required(fresh=True)",
    "roles_required": "@requires(...)",
    "roles_accepted": "@requires(...)",
    "role_required": "@requires(...)",
    "permission_required": "@requires(...)",
    "permissions_required": "@requires(...)",
    "admin_required": "@requires(...)",
    "requires": "@requires(...)",
    "public": "@public",
}
"""What a guard that is known by its name becomes."""


_MODULES: Final = frozenset({"flask_login", "flask_security"})
_OF_AN_OBJECT: Final = (
    "decide: @login_required of .bastion takes the session cookie (auth=session) or the access token (auth=jwt) of"
    " bastion, and no password or token that {} checks now"
)
"""For HTTPBasicAuth and HTTPTokenAuth of Flask-HTTPAuth, whose clients sign in with each request."""


@dataclass(frozen=True, slots=True)
class Route:
    """One address of an application: where it is declared, by which guard it is held now, and what that becomes."""

    path: str
    view: str
    file: str
    line: int
    guard: str  # "" without a guard
    becomes: str


def placed(found: Iterable[tuple[Key, Route]], prefixes: Mapping[Key, str]) -> list[Route]:
    """The routes with the addresses that they have below those of their blueprints."""
    return [replace(route, path=f"{prefixes.get(key, '')}{route.path}"[:_LONGEST]) for key, route in found]


def routes(file: str, module: ast.Module) -> list[tuple[Key, Route]]:
    """The routes that a module declares by decorators, add_url_rule() and add_resource(), each with its blueprint."""
    return sorted(_routes(file, module), key=lambda one: (one[1].line, one[1].path))


def _routes(file: str, module: ast.Module) -> Iterator[tuple[Key, Route]]:
    names = variables(file, module)

    def on(call: ast.expr) -> Key:
        is_method = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        return key_of(call.func.value, file, names) if is_method else ("", "")  # type: ignore[attr-defined]

    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            guard, becomes = _guard(node)
            for decorator in node.decorator_list:
                if (path := _path(decorator, _VERBS)) is not None:
                    yield on(decorator), Route(path, node.name, file, node.lineno, guard, becomes)
        elif isinstance(node, ast.Call):
            if (path := _path(node, frozenset({"add_url_rule"}))) is not None:
                view = next((keyword.value for keyword in node.keywords if keyword.arg == "view_func"), None)
                view = view or (node.args[2] if len(node.args) > 2 else None)
                yield on(node), Route(path, _view(view), file, node.lineno, "", DECIDE)
            elif _called(node) == "add_resource" and node.args:
                for one in node.args[1:]:
                    if isinstance(one, ast.Constant) and isinstance(one.value, str):
                        yield on(node), Route(one.value[:_LONGEST], _view(node.args[0]), file, node.lineno, "", DECIDE)


def _path(node: ast.expr, names: frozenset[str]) -> str | None:
    """The address that a call like `app.route("/x")` declares; None for any other expression."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr not in names:
        return None
    given = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "rule")]
    if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
        path = given[0].value
        return path[:_LONGEST] if path == "" or path.startswith(("/", "<")) else None
    return "(computed)" if given and node.func.attr in ("route", "add_url_rule") else None


def _guard(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> tuple[str, str]:
    """The decorator that seems to guard a view, and what it becomes."""
    for decorator in node.decorator_list:
        name = _called(decorator)
        if rule := _RULES.get(name):
            options = {keyword.arg: keyword.value for keyword in getattr(decorator, "keywords", ())}
            if _is_true(options.get("optional")):
                return name, "@public, and ask current_user.is_authenticated inside"
            if _is_true(options.get("refresh")):
                return name, "nothing: the template exchanges refresh tokens itself"
            if _is_true(options.get("fresh")):
                return name, "@login_required(fresh=True)"
            if name == "login_required" and (owner := _owner(decorator)):
                return f"{owner}.{name}"[:_LONGEST], "@requires(...)" if "role" in options else _OF_AN_OBJECT.format(
                    owner
                )
            return name, rule
    others = [_called(one) for one in node.decorator_list if _path(one, _VERBS) is None and _called(one)]
    if others:
        return "", f"{DECIDE} (is @{others[-1][:_LONGEST]} a guard?)"
    return "", DECIDE


def _called(node: ast.expr) -> str:
    """The last name of what a decorator or call is: `login_required` of `@auth.login_required(...)`."""
    function = node.func if isinstance(node, ast.Call) else node
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _owner(node: ast.expr) -> str:
    """The object that a decorator is a method of: `token_auth` of `@token_auth.login_required`; "" for a module's."""
    function = node.func if isinstance(node, ast.Call) else node
    if not isinstance(function, ast.Attribute) or _called(function.value) in _MODULES:
        return ""
    return _called(function.value)


def _view(node: ast.expr | None) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "as_view":
        return _view(node.func.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True
