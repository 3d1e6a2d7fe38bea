"""Resolve the URL prefix of each blueprint, so that a route is listed with its full path.

`@bp.route("/login")` is /auth/login if `bp` was registered below /auth, which mostly stands in another module.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import PurePosixPath

Key = tuple[str, str]
"""A variable: the last part of the name of the module that made it, and its name there."""


class Prefixes:
    """What url_prefix says of each blueprint; where it is registered counts more than where it is made."""

    def __init__(self) -> None:
        self._made: dict[Key, str] = {}
        self._registered: dict[Key, str] = {}

    def read(self, file: str, module: ast.Module) -> None:
        """Note what a module says."""
        names = variables(file, module)
        for node in ast.walk(module):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(keywords=keywords)):
                    if prefix := _prefix(keywords):
                        self._made[module_of(file), name] = prefix
                case ast.Call(func=ast.Attribute(attr="register_blueprint"), args=[blueprint, *_], keywords=keywords):
                    if prefix := _prefix(keywords):
                        self._registered[key_of(blueprint, file, names)] = prefix

    def all(self) -> dict[Key, str]:
        """The address of each, after all modules were read."""
        return self._made | self._registered


def variables(file: str, module: ast.Module) -> dict[str, Key]:
    """What the names of a module mean that it took from others."""
    return {
        alias.asname or alias.name: ((node.module or module_of(file)).rpartition(".")[2], alias.name)
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def key_of(node: ast.expr, file: str, names: Mapping[str, Key]) -> Key:
    """The variable that an expression like `bp` or `auth.bp` means."""
    match node:
        case ast.Name(id=name):
            return names.get(name, (module_of(file), name))
        case (
            ast.Attribute(value=ast.Name(id=module), attr=name)
            | ast.Attribute(value=ast.Attribute(attr=module), attr=name)
        ):
            return names.get(module, ("", module))[1], name
        case _:
            return "", ""


def module_of(file: str) -> str:
    """The last part of a module's name: of a package, the package's."""
    path = PurePosixPath(file)
    return path.parent.name if path.name == "__init__.py" else path.stem


def _prefix(keywords: list[ast.keyword]) -> str:
    for keyword in keywords:
        if keyword.arg == "url_prefix" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value or "").rstrip("/")
    return ""
