"""Propose the template's answers for an application, each with the evidence for it.

They are proposals: --data replaces them. A name or a text that comes from the application becomes an answer
only if the template's own validators take it, as an answer lands in code.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..template import Release, TemplateError
from ..tree import Tree
from .application import is_of_tests, names
from .requirements import Asked

_DATABASES: Final = {
    "postgresql": ("psycopg2", "psycopg2-binary", "psycopg", "asyncpg", "pg8000"),
    "mysql": ("pymysql", "mysqlclient", "mysql-connector-python", "mariadb", "flask-mysqldb", "aiomysql"),
}
_ADDRESSES: Final = {
    "postgresql": re.compile(rb"\bpostgres(?:ql)?(?:\+[a-z0-9]+)?://"),
    "mysql": re.compile(rb"\b(?:mysql|mariadb)(?:\+[a-z]+)?://"),
    "sqlite": re.compile(rb"\bsqlite(?:\+[a-z]+)?:///|\bsqlite3\.connect\("),
}
_TOKENS: Final = ("flask-jwt-extended", "flask-jwt", "flask-jwt-simple", "pyjwt", "python-jose", "flask-praetorian")
_PAGES: Final = ("flask-login", "flask-wtf", "flask-security", "flask-security-too", "flask-user")
_BACKENDS: Final = {
    "vault": ("hvac",),
    "gcp": ("google-cloud-secret-manager",),
    "azure": ("azure-keyvault-secrets",),
}
_BACKENDS_SAID: Final = {
    "aws": re.compile(rb"[\"']secretsmanager[\"']"),
    "files": re.compile(rb"/run/secrets\b"),
}
_OTHER_CI: Final = (".gitlab-ci.yml", "Jenkinsfile", ".circleci/config.yml", "bitbucket-pipelines.yml", ".travis.yml")
_LOOKED_AT: Final = re.compile(
    r".*\.(?:py|cfg|ini|toml|ya?ml|env|conf|sh)\Z|(?:.*/)?(?:\.env[^/]*|Dockerfile|Procfile)\Z"
)
DEFAULT: Final = "the template's own"
"""Why an answer was chosen of which nothing was seen."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What fits one question, and why in a few words."""

    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Package:
    """The package that makes the Flask app: its name and its folder ("src/acme"); both "" if modules lie loose."""

    name: str = ""
    folder: str = ""
    made_in: str = ""  # the file that holds Flask(...); "" if none does


def package(tree: Tree, makers: Iterable[str]) -> Package:
    """Where the application is made. Of several places the shallowest counts, then the first by name."""
    for name in sorted(makers, key=lambda name: (name.count("/"), name)):
        parts = name.removeprefix("src/").split("/")
        folder = f"src/{parts[0]}" if name.startswith("src/") else parts[0]
        if len(parts) > 1 and f"{folder}/__init__.py" in tree.sizes and parts[0].isidentifier():
            return Package(parts[0], folder, name)
        return Package(made_in=name)
    return Package()


def answers(
    tree: Tree, release: Release, asked: Iterable[Asked], found: Package, given: Mapping[str, str], folder: str
) -> dict[str, Answer]:
    """An answer to each question that is asked. Raises TemplateError if the template does not take a given one."""
    wanted = {one.name: one for one in reversed([*asked])}
    unknown = sorted(given.keys() - release.questions.keys())
    if unknown:
        raise TemplateError(f"The template does not ask for {unknown[0]}.")
    proposals = {
        "project_name": _names(tree, found, folder),
        "description": _descriptions(tree),
        "auth": _auth(tree, wanted),
        "database": _database(tree, wanted),
        "secrets": _secrets(tree, wanted),
        "ci": _ci(tree),
    }
    chosen: dict[str, Answer] = {}
    for question, about in release.questions.items():
        if isinstance(about, dict) and about.get("when") is False:
            continue
        if question in given:
            chosen[question] = Answer(given[question], "given")
            continue
        default = str(about.get("default", "") if isinstance(about, dict) else about)
        tried = [*proposals.get(question, ()), Answer(default, DEFAULT)]
        chosen[question] = next((one for one in tried if _takes(release, question, one)), tried[-1])
    try:
        release.answers({question: answer.value for question, answer in chosen.items()})
    except TemplateError as error:
        raise TemplateError(f"{error} Give another with --data.") from None
    return chosen


