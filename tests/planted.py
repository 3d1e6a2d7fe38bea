"""Every way in which a git repository names a program that git runs, with a command that shows that git does.

Collected from git's own documentation: git-config(1), gitattributes(5), githooks(5), gitrepository-layout(5), git(1).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support import git

HOOKS = ("post-checkout", "post-index-change", "post-merge", "pre-commit", "reference-transaction", "pre-auto-gc")
ANY_KEY = (
    "browser.x.cmd", "core.alternateRefsCommand", "core.askPass", "core.pager", "credential.helper", "difftool.x.cmd",
    "gc.recentObjectsHook", "gpg.ssh.defaultKeyCommand", "gpg.x509.program", "guitool.x.cmd", "interactive.diffFilter",
    "man.x.cmd", "mergetool.x.cmd", "pager.status", "remote.origin.receivepack", "remote.origin.vcs",
    "sendemail.toCmd", "sequence.editor", "uploadpack.packObjectsHook",
)  # fmt: skip
"""Keys whose programs need more than one command, a network or a terminal to be run."""


@dataclass(frozen=True)
class Way:
    """What is planted in a repository, and the git command that runs it (none where that takes a network or more)."""

    plant: Callable[[Path, str], object]
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def variables(self, script: Path) -> dict[str, str]:
        """The environment in which it is run."""
        places = {"script": script, "config": script.with_name("config")}
        return {name: text.format(**places) for name, text in self.environment.items()}


def program(folder: Path) -> Path:
    """A program that leaves a trace beside itself, and passes on what it was given."""
    script = folder / "program"
    script.write_text(f"#!/bin/sh\ntouch {folder}/canary\nexec timeout 1 cat\n", encoding="utf-8")
    script.chmod(0o755)
    return script


def ran(script: Path) -> bool:
    return script.with_name("canary").exists()


def make(folder: Path) -> Path:
    """A repository of two commits and a tag, whose attributes name drivers, with times that make git look again."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / ".gitattributes").write_text("*.txt filter=x diff=x merge=x\n", encoding="utf-8")
    for text in ("one\n", "two\n"):
        for name in ("a.txt", "b.txt"):
            (folder / name).write_text(text, encoding="utf-8")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", text)
    git(folder, "tag", "v1.0.0")
    git(folder, "checkout", "--quiet", "-b", "other", "HEAD^")
    (folder / "a.txt").write_text("three\n", encoding="utf-8")
    git(folder, "commit", "--quiet", "--all", "--message", "three")
    git(folder, "checkout", "--quiet", "main")
    return folder


def configured(key: str, *more: tuple[str, str], value: str = "{}") -> Callable[[Path, str], object]:
    """A setting that names the program, with what else it needs."""

    def plant(repository: Path, script: str) -> None:
        for name, text in ((key, value), *more):
            git(repository, "config", name, text.format(script))
        for path in repository.glob("*.txt"):
            os.utime(path, (1, 1))

    return plant


def hooks(repository: Path, script: str) -> None:
    for name in HOOKS:
        (repository / ".git/hooks").mkdir(exist_ok=True)
        (repository / ".git/hooks" / name).symlink_to(script)


def hooks_path(repository: Path, script: str) -> None:
    hooks(repository, script)
    (repository / ".git/hooks").rename(repository / ".git/others")
    git(repository, "config", "core.hooksPath", ".git/others")


def included(key: str) -> Callable[[Path, str], None]:
    def plant(repository: Path, script: str) -> None:
        (repository / ".git/more").write_text(f"[core]\n\tfsmonitor = {script}\n", encoding="utf-8")
        git(repository, "config", key, str(repository / ".git/more"))

    return plant


def worktree_config(repository: Path, script: str) -> None:
    git(repository, "config", "extensions.worktreeConfig", "true")
    git(repository, "config", "--worktree", "core.fsmonitor", script)


def git_file(repository: Path, script: str) -> None:
    """.git is a file, as in a linked work tree."""
    git(repository, "config", "core.fsmonitor", script)
    (repository / ".git").rename(repository.parent / "elsewhere")
    (repository / ".git").write_text("gitdir: ../elsewhere\n", encoding="utf-8")


def common_folder(repository: Path, script: str) -> None:
    """.git names another folder for all but HEAD and index."""
    git(repository, "config", "core.fsmonitor", script)
    (repository / ".git").rename(repository.parent / "elsewhere")
    (repository / ".git").mkdir()
    for name in ("HEAD", "index"):
        (repository / ".git" / name).write_bytes((repository.parent / "elsewhere" / name).read_bytes())
    (repository / ".git/commondir").write_text("../../elsewhere\n", encoding="utf-8")


def submodule(repository: Path, script: str) -> None:
    """A repository in the repository, with a configuration of its own."""
    inner = make(repository / "inner")
    git(repository, "-c", "core.safecrlf=false", "add", "inner")
    git(repository, "commit", "--quiet", "--message", "inner")
    configured("filter.x.clean")(inner, script)


