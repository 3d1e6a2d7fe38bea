"""Whether a fix is in a service: conditions that are all true where it is, and of which one is false where it is not.

The recorded version is a claim, so this looks at the code, at the lock and at the limits, by meaning: Python by its
syntax tree, TOML, YAML and JSON by their values. No pattern is a regular expression, so no line can make one slow.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from . import syntax
from .program import Files, Program
from .repository import safe_yaml
from .version import at_least

_KINDS: Final = ("has", "lacks", "key", "line", "lock", "requires", "limit")
_FIELDS: Final = {
    "has": ("file", "within"),
    "lacks": ("file", "within"),
    "key": ("file", "equals", "contains", "at_least", "at_most"),
    "line": ("file",),
    "lock": ("at_least",),
    "requires": ("at_least",),
    "limit": ("at_least", "at_most"),
}
"""The kinds of conditions, and what each takes beside its own field."""
_LIMITS: Final = "bastion/settings/__init__.py"
_OVERRIDDEN: Final = "tool.uv.override-dependencies lets {library} be older than {floor} here."


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a condition holds (None: not known), and why not, with the place."""

    holds: bool | None
    why: str = ""
    file: str = ""
    line: int = 0
    absent: bool = False
    """What would decide is not kept in the repository, which is the team's choice and no fault."""


HOLDS: Final = Outcome(True)
Condition = Callable[[Files, Program], Outcome]
Probe = tuple[Condition, ...]


def parse(conditions: Any) -> Probe:
    """The probe that an advisory describes. Raises ValueError, which says what to write instead."""
    if not isinstance(conditions, list) or not conditions:
        raise ValueError("probe must be a list of conditions")
    return tuple(_condition(one) for one in conditions)


def look(probe: Probe, program: Program) -> list[Outcome]:
    """What each condition that does not hold says; [] where the fix is."""
    outcomes = (condition(program.files, program) for condition in probe)
    return [outcome for outcome in outcomes if outcome.holds is not True]


def holds(outcomes: Sequence[Outcome]) -> bool | None:
    """What the outcomes of `look` say together: one that is false decides."""
    return False if any(one.holds is False for one in outcomes) else None if outcomes else True


def _condition(about: Any) -> Condition:
    if not isinstance(about, dict):
        raise ValueError("a condition must be an object")
    kinds = [kind for kind in _KINDS if kind in about]
    if len(kinds) != 1:
        raise ValueError(f"a condition has one of {', '.join(_KINDS)}")
    kind = kinds[0]
    if unknown := about.keys() - {kind, *_FIELDS[kind]}:
        raise ValueError(f"a condition with {kind} takes no {', '.join(sorted(map(str, unknown)))}")
    if "file" in _FIELDS[kind] and not _is_file(about.get("file")):
        raise ValueError("file must be a path in the service, with src/*/ for its package")
    value = about[kind]
    match kind:
        case "has" | "lacks":
            texts = tuple(_texts(value, kind))
            bound = {name for text in texts for name in syntax.names_bound_by(syntax.snippet(text))}
            names = frozenset(bound) if kind == "has" else frozenset[str]()
            return functools.partial(_python, about["file"], _path(about), texts, names, wanted=kind == "has")
        case "key":
            return functools.partial(_key, about["file"], _texts(value, "key")[0], _test(about))
        case "line":
            return functools.partial(_line, about["file"], _texts(value, "line")[0])
        case "lock":
            return functools.partial(_lock, _texts(value, "lock")[0], _library_version(about))
        case "requires":
            return functools.partial(_requires, _texts(value, "requires")[0], _library_version(about))
        case _:
            return functools.partial(_limit, _texts(value, "limit")[0], _test(about))


def _is_file(name: object) -> bool:
    return isinstance(name, str) and not {"", ".", ".."}.intersection(name.split("/")) and "\\" not in name


def _path(about: Mapping[str, Any]) -> str:
    within = about.get("within", "")
    if not isinstance(within, str) or not all(part.isidentifier() for part in within.split(".") if within):
        raise ValueError("within must be a dotted path of classes and functions")
    return within


def _texts(value: Any, kind: str) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"{kind} must be a text")
    return texts


def _library_version(about: Mapping[str, Any]) -> str:
    floor = about.get("at_least")
    if not isinstance(floor, str) or at_least(floor, floor) is None:
        raise ValueError("at_least must be a version")
    return floor


# --- Python ----------------------------------------------------------------------------------------------------------


def _python(
    pattern: str,
    within: str,
    texts: tuple[str, ...],
    names: frozenset[str],
    files: Files,
    program: Program,
    *,
    wanted: bool,
) -> Outcome:
    """The code stands (or does not stand) where it runs, in every file of this name that the service has."""
    for name, source in _found(pattern, files, program):
        if source is None:
            return Outcome(False, "This file is not there, or can't be read.", name)
        why, line = _reads(source, within, texts, wanted=wanted)
        if why:
            return Outcome(False, why, name, line)
        if name.startswith(f"src/{program.package}/bastion/"):
            outermost = within.partition(".")[0] or min(names, default="")
            outcome = _in_force(name, outermost, {*within.split("."), *names} - {""}, program)
            if outcome is not HOLDS:
                return outcome
    return HOLDS


