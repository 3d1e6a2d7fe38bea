"""One look at every file of an application: where it makes its app, its routes, and secrets that stand in it.

A stranger's repository can hold gigabytes of Python. Each module is parsed once, forgotten at once, and only while
there is time.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Final

from .. import syntax
from ..tree import Tree
from .blueprints import Key, Prefixes
from .hardcoded import MOST as MOST_SECRETS
from .hardcoded import OF_TESTS, Place, hardcoded, looks
from .routes import MOST as MOST_ROUTES
from .routes import Route, placed, routes

LONGEST_NAME: Final = 300
"""Characters of a file's path; longer ones were generated, or are meant to keep this program busy."""


_SAYS_SOMETHING: Final = re.compile(
    rb"route|\.(?:get|post|put|patch|delete)\(|add_url_rule|add_resource|blueprint|url_prefix|flask\(|"
    rb"secret|passw|passphrase|token|_?key|salt|://",
    re.IGNORECASE,
)
"""What stands in every module in which there is something to find: the others are not parsed."""


@dataclass(frozen=True, slots=True)
class Application:
    """Findings in the source: files that call Flask(...), routes and places of secrets, in the order of the files."""

    makers: tuple[str, ...]
    routes: tuple[Route, ...]
    secrets: tuple[Place, ...]


def names(tree: Tree) -> list[str]:
    """The files that are looked at."""
    return [name for name in tree.names() if len(name) <= LONGEST_NAME]


def look(tree: Tree) -> Application:
    """Look at all files, but for those of tests; what there was no time for is a fault of the tree."""
    makers: list[str] = []
    found: list[tuple[Key, Route]] = []
    secrets: list[Place] = []
    prefixes = Prefixes()
    for name in names(tree):
        if not looks(name):
            continue
        if not tree.in_time():
            break
        data = tree.read(name)
        if data is None:
            continue
        worth = name.endswith(".py") and _SAYS_SOMETHING.search(data)
        module = syntax.parse.__wrapped__(data) if worth else None  # not kept
        if len(secrets) < MOST_SECRETS:
            secrets += hardcoded(name, data, module)
        if module is not None:
            prefixes.read(name, module)
            if len(found) < MOST_ROUTES:
                found += routes(name, module)
            if _makes(module):
                makers.append(name)
    return Application(tuple(makers), tuple(placed(found, prefixes.all())[:MOST_ROUTES]), tuple(secrets[:MOST_SECRETS]))


def _makes(module: ast.Module) -> bool:
    return any(
        isinstance(node, ast.Call) and "Flask" in (getattr(node.func, "id", ""), getattr(node.func, "attr", ""))
        for node in ast.walk(module)
    )


def is_of_tests(name: str) -> bool:
    """Whether a file belongs to tests, which use other databases and passwords than the application."""
    return bool(OF_TESTS.match(name))
