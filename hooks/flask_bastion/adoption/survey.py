"""Survey an application before the template comes in: files, libraries, routes, secrets.

Collisions are found before anything is written, so that a person who knows the application decides.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.specifiers import SpecifierSet

from .. import drift, syntax
from ..finding import Finding
from ..repository import ANSWERS
from ..template import Release, matcher
from ..tree import Tree
from . import ASIDE, application, placement, project_file, proposals, requirements
from .hardcoded import Place
from .proposals import Answer, Package
from .requirements import Asked
from .routes import Route, routes
from .successors import SUCCESSORS

SECONDS: Final = 60.0
"""CPU time for all reading: one application is read whole, also on a busy machine."""
EXAMPLE: Final = ("/src/*/notes/**", "/src/*/migrations/*_notes.py", "/tests/test_notes_*.py")
"""The template's example of a feature: an application that exists has features of its own."""
_OF_EXAMPLE: Final = re.compile(rb"[^\n]*\bnotes\b[^\n]*\n")
"""A line that registers or lists the example, in the three files that do."""
_ACCOUNTS: Final = frozenset({"auth", "account", "accounts", "user", "users"})
"""Below such a folder an application has the addresses that the template has elsewhere."""
_ALONG: Final = frozenset(
    {"jinja2", "markupsafe", "itsdangerous", "click", "blinker", "mako", "greenlet", "typing-extensions", "dnspython"}
)
"""What comes with the template's libraries: a frozen list names it in versions of its own time."""


@dataclass(frozen=True, slots=True)
class Library:
    """A library that the application asks for: `verdict` is stays, brought, collides or replaced; `text` says more."""

    asked: Asked
    verdict: str
    text: str


@dataclass(frozen=True, slots=True)
class Survey:
    """The findings. Bytes are whole files, by name, as they will be written."""

    name: str  # of the folder
    version: str  # of the template
    source: str
    is_service: bool
    answers: dict[str, Answer]
    package: str  # the template's name for it
    found: Package
    new: dict[str, bytes]
    same: tuple[str, ...]
    yours: tuple[str, ...]
    aside: dict[str, bytes]  # to be merged by a person
    example: dict[str, bytes]  # of a feature, to be read
    diffs: dict[str, tuple[str, ...]]
    overruled: tuple[str, ...]  # of pyproject.toml
    recorded: bytes  # the answers file
    hindrances: tuple[str, ...]
    libraries: tuple[Library, ...]
    routes: tuple[Route, ...]
    taken: frozenset[str]  # addresses that the template answers itself
    secrets: tuple[Place, ...]
    unread: tuple[Finding, ...]
    has: frozenset[str]  # what else matters: "tests/__init__.py", "migrations/versions/", ...

    def answered_at(self, path: str) -> str:
        """The address at which the template does what this one does: itself, or /login for /auth/login; "" if none."""
        if path in self.taken:
            return path
        before, *segments = path.strip("/").split("/")
        tried = [f"/auth{path}"]
        for at, segment in enumerate(segments):
            rest = "/" + "/".join(segments[at:])
            if rest in ("/login", "/logout") or before in _ACCOUNTS:
                tried += [rest, f"/auth{rest}"]
            before = segment
        return next((one for one in tried if one in self.taken), "")


def look(folder: Path, release: Release, source: str, given: Mapping[str, str]) -> Survey:
    """Look at a folder, for a version of the template and the answers that were given.

    Raises TemplateError for an answer that the template does not take.
    """
    tree = Tree(folder, seconds=SECONDS, clock=time.process_time)
    seen = application.look(tree)
    asked = requirements.asked(tree)
    found = proposals.package(tree, seen.makers)
    name = folder.resolve().name
    answers = proposals.answers(tree, release, asked, found, given, name)
    values = {question: answer.value for question, answer in answers.items()}
    whole = release.render(values, whole=True, source=source)
    rendered = dict(_without_example(whole))
    package = str(release.answers(values)["package_name"])
    project = rendered.get("pyproject.toml", b"")
    libraries = tuple(_libraries(asked, requirements.floors(project), project))
    overruled: tuple[str, ...] = ()
    hindrances = []
    try:
        kept = [one.asked for one in libraries if one.verdict == "stays"]
        joined = project_file.join(project, tree.read("pyproject.toml"), kept)
        rendered["pyproject.toml"], overruled = joined.text.encode(), joined.overruled
    except project_file.NoProjectFile as error:
        hindrances.append(f"{error}. Make it one, commit, and try again.")
    sorted_out = _Sorted(tree, release, package, rendered)
    return Survey(
        name=name,
        version=release.text,
        source=source,
        is_service=os.path.lexists(folder / ANSWERS),
        answers=answers,
        package=package,
        found=found,
        new=sorted_out.new,
        same=tuple(sorted_out.same),
        yours=tuple(sorted_out.yours),
        aside=sorted_out.aside,
        example={name: data for name, data in whole.items() if matcher(EXAMPLE)(name)},
        diffs=sorted_out.diffs,
        overruled=overruled,
        recorded=release.recorded(values, source),
        hindrances=(*hindrances, *_hindrances(tree, found, package, placement.obstacles(folder, rendered))),
        libraries=libraries,
        routes=seen.routes,
        taken=frozenset(_answered(rendered)),
        secrets=seen.secrets,
        unread=tree.faults,
        has=frozenset(_has(tree)),
    )


