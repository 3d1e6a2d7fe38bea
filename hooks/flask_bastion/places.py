"""Which repositories a fleet is: every service below the named folders is found, also one that hides.

A service whose answers file was deleted would otherwise be missing from the report without a word. Names of folders
alone are looked at here, no link is followed, and the folders that are looked into are bounded.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from .repository import ANSWERS

DEEPEST: Final = 4
"""Folders in each other below a named one in which services are looked for: host/owner/repository/services/."""
MOST_FOLDERS: Final = 50_000
"""Looked into below each folder of a named one; what has more is looked at itself, which says so."""
LARGEST_LIST_BYTES: Final = 4 * 1024 * 1024
Kind = Literal["service", "other", "empty"]
_SKIPPED: Final = frozenset({"node_modules", "__pycache__", "venv"})


class PlaceError(Exception):
    """A named folder or file can't be used. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Places:
    """The folders to look at, the git repositories in which no service was found, and the folders that are empty.

    A clone of which no file is checked out, a bare one too, may be a service, so it is looked at: its row says so.
    """

    services: tuple[Path, ...]
    others: tuple[Path, ...]
    empty: tuple[Path, ...]


def find(named: Iterable[Path]) -> Places:
    """The services at and below the named folders, each once, sorted; a file names further ones. Raises PlaceError.

    A folder without a service is looked at all the same: its row says why it has none.
    """
    services: dict[Path, None] = {}
    others: dict[Path, None] = {}
    empty: dict[Path, None] = {}
    for one in (path for place in named for path in (listed(place) if place.is_file() else (place,))):
        path = Path(os.path.abspath(one))
        found = list(_below(path, 0, _Room()))
        services.update((folder, None) for folder, kind in found if kind == "service")
        others.update((folder, None) for folder, kind in found if kind == "other" and folder != path)
        empty.update((folder, None) for folder, kind in found if kind == "empty" and folder != path)
        if not any(kind == "service" for _, kind in found):
            services[path] = None
    left = (tuple(sorted(folders.keys() - services.keys())) for folders in (others, empty))
    return Places(tuple(sorted(services)), *left)


def nature(folder: Path) -> str:
    """What a folder is in which no service was found; "" if that is nothing special."""
    try:
        with os.scandir(folder) as entries:
            kinds = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    except OSError:
        return ""
    if not kinds:
        return "This folder is empty. If a clone failed, repeat it; otherwise remove the folder."
    if _is_bare(kinds):
        return "This is a bare clone: no file is checked out. Clone it, and look at that clone."
    return ""


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
    if not named:  # an empty list must not look like a fleet without findings
        raise PlaceError(f"{file} names no service. Write a path in each line.")
    for line in named:
        yield file.parent / Path(line).expanduser()


class _Room:
    """How many folders may still be looked into."""

    def __init__(self) -> None:
        self.left = MOST_FOLDERS


def _below(folder: Path, depth: int, room: _Room) -> list[tuple[Path, Kind]]:
    """Each service at or below a folder, and what else has to be named."""
    room.left -= 1
    try:
        with os.scandir(folder) as entries:
            kinds = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    except OSError:
        return []
    if ANSWERS in kinds or (kinds.get("src") and _holds_bastion(folder / "src")):
        return [(folder, "service")]
    if _is_bare(kinds):
        return [(folder, "service" if _has_branches(folder) else "other")]
    if not kinds:
        return [(folder, "empty")]
    found: list[tuple[Path, Kind]] = []
    for name in sorted(name for name, is_folder in kinds.items() if is_folder and _may_hold(name)):
        if depth < DEEPEST and room.left > 0:
            inner = _Room() if depth == 0 else room
            below = _below(folder / name, depth + 1, inner)
            found += below if inner.left > 0 or depth > 0 else [(folder / name, "service")]
    if ".git" in kinds:
        found = [(place, kind) for place, kind in found if kind != "empty"]  # part of that repository
        if not any(kind == "service" for _, kind in found):
            is_other = len(kinds) > 1 or not _has_branches(folder / ".git")
            found.append((folder, "other" if is_other else "service"))
    return found


def _is_bare(kinds: Mapping[str, bool]) -> bool:
    """Whether a folder with these entries (is each a folder?) is a git repository without a work tree."""
    return kinds.get("HEAD") is False and kinds.get("objects") is True and kinds.get("refs") is True


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