def submodule_command(repository: Path, script: str) -> None:
    """git refuses it today; it did not always."""
    submodule(repository, script)
    configured("submodule.inner.update", ("submodule.inner.url", "./inner"), value="!{}")(repository, script)


def promisor(repository: Path, script: str) -> None:
    """An object is missing, and the remote that git asks for it names a program."""
    more = (("extensions.partialClone", "origin"), ("remote.origin.promisor", "true"), ("remote.origin.url", "/"))
    configured("remote.origin.uploadpack", *more)(repository, script)
    blob = git(repository, "rev-parse", "HEAD:b.txt").strip()
    (repository / ".git/objects" / blob[:2] / blob[2:]).unlink()


def every_other(repository: Path, script: str) -> None:
    for key in ANY_KEY:
        configured(key)(repository, script)
    (repository / ".git/objects/info").mkdir(exist_ok=True)
    (repository / ".git/objects/info/alternates").write_text("../../.git/objects\n", encoding="utf-8")


def nothing(repository: Path, script: str) -> None:
    """What is planted stands in the environment."""
    (repository.parent / "config").write_text(f"[core]\n\tfsmonitor = {script}\n", encoding="utf-8")


def rewritten(repository: Path, script: str) -> None:
    """An address of a server becomes a command."""
    git(repository, "config", f"url.ext::{script} .insteadOf", "https://git.invalid/")
    git(repository, "config", "protocol.ext.allow", "always")


_SIGN = ("commit", "--allow-empty", "--gpg-sign", "--message", "x")
_SSH = (("gpg.format", "ssh"), ("user.signingKey", "key::ssh-ed25519 AAAA"))
_COUNTED = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "include.path", "GIT_CONFIG_VALUE_0": "{config}"}
WAYS: dict[str, Way] = {
    "core.fsmonitor": Way(configured("core.fsmonitor"), ("status",)),
    "filter.clean": Way(configured("filter.x.clean"), ("status",)),
    "filter.process": Way(configured("filter.x.process"), ("status",)),
    "filter.smudge": Way(configured("filter.x.smudge"), ("checkout", "--quiet", "other")),
    "diff.external": Way(configured("diff.external"), ("diff", "HEAD^")),
    "diff.command": Way(configured("diff.x.command"), ("diff", "HEAD^")),
    "diff.textconv": Way(configured("diff.x.textconv"), ("diff", "HEAD^")),
    "merge.driver": Way(configured("merge.x.driver"), ("merge", "--no-edit", "other")),
    "hooks": Way(hooks, ("update-ref", "refs/heads/new", "HEAD")),
    "core.hooksPath": Way(hooks_path, ("update-ref", "refs/heads/new", "HEAD")),
    "hook.command": Way(configured("hook.x.command", ("hook.x.event", "post-index-change"))),  # from git 2.54 on
    "core.editor": Way(configured("core.editor"), ("commit", "--amend", "--all")),
    "core.sshCommand": Way(configured("core.sshCommand"), ("fetch", "ssh://git.invalid/x")),
    "core.gitProxy": Way(configured("core.gitProxy"), ("fetch", "git://git.invalid/x")),
    "gpg.program": Way(configured("gpg.program"), _SIGN),
    "gpg.ssh.program": Way(configured("gpg.ssh.program", *_SSH), _SIGN),
    "alias": Way(configured("alias.x", value="!{}"), ("x",)),
    "url.insteadOf": Way(rewritten, ("fetch", "https://git.invalid/x")),
    "remote.uploadpack": Way(configured("remote.origin.uploadpack", ("remote.origin.url", ".")), ("fetch", "origin")),
    "protocol.ext": Way(
        configured("remote.origin.url", ("protocol.ext.allow", "always"), value="ext::{}"), ("fetch", "origin")
    ),
    "promisor": Way(promisor, ("cat-file", "blob", "HEAD:b.txt")),
    "trailer.command": Way(
        configured("trailer.x.command", ("trailer.x.key", "x")), ("interpret-trailers", "--trailer", "x=y")
    ),
    "include.path": Way(included("include.path"), ("status",)),
    "includeIf": Way(included("includeIf.gitdir:/.path"), ("status",)),
    "config.worktree": Way(worktree_config, ("status",)),
    "git-file": Way(git_file, ("status",)),
    "commondir": Way(common_folder, ("status",)),
    "submodule": Way(submodule, ("status",)),
    "submodule.update": Way(submodule_command),
    "every-other-key": Way(every_other),
    "GIT_CONFIG_COUNT": Way(nothing, ("status",), _COUNTED),
    "GIT_EXTERNAL_DIFF": Way(nothing, ("diff", "HEAD^"), {"GIT_EXTERNAL_DIFF": "{script}"}),
}
