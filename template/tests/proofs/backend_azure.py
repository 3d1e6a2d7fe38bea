"""Azure Key Vault, for the proofs: the stand-in that `dev` uses, with a prefix for each service.

It stops proofs from putting a secret where this service does not look for it. Nothing is asked of Azure.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import place
from .databases import NoServer

ROTATES = True


class Backend:
    """Where the secrets of the proofs' services lie."""

    def __init__(self) -> None:
        try:
            self.standin: Any = place.loaded("secrets/local_azure.py").start()
        except (OSError, RuntimeError) as error:
            raise NoServer(f"no stand-in for Azure Key Vault: {error}") from None

    def write(self, _folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
        """Make these the secrets of a service, and give the environment variables that lead it to them."""
        variables: dict[str, str] = self.standin.variables(f"proofs-{random.token_hex(8)}--")
        self.change(variables, secrets)
        return variables

    def change(self, variables: Mapping[str, str], changes: Mapping[str, str | None]) -> None:
        """Add new versions, or delete (None), where the prefix of these variables says."""
        prefix = variables["BASTION_AZURE_PREFIX"]
        self.standin.put(
            {
                f"{prefix}{name.replace('_', '-')}": None if text is None else {"value": text}
                for name, text in changes.items()
            }
        )

    def close(self) -> None:
        """End the stand-in."""
        self.standin.stop()