@functools.lru_cache(maxsize=4096)
def _reads(source: bytes, within: str, texts: tuple[str, ...], *, wanted: bool) -> tuple[str, int]:
    """Why a module does not say one of these pieces there (or does, if it is not wanted), and where; ("", 0) if not."""
    module = syntax.parse(source)
    scope = syntax.scope(module, within) if module else None
    if scope is None:
        return f"{within or 'This module'} is not there, or means two things.", 0
    pieces = [syntax.snippet(text) for text in texts]
    if wanted and not any(syntax.stands_in(piece, scope) for piece in pieces):
        return "The fix is not in the code that runs.", getattr(scope, "lineno", 0)
    if not wanted and any(syntax.stands_anywhere(piece, scope) for piece in pieces):
        return "What the fix takes out is still there.", getattr(scope, "lineno", 0)
    return "", 0


def _in_force(file: str, outermost: str, names: set[str], program: Program) -> Outcome:
    """The code of this file is what the service runs, and no other code replaces its names."""
    if other := program.stands_before(file):
        return Outcome(False, f"Python takes this instead of {file}.", other)
    if not program.starts_from_bastion:
        return Outcome(False, "The service does not start from bastion.", f"src/{program.package}/app.py")
    if not program.is_loaded(file):
        return Outcome(False, "Nothing that the service starts imports this file.", file)
    if outermost and not program.uses(outermost, file):
        return Outcome(False, f"Nothing uses {outermost}.", file)
    if found := program.overrides(names):
        place, line, name = found
        what = f"{name} is replaced" if name != "*" else "Parts of bastion are replaced"
        return Outcome(False, f"{what} here, so {file} is not what runs.", place, line)
    for one in program.replaced:
        why = f"{file} may not be the code that runs: see {one.name} here."
        return Outcome(None, why, one.file, one.line)
    return HOLDS


def _found(pattern: str, files: Files, program: Program) -> Iterator[tuple[str, bytes | None]]:
    """Each file that a path with `*` for the package names, the service's own first: all have to satisfy."""
    own = pattern.replace("src/*/", f"src/{program.package}/", 1)
    depth = pattern.count("/")
    others = [name for name in files.names() if name.count("/") == depth and fnmatchcase(name, pattern)]
    for name in dict.fromkeys((own, *others)):
        yield name, files.read(name)


# --- values and lines ------------------------------------------------------------------------------------------------

Test = Callable[[Any], bool | None]


def _test(about: Mapping[str, Any]) -> Test:
    tests = [name for name in ("equals", "contains", "at_least", "at_most") if name in about]
    if len(tests) != 1:
        raise ValueError("a value is compared by one of equals, contains, at_least, at_most")
    return functools.partial(_compare, tests[0], about[tests[0]])


def _compare(test: str, wanted: Any, value: Any) -> bool | None:
    if test == "equals":
        return type(value) is type(wanted) and bool(value == wanted)
    if test == "contains":
        return isinstance(value, list) and any(type(one) is type(wanted) and one == wanted for one in value)
    if isinstance(wanted, str) and isinstance(value, str):
        return at_least(value, wanted) if test == "at_least" else at_least(wanted, value)
    if type(value) is not int or type(wanted) is not int:
        return False
    return value >= wanted if test == "at_least" else value <= wanted


def _key(pattern: str, key: str, test: Test, files: Files, program: Program) -> Outcome:
    """A value of a TOML, YAML or JSON file; `a.*.b` means each b below a, and there must be one."""
    for name, data in _found(pattern, files, program):
        if data is None:
            return Outcome(False, "This file is not there, or can't be read.", name)
        values = list(_values(_document(name, data), key.split(".")))
        if not values or not all(test(value) for value in values):
            return Outcome(False, f"{key} is not what the fix makes it.", name)
    return HOLDS


@functools.lru_cache(maxsize=512)
def _document(name: str, data: bytes) -> Any:
    try:
        match name.rpartition(".")[2]:
            case "toml" | "lock":
                return tomllib.loads(data.decode())
            case "yaml" | "yml":
                return safe_yaml(data)
            case "json":
                return json.loads(data)
            case _:
                return None
    except (ValueError, RecursionError):
        return None


def _values(value: Any, path: Sequence[str]) -> Iterator[Any]:
    if not path:
        yield value
    elif path[0] == "*":
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for one in inner:
            yield from _values(one, path[1:])
    elif isinstance(value, dict):
        for name, one in value.items():
            if str(name) == path[0]:
                yield from _values(one, path[1:])


def _line(pattern: str, wanted: str, files: Files, program: Program) -> Outcome:
    """A whole line, without what stands before and after it, of a file that is not parsed here."""
    for name, data in _found(pattern, files, program):
        if data is None or wanted.strip().encode() not in (line.strip() for line in data.splitlines()):
            return Outcome(False, "The line of the fix is not there.", name)
    return HOLDS


