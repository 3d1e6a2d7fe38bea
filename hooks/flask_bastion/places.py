"""Which repositories a fleet is: every service below what was named is found, also one that hides.

A service whose answers file was deleted would otherwise be missing from the report without a word. Names of folders
alone are looked at here, no link is followed, and the folders that are looked into are bounded.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .repository import ANSWERS

DEEPEST: Final = 4
"""Folders in each other below a named one in which services are looked for: host/owner/repository/services/."""
MOST_FOLDERS: Final = 50_000
"""Looked into below each folder of a named one; what has more is looked at itself, which says so."""
LARGEST_LIST_BYTES: Final = 4 * 1024 * 1024
_SKIPPED: Final = frozenset({"node_modules", "__pycache__", "venv"})


class PlaceError(Exception):
    """What was named can't be used. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Places:
    """The folders to look at, and the git repositories in which no service was found."""

    services: tuple[Path, ...]
    others: tuple[Path, ...]


def find(named: Iterable[Path]) -> Places:
    """The services at and below what was named, each once, sorted; a file names further ones. Raises PlaceError.

    A folder below which there is none is looked at all the same: then its row says what is wrong with it.
    """
    services: dict[Path, None] = {}
    others: dict[Path, None] = {}
    for one in (path for place in named for path in (listed(place) if place.is_file() else (place,))):
        path = Path(os.path.abspath(one))
        found = list(_below(path, 0, _Room()))
        services.update((folder, None) for folder, is_service in found if is_service)
        others.update((folder, None) for folder, is_service in found if not is_service and folder != path)
        if not any(is_service for _, is_service in found):
            services[path] = None
    return Places(tuple(sorted(services)), tuple(sorted(others.keys() - services.keys())))


def listed(file: Path) -> Iterator[Path]:
    """The paths in a file, one a line, beginning at the file's folder; # begins a comment. Raises PlaceError."""
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST_LIST_BYTES + 1)
    except OSError as error:
        raise PlaceError(f"{file} can't be read ({error.strerror}).") from None
    if len(data) > LARGEST_LIST_BYTES or b"\0" in data:
        raise PlaceError(f"{file} is no list of paths.")
    lines = [line.strip() for line in os.fsdecode(data.removeprefix(codecs.BOM_UTF8)).splitlines()]
    named = [line for line in lines if line and not line.startswith("#")]
    if not named:  # of a script that found none: nobody may take that for a fleet in which all is well
        raise PlaceError(f"{file} names no service. Write a path in each line.")
    for line in named:
        yield file.parent / Path(line).expanduser()


class _Room:
    """How many folders may still be looked into."""

    def __init__(self) -> None:
        self.left = MOST_FOLDERS


def _below(folder: Path, depth: int, room: _Room) -> list[tuple[Path, bool]]:
    """Each service at or below a folder, and each git repository without one (False)."""
    room.left -= 1
    try:
        with os.scandir(folder) as entries:
            kinds = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    except OSError:
        return []
    if ANSWERS in kinds or (kinds.get("src") and _holds_bastion(folder / "src")):
        return [(folder, True)]
    found = []
    for name in sorted(name for name, is_folder in kinds.items() if is_folder and _may_hold(name)):
        if depth < DEEPEST and room.left > 0:
            inner = _Room() if depth == 0 else room
            below = _below(folder / name, depth + 1, inner)
            found += below if inner.left > 0 or depth > 0 else [(folder / name, True)]
    if ".git" in kinds and not any(is_service for _, is_service in found):
        found.append((folder, len(kinds) == 1 and _has_branches(folder / ".git")))
    return found


def _has_branches(git: Path) -> bool:
    """Whether a repository has commits: one that was cloned, and of which nothing was checked out, may be a service."""
    if os.path.lexists(git / "packed-refs"):
        return True
    try:
        with os.scandir(git / "refs" / "heads") as entries:
            return any(entries)
    except OSError:
        return False


def _holds_bastion(src: Path) -> bool:
    """Whether a package there has the template's folder: a service without its answers file is one, too."""
    try:
        with os.scandir(src) as entries:
            packages = [entry.name for entry in entries if entry.name.isidentifier()]
    except OSError:
        return False
    return any(os.path.lexists(src / package / "bastion") for package in packages)


def _may_hold(name: str) -> bool:
    return not name.startswith(".") and name not in _SKIPPED
