"""Finds SQL that is put together from text, by reading the source: a form that no request reaches is found as well.

It stops a later commit from building one statement with an f-string, which then is a statement of whoever fills it.
Accepted are literals, and what SQLAlchemy composes with bound parameters. Source: ASVS 1.2.4; CWE-89.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

# Their first argument is SQL, whatever it is: only a literal, or a name that is bound to literals alone.
TEXT = frozenset({"text", "literal_column", "DDL", "TextClause", "exec_driver_sql", "executescript"})
# They take composed statements and clauses; a text that was put together is none.
COMPOSED = frozenset(
    (
        *("execute", "executemany", "scalar", "scalars", "from_statement", "select_from", "where", "filter"),
        *("order_by", "group_by", "having", "prefix_with", "suffix_with"),
    )
)


class Checker(ast.NodeVisitor):
    """Looks at each call that takes SQL in one module: `looked_at` are their names, `faults` is "line: what"."""

    def __init__(self, source: str) -> None:
        self.looked_at: list[str] = []
        self.faults: list[str] = []
        tree = ast.parse(source)
        nodes = [*ast.walk(tree)]
        self._of_sqlalchemy = {"sa", "sqlalchemy", "db", *_imported(nodes)}
        self._values: dict[str, list[ast.expr]] = {}
        for name, value in _assigned(nodes):
            self._values.setdefault(name, []).append(value)
        self.visit(tree)

    def visit_Call(self, node: ast.Call) -> None:
        """Judge one call, and those in its arguments."""
        name = _name(node.func)
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        if name in TEXT and (name != "text" or self._is_sqlalchemys(node.func)):
            self.looked_at.append(name)
            if given and not self._is_literal(given[0]):
                self.faults.append(f"{node.lineno}: {name}() of something that is no literal")
        elif name in COMPOSED and isinstance(node.func, ast.Attribute):
            self.looked_at.append(name)
            if [value for value in given if self._is_built(value)]:
                self.faults.append(f"{node.lineno}: {name}() of a text that was put together")
        self.generic_visit(node)

    def _is_sqlalchemys(self, function: ast.expr) -> bool:
        """Many things are called text(); meant is the one of SQLAlchemy."""
        while isinstance(function, ast.Attribute):
            function = function.value
        return isinstance(function, ast.Name) and function.id in self._of_sqlalchemy

    def _is_literal(self, value: ast.expr) -> bool:
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
            return self._is_literal(value.left) and self._is_literal(value.right)
        if isinstance(value, ast.Name):
            bound = self._values.get(value.id, [])
            return bool(bound) and all(isinstance(one, ast.Constant) for one in bound)
        return isinstance(value, ast.Constant)

    def _is_text(self, value: ast.expr) -> bool:
        if isinstance(value, ast.Name):
            return any(isinstance(one, ast.Constant) for one in self._values.get(value.id, []))
        return isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))

    def _is_built(self, value: ast.expr) -> bool:
        """An f-string with a value in it, a sum or % of texts, .format() or .join() of a text, or a name of one."""
        if isinstance(value, ast.JoinedStr):
            return any(isinstance(part, ast.FormattedValue) for part in value.values)
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add | ast.Mod):
            parts = (value.left, value.right)
            texts = any(self._is_text(part) or self._is_built(part) for part in parts)
            return texts and not self._is_literal(value)
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            return value.func.attr in ("format", "join") and self._is_text(value.func.value)
        if isinstance(value, ast.Name):
            return any(self._is_built(one) for one in self._values.get(value.id, []) if not _mentions(one, value.id))
        return False


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _mentions(value: ast.expr, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(value))


def _imported(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """Names under which SQLAlchemy, or something of it, is known in this module."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sqlalchemy":
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "sqlalchemy":
                    yield alias.asname or "sqlalchemy"


def _assigned(nodes: Sequence[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """Each name with what is assigned to it; `name += value` is a sum of both."""
    for node in nodes:
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, ast.JoinedStr([ast.FormattedValue(node.value, -1)])
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value
        elif isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))


def check(folder: Path) -> tuple[list[str], list[str]]:
    """All modules below `folder`: what was looked at, and the faults, each with the module's path."""
    looked_at: list[str] = []
    faults: list[str] = []
    for file in sorted(folder.rglob("*.py")):
        checker, where = Checker(file.read_text("utf-8")), file.relative_to(folder).as_posix()
        looked_at += [f"{where}: {name}" for name in checker.looked_at]
        faults += [f"{where}:{fault}" for fault in checker.faults]
    return looked_at, faults
