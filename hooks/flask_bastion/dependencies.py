"""Find where a library of the template is replaced, older or left out, although pyproject.toml asks for a safe one.

A floor protects nothing when uv takes the library from a fork, a Dockerfile installs an older one afterwards, or a
folder of its name is imported in its place. Everything is read as values; nothing is resolved, fetched or built.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from .finding import Finding
from .values import read_toml, texts, value_at

if TYPE_CHECKING:
    from .program import Files

_INDIRECT: Final = frozenset(
    {
        "alembic", "annotated-types", "argon2-cffi-bindings", "asgiref", "blinker", "cbor2", "cffi", "click",
        "dnspython", "greenlet", "idna", "itsdangerous", "jinja2", "mako", "markupsafe", "pyasn1", "pyasn1-modules",
        "pycparser", "pydantic-core", "pyopenssl", "python-dotenv", "typing-extensions", "typing-inspection",
    }
)  # fmt: skip
"""What the libraries of every service bring along; a test holds it against what a lock says."""
_IMPORTED_AS: Final = {
    "argon2-cffi": "argon2", "argon2-cffi-bindings": "_argon2_cffi_bindings", "pyjwt": "jwt", "pyopenssl": "OpenSSL",
    "python-dotenv": "dotenv",
}  # fmt: skip
"""Libraries whose module has another name than they, with `-` as `_`."""
_MAX_LISTS: Final = 10
_MAX_FILES: Final = 100
"""Files that start something; a service has five."""
_PYTHONPATH: Final = re.compile(
    r"(?<![${\w])(?:ENV\s+PYTHONPATH\s+|PYTHONPATH[\"']?\s*[:=]\s*(?:value:\s*)?)[\"']?"
    r"((?:\$\{\{[^}\n]*\}\}|\$\{[^}\n]*\}|[^\"'\s])*)"
)
_SAME: Final = re.compile(r"\$\{PYTHONPATH[^}]*\}|\$PYTHONPATH\b")
_HERE: Final = re.compile(
    r"(?:\$\{\{\s*github\.workspace\s*\}\}|\$\{?(?:GITHUB_WORKSPACE|CI_PROJECT_DIR|PWD)\}?|\$\(pwd\)|\.)(?:/|\Z)"
)
"""How a path begins that leads to the repository itself."""
_SETS_PATH: Final = re.compile(
    r"\.github/workflows/[^/]+\.ya?ml|\.gitlab-ci\.yml|(?:.*/)?(?:[^/]*Dockerfile[^/]*|Containerfile|Procfile|"
    r"compose[^/]*\.ya?ml|docker-compose[^/]*\.ya?ml|\.env|\.envrc)|deploy/.+\.(?:ya?ml|sh|conf|service)"
)
"""Files that say how the service and its proofs are started."""
_IMAGE: Final = re.compile(r"(?:.*/)?(?:[^/]*Dockerfile[^/]*|Containerfile)")
_INSTALL: Final = re.compile(r"\b(?:pip3?|uv)\s+(?:pip\s+)?(?:install|add)\s([^;&|\n]*)")
_CURE: Final = "Take it out, so that the template's floor decides. If you need another version, ask for a newer one."
_CURE_PATH: Final = "Name only src and tests there, or move the folder that has a library's name."


def findings(files: Files, package: str) -> list[Finding]:
    """Each place that gives the service another library than the template asks for, or may do so."""
    project = read_toml(files, "pyproject.toml")
    floors = _floors(project)
    if not floors:
        return []  # that the template's lists are not there is a finding of its own
    names = floors.keys() | _INDIRECT
    modules = {_IMPORTED_AS.get(name, name.replace("-", "_")) for name in names}
    found = [*_asked(project, names), *_of_uv(project, read_toml(files, "uv.toml"), floors, names)]
    found += _of_build(project, read_toml(files, "hatch.toml"), modules, package)
    found += _vendored(files, modules)
    found += _started(files, floors, modules)
    return found


# --- pyproject.toml --------------------------------------------------------------------------------------------------


def _asked(project: Any, names: frozenset[str] | set[str]) -> Iterator[Finding]:
    """A library of the template that is asked for from an address of its own."""
    groups = [value_at(project, "project", "optional-dependencies"), value_at(project, "dependency-groups")]
    lists = [value_at(project, "project", "dependencies"), *(one for group in groups for one in _values(group))]
    for line in (line for lines in lists for line in texts(lines)):
        if "@" in line and _library(line) in names:
            yield _replaced(f"{_library(line)} is installed from an address: {line}.", "pyproject.toml")


def _of_uv(project: Any, other: Any, floors: Mapping[str, str], names: frozenset[str] | set[str]) -> Iterator[Finding]:
    sources = value_at(project, "tool", "uv", "sources")
    for name, source in sources.items() if isinstance(sources, dict) else ():
        if _normal(name) in names:
            tables = source if isinstance(source, list) else [source]
            if all(isinstance(one, dict) and "index" in one for one in tables):
                text = f"The origin of {name} is not known: tool.uv.sources names an index for it."
                yield _replaced(text, "pyproject.toml", certain=False)
            else:
                yield _replaced(f"tool.uv.sources takes {name} from elsewhere.", "pyproject.toml")
    for file, options in (("pyproject.toml", value_at(project, "tool", "uv")), ("uv.toml", other)):
        for line in texts(value_at(options, "exclude-dependencies")):
            if _library(line) in names:
                yield _replaced(f"exclude-dependencies leaves {_library(line)} out.", file)
        for line in texts(value_at(options, "override-dependencies")):
            if _library(line) in names and not _reaches(line, floors.get(_library(line), "")):
                yield _replaced(f"override-dependencies makes {_library(line)} older or another: {line}.", file)


def _of_build(project: Any, other: Any, modules: set[str], package: str) -> Iterator[Finding]:
    """What hatchling puts into the wheel in place of, or beside, the files of the template."""
    for file, hatch in (("pyproject.toml", value_at(project, "tool", "hatch")), ("hatch.toml", other)):
        build = value_at(hatch, "build")
        wheel = value_at(build, "targets", "wheel")
        for options in (build, wheel):
            for key in ("force-include", "sources"):
                mapped = value_at(options, key)
                for source, target in mapped.items() if isinstance(mapped, dict) else ():
                    path = [part for part in str(target).split("/") if part not in ("", ".")]
                    stem = path[0].removesuffix(".py") if path else ""
                    if stem in modules or path[:2] == [package, "bastion"] or path == [package]:
                        yield _replaced(f"{key} puts {source} in place of {target}.", file)
            for one in (*texts(value_at(options, "packages")), *texts(value_at(options, "only-include"))):
                if one.strip("/").rpartition("/")[2] in modules:
                    yield _replaced(f"The wheel holds {one}, which has the name of a library.", file)
            for one in texts(value_at(options, "exclude")):
                if "bastion" in one:
                    yield _replaced(f"The wheel leaves {one} out.", file)
            if value_at(options, "hooks", "custom") is not None:
                yield _replaced("What a custom build hook puts into the wheel is not known.", file, certain=False)


# --- folders and commands --------------------------------------------------------------------------------------------


def _vendored(files: Files, modules: set[str]) -> Iterator[Finding]:
    """A module of a library's name where Python finds it first, or may do so."""
    names = frozenset(files.names())
    elsewhere = []
    for name in sorted(names):
        folder, _, last = name.removesuffix("/__init__.py").rpartition("/")
        if not name.endswith(".py") or last.removesuffix(".py") not in modules:
            continue
        if folder in ("", "src"):
            text = "This has the name of a library of the template, and is imported in its place."
            yield Finding("dependency-replaced", "error", text, "Give it another name.", name)
        elif f"{folder}/__init__.py" not in names and not name.startswith("tests/"):
            elsewhere.append(name)
    if elsewhere and (changer := _changes_path(files, names)):
        text = f"This may be imported in place of a library: {changer} changes sys.path."
        yield Finding("dependency-replaced", "warning", text, "Give it another name.", elsewhere[0])


