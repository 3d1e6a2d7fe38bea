"""Secrets from Google Secret Manager, one entry a secret, read with the workload identity of the platform.

A key file that opens the manager is one more secret to keep, and copies of it work anywhere. An answer over an
unverified connection, or about another secret, lets an attacker choose the key. It takes two documented requests
(Secret Manager v1, versions.access, and the metadata service's token) and no library. A library's retries would exceed
a start's time limit.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import Field

from ..clock import seconds
from ..settings import EnvironmentSettings, variable
from . import BackendFault, Fetch, Found, Secret, Secrets, remote

API: Final = "https://secretmanager.googleapis.com"
METADATA: Final = "http://metadata.google.internal"  # the machine's own; Google gives it no TLS
TOKEN_PATH: Final = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105
PROJECT: Final = re.compile(r"\A[a-z0-9][a-z0-9.:-]{1,62}\Z")
PREFIX: Final = re.compile(r"\A[A-Za-z0-9_-]{0,127}\Z")
OURS: Final = f"{remote.SERVICE}-"
LARGEST: Final = 131_072  # bytes of an answer; a secret has at most 65,536, which base64 makes a third longer
EARLY: Final = 60.0  # seconds before its end that a token is not used any more


class Settings(EnvironmentSettings):
    """The project and prefix of this service's secrets, and the addresses of the API."""

    project: str = Field("", validation_alias=variable("BASTION_GCP_PROJECT"))
    """Id or number of the project whose Secret Manager holds them; required."""
    prefix: str = Field(OURS, validation_alias=variable("BASTION_GCP_PREFIX"))
    """Prefix of each name: SECRET_KEY is the secret `<prefix>SECRET_KEY`."""
    endpoint: str = Field(API, validation_alias=variable("BASTION_GCP_ENDPOINT"))
    """Another address of the API: a private endpoint (Private Service Connect), below googleapis.com."""
    ca: str = Field("", validation_alias=variable("BASTION_GCP_CA"))
    """File of certificate authorities (PEM) to verify the API by; empty: the system's."""
    metadata: str = Field(METADATA, validation_alias=variable("BASTION_GCP_METADATA"))
    """The metadata service that signs this workload in; another one only on a loopback address."""


HERE: Final = False
"""Whether the secrets are on this machine, where a process could read secrets of another one."""


def check(settings: Settings, *, production: bool, database_users: bool) -> Iterator[str]:  # noqa: ARG001
    """Return reasons against a start before any request: the token opens everything that the workload may use."""
    if not production and remote.kept_here(settings.endpoint):
        return
    if not PROJECT.match(settings.project):
        yield "BASTION_GCP_PROJECT: name the project (its id) whose Secret Manager holds the secrets of this service."
    if not PREFIX.match(settings.prefix):
        yield "BASTION_GCP_PREFIX: use letters, digits, - and _ alone, as Secret Manager does in names."
    api = remote.origin(settings.endpoint)
    if api is None or not (remote.is_loopback(api.hostname or "") or (api.hostname or "").endswith(".googleapis.com")):
        yield "BASTION_GCP_ENDPOINT: name an https origin below googleapis.com, or leave it out."
    metadata = remote.origin(settings.metadata)
    if settings.metadata != METADATA and (metadata is None or not remote.is_loopback(metadata.hostname or "")):
        yield "BASTION_GCP_METADATA: leave it out; only a stand-in on this machine may have another address."
    yield from remote.check_ca("BASTION_GCP_CA", settings.ca)
    if production and "GOOGLE_APPLICATION_CREDENTIALS" in os.environ:
        yield (
            "GOOGLE_APPLICATION_CREDENTIALS is not read: this service signs in as the workload that the platform "
            "runs (deploy/base/secrets/gcp). Remove it, and delete the key if it names the file of one."
        )


def open_secrets(settings: Settings) -> Secrets:
    """Open the manager as the one backend; each process, and each attempt after a failure, signs in by itself."""
    where = f"Google Secret Manager (gcp:{settings.project}/{settings.prefix})"
    return remote.kept_here(settings.endpoint) or Secrets(lambda: _connect(settings), where)


