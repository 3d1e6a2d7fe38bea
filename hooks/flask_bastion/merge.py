"""What an update changes: the template's change from one version to the next, on top of what a team did to its files.

Nothing of either side is lost without a word: where both changed the same place, or one deleted what the other changed,
is a conflict, reported with the file, its owner and the way out. Nothing is written here.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from .drift import SHARED, difference
from .finding import Finding
from .template import Release, TemplateError, parents

Owner = Literal["template", "both"]
_SECONDS: Final = 30
_LINKS: Final = frozenset({"120000", "160000"})
"""Modes of a link and of another repository, as git lists them."""
FOLDER: Final = "040000"
PLAIN: Final = "100644"
PROGRAM: Final = "100755"
_UNION: Final = frozenset({".gitignore"})
"""Lists whose lines mean the same in any order, if none begins with `!` (gitignore: a later line takes back)."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a service's last commit: its mode, as git lists it, and its bytes (None for anything but a file)."""

    mode: str
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Change:
    """A file that the update writes, or removes where `data` is None."""

    name: str
    before: bytes | None
    data: bytes | None
    mode: str = PLAIN

    @property
    def owner(self) -> Owner:
        """Who writes into the file beside the template."""
        return "both" if self.name in SHARED else "template"

    @property
    def letter(self) -> str:
        """As git's short status says it."""
        return "A" if self.before is None else "D" if self.data is None else "M"


@dataclass(frozen=True, slots=True)
class Merged:
    """Every change, what stands in the way of them, and what a team's files were that are taken back (see restore)."""

    changes: list[Change] = field(default_factory=list)
    conflicts: list[Finding] = field(default_factory=list)
    dropped: dict[str, bytes | None] = field(default_factory=dict)
    """Of each file of the template that loses a team's edits: what it was before them (None: it was not there)."""


def merge(
    base: Mapping[str, File],
    new: Mapping[str, File],
    ours: Mapping[str, File],
    *,
    kept: Callable[[str], bool],
    restore: bool = False,
) -> Merged:
    """Bring the template's change from `base` to `new` into `ours`, each by file name.

    What the new version no longer renders is removed, but for what it leaves alone (`kept`). With `restore` a file of
    the template is afterwards what the new version renders, whatever was done to it. Raises TemplateError if git fails.
    """
    merged = Merged()
    for name in sorted(base.keys() | new.keys()):
        if name not in new and kept(name):
            continue
        _one(merged, name, base.get(name), new.get(name), ours, restore=restore and name not in SHARED)
    return merged


def rendered(release: Release, given: Mapping[str, Any]) -> dict[str, File]:
    """What a version renders with these answers. Raises TemplateError."""
    programs = release.programs(given)
    return {name: File(PROGRAM if name in programs else PLAIN, data) for name, data in release.render(given).items()}


def _one(
    merged: Merged, name: str, base: File | None, new: File | None, ours: Mapping[str, File], *, restore: bool
) -> None:
    if base == new and not restore:
        return
    link = next((part for part in (*parents(name), name) if part in ours and ours[part].mode in _LINKS), None)
    if link:
        text = f"{link} is a link or another repository, and the update has to write {name} there."
        merged.conflicts.append(_conflict(link, text, "Put the file itself there, commit, and update again."))
        return
    if new is not None and (base is None or restore) and (taken := _taken(name, ours)):
        if taken not in merged.conflicts:  # by one file each that would lie below it
            merged.conflicts.append(taken)
        return
    mine, was, becomes = (file.data if file else None for file in (ours.get(name), base, new))
    if mine and was and _has_crlf(mine) and not any(data and b"\r" in data for data in (was, becomes)):
        was, becomes = (data and data.replace(b"\n", b"\r\n") for data in (was, becomes))  # that alone is no edit
    mode = _mode(base, new, ours.get(name))
    if mine == becomes and (name not in ours or ours[name].mode == mode):
        return
    if restore or mine == was:
        if mine != was:
            merged.dropped[name] = was
        merged.changes.append(Change(name, mine, becomes, mode))
    elif mine is None:
        return  # the team deleted it, and so it stays; whether a fix went with it is what check says
    elif becomes is None:
        text = "The new version has this file no more, and it was edited here."
        merged.conflicts.append(_conflict(name, text, _OUT))
    elif (together := _merge_file(name, mine, was or b"", becomes)) is not None:
        merged.changes.append(Change(name, mine, together, mode))
    elif name in SHARED:
        text = "The template and the team changed the same place of this file, which both write into."
        cure = "Make the change that is shown by hand, commit, and update again."
        merged.conflicts.append(_conflict(name, text, cure, difference(was or b"", becomes)))
    else:
        text = "The template changed lines of its own file that were edited here; the change is shown."
        merged.conflicts.append(_conflict(name, text, _OUT, difference(was or b"", becomes)))


def _has_crlf(data: bytes) -> bool:
    """Whether all lines end as on Windows."""
    return 0 < data.count(b"\n") == data.count(b"\r\n")


def _taken(name: str, ours: Mapping[str, File]) -> Finding | None:
    """That a team has a file where a folder of the template has to be, or the other way round."""
    if name in ours and ours[name].mode == FOLDER:
        cure = "Give the folder another name, commit, and update again."
        return _conflict(name, "This is a folder, and the update has to write a file of that name.", cure)
    if file := next((part for part in parents(name) if part in ours), None):
        cure = "Give the file another name, commit, and update again."
        return _conflict(file, "This is a file, and the update has to write into a folder of that name.", cure)
    return None


def _mode(base: File | None, new: File | None, ours: File | None) -> str:
    """The template's where it is new or changed, otherwise what the service has."""
    if new is None:
        return PLAIN
    return new.mode if ours is None or base is None or base.mode != new.mode else ours.mode


_OUT: Final = (
    "Update with --restore, which takes the template's file and keeps your edit as a patch, or move your code to a"
    " file of your own."
)


def _conflict(name: str, text: str, cure: str, diff: tuple[str, ...] = ()) -> Finding:
    return Finding("update-conflict", "error", text, cure, name, diff=diff)


def _is_union(name: str, ours: bytes, base: bytes, new: bytes) -> bool:
    """Whether both sides only added lines to a list: then all of them stay, where else they would be a conflict."""
    lists = [data.split(b"\n") for data in (base, ours, new)]
    if name not in _UNION or any(line.lstrip().startswith(b"!") for lines in lists for line in lines):
        return False
    return all(_holds(lines, lists[0]) for lines in lists[1:])


def _holds(lines: list[bytes], others: list[bytes]) -> bool:
    """Whether the others stand among the lines, in their order."""
    following = iter(lines)
    return all(other in following for other in others)


def _merge_file(name: str, ours: bytes, base: bytes, new: bytes) -> bytes | None:
    """git's own three-way merge; None for a conflict (a union has no conflicts) and for binary files."""
    with tempfile.TemporaryDirectory(prefix="flask-bastion-") as folder:
        paths = [Path(folder, name) for name in ("ours", "base", "new")]
        for path, data in zip(paths, (ours, base, new), strict=True):
            path.write_bytes(data)
        options = ("--stdout", "--quiet", *(("--union",) if _is_union(name, ours, base, new) else ()))
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program, on three files of ours
                ["git", "merge-file", *options, *map(str, paths)],  # noqa: S607
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                cwd=folder,  # in no repository, whose configuration might name a style of conflicts
                timeout=_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TemplateError(f"git did not run: {type(error).__name__}. Install git.") from None
    return done.stdout if done.returncode == 0 else None
