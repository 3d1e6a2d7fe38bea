"""Secrets from Azure Key Vault, one entry a secret, read with the workload identity of the platform.

A client secret that opens the vault is one more secret to keep, and copies of it work anywhere. A false vault that asks
for a token of another service could use that token there. Sources: Key Vault's REST reference (get secret); Microsoft's
packages sign in, since each platform of Azure does that in another way.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.identity import CredentialUnavailableError, ManagedIdentityCredential, WorkloadIdentityCredential
from azure.keyvault.secrets import KeyVaultSecret, SecretClient
from pydantic import Field

from ..clock import seconds
from ..settings import EnvironmentSettings, variable
from . import BackendFault, Fetch, Found, Secret, Secrets, remote

VAULT: Final = re.compile(r"\Ahttps://[a-z][a-z0-9-]{1,22}[a-z0-9]\.vault\.(azure\.net|azure\.cn|usgovcloudapi\.net)\Z")
PREFIX: Final = re.compile(r"\A[A-Za-z0-9-]{0,62}\Z")
CLIENT: Final = re.compile(r"\A(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})?\Z", re.IGNORECASE)
OURS: Final = f"{remote.SERVICE}--"  # no service's name has two hyphens: none begins as another one's does
TOKEN_FILE: Final = "AZURE_FEDERATED_TOKEN_FILE"  # noqa: S105  (a name)
STORED: Final = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_PASSWORD")
SIGNS_IN: Final = ("AZURE_POD_IDENTITY_AUTHORITY_HOST", "IDENTITY_ENDPOINT", "MSI_ENDPOINT")
ABSENT: Final = ("SecretNotFound", "SecretDisabled")  # the vault's error codes
ONCE: Final[Mapping[str, Any]] = {
    "retry_total": 0,  # kept.py asks again
    "permit_redirects": False,
    "connection_timeout": remote.CONNECT_SECONDS,
    "read_timeout": remote.READ_SECONDS,
    "use_env_settings": False,  # no proxy, .netrc or other authorities
}


class Settings(EnvironmentSettings):
    """The vault of this service's secrets, and the identity that signs in there."""

    vault_url: str = Field("", validation_alias=variable("BASTION_AZURE_VAULT_URL"))
    """`https://<name>.vault.azure.net`; required."""
    prefix: str = Field(OURS, validation_alias=variable("BASTION_AZURE_PREFIX"))
    """Prefix of each name: SECRET_KEY is the secret `<prefix>SECRET-KEY`, since a name there has no `_`."""
    client_id: str = Field("", validation_alias=variable("BASTION_AZURE_CLIENT_ID"))
    """Client id of a user-assigned identity; empty: the platform's own for this workload."""
    ca: str = Field("", validation_alias=variable("BASTION_AZURE_CA"))
    """File of certificate authorities (PEM) to verify the vault by; empty: those of certifi."""


HERE: Final = False
"""Whether the secrets are on this machine, where a process could read secrets of another one."""


def check(settings: Settings, *, production: bool, database_users: bool) -> Iterator[str]:  # noqa: ARG001
    """Return reasons against a start before any request: false addresses of vault or platform, stored credentials."""
    if not production and remote.kept_here(settings.vault_url):
        return
    vault = remote.origin(settings.vault_url)
    local = vault is not None and vault.scheme == "https" and remote.is_loopback(vault.hostname or "")
    if not VAULT.match(settings.vault_url) and not local:
        yield "BASTION_AZURE_VAULT_URL: name the vault with the secrets of this service, https://<name>.vault.azure.net."
    if not PREFIX.match(settings.prefix):
        yield "BASTION_AZURE_PREFIX: use letters, digits and - alone, as Key Vault does in names."
    if not CLIENT.match(settings.client_id):
        yield "BASTION_AZURE_CLIENT_ID: name the client id of a user-assigned identity (a UUID), or leave it out."
    yield from remote.check_ca("BASTION_AZURE_CA", settings.ca)
    if TOKEN_FILE in os.environ and not (
        os.environ.get("AZURE_TENANT_ID") and (settings.client_id or os.environ.get("AZURE_CLIENT_ID"))
    ):
        yield f"{TOKEN_FILE} is there without AZURE_TENANT_ID or AZURE_CLIENT_ID: annotate the Kubernetes account."
    if production:
        yield from _check_platform()


def _check_platform() -> Iterator[str]:
    for name in STORED:
        if name in os.environ:
            yield (
                f"{name} is not read: this service signs in as the workload that the platform runs "
                "(deploy/base/secrets/azure). Remove it, and delete that credential."
            )
    for name in SIGNS_IN:
        if name in os.environ and not _is_this_machines(os.environ[name]):
            yield f"{name}: another machine would say who this workload is. Leave it to the platform."


