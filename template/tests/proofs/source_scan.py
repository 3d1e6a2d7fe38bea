"""Finds what no module of the service may hold, the team's too: code of data, weak hashes, guessable numbers, leaky ==.

It stops a later commit from bringing one in on a path that no request of a test reaches. Source: ASVS 1.3, 1.5.1,
1.5.2, 11.2.4, 11.4.1, 11.5.1; CWE-94, CWE-78, CWE-502, CWE-611, CWE-338, CWE-328, CWE-208.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

# Modules that are not imported, each with the kind of fault that it is.
MODULES = {
    **dict.fromkeys(("pickle", "cPickle", "dill", "marshal", "shelve", "jsonpickle", "joblib", "code"), "code"),
    **dict.fromkeys(("xml", "lxml", "defusedxml", "xmltodict", "untangle"), "code"),
    "random": "random",
}
# Calls by the end of their name: builtins stand alone, the rest behind a dot or imported.
BUILTINS = frozenset({"eval", "exec", "compile", "__import__"})
NAMES = {
    **dict.fromkeys(("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"), "code"),
    **dict.fromkeys(
        ("render_template_string", "from_string", "extractall", "unpack_archive", "jinja2.Template"), "code"
    ),
    **dict.fromkeys(("yaml.load", "yaml.unsafe_load", "yaml.full_load"), "code"),
    **dict.fromkeys(("uuid1", "getrandbits", "randint", "randrange"), "random"),
    **dict.fromkeys(("md5", "sha1"), "hash"),
}
PATTERNS = frozenset({"compile", "match", "search", "fullmatch", "split", "sub", "subn", "findall", "finditer"})
WEAK = frozenset({"md4", "md5", "sha1", "sha", "ripemd160"})  # as a name: hashlib.new("md5")


class Checker(ast.NodeVisitor):
    """Looks at every import and call of one module: `looked_at` counts them, `faults` is (kind, "line: what")."""

    def __init__(self, source: str) -> None:
        self.looked_at = 0
        self.faults: list[tuple[str, str]] = []
        tree = ast.parse(source)
        nodes = [*ast.walk(tree)]
        self._from: dict[str, str] = {}
        self._texts = _capitals(nodes)
        self.visit(tree)
        for node, what in comparisons(tree, nodes):
            self._fault("compare", node, what)

    def _fault(self, kind: str, node: ast.AST, what: str) -> None:
        self.faults.append((kind, f"{getattr(node, 'lineno', 0)}: {what}"))

    def visit_Import(self, node: ast.Import) -> None:
        """A module by its name."""
        for alias in node.names:
            self._imported(node, alias.name)
            if alias.asname:
                self._from[alias.asname] = alias.name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Something out of a module; a name of `hashlib` or `os` is remembered for the calls of it."""
        if node.level:
            return
        self._imported(node, node.module or "")
        for alias in node.names:
            self._from[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def _imported(self, node: ast.AST, module: str) -> None:
        self.looked_at += 1
        if kind := MODULES.get(module.partition(".")[0]):
            self._fault(kind, node, f"import of {module}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """A weak hash that is named and not called: digest_method=hashlib.sha1."""
        if self._name(node) in ("hashlib.md5", "hashlib.sha1"):
            self._fault("hash", node, self._name(node))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """One call, and those in its arguments."""
        self.looked_at += 1
        name = self._name(node.func)
        last = name.rpartition(".")[2]
        if name in BUILTINS:
            self._fault("code", node, f"{name}()")
        for known, kind in NAMES.items():
            attribute = isinstance(node.func, ast.Attribute) and last == known and kind != "hash"
            if name == known or name.endswith(f".{known}") or attribute:
                self._fault(kind, node, f"{name}()")
        self._options(node, name)
        if name == "hashlib.new" and node.args and not self._strong(node.args[0]):
            self._fault("hash", node, "hashlib.new() of a weak or unknown algorithm")
        if last in ("format", "format_map") and isinstance(node.func, ast.Attribute):
            if not self._is_literal(node.func.value) and not self._of_sql(node.func.value):
                self._fault("code", node, f".{last}() of a text that is no literal")
        elif name.startswith("re.") and last in PATTERNS and node.args and not self._is_pattern(node.args[0]):
            self._fault("code", node, f"{name}() of a pattern that is made of data")
        elif last == "import_module" and node.args and not self._is_literal(node.args[0]):
            self._fault("code", node, "import_module() of a name that is made of data")
        self.generic_visit(node)

    def _options(self, node: ast.Call, name: str) -> None:
        for keyword in node.keywords:
            off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg == "shell" and not off:
                self._fault("code", node, f"{name}(shell=...)")

    def _name(self, function: ast.expr) -> str:
        """The dotted name of what is called, as far as it is known where it comes from."""
        if isinstance(function, ast.Attribute):
            return f"{self._name(function.value)}.{function.attr}"
        if isinstance(function, ast.Name):
            return self._from.get(function.id, function.id)
        return "?"

    def _is_literal(self, value: ast.expr) -> bool:
        """A text that stands in the source: a constant, a sum of those, or with constants of the module put in."""
        if isinstance(value, ast.Constant):
            return True
        if isinstance(value, ast.Name):
            return value.id in self._texts
        if isinstance(value, ast.BinOp):
            return self._is_literal(value.left) and self._is_literal(value.right)
        if isinstance(value, ast.Tuple):
            return all(self._is_literal(one) for one in value.elts)
        if isinstance(value, ast.JoinedStr):
            parts = [part.value for part in value.values if isinstance(part, ast.FormattedValue)]
            return all(self._is_literal(part) for part in parts)
        return False

    def _is_pattern(self, value: ast.expr) -> bool:
        """A literal, or data that went through re.escape() alone."""
        if isinstance(value, ast.Call):
            return self._name(value.func) == "re.escape"
        if isinstance(value, ast.BinOp):
            return self._is_pattern(value.left) and self._is_pattern(value.right)
        if isinstance(value, ast.JoinedStr):
            return all(self._is_pattern(part.value) for part in value.values if isinstance(part, ast.FormattedValue))
        return self._is_literal(value)

    def _of_sql(self, value: ast.expr) -> bool:
        """psycopg's SQL("...").format(), which quotes what it is given."""
        return isinstance(value, ast.Call) and self._name(value.func).endswith("sql.SQL")

    def _strong(self, value: ast.expr) -> bool:
        return isinstance(value, ast.Constant) and str(value.value).lower().replace("-", "") not in WEAK


def _capitals(nodes: Sequence[ast.AST]) -> set[str]:
    """Names in capitals, which a module binds once and imports from others: constants by this service's rule."""
    return {
        node.id for node in nodes if isinstance(node, ast.Name) and node.id.lstrip("_").isupper() and len(node.id) > 1
    }


@functools.cache
def checked(source: str) -> Checker:
    """What was found in this text: a function of it alone, which one proof for each kind of fault asks for."""
    return Checker(source)


def check(folder: Path) -> tuple[dict[str, int], dict[str, list[str]]]:
    """All modules below `folder`: module to how much was looked at in it, and kind to the faults with their module."""
    looked_at: dict[str, int] = {}
    faults: dict[str, list[str]] = {"code": [], "random": [], "hash": [], "compare": []}
    for file in sorted(folder.rglob("*.py")):
        checker, where = checked(file.read_text("utf-8")), file.relative_to(folder).as_posix()
        looked_at[where] = checker.looked_at
        for kind, fault in checker.faults:
            faults[kind].append(f"{where}:{fault}")
    return looked_at, faults


def reported(source: str, kind: str) -> Iterator[int]:
    """The lines of a sample in which faults of this kind are seen."""
    for found, fault in checked(source).faults:
        if found == kind:
            yield int(fault.partition(":")[0])


# --- comparisons of a secret that end at the first difference: ==, !=, in, startswith (CWE-208) ----------------------
# Whoever measures such a comparison finds the secret piece by piece. What is a secret is told by its name.

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
