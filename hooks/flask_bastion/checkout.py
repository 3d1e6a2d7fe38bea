"""The repository of the service that is updated: nothing in it changes before all is known, and then all at once.

An update that stops half way, by a conflict, a full disk or Ctrl-C, leaves a service that is neither old nor new. So it
is made in a copy; what comes out is one git tree, and git brings the folder from the one tree to the other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from .git import ALONE, GitError, git
from .merge import FOLDER, PLAIN, Change, File
from .template import TemplateError, parents

_JOURNAL: Final = "flask-bastion-update"
"""In the repository's .git: the two trees of an update that is being put in place."""
_ID: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
_BUSY: Final = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")
_SECONDS: Final = 300.0
"""For putting an update in place, which runs the filters (LFS, line ends) that the repository's owner has chosen."""


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
            self._at: tuple[str, str] = ("-C", str(self.folder))
            top, git_dir, objects, form = self._lines(
                "rev-parse", "--path-format=absolute", "--show-toplevel", "--absolute-git-dir", "--git-path", "objects",
                "--show-object-format",
            )  # fmt: skip
        except GitError as error:
            is_none = "not a git repository" in str(error)
            cure = " An update is merged by git: run `git init`, add and commit everything first." if is_none else ""
            raise CheckoutError(f"{folder} is in no git repository that can be updated ({error}).{cure}") from None
        self.root: Final = Path(top)
        if not self.folder.is_relative_to(self.root):
            raise CheckoutError(f"git has the files of {folder} in another folder (core.worktree). Update there.")
        self.prefix: Final = "".join(f"{part}/" for part in self.folder.relative_to(self.root).parts)
        """Of the service's files in the repository; "" if it is the whole of it."""
        self._git_dir = Path(git_dir)
        self._objects, self._form = objects, form
        self._at = ("-C", str(self.root))
        try:
            self.head: Final = self._lines("rev-parse", "--verify", "--end-of-options", "HEAD^{commit}")[0]
        except GitError:
            raise CheckoutError(f"{folder} has no commit yet. Add and commit everything first.") from None

    def finish(self) -> None:
        """Complete an update that was interrupted while it was put in place, if there is one: then raises Completed.

        Raises CheckoutError if one of its files was edited since.
        """
        journal = self._git_dir / _JOURNAL
        with suppress(FileNotFoundError):
            head, _, tree = journal.read_text(encoding="ascii", errors="replace").strip().partition(" ")
            if head != self.head or not _ID.fullmatch(tree):  # somebody has gone on since
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
                git("read-tree", "--reset", "-u", tree, at=self._at, seconds=_SECONDS)
            except GitError as error:
                raise CheckoutError(f"An update was interrupted and can't be completed yet: {error}") from None
            journal.unlink()
            raise Completed(
                "An update that had been interrupted is complete now. It is staged: look at it, and commit."
            )

    def must_be_clean(self) -> None:
        """Raises CheckoutError, which names what is not committed."""
        busy = next((name for name in _BUSY if (self._git_dir / name).exists()), None)
        if busy:
            raise CheckoutError(f"A merge or rebase is under way ({busy}). Finish or abort it, and update again.")
        try:
            said = git(
                "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=normal", "--", str(self.folder),
                at=self._at, seconds=_SECONDS,
            )  # fmt: skip
        except GitError as error:
            raise CheckoutError(f"{error}. Update where git works.") from None
        names = [os.fsdecode(entry)[3:] for entry in said.split(b"\0") if entry]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise CheckoutError(
                f"Not everything is committed here: {', '.join(names[:3])}{more}. Commit it, or put it away with"
                " `git stash --include-untracked`, and update again."
            )

    def files(self, names: Iterable[str]) -> dict[str, File]:
        """What the last commit has under these names below the service's folder, and where their folders have to be."""
        files = frozenset(names)
        wanted = {part for name in files for part in (*parents(name), name)}
        below = [self.prefix] if self.prefix else []
        listed = git("ls-tree", "-r", "-z", "--full-tree", self.head, "--", *below, at=self._at)
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
        answer = git("cat-file", "--batch", at=self._at, data="".join(f"{blob}\n" for blob in asked).encode())
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
        """The service's folder of a commit (default: the last) in a repository of its own, which shares git's objects
        alone."""
        commit = commit or self.head
        git("init", "--quiet", "--template=", f"--object-format={self._form}", str(into), at=(), environment=ALONE)
        (into / ".git" / "objects" / "info").mkdir(exist_ok=True)
        (into / ".git" / "objects" / "info" / "alternates").write_text(f"{self._objects}\n", encoding="utf-8")
        at = ("-C", str(into))
        git("update-ref", "--no-deref", "HEAD", commit, at=at, environment=ALONE)
        git("read-tree", commit, at=at, environment=ALONE)
        names = git("ls-files", "-z", "--", *([self.prefix] if self.prefix else []), at=at, environment=ALONE)
        git("checkout-index", "--quiet", "-z", "--stdin", at=at, data=names, environment=ALONE)
        return Copy(into, self.prefix, self._form)

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
            git("unpack-objects", "-q", at=self._at, data=copy.packed())
            with suppress(GitError):  # of a clone that was copied or restored, git knows the times of the files no more
                git("update-index", "-q", "--refresh", at=self._at, seconds=_SECONDS)
            git("read-tree", "--dry-run", "-m", "-u", self.head, tree, at=self._at, seconds=_SECONDS)
            fresh.write_text(f"{self.head} {tree}\n", encoding="ascii")
            fresh.replace(journal)
        except (GitError, OSError) as error:
            raise CheckoutError(f"The update was not put in place, and nothing was changed: {error}") from None
        try:
            git("read-tree", "-m", "-u", self.head, tree, at=self._at, goes_on=True, seconds=_SECONDS)
        except GitError as error:
            self._take_back(added, error)
        journal.unlink()

    def _take_back(self, added: Iterable[str], why: GitError) -> None:
        """The files as they were in the last commit, which they were when it began. Raises CheckoutError."""
        try:
            git("read-tree", "--reset", "-u", self.head, at=self._at, seconds=_SECONDS)
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
        path.write_bytes(data)
        return path

    def _different(self, head: str, tree: str, copy: Copy | None = None) -> dict[str, tuple[str, str]]:
        """Each file that differs between two trees, with its two blobs; of zeros where there is none."""
        at = copy.at if copy else self._at
        said = git("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", head, tree, at=at)
        parts = said.split(b"\0")[:-1]
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return {os.fsdecode(name): (about.decode().split()[2], about.decode().split()[3]) for about, name in pairs}

    def _lines(self, *arguments: str) -> list[str]:
        return os.fsdecode(git(*arguments, at=self._at)).splitlines()