def _takes(release: Release, question: str, answer: Answer) -> bool:
    """Whether the template takes it, by itself; for a name, for the package that is called after it, too."""
    try:
        release.answers({question: answer.value})
    except TemplateError:
        return False
    return True


def _names(tree: Tree, found: Package, folder: str) -> Iterator[Answer]:
    """The package's own name comes first: it stands in every import."""
    if found.name:
        yield Answer(found.name.replace("_", "-"), f"its package is {found.folder}")
    project = _project(tree)
    for name, why in ((project.get("name"), "its pyproject.toml says so"), (folder, "its folder is called so")):
        if isinstance(name, str):
            plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
            yield Answer(plain, why)
            yield Answer(f"{plain}-service"[:40], f"{why}, and the plain name is taken")


def _descriptions(tree: Tree) -> Iterator[Answer]:
    text = _project(tree).get("description")
    if isinstance(text, str):
        yield Answer(text, "its pyproject.toml says so")


def _auth(tree: Tree, wanted: Mapping[str, Asked]) -> Iterator[Answer]:
    pages, tokens = _asked(wanted, _PAGES), _asked(wanted, _TOKENS)
    html = next((name for name in names(tree) if name.endswith(".html") and "templates" in name.split("/")), "")
    if html and (tokens or not pages):
        yield Answer(
            "session", f"there are pages ({html})" + (f", although {tokens}: one style a service" if tokens else "")
        )
    elif pages:
        yield Answer("session", pages)
    elif tokens:
        yield Answer("jwt", f"{tokens}, and there are no pages")


def _database(tree: Tree, wanted: Mapping[str, Asked]) -> Iterator[Answer]:
    """A driver that is asked for says more than an address; a server more than SQLite, which many only test with."""
    for database, drivers in _DATABASES.items():
        if why := _asked(wanted, drivers):
            yield Answer(database, why)
    for database, address in _ADDRESSES.items():
        if why := _said(tree, address):
            yield Answer(database, f"an address of it stands in {why}")


def _secrets(tree: Tree, wanted: Mapping[str, Asked]) -> Iterator[Answer]:
    for backend, libraries in _BACKENDS.items():
        if why := _asked(wanted, libraries):
            yield Answer(backend, why)
    for backend, said in _BACKENDS_SAID.items():
        if why := _said(tree, said):
            yield Answer(backend, f"it is named in {why}")


def _ci(tree: Tree) -> Iterator[Answer]:
    if any(name.startswith(".github/") for name in names(tree)):
        yield Answer("github", ".github/ is there")
    for name in _OTHER_CI:
        if name in tree.sizes:
            yield Answer("none", f"{name} is there: run `uv run pytest` and `flask-bastion check` in it")


def _asked(wanted: Mapping[str, Asked], names: Iterable[str]) -> str:
    one = next((wanted[name] for name in names if name in wanted), None)
    return f"{one.name} is asked for ({one.file}:{one.line})" if one else ""


def _said(tree: Tree, pattern: re.Pattern[bytes]) -> str:
    """The first file that says it, tests left out."""
    for name in names(tree):
        if _LOOKED_AT.match(name) and not is_of_tests(name):
            data = tree.read(name)
            if data is not None and pattern.search(data):
                return name
    return ""


def _project(tree: Tree) -> Mapping[str, Any]:
    try:
        data = tomllib.loads((tree.read("pyproject.toml") or b"").decode())
    except (ValueError, RecursionError):
        return {}
    for table in (
        data.get("project"),
        (data.get("tool") or {}).get("poetry") if isinstance(data.get("tool"), dict) else 0,
    ):
        if isinstance(table, dict):
            return table
    return {}
