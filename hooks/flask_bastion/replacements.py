"""Find where code outside bastion/ replaces a part of it while the program runs.

A fix that stands in its file protects nothing when a team's module assigns another function to its name, or to the
name of what calls it. Source is read as syntax trees and never run: names are followed through imports, aliases,
containers, helper functions and the team's own modules. What that can't decide is reported as such.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from . import syntax
from .finding import Finding

if TYPE_CHECKING:
    from .program import Files

MAX_REPLACEMENTS: Final = 50
"""Of one service; one is enough to look at the file."""
_LARGEST_BYTES: Final = 256 * 1024
"""Of a module; a longer one is a table that a program has written, or was made to take long."""
_MAX_ROUNDS: Final = 6
"""Through the names of a scope, and through the modules of a team: a chain of more aliases was made to tire this."""
_MAX_DEPTH: Final = 3
"""exec() of a text that calls exec()."""
_LONGEST_NAME: Final = 60

NOTHING, UNKNOWN, THING, MODULE = range(4)
"""What an expression may be: not of bastion, perhaps, a function, class or object of it, or one of its modules."""
_SYS_MODULES: Final = 4
_BASTION: Final = "bastion"
_REQUEST: Final = "current_user"
"""A proxy for the signed-in user: what it is given belongs to that user's row."""
_MODULES_BY_NAME: Final = frozenset(
    {"import_module", "__import__", "resolve_name", "getmodule", "get_objects", "get_referrers"}
)
_PASSES_ON: Final = frozenset(
    {"cast", "copy", "enumerate", "filter", "getattr", "iter", "list", "next", "reversed", "set", "sorted", "tuple"}
    | {"type", "unwrap", "vars", "zip"}
)
"""Functions whose result is an argument, a part of one, or a collection of them."""
_READ: Final = frozenset({"get", "values", "items", "copy", "pop", "setdefault"})
_SET_ATTRIBUTE: Final = frozenset({"setattr", "delattr", "__setattr__", "__delattr__"})
_SET_ITEM: Final = frozenset({"setitem", "delitem", "__setitem__", "__delitem__"})
_CHANGES: Final = frozenset(
    {"update", "pop", "clear", "setdefault", "popitem", "append", "insert", "extend", "remove", "add", "discard"}
)
"""Methods that change a dictionary, list or set in place."""
_IMPORT_SYSTEM: Final = frozenset({"__path__", "meta_path", "path_hooks", "path_importer_cache"})
_ONLY_LOOKS: Final = _PASSES_ON | {
    "isinstance", "issubclass", "callable", "hasattr", "dir", "repr", "str", "print", "len", "id", "hash", "bool",
    "getsource", "getfile", "getmembers", "files", "signature", "reload", *_SET_ATTRIBUTE, *_SET_ITEM,
}  # fmt: skip
"""Functions that a module can be handed to: they change nothing in it, or are looked at by themselves."""
_DATA: Final = re.compile(r"__dict__|_\w+|[A-Z][A-Z0-9_]*")
"""The name of a module's table, not of an object with methods of its own."""

Scope = ast.Module | ast.ClassDef | syntax.Function | ast.Lambda
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_MATTER: Final = (
    ast.Import, ast.ImportFrom, ast.Assign, ast.NamedExpr, ast.AugAssign, ast.For, ast.AsyncFor, ast.comprehension,
    ast.withitem, ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.Return, ast.Call, ast.ClassDef, *_FUNCTIONS,
)  # fmt: skip


_CURE: Final = (
    "Take it out. Register, subclass or override a page instead; what a team may loosen stands in exceptions.toml."
)
_CURE_UNKNOWN: Final = "Write it so that it can't reach a module of bastion/, or take it out."


@dataclass(frozen=True, slots=True)
class Replacement:
    """A place that gives a part of bastion another meaning; `certain` is False where that is only possible."""

    file: str
    line: int
    name: str
    certain: bool


