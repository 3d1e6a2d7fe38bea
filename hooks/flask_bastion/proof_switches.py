"""Find what keeps proofs from running, or their results from counting, in files that the team owns.

pytest loads conftest.py and its own configuration before any proof, so a few lines there make a green run of nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from . import syntax
from .finding import Finding
from .replacements import fixture, is_conftest
from .values import read_toml, texts, value_at

if TYPE_CHECKING:
    from .program import Files

_BEFORE_PYPROJECT: Final = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")
"""Configuration that pytest takes in place of pyproject.toml, and so without the plugin of the proofs."""
_HARNESS: Final = frozenset({"service", "_baseline"})
"""Fixtures of the proofs; one of the same name in a conftest.py takes their place."""
_PROOFS: Final = ("proofs", "protects")
_SWITCHES: Final = frozenset({"unregister", "set_blocked", "pytest_deselected", "force_result", "force_exception"})
_RESULTS: Final = frozenset({"exitstatus", "outcome", "testsfailed"})
_RUNS: Final = frozenset(
    {"pytest_ignore_collect", "pytest_pyfunc_call", "pytest_runtest_protocol", "pytest_runtestloop"}
)
"""Hooks whose result decides in place of pytest."""
_CURE: Final = "Take it out: settings of your own tests belong into their files, or into a folder of their own."


def findings(files: Files) -> list[Finding]:
    """Each place that switches proofs off, or may do so."""
    found: list[Finding] = []
    for name in files.names():
        if name in _BEFORE_PYPROJECT:
            text = "pytest takes this in place of pyproject.toml, so the plugin of the proofs is not loaded."
            found.append(_finding(text, name, 0, certain=True))
        elif is_conftest(name):
            module = syntax.parse(files.read(name) or b"")
            found += _of_conftest(name, module) if module else ()
    options = value_at(read_toml(files, "pyproject.toml"), "tool", "pytest", "ini_options")
    return found + list(_of_options(options))


def _of_options(options: Any) -> Iterator[Finding]:
    """Options that the team adds to the template's."""
    added = value_at(options, "addopts")
    words = added.split() if isinstance(added, str) else texts(added)
    words = [word for at, word in enumerate(words) if not (word == "proofs.plugin" and words[at - 1 : at] == ["-p"])]
    for key in ("norecursedirs", "collect_ignore", "collect_ignore_glob"):
        given = value_at(options, key)
        words += given.split() if isinstance(given, str) else texts(given)
    for word in words:
        if any(one in word for one in _PROOFS) or word in ("tests", "tests/*"):
            yield _finding(f"An option keeps proofs from running: {word}.", "pyproject.toml", 0, certain=True)


def _of_conftest(name: str, module: ast.Module) -> Iterator[Finding]:
    for node in module.body:
        is_fixture, _ = fixture(node)
        if is_fixture and getattr(node, "name", "") in _HARNESS:
            text = f"The fixture {node.name} takes the place of the one that the proofs attack."  # type: ignore[attr-defined]
            yield _finding(text, name, node.lineno, certain=True)
        if isinstance(node, syntax.Function) and node.name in _RUNS and _gives(node):
            text = f"{node.name} may keep proofs from running."
            yield _finding(text, name, node.lineno, certain=False)
        if isinstance(node, syntax.Function) and node.name == "pytest_collection_modifyitems":
            items = next((one.arg for one in node.args.args if one.arg == "items"), "")
            if items and any(_takes_out(inner, items) for inner in ast.walk(node)):
                yield _finding("This may take out proofs.", name, node.lineno, certain=False)
    for inner in ast.walk(module):
        yield from _said(name, inner)


def _said(name: str, node: ast.AST) -> Iterator[Finding]:
    match node:
        case ast.Constant(value=str(text)) if any(one in text.replace("/", ".").split(".") for one in _PROOFS):
            yield _finding(f"This may change the proofs: {text[:60]!r}.", name, node.lineno, certain=False)
        case ast.Assign(targets=[ast.Name(id="collect_ignore" | "collect_ignore_glob" as names)], value=value):
            known = isinstance(value, ast.List) and all(isinstance(one, ast.Constant) for one in value.elts)
            broad = known and any("*" in str(one.value).partition("/")[0] for one in value.elts)  # type: ignore[attr-defined]
            if not known or broad:
                yield _finding(f"{names} may leave out proofs.", name, node.lineno, certain=False)
        case ast.Attribute(value=ast.Name(id="self"), ctx=ast.Store()):
            pass
        case ast.Attribute(attr=attribute, ctx=ast.Store()) if attribute in _RESULTS:
            yield _finding(f"This changes the result of tests: {attribute}.", name, node.lineno, certain=True)
        case ast.Call(func=ast.Attribute(attr=called)) if called in _SWITCHES:
            yield _finding(f"{called} may take out proofs.", name, node.lineno, certain=False)
        case _:
            pass


def _gives(node: syntax.Function) -> bool:
    """Whether a function may return something, with which it decides."""
    returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value is not None]
    return any(not (isinstance(one, ast.Constant) and one.value is None) for one in returned)


def _takes_out(node: ast.AST, items: str) -> bool:
    match node:
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
            return name == items
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="remove" | "clear" | "pop")):
            return name == items
        case _:
            return False


def _finding(text: str, file: str, line: int, *, certain: bool) -> Finding:
    return Finding("proofs-switched-off", "error" if certain else "warning", text, _CURE, file, line)
