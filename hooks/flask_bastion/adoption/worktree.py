"""Whether everything in a folder is committed, found out without the configuration of the repository it lies in.

`git status` runs what that configuration names (core.fsmonitor, filters), so git does not get it (see borrowed.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..borrowed import Borrowed
from ..git import GitError

_COMMIT_FIRST: Final = "Make it one, and commit its files: git init && git add --all && git commit"


class WorktreeError(Exception):
    """The committed files are not known. The text says what to do, in one line."""


def uncommitted(folder: Path) -> list[str]:
    """Names of files that differ from the last commit or are in none, without ignored ones, below the folder.

    Raises WorktreeError where there is no repository, no commit, or a form of repository that git does not read.
    """
    folder = folder.resolve()
    try:
        repository = Borrowed(folder)
    except GitError as error:
        if "not a git repository" in str(error):
            raise WorktreeError(
                f"{folder} is no git repository, and updates are merged by git. {_COMMIT_FIRST}"
            ) from None
        raise WorktreeError(str(error)) from None
    try:
        repository.git("rev-parse", "--verify", "--quiet", "--end-of-options", "HEAD^{commit}")
    except GitError:
        raise WorktreeError(f"There is no commit yet. {_COMMIT_FIRST}") from None
    try:
        said = repository.git(
            *("-c", "core.fileMode=false", "status", "--porcelain", "-z", "--untracked-files=normal"),
            *("--ignore-submodules=all", "--no-renames", "--", str(folder)),
        )
    except GitError as error:
        raise WorktreeError(f"{error}. Clone the repository anew.") from None
    return [entry[3:] for entry in said.decode(errors="surrogateescape").split("\0") if entry]
