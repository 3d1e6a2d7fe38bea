"""Secrets as environment variables, for the proofs.

It stops proofs from putting a secret where this service does not look for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ROTATES = False
"""A process keeps what it read at its start: a new value needs a new process."""


class Backend:
    """Where the secrets of the proofs' services lie."""

    def write(self, _folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
        """Make these the secrets of a service, and give the environment variables that lead it to them."""
        return dict(secrets)

    def change(self, variables: Mapping[str, str], changes: Mapping[str, str | None]) -> None:
        """Nobody can, while the process runs."""
        raise NotImplementedError("the environment of a running process does not change")

    def close(self) -> None:
        """Nothing was started."""
