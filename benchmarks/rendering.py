"""Rendering: a service from this template, against Copier's own time for as many verbatim files of the same sizes.

CPU time of the whole command, Copier's import and its git processes included, since that is what a person waits for.
Both templates are git repositories of one commit; the verbatim one keeps the paths of the rendered service.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "benchmark",
    "GIT_AUTHOR_EMAIL": "benchmark@example.org",
    "GIT_COMMITTER_NAME": "benchmark",
    "GIT_COMMITTER_EMAIL": "benchmark@example.org",
}


def run(*command: str, cwd: Path) -> str:
    """Standard output of a command that must not fail; RuntimeError with its last words if it does."""
    environment = {**os.environ, **GIT}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout


def commit(folder: Path) -> Path:
    run("git", "init", "-q", cwd=folder)
    run("git", "add", "-A", "-f", cwd=folder)
    run("git", "commit", "-q", "-m", "as it stands", cwd=folder)
    return folder


def this_template(folder: Path) -> Path:
    """A git repository with this one's tree as it stands, uncommitted work included."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return commit(folder)


def verbatim_template(folder: Path, rendered: Path) -> Path:
    """A template of the rendered service's paths and sizes, with nothing to render in it."""
    for path in files(rendered):
        (folder / "template" / path).parent.mkdir(parents=True, exist_ok=True)
        size = (rendered / path).stat().st_size
        (folder / "template" / path).write_bytes((b"as it stands\n" * (size // 13 + 1))[:size])
    (folder / "copier.yml").write_text("_subdirectory: template\n", "utf-8")
    return commit(folder)


def files(rendered: Path) -> list[Path]:
    return sorted(path.relative_to(rendered) for path in rendered.rglob("*") if path.is_file())


def copy(template: Path, target: Path, **answers: str) -> None:
    data = [f"--data={name}={value}" for name, value in answers.items()]
    copier = [sys.executable, "-m", "copier", "copy", "--defaults", "--quiet", "--vcs-ref=HEAD"]
    run(*copier, *data, str(template), str(target), cwd=template)


def cpu_of_copy(template: Path, target: Path) -> float:
    """CPU seconds of one rendering, its git processes included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    copy(template, target)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(target)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(scratch: Path, template: Path, rounds: int) -> tuple[int, dict[str, list[float]]]:
    """The number of files, and CPU seconds of each rendering, the two templates in turn."""
    copy(template, scratch / "once")
    count = len(files(scratch / "once"))
    (scratch / "verbatim").mkdir()
    templates = {"verbatim": verbatim_template(scratch / "verbatim", scratch / "once"), "ours": template}
    taken: dict[str, list[float]] = {name: [] for name in templates}
    for _ in range(rounds):
        for name, source in templates.items():
            taken[name].append(cpu_of_copy(source, scratch / "target"))
    return count, taken
