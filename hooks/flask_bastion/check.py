#!/usr/bin/env python3
"""Nothing that an update left half done is committed.

Copier exits 0 on a conflict; a marker inside a protection, or a .rej file beside it, is a fix that never arrived.
The repository is hostile input: no command runs in it, no link is followed, and reading is bounded.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

MARKERS = (b"<<<<<<< before updating", b">>>>>>> after updating")
"""What Copier writes around both sides of a conflict."""

SKIPPED = frozenset(
    {".git", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
)
LARGEST_FILE_BYTES = 4 * 1024 * 1024
"""Beyond it a file is data, which no update of the template merges."""

MOST_FILES = 100_000


def files_of(service: Path) -> Iterator[Path]:
    """Give the regular files of a repository, at most MOST_FILES, without links and without what tools keep there."""
    count = 0
    for folder, folders, names in os.walk(service, followlinks=False):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        for name in sorted(names):
            count += 1
            if count > MOST_FILES:
                return
            path = Path(folder, name)
            if not path.is_symlink() and path.is_file():
                yield path


def leftovers(service: Path) -> list[str]:
    """Say what an update left in a repository: one line for each file, with the cure; [] when there is nothing."""
    found = []
    for path in files_of(service):
        name = path.relative_to(service).as_posix()
        if path.suffix == ".rej":
            found.append(f"{name}: a rejected change. Merge what it holds into {path.stem}, then delete it.")
        elif path.stat().st_size <= LARGEST_FILE_BYTES:
            lines = path.read_bytes().splitlines()
            number = next((at for at, line in enumerate(lines, start=1) if line.rstrip() in MARKERS), None)
            if number is not None:
                found.append(f"{name}:{number}: a conflict. Keep what is right of both sides, then delete the markers.")
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `run` reads."""
    parser.add_argument("service", nargs="?", default=".", type=Path, help="the service's folder; default: this one")


def run(options: argparse.Namespace) -> int:
    """Print what an update left in a service's folder; 1 if there is anything, 2 if the folder is no service."""
    service: Path = options.service
    if not (service / ".copier-answers.yml").is_file():
        print(f"{service} holds no .copier-answers.yml, so it is no rendered service.", file=sys.stderr)
        return 2
    found = leftovers(service)
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":  # as a hook of pre-commit, which installs nothing
    as_hook = argparse.ArgumentParser(description="Says what an update left half done.")
    add_arguments(as_hook)
    sys.exit(run(as_hook.parse_args()))
