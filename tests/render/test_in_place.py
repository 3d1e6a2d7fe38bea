"""template/ is a project: what is read, linted and typed where it stands is what a default service gets."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import COMBINATIONS, IN_PLACE, ROOT, TEMPLATE, Combination, run

DEFAULT = COMBINATIONS[0]
STAND_INS = sorted(
    source.with_suffix("")
    for source in TEMPLATE.rglob("*.jinja")
    if source.with_suffix("").exists() and "__pycache__" not in source.parts
)


def pyproject(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def test_there_are_stand_ins_for_both_seams() -> None:
    assert IN_PLACE / "bastion" / "chosen.py" in STAND_INS
    assert TEMPLATE / "tests" / "proofs" / "service.py" in STAND_INS


@pytest.mark.parametrize("stand_in", STAND_INS, ids=lambda path: path.name)
def test_a_stand_in_equals_the_default_rendering(rendered: Callable[[Combination, str], Path], stand_in: Path) -> None:
    name = stand_in.relative_to(TEMPLATE).as_posix().replace("{{package_name}}", "my_service")
    text = (rendered(DEFAULT, "github") / name).read_text(encoding="utf-8")
    unversioned = text.replace('VERSION = "v1.0.0"', 'VERSION = "unversioned"')
    unversioned = re.sub(r'COMMIT = "[0-9a-f]{40}"', 'COMMIT = ""', unversioned)
    assert unversioned == stand_in.read_text(encoding="utf-8")


def test_the_only_rendered_modules_are_the_seams() -> None:
    """Jinja in Python can't be read, linted or typed where it stands."""
    modules = {path.relative_to(TEMPLATE).as_posix() for path in TEMPLATE.rglob("*.py.jinja")}
    assert modules <= {
        "src/{{package_name}}/bastion/chosen.py.jinja",
        "src/{{package_name}}/notes/__init__.py.jinja",
        "tests/proofs/service.py.jinja",
    }


def test_no_rendered_file_is_long_and_no_condition_stands_in_a_file_name() -> None:
    for path in TEMPLATE.rglob("*"):
        assert "{%" not in path.name
        if path.suffix == ".jinja":
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 260, path.name


@pytest.mark.parametrize("tool", [("check",), ("format", "--check")], ids=lambda tool: tool[0])
@pytest.mark.parametrize("folder", ["template", "tests", "hooks"])
def test_ruff_finds_nothing_in_place(tool: tuple[str, ...], folder: str) -> None:
    result = run(sys.executable, "-m", "ruff", *tool, "--no-cache", "--quiet", folder, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_mypy_strict_finds_nothing_in_bastion_where_it_stands(tmp_path: Path) -> None:
    result = run(
        sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml", "--cache-dir", tmp_path,
        "--no-error-summary", "-p", "bastion", cwd=IN_PLACE,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr


def test_mypy_strict_finds_nothing_in_these_tests(tmp_path: Path) -> None:
    result = run(sys.executable, "-m", "mypy", "--cache-dir", tmp_path, "--no-error-summary", cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_bastion_never_imports_the_team() -> None:
    for path in IN_PLACE.joinpath("bastion").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) (my_service|bastion)\b", text, re.MULTILINE), path.name
        assert not re.search(r"^\s*from \.+(app|notes)\b", text, re.MULTILINE), path.name


def test_in_place_the_rules_are_those_of_a_rendered_service(rendered: Callable[[Combination, str], Path]) -> None:
    ours, service = pyproject(ROOT)["tool"]["ruff"], pyproject(rendered(DEFAULT, "github"))["tool"]["ruff"]
    assert ours["lint"]["select"] == service["lint"]["select"]
    assert (ours["line-length"], ours["target-version"]) == (service["line-length"], service["target-version"])
    assert ours["lint"]["per-file-ignores"]["template/tests/**"] == service["lint"]["per-file-ignores"]["tests/**"]


def test_in_place_the_libraries_are_those_of_the_rendered_services(
    rendered: Callable[[Combination, str], Path],
) -> None:
    needed: set[str] = set()
    for combination in COMBINATIONS:
        project = pyproject(rendered(combination, "github"))
        needed |= {
            *project["project"]["optional-dependencies"]["bastion"],
            *project["dependency-groups"]["bastion-dev"],
        }
    assert sorted(pyproject(ROOT)["dependency-groups"]["services"]) == sorted(needed)