class Copy:
    """A service's last commit in a scratch folder."""

    def __init__(self, root: Path, prefix: str, form: str) -> None:
        self.folder: Final = root / prefix
        """The service in it."""
        self.at: Final = ("-C", str(root))
        self._prefix = prefix
        self._none = "0" * (64 if form == "sha256" else 40)

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
        blobs = git("hash-object", "-w", "--no-filters", "--stdin-paths", at=self.at, data=paths.encode()).decode()
        new: Mapping[str, str] = dict(zip((change.name for change in written), blobs.split(), strict=True))
        entries = (
            (change.mode, new[change.name], change.name) if change.name in new else ("0", self._none, change.name)
            for change in listed
        )
        lines = (f"{mode} {blob}\t{self._prefix}{name}\0" for mode, blob, name in entries)
        git("update-index", "-z", "--index-info", at=self.at, data="".join(lines).encode(), environment=ALONE)
        return git("write-tree", at=self.at, environment=ALONE).decode().strip()

    def packed(self) -> bytes:
        """Every object that the copy has and the service's repository has not."""
        objects = self._objects()
        return git("pack-objects", "--stdout", "-q", at=self.at, data="".join(f"{one}\n" for one in objects).encode())

    def _objects(self) -> list[str]:
        folder = Path(self.at[1], ".git", "objects")
        return [f"{part.name}{one.name}" for part in folder.iterdir() if len(part.name) == 2 for one in part.iterdir()]

    def patch(self, dropped: Mapping[str, bytes | None]) -> bytes:
        """What a team did to files that it loses, as a patch: from the template's to its own."""
        environment = {**ALONE, "GIT_INDEX_FILE": str(Path(self.at[1], ".git", "index-before"))}
        git("read-tree", "HEAD", at=self.at, environment=environment)
        lines = []
        for name, data in dropped.items():
            mode, blob = "0", self._none
            if data is not None:
                mode, blob = PLAIN, git("hash-object", "-w", "--stdin", at=self.at, data=data).decode().strip()
            lines.append(f"{mode} {blob}\t{self._prefix}{name}\0")
        git("update-index", "-z", "--index-info", at=self.at, data="".join(lines).encode(), environment=environment)
        tree = git("write-tree", at=self.at, environment=environment).decode().strip()
        return git("diff-tree", "-p", "--binary", "--no-ext-diff", "--no-renames", tree, "HEAD", at=self.at)
