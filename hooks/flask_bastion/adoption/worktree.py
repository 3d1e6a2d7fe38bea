"""Whether everything in a folder is committed, found out without the configuration of the repository it lies in.

`git status` runs what that configuration names (core.fsmonitor, filters). So git looks at the folder through an empty
repository of ours, which borrows nothing from the other one but its objects and a copy of its index.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Final

from ..git import ALONE, GitError, git

_LARGEST_INDEX_BYTES: Final = 256 * 1024 * 1024
_LARGEST_TEXT_BYTES: Final = 4 * 1024 * 1024  # packed-refs of a repository with many branches
_COMMIT: Final = re.compile(r"[0-9a-f]{40}\Z")
_BRANCH: Final = re.compile(r"ref: (refs/heads/[A-Za-z0-9._/@+-]{1,200})\Z")
_UNKNOWN: Final = "This repository is of a form that is not known here. Clone it with `git clone`, anew."
_COMMIT_FIRST: Final = "Make it one, and commit what is there: git init && git add --all && git commit"


class WorktreeError(Exception):
    """It can't be said what is committed. The text says what to do, in one line."""


def uncommitted(folder: Path) -> list[str]:
    """Names of files that differ from the last commit or are in none, without ignored ones, below the folder.

    Raises WorktreeError where there is no repository, no commit, or a form of repository that is not known here.
    """
    folder = folder.resolve()
    root = next((one for one in (folder, *folder.parents) if os.path.lexists(one / ".git")), None)
    if root is None:
        raise WorktreeError(f"{folder} is no git repository, and updates are merged by git. {_COMMIT_FIRST}")
    try:
        said = _status(root, folder)
    except (OSError, ValueError):  # a name that can't be one
        raise WorktreeError(_UNKNOWN) from None
    return [entry[3:] for entry in said.decode(errors="surrogateescape").split("\0") if entry]


def _status(root: Path, folder: Path) -> bytes:
    """What git says of the folder, in a repository of ours that looks at the same files."""
    with tempfile.TemporaryDirectory(prefix="flask-bastion-") as scratch:
        ours = Path(scratch) / "git"
        _git("init", "--quiet", "--bare", "--template=", str(ours))
        private = _folder_of(root / ".git")
        shared = private / _read(private / "commondir").strip() if (private / "commondir").exists() else private
        objects = str((shared / "objects").resolve())
        if "\n" in objects or objects.startswith(("#", '"')):
            raise WorktreeError(f"The folder {root} has a name that git can't borrow from. Rename it.")
        (ours / "objects" / "info").mkdir(parents=True, exist_ok=True)
        (ours / "objects" / "info" / "alternates").write_text(f"{objects}\n", "utf-8", "surrogateescape")
        (ours / "HEAD").write_text(f"{_commit(private, shared)}\n", encoding="utf-8")
        (ours / "index").write_bytes(_bytes(private / "index", _LARGEST_INDEX_BYTES))
        (ours / "info").mkdir(exist_ok=True)
        (ours / "info" / "exclude").write_text(
            _read(shared / "info" / "exclude", missing=""), "utf-8", "surrogateescape"
        )
        return _git(
            *("-c", "core.fileMode=false", "-c", f"core.excludesFile={_excludes()}"),
            *(f"--git-dir={ours}", f"--work-tree={root}", "-C", str(folder)),
            *("status", "--porcelain", "-z", "--untracked-files=normal", "--ignore-submodules=all", "--no-renames"),
            *("--", "."),
        )


def _folder_of(git: Path) -> Path:
    """Where a repository keeps its own: .git itself, or what the file .git of a worktree names."""
    if git.is_dir():
        return git
    kind, _, place = _read(git).strip().partition(": ")
    if kind != "gitdir" or not place:
        raise WorktreeError(f"{git} is no repository of git. Clone it anew.")
    return git.parent / place


def _commit(private: Path, shared: Path) -> str:
    """The commit that is checked out."""
    head = _read(private / "HEAD").strip()
    if branch := _BRANCH.match(head):
        name = branch[1]
        if ".." in name:
            raise WorktreeError("The branch that is checked out has a name that git would not give.")
        head = _read(shared / name, missing="").strip()
        if not head:
            packed = (line.split(" ") for line in _read(shared / "packed-refs", missing="").splitlines())
            head = next((words[0] for words in packed if words[1:] == [name]), "")
        if not head:
            raise WorktreeError(f"There is no commit yet. {_COMMIT_FIRST}")
    if not _COMMIT.match(head):
        raise WorktreeError(_UNKNOWN)
    return head


def _read(file: Path, missing: str | None = None) -> str:
    if missing is not None and not file.is_file():
        return missing
    return _bytes(file, _LARGEST_TEXT_BYTES).decode(errors="surrogateescape")


def _bytes(file: Path, most: int) -> bytes:
    """A regular file of the repository; a pipe would never end."""
    try:
        data = None
        if file.is_file():  # before it is opened: to open a device may already do something
            with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
                data = opened.read(most + 1)
    except OSError as error:
        raise WorktreeError(f"{file} can't be read ({error.strerror}). Clone the repository anew.") from None
    if data is None or len(data) > most:
        raise WorktreeError(f"{file} is no file of git. Clone the repository anew.")
    return data


def _excludes() -> str:
    """The file in which its user says what git ignores everywhere: he is trusted, the repository is not."""
    try:
        said = git("config", "--global", "--type=path", "--default=", "--get", "core.excludesFile", at=("-C", os.sep))
    except GitError:  # he has no configuration at all
        said = b""
    named = os.fsdecode(said).strip()
    return named or str(Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "git" / "ignore")


def _git(*arguments: str) -> bytes:
    try:
        return git(*arguments, at=(), environment=ALONE)
    except GitError as error:
        raise WorktreeError(f"{error}. Clone the repository anew.") from None
