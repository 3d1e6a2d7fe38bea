"""Whether a piece of Python stands where it runs: code is compared by its syntax tree, never as text.

A fix in a comment, in a string, after a `return`, under `if False:` or in a function that was defined anew satisfies a
search of text. Here dead code is taken out first, and a piece has to stand where its function always comes by.
"""

from __future__ import annotations

import ast
import functools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Final

_IGNORED: Final = frozenset({"ctx", "type_comment", "kind", "returns", "annotation", "type_params"})
"""What of a tree says nothing about what it does."""
Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = ast.Module | ast.ClassDef | Function
_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_ANYTHING: Final = "_"


@functools.lru_cache(maxsize=2048)
def parse(source: bytes) -> ast.Module | None:
    """The live code of a module, as Python reads these bytes; None if it is no Python, or too deep to be looked at."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python would print lines of a stranger's source
            module: ast.Module = _Live().visit(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return module


def snippet(text: str) -> list[ast.stmt]:
    """The pattern that a text is: `_` stands for any expression, `...` for any further arguments or statements.

    Raises ValueError if it is no Python, or nothing.
    """
    module = parse(text.encode())
    if module is None or not module.body:
        raise ValueError(f"{text!r} is no piece of Python")
    return module.body


def scope(module: ast.Module, path: str) -> Scope | None:
    """The function or class that a dotted path names, the module for ""; None if a name means nothing or two things."""
    found: Scope = module
    for name in path.split(".") if path else ():
        bound = [node for node in found.body if isinstance(node, (ast.ClassDef, Function)) and node.name == name]
        if len(bound) != 1 or bindings(found).count(name) != 1:
            return None
        found = bound[0]
    return found


def stands_in(pattern: Sequence[ast.stmt], within: Scope) -> bool:
    """Whether it stands in the scope where that always comes by, and what it gives a name to keeps that meaning."""
    try:
        for body in _always(within):
            if _is_expression(pattern):
                if any(_same(pattern[0].value, node) for statement in body for node in _evaluated(statement)):  # type: ignore[attr-defined]
                    return True
            elif any(_begins(pattern, body[at:]) for at in range(len(body))):
                return isinstance(within, Function) or _keeps(pattern, within)
    except RecursionError:
        return False
    return False


def stands_anywhere(pattern: Sequence[ast.stmt], within: Scope) -> bool:
    """Whether it stands in the scope at all, under conditions and in functions of functions too."""
    try:
        if _is_expression(pattern):
            return any(_same(pattern[0].value, node) for node in ast.walk(within))  # type: ignore[attr-defined]
        return any(
            _begins(pattern, body[at:])
            for node in ast.walk(within)
            for body in (getattr(node, field, None) for field in ("body", "orelse", "finalbody"))
            if isinstance(body, list)
            for at in range(len(body))
        )
    except RecursionError:
        return True  # not to be looked at: as bad as if it stood there


def bindings(within: Scope) -> list[str]:
    """Every name that the scope gives a meaning to, as often as it does so; "*" if it takes names from elsewhere."""
    found: list[str] = []
    waiting: list[ast.AST] = list(within.body)
    while waiting:
        node = waiting.pop()
        found += _bound(node)
        if isinstance(node, _SCOPES):
            # Its own names are its own, but for those that it declares to be the module's.
            found += [name for inner in ast.walk(node) if isinstance(inner, ast.Global) for name in inner.names]
        else:
            waiting.extend(ast.iter_child_nodes(node))
    return found


def names_bound_by(pattern: Sequence[ast.stmt]) -> set[str]:
    """The names that a piece gives a meaning to, at its own level."""
    return {name for statement in pattern for name in _bound_in(statement)}


def _bound(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.alias(name=name, asname=None):
            return [name.partition(".")[0]]
        case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
            return [name]
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
            return [name]
        case _:
            return []


def _bound_in(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, _SCOPES):
        yield from _bound(statement)
    else:
        for node in ast.walk(statement):
            yield from _bound(node)


def _keeps(pattern: Sequence[ast.stmt], within: Scope) -> bool:
    bound = bindings(within)
    return "*" not in bound and all(bound.count(name) == 1 for name in names_bound_by(pattern))


# --- where a scope always comes by -----------------------------------------------------------------------------------


def _always(within: Scope) -> Iterator[list[ast.stmt]]:
    """The bodies of a scope that run whenever it does."""
    waiting = [within.body]
    while waiting:
        body = waiting.pop()
        yield body
        for node in body:
            if isinstance(node, ast.With | ast.AsyncWith):
                waiting.append(node.body)
            elif isinstance(node, ast.Try | ast.TryStar):
                waiting += [node.body, node.finalbody]


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """The expressions that are evaluated whenever this statement is reached."""
    match node:
        case ast.If(test=first) | ast.While(test=first) | ast.For(iter=first) | ast.AsyncFor(iter=first):
            yield from _evaluated(first)
        case ast.Match(subject=first):
            yield from _evaluated(first)
        case ast.IfExp(test=first):
            yield node
            yield from _evaluated(first)
        case ast.BoolOp(values=[first, *_]):
            yield node
            yield from _evaluated(first)
        case ast.Compare(left=left, comparators=[right, *_]):
            yield node
            yield from _evaluated(left)
            yield from _evaluated(right)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            yield node
            yield from _evaluated(node.generators[0].iter)
        case ast.With() | ast.AsyncWith():
            for item in node.items:
                yield from _evaluated(item.context_expr)
        case ast.Lambda():
            yield node
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            for decorator in node.decorator_list:
                yield from _evaluated(decorator)
        case ast.Try() | ast.TryStar():
            return  # its bodies come by themselves
        case _:
            if isinstance(node, ast.expr):
                yield node
            for child in ast.iter_child_nodes(node):
                yield from _evaluated(child)


# --- comparing -------------------------------------------------------------------------------------------------------


def _is_expression(pattern: Sequence[ast.stmt]) -> bool:
    return len(pattern) == 1 and isinstance(pattern[0], ast.Expr)


def _is_rest(node: object) -> bool:
    value = node.value if isinstance(node, ast.Expr) else node
    return isinstance(value, ast.Constant) and value.value is ...


def _begins(pattern: Sequence[ast.stmt], body: Sequence[ast.stmt]) -> bool:
    """Whether these statements begin with the pattern."""
    return _sequence([*pattern, ast.Expr(ast.Constant(...))], body)


def _sequence(pattern: Sequence[Any], nodes: Sequence[Any]) -> bool:
    """Whether the nodes are these, one by one; `...` stands for any number of them."""
    at = mark = 0
    rest = -1  # the last `...`, and how far what it stands for has been tried: it may always take one more
    for_node = 0
    while for_node < len(nodes):
        if at < len(pattern) and _is_rest(pattern[at]):
            rest, mark, at = at, for_node, at + 1
        elif at < len(pattern) and _same(pattern[at], nodes[for_node]):
            at, for_node = at + 1, for_node + 1
        elif rest >= 0:
            mark += 1
            at, for_node = rest + 1, mark
        else:
            return False
    return all(_is_rest(one) for one in pattern[at:])


def _same(pattern: Any, node: Any) -> bool:
    if isinstance(pattern, ast.Name) and pattern.id == _ANYTHING:
        return isinstance(node, ast.expr)
    if isinstance(pattern, list):
        return isinstance(node, list) and _sequence(pattern, node)
    if type(pattern) is not type(node):
        return False
    if isinstance(pattern, ast.Call):
        return _same(pattern.func, node.func) and _arguments(pattern, node)
    if isinstance(pattern, ast.Dict):
        return _entries(pattern, node)
    if isinstance(pattern, ast.Constant):
        return type(pattern.value) is type(node.value) and pattern.value == node.value
    if isinstance(pattern, ast.AST):
        return all(
            _same(getattr(pattern, field, None), getattr(node, field, None))
            for field in pattern._fields
            if field not in _IGNORED
        )
    return bool(pattern == node)


def _arguments(pattern: ast.Call, node: ast.Call) -> bool:
    """Arguments by place are compared in order, those by name by their names; `...` lets further ones be."""
    more = any(_is_rest(argument) for argument in pattern.args)
    named: dict[str | None, ast.expr] = {keyword.arg: keyword.value for keyword in node.keywords}
    wanted: dict[str | None, ast.expr] = {keyword.arg: keyword.value for keyword in pattern.keywords}
    return (
        _sequence(pattern.args, node.args)
        and (more or named.keys() == wanted.keys())
        and all(name in named and _same(value, named[name]) for name, value in wanted.items())
    )


def _entries(pattern: ast.Dict, node: ast.Dict) -> bool:
    wanted = [pair for pair in zip(pattern.keys, pattern.values, strict=True) if not _is_rest(pair[0])]
    if len(wanted) == len(pattern.keys) and len(node.keys) != len(wanted):
        return False
    return all(
        any(_same(key, other) and _same(value, held) for other, held in zip(node.keys, node.values, strict=True))
        for key, value in wanted
    )


# --- taking dead code out --------------------------------------------------------------------------------------------


class _Live(ast.NodeTransformer):
    """A module without what never runs, without docstrings, and with `x: int = 1` as the `x = 1` that it does."""

    def visit(self, node: ast.AST) -> Any:
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                setattr(node, field, list(_live(statements)))
        return super().visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return None
        return self.generic_visit(ast.copy_location(ast.Assign([node.target], node.value), node))

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        truth = _truth(node.test)
        return self.generic_visit(node) if truth is None else self.visit(node.body if truth else node.orelse)

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        decides = isinstance(node.op, ast.Or)  # a value that is always so ends the chain
        for at, value in enumerate(node.values):
            if _truth(value) is decides:
                node.values = node.values[: at + 1]
                break
        return self.generic_visit(node) if len(node.values) > 1 else self.visit(node.values[0])


def _live(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in statements:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            if statement.value.value is ...:
                yield statement  # of a pattern; in code it does nothing
            continue
        chosen = [statement]
        if isinstance(statement, ast.If | ast.While):
            truth = _truth(statement.test)
            if truth is False:
                chosen = list(_live(statement.orelse))
            elif truth and isinstance(statement, ast.If):
                chosen = list(_live(statement.body))
        elif isinstance(statement, ast.For) and _truth(statement.iter) is False:
            chosen = list(_live(statement.orelse))
        yield from chosen
        if any(_ends(one) for one in chosen):
            return


def _ends(statement: ast.stmt) -> bool:
    """Whether nothing after this statement runs."""
    match statement:
        case ast.Return() | ast.Raise() | ast.Continue() | ast.Break():
            return True
        case ast.Assert(test=test):
            return _truth(test) is False
        case ast.If(body=body, orelse=orelse):
            return any(map(_ends, body)) and any(map(_ends, orelse))
        case ast.With(body=body) | ast.AsyncWith(body=body):
            return any(map(_ends, body))
        case ast.Try(body=body, handlers=handlers, finalbody=finalbody):
            ended = any(map(_ends, body)) and all(any(map(_ends, handler.body)) for handler in handlers)
            return ended or any(map(_ends, finalbody))
        case ast.While(test=test, body=body):
            return _truth(test) is True and not any(
                isinstance(node, ast.Break) for one in body for node in ast.walk(one)
            )
        case _:
            return False


def _truth(node: ast.expr) -> bool | None:
    """Whether it is always true or always false; None if that depends."""
    match node:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return False
        case ast.Name(id="__debug__"):
            return True
        case ast.Constant(value=value):
            return bool(value)
        case ast.NamedExpr(value=inner):
            return _truth(inner)
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            truth = _truth(inner)
            return None if truth is None else not truth
        case ast.BoolOp(op=operation, values=values):
            truths = [_truth(value) for value in values]
            decides = isinstance(operation, ast.Or)
            return decides if decides in truths else None if None in truths else not decides
        case ast.Tuple(elts=[]) | ast.List(elts=[]) | ast.Set(elts=[]) | ast.Dict(keys=[]):
            return False
        case ast.Compare(left=ast.Constant(value=left), ops=[operator], comparators=[ast.Constant(value=right)]):
            return _compared(left, operator, right)
        case _:
            return None


def _compared(left: Any, operator: ast.cmpop, right: Any) -> bool | None:
    try:
        match operator:
            case ast.Eq() | ast.Is():
                return bool(left == right)
            case ast.NotEq() | ast.IsNot():
                return bool(left != right)
            case ast.Lt():
                return bool(left < right)
            case ast.LtE():
                return bool(left <= right)
            case ast.Gt():
                return bool(left > right)
            case ast.GtE():
                return bool(left >= right)
            case _:
                return None
    except TypeError:
        return None
