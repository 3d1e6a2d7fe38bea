"""Secrets from files, one a secret, in the folder that BASTION_SECRETS_DIR names (Docker, Kubernetes, systemd).

A name or link that leaves the folder (path traversal) would make this service read another file. An endless file would
exhaust its memory. A file that other users may write lets them choose the key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from stat import S_IROTH, S_IWGRP, S_IWOTH
from typing import Final

from pydantic import Field

from ..settings import EnvironmentSettings, variable
from . import Found, Secret, Secrets

NAME: Final = re.compile(r"\A[A-Z][A-Z0-9_]{0,63}\Z")
LARGEST: Final = 65_536  # bytes; a private key in PEM has about 2,000
LOOK_SECONDS: Final = 10.0  # how soon a file that was replaced is read; looking costs little
MOUNTS: Final = Path("/proc/self/mountinfo")
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


class Settings(EnvironmentSettings):
    """The folder of the files."""

    folder: str = Field("/run/secrets", validation_alias=variable("BASTION_SECRETS_DIR"))
    """Absolute path of the folder; only the service's user needs to read it."""


def open_secrets(settings: Settings) -> Secrets:
    """Open the folder as the one backend; follow Kubernetes' links within it, and none out of it."""
    folder = Path(settings.folder)

    def fetch(name: str) -> Found | None:
        file = _file(folder, name)
        if file is None or _fault(folder, file) is not None:
            return None
        try:
            with file.open("rb") as opened:
                content, changed = opened.read(LARGEST + 1), os.fstat(opened.fileno()).st_mtime
            text = None if len(content) > LARGEST else content.decode().removesuffix("\n")
        except (OSError, UnicodeDecodeError):
            return None
        return Found(Secret(text), changed_at=changed) if text is not None else None

    def unusable(name: str) -> str | None:
        file = _file(folder, name)
        return None if file is None else _fault(folder, file)

    return Secrets(lambda: fetch, f"files:{folder}", unusable, fresh=LOOK_SECONDS)


def _file(folder: Path, name: str) -> Path | None:
    """Return the regular file of this name whose resolved path is in the folder, or None."""
    if not NAME.match(name):
        return None
    try:
        file = (folder / name).resolve(strict=True)
        return file if file.is_relative_to(folder.resolve()) and file.is_file() else None
    except OSError:
        return None


def _fault(folder: Path, file: Path) -> str | None:
    """Return why this file is not read, as the end of a sentence about it, or None."""
    try:
        if file.stat().st_size > LARGEST:
            return f"is larger than {LARGEST // 1024} KiB"
        if os.statvfs(file).f_flag & os.ST_RDONLY:  # Kubernetes' folder has mode 1777, and is mounted read-only
            return None
        for place in (folder, file.parent, file):
            found = place.stat()
            if found.st_uid not in (0, os.geteuid()):
                return "or its folder belongs to another user than root and the service"
            if found.st_mode & (S_IWGRP | S_IWOTH):
                return "or its folder may be written by others than its owner; take that right away (chmod go-w)"
        if file.stat().st_mode & S_IROTH and not _in_memory(file):
            return "may be read by everybody on this machine; take that right away (chmod o-r)"
    except OSError:
        return "can't be read"
    return None


def _in_memory(file: Path) -> bool:
    """Return whether the file lies in an in-memory mount of this container, as Docker and systemd make for secrets."""
    device = file.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = MOUNTS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    # proc_pid_mountinfo(5): id, parent, major:minor, ..., "-", type, source, options
    return any(line.split()[2] == number and line.partition(" - ")[2].split()[0] in IN_MEMORY for line in lines)


HERE: Final = True
"""Whether the secrets are on this machine, where a process could read secrets of another one."""


def check(_settings: Settings, *, production: bool, database_users: bool) -> Iterator[str]:  # noqa: ARG001
    """Return no reason: no start is refused before this backend is read."""
    return iter(())


def misplaced(names: Iterable[str]) -> Iterator[str]:
    """Report secrets that were given in a way that this backend does not read."""
    for name in names:
        if name in os.environ:
            yield (
                f"{name} is an environment variable, which is not read: the secrets of this service are files in "
                "BASTION_SECRETS_DIR. Move it there."
            )


def use_folder(folder: Path) -> None:
    """For development: read the folder's files, unless another folder is named."""
    os.environ.setdefault("BASTION_SECRETS_DIR", str(folder))
