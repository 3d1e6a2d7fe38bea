"""The repository of the service that is updated: nothing in it changes before all is known, and then all at once.

An update that stops half way, by a conflict, a full disk or Ctrl-C, leaves a service that is neither old nor new. So it
is made in a copy; what comes out is one git tree, and git brings the folder from the one tree to the other. Nothing
that the repository's configuration or attributes name is run for it, no filter either (see borrowed.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from .borrowed import Borrowed, read_file
from .git import ISOLATED, GitError, git
from .merge import FOLDER, PLAIN, Change, File
from .template import TemplateError, parents

_JOURNAL: Final = "flask-bastion-update"
"""In the repository's .git: the two trees of an update that is being put in place."""
_ID: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
_BUSY: Final = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")
_SECONDS: Final = 300.0
"""For looking at every file, and for putting an update in place."""


class CheckoutError(TemplateError):
    """The service's repository is in no state to be updated. The text says what to do, in one line."""


class Completed(Exception):
    """An update that had been interrupted is in place now. The text says so, and what to do."""


class Checkout:
    """A service's folder in its git repository, with nothing in it that is not committed."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder.resolve()
        if not self.folder.is_dir():
            raise CheckoutError(f"{folder} is no folder. Name the folder of a service.")
        try:
            repository = Borrowed(self.folder)
        except GitError as error:
            is_none = "not a git repository" in str(error)
            cure = " An update is merged by git: run `git init`, add and commit everything first." if is_none else ""
            raise CheckoutError(f"{folder} is in no git repository that can be updated ({error}).{cure}") from None
        self._git: Final = repository.git
        self.root: Final = repository.root
        elsewhere = repository.settings.get("core.worktree")
        if elsewhere and os.path.realpath(repository.private / elsewhere) != str(self.root):
            raise CheckoutError(f"git has the files of {folder} in another folder (core.worktree). Update there.")
        self.prefix: Final = "".join(f"{part}/" for part in self.folder.relative_to(self.root).parts)
        """Of the service's files in the repository; "" if it is the whole of it."""
        self._git_dir = repository.private
        self._objects = repository.objects
        try:
            self._form, self.head = self._lines(
                "rev-parse", "--show-object-format", "--verify", "--end-of-options", "HEAD^{commit}"
            )
        except GitError:
            raise CheckoutError(f"{folder} has no commit yet. Add and commit everything first.") from None

    def finish(self) -> None:
        """Complete an update that was interrupted while it was put in place, if there is one: then raises Completed.

        Raises CheckoutError if one of its files was edited since.
        """
        journal = self._git_dir / _JOURNAL
        if os.path.lexists(journal):
            head, _, tree = read_file(journal).decode(errors="replace").strip().partition(" ")
            if head != self.head or not _ID.fullmatch(tree):  # the branch or the journal has changed since
                journal.unlink()
                return
            for name, trees in self._different(head, tree).items():
                path = self.root / name
                if path.is_file() and self._lines("hash-object", "--", name)[0] not in trees:
                    raise CheckoutError(
                        f"An update was interrupted, and {name} was edited since. Take the files of the last commit"
                        " (`git restore --staged --worktree .`), and update again."
                    )
            try:
                self._git("read-tree", "--reset", "-u", tree, seconds=_SECONDS)
            except GitError as error:
                raise CheckoutError(f"An update was interrupted and can't be completed yet: {error}") from None
            journal.unlink()
            raise Completed(
                "An update that had been interrupted is complete now. It is staged: look at it, and commit."
            )

    def must_be_clean(self) -> None:
        """Raises CheckoutError, which names a file that is not committed."""
        busy = next((name for name in _BUSY if (self._git_dir / name).exists()), None)
        if busy:
            raise CheckoutError(f"A merge or rebase is under way ({busy}). Finish or abort it, and update again.")
        try:
            said = self._git(
                "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=normal", "--ignore-submodules=all",
                "--", str(self.folder), seconds=_SECONDS,
            )  # fmt: skip
        except GitError as error:
            raise CheckoutError(f"{error}. Update where git works.") from None
        names = [os.fsdecode(entry)[3:] for entry in said.split(b"\0") if entry]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise CheckoutError(
                f"Not everything is committed here: {', '.join(names[:3])}{more}. Commit it, or put it away with"
                f" `git stash --include-untracked`, and update again.{self._filtered(names)}"
            )

    def _filtered(self, names: Iterable[str]) -> str:
        """That one of these files may be as committed, which only a program of the repository's could tell."""
        listed = self._git("check-attr", "-z", "--stdin", "filter", data=b"\0".join(map(os.fsencode, names)))
        parts = os.fsdecode(listed).split("\0")
        found = {value: name for name, value in zip(parts[::3], parts[2::3], strict=False)}
        name = next((one for one in sorted(found) if one not in ("unspecified", "unset", "set")), "")
        if not name:
            return ""
        return (
            f" {found[name]} is kept through the filter {name} (.gitattributes), which is not run here: if `git status`"
            " says that it is committed, git knows that from then on."
        )

    def files(self, names: Iterable[str]) -> dict[str, File]:
        """What the last commit has under these names below the service's folder, and where their folders have to be."""
        files = frozenset(names)
        wanted = {part for name in files for part in (*parents(name), name)}
        below = [self.prefix] if self.prefix else []
        listed = self._git("ls-tree", "-r", "-z", "--full-tree", self.head, "--", *below)
        found: dict[str, tuple[str, str]] = {}
        folders = set()
        for entry in filter(None, listed.split(b"\0")):
            about, _, path = entry.partition(b"\t")
            mode, _, identity = about.decode().split()
            name = os.fsdecode(path).removeprefix(self.prefix)
            if name in wanted:
                found[name] = (mode, identity)
            folders.add(name.rpartition("/")[0])
        for folder in folders:
            found.update((part, (FOLDER, "")) for part in (*parents(folder), folder) if part in files)
        plain = {name: identity for name, (mode, identity) in found.items() if mode.startswith("100")}
        data = dict(zip(plain, self._read(plain.values()), strict=True))
        return {name: File(mode, data.get(name)) for name, (mode, _) in found.items()}

    def _read(self, blobs: Iterable[str]) -> list[bytes]:
        asked = list(blobs)
        answer = self._git("cat-file", "--batch", data="".join(f"{blob}\n" for blob in asked).encode())
        contents, at = [], 0
        for _ in asked:  # each as `<id> blob <size>`, a line end, the bytes, a line end
            begin = answer.index(b"\n", at) + 1
            about = answer[at:begin].split()
            if len(about) != 3:
                raise CheckoutError("This clone has not all files of its last commit. Clone it as a whole.")
            end = begin + int(about[2])
            contents.append(answer[begin:end])
            at = end + 1
        return contents

    def copy(self, into: Path, commit: str = "") -> Copy:
        """The service's folder of a commit (default: the last) in a repository of its own, which shares only
        git's objects."""
        commit = commit or self.head
        git("init", "--quiet", "--template=", f"--object-format={self._form}", str(into), at=(), environment=ISOLATED)
        (into / ".git" / "objects" / "info").mkdir(exist_ok=True)
        (into / ".git" / "objects" / "info" / "alternates").write_text(f"{self._objects}\n", "utf-8", "surrogateescape")
        copy = Copy(into, self.prefix, self._form)
        copy.git("update-ref", "--no-deref", "HEAD", commit)
        copy.git("read-tree", commit)
        names = copy.git("ls-files", "-z", "--", *([self.prefix] if self.prefix else []))
        copy.git("checkout-index", "--quiet", "-z", "--stdin", data=names)
        return copy

    def apply(self, copy: Copy, tree: str) -> None:
        """Bring the folder and the index to a tree that was made in a copy. Nothing is committed.

        git looks first whether anything is in the way, and changes nothing if so. What fails later is taken back. git
        goes on when this process is ended; if it is ended itself, `finish` does the rest. Raises CheckoutError.
        """
        added = [name for name, (before, _) in self._different(self.head, tree, copy).items() if not int(before, 16)]
        in_the_way = next((name for name in added if os.path.lexists(self.root / name)), None)
        if in_the_way:
            raise CheckoutError(f"{in_the_way} comes with the update, and git ignores one that is there. Move it away.")
        journal = self._git_dir / _JOURNAL
        fresh = journal.with_suffix(".new")
        try:
            self._git("unpack-objects", "-q", data=copy.packed())
            with suppress(GitError):  # of a clone that was copied or restored, git knows the times of the files no more
                self._git("update-index", "-q", "--refresh", seconds=_SECONDS)
            self._git("read-tree", "--dry-run", "-m", "-u", self.head, tree, seconds=_SECONDS)
            fresh.unlink(missing_ok=True)
            _write(fresh, f"{self.head} {tree}\n".encode())
            fresh.replace(journal)
        except (GitError, OSError) as error:
            raise CheckoutError(f"The update was not put in place, and nothing was changed: {error}") from None
        try:
            self._git("read-tree", "-m", "-u", self.head, tree, goes_on=True, seconds=_SECONDS)
        except GitError as error:
            self._take_back(added, error)
        journal.unlink()

    def _take_back(self, added: Iterable[str], why: GitError) -> None:
        """The files as they were in the last commit, which they were when it began. Raises CheckoutError."""
        try:
            self._git("read-tree", "--reset", "-u", self.head, seconds=_SECONDS)
            for name in added:
                (self.root / name).unlink(missing_ok=True)
            (self._git_dir / _JOURNAL).unlink()
        except (GitError, OSError) as error:
            raise CheckoutError(
                f"The update stopped half way ({why}), and could not be taken back ({error}). Mend that, and update"
                " again: then it is completed."
            ) from None
        raise CheckoutError(f"The update stopped half way, and was taken back: {why}. Mend that, and update again.")

    def keep(self, name: str, data: bytes) -> Path:
        """Keep a file beside the repository, where no commit sees it."""
        path = self._git_dir / name
        try:
            _write(path, data)
        except OSError as error:
            raise CheckoutError(f"{path} can't be written ({error.strerror}). Nothing was changed.") from None
        return path

    def _different(self, head: str, tree: str, copy: Copy | None = None) -> dict[str, tuple[str, str]]:
        """Each file that differs between two trees, with its two blobs; of zeros where the file is missing."""
        asked = ("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", head, tree)
        said = copy.git(*asked) if copy else self._git(*asked)
        parts = said.split(b"\0")[:-1]
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return {os.fsdecode(name): (about.decode().split()[2], about.decode().split()[3]) for about, name in pairs}

    def _lines(self, *arguments: str) -> list[str]:
        return os.fsdecode(self._git(*arguments)).splitlines()


