"""A template whose versions are signed, the server that it is fetched from, and services that trust it.

Nothing goes over a network: git's SSH is a program of ours, which notes whom it was asked for.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from flask_bastion import version
from flask_bastion.template import Template
from histories import record
from support import Repository, done, git, run

ADDRESS = "ssh://git@git.example/platform/flask-bastion.git"
EVIL = "ssh://git@evil.example/platform/flask-bastion.git"
TRUST = ".bastion-trust.toml"
SERVER = """#!{python}
import os, sys
host = next(one for one in sys.argv[1:] if "@" in one).partition("@")[2]
with open({log!r}, "a") as log:
    print(host, file=log)
path = {places!r}.get(host)
if path is None:
    sys.exit(f"ssh: Could not resolve hostname {{host}}")
os.execvp("git", ["git", "upload-pack", path])
"""


def needs_ssh_keygen() -> None:
    """A laptop may lack OpenSSH; a CI job that lacks it proves nothing, and is red."""
    if shutil.which("ssh-keygen") is None:
        message = "ssh-keygen is not installed: no tag can be signed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


@dataclass(frozen=True)
class Key:
    """A throw-away key that signs tags."""

    private: Path

    @classmethod
    def make(cls, path: Path) -> Key:
        needs_ssh_keygen()
        done(run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", path))
        return cls(path)

    @property
    def public(self) -> str:
        return self.private.with_suffix(".pub").read_text(encoding="ascii").strip()

    def sign(self, repository: Path, tag: str, commit: str = "HEAD") -> None:
        options = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={self.private}")
        git(repository, *options, "tag", "--sign", "--force", "--message", tag, tag, commit)


@dataclass(frozen=True)
class Publisher:
    """Whoever releases the template, with his key."""

    repository: Repository
    key: Key

    @classmethod
    def make(cls, folder: Path) -> Publisher:
        """His template trusts his key: a service that is rendered from it begins with that."""
        folder.mkdir(parents=True)
        publisher = cls(Repository.make(folder / "flask-bastion"), Key.make(folder / "platform"))
        publisher.repository.edit(
            "includes/release_keys.jinja", "release_keys = [\n", f"release_keys = [\n'{publisher.key.public}',\n"
        )
        return publisher

    @property
    def path(self) -> Path:
        return self.repository.path

    def commit(self, message: str) -> None:
        git(self.path, "add", "--all", "--force")
        git(self.path, "commit", "--quiet", "--allow-empty", "--message", message)

    def release(self, tag: str) -> None:
        self.commit(tag)
        self.key.sign(self.path, tag)

    def clone(self, folder: Path) -> Publisher:
        """The same with everything that it has, to do something else with it."""
        shutil.copytree(self.path, folder, symlinks=True)
        return Publisher(Repository(folder), self.key)

    def service(self, target: Path, ref: str, *, address: str = ADDRESS, **answers: str) -> Path:
        """A committed service as Copier renders it (a test of the drift holds the two equal), in some milliseconds."""
        number = version.parse(ref)
        assert number is not None
        release = Template(self.path).release(number)
        for name, data in release.render(answers, whole=True, source=address).items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(data)
        (target / ".copier-answers.yml").write_bytes(release.recorded(answers, address))
        git(target, "init", "--quiet", "--initial-branch", "main")
        commit(target, "Start from flask-bastion")
        return target


class Server:
    """What answers when git asks for a host over SSH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **places: Path) -> None:
        """`places`: the name of a host without `.example`, and the repository that it has."""
        self._log = folder / "asked.log"
        program = folder / "ssh"
        folder.mkdir(parents=True, exist_ok=True)
        hosts = {f"{name}.example": str(path) for name, path in places.items()}
        program.write_text(SERVER.format(python=sys.executable, log=str(self._log), places=hosts), encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))

    @property
    def asked(self) -> list[str]:
        """The hosts that were asked, in order."""
        return self._log.read_text(encoding="utf-8").split() if self._log.exists() else []


def commit(service: Path, message: str) -> None:
    git(service, "add", "--all")
    git(service, "commit", "--quiet", "--allow-empty", "--message", message)


def answers(service: Path, **changed: object) -> None:
    """Change what the answers file records, as a pull request could, and commit it."""
    from histories import recorded

    record(service, recorded(service) | changed)
    commit(service, "A small change")


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes, that of git too."""
    return {
        path.relative_to(folder).as_posix(): os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