# --- dependencies and limits -----------------------------------------------------------------------------------------


def _lock(library: str, floor: str, files: Files, program: Program) -> Outcome:
    """Every version of the library that uv.lock holds; without a lock, what the floors in pyproject.toml allow."""
    if "uv.lock" not in files.names():
        return _unlocked(library, floor, files, program)
    data = files.read("uv.lock")
    document = _document("uv.lock", data) if data else None
    packages = document.get("package") if isinstance(document, dict) else None
    if not isinstance(packages, list):
        return Outcome(None, "uv.lock can't be read, so the installed versions are not known.", "uv.lock")
    for package in packages:
        if isinstance(package, dict) and _normal(package.get("name")) == _normal(library):
            source = package.get("source")
            if isinstance(source, dict) and "registry" not in source:
                return Outcome(None, f"{library} comes from no index here, so its version says nothing.", "uv.lock")
            version = package.get("version")
            enough = at_least(version, floor) if isinstance(version, str) else None
            if not enough:
                return Outcome(enough, f"{library} is not at least {floor} here.", "uv.lock")
    return HOLDS


def _unlocked(library: str, floor: str, files: Files, program: Program) -> Outcome:
    """A floor is a verdict where it is high enough: nothing older is installed. A lower one says nothing."""
    outcome = _requires(library, floor, files, program)
    project = _document("pyproject.toml", files.read("pyproject.toml") or b"")
    sources = next(_values(project, ("tool", "uv", "sources")), None)
    if any(_normal(name) == _normal(library) for name in (sources if isinstance(sources, dict) else ())):
        return Outcome(None, f"tool.uv.sources takes {library} from elsewhere.", "pyproject.toml")
    if outcome is HOLDS:
        return HOLDS
    if outcome.why == _OVERRIDDEN.format(library=library, floor=floor):
        return Outcome(None, outcome.why, outcome.file)
    why = (
        f"No uv.lock is committed, and the floor of {library} in pyproject.toml is below {floor}, so the repository"
        " does not say which version is installed."
    )
    return Outcome(None, why, "pyproject.toml", absent=True)


def _requires(library: str, floor: str, files: Files, _: Program) -> Outcome:
    """The floor of the library in the extra `bastion` or the group `bastion-dev` of pyproject.toml."""
    data = files.read("pyproject.toml")
    project = _document("pyproject.toml", data) if data else None
    found = [
        line
        for path in (("project", "optional-dependencies", "bastion", "*"), ("dependency-groups", "bastion-dev", "*"))
        for line in _values(project, path)
        if _library(line) == _normal(library)
    ]
    if not found or not all(_floor(line) and at_least(_floor(line), floor) for line in found):
        return Outcome(False, f"The floor of {library} is not at least {floor} here.", "pyproject.toml")
    for line in _values(project, ("tool", "uv", "override-dependencies", "*")):  # what uv installs, whatever is asked
        if _library(line) == _normal(library) and not (_floor(line) and at_least(_floor(line), floor)):
            return Outcome(False, _OVERRIDDEN.format(library=library, floor=floor), "pyproject.toml")
    return HOLDS


def floors(pyproject: bytes) -> dict[str, str]:
    """The lowest version of each library that a pyproject.toml of the template allows."""
    project = _document("pyproject.toml", pyproject)
    lines = _values(project, ("project", "optional-dependencies", "bastion", "*"))
    return {_library(line): floor for line in lines if (floor := _floor(line))}


def _library(requirement: object) -> str:
    """Which library a requirement names; "" if it is no text."""
    return _normal(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]) if isinstance(requirement, str) else ""


def _floor(requirement: str) -> str:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        specifiers = Requirement(requirement).specifier
    except InvalidRequirement:
        return ""
    return next((one.version for one in specifiers if one.operator in (">=", "==", "~=")), "")


def _normal(name: object) -> str:
    """As the package index compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower() if isinstance(name, str) else ""


def _limit(limit: str, test: Test, files: Files, program: Program) -> Outcome:
    """A limit as this service has it: what exceptions.toml declares, otherwise what the template recommends."""
    file = f"src/{program.package}/exceptions.toml"
    declared = list(_values(_document(file, files.read(file) or b""), ("limits", limit, "value")))
    for value in declared:
        if not test(value):
            return Outcome(False, f"{limit} is loosened here beyond what the fix allows.", file)
    settings = f"src/{program.package}/{_LIMITS}"
    module = syntax.parse(files.read(settings) or b"")
    scope = syntax.scope(module, "Limits") if module else None
    recommended = [
        node.value.args[0].value
        for node in (scope.body if scope else ())
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and any(isinstance(target, ast.Name) and target.id == limit for target in node.targets)
        and node.value.args
        and isinstance(node.value.args[0], ast.Constant)
    ]
    if len(recommended) != 1 or (not declared and not test(recommended[0])):
        return Outcome(False, f"{limit} is not what the fix makes it.", settings)
    return _in_force(settings, "Limits", {"Limits", limit}, program)
