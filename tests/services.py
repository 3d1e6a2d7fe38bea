"""A rendered service as a team has it: in git, with a virtual environment, and with commands that run in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flask_bastion.template import Template
from support import ROOT, Combination, copier, done, git, run, uv

LAID = ("edges", "bastion")
"""The folders of tests/ that are laid over a service, into its tests/proofs, whose harness they use."""
UNIT_TESTED = ("session-sqlite-env", "jwt-postgresql-vault")
"""One service of each style runs all unit tests; elsewhere those about the database and the secrets backend run."""
UNITS = ("test_backend_*.py", "test_database*.py", "test_secrets*.py")
SECONDS = 1800
"""How long the slowest command may take: every sabotage of a service, with another one and other tests beside it."""


@dataclass(frozen=True)
class Service:
    """A rendered, committed service."""

    path: Path

    @classmethod
    def start(cls, template: Path, path: Path, *, ref: str = "HEAD", **answers: str) -> Service:
        """Render, and do what the message after copying says: git init and a first commit."""
        data = [f"--data={name}={answer}" for name, answer in answers.items()]
        done(copier("copy", "--quiet", "--defaults", "--vcs-ref", ref, *data, template, path))
        git(path, "init", "--quiet", "--initial-branch", "main")
        service = cls(path)
        service.commit("Start from flask-bastion")
        return service

    def commit(self, message: str) -> None:
        git(self.path, "add", "--all")
        git(self.path, "commit", "--quiet", "--allow-empty", "--message", message)

    def update(self, ref: str, **answers: str) -> subprocess.CompletedProcess[str]:
        """Update as Renovate does: no terminal, no trust, defaults for questions that are new."""
        data = [f"--data={name}={answer}" for name, answer in answers.items()]
        return copier("update", "--defaults", "--vcs-ref", ref, *data, cwd=self.path)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def read(self, name: str) -> str:
        return (self.path / name).read_text(encoding="utf-8")

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def files(self, pattern: str) -> list[str]:
        """Give what the pattern finds, from here. Raises AssertionError when it is nothing."""
        found = sorted(str(path.relative_to(self.path)) for path in self.path.glob(pattern))
        assert found, f"{self.path.name} has no {pattern}"
        return found

    def changed(self) -> list[str]:
        return git(self.path, "status", "--porcelain").splitlines()

    def conflicts(self) -> list[str]:
        """Give every trace of a conflict: unmerged paths, .rej files, markers. Copier itself exits 0 on them."""
        unmerged = git(self.path, "diff", "--name-only", "--diff-filter=U").split()
        rejected = [path.name for path in self.path.rglob("*.rej")]
        markers = "^(<<<<<<< before updating|>>>>>>> after updating)"
        marked = run("git", "grep", "--untracked", "--files-with-matches", "--extended-regexp", markers, cwd=self.path)
        return unmerged + rejected + marked.stdout.split()

    def install(self, combination: Combination) -> None:
        """Make the virtual environment from the versions that were tested together, without writing a lock."""
        lock = ROOT / "tests" / "locks" / f"{combination.name}.txt"
        done(uv("venv", "--quiet", "--python", sys.executable, cwd=self.path))
        done(uv("pip", "install", "--quiet", "--editable", ".", "--group", "dev", "--constraint", lock, cwd=self.path))

    def sync(self) -> None:
        """Make the virtual environment from a fresh resolution, as a team does."""
        done(uv("sync", "--quiet", "--python", sys.executable, cwd=self.path))

    def python(self, program: str, **env: str) -> str:
        return done(run(self.path / ".venv" / "bin" / "python", "-c", program, cwd=self.path, env=env))

    def lay_edges(self, template: Path, combination: Combination) -> None:
        """Lay the edges and the unit tests of bastion's modules over the service's proofs."""
        release = Template(template).release_of("HEAD", "HEAD")
        for folder in LAID:
            for name, data in release.edges(combination.data, f"tests/{folder}").items():
                target = self.path / "tests" / "proofs" / folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)

    @contextmanager
    def with_edges(self, template: Path, combination: Combination) -> Iterator[None]:
        """Lay them within the block only, so that the repository is as clean afterwards as before."""
        self.lay_edges(template, combination)
        try:
            yield
        finally:
            for folder in LAID:
                shutil.rmtree(self.path / "tests" / "proofs" / folder)

    def pytest(self, *args: str, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
        """Run the service's tests in its own environment, where a skipped proof is red (CI=true)."""
        return run(self.path / ".venv" / "bin" / "pytest", *args, cwd=self.path, env={"CI": "true"}, seconds=seconds)


@dataclass(frozen=True)
class Verdict:
    """What a service's tests said, core and edges, and how long each took, in seconds."""

    service: Service
    tests: subprocess.CompletedProcess[str]
    tests_seconds: float
    units: subprocess.CompletedProcess[str] | None
    """The plain tests of bastion's modules; None where no edges are laid."""
    sabotage: subprocess.CompletedProcess[str] | None
    """Core and edges, each proof intact and against each of its sabotages; None where no edges are laid."""
    sabotage_seconds: float


def judge(
    template: Path,
    folder: Path,
    combination: Combination,
    sabotaged: Collection[str] | None,
    build: Callable[[Service, Combination], None],
) -> Verdict:
    """Render and install a service, let `build` add a team's work, run its tests, then core and edges sabotaged.

    The caller judges the outcome.
    `sabotaged` are tests in tests/proofs, `edges/test_log.py::test_name`; empty means all, and then a clause of the
    catalogue without a proof is an error, too. None means no edges.
    """
    service = Service.start(template, folder / combination.name, **combination.data)
    service.install(combination)
    build(service, combination)
    started = time.monotonic()
    tests = service.pytest()
    between = time.monotonic()
    if sabotaged is None:
        return Verdict(service, tests, between - started, None, None, 0.0)
    reports = ("--proof-report=proofs.html", "--proof-report=proofs.json")
    with service.with_edges(template, combination):
        sabotage = service.pytest("--sabotage", *reports, *(f"tests/proofs/{test}" for test in sorted(sabotaged)))
        laid = service.path / "tests/proofs/bastion"
        chosen = [laid] if combination.name in UNIT_TESTED else [file for one in UNITS for file in laid.glob(one)]
        units = service.pytest("-q", "-n2", *map(str, chosen))
    return Verdict(service, tests, between - started, units, sabotage, time.monotonic() - between)
