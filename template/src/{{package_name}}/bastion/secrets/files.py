"""Secrets from files, one a secret, in the folder that BASTION_SECRETS_DIR names (Docker, Kubernetes, systemd).

A name that could leave the folder, a link that does, or a file without an end would let whoever writes a name or a
file make this service read something else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydantic import Field

from ..settings import EnvironmentSettings, variable
from . import Secrets

NAME: Final = re.compile(r"\A[A-Z][A-Z0-9_]{0,63}\Z")
LARGEST: Final = 65_536  # bytes; a private key in PEM has about 2,000


class Settings(EnvironmentSettings):
    """Where the files lie."""

    folder: str = Field("/run/secrets", validation_alias=variable("BASTION_SECRETS_DIR"))
    """Absolute path of the folder; only the service's user needs to read it."""


def open_secrets(settings: Settings) -> Secrets:
    """The folder as the one backend; Kubernetes' links within it are followed, links out of it are not."""
    folder = Path(settings.folder)

    def read(name: str) -> str | None:
        if not NAME.match(name):
            return None
        try:
            file = (folder / name).resolve(strict=True)
            if not file.is_relative_to(folder.resolve()) or not file.is_file() or file.stat().st_size > LARGEST:
                return None
            return file.read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError):
            return None

    return Secrets(read, f"files:{folder}")


def use_folder(folder: Path, _names: Iterable[str]) -> None:
    """For development: read the folder's files, unless another folder is named."""
    os.environ.setdefault("BASTION_SECRETS_DIR", str(folder))
