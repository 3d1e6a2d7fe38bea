"""A repository that is not ours runs nothing: its configuration, attributes, hooks and records are data.

Each way in which git would run a program is planted, git itself shows that it runs it, and then everything that this
program does in such a repository is done. Source: catalogue row cli-hostile-repository; git(1), SECURITY.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import planted
from flask_bastion.adoption.worktree import WorktreeError, uncommitted
from flask_bastion.checkout import Checkout, CheckoutError, Completed
from flask_bastion.git import GitError
from flask_bastion.merge import Change
from flask_bastion.review import proposed
from flask_bastion.template import Template, TemplateError
from planted import WAYS
from support import git, run

NEW = b"new\n"
CHANGE = Change("b.txt", b"two\n", NEW)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted.make(tmp_path_factory.mktemp("plain") / "repository")


def copied(plain: Path, folder: Path) -> tuple[Path, Path]:
    """A repository of one's own, and a program that can be planted in it."""
    folder.mkdir()
    shutil.copytree(plain, folder / "repository", symlinks=True)
    return folder / "repository", planted.program(folder)


def updated(repository: Path, scratch: Path) -> None:
    """What `update` does in a repository, with one file that changes."""
    checkout = Checkout(repository)
    checkout.finish()
    checkout.must_be_clean()
    checkout.files(["b.txt"])
    copy = checkout.copy(scratch)
    copy.write([CHANGE])
    checkout.apply(copy, copy.tree([CHANGE]))


@pytest.mark.parametrize("name", WAYS)
def test_nothing_that_a_repository_names_is_run(
    plain: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = WAYS[name]
    repository, script = copied(plain, tmp_path / "git")
    way.plant(repository, str(script))
    if way.command:
        run("git", *way.command, cwd=repository, env=way.variables(script), seconds=60)
        assert planted.ran(script), "git itself runs it"
    repository, script = copied(plain, tmp_path / "ours")
    trees = git(repository, "rev-parse", "HEAD", "other^{tree}", "main^{tree}").split()
    way.plant(repository, str(script))
    for variable, value in way.variables(script).items():
        monkeypatch.setenv(variable, value)
    with suppress(TemplateError):
        proposed(repository, "HEAD^1")
    with suppress(TemplateError):
        template = Template(repository)
        template.files(template.commit(template.tags()[0]))
    with suppress(WorktreeError):
        uncommitted(repository)
    private = repository.parent / "elsewhere" if name == "git-file" else repository / ".git"
    for tree in () if name.startswith("submodule") else trees[1:]:  # an update that was interrupted, and back
        (private / "flask-bastion-update").write_text(f"{trees[0]} {tree}\n", encoding="ascii")
        with suppress(CheckoutError, Completed):
            Checkout(repository).finish()
    if name == "promisor":
        with pytest.raises(CheckoutError, match="can't be completed yet"):
            updated(repository, tmp_path / "scratch")
    else:
        updated(repository, tmp_path / "scratch")
        assert (repository / "b.txt").read_bytes() == NEW, "the legitimate way"
    assert not planted.ran(script)


# --- the legitimate way ----------------------------------------------------------------------------------------------


def staged(repository: Path) -> list[str]:
    return git(repository, "status", "--porcelain").splitlines()


def split_index(repository: Path) -> Path:
    git(repository, "config", "core.splitIndex", "true")
    git(repository, "update-index", "--split-index")
    return repository


def sparse(repository: Path) -> Path:
    git(repository, "sparse-checkout", "set", "--no-cone", "/b.txt")
    return repository


def linked(repository: Path) -> Path:
    git(repository, "worktree", "add", "--quiet", "-b", "linked", "../linked")
    return repository.parent / "linked"


def shallow(repository: Path) -> Path:
    git(repository.parent, "clone", "--quiet", "--depth", "1", f"file://{repository}", "shallow")
    return repository.parent / "shallow"


def shared(repository: Path) -> Path:
    """Its objects are another one's, by a path that begins at its own."""
    git(repository.parent, "clone", "--quiet", "--shared", str(repository), "shared")
    (repository.parent / "shared/.git/objects/info/alternates").write_text("../../../repository/.git/objects\n")
    return repository.parent / "shared"


def unlike(*options: str) -> Callable[[Path], Path]:
    """A repository of another form: of its names of objects, or of how it keeps references."""

    def make(repository: Path) -> Path:
        other = repository.parent / "other"
        result = run("git", "init", "--quiet", *options, str(other), cwd=repository.parent)
        if result.returncode:
            pytest.skip("this git has no such form")
        (other / "b.txt").write_text("two\n", encoding="utf-8")
        git(other, "add", "--all")
        git(other, "commit", "--quiet", "--message", "x")
        return other

    return make


@pytest.mark.parametrize(
    "form",
    [split_index, sparse, linked, shallow, shared, unlike("--object-format=sha256"), unlike("--ref-format=reftable")],
    ids=["split-index", "sparse", "linked", "shallow", "shared", "sha256", "reftable"],
)
def test_every_form_of_repository_is_updated(plain: Path, tmp_path: Path, form: Callable[[Path], Path]) -> None:
    repository = form(copied(plain, tmp_path / "ours")[0])
    os.utime(repository / "b.txt", (1, 1))
    updated(repository, tmp_path / "scratch")
    assert staged(repository) == ["M  b.txt"]
    assert (repository / "b.txt").read_bytes() == NEW
    git(repository, "commit", "--quiet", "--message", "updated")
    git(repository, "fsck", "--strict")
    assert staged(repository) == []


LARGE = """#!{python}
import hashlib, sys
data = sys.stdin.buffer.read()
print("version https://git-lfs.github.com/spec/v1\\noid sha256:" + hashlib.sha256(data).hexdigest())
"""


def test_files_kept_through_a_filter_are_no_obstacle(plain: Path, tmp_path: Path) -> None:
    """As of Git LFS: the commit holds a pointer, the folder the file, and the filter makes the one of the other."""
    repository, script = copied(plain, tmp_path / "ours")
    script.write_text(LARGE.format(python=sys.executable), encoding="utf-8")
    git(repository, "config", "filter.lfs.clean", str(script))
    (repository / ".gitattributes").write_text("*.bin filter=lfs\n", encoding="utf-8")
    large = repository / "large.bin"
    large.write_bytes(b"x" * 4096)
    os.utime(large, (1, 1))
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "large")
    assert hashlib.sha256(b"x" * 4096).hexdigest() in git(repository, "cat-file", "blob", "HEAD:large.bin")
    os.utime(large)  # as after a copy: git does not know any more whether it is the same
    with pytest.raises(
        CheckoutError, match=r"large\.bin is kept through the filter lfs .* if `git status` says"
    ) as said:
        updated(repository, tmp_path / "scratch")
    assert "\n" not in str(said.value)
    os.utime(large, (2, 2))
    git(repository, "status")
    updated(repository, tmp_path / "other")
    assert staged(repository) == ["M  b.txt"]
    assert large.read_bytes() == b"x" * 4096


