"""Google Secret Manager, for the proofs: the stand-in that `dev` uses, with a project for each service.

It stops proofs from putting a secret where this service does not look for it. Nothing is asked of Google.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import place
from .databases import NoServer

ROTATES = True
PREFIX = "proofs-"


class Backend:
    """Where the secrets of the proofs' services lie."""

    def __init__(self) -> None:
        try:
            self.standin: Any = place.loaded("secrets/local_gcp.py").start()
        except (OSError, RuntimeError) as error:
            raise NoServer(f"no stand-in for Google Secret Manager: {error}") from None

    def write(self, _folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
        """Make these the secrets of a service, and give the environment variables that lead it to them."""
        variables: dict[str, str] = self.standin.variables(f"proofs-{random.token_hex(8)}", PREFIX)
        self.change(variables, secrets)
        return variables

    def change(self, variables: Mapping[str, str], changes: Mapping[str, str | None]) -> None:
        """Add new versions, or delete (None), in the project that these variables name."""
        project, prefix = variables["BASTION_GCP_PROJECT"], variables["BASTION_GCP_PREFIX"]
        values = {f"{prefix}{name}": None if text is None else text.encode() for name, text in changes.items()}
        self.standin.put(project, values)

    def close(self) -> None:
        """End the stand-in."""
        self.standin.stop()
