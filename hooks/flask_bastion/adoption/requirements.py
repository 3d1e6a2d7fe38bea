"""Which libraries an application asks for, where it says so, and whether that can be had together with the template's.

The files are untrusted: they are read and never resolved, as building a `setup.py` would run it. Entries that are
computed, included from an address or installed from one are left out.
"""

from __future__ import annotations

import ast
import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from .. import syntax
from ..tree import Tree
from .application import names

_TEXT: Final = re.compile(r"(?:[^/]+/)?[^/]*requirements[^/]*\.(?:txt|in)\Z|requirements/[^/]+\.(?:txt|in)\Z")
_DEVELOPMENT: Final = re.compile(r"dev|test|lint|docs?\b|ci\b", re.IGNORECASE)
"""In the name of a file or group: libraries to develop the application, which it does not need to run."""
MOST: Final = 1000
"""Lines that ask for a library; a longer list was generated, not written by hand."""
_MOST_LINES: Final = 5000
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True)
class Asked:
    """One line that asks for a library. `name` is canonical (PEP 503), `text` the line itself, `line` begins at 1."""

    name: str
    text: str
    file: str
    line: int
    development: bool

    @property
    def specifier(self) -> SpecifierSet:
        """The versions that it allows."""
        return Requirement(self.text).specifier


def asked(tree: Tree) -> list[Asked]:
    """Every library that is asked for, once for running and once for development, in the order of the files."""
    found: dict[tuple[str, bool], Asked] = {}
    for one in itertools.islice(_all(tree), MOST):
        found.setdefault((one.name, one.development), one)
    return [one for one in found.values() if not one.development or (one.name, False) not in found]


def _all(tree: Tree) -> Iterator[Asked]:
    for name in names(tree):
        if _TEXT.match(name) and tree.in_time():
            yield from _of_text(name, _lines(tree.read(name)))
    for name, groups in (("pyproject.toml", _of_project), ("Pipfile", _of_pipfile)):
        data = tree.read(name)
        if data is not None:
            lines = _lines(data)
            for group, text in itertools.islice(groups(_toml(data)), MOST):
                yield from _one(text, name, _line_of(text, lines), bool(_DEVELOPMENT.search(group)))
    yield from _of_setup(tree.read("setup.py"))


def _of_text(name: str, lines: list[str]) -> Iterator[Asked]:
    development = bool(_DEVELOPMENT.search(name.removesuffix(".txt").removesuffix(".in")))
    for number, line in enumerate(lines, start=1):
        text = re.split(r"\s+#|\s+--hash|\s*\\$", line.strip(), maxsplit=1)[0]
        if text and text[0] not in "#-":
            yield from _one(text, name, number, development)


def _of_project(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What pyproject.toml asks for in a standard way, and in Poetry's: (group, requirement)."""
    project, poetry = _table(data, "project"), _table(data, "tool", "poetry")
    yield from (("", text) for text in _texts(project.get("dependencies")))
    for groups in (_table(project, "optional-dependencies"), _table(data, "dependency-groups")):
        for group, texts in groups.items():
            yield from ((group, text) for text in _texts(texts))
    yield from (("", text) for text in _caret(_table(poetry, "dependencies")))
    yield from (("dev", text) for text in _caret(_table(poetry, "dev-dependencies")))
    for group in _table(poetry, "group"):
        yield from ((group, text) for text in _caret(_table(poetry, "group", group, "dependencies")))


def _of_pipfile(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from (("", text) for text in _caret(_table(data, "packages")))
    yield from (("dev", text) for text in _caret(_table(data, "dev-packages")))


def _of_setup(data: bytes | None) -> Iterator[Asked]:
    """The plain lists that a setup.py gives; it is not run."""
    module = syntax.parse(data) if data else None
    for node in ast.walk(module) if module else ():
        if isinstance(node, ast.keyword) and node.arg in ("install_requires", "tests_require"):
            for part in ast.walk(node.value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield from _one(part.value, "setup.py", part.lineno, node.arg == "tests_require")


def _one(text: str, file: str, line: int, development: bool) -> Iterator[Asked]:
    try:
        requirement = Requirement(text) if len(text) <= _LONGEST else None
    except InvalidRequirement:
        return
    if requirement and requirement.url is None and requirement.name.lower() != "python":
        yield Asked(canonicalize_name(requirement.name), text, file, line, development)


def _caret(table: Mapping[str, Any]) -> Iterator[str]:
    """Poetry's and Pipenv's tables as requirements."""
    for name, about in table.items():
        version = about.get("version", "*") if isinstance(about, dict) else about
        if isinstance(version, str):
            extras = ",".join(_texts(about.get("extras"))) if isinstance(about, dict) else ""
            yield f"{name}[{extras}]{_standard(version)}" if extras else f"{name}{_standard(version)}"


def _standard(version: str) -> str:
    """^1.2 is >=1.2,<2; ~1.2 is ~=1.2; a bare 1.2 is ==1.2; * is any."""
    if found := re.fullmatch(r"\^(\d{1,6})((?:\.\d{1,6}){0,3})", version):
        return f">={found[1]}{found[2]},<{int(found[1]) + 1}"
    if re.fullmatch(r"~\d[\w.]*", version):
        return f"~={version[1:]}" if "." in version else f"=={version[1:]}.*"
    if re.fullmatch(r"\d[\w.]*", version):
        return f"=={version}"
    return "" if version == "*" else version


def together(wanted: SpecifierSet, floor: SpecifierSet) -> bool:
    """Whether some version fits both: tried with each that one of the two names, and with the one just above it."""
    named = {part.version.removesuffix(".*") for both in (wanted, floor) for part in both}
    for text in named:
        try:
            version = Version(text)
        except InvalidVersion:
            continue
        tried = (version, Version(f"{version.base_version}.1"))
        if any(wanted.contains(one, prereleases=True) and floor.contains(one, prereleases=True) for one in tried):
            return True
    return not named


def floors(project: bytes) -> dict[str, SpecifierSet]:
    """What the template brings, as its rendered pyproject.toml says: canonical name to the versions that it allows."""
    return _floors(_table(_toml(project), "project", "optional-dependencies").get("bastion"))


def tools(project: bytes) -> dict[str, SpecifierSet]:
    """The same for what it brings to work on a service, and not to run it."""
    return _floors(_table(_toml(project), "dependency-groups").get("bastion-dev"))


def _floors(texts: Any) -> dict[str, SpecifierSet]:
    found = [Requirement(text) for text in _texts(texts)]
    return {canonicalize_name(one.name): one.specifier for one in found}


def _table(data: Any, *path: str) -> Mapping[str, Any]:
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def _texts(value: Any) -> Iterable[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _toml(data: bytes) -> Mapping[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return {}


def _lines(data: bytes | None) -> list[str]:
    return [line[:_LONGEST] for line in (data or b"").decode(errors="replace").splitlines()[:_MOST_LINES]]


def _line_of(text: str, lines: list[str]) -> int:
    """The first line that begins to ask for it, 0 if no line does."""
    name = re.split(r"[^\w.-]", text, maxsplit=1)[0].lower()
    return next((at for at, line in enumerate(lines, start=1) if name in line.lower()), 0)
