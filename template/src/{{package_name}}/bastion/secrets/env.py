"""Secrets from environment variables, each under its own name, taken out of the environment when they are read.

What stays there is inherited by every program that this process starts, and printed by every crash report. What sets
them (systemd, a container platform, a vault's agent) is the place to protect: whoever can read `/proc/<pid>/environ` of
this process can read them.
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
    """The process's environment as the one backend; a secret that was read is kept here and is no longer there."""
    taken: dict[str, Found] = {}

    def fetch(name: str) -> Found | None:
        if name not in taken and name in os.environ:
            taken[name] = Found(Secret(os.environ.pop(name)))
        return taken.get(name)

    return Secrets(lambda: fetch, "the environment (env)")


HERE: Final = True
"""Whether the secrets are on this machine: a process reads there what is for another one."""


def check(_settings: Settings, *, production: bool, database_users: bool) -> Iterator[str]:  # noqa: ARG001
    """Nothing speaks against this backend before it is asked."""
    return iter(())


def misplaced(names: Iterable[str]) -> Iterator[str]:
    """Reasons against secrets that somebody gave in a way that is not read here."""
    for name in names:
        if f"{name}_FILE" in os.environ:
            yield f"{name}_FILE is not read: the secrets of this service are environment variables. Set {name} itself."


def use_folder(folder: Path) -> None:
    """For development: set the variables that are absent from the files of a folder."""
    for file in folder.iterdir():
        os.environ.setdefault(file.name, file.read_text(encoding="utf-8").removesuffix("\n"))