class _Sorted:
    """The template's files by what becomes of them: new, the same already, the application's, or to be merged."""

    def __init__(self, tree: Tree, release: Release, package: str, rendered: Mapping[str, bytes]) -> None:
        self.new: dict[str, bytes] = {}
        self.same: list[str] = []
        self.yours: list[str] = []
        self.aside: dict[str, bytes] = {}
        self.diffs: dict[str, tuple[str, ...]] = {}
        existing = {name.casefold(): name for name in tree.names()}  # readme.md is README.md on some machines
        for name, data in sorted(rendered.items()):
            there = existing.get(name.casefold())
            if there is None and not os.path.lexists(tree.root / name):
                self.new[name] = data
                continue
            mine = tree.read(there) if there else None
            if mine is not None and mine.replace(b"\r\n", b"\n") == data:
                self.same.append(name)
            elif release.is_teams(name) and name not in (*seams(package), *decisive(package), "README.md"):
                self.yours.append(name)
            else:
                self.aside[name] = data
                self.diffs[name] = drift.difference(data, mine or b"")


def seams(package: str) -> tuple[str, str]:
    """The two files of the application by which the template takes hold of it."""
    return f"src/{package}/app.py", f"src/{package}/settings.py"


def decisive(package: str) -> tuple[str, str]:
    """Two files that are the team's and decide about protection: one that was there before may be an attacker's."""
    return ".bastion-trust.toml", f"src/{package}/exceptions.toml"


def _answered(rendered: Mapping[str, bytes]) -> Iterator[str]:
    """The addresses that the template answers itself."""
    for name, data in rendered.items():
        module = syntax.parse(data) if "/bastion/" in name and name.endswith(".py") and b"blueprint." in data else None
        yield from (route.path for _, route in routes(name, module)) if module else ()


def _without_example(rendered: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    is_example = matcher(EXAMPLE)
    for name, data in rendered.items():
        if is_example(name):
            continue
        names_it = re.fullmatch(r"src/[^/]+/(?:app|settings)\.py|docs/access\.md", name)
        yield name, _OF_EXAMPLE.sub(b"", data) if names_it else data


def _hindrances(tree: Tree, found: Package, package: str, obstacles: Mapping[str, str]) -> Iterator[str]:
    """What has to be changed before anything can be put in, a sentence each with the cure."""
    for name, what in obstacles.items():
        yield f"{name} is {what}, where a folder of the template has to be. Make it a folder, commit, and try again."
    if found.folder == package:
        before = "" if any(name.startswith("src/") for name in tree.sizes) else "mkdir src && "
        move = f"{before}git mv {package} src/{package} && git commit -m 'Move the package below src'"
        yield f"The package lies in {package}/, and in a service in src/{package}/. Move it, and try again: {move}"
    if os.path.lexists(tree.root / ASIDE):
        yield f"{ASIDE}/ is there already, from another time. Remove it, commit, and try again."
    for fault in tree.faults:
        if fault.kind in ("repository-many", "repository-slow"):
            yield f"Not everything was looked at: {fault.text} Name only the folder of the application."


def _libraries(asked: Iterable[Asked], floors: Mapping[str, SpecifierSet], project: bytes) -> Iterator[Library]:
    tools = requirements.tools(project)
    for one in asked:
        successor = SUCCESSORS.get(one.name)
        floor = floors.get(one.name) or (tools.get(one.name) if one.development else None)
        if successor and not (successor.stays and floor is not None):
            yield Library(one, "replaced", f"{successor.place}: {successor.how}")
        elif floor is not None and not requirements.together(one.specifier, floor):
            more = f"; {successor.how}" if successor else ""
            needed = ",".join(sorted(map(str, floor), reverse=True))  # >=3.1.3,<4
            yield Library(one, "collides", f"the template needs {needed}: make your code fit{more}")
        elif floor is not None:
            yield Library(one, "brought", successor.how if successor else "the template's own requirement is enough")
        elif one.name in _ALONG:
            yield Library(one, "brought", "it comes along with the template's libraries")
        else:
            yield Library(one, "stays", "")


def _has(tree: Tree) -> Iterator[str]:
    for name in ("tests/__init__.py", "requirements.txt", "setup.py", "Pipfile", "Procfile", "Dockerfile"):
        if name in tree.sizes:
            yield name
    files = [name for name in application.names(tree) if name.endswith(".py")]
    versions = (folder for name in files if (folder := name.rpartition("/")[0]).endswith("migrations/versions"))
    if folder := next(versions, ""):
        yield f"{folder}/"
