"""File storage: one private folder outside of the package, each file under a random name.

A file that lies beside what is served can be requested by its address, and one that other users of the machine can read
or replace is no longer the owner's. Another store has the same five functions. Source: ASVS 5.3.1, 5.3.2.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

SETTING: Final = "BASTION_FILES_DIR"


class Folder:
    """The files in `path` (mode 0700, each file 0600, named by its id in hex). No path is made of any other text."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def faults(self, package: Path) -> Iterator[str]:
        """Yield reasons against this folder; make it if it is missing. `package` holds the code and static files."""
        if not self._path.is_absolute() or self._path == Path(self._path.anchor):
            yield f"{SETTING} must name a folder by its absolute path, since views of this service take files."
            return
        path = self._path.resolve()
        if path.is_relative_to(package) or package.is_relative_to(path):
            yield f"{SETTING}: the folder lies in the package, beside the static files. Name a folder outside of it."
            return
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            found = path.stat()
        except OSError as error:
            yield f"{SETTING}: the folder can't be made ({error.strerror}). Make it, writable for the service only."
            return
        if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid != os.geteuid():
            yield f"{SETTING}: others than the service may use the folder. Run `chmod 700` on it as its owner."

    def write(self, ident: UUID, data: bytes) -> None:
        """Store a new file: name and content are on the disk before its row is committed. Raises OSError."""
        path = self._path / ident.hex
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def open(self, ident: UUID) -> BinaryIO | None:
        """Open a file for reading; None if it is missing."""
        with suppress(FileNotFoundError):
            return (self._path / ident.hex).open("rb")
        return None

    def remove(self, ident: UUID) -> None:
        """Remove a file; without effect if it is missing."""
        (self._path / ident.hex).unlink(missing_ok=True)

    def older_than(self, moment: float) -> Iterator[UUID]:
        """Yield the id of each file that was last written before `moment` (Unix time)."""
        if not self._path.is_absolute():
            return  # no folder is set
        with suppress(FileNotFoundError), os.scandir(self._path) as entries:
            for entry in entries:
                with suppress(ValueError, FileNotFoundError):  # a foreign name; one that was removed since
                    ident = UUID(hex=entry.name)
                    if entry.stat(follow_symlinks=False).st_mtime < moment:
                        yield ident