@pytest.mark.parametrize("where", ["attributes", "repository", "user"])
def test_line_ends_are_converted_as_git_does(
    plain: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = copied(plain, tmp_path / "ours")[0]
    if where == "attributes":
        (repository / ".gitattributes").write_text("*.txt text eol=crlf\n", encoding="utf-8")
    elif where == "repository":
        git(repository, "config", "core.autocrlf", "true")
    else:
        (tmp_path / "config").write_text("[core]\n\tautocrlf = true\n", encoding="utf-8")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    options = ("-c", "core.autocrlf=true") if where == "user" else ()
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "line ends")
    (repository / "b.txt").unlink()
    git(repository, *options, "checkout", "--", "b.txt")
    assert (repository / "b.txt").read_bytes() == b"two\r\n"
    os.utime(repository / "b.txt", (1, 1))
    updated(repository, tmp_path / "scratch")
    assert (repository / "b.txt").read_bytes() == b"new\r\n"
    assert git(repository, "cat-file", "blob", ":b.txt") == "new\n"


# --- what is read and written ----------------------------------------------------------------------------------------


def test_nothing_is_written_through_a_link_in_the_repository(plain: Path, tmp_path: Path) -> None:
    repository = copied(plain, tmp_path / "ours")[0]
    outside = tmp_path / "outside"
    outside.write_text("mine\n", encoding="utf-8")
    for name in ("flask-bastion-update.new", "flask-bastion-dropped.patch"):
        (repository / ".git" / name).symlink_to(outside)
    with pytest.raises(CheckoutError, match="can't be written"):
        Checkout(repository).keep("flask-bastion-dropped.patch", b"theirs\n")
    updated(repository, tmp_path / "scratch")
    assert (repository / "b.txt").read_bytes() == NEW
    assert outside.read_text(encoding="utf-8") == "mine\n"


def test_an_index_is_not_written_through_a_link(plain: Path, tmp_path: Path) -> None:
    repository, _ = copied(plain, tmp_path / "ours")
    other, _ = copied(plain, tmp_path / "other")
    (repository / ".git/index").unlink()
    (repository / ".git/index").symlink_to(other / ".git/index")
    before = (other / ".git/index").read_bytes()
    with pytest.raises(CheckoutError, match=r"index is no regular file"):
        updated(repository, tmp_path / "scratch")
    assert (other / ".git/index").read_bytes() == before


@pytest.mark.parametrize("name", ["HEAD", "config", "commondir", "index", "flask-bastion-update"])
def test_a_part_that_never_ends_is_refused(plain: Path, tmp_path: Path, name: str) -> None:
    repository = copied(plain, tmp_path / "ours")[0]
    (repository / ".git" / name).unlink(missing_ok=True)
    os.mkfifo(repository / ".git" / name)
    with pytest.raises((CheckoutError, GitError), match=name):
        updated(repository, tmp_path / "scratch")


def test_what_a_configuration_includes_is_not_read(plain: Path, tmp_path: Path) -> None:
    repository = copied(plain, tmp_path / "ours")[0]
    os.mkfifo(tmp_path / "pipe")
    (repository / ".git/config").write_text(f"[include]\n\tpath = {tmp_path / 'pipe'}\n", encoding="utf-8")
    updated(repository, tmp_path / "scratch")
    assert (repository / "b.txt").read_bytes() == NEW
