"""Read an untrusted folder as plain files: nothing in it is run, followed or read without a limit.

git would execute core.fsmonitor, filters and hooks of its configuration; a link leads to our own files; a pipe never
ends. What can't be read is a finding, never an exception. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from .finding import Finding, Level

LARGEST_BYTES: Final = 1024 * 1024
"""Of a file; beyond it a file is data, which no update merges and no probe reads."""
LARGEST_LOCK_BYTES: Final = 4 * 1024 * 1024
"""Of uv.lock, which lists every wheel of every dependency."""
MOST_FILES: Final = 20_000
DEEPEST: Final = 40
"""Folders in each other."""
REMEMBERED_BYTES: Final = 32 * 1024 * 1024
"""Of all files of a repository together that are read once and looked at again; a service has about two MiB."""
SECONDS: Final = 20.0
"""Of a processor, from the first look at a repository to the last: on a busy machine it takes longer by the clock. A
service takes a tenth of a second, and two where the template is rendered to compare with."""

_SKIPPED: Final = frozenset(
    {".git", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
)
_OURS: Final = re.compile(
    r"(?:src(?:/[^/]+(?:/(?:bastion(?:/.*)?|exceptions\.toml))?)?"
    r"|tests(?:/proofs(?:/.*)?)?|docs(?:/bastion(?:/.*)?)?|deploy(?:/base(?:/.*)?)?"
    r"|\.github(?:/(?:CODEOWNERS|workflows(?:/bastion(?:-[a-z]+)?\.yml)?))?"
    r"|\.copier-answers\.yml|\.bastion-[a-z]+\.toml|renovate\.json|pyproject\.toml|uv\.lock)\Z",
    re.DOTALL,
)
"""Where a file of the template lies, or leads there: an irregular file in one of these places is a finding."""


_NOT_READ: Final = frozenset({"repository-slow", "repository-many"})
"""Faults after which any number of files was not looked at."""


class NotRead(Exception):
    """A repository could not be looked at as a whole, so nothing is known of it. The text says why, in one line."""


class Tree:
    """The regular files below a folder, and its irregularities. Names are relative, with `/`."""

    def __init__(self, root: Path, *, seconds: float = SECONDS, clock: Callable[[], float] = time.process_time) -> None:
        self.root: Final = root
        self._clock = clock
        self._ends = clock() + seconds
        self._faults: dict[tuple[str, str], Finding] = {}
        self._remembered: dict[str, bytes] = {}
        self._room = REMEMBERED_BYTES
        self._stamps = hashlib.sha256()
        self.sizes: Final = dict(self._walk())
        """Name of each file to its size in bytes."""

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What could not be looked at, so far."""
        return tuple(self._faults.values())

    @property
    def not_read(self) -> Finding | None:
        """Why not everything was looked at: a file that is missing here may exist, so its absence means nothing."""
        return next((fault for fault in self.faults if fault.kind in _NOT_READ), None)

    def must_be_read(self) -> None:
        """Raises NotRead where not everything was looked at."""
        if fault := self.not_read:
            raise NotRead(f"{self.root} was not read, so nothing is known of it: {fault.text}")

    @property
    def stamp(self) -> str:
        """Another one after any change of a file: of names, sizes and times, one of which can't be set at will."""
        return self._stamps.hexdigest()

    def names(self) -> list[str]:
        """The names of all files, sorted."""
        return sorted(self.sizes)

    def in_time(self) -> bool:
        """False once the time for this repository is over; that is a finding too."""
        if self._clock() <= self._ends:
            return True
        self._fault("repository-slow", "", "Reading this repository took too long; the rest was not looked at.")
        return False

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None if it is missing or can't be read (then there is a fault)."""
        data = self._remembered.get(name)
        if data is None and self.in_time():
            data = self._read(name)
            if data is not None and len(data) <= self._room:
                self._room -= len(data)
                self._remembered[name] = data
        return data

    def _read(self, name: str) -> bytes | None:
        """Read it now. No part of the name may be a link, not even one that was created between two reads."""
        parts = name.split("/")
        if {"", ".", ".."}.intersection(parts) or "\0" in name:
            return None
        folder = -1
        try:
            folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for part in parts[:-1]:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                os.close(folder)
                folder = inner
            if not self._is_file(name, os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)):
                return None  # before it is opened: to open a device may already do something
            file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            self._fault("repository-unreadable", name, "It can't be read.")
            return None
        finally:
            if folder >= 0:
                os.close(folder)
        with open(file, "rb") as opened:
            if not self._is_file(name, os.fstat(file)):
                return None
            data = opened.read(_largest(name) + 1)
        return data if len(data) <= _largest(name) else None

    def _walk(self) -> Iterator[tuple[str, int]]:
        waiting = [("", 0)]
        seen = 0
        while waiting:
            folder, depth = waiting.pop()
            try:
                entries = sorted(os.scandir(self.root / folder), key=lambda entry: entry.name)
            except OSError:
                self._fault("repository-unreadable", folder, "This folder can't be read.", ours_only=True)
                continue
            for entry in entries:
                seen += 1
                if seen > MOST_FILES or depth > DEEPEST:
                    text = f"More than {MOST_FILES} files or {DEEPEST} folders deep; the rest was not looked at."
                    self._fault("repository-many", "", text)
                    return
                if not self.in_time():
                    return
                name = f"{folder}/{entry.name}" if folder else entry.name
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # gone since
                if stat.S_ISDIR(status.st_mode):
                    if not _skipped(name, entry.name):
                        waiting.append((name, depth + 1))
                    continue
                about = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
                self._stamps.update(os.fsencode(f"{name}\0{about}\0"))
                if self._is_file(name, status):
                    yield name, status.st_size

    def _is_file(self, name: str, status: os.stat_result) -> bool:
        """Whether it may be read; otherwise a fault, if it stands where a file of the template belongs."""
        if stat.S_ISLNK(status.st_mode):
            text = "This is a link, and links are not followed. Put the file itself here."
            self._fault("repository-link", name, text, ours_only=True)
        elif not stat.S_ISREG(status.st_mode):
            text = "This is no regular file, and is not read. Remove it."
            self._fault("repository-special", name, text, ours_only=True)
        elif status.st_size > _largest(name):
            text = f"It has more than {_largest(name)} bytes, and was not read."
            self._fault("repository-large", name, text, ours_only=True)
        return stat.S_ISREG(status.st_mode)

    def _fault(self, kind: str, name: str, text: str, *, ours_only: bool = False) -> None:
        level: Level = "error"
        if not ours_only or _OURS.match(name):
            self._faults.setdefault((kind, name), Finding(kind, level, text, file=name))


def _largest(name: str) -> int:
    return LARGEST_LOCK_BYTES if name == "uv.lock" else LARGEST_BYTES


def _skipped(path: str, name: str) -> bool:
    """What tools keep in a repository. Below src/ only what Python can't import: a package may be called venv."""
    return name == "__pycache__" or name.startswith(".") if path.startswith("src/") else name in _SKIPPED