def replacements(files: Files, package: str) -> list[Replacement]:
    """Each place in the code of the team that replaces, or may replace, a part of bastion/."""
    names = frozenset(files.names())
    team = _Team(names, package)
    found: list[Replacement] = []
    for name in sorted(filter(team.is_teams, names)):
        source = files.read(name) or b""
        if len(source) > _LARGEST_BYTES:
            if _BASTION.encode() in source:
                found.append(Replacement(name, 0, "code that is too long to be looked at", certain=False))
            continue
        module = syntax.parse(source)
        if module is not None:
            tree = _loaded_by_proofs(module) if is_conftest(name) else module
            team.modules[name] = _Module(name, tree, team, source)
    again = set(team.modules)
    for _ in range(_MAX_ROUNDS):
        changed = {name for name in sorted(again) if team.modules[name].learn()}
        again = {name for name, one in team.modules.items() if name in changed or one.sources & changed}
    for one in team.modules.values():
        found += one.replacements()
        if len(found) >= MAX_REPLACEMENTS:
            break
    return found[:MAX_REPLACEMENTS]


def findings(found: Iterable[Replacement]) -> list[Finding]:
    """What `check` reports of them."""
    return [
        Finding("code-replaced", "error", f"This replaces a part of bastion: {one.name}.", _CURE, one.file, one.line)
        if one.certain
        else Finding(
            "code-replaced",
            "warning",
            f"This may replace a part of bastion: {one.name}.",
            _CURE_UNKNOWN,
            one.file,
            one.line,
        )
        for one in found
    ]


def is_conftest(name: str) -> bool:
    """Whether pytest loads this file before it runs the proofs."""
    return name in ("conftest.py", "tests/conftest.py")


def fixture(node: ast.stmt) -> tuple[bool, bool]:
    """Whether a function is a fixture of pytest, and whether every test gets it."""
    for decorator in getattr(node, "decorator_list", ()):
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        if _last(function) == "fixture":
            keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
            every = any(one.arg == "autouse" and getattr(one.value, "value", True) for one in keywords)
            return True, every
    return False, False


def _loaded_by_proofs(module: ast.Module) -> ast.Module:
    """A conftest.py without the fixtures that a test has to ask for: what they patch, the proofs never see."""
    kept = [node for node in module.body if fixture(node) in ((False, False), (True, True))]
    return ast.Module(kept, [])


class _Team:
    """The modules of the team, what each of them gives a name to, and which helpers change their arguments."""

    def __init__(self, names: frozenset[str], package: str) -> None:
        self.names: Final = names
        self.ours: Final = f"src/{package}/bastion/"
        self.packages: Final = frozenset(name.split("/")[1] for name in names if name.startswith("src/"))
        self.stems: Final = frozenset(
            part.removesuffix(".py")
            for name in names
            if f"/{_BASTION}/" in name and name.endswith(".py")
            for part in name.partition(f"/{_BASTION}/")[2].split("/")
        )
        self.modules: dict[str, _Module] = {}
        self.helpers: set[str] = set()
        """Functions of the team that assign to an attribute of an argument."""

    def is_teams(self, name: str) -> bool:
        """Whether this is code that runs in the service, or before its proofs, and not the template's."""
        runs = name.startswith("src/") or "/" not in name or is_conftest(name)
        return runs and name.endswith(".py") and not name.startswith(self.ours)

    def file_of(self, path: Iterable[str]) -> str:
        """The file of a module; "" if the repository has none."""
        place = "/".join(path)
        found = (f"{root}{place}{end}" for root in ("src/", "") for end in (".py", "/__init__.py"))
        return next((one for one in found if one in self.names), "")


