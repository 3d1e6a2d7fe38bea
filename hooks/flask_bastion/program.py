"""Decide whether code of bastion/ runs in the service: imported from its start, used, and replaced by no other code.

A fixed module that nothing imports protects nothing; nor does one whose function is replaced from the team's app.py,
or that a package of the same name stands before.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final, Protocol

from . import syntax
from .replacements import Replacement, replacements

EVERYTHING: Final = "*"
"""Stands for every name: the replaced one is not known."""
_REPLACES: Final = frozenset(
    {"setattr", "delattr", "__setattr__", "__delattr__", "setitem", "patch", "object", "multiple", "dict"}
)
_NATIVE: Final = (".so", ".pyd")
_ROOTS: Final = ("cli", "gunicorn")  # beside bastion itself: what the command and the server start from


class Files(Protocol):
    """A service's files: those of a repository, or those that a version of the template renders to."""

    def names(self) -> list[str]: ...

    def read(self, name: str) -> bytes | None: ...


class Program:
    """The Python of one service, as it is put together when it starts."""

    def __init__(self, files: Files, package: str) -> None:
        self.files: Final = files
        self.package: Final = package
        self._names = frozenset(files.names())
        self._packages = frozenset(name.split("/")[1] for name in self._names if name.startswith("src/"))

    @functools.cached_property
    def starts_from_bastion(self) -> bool:
        """Whether the team's app.py imports bastion, which makes and seals the app."""
        return f"src/{self.package}/bastion/__init__.py" in self._imported(f"src/{self.package}/app.py")

    @functools.cached_property
    def reached(self) -> frozenset[str]:
        """The files of bastion/ that are imported from its start."""
        bastion = f"src/{self.package}/bastion"
        waiting = [f"{bastion}/__init__.py", *(f"{bastion}/{name}.py" for name in _ROOTS)]
        seen = set()
        while waiting:
            name = waiting.pop()
            if name not in seen and name in self._names:
                seen.add(name)
                waiting += [found for found in self._imported(name) if found.startswith(f"{bastion}/")]
        return frozenset(seen)

    def is_loaded(self, name: str) -> bool:
        """Whether the service imports this file. One that no import can name (a migration) is found by its place."""
        return not PurePosixPath(name).stem.isidentifier() or name in self.reached

    def stands_before(self, name: str) -> str:
        """The file that Python takes instead of this module, a package or a compiled one; "" if no such file exists."""
        stem = name.removesuffix(".py")
        for other in sorted(self._names):
            native = other.startswith((f"{stem}.", f"{stem}/__init__.")) and other.endswith(_NATIVE)
            if native or other == f"{stem}/__init__.py":
                return other
        return ""

    def uses(self, name: str, file: str) -> bool:
        """Whether anything that is loaded reads this name of a module, outside of what the name itself stands for."""
        return any(name in _used(source, name if other == file else "") for other, source in self._loaded())

    def overrides(self, names: Iterable[str]) -> tuple[str, int, str] | None:
        """Where one of these names is given another meaning from outside: file, line, name; None if nowhere."""
        wanted = {EVERYTHING, *names}
        for file in sorted(self._names):
            if file.endswith(".py") and (file.startswith("src/") or "/" not in file):
                source = self.files.read(file)
                for name, line in _replaced(source) if source else ():
                    if name in wanted:
                        return file, line, name
        return None

    @functools.cached_property
    def replaced(self) -> tuple[Replacement, ...]:
        """Where code outside bastion/ replaces a part of it, or may do so."""
        return tuple(replacements(self.files, self.package)) if self.package else ()

    def _loaded(self) -> Iterator[tuple[str, bytes]]:
        for name in self.reached:
            if source := self.files.read(name):
                yield name, source

    def _imported(self, name: str) -> set[str]:
        """The files that a module imports, with the packages that they lie in."""
        source = self.files.read(name)
        inside = PurePosixPath(name).parent.parts[1:]
        found: set[str] = set()
        for level, module, names in _imports(source) if source else ():
            base = (*(inside[: len(inside) - level + 1] if level else ()), *module)
            if base[:1] and base[0] not in self._packages:
                continue  # a library
            for path in (base, *((*base, one) for one in names)):
                found.update(self._files_of(path))
        return found

    def _files_of(self, path: tuple[str, ...]) -> Iterator[str]:
        for length in range(1, len(path) + 1):
            place = "/".join(("src", *path[:length]))
            yield from (one for one in (f"{place}/__init__.py", f"{place}.py") if one in self._names)


