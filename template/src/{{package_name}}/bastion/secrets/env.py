"""Secrets from environment variables, each under its own name, removed from the environment when they are read.

Every program that this process starts inherits a variable, and every crash report prints it. Protect the source that
sets them (systemd, a container platform, a vault's agent): a reader of this process's `/proc/<pid>/environ` can read
them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from ..settings import EnvironmentSettings
from . import Found, Secret, Secrets


class Settings(EnvironmentSettings):
    """This backend needs no setting of its own."""


def open_secrets(_settings: Settings) -> Secrets:
    """Open the process's environment as the one backend; reading a secret moves it into this process's memory."""
    taken: dict[str, Found] = {}

    def fetch(name: str) -> Found | None:
        if name not in taken and name in os.environ:
            taken[name] = Found(Secret(os.environ.pop(name)))
        return taken.get(name)

    return Secrets(lambda: fetch, "the environment (env)")


HERE: Final = True
"""Whether the secrets are on this machine, where a process could read secrets of another one."""


def check(_settings: Settings, *, production: bool, database_users: bool) -> Iterator[str]:  # noqa: ARG001
    """Return no reason: no start is refused before this backend is read."""
    return iter(())


def misplaced(names: Iterable[str]) -> Iterator[str]:
    """Report secrets that were given in a way that this backend does not read."""
    for name in names:
        if f"{name}_FILE" in os.environ:
            yield f"{name}_FILE is not read: the secrets of this service are environment variables. Set {name} itself."


def use_folder(folder: Path) -> None:
    """For development: set the variables that are absent from the files of a folder."""
    for file in folder.iterdir():
        os.environ.setdefault(file.name, file.read_text(encoding="utf-8").removesuffix("\n"))
