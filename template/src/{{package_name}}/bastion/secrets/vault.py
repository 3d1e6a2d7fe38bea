"""Secrets from HashiCorp Vault or OpenBao (KV version 2), each on its own path; for the client see vault_client.py.

A stored token opens everything for an attacker who finds it. An attacker who answers in Vault's place chooses the keys
and so knows them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from ..settings import EnvironmentSettings, variable
from . import Secrets, remote
from .vault_client import Vault

SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"
PATH: Final = re.compile(r"\A[A-Za-z0-9_-][A-Za-z0-9._-]*+(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*+)*+\Z")
# Variables of Vault's own programs: a stored token, another server, or no verification.
VARIABLES: Final = tuple(
    f"{prefix}_{name}"
    for prefix in ("BAO", "VAULT")
    for name in ("ADDR", "CACERT", "CAPATH", "CLIENT_CERT", "CLIENT_KEY", "NAMESPACE", "SKIP_VERIFY", "TOKEN")
)


class Settings(EnvironmentSettings):
    """Vault's address, the paths of this service's secrets, and the role that signs in."""

    address: str = Field("", validation_alias=variable("BASTION_VAULT_ADDR"))
    """`https://vault.internal:8200`; http only on a loopback address, where an agent of Vault's may listen."""
    ca: str = Field("", validation_alias=variable("BASTION_VAULT_CA"))
    """File of certificate authorities (PEM) to verify Vault by; empty: the system's."""
    namespace: str = Field("", validation_alias=variable("BASTION_VAULT_NAMESPACE"))
    mount: str = Field("secret", validation_alias=variable("BASTION_VAULT_MOUNT"))
    """Where the secrets engine (KV version 2) is mounted."""
    path: str = Field(remote.SERVICE, validation_alias=variable("BASTION_VAULT_PATH"))
    """Prefix of each name: SECRET_KEY is the field `value` of `<mount>/<path>/SECRET_KEY`."""
    auth: Literal["kubernetes", "approle"] = Field("kubernetes", validation_alias=variable("BASTION_VAULT_AUTH"))
    auth_mount: str = Field("", validation_alias=variable("BASTION_VAULT_AUTH_MOUNT"))
    """Where that method is mounted; empty: under its own name."""
    role: str = Field("", validation_alias=variable("BASTION_VAULT_ROLE"))
    """The role's name for kubernetes, its role_id for approle."""
    service_account: str = Field(SERVICE_ACCOUNT, validation_alias=variable("BASTION_VAULT_SERVICE_ACCOUNT_FILE"))
    """For kubernetes: the token that Kubernetes projects into the container and replaces by itself."""
    secret_id: str = Field("", validation_alias=variable("BASTION_VAULT_SECRET_ID_FILE"))
    """For approle: a file with the secret_id, which other users can't read."""
    database_role: str = Field("", validation_alias=variable("BASTION_VAULT_DATABASE_ROLE"))
    """Role of the database secrets engine that makes this service's database users; empty: the password is a secret."""
    database_mount: str = Field("database", validation_alias=variable("BASTION_VAULT_DATABASE_MOUNT"))

    @property
    def signs_in_with(self) -> str:
        """Return the file whose content the chosen method sends to Vault."""
        return self.secret_id if self.auth == "approle" else self.service_account


HERE: Final = False
"""Whether the secrets are on this machine, where a process could read secrets of another one."""


def check(settings: Settings, *, production: bool, database_users: bool) -> Iterator[str]:
    """Return reasons against a start before any request: a false server would get this service's credentials."""
    if not production and remote.kept_here(settings.address):
        return
    if remote.origin(settings.address) is None:
        yield (
            "BASTION_VAULT_ADDR: name an https origin, as in https://vault.internal:8200; http is for an agent on a "
            "loopback address."
        )
    paths = {"MOUNT": settings.mount, "PATH": settings.path, "DATABASE_MOUNT": settings.database_mount}
    for name in [name for name, path in paths.items() if not PATH.match(path)]:
        yield f"BASTION_VAULT_{name}: write names with / between them, without one at the beginning or end."
    yield from remote.check_ca("BASTION_VAULT_CA", settings.ca)
    if not settings.role:
        yield "BASTION_VAULT_ROLE: name the role that this service signs in as; for approle, its role_id."
    if why := _unusable(settings):
        yield f"BASTION_VAULT_{'SECRET_ID' if settings.auth == 'approle' else 'SERVICE_ACCOUNT'}_FILE: the file {why}."
    if settings.database_role and not database_users:
        yield "BASTION_VAULT_DATABASE_ROLE: this service's database has no users. Take it out."
    if production and (found := [name for name in VARIABLES if name in os.environ]):
        yield (
            f"{', '.join(found)}: not read here; this service signs in by itself, and verifies whom it asks. Take it "
            "out of the environment, set BASTION_VAULT_* instead, and revoke a token that was stored there."
        )


def _unusable(settings: Settings) -> str | None:
    """Return why this service can't sign in with its file, as the end of a sentence about it."""
    file = Path(settings.signs_in_with)
    try:
        if not file.is_absolute() or not file.is_file() or not os.access(file, os.R_OK):
            return "is not there, can't be read, or is not named by an absolute path"
        # Every process of a container can read Kubernetes' own token; a secret_id's machine may have other users.
        if settings.auth == "approle" and file.stat().st_mode & stat.S_IRWXO:
            return "is open to everybody on this machine; take that right away (chmod o-rwx)"
    except OSError:
        return "can't be read"
    return None


def open_secrets(settings: Settings) -> Secrets:
    """Open Vault as the one backend. A token or a database user outlives a connection, and a fork uses both."""
    where = f"Vault (vault:{settings.address}/{settings.mount}/{settings.path})"
    return remote.kept_here(settings.address) or Secrets(Vault(settings).connect, where)


def misplaced(names: Iterable[str]) -> Iterator[str]:
    """Report secrets that were given in a way that this backend does not read."""
    return remote.misplaced(names, "Vault")


def use_folder(folder: Path) -> None:
    """For development: use the files of the folder, unless the environment names another Vault."""
    os.environ.setdefault("BASTION_VAULT_ADDR", folder.as_uri())
