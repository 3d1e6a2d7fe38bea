"""Secrets from environment variables, each under its own name.

What sets them (systemd, a container platform, a vault's agent) is the place to protect: whoever can read
`/proc/<pid>/environ` of this process can read them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..settings import EnvironmentSettings
from . import Secrets


class Settings(EnvironmentSettings):
    """This backend needs no setting of its own."""


def open_secrets(_settings: Settings) -> Secrets:
    """The process's environment as the one backend."""
    return Secrets(os.environ.get, "the environment (env)")


def use_folder(folder: Path, names: Iterable[str]) -> None:
    """For development: set the variables that are absent from the files of a folder."""
    for name in names:
        os.environ.setdefault(name, (folder / name).read_text(encoding="utf-8"))