def _is_this_machines(url: str) -> bool:
    """Return whether this address is a loopback or link-local one, where platforms answer a workload."""
    try:
        host = urlsplit(url).hostname or ""
        return remote.is_loopback(host) or ip_address(host).is_link_local
    except ValueError:
        return False


def open_secrets(settings: Settings) -> Secrets:
    """Open the vault as the one backend; each process, and each attempt after a failure, signs in by itself."""
    for name in ("azure", "msal"):  # they log unexpected answers of an endpoint, which may hold a token
        logging.getLogger(name).setLevel(logging.CRITICAL)
    where = f"Azure Key Vault (azure:{settings.vault_url}/{settings.prefix})"
    return remote.kept_here(settings.vault_url) or Secrets(lambda: _connect(settings), where)


def named(prefix: str, name: str) -> str:
    """Return Key Vault's name of a secret. Unique: no name of the service has a hyphen or a small letter."""
    return f"{prefix}{name.replace('_', '-')}"


def _connect(settings: Settings) -> Fetch:
    options = {**ONCE, "connection_verify": settings.ca or True}
    try:
        client = SecretClient(settings.vault_url, _workload(settings, options), **options)
    except ValueError:
        raise BackendFault("can't be asked: the platform does not say who this workload is") from None

    def fetch(name: str) -> Found | None:
        if not remote.NAME.match(name):
            return None
        wanted = named(settings.prefix, name)
        secret = _asked(client, wanted)
        return None if secret is None else _found(secret, wanted)

    return fetch


def _workload(settings: Settings, options: Mapping[str, Any]) -> TokenCredential:
    """Sign in with a projected token (Kubernetes) if there is one, otherwise with a managed identity."""
    client = settings.client_id or os.environ.get("AZURE_CLIENT_ID") or None
    if TOKEN_FILE in os.environ:
        return WorkloadIdentityCredential(client_id=client, **options)
    return ManagedIdentityCredential(client_id=client, **options)


def _asked(client: SecretClient, wanted: str) -> KeyVaultSecret | None:
    """Return the newest version, or None if absent or disabled. Raise BackendFault without any value."""
    try:
        return client.get_secret(wanted)
    except CredentialUnavailableError:
        fault = "can't be asked: the platform signs this workload in to nothing"
    except ClientAuthenticationError:
        fault = "refuses this service (not signed in)"
    except HttpResponseError as error:
        if _is_absent(error):
            return None
        status = error.status_code
        known = {200: "gave no answer of its kind", 403: "refuses this service (forbidden)"}
        fault = {**known, 429: "refuses more questions (quota)"}.get(status or 200, f"fails (status {status})")
    except AzureError as error:
        untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error.inner_exception)
        fault = "did not prove who it is (TLS)" if untrusted else "does not answer"
    except ValueError:
        fault = "sent a challenge that is not its own"
    except Exception:  # the vendor's packages raise what they will, with answers in the text
        fault = "gave no answer of its kind"
    raise BackendFault(fault) from None


def _is_absent(error: HttpResponseError) -> bool:
    """Return whether the vault reports that the secret is absent, or its newest version disabled."""
    about = error.error
    inner = about.innererror if about is not None else None
    kinds = (about.code if about is not None else None, inner.get("code") if isinstance(inner, Mapping) else None)
    return any(kind in ABSENT for kind in kinds)


def _found(secret: KeyVaultSecret, wanted: str) -> Found | None:
    """Return the value if it belongs to this secret and is valid now: Key Vault returns expired ones as well."""
    about = secret.properties
    if (secret.name or "").casefold() != wanted.casefold():
        raise BackendFault("answered about another secret")
    if not isinstance(secret.value, str):
        raise BackendFault("gave something that is no text")
    begins, ends = _moment(about.not_before), _moment(about.expires_on)
    if about.enabled is False or (begins or 0) > seconds() or (ends is not None and ends <= seconds()):
        return None
    return Found(Secret(secret.value), about.version or "", _moment(about.created_on), ends_at=ends)


def _moment(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def misplaced(names: Iterable[str]) -> Iterator[str]:
    """Report secrets that were given in a way that this backend does not read."""
    return remote.misplaced(names, "Azure Key Vault")


def use_folder(folder: Path) -> None:
    """For development: use the files of the folder, unless the environment names a vault."""
    os.environ.setdefault("BASTION_AZURE_VAULT_URL", folder.as_uri())
