"""What every test of the template needs: the answers, a repository to render from, and commands without a terminal."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "template"
IN_PLACE = TEMPLATE / "src" / "{{package_name}}"
"""The package of a service before it has a name."""

AUTHS = ("session", "jwt")
DATABASES = ("sqlite", "postgresql", "mysql")
SECRETS = ("env", "files", "vault", "aws", "gcp", "azure")
CIS = ("github", "none")

IDENTITY = {
    "GIT_AUTHOR_NAME": "A Developer",
    "GIT_AUTHOR_EMAIL": "developer@example.com",
    "GIT_COMMITTER_NAME": "A Developer",
    "GIT_COMMITTER_EMAIL": "developer@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}
LEFT_OUT = frozenset({"VIRTUAL_ENV", "PYTHONPATH", "UV_PYTHON", "PYTHONDONTWRITEBYTECODE"})
"""Variables that lead a command elsewhere, or make each of hundreds compile every library anew (some images set it)."""
JUNK = ("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".venv")


@dataclass(frozen=True)
class Combination:
    """One answer to each question of the protections; its name is session-sqlite-env or the like."""

    auth: str
    database: str
    secrets: str

    @property
    def name(self) -> str:
        return f"{self.auth}-{self.database}-{self.secrets}"

    @property
    def data(self) -> dict[str, str]:
        return {"auth": self.auth, "database": self.database, "secrets": self.secrets}

    @classmethod
    def parse(cls, name: str) -> Combination:
        return cls(*name.split("-"))


COMBINATIONS = tuple(itertools.starmap(Combination, itertools.product(AUTHS, DATABASES, SECRETS)))
PAIRS = tuple(
    Combination(AUTHS[(DATABASES.index(database) + SECRETS.index(secrets)) % 2], database, secrets)
    for database, secrets in itertools.product(DATABASES, SECRETS)
)
"""The smallest set of services in which every pair of answers meets: there their own tests and proofs are run."""
SABOTAGED: dict[Combination, tuple[str, ...]] = {
    Combination.parse(name): patterns
    for name, patterns in {
        "session-sqlite-env": (),
        "jwt-postgresql-vault": ("test_*", "jwt/test_*", "edges/test_database*", "edges/test_secrets*"),
        "jwt-mysql-files": ("*test_secrets.py*", "*test_database*"),
        "session-postgresql-aws": ("*test_backend_aws.py*",),
        "session-mysql-gcp": ("*test_backend_gcp.py*",),
        "jwt-sqlite-azure": ("*test_backend_azure.py*",),
    }.items()
}
"""The services over which the edges are laid and in which protections are taken away, in this order.

Each runs what none before it has (shares.py), and the proofs that match its patterns whatever ran before: the core in
one service of each style, and the files about the database or the secrets backend where it is another one.
"""


def run(
    *command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, seconds: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a command as Renovate or a CI job would: no terminal, no input, git without a user's configuration.

    Raises subprocess.TimeoutExpired after `seconds`. The exit status is for the caller to judge.
    """
    clean = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, **IDENTITY, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def done(result: subprocess.CompletedProcess[str]) -> str:
    """Give the output of a command that had to succeed."""
    assert result.returncode == 0, f"{result.args} exited {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def git(cwd: Path, *args: str) -> str:
    return done(run("git", *args, cwd=cwd))


def copier(*args: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Copier's command without a terminal and without --trust."""
    return run(sys.executable, "-m", "copier", *args, cwd=cwd)


def uv(*args: str | Path, cwd: Path, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """Run uv in a service, whose environment it makes and finds in .venv there; it never downloads a Python."""
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.exists() else (shutil.which("uv") or "uv")
    env = {"UV_PYTHON_DOWNLOADS": "never", "UV_PROJECT_ENVIRONMENT": ".venv"}
    return run(program, *args, cwd=cwd, env=env, seconds=seconds)


def copy_of_the_template(target: Path) -> Path:
    """Copy what a version consists of, as it stands, into a folder that is no repository.

    Copier reads copier.yml, includes and template; tests/edges and tests/bastion are laid over services.
    """
    target.mkdir(parents=True)
    shutil.copy2(ROOT / "copier.yml", target)
    for folder in ("includes", "template", "tests/edges", "tests/bastion"):
        shutil.copytree(ROOT / folder, target / folder, symlinks=True, ignore=shutil.ignore_patterns(*JUNK))
    return target


def ignores_nothing() -> None:
    """For `preexec_fn`: a child hears the signals that whoever started the tests (nohup) may have ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def replace_once(file: Path, old: str, new: str) -> None:
    """Edit a file at the one place where `old` stands; a stale edit fails instead of changing nothing."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file.name}, not once"
    file.write_text(text.replace(old, new), encoding="utf-8")


@dataclass(frozen=True)
class Repository:
    """A throw-away git repository that holds the template, with tags of its own: a clone in CI has none."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> Repository:
        copy_of_the_template(path)
        git(path, "init", "--quiet", "--initial-branch", "main")
        return cls(path)

    def release(self, tag: str) -> None:
        git(self.path, "add", "--all", "--force")
        git(self.path, "commit", "--quiet", "--allow-empty", "--message", tag)
        git(self.path, "tag", tag)

    def edit(self, name: str, old: str, new: str) -> None:
        replace_once(self.path / name, old, new)


def answers_of(service: Path) -> dict[str, Any]:
    answers = yaml.safe_load((service / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert isinstance(answers, dict)
    return answers


def files_of(service: Path) -> list[str]:
    """List every file of a rendered service, without what git and tools keep there."""
    return sorted(
        path.relative_to(service).as_posix()
        for path in service.rglob("*")
        if path.is_file() and not {".git", *JUNK}.intersection(path.relative_to(service).parts)
    )
