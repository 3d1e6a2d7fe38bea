"""Fixtures of every folder of tests, and the choice of the quick set: what runs without --everything."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support import Combination, Repository, copier, done

QUICK_COMBINATIONS = ("session-sqlite-env", "jwt-postgresql-vault")
"""The quick set renders, lints and types these two, one of each style; --everything all 36."""
SLOW = (
    "tests/hooks/test_adopt.py",
    "tests/hooks/test_check.py::test_a_real_update",
    "tests/hooks/test_fleet.py",
    "tests/hooks/test_previous_proofs.py",
    "tests/hooks/test_prove.py::test_an_edge_runs",
    "tests/hooks/test_repository.py::test_a_file_without_end",
    "tests/hooks/test_update.py",
    "tests/journeys/test_browser.py",
    "tests/journeys/test_factors.py",
    "tests/journeys/test_hostile_page.py",
    "tests/journeys/test_mail_server.py",
    "tests/journeys/test_terminal.py",
    "tests/lifecycle/test_switch_auth.py",
    "tests/lifecycle/test_tutorial.py",
    "tests/lifecycle/test_update.py",
    "tests/lifecycle/test_years.py",
    "tests/proofs/test_rotation_under_load.py",
    "tests/proofs/test_services_prove_themselves.py::test_every_proof",
    "tests/proofs/test_services_prove_themselves.py::test_it",
    "tests/proofs/test_services_prove_themselves.py::test_the_unit_tests",
    "tests/proofs/test_streaming_proxy.py",
    "tests/render/test_answers_cannot_inject.py",
    "tests/render/test_combinations.py::test_every_path",  # these two render all 36 combinations
    "tests/render/test_in_place.py::test_in_place_the_libraries",
)
"""Left out of the quick set: how the names of tests begin that take most of the time. Of each folder some stay."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--everything", action="store_true", help="also what takes minutes, and all combinations: what .ci/run runs"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the quick set, unless everything is asked for or files are named on the command line."""
    if config.getoption("--everything") or config.args_source == pytest.Config.ArgsSource.ARGS:
        return
    quick = [item for item in items if _is_quick(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in quick])
    items[:] = quick


def _is_quick(item: pytest.Item) -> bool:
    combination = item.callspec.params.get("combination") if hasattr(item, "callspec") else None
    if isinstance(combination, Combination) and combination.name not in QUICK_COMBINATIONS:
        return False
    return not item.nodeid.startswith(SLOW)


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Once:
    """Make a folder that all processes of this run share, by the first that asks for it. Nothing may edit it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "shared"
    shared.mkdir(exist_ok=True)

    def make_once(name: str, make: Callable[[Path], object]) -> Path:
        target = shared / name
        if not target.exists():
            made = tmp_path_factory.mktemp("made") / name
            make(made)
            with suppress(OSError):  # another process was first
                made.rename(target)
        return target

    return make_once


@pytest.fixture(scope="session")
def template_repository(once: Once) -> Repository:
    """The working tree as a git repository with the tag v1.0.0; nothing may edit it."""
    return Repository(once("flask-bastion", lambda path: Repository.make(path).release("v1.0.0")))


@pytest.fixture(scope="session")
def rendered(template_repository: Repository, once: Once) -> Callable[[Combination, str], Path]:
    """Render a combination with Copier's command, once a run: no terminal, no trust. Read it, never write to it."""

    def render(combination: Combination, ci: str = "github") -> Path:
        data = [f"--data={name}={answer}" for name, answer in (combination.data | {"ci": ci}).items()]
        command: tuple[str | Path, ...] = ("copy", "--quiet", "--defaults", *data, template_repository.path)
        return once(f"{combination.name}-{ci}", lambda path: done(copier(*command, path)))

    return render


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A temporary folder that others may enter: started by root, PostgreSQL runs as nobody from a service's .venv.

    pytest's own temporary folders are closed to everybody else.
    """
    folder = Path(tempfile.mkdtemp(prefix="flask-bastion-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
