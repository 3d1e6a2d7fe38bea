"""Fixtures of every folder of tests: one template repository a run, and each combination rendered once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import Combination, Repository, copier, done


@pytest.fixture(scope="session")
def template_repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The working tree as a git repository with the tag v1.0.0; nothing may edit it."""
    repository = Repository.make(tmp_path_factory.mktemp("template") / "flask-bastion")
    repository.release("v1.0.0")
    return repository


@pytest.fixture(scope="session")
def rendered(
    template_repository: Repository, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Combination, str], Path]:
    """Render a combination with Copier's command, once a run: no terminal, no trust. Read it, never write to it."""
    services: dict[tuple[Combination, str], Path] = {}

    def render(combination: Combination, ci: str = "github") -> Path:
        if (combination, ci) not in services:
            target = tmp_path_factory.mktemp("rendered") / f"{combination.name}-{ci}"
            data = [f"--data={name}={answer}" for name, answer in (combination.data | {"ci": ci}).items()]
            done(copier("copy", "--quiet", "--defaults", *data, template_repository.path, target))
            services[combination, ci] = target
        return services[combination, ci]

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
