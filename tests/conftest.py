"""Fixtures of every folder of tests: one template repository a run, and each combination rendered once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support import Combination, Repository, copier, done

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