@functools.lru_cache(maxsize=2048)
def _imports(source: bytes) -> tuple[tuple[int, tuple[str, ...], tuple[str, ...]], ...]:
    """Each import of live code: how many folders up, the module, and the names taken from it."""
    module = syntax.parse(source)
    found: list[tuple[int, tuple[str, ...], tuple[str, ...]]] = []
    for node in ast.walk(module) if module else ():
        if isinstance(node, ast.Import):
            found += [(0, tuple(alias.name.split(".")), ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            path = tuple(node.module.split(".")) if node.module else ()
            found.append((node.level, path, tuple(alias.name for alias in node.names)))
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def _used(source: bytes, apart_from: str) -> frozenset[str]:
    """The names that live code reads or imports, leaving out what stands in the definition of `apart_from`."""
    module = syntax.parse(source)
    found: set[str] = set()
    for statement in module.body if module else ():
        if isinstance(statement, (ast.ClassDef, syntax.Function)) and statement.name == apart_from:
            if statement.decorator_list:
                found.add(apart_from)  # a decorator registers it
            continue
        for node in ast.walk(statement):
            match node:
                case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name, ctx=ast.Load()):
                    found.add(name)
                case ast.alias(name=name) if not apart_from:
                    found.add(name)
    return frozenset(found)


@functools.lru_cache(maxsize=2048)
def _replaced(source: bytes) -> tuple[tuple[str, int], ...]:
    """Every name that live code may give another meaning to in an object that is not its own, with the line."""
    module = syntax.parse(source)
    return tuple(_replacements(module)) if module else ()


def _replacements(module: ast.Module) -> Iterator[tuple[str, int]]:
    texts = {
        target.id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    foreign = {
        name for node in ast.walk(module) if isinstance(node, ast.Import | ast.ImportFrom) for name in _of_bastion(node)
    }
    for node in ast.walk(module):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), ctx=ast.Store() | ast.Del()):
                pass  # its own
            case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()):
                yield name, node.lineno
            case ast.Subscript(slice=ast.Constant(value=str(name)), ctx=ast.Store() | ast.Del()):
                if ".bastion" in name and "modules" in (getattr(node.value, "attr", ""), getattr(node.value, "id", "")):
                    yield EVERYTHING, node.lineno
                elif _is_namespace(node.value):
                    yield name, node.lineno
            case ast.Name(id="__path__") | ast.Attribute(attr="__path__" | "meta_path" | "path_hooks"):
                yield EVERYTHING, node.lineno
            case ast.Call(func=function, args=arguments, keywords=keywords):
                yield from ((name, node.lineno) for name in _called(function, arguments, keywords, texts, foreign))
            case _:
                pass


def _called(
    function: ast.expr,
    arguments: list[ast.expr],
    keywords: list[ast.keyword],
    texts: dict[str, str],
    foreign: set[str],
) -> Iterator[str]:
    """The names that a call may replace: setattr(m, "name", x), patch("m.name"), vars(m).update(name=x), exec(...)."""
    called = getattr(function, "attr", None) or getattr(function, "id", "")
    given = [texts.get(one.id) if isinstance(one, ast.Name) else getattr(one, "value", None) for one in arguments]
    if called in ("exec", "eval"):
        code = given[0] if given and isinstance(given[0], str) else ""
        yield from (name for name, _ in _replaced(code.encode()))
        if "bastion" in code:
            yield EVERYTHING
    elif called == "update" and isinstance(function, ast.Attribute) and _is_namespace(function.value):
        if _root(function.value) in ("self", "cls"):
            return  # its own
        yield from (keyword.arg or EVERYTHING for keyword in keywords)
        for one in arguments:
            keys = one.keys if isinstance(one, ast.Dict) else [None]
            yield from (str(key.value) if isinstance(key, ast.Constant) else EVERYTHING for key in keys)
    elif called in _REPLACES:
        yield from (text.rpartition(".")[2] for text in given if isinstance(text, str))
        unnamed = not any(isinstance(text, str) for text in given[:2])
        theirs = any(_root(one) in foreign or "import_module" in ast.dump(one) for one in arguments[:1])
        if called.strip("_") in ("setattr", "delattr") and unnamed and theirs:
            yield EVERYTHING


def _of_bastion(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The names under which an import brings a module or a thing of bastion/ in."""
    module = getattr(node, "module", None) or ""
    for alias in node.names:
        if "bastion" in f"{module}.{alias.name}".split("."):
            yield alias.asname or alias.name.partition(".")[0]


def _is_namespace(node: ast.expr) -> bool:
    """Whether it is the names of a module or an object: vars(x), x.__dict__, globals()."""
    match node:
        case ast.Attribute(attr="__dict__") | ast.Call(func=ast.Name(id="vars" | "globals")):
            return True
        case _:
            return False


def _root(node: ast.expr) -> str:
    """The name that an attribute, an item or a call is of: headers for headers.HSTS."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