class _Module:
    """One module of the team: what its names may be, found out in rounds, and where it replaces something."""

    def __init__(self, file: str, tree: ast.Module, team: _Team, source: bytes) -> None:
        self.file: Final = file
        self.tree: Final = tree
        self.team: Final = team
        self.inside: Final = PurePosixPath(file.removeprefix("src/")).parent.parts
        self.names: dict[str, int] = {}
        self.others: dict[str, str] = {}
        """The team's own modules by the names that they have here."""
        self.sources: Final[set[str]] = set()
        """The team's own modules that names are taken from."""
        self.kept: dict[str, int] = {}
        """What attributes of the team's own objects hold (".x"), and what its functions return ("x()")."""
        self.texts: Final = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name) and isinstance(node.value.value, str)
        }
        self.mocks: Final = b"mock" in source
        self.modules: Final = b"modules" in source
        self.nodes: Final[dict[Scope, list[ast.AST]]] = {}
        self.found: list[Replacement] = []

    def learn(self) -> bool:
        """Go through all names once more; whether anything became known."""
        before = {name: is_a for name, is_a in (*self.names.items(), *self.kept.items()) if is_a}
        with contextlib.suppress(RecursionError):  # reported below
            self.names = self._scope(self.tree, {})
            self._visit(self.tree, self.names, report=False)
        return before != {name: is_a for name, is_a in (*self.names.items(), *self.kept.items()) if is_a}

    def replacements(self) -> list[Replacement]:
        """Where something is replaced, after all that can be known is."""
        self.found = []
        try:
            self._visit(self.tree, self.names, report=True)
        except RecursionError:
            self._report(self.tree, "code that is nested too deep", UNKNOWN)
        return sorted(set(self.found), key=lambda one: (one.line, one.name))

    def _nodes(self, scope: Scope) -> list[ast.AST]:
        found = self.nodes.get(scope)
        if found is None:
            found = self.nodes[scope] = [node for node in _own(scope) if _matters(node)]
        return found

    # --- names -------------------------------------------------------------------------------------------------------

    def _scope(self, scope: Scope, outer: Mapping[str, int]) -> dict[str, int]:
        """What the names in a scope may be: those around it, but for those that it binds itself."""
        bound: list[tuple[str, ast.expr | int | None]] = []
        if isinstance(scope, _FUNCTIONS):
            bound += _parameters(scope.args)
        for node in self._nodes(scope):
            bound += self._bound(node)
        names = dict(outer)
        names.update((name, NOTHING) for name, _ in bound)
        for _ in range(_MAX_ROUNDS):
            before = dict(names)
            for name, value in bound:
                is_a = value if isinstance(value, int) else self._is(value, names) if value else NOTHING
                names[name] = max(names[name], is_a)
            if names == before:
                break
        return names

    def _bound(self, node: ast.AST) -> Iterator[tuple[str, ast.expr | int | None]]:
        match node:
            case ast.Import() | ast.ImportFrom():
                yield from self._imported(node)
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    yield from self._targets(target, value)
            case ast.NamedExpr(target=target, value=value) | ast.AugAssign(target=target, value=value):
                yield from self._targets(target, value)
            case ast.For(target=target, iter=value) | ast.AsyncFor(target=target, iter=value):
                yield from self._targets(target, value)
            case ast.comprehension(target=target, iter=value):
                yield from self._targets(target, value)
            case ast.withitem(optional_vars=ast.expr() as target, context_expr=value):
                yield from self._targets(target, value)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, NOTHING
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, NOTHING
            case _:
                pass

    def _targets(self, target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr | None]]:
        """The names that a target binds; `a, b = x, y` one by one, otherwise each may be any part of the value."""
        parts = getattr(target, "elts", None)
        values = getattr(value, "elts", None) if isinstance(value, ast.Tuple | ast.List) else None
        if parts is not None:
            pairs = zip(parts, values, strict=True) if values and len(values) == len(parts) else None
            for part, one in pairs or ((part, value) for part in parts):
                yield from self._targets(part, one)
        elif isinstance(target, ast.Starred):
            yield from self._targets(target.value, value)
        elif isinstance(target, ast.Name):
            yield target.id, value

    def _imported(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, int]]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                path = alias.name.split(".")
                name = alias.asname or path[0]
                if alias.asname and _BASTION in path[1:]:
                    yield name, MODULE
                else:
                    yield name, _SYS_MODULES if alias.name == "sys.modules" else NOTHING
                    self._note(name, path if alias.asname else path[:1])
            return
        base = self.inside[: len(self.inside) - node.level + 1] if node.level else ()
        path = [*base, *(node.module.split(".") if node.module else ())]
        is_ours = _BASTION in path[1:] and path[0] in self.team.packages
        for alias in node.names:
            name, here = alias.asname or alias.name, [*path, alias.name]
            if is_ours or (alias.name == _BASTION and path[:1] and path[0] in self.team.packages):
                is_module = bool(self.team.file_of(here))
                yield name, NOTHING if alias.name == _REQUEST else MODULE if is_module else THING
            elif node.module == "sys" and alias.name == "modules":
                yield name, _SYS_MODULES
            else:
                file = self.team.file_of(path)
                other = self.team.modules.get(file)
                self.sources.add(file)
                if other and alias.name == "*":
                    yield from other.names.items()
                yield name, other.names.get(alias.name, NOTHING) if other else NOTHING
                self._note(name, here)

    def _note(self, name: str, path: list[str]) -> None:
        if (file := self.team.file_of(path)) in self.team.modules:
            self.others[name] = file
            self.sources.add(file)

    # --- what an expression may be -----------------------------------------------------------------------------------

    def _is(self, node: ast.expr | None, names: Mapping[str, int]) -> int:
        match node:
            case ast.Name(id=name):
                return names.get(name, names.get("*", NOTHING))
            case ast.Attribute():
                return self._attribute(node, names)
            case ast.Subscript(value=value, slice=key):
                return self._item(self._is(value, names), value, key, names)
            case ast.Call():
                return self._result(node, names)
            case ast.IfExp(body=one, orelse=other):
                return max(self._is(one, names), self._is(other, names))
            case ast.NamedExpr(value=value) | ast.Starred(value=value) | ast.Await(value=value):
                return self._is(value, names)
            case ast.BoolOp(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                return max((self._is(part, names) for part in parts), default=NOTHING)
            case ast.Dict(values=parts):
                return max((self._is(part, names) for part in parts), default=NOTHING)
            case ast.ListComp(elt=part) | ast.SetComp(elt=part) | ast.GeneratorExp(elt=part) | ast.DictComp(value=part):
                inner = dict(names)
                for loop in node.generators:
                    held = self._is(loop.iter, inner)  # once: nested ones would take exponential time
                    inner.update((name, held) for name, _ in self._targets(loop.target, loop.iter))
                return self._is(part, inner)
            case _:
                return NOTHING

    def _attribute(self, node: ast.Attribute, names: Mapping[str, int]) -> int:
        value, name = node.value, node.attr
        if isinstance(value, ast.Name):
            if name == "modules" and value.id == "sys":
                return _SYS_MODULES
            if name == _BASTION and value.id in self.team.packages:
                return MODULE
            if (other := self.others.get(value.id)) and not names.get(value.id):
                return self.team.modules[other].names.get(name, NOTHING)
        is_a = self._is(value, names)
        if is_a == MODULE:
            return NOTHING if name == _REQUEST else MODULE if name in self.team.stems else THING
        if is_a == THING and name == "session":  # db.session, the request's own
            return NOTHING
        return is_a if is_a in (UNKNOWN, THING) else min(UNKNOWN, self.kept.get(f".{name}", NOTHING))

    def _item(self, is_a: int, value: ast.expr, key: ast.expr, names: Mapping[str, int]) -> int:
        text = self._text(key)
        if is_a == _SYS_MODULES:
            return self._module_named(key, names)
        if text == _BASTION and _last(value) == "extensions":
            return THING
        if isinstance(value, ast.Call) and _last(value.func) in ("globals", "locals", "vars") and not value.args:
            known = max(names.values(), default=NOTHING)
            return names.get(text, NOTHING) if text is not None else min(UNKNOWN, known)
        return is_a

    def _module_named(self, key: ast.expr, names: Mapping[str, int]) -> int:
        """What sys.modules or import_module() has under a name."""
        text = self._text(key)
        if text is not None:
            return MODULE if _BASTION in text.split(".") else NOTHING
        if isinstance(key, ast.Name) and key.id in ("__name__", "__package__"):
            return NOTHING
        if isinstance(key, ast.Attribute) and key.attr in ("__name__", "__module__"):
            return MODULE if self._is(key.value, names) else NOTHING
        parts = [part.value for part in ast.walk(key) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        return MODULE if any(re.search(rf"\b{_BASTION}\b", part) for part in parts) else UNKNOWN

    def _result(self, node: ast.Call, names: Mapping[str, int]) -> int:
        called, function = _last(node.func), node.func
        if called in _MODULES_BY_NAME:
            return self._module_named(node.args[0], names) if node.args else UNKNOWN
        if called == "getattr" and len(node.args) > 1:
            name = self._text(node.args[1])
            if name is not None:
                return self._is(ast.Attribute(node.args[0], name, ast.Load()), names)
        if isinstance(function, ast.Attribute) and called in _READ:
            is_a = self._is(function.value, names)
            if is_a == _SYS_MODULES:
                return self._module_named(node.args[0], names) if node.args else UNKNOWN
            return is_a if is_a in (UNKNOWN, THING) else NOTHING
        if called in _PASSES_ON:
            is_a = max((self._is(one, names) for one in node.args), default=NOTHING)
            return UNKNOWN if is_a == _SYS_MODULES else is_a
        return self.kept.get(f"{called}()", NOTHING)

    def _text(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        return self.texts.get(node.id) if isinstance(node, ast.Name) else None

    # --- where something is replaced ---------------------------------------------------------------------------------

    def _visit(self, scope: Scope, names: Mapping[str, int], *, report: bool, depth: int = 0) -> None:
        parameters = {name for name, _ in _parameters(scope.args)} if isinstance(scope, _FUNCTIONS) else set[str]()
        for node in self._nodes(scope):
            if report:
                self._look(node, names, depth)
            else:
                self._keep(node, scope, names, parameters)
            if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
                around = {name: is_a for name, is_a in names.items() if is_a}
                self._visit(node, self._scope(node, around), report=report, depth=depth)

    def _keep(self, node: ast.AST, scope: Scope, names: Mapping[str, int], parameters: set[str]) -> None:
        """Note what the team's own objects hold, its functions return, and which of them assign to an argument."""
        match node:
            case ast.Return(value=ast.expr() as value):
                self._note_kept(f"{getattr(scope, 'name', '')}()", value, names)
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    if isinstance(target, ast.Attribute):
                        self._note_kept(f".{target.attr}", value, names)
                    elif isinstance(scope, ast.ClassDef) and isinstance(target, ast.Name):
                        self._note_kept(f".{target.id}", value, names)
            case _:
                pass
        changed = {_root(one) for one in _changed(node)} & (parameters - {"self", "cls"})
        if changed and isinstance(scope, syntax.Function):
            self.team.helpers.add(scope.name)

    def _note_kept(self, key: str, value: ast.expr, names: Mapping[str, int]) -> None:
        if is_a := self._is(value, names):
            self.kept[key] = max(self.kept.get(key, NOTHING), is_a)

    def _look(self, node: ast.AST, names: Mapping[str, int], depth: int) -> None:
        match node:
            case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()) if name in _IMPORT_SYSTEM:
                self._report(node, _shown(node), UNKNOWN)
            case ast.Name(id="__path__", ctx=ast.Store()):
                self._report(node, "__path__", UNKNOWN)
            case ast.Attribute(value=value, ctx=ast.Store() | ast.Del()):
                self._report(node, _shown(node), self._is(value, names))
            case ast.Subscript(value=value, slice=key, ctx=ast.Store() | ast.Del()):
                self._report(node, _shown(node), self._put(value, key, names))
            case ast.AugAssign(target=ast.Name(id=name) as target) if names.get(name) == _SYS_MODULES:
                self._report(target, name, UNKNOWN)
            case ast.Call():
                self._call(node, names, depth)
            case _:
                pass

    def _put(self, value: ast.expr, key: ast.expr, names: Mapping[str, int]) -> int:
        """The name that an assignment to an item replaces."""
        is_a = self._is(value, names)
        text = self._text(key)
        if is_a == NOTHING and text is not None:
            if text == _BASTION and _last(value) == "extensions":
                return THING
            may_be = self.modules and isinstance(value, ast.Name) and f".{_BASTION}" in text
            return UNKNOWN if may_be else NOTHING
        return self._module_named(key, names) if is_a == _SYS_MODULES else is_a

    def _call(self, node: ast.Call, names: Mapping[str, int], depth: int) -> None:
        called, function = _last(node.func), node.func
        owner = self._is(function.value, names) if isinstance(function, ast.Attribute) else NOTHING
        given = [self._is(one, names) for one in (*node.args, *(keyword.value for keyword in node.keywords))]
        target = self._is(node.args[0], names) if node.args else NOTHING
        text = self._text(node.args[0]) if node.args else None
        is_named = text is not None and _BASTION in text.split(".")
        if called in ("exec", "eval") and isinstance(function, ast.Name):
            self._run(node, text, names, depth)
        elif called in _SET_ATTRIBUTE:
            self._report(node, _shown(node), THING if is_named else max(target, owner))
        elif called in _SET_ITEM and node.args:
            base, key = (function.value, node.args[0]) if called[0] == "_" else (node.args[0], node.args[-1])  # type: ignore[attr-defined]
            key = node.args[1] if called[0] != "_" and len(node.args) > 1 else key
            self._report(node, _shown(node), self._put(base, key, names))
        elif self.mocks and _is_mock(function):
            mocked = THING if is_named else target if text is not None or target else UNKNOWN
            self._report(node, _shown(node), mocked if node.args else NOTHING)
        elif called in _CHANGES and isinstance(function, ast.Attribute):
            self._change(node, function.value, owner, names)
        elif (MODULE in given and called not in _ONLY_LOOKS) or (THING in given and called in self.team.helpers):
            self._report(node, _shown(node), UNKNOWN)

    def _change(self, node: ast.Call, value: ast.expr, owner: int, names: Mapping[str, int]) -> None:
        if owner == _SYS_MODULES:
            keys = [one for part in node.args for one in (part.keys if isinstance(part, ast.Dict) else [part])]
            found = max((self._module_named(one, names) for one in keys if one is not None), default=UNKNOWN)
            self._report(node, _shown(node), found)
        elif _last(value) in _IMPORT_SYSTEM:
            self._report(node, _shown(node), UNKNOWN)
        elif isinstance(value, ast.Call) or _DATA.fullmatch(_last(value)):
            self._report(node, _shown(node), owner)

    def _run(self, node: ast.Call, text: str | None, names: Mapping[str, int], depth: int) -> None:
        """Code in a text is looked at like any other."""
        module = syntax.parse(text.encode()) if text is not None and depth < _MAX_DEPTH else None
        if module is None:
            self._report(node, _shown(node), UNKNOWN)
            return
        line = len(self.found)
        self._visit(module, self._scope(module, names), report=True, depth=depth + 1)
        self.found[line:] = [Replacement(one.file, node.lineno, one.name, one.certain) for one in self.found[line:]]

    def _report(self, node: ast.AST, name: str, is_a: int) -> None:
        if is_a:
            certain = is_a in (THING, MODULE)
            self.found.append(Replacement(self.file, getattr(node, "lineno", 0), name, certain))


def _own(scope: Scope) -> Iterator[ast.AST]:
    """Each node of a scope, without what stands in a scope of its own; such a scope is given, and not gone into."""
    waiting: list[ast.AST] = [scope.body] if isinstance(scope, ast.Lambda) else [*scope.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Constant | ast.expr_context):
            continue
        yield node
        if isinstance(node, ast.Name):
            continue
        if isinstance(node, ast.Lambda):
            waiting += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif isinstance(node, syntax.Function):
            waiting += [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif isinstance(node, ast.ClassDef):
            waiting += [*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)]
        else:
            waiting.extend(ast.iter_child_nodes(node))


def _matters(node: ast.AST) -> bool:
    """Whether a node gives a name or an object to something, or calls something."""
    if isinstance(node, ast.Attribute | ast.Subscript | ast.Name):
        return not isinstance(node.ctx, ast.Load)
    return isinstance(node, _MATTER)


def _parameters(arguments: ast.arguments) -> list[tuple[str, ast.expr | int | None]]:
    """Each parameter with its default value, if it has one."""
    by_place = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(by_place) - len(arguments.defaults))
    pairs = [*zip(by_place, [*missing, *arguments.defaults], strict=True)]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    rest = [one.arg for one in (arguments.vararg, arguments.kwarg) if one]
    return [*((one.arg, value) for one, value in pairs), *((name, NOTHING) for name in rest)]


def _changed(node: ast.AST) -> Iterator[ast.expr]:
    """The objects of which a node replaces an attribute."""
    match node:
        case ast.Attribute(value=value, ctx=ast.Store() | ast.Del()):
            yield value
        case ast.Call(func=function, args=[first, *_]) if _last(function) in _SET_ATTRIBUTE:
            yield first
        case ast.Subscript(value=ast.Attribute(value=value, attr="__dict__"), ctx=ast.Store() | ast.Del()):
            yield value
        case ast.Subscript(value=ast.Call(func=ast.Name(id="vars"), args=[first]), ctx=ast.Store() | ast.Del()):
            yield first
        case _:
            pass


def _is_mock(function: ast.expr) -> bool:
    """Whether it is patch() of unittest.mock, or one of its kinds."""
    match function:
        case ast.Name(id="patch") | ast.Attribute(value=ast.Name(id="mock" | "mocker"), attr="patch"):
            return True
        case ast.Attribute(value=value, attr="object" | "dict" | "multiple"):
            return _last(value) == "patch"
        case _:
            return False


def _last(node: ast.expr) -> str:
    """The last part of a dotted name: set_cookie for cookies.set_cookie."""
    return str(getattr(node, "attr", None) or getattr(node, "id", ""))


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _shown(node: ast.expr) -> str:
    """A piece of source in one short line."""
    try:
        text = " ".join(ast.unparse(node).split())
    except RecursionError:
        text = "a nested expression"
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 3]}..."
