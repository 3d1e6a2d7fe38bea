"""Google Secret Manager, for the proofs: a stand-in (standin_gcp.py), with a project for each service.

It stops proofs from putting a secret where this service does not look for it. Nothing is asked of Google.
"""

from __future__ import annotations

import secrets as random
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

from .faulty_backend import StandIn

ROTATES = True
PREFIX = "proofs-"


class Backend:
    """Where the secrets of the proofs' services lie."""

    def __init__(self) -> None:
        self._standin = StandIn("standin_gcp.py")
        port, self._admin = self._standin.told
        self.port = int(port)

    def write(self, _folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
        """Make these the secrets of a service, and give the environment variables that lead it to them."""
        url = f"http://127.0.0.1:{self.port}"
        variables = {"BASTION_GCP_ENDPOINT": url, "BASTION_GCP_METADATA": url, "BASTION_GCP_PREFIX": PREFIX}
        variables["BASTION_GCP_PROJECT"] = f"proofs-{random.token_hex(8)}"
        self.change(variables, secrets)
        return variables

    def change(
        self, variables: Mapping[str, str], changes: Mapping[str, str | None], *, state: str = "ENABLED"
    ) -> None:
        """Add a version to each of these, or delete one with all its versions (None), where these variables say."""
        place = f"projects/{variables['BASTION_GCP_PROJECT']}/secrets/{variables['BASTION_GCP_PREFIX']}"
        told = {
            f"{place}{name}": None if text is None else b64encode(text.encode()).decode()
            for name, text in changes.items()
        }
        self._standin.post(self.port, f"/{state}", told, self._admin)

    def close(self) -> None:
        """End the stand-in."""
        self._standin.stop()