def _write(path: Path, data: bytes) -> None:
    """Write a file that is new: a link that waits at its place is not followed."""
    with path.open("xb") as file:
        file.write(data)


class Copy:
    """A service's last commit in a scratch folder."""

    def __init__(self, root: Path, prefix: str, form: str) -> None:
        self.folder: Final = root / prefix
        """The service in it."""
        self._root = root
        self._prefix = prefix
        self._none = "0" * (64 if form == "sha256" else 40)

    def git(self, *arguments: str, data: bytes = b"", index: str = "index") -> bytes:
        """What git prints in the copy, which no configuration reaches."""
        environment = {**ISOLATED, "GIT_INDEX_FILE": str(self._root / ".git" / index)}
        return git(*arguments, at=("-C", str(self._root)), data=data, environment=environment)

    def write(self, changes: Iterable[Change]) -> None:
        """Make the changes in the folder; no part of their names is a link (see merge)."""
        for change in changes:
            path = self.folder / change.name
            if change.data is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(change.data)

    def tree(self, changes: Iterable[Change]) -> str:
        """The id of the last commit's tree with the changes."""
        listed = list(changes)
        written = [change for change in listed if change.data is not None]
        paths = "".join(f"{self.folder / change.name}\n" for change in written)
        blobs = self.git("hash-object", "-w", "--no-filters", "--stdin-paths", data=paths.encode()).decode()
        new: Mapping[str, str] = dict(zip((change.name for change in written), blobs.split(), strict=True))
        entries = (
            (change.mode, new[change.name], change.name) if change.name in new else ("0", self._none, change.name)
            for change in listed
        )
        lines = (f"{mode} {blob}\t{self._prefix}{name}\0" for mode, blob, name in entries)
        self.git("update-index", "-z", "--index-info", data="".join(lines).encode())
        return self.git("write-tree").decode().strip()

    def packed(self) -> bytes:
        """Every object that the copy has and the service's repository has not."""
        objects = self._objects()
        return self.git("pack-objects", "--stdout", "-q", data="".join(f"{one}\n" for one in objects).encode())

    def _objects(self) -> list[str]:
        folder = self._root / ".git" / "objects"
        return [f"{part.name}{one.name}" for part in folder.iterdir() if len(part.name) == 2 for one in part.iterdir()]

    def patch(self, dropped: Mapping[str, bytes | None]) -> bytes:
        """What a team did to files that it loses, as a patch: from the template's to its own."""
        index = "index-before"
        self.git("read-tree", "HEAD", index=index)
        lines = []
        for name, data in dropped.items():
            mode, blob = "0", self._none
            if data is not None:
                mode, blob = PLAIN, self.git("hash-object", "-w", "--stdin", data=data).decode().strip()
            lines.append(f"{mode} {blob}\t{self._prefix}{name}\0")
        self.git("update-index", "-z", "--index-info", data="".join(lines).encode(), index=index)
        tree = self.git("write-tree", index=index).decode().strip()
        return self.git("diff-tree", "-p", "--binary", "--no-ext-diff", "--no-renames", tree, "HEAD")
