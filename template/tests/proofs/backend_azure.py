"""Azure Key Vault, for the proofs: a stand-in (standin_azure.py), with a prefix for each service.

It stops proofs from putting a secret where this service does not look for it. Nothing is asked of Azure.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .faulty_backend import StandIn

ROTATES = True


class Backend:
    """Where the secrets of the proofs' services lie."""

    def __init__(self) -> None:
        self._standin = StandIn("standin_azure.py")
        self._port, self._identity_port, self._admin, self._ca = self._standin.told

    def write(self, _folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
        """Make these the secrets of a service, and give the environment variables that lead it to them."""
        variables = {
            "BASTION_AZURE_VAULT_URL": f"https://127.0.0.1:{self._port}",
            "BASTION_AZURE_PREFIX": f"proofs-{random.token_hex(8)}--",
            "BASTION_AZURE_CA": self._ca,
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://127.0.0.1:{self._identity_port}",
        }
        self.change(variables, secrets)
        return variables

    def change(self, variables: Mapping[str, str], changes: Mapping[str, str | None], **attributes: Any) -> None:
        """Add a version to each of these, or delete one with all its versions (None), where the prefix says."""
        told = {
            f"{variables['BASTION_AZURE_PREFIX']}{name.replace('_', '-')}": None
            if text is None
            else {"value": text, "attributes": attributes}
            for name, text in changes.items()
        }
        self._standin.post(int(self._identity_port), "/", told, self._admin)

    def close(self) -> None:
        """End the stand-in."""
        self._standin.stop()
