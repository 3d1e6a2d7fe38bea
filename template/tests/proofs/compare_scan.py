"""Finds comparisons of a secret that end at the first difference: ==, !=, in, startswith.

It stops a later commit from bringing one in: whoever measures such a comparison finds the secret piece by piece. What
is a secret is told by its name, so the names are chosen widely. Source: ASVS 11.2.4; CWE-208.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

# The last word of the name of what only its owner knows; what may stand behind it; and what may stand before the words
# that mean something harmless as well: a code, a key.
WORDS = frozenset(
    (
        *("token", "secret", "password", "passwd", "passphrase", "credential", "csrf", "otp", "totp", "pin", "seed"),
        *("signature", "digest", "hexdigest", "mac", "hmac", "reveal", "apikey"),
    )
)
TAILS = frozenset({"hash", "digest", "value", "text", "data", "hex"})
BEFORE = {
    "code": frozenset({"recovery", "backup", "login", "reset", "sms", "confirmation", "verification", "activation"}),
    "key": frozenset({"api", "secret", "private", "access", "signing", "data", "throttle"}),
}
UNCHANGED = frozenset({"encode", "decode", "strip", "rstrip", "lstrip", "lower", "upper", "casefold", "hex", "replace"})
BY_NAME = frozenset({"get", "getlist", "pop"})
PREFIXES = frozenset({"startswith", "endswith", "__eq__", "__ne__"})


def comparisons(tree: ast.Module, nodes: Sequence[ast.AST]) -> Iterator[tuple[ast.AST, str]]:
    """Each place of a module, of which these are all nodes, and what is compared there."""
    columns, literals = {*_columns(nodes)}, {*_literals(tree)}
    for node in nodes:
        for left, right in _pairs(node):
            if any(isinstance(side, ast.Name) and side.id in literals for side in (left, right)):
                continue
            # A look-up by the hash of a secret, in a statement for the database, is as good.
            names = [name for side in (left, right) if (name := secret(side)) and not _is_lookup(side, columns)]
            if names and not any(_is_lookup(side, columns) for side in (left, right)):
                yield node, f"{' and '.join(names)} compared; use hmac.compare_digest, or look up its SHA-256"


def _pairs(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What is compared with what, unless it is known to everybody."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
            contains = isinstance(operator, ast.In | ast.NotIn)
            if not (contains or isinstance(operator, ast.Eq | ast.NotEq)):
                continue
            if contains and isinstance(left, ast.Constant):  # "=" in token
                continue
            if not (_is_known(left) or _is_known(right)):
                yield left, right
    elif isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in ("eq", "ne") and len(node.args) == 2:  # of the module operator
            yield node.args[0], node.args[1]
        elif name in PREFIXES and isinstance(node.func, ast.Attribute):
            yield from ((node.func.value, part) for part in node.args[:1] if not isinstance(part, ast.Constant))


def _is_known(value: ast.expr) -> bool:
    """Nothing, a number, an empty text, or several of these."""
    if isinstance(value, ast.Tuple | ast.List | ast.Set):
        return all(_is_known(one) for one in value.elts)
    return isinstance(value, ast.Constant) and (not isinstance(value.value, str | bytes) or not value.value)


def secret(value: ast.expr) -> str:
    """The name of the secret that an expression is, or holds; empty when it is none."""
    if isinstance(value, ast.Name):
        return _known_as(value.id)
    if isinstance(value, ast.Attribute):
        if value.attr in ("data", "value", "raw_data"):  # form.code.data
            return _known_as(value.value.attr) if isinstance(value.value, ast.Attribute) else secret(value.value)
        return "" if value.attr == "code" else _known_as(value.attr)  # error.code is a status
    if isinstance(value, ast.Subscript):  # session["token"], token[:8]
        return _text(value.slice) or secret(value.value)
    if isinstance(value, ast.Call):
        return _of_call(value)
    parts = [part for part in ast.iter_child_nodes(value) if isinstance(part, ast.expr)]
    return next((name for part in parts if (name := secret(part))), "")


def _of_call(call: ast.Call) -> str:
    if not isinstance(call.func, ast.Attribute):
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        return secret(call.args[0]) if name in ("str", "bytes", "bytearray") and call.args else _known_as(name)
    if call.func.attr in UNCHANGED:
        return secret(call.func.value)
    if call.func.attr in BY_NAME and call.args:  # request.headers.get("X-Api-Token")
        return _text(call.args[0])
    return _known_as(call.func.attr)


def _text(value: ast.expr) -> str:
    return _known_as(value.value) if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _known_as(name: str) -> str:
    """The name, if it is that of a secret."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_").strip("_").split("_")
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    singular = last.removesuffix("s")
    known = last in WORDS or singular in WORDS or (last in TAILS and before in WORDS)
    return name if known or before in BEFORE.get(singular, ()) or singular == name == "code" else ""


def _is_lookup(value: ast.expr, columns: set[str]) -> bool:
    """A column that holds hashes, in a statement for the database."""
    if not isinstance(value, ast.Attribute) or not value.attr.endswith("_hash"):
        return False
    if isinstance(value.value, ast.Attribute):
        return value.value.attr in ("c", "columns")
    name = value.value.id if isinstance(value.value, ast.Name) else ""
    return name in columns or re.fullmatch(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*", name) is not None


def _literals(tree: ast.Module) -> Iterator[str]:
    """Constants of the module whose value stands in it: they are known to everybody who reads the source."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            values = node.value.elts if isinstance(node.value, ast.Tuple | ast.List | ast.Set) else [node.value]
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if all(isinstance(value, ast.Constant) for value in values):
                yield from (target.id for target in targets if isinstance(target, ast.Name))


def _columns(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """The short names of columns: _s = AuthSession.__table__.c"""
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name | ast.Tuple):
            target, value = node.targets[0], node.value
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            values = value.elts if isinstance(value, ast.Tuple) else [value]
            for name, one in zip(names, values, strict=False):
                if isinstance(name, ast.Name) and isinstance(one, ast.Attribute) and one.attr in ("c", "columns"):
                    yield name.id
