"""Find files that git was asked not to look at: the file in the folder may differ from the committed one.

`git update-index --skip-worktree` and `--assume-unchanged` keep an edit out of `git status` and out of every commit, so
a service that is good here is deployed without its fix. The index is read as bytes; git is not run.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .finding import Finding

LARGEST_BYTES: Final = 16 * 1024 * 1024
"""Of an index; one of 20,000 files has two MiB."""
_ENTRY: Final = 62  # bytes before the name; see "index-format" in git's documentation
_LONGEST_NAME: Final = 4096
_ASSUME_VALID, _EXTENDED, _SKIP_WORKTREE = 0x8000, 0x4000, 0x4000
_DECIDES: Final = re.compile(
    r"(?:src/.+|tests/(?:proofs/.+|conftest\.py)|[^/]+\.py|deploy/base/.+|\.github/workflows/.+|(?:.*/)?Dockerfile"
    r"|pyproject\.toml|uv\.(?:lock|toml)|\.copier-answers\.yml|\.bastion-[a-z]+\.toml)"
)
"""Files by which `check` decides."""
_CURE: Final = "Run `git update-index --no-skip-worktree --no-assume-unchanged` on it, and look at what differs."


def findings(root: Path) -> list[Finding]:
    """Each file by which `check` decides and that git does not look at, though it is here."""
    data = _index(root)
    if data is None:
        return []  # no clone, or a work tree whose index lies elsewhere
    try:
        hidden = [name for name in _hidden(data) if _DECIDES.fullmatch(name) and os.path.lexists(root / name)]
    except (struct.error, ValueError, IndexError):
        text = "The files that git does not look at are not known: this index can't be read."
        return [Finding("git-hidden", "warning", text, "Run `git status`, which shows the error.", ".git/index")]
    text = "git does not look at this file (skip-worktree or assume-unchanged): the committed version may differ."
    return [Finding("git-hidden", "error", text, _CURE, name) for name in hidden]


def _index(root: Path) -> bytes | None:
    """The index of a clone; None if it is missing or can't be read without following a link."""
    try:
        if not stat.S_ISDIR(os.lstat(root / ".git").st_mode):
            return None
        file = os.open(root / ".git" / "index", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        data = opened.read(LARGEST_BYTES + 1)
    return data if len(data) <= LARGEST_BYTES else b""


def _hidden(data: bytes) -> Iterator[str]:
    """The names of the files with one of the two flags."""
    signature, version, count = struct.unpack_from(">4sII", data)
    if signature != b"DIRC" or version not in (2, 3, 4):
        raise ValueError("no index")
    at, name = 12, b""
    for _ in range(count):
        (flags,) = struct.unpack_from(">H", data, at + 60)
        start = at + _ENTRY
        skipped = False
        if flags & _EXTENDED:
            (extended,) = struct.unpack_from(">H", data, start)
            skipped = bool(extended & _SKIP_WORKTREE)
            start += 2
        if version == 4:  # a name is the end of the one before, cut, and what follows
            cut, start = _number(data, start)
            end = data.index(b"\0", start)
            name = name[: len(name) - cut] + data[start:end]
            if len(name) > _LONGEST_NAME:
                raise ValueError("names that grow with each entry")
            at = end + 1
        else:
            end = data.index(b"\0", start)
            name = data[start:end]
            at += (end - at + 8) // 8 * 8  # one to eight NUL
        if skipped or flags & _ASSUME_VALID:
            yield os.fsdecode(name)
    if data[at : at + 4] == b"link":
        raise ValueError("a split index, whose other half is another file")


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = data[at] & 0x7F
    while data[at] & 0x80:
        at += 1
        value = ((value + 1) << 7) | (data[at] & 0x7F)
    return value, at + 1