def _connect(settings: Settings) -> Fetch:
    try:
        context = ssl.create_default_context(cafile=settings.ca or None)
    except OSError:
        raise BackendFault("can't be verified: the file of BASTION_GCP_CA is gone") from None
    api, token = urlsplit(settings.endpoint), _signed_in(urlsplit(settings.metadata))

    def fetch(name: str) -> Found | None:
        if not remote.NAME.match(name):
            return None
        secret = f"{settings.prefix}{name}"
        path = f"/v1/projects/{settings.project}/secrets/{secret}/versions/latest:access"
        status, answer = _get(api, path, {"Authorization": f"Bearer {token()}"}, context)
        # Absent, never given a version, or its latest version is disabled or destroyed.
        if (status, _text(answer.get("error"), "status")) in ((404, "NOT_FOUND"), (400, "FAILED_PRECONDITION")):
            return None
        _expect_success(status)
        return _found(secret, answer)

    return fetch


def _signed_in(metadata: SplitResult) -> Callable[[], str]:
    """Return a function for the workload's token; it renews 60 s before the end, when a read takes twice as long."""
    held, from_, until = "", 0.0, 0.0

    def token() -> str:
        nonlocal held, from_, until
        if not from_ <= seconds() < until:
            try:
                status, answer = _get(metadata, TOKEN_PATH, {"Metadata-Flavor": "Google"}, None)
                _expect_success(status)
            except BackendFault as error:
                raise BackendFault(f"can't be asked: the metadata service {error.fault}") from None
            held, lasts = _text(answer, "access_token"), answer.get("expires_in")
            if not re.fullmatch("[!-~]+", held) or not isinstance(lasts, int):
                raise BackendFault("can't be asked: the metadata service gave no token")
            from_, until = seconds(), seconds() + lasts - EARLY
        return held

    return token


def _found(secret: str, answer: Mapping[str, Any]) -> Found:
    """Return the value if it belongs to this secret and arrived unchanged (CRC-32C, as the API documents it)."""
    version = re.fullmatch(rf"projects/[^/]+/secrets/{re.escape(secret)}/versions/([0-9]+)", _text(answer, "name"))
    if version is None:
        raise BackendFault("answered about another secret")
    payload = answer.get("payload")
    try:
        data = b64decode(_text(payload, "data"), validate=True)
        text = data.decode()
    except ValueError:
        raise BackendFault("gave something that is no text") from None
    if _text(payload, "dataCrc32c") != str(crc32c(data)):
        raise BackendFault("gave a value that was damaged on the way")
    return Found(Secret(text), version=version[1])


def _expect_success(status: int) -> None:
    """Raise BackendFault for every status but 200; redirects are not followed."""
    if status in (401, 403):
        raise BackendFault("refuses this service (forbidden)")
    if status == 429:
        raise BackendFault("refuses more questions (quota)")
    if status != 200:
        raise BackendFault(f"fails (status {status})")


def _get(
    where: SplitResult, path: str, headers: Mapping[str, str], context: ssl.SSLContext | None
) -> tuple[int, Mapping[str, Any]]:
    """Send one GET without proxy, retry or redirect; return status and JSON. Raise BackendFault without any value."""
    host, port = where.hostname or "", where.port
    if where.scheme == "https":
        connection: HTTPConnection = HTTPSConnection(host, port, timeout=remote.CONNECT_SECONDS, context=context)
    else:
        connection = HTTPConnection(host, port, timeout=remote.CONNECT_SECONDS)
    try:
        with closing(connection):
            connection.connect()
            connection.sock.settimeout(remote.READ_SECONDS)
            connection.request("GET", path, headers=dict(headers))
            response = connection.getresponse()
            status, body = response.status, response.read(LARGEST + 1)
    except ssl.SSLCertVerificationError:
        raise BackendFault("did not prove who it is (TLS)") from None
    except (OSError, HTTPException):
        raise BackendFault("does not answer") from None
    try:
        answer = json.loads(body) if len(body) <= LARGEST else None
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        return status, answer
    _expect_success(status)
    raise BackendFault("gave no answer of its kind")


def _text(values: object, name: str) -> str:
    """Return the text of this name in a JSON object, or an empty one."""
    text = values.get(name) if isinstance(values, dict) else None
    return text if isinstance(text, str) else ""


def _table() -> Iterator[int]:
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        yield value


_TABLE: Final = tuple(_table())


def crc32c(data: bytes) -> int:
    """Return the CRC-32C checksum (Castagnoli; RFC 3720, appendix B.4), which the standard library lacks."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def misplaced(names: Iterable[str]) -> Iterator[str]:
    """Report secrets that were given in a way that this backend does not read."""
    return remote.misplaced(names, "Google Secret Manager")


def use_folder(folder: Path) -> None:
    """For development: use the files of the folder, unless the environment names a project."""
    if "BASTION_GCP_PROJECT" not in os.environ:
        os.environ.setdefault("BASTION_GCP_ENDPOINT", folder.as_uri())
