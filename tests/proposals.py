"""Branches that propose an update, as a bot makes them: from a template whose tags are signed, to a service in git."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from flask_bastion import version
from flask_bastion.template import Template
from histories import ADDRESS, KEYS, record
from support import Repository, done, git, replace_once, run

DAY = 24 * 60 * 60
"""In seconds."""
PERSON = "@acme/security"


def needs_ssh_keygen() -> None:
    """Skip where tags can't be signed, with a word; in CI that is a failure."""
    if shutil.which("ssh-keygen") is None:
        assert os.environ.get("CI") != "true", "ssh-keygen is needed. Install OpenSSH's client."
        pytest.skip("ssh-keygen is missing: install OpenSSH's client")


@dataclass(frozen=True)
class SignedTemplate:
    """The template as it stands, with tags that are signed by a key of this run."""

    repository: Repository
    key: Path

    @classmethod
    def make(cls, folder: Path) -> SignedTemplate:
        """Its v1.0.0 is thirty days old."""
        key = folder / "key"
        done(run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "platform", "-f", key))
        repository = Repository.make(folder / "flask-bastion")
        public = (folder / "key.pub").read_text(encoding="utf-8").strip()
        repository.edit(KEYS, "release_keys = [\n", f"release_keys = [\n'{public}',\n")
        made = cls(repository, key)
        made.release("v1.0.0", days=30)
        return made

    def release(self, tag: str, *, days: float, key: Path | None = None) -> None:
        """Sign what stands there as a version, `days` ago."""
        path = self.repository.path
        at = f"{int(time.time() - days * DAY)} +0000"
        dated = {"GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at}
        git(path, "add", "--all", "--force")
        for command in (
            ("commit", "--quiet", "--allow-empty", "--message", tag),
            ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key or self.key}", "tag", "--sign", "-m", tag, tag),
        ):
            done(run("git", *command, cwd=path, env=dated))

    def releases(self, tag: str, *edits: tuple[str, str, str], days: float = 10, key: Path | None = None) -> None:
        """A version that differs from v1.0.0 by edits of (file, old, new) alone."""
        path = self.repository.path
        git(path, "checkout", "--quiet", "v1.0.0")
        for name, old, new in edits:
            replace_once(path / name, old, new)
        self.release(tag, days=days, key=key)

    def render(self, service: Path, tag: str, *, whole: bool, **answers: str) -> None:
        """Write a version into a service's folder, as Copier does where nobody has edited the template's files."""
        number = version.parse(tag)
        assert number is not None
        release = Template(self.repository.path).release(number)
        for name, data in release.render(answers, whole=whole, source=ADDRESS).items():
            (service / name).parent.mkdir(parents=True, exist_ok=True)
            (service / name).write_bytes(data)
        recorded = {name: answer for name, answer in release.answers(answers).items() if name != "package_name"}
        record(service, {"_commit": tag, "_src_path": ADDRESS, **recorded})

    def service(self, folder: Path, **answers: str) -> Path:
        """A committed service of v1.0.0, whose team has named who owns its pipeline."""
        self.render(folder, "v1.0.0", whole=True, **{"code_owners": PERSON, **answers})
        git(folder, "init", "--quiet", "--initial-branch", "main")
        commit(folder, "Start")
        return folder

    def update(self, service: Path, tag: str, **answers: str) -> None:
        """A branch `update` from main, with the version of this tag."""
        git(service, "checkout", "--quiet", "-B", "update", "main")
        self.render(service, tag, whole=False, **{"code_owners": PERSON, **answers})
        commit(service, f"Update the template to {tag}")


def commit(service: Path, message: str) -> None:
    git(service, "add", "--all")
    git(service, "commit", "--quiet", "--allow-empty", "--message", message)
