"""Secrets from AWS Secrets Manager, one entry a name, read with the role that the platform gives to this service.

An AWS key in a variable or a file is one more secret to steal, and opens all the others. A file of AWS's tools can
redirect them to another endpoint, or run a program. So this client reads only the variables named here.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from botocore import exceptions as errors
from botocore.config import Config
from botocore.credentials import ContainerProvider
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.session import Session
from botocore.utils import ContainerMetadataFetcher, get_environ_proxies
from pydantic import AliasChoices, Field

from ..settings import EnvironmentSettings, variable
from . import BackendFault, Fetch, Found, Secret, Secrets, remote

PREFIX: Final = re.compile(r"\A[A-Za-z0-9_+=.@-]{1,99}(/[A-Za-z0-9_+=.@-]{1,99}){0,3}\Z")  # a name has 512 at most
REGION: Final = re.compile(r"\A[a-z]{2,9}(-[a-z]{1,9}){1,3}-[0-9]{1,2}\Z")
DOMAINS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws")
ROLES: Final = ("assume-role-with-web-identity", "container-role", "iam-role")
"""Sources of credentials: IRSA, ECS or EKS Pod Identity, an instance's role; each lasts for hours at most."""
READ: Final = frozenset(
    (
        *("ec2_metadata_service_endpoint", "ec2_metadata_service_endpoint_mode", "imds_use_ipv6"),
        *("use_fips_endpoint", "use_dualstack_endpoint"),
    )
)
"""The variables of AWS's tools that this client reads, by botocore's names, beside those of the three roles."""
METADATA: Final = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
ADDRESS: Final = "http://169.254.169.254"  # of an instance's own metadata; AWS gives it no TLS
METADATA_HOSTS: Final = ("169.254.169.254", "fd00:ec2::254", "169.254.170.2", "169.254.170.23", "fd00:ec2::23")
KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
UNREAD: Final = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
ENDPOINTS: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER")
ABSENT: Final = frozenset({"ResourceNotFoundException", "InvalidRequestException"})  # the latter: to be deleted
REFUSALS: Final[Mapping[str, str]] = {
    "AccessDeniedException": "refuses this service (forbidden)",
    "DecryptionFailure": "can't decrypt it: may the role of this service use its key of KMS?",
    "ThrottlingException": "refuses more questions (quota)",
}
FAULTS: Final[Mapping[type[Exception], str]] = {  # the first that fits
    errors.NoCredentialsError: "can't be asked: the platform gives this service no role",
    errors.CredentialRetrievalError: "can't be asked: the platform gave no credentials of the role",
    errors.MetadataRetrievalError: "can't be asked: the platform gave no credentials of the role",
    errors.SSLError: "did not prove who it is (TLS)",
    errors.ConnectionError: "does not answer",
    errors.HTTPClientError: "does not answer",
}
# Botocore's API data, only from its own folder: loaded once, as each load takes a tenth of a second.
_DATA: Final = Loader([Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
_ASKING: Final = Config(
    connect_timeout=remote.CONNECT_SECONDS,
    read_timeout=remote.READ_SECONDS,
    retries={"mode": "standard", "total_max_attempts": 1},  # kept.py asks again
    proxies={},  # a proxy is there for other programs; inside a VPC an interface endpoint is the way
)


class Settings(EnvironmentSettings):
    """The prefix of this service's secrets, and the region and endpoint."""

    prefix: str = Field(remote.SERVICE, validation_alias=variable("BASTION_AWS_PREFIX"))
    """Prefix of each name: SECRET_KEY is the secret `<prefix>/SECRET_KEY`."""
    region: str = Field("", validation_alias=AliasChoices("BASTION_AWS_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"))
    """`eu-central-1`; ECS and EKS set AWS_REGION themselves."""
    endpoint: str = Field("", validation_alias=variable("BASTION_AWS_ENDPOINT"))
    """Another https address: a VPC endpoint without private DNS; empty: AWS's own in the region."""
    ca: str = Field("", validation_alias=variable("BASTION_AWS_CA"))
    """File of certificate authorities (PEM) to verify AWS's endpoints by; empty: the public ones."""


HERE: Final = False
"""Whether the secrets are on this machine, where a process could read secrets of another one."""


def check(settings: Settings, *, production: bool, database_users: bool) -> Iterator[str]:  # noqa: ARG001
    """Return reasons against a start before any request."""
    if not production and remote.kept_here(settings.endpoint):
        return
    if not PREFIX.match(settings.prefix):
        yield "BASTION_AWS_PREFIX is no beginning of a secret's name. Write it as in payments-api or prod/payments-api."
    if not REGION.match(settings.region):
        yield "BASTION_AWS_REGION is no region of AWS. Write it as in eu-central-1, or let the platform set AWS_REGION."
    if settings.endpoint and not _is_of_aws(settings.endpoint):
        yield "BASTION_AWS_ENDPOINT: name an https origin of AWS, as that of a VPC endpoint, or leave it out."
    yield from remote.check_ca("BASTION_AWS_CA", settings.ca)
    if production:
        yield from _not_used()


def _is_of_aws(endpoint: str) -> bool:
    parts = remote.origin(endpoint)
    host = (parts.hostname or "") if parts is not None else ""
    return host.endswith(DOMAINS) or (host != "" and remote.is_loopback(host))


def _not_used() -> Iterator[str]:
    """Report variables for AWS's tools, which an operator would wrongly expect to work here."""
    cure = "this service signs in with the role that the platform gives it (deploy/base/secrets/aws). Remove it"
    for name in KEYS:
        if name in os.environ:
            yield f"{name} is a stored key, and not read: {cure}, and delete the key."
    for name in UNREAD:
        if name in os.environ:
            yield f"{name} is not read: {cure}."
    for name in ENDPOINTS:
        if name in os.environ:
            yield f"{name} is not read. Remove it; another endpoint is BASTION_AWS_ENDPOINT."
    elsewhere = [name for name in METADATA if not _is_the_platforms(_host(os.environ.get(name) or ADDRESS))]
    for name in elsewhere:
        yield f"{name} is not on this machine: whoever answers there chooses who this service is. Remove it."
    address = os.environ.get(METADATA[0]) or ADDRESS
    if not elsewhere and "http" in get_environ_proxies(address):
        yield f"HTTP_PROXY would be handed the credentials of this service's role. Name {_host(address)} in NO_PROXY."


def _is_the_platforms(host: str) -> bool:
    return host in METADATA_HOSTS or remote.is_loopback(host)


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def open_secrets(settings: Settings) -> Secrets:
    """Open the manager as the one backend; each process, and each attempt after a failure, signs in by itself."""
    at = f", at {settings.endpoint}" if settings.endpoint else ""
    where = f"AWS Secrets Manager (aws:{settings.region}:{settings.prefix}/{at})"
    return remote.kept_here(settings.endpoint) or Secrets(lambda: _connect(settings), where)


def _connect(settings: Settings) -> Fetch:
    logging.getLogger("botocore").setLevel(logging.INFO)  # at DEBUG it logs each answer, and its signing data
    session = Session(session_vars=_variables(settings))
    session.register_component("data_loader", _DATA)
    session.set_default_client_config(_ASKING)
    credentials = session.get_component("credential_provider")
    sources = [one for one in credentials.providers if one.METHOD in ROLES]
    credentials.providers = [_of_a_container() if one.METHOD == ContainerProvider.METHOD else one for one in sources]
    with _failures():
        manager = session.create_client("secretsmanager", endpoint_url=settings.endpoint or None)

    def fetch(name: str) -> Found | None:
        if not remote.NAME.match(name):
            return None
        place = f"{settings.prefix}/{name}"
        with _failures():
            try:
                return _found(place, manager.get_secret_value(SecretId=place, VersionStage="AWSCURRENT"))
            except ClientError as error:
                if _code(error) in ABSENT:
                    return None
                raise

    return fetch


def _of_a_container() -> Any:
    """Request the role's credentials once, for 2 s: botocore tries three times, which would block a reader for 9 s."""
    fetcher = ContainerMetadataFetcher()
    fetcher.RETRY_ATTEMPTS, fetcher.SLEEP_TIME = 1, 0  # kept.py asks again
    return ContainerProvider(fetcher=fetcher)


def _variables(settings: Settings) -> dict[str, tuple[None, object, object, object]]:
    """Return botocore's settings: from no file, only from variables in READ, else these values or the defaults."""
    fixed = {
        "region": settings.region,
        "ca_bundle": settings.ca or True,
        "config_file": os.devnull,
        "credentials_file": os.devnull,
        "ignore_configured_endpoint_urls": True,
        "ec2_metadata_v1_disabled": True,  # version 1 answers any attacker who can make this machine send a GET (SSRF)
    }
    return {
        name: (None, given if name in READ else None, fixed.get(name, default), convert)
        for name, (_file, given, default, convert) in Session.SESSION_VARIABLES.items()
    }


def _found(place: str, answer: Mapping[str, Any]) -> Found:
    """Return the current version if it is a text and belongs to this place, without a newline at its end."""
    if answer.get("Name") != place:
        raise BackendFault("answered about another secret")
    text, created = answer.get("SecretString"), answer.get("CreatedDate")
    if not isinstance(text, str):
        raise BackendFault("gave something that is no text")
    text, user = _login(text) if place.endswith("_PASSWORD") else (text, None)
    return Found(
        Secret(text.removesuffix("\n")),
        version=str(answer.get("VersionId", "")),
        changed_at=created.timestamp() if isinstance(created, datetime) else None,
        user=user,
    )


def _login(text: str) -> tuple[str, str | None]:
    """Split JSON of the manager's own rotation into password and user; any other text is the password."""
    try:
        kept = json.loads(text)
    except ValueError:
        return text, None
    match kept:
        case {"password": str(password), "username": str(user)}:
            return password, user
    return text, None


@contextmanager
def _failures() -> Iterator[None]:
    """Turn each exception of the client into a BackendFault without its text, which may hold the value or the role."""
    try:
        yield
    except BackendFault:
        raise
    except ClientError as error:
        if error.operation_name != "GetSecretValue":
            raise BackendFault("can't be asked: AWS STS refuses the role of this service") from None
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        raise BackendFault(REFUSALS.get(_code(error), f"fails (status {status})")) from None
    except Exception as error:  # its parts raise what they like: OSError without a token's file, KeyError, ...
        known = (fault for kind, fault in FAULTS.items() if isinstance(error, kind))
        raise BackendFault(next(known, f"gave no answer of its kind ({type(error).__name__})")) from None


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def misplaced(names: Iterable[str]) -> Iterator[str]:
    """Report secrets that were given in a way that this backend does not read."""
    return remote.misplaced(names, "AWS Secrets Manager")


def use_folder(folder: Path) -> None:
    """For development: use the files of the folder, unless the environment names a region."""
    if "BASTION_AWS_REGION" not in os.environ:
        os.environ.setdefault("BASTION_AWS_ENDPOINT", folder.as_uri())
