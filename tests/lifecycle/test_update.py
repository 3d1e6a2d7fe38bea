"""A service lives through updates: both sides keep their work, and a fix arrives.

Two versions of the template are made here, from the working tree; a clone in CI has no tags.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from flask_bastion.leftovers import leftovers
from flask_bastion.tree import Tree
from services import Service
from support import COMBINATIONS, IN_PLACE, Combination, Repository, answers_of, copier, done, git, uv

PACKAGE = f"template/src/{IN_PLACE.name}"
BASTION = "src/my_service/bastion"
FLOOR = '    "structlog>=26.1.0,<27",\n'
OLD_FLOOR = '    "structlog>=25.5.0,<27",\n'
FIX = '\n\nFIXED_IN_THE_SECOND_VERSION = True\n"""A fix, as the second version brings it."""\n'
QUESTION = "colour:\n  type: str\n  default: blue\n  help: A question that the first version did not ask.\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Two versions: v1.1.0 has a fix, a raised floor, new files and a question that v1.0.0 has not."""
    repository = Repository.make(tmp_path_factory.mktemp("versions") / "flask-bastion")
    repository.edit("template/pyproject.toml.jinja", FLOOR, OLD_FLOOR)
    repository.release("v1.0.0")

    repository.edit("template/pyproject.toml.jinja", OLD_FLOOR, FLOOR)
    append(repository, f"{PACKAGE}/bastion/clock.py", FIX)
    append(repository, f"{PACKAGE}/app.py", "\n# The template's example moved on.\n")
    append(repository, "template/README.md.jinja", "\nThe template's README moved on.\n")
    append(repository, "template/.gitignore", "\n/of-the-second-version/\n")
    write(repository, f"{PACKAGE}/bastion/arrived.py", '"""Arrived with the second version."""\n')
    write(
        repository,
        f"{PACKAGE}/example_of_the_template.py",
        '"""A second example, the team\'s to own."""\n',
    )
    write(repository, "template/tests/proofs/arrived.py", '"""Arrived with the second version."""\n')
    append(repository, "copier.yml", f"\n{QUESTION}")
    repository.release("v1.1.0")
    return repository


def append(repository: Repository, name: str, text: str) -> None:
    path = repository.path / name
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def write(repository: Repository, name: str, text: str) -> None:
    (repository.path / name).write_text(text, encoding="utf-8")


@pytest.fixture
def service(template: Repository, tmp_path: Path) -> Service:
    return Service.start(template.path, tmp_path / "service", ref="v1.0.0")


def updated(service: Service, ref: str = "v1.1.0", **answers: str) -> None:
    done(service.update(ref, **answers))
    assert service.conflicts() == []


def test_both_sides_keep_their_work_and_the_services_tests_pass(service: Service) -> None:
    app = service.read("src/my_service/app.py") + "\n# Ours.\n"
    clock = service.read(f"{BASTION}/clock.py")
    docstring, rest = clock.split("\n", 1)
    service.write("src/my_service/app.py", app)
    service.write("src/my_service/reports.py", '"""A feature of the team."""\n')
    service.write("tests/test_reports.py", '"""Ours."""\n\n\ndef test_ours() -> None:\n    assert True\n')
    service.write(f"{BASTION}/clock.py", f"{docstring}  # patched by hand\n{rest}")
    service.write(".gitignore", "# ours\n" + service.read(".gitignore"))
    git(service.path, "rm", "--quiet", "README.md")
    done(uv("add", "--quiet", "--no-sync", "tomli-w", cwd=service.path))
    before = tomllib.loads(service.read("pyproject.toml"))
    assert any(one.startswith("tomli-w") for one in before["project"]["dependencies"])
    service.commit("Our work")

    assert copier("check-update", "--quiet", cwd=service.path).returncode == 2
    updated(service)

    assert service.read("src/my_service/app.py") == app
    assert service.has("src/my_service/reports.py")
    assert not service.has("README.md")
    assert not service.has("src/my_service/example_of_the_template.py")
    assert service.read(f"{BASTION}/clock.py").endswith(FIX)
    assert "# patched by hand" in service.read(f"{BASTION}/clock.py")
    assert service.has(f"{BASTION}/arrived.py")
    assert service.has("tests/proofs/arrived.py")
    assert service.read(".gitignore").startswith("# ours\n")
    assert "/of-the-second-version/" in service.read(".gitignore")
    assert answers_of(service.path)["_commit"] == "v1.1.0"
    assert answers_of(service.path)["colour"] == "blue"
    assert 'VERSION = "v1.1.0"' in service.read(f"{BASTION}/chosen.py")

    project = tomllib.loads(service.read("pyproject.toml"))
    assert FLOOR.strip(' ,"\n') in project["project"]["optional-dependencies"]["bastion"]
    assert project["project"]["dependencies"] == before["project"]["dependencies"]
    done(uv("lock", "--quiet", cwd=service.path))
    locked = tomllib.loads(service.read("uv.lock"))
    assert {"tomli-w", "structlog"} <= {package["name"] for package in locked["package"]}
    service.commit("Update")

    assert copier("check-update", "--quiet", cwd=service.path).returncode == 0
    updated(service)
    assert service.changed() == [], "a second update has nothing to do"

    service.sync()
    result = service.pytest()
    assert result.returncode == 0, result.stdout[-4000:]
    assert re.search(r"\d+ passed", result.stdout)
    assert "warning" not in result.stdout.splitlines()[-1]