def _changes_path(files: Files, names: frozenset[str]) -> str:
    for name in sorted(names):
        if name.endswith(".py") and (name.startswith("src/") or "/" not in name or name.endswith("conftest.py")):
            source = files.read(name) or b""
            if b"sys" in source and re.search(rb"\bsys\s*\.\s*path\b|\bfrom\s+sys\s+import\b|addsitedir", source):
                return name
    return ""


def _started(files: Files, floors: Mapping[str, str], modules: set[str]) -> Iterator[Finding]:
    """Libraries that are installed, or folders put before them, where the service or its proofs are started."""
    for name in [name for name in files.names() if _SETS_PATH.fullmatch(name)][:_MAX_FILES]:
        text = (files.read(name) or b"").decode(errors="replace")
        if "PYTHONPATH" in text:
            yield from _on_path(name, re.sub(r"(PYTHONPATH)[\"']?\s*\n\s*value:", r"\1:", text), files, modules)
        if _IMAGE.fullmatch(name):
            yield from _installed(name, text, files, floors)


def _on_path(name: str, text: str, files: Files, modules: set[str]) -> Iterator[Finding]:
    """A folder in PYTHONPATH that has a library in it, or is not in the repository."""
    names = frozenset(files.names())
    folders = {one.rpartition("/")[0] for one in names}
    bases = re.findall(r"(?m)^\s*WORKDIR\s+(\S+)", text)
    for number, line in enumerate(text.splitlines(), start=1):
        found = _PYTHONPATH.search(line) if line.lstrip()[:1] != "#" else None
        for part in _SAME.sub("", found[1]).split(":") if found else ():
            place = _HERE.sub("", part)
            place = next((place.removeprefix(one) for one in bases if place.startswith(one)), place).strip("/")
            held = [one for one in modules if {f"{place}/{one}.py", f"{place}/{one}/__init__.py"} & names]
            if held:
                what = f"PYTHONPATH puts {place}/{held[0]} before the library of that name."
                yield Finding("dependency-replaced", "error", what, _CURE_PATH, name, number)
            elif place not in ("", "src", "tests") and not any(f"{one}/".startswith(f"{place}/") for one in folders):
                what = f"Modules of {part}, which PYTHONPATH puts before the libraries, may be imported in their place."
                yield Finding("dependency-replaced", "warning", what, _CURE_PATH, name, number)


