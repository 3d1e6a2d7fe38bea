"""A git repository that is not ours, read and written through a git directory of ours: its configuration is not used.

Dozens of keys of a .git/config name a program (filter.<name>.clean, core.fsmonitor, credential.helper) or another file
(include.path), hooks and drivers come with it, and every version of git may add one. So no list of them is kept here:
git gets a directory that was made for it, with the objects, references, HEAD and index of the other repository, no
hook, no driver, no remote, and those few settings that change only how bytes are compared. The repository's own
configuration is read as data. Source: git-config(1), gitattributes(5), githooks(5), gitrepository-layout(5), and what
git(1) says under SECURITY about a .git directory that is not trusted.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import weakref
from functools import cached_property
from pathlib import Path
from typing import Final

from .git import ISOLATED, SECONDS, GitError, git

_MAX_FILE_BYTES: Final = 4 * 1024 * 1024  # packed-refs of a repository with many branches
_SETTINGS: Final = frozenset(
    {
        "core.autocrlf", "core.checkstat", "core.eol", "core.filemode", "core.ignorecase", "core.precomposeunicode",
        "core.sharedrepository", "core.symlinks", "core.trustctime",
    }
)  # fmt: skip
"""Settings that are taken over: how contents, times and modes are compared. None of them holds a path or a program."""
_FORMAT: Final = frozenset({"extensions.objectformat", "extensions.refstorage"})
_OF_THE_USER: Final = frozenset({"core.autocrlf", "core.eol", "core.excludesfile", "core.attributesfile"})
"""The same of the configuration of the user, who is trusted."""
_WORD: Final = re.compile(r"[A-Za-z0-9]{0,20}", re.ASCII)
_NOWHERE: Final = ("--git-dir", os.devnull)
_UNKNOWN: Final = "Clone the repository anew."


class Borrowed:
    """The repository that a folder lies in, or with `bare` the one that it is. Raises GitError."""

    def __init__(self, folder: Path, *, bare: bool = False) -> None:
        root, private = _find(folder.resolve(), bare=bare)
        self.root: Final = root
        """The folder with the files; the repository itself if it has none."""
        self.private: Final = private
        """Where the repository keeps what belongs to this folder only: HEAD and index."""
        _must_be_trusted(self.root, self.private)
        common = self.private
        if os.path.lexists(self.private / "commondir"):
            common = self.private / _text(self.private / "commondir").strip()
        self.objects: Final = (common / "objects").resolve()
        if not self.objects.is_dir():
            raise GitError(f"{self.private} has no objects. {_UNKNOWN}")
        self._ours: Final = Path(tempfile.mkdtemp(prefix="flask-bastion-"))
        weakref.finalize(self, shutil.rmtree, self._ours, ignore_errors=True)
        (self._ours / "HEAD").write_bytes(read_file(self.private / "HEAD"))
        (self._ours / "info").mkdir()
        for name in ("refs", "reftable", "packed-refs", "shallow", "info/exclude", "info/attributes"):
            if stat.S_IFMT(_mode(common / name)) in (stat.S_IFREG, stat.S_IFDIR):
                (self._ours / name).symlink_to(common.resolve() / name)
        for shared in self.private.glob("sharedindex.*"):
            (self._ours / shared.name).symlink_to(shared)
        if os.path.lexists(index := self.private / "index") and (index.is_symlink() or not index.is_file()):
            raise GitError(f"{index} is no regular file. {_UNKNOWN}")
        self.settings: Final = _read(common / "config")
        """What its configuration says, as data."""
        extensions = "".join(
            f"\t{key.partition('.')[2]} = {self.settings[key]}\n"
            for key in sorted(_FORMAT & self.settings.keys())
            if _WORD.fullmatch(self.settings[key])
        )
        text = f"[core]\n\trepositoryformatversion = {int(bool(extensions))}\n"
        (self._ours / "config").write_text(f"{text}[extensions]\n{extensions}", encoding="ascii")

    def git(self, *arguments: str, data: bytes = b"", seconds: float = SECONDS, goes_on: bool = False) -> bytes:
        """What git prints, run in the folder with the files. Raises GitError."""
        return git(
            *arguments,
            at=self._at,
            data=data,
            environment={
                **ISOLATED, "GIT_OBJECT_DIRECTORY": str(self.objects), "GIT_INDEX_FILE": str(self.private / "index"),
            },
            seconds=seconds,
            goes_on=goes_on,
        )  # fmt: skip

    @cached_property
    def _at(self) -> tuple[str, ...]:
        """Where git works, and how it compares."""
        at = ("--git-dir", str(self._ours))
        if self.root == self.private:
            return at
        said = _listed(git("config", "--null", "--list", at=at))
        settings = {key: said[key] for key in sorted(_OF_THE_USER & said.keys())}
        settings |= {
            key: self.settings[key]
            for key in sorted(_SETTINGS & self.settings.keys())
            if _WORD.fullmatch(self.settings[key])
        }
        settings["core.splitIndex"] = "false"  # the part that all share would stay in our directory
        options = (part for key, value in settings.items() for part in ("-c", f"{key}={value}"))
        return (*at, "--work-tree", str(self.root), "-C", str(self.root), *options)


def _find(folder: Path, *, bare: bool) -> tuple[Path, Path]:
    """The folder with the files, and the one in which git keeps its own."""
    if bare and not os.path.lexists(folder / ".git") and (folder / "objects").is_dir():
        return folder, folder
    root = next((one for one in (folder, *folder.parents) if os.path.lexists(one / ".git")), None)
    if root is None:
        raise GitError("not a git repository")
    dot_git = root / ".git"
    if dot_git.is_dir():
        return root, dot_git
    kind, _, place = _text(dot_git).strip().partition(": ")  # of a linked work tree or a submodule
    if kind != "gitdir" or not place:
        raise GitError(f"{dot_git} is no repository of git. {_UNKNOWN}")
    return root, dot_git.parent / place


def _must_be_trusted(root: Path, private: Path) -> None:
    """As git itself: the files are of the user who runs this, or of one whom that user trusts."""
    try:
        if {root.stat().st_uid, private.stat().st_uid} == {os.geteuid()}:
            return
    except (OSError, ValueError):
        raise GitError(f"{private} is no repository of git. {_UNKNOWN}") from None
    try:
        said = git("config", "--null", "--type=path", "--get-all", "safe.directory", at=_NOWHERE)
    except GitError:  # it is not set
        said = b""
    if not {"*", str(root), str(private)}.intersection(os.fsdecode(said).split("\0")):
        raise GitError(
            f"detected dubious ownership in repository at '{root}'. If you trust it: git config --global --add"
            f" safe.directory {root}"
        )


def _read(config: Path) -> dict[str, str]:
    """A configuration as data: what it includes is not read. Raises GitError."""
    if not os.path.lexists(config):
        return {}
    if not stat.S_ISREG(_mode(config)):
        raise GitError(f"{config} is no file of git. {_UNKNOWN}")
    return _listed(git("config", "--file", str(config), "--no-includes", "--null", "--list", at=_NOWHERE))


def _listed(said: bytes) -> dict[str, str]:
    """The entries of `git config --list --null`; the last of a name counts."""
    entries = (os.fsdecode(entry).partition("\n") for entry in said.split(b"\0") if entry)
    return {key: value if equals else "true" for key, equals, value in entries}


def _mode(file: Path) -> int:
    """The kind of a file or folder; 0 if it is not there."""
    try:
        return file.stat().st_mode
    except (OSError, ValueError):
        return 0


def _text(file: Path) -> str:
    return read_file(file).decode(errors="surrogateescape")


def read_file(file: Path) -> bytes:
    """A regular file of the repository; a pipe would never end."""
    if not stat.S_ISREG(_mode(file)):  # before it is opened: to open a device may already do something
        raise GitError(f"{file} is no file of git. {_UNKNOWN}")
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            data = opened.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise GitError(f"{file} can't be read ({error.strerror}). {_UNKNOWN}") from None
    if len(data) > _MAX_FILE_BYTES:
        raise GitError(f"{file} is too large for git. {_UNKNOWN}")
    return data