def test_what_the_team_deleted_stays_deleted(service: Service) -> None:
    git(service.path, "rm", "--quiet", "-r", "README.md", "src/my_service/notes", "tests/test_notes_pages.py")
    service.commit("We need none of these")
    updated(service)
    for name in ("README.md", "src/my_service/notes", "tests/test_notes_pages.py"):
        assert not service.has(name), name


def test_a_template_file_that_was_deleted_by_hand_is_not_brought_back_silently_either(service: Service) -> None:
    """Copier keeps a deletion; recopy is the way back, and it leaves the team's files alone."""
    git(service.path, "rm", "--quiet", f"{BASTION}/clock.py")
    service.write("src/my_service/app.py", "# all ours\n")
    service.commit("A mistake")
    updated(service)
    assert not service.has(f"{BASTION}/clock.py")
    service.commit("Update")
    done(copier("recopy", "--defaults", "--overwrite", "--quiet", cwd=service.path))
    assert service.read(f"{BASTION}/clock.py").endswith(FIX)
    assert service.read("src/my_service/app.py") == "# all ours\n"


def test_a_real_conflict_is_seen_by_git_and_by_the_check(service: Service) -> None:
    service.write(f"{BASTION}/clock.py", service.read(f"{BASTION}/clock.py") + "\n\nOURS = True\n")
    service.commit("A patch at the same place")
    done(service.update("v1.1.0"))
    assert f"{BASTION}/clock.py" in service.conflicts()
    assert leftovers(Tree(service.path))[0].file == f"{BASTION}/clock.py"


@pytest.mark.parametrize(
    ("answers", "gone", "came"),
    [
        ({"auth": "jwt"}, [f"{BASTION}/session", "tests/proofs/session"], [f"{BASTION}/jwt", "tests/proofs/jwt"]),
        (
            {"database": "postgresql", "secrets": "files", "ci": "none"},
            [f"{BASTION}/database/sqlite.py", f"{BASTION}/secrets/env.py", ".github"],
            [f"{BASTION}/database/postgresql.py", f"{BASTION}/secrets/files.py"],
        ),
    ],
    ids=["auth", "all-others"],
)
def test_an_answer_is_switched_and_its_files_with_it(
    service: Service, answers: dict[str, str], gone: list[str], came: list[str]
) -> None:
    app = service.read("src/my_service/app.py")
    updated(service, ":current:", **answers)
    assert not [name for name in gone if service.has(name)]
    assert [name for name in came if service.has(name)] == came
    assert answers_of(service.path).items() >= answers.items()
    assert service.read("src/my_service/app.py") == app
    service.commit("Switch")
    back = {"auth": "session", "database": "sqlite", "secrets": "env", "ci": "github"}
    updated(service, ":current:", **{name: back[name] for name in answers})
    git(service.path, "add", "--all")
    assert git(service.path, "diff", "--cached", "--stat", "HEAD~1") == "", "there and back again changes nothing"


def test_a_dirty_service_and_a_downgrade_are_refused(service: Service) -> None:
    updated(service)
    assert service.update("v1.1.0").returncode == 1
    service.commit("Update")
    assert service.update("v1.0.0").returncode == 1
    assert answers_of(service.path)["_commit"] == "v1.1.0"


@pytest.mark.nightly
@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda combination: combination.name)
def test_every_combination_updates(template: Repository, tmp_path: Path, combination: Combination) -> None:
    service = Service.start(template.path, tmp_path / "service", ref="v1.0.0", **combination.data)
    updated(service)
    assert service.has(f"{BASTION}/arrived.py")