def _installed(name: str, text: str, files: Files, floors: Mapping[str, str]) -> Iterator[Finding]:
    for found in _INSTALL.finditer(re.sub(r"\\\r?\n", "  ", text)):
        words = [word.strip("\"'") for word in found[1].split()]
        lists = [word for before, word in itertools.pairwise(words) if before in ("-r", "--requirement")]
        for list_name in lists[:_MAX_LISTS]:
            data = files.read(list_name.removeprefix("./")) or b""
            words += [line.partition("#")[0].strip() for line in data.decode(errors="replace").splitlines()]
        for line in words:
            if line[:1] == "-" or _library(line) not in floors or _reaches(line, floors[_library(line)]):
                continue
            yield _replaced(f"This installs {line}, and the template needs {floors[_library(line)]} or newer.", name)


# --- helpers ---------------------------------------------------------------------------------------------------------


def _replaced(text: str, file: str, *, certain: bool = True) -> Finding:
    return Finding("dependency-replaced", "error" if certain else "warning", text, _CURE, file)


def _reaches(line: str, floor: str) -> bool:
    """Whether a requirement allows some version that is not older than the floor, from an index."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    from .adoption.requirements import together

    try:
        requirement, wanted = Requirement(line), SpecifierSet(f">={floor}" if floor else "")
    except (InvalidRequirement, InvalidSpecifier):
        return False
    return requirement.url is None and (not floor or together(requirement.specifier, wanted))


def _floors(project: Any) -> dict[str, str]:
    """The floor of each library that the template brings to run a service; "" for one that has none."""
    found = {}
    for line in texts(value_at(project, "project", "optional-dependencies", "bastion")):
        floor = re.search(r">=\s*([0-9][0-9A-Za-z.]*)", line)
        found[_library(line)] = floor[1] if floor else ""
    return found


def _values(data: Any) -> list[Any]:
    return list(data.values()) if isinstance(data, dict) else []


def _library(line: str) -> str:
    return _normal(re.split(r"[^A-Za-z0-9._-]", line.strip(), maxsplit=1)[0])


def _normal(name: object) -> str:
    return re.sub(r"[-_.]+", "-", str(name)).lower()
