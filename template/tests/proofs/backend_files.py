"""Secrets as files, for the proofs: a folder that is written anew, as Docker and Kubernetes mount it.

It stops proofs from putting a secret where this service does not look for it.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Mapping
from pathlib import Path

ROTATES = True


class Backend:
    """Where the secrets of the proofs' services lie."""

    def write(self, folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
        """Make these the secrets of a service, and give the environment variables that lead it to them."""
        place = folder / f"secrets-{random.token_hex(4)}"
        place.mkdir(mode=0o700)
        variables = {"BASTION_SECRETS_DIR": str(place)}
        self.change(variables, secrets)
        return variables

    def change(self, variables: Mapping[str, str], changes: Mapping[str, str | None]) -> None:
        """Write new values, or delete (None), in the place that these variables name; each at once as a whole."""
        place = Path(variables["BASTION_SECRETS_DIR"])
        for name, value in changes.items():
            if value is None:
                (place / name).unlink()
                continue
            new = place / f".{name}"
            new.touch(mode=0o600)
            new.write_text(value, encoding="utf-8")
            new.rename(place / name)

    def close(self) -> None:
        """Nothing was started."""
