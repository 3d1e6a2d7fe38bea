"""Put files into the team's folder all together or not at all, and never over existing files or through links.

A program that ends in the middle leaves a mixture of two layouts behind, and a link in the folder leads a file to any
other place. So all are written beside first, then each is put to its name, which must be free, from folder to folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""What a file system answers that has no second names for a file."""


class PlacementError(Exception):
    """Nothing was put in. The text says why and what to do, in one line."""


def obstacles(root: Path, names: Iterable[str]) -> dict[str, str]:
    """What stands where a folder has to be for these files, by its name: "a link" or "a file"."""
    found: dict[str, str] = {}
    fine: set[str] = set()
    for name in names:
        parts = name.split("/")[:-1]
        for folder in ("/".join(parts[: end + 1]) for end in range(len(parts))):
            if folder in found:
                break
            if folder in fine:
                continue
            try:
                mode = os.lstat(root / folder).st_mode
            except OSError:
                break  # not there yet
            if not stat.S_ISDIR(mode):
                found[folder] = "a link" if stat.S_ISLNK(mode) else "a file"
                break
            fine.add(folder)
    return found


def put_in(root: Path, files: Mapping[str, bytes]) -> None:
    """Put every file in, in this order, or none; also when the process is interrupted (see cli.py).

    Raises PlacementError if a name is taken or can't be written, KeyboardInterrupt after an interruption.
    """
    beside: list[Path] = []
    try:
        with _deaf():
            beside.append(Path(tempfile.mkdtemp(prefix=".bastion-adopt-", dir=root)))
        _put_in(root, beside[0], files)
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else str(root)
        raise PlacementError(f"{name} can't be put in ({error.strerror}); nothing was.") from None
    finally:
        with _deaf():
            for folder in beside:
                shutil.rmtree(folder, ignore_errors=True)


def _put_in(root: Path, beside: Path, files: Mapping[str, bytes]) -> None:
    for number, data in enumerate(files.values()):
        (beside / str(number)).write_bytes(data)
    made: list[tuple[str, bool]] = []  # name, and whether it is a folder
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, name in enumerate(files):
            with _deaf():  # placing a file and noting it are one step
                _place(top, beside / str(number), name, made)
    except BaseException:
        with _deaf():
            for name, is_folder in reversed(made):
                _take_out(top, name, is_folder=is_folder)
        raise
    finally:
        os.close(top)


def _place(top: int, source: Path, name: str, made: list[tuple[str, bool]]) -> None:
    *folders, last = name.split("/")
    here = os.dup(top)
    try:
        for depth, part in enumerate(folders):
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=here)
                made.append(("/".join(folders[: depth + 1]), True))
            inner = _enter(here, part, name)
            os.close(here)
            here = inner
        _name(source, here, last)
        made.append((name, False))
    except OSError as error:
        error.filename = name
        raise
    finally:
        os.close(here)


def _enter(here: int, part: str, name: str) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=here)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise PlacementError(f"{name} can't be put in: {part} is no folder. Nothing was put in.") from None
        raise


def _name(source: Path, folder: int, name: str) -> None:
    """Give a file its name in a folder, if that is free: at once where the file system can."""
    try:
        os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        new = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder)
        with open(new, "wb") as opened:
            opened.write(source.read_bytes())


def _take_out(top: int, name: str, *, is_folder: bool) -> None:
    """Undo one step; a folder stays if another process has put a file into it since."""
    *folders, last = name.split("/")
    here = os.dup(top)
    with contextlib.suppress(OSError):
        for part in folders:
            inner = os.open(part, _FOLDER, dir_fd=here)
            os.close(here)
            here = inner
        (os.rmdir if is_folder else os.unlink)(last, dir_fd=here)
    os.close(here)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Undoing is not interrupted."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
