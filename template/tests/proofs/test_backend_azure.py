"""Proofs of secrets/azure.py: only the verified vault supplies the requested secret, and only to a workload identity.

They stop whoever stands on the way, or may set an address, from choosing this service's keys or taking its identity.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from .faulty_backend import CANARY, Answer, Front, Mode, Request
from .harness import edit, harm, protects, works
from .running import Service

if TYPE_CHECKING:
    pass


VALUE = "the-value-of-the-secret"
FORGED = "a-value-that-an-attacker-chose"
IDENTITY_PATH = "/metadata/identity/oauth2/token"
LOGIN = "login.microsoftonline.com"
TENANT = "00000000-0000-4000-8000-000000000002"
IDENTITY_HOST = "AZURE_POD_IDENTITY_AUTHORITY_HOST"


@dataclass
class Azure:
    """What answers in Azure's place, the platform's identity too: one secret, and what is wrong with it."""

    changed: dict[str, Any] = field(default_factory=dict)
    """Parts of the answer that are others than Key Vault would give."""
    resource: str = ""
    """For what the challenge wants a token; empty: for the vault itself, as its client expects it."""
    token: dict[str, Any] = field(default_factory=dict)
    """What the platform gives in place of a token."""

    def __call__(self, request: Request) -> Answer:
        asked = urlsplit(request.path)
        if asked.path == IDENTITY_PATH:
            resource = parse_qs(asked.query)["resource"][0]
            token = {"access_token": f"token-for-{resource}", "expires_in": "3599", "token_type": "Bearer"}
            return Answer(200, json.dumps(self.token or token).encode())
        vault = f"https://{request.headers['host']}"
        resource = self.resource or vault.replace("//127.", "//")
        if not request.headers.get("authorization", "").startswith("Bearer token-for-"):
            challenge = f'Bearer authorization="https://{LOGIN}/{TENANT}", resource="{resource}"'
            return Answer(401, b"{}", {"WWW-Authenticate": challenge, "Content-Type": "application/json"})
        name = asked.path.split("/")[2]
        attributes = {"enabled": True, "created": 1_700_000_000, "updated": 1_700_000_000}
        told = {"value": VALUE, "id": f"{vault}/secrets/{name}/{'7' * 32}", "attributes": attributes, **self.changed}
        return Answer(200, json.dumps(told).encode())


@contextmanager
def azures() -> Iterator[tuple[Front, Front, Azure]]:
    """A vault and a platform's identity, and what they answer."""
    azure = Azure()
    with Front(azure) as vault, Front(azure, tls=False) as identity:
        os.environ[IDENTITY_HOST] = identity.url
        yield vault, identity, azure


def asks(service: Service, vault: Front, **settings: str) -> Any:
    """The service's `Secrets` of this vault, as at a start: nothing is kept of what was read before."""
    return opened(service, BASTION_AZURE_VAULT_URL=vault.url, BASTION_AZURE_CA=vault.ca, **settings)


def opened(service: Service, **settings: str) -> Any:
    """The backend with these settings."""
    azure = service.module("secrets.azure")
    return azure.open_secrets(azure.Settings(**{"BASTION_AZURE_PREFIX": azure.OURS, **settings}))


def in_a_hurry(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pauses between the attempts of a start."""
    monkeypatch.setattr(service.module("secrets.kept"), "PAUSES", (0.0, 0.0))


def told(service: Service, secrets: Any) -> tuple[str, str]:
    """The value that would be used, and how the question failed: one of them is empty."""
    with ThreadPoolExecutor(1) as thread:  # where an exception is a result
        asked = thread.submit(secrets.get, "API_KEY")
        error = asked.exception()
    if error is None:
        return asked.result().reveal(), ""
    assert isinstance(error, service.module("secrets").SecretUnavailable)
    text = f"{error!r} {error.__context__!r} {error.__cause__!r}"
    assert [one for one in (VALUE, FORGED, "token-for-", CANARY) if one in text] == []
    return "", error.fault


def tokens(front: Front) -> list[str]:
    """The tokens that were sent there."""
    return [request.headers["authorization"] for request in front.requests if "authorization" in request.headers]


# --- who answers ---------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")  # of the sabotage
@protects(
    "secret-backend-genuine",
    verify=edit("secrets/azure.py", '"connection_verify": settings.ca or True', '"connection_verify": False'),
)
def test_whoever_stands_on_the_way_gets_no_question_and_gives_no_answer(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_hurry(service, monkeypatch)
    with azures() as (vault, _identity, _azure):
        works(told(service, asks(service, vault)) == (VALUE, ""), "the service reads a secret from the vault over TLS")
        untrusted: tuple[Mode, ...] = ("other name", "other authority", "expired")
        for mode in untrusted:
            vault.mode = mode
            vault.requests.clear()
            value, fault = told(service, asks(service, vault))
            harm(
                [value, *tokens(vault)] if value else vault.requests, f"an untrusted server ({mode}) received a request"
            )
            assert fault == "did not prove who it is (TLS)"
        vault.mode = "works"
        without = opened(service, BASTION_AZURE_VAULT_URL=vault.url)
        assert told(service, without) == (
            "",
            "did not prove who it is (TLS)",
        )  # nobody vouches for it without that file


@protects(
    "secret-backend-identity",
    client_secret=edit(
        "secrets/azure.py",
        "        if name in os.environ:\n            yield (",
        "        if False:\n            yield (",
    ),
)
def test_no_stored_credential_signs_this_service_in(service: Service) -> None:
    works(service.start().app is not None, "the service opens the vault with its workload identity")
    for name in ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_PASSWORD"):
        tried = service.start(**{name: CANARY})
        harm(tried.app is not None, f"the service started with the stored credential {name}")
        [reason] = tried.reasons
        assert reason.startswith(f"{name} is not read: this service signs in as the workload")
        assert CANARY not in tried.text


# --- what is answered ----------------------------------------------------------------------------------------------


@protects("secret-backend-genuine", quiet=edit("secrets/azure.py", 'for name in ("azure", "msal"):', "for name in ():"))
def test_nothing_that_the_vault_says_is_logged(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    service.setting("BASTION_LOG_LEVEL", "DEBUG")
    works(service.app is not None, "the service starts at log level DEBUG")
    with azures() as (vault, identity, azure):
        works(told(service, asks(service, vault)) == (VALUE, ""), "the service reads a secret from the vault")
        azure.token = {"accessToken": CANARY}
        assert told(service, asks(service, vault))[0] == ""
        modes: tuple[Mode, ...] = ("403", "500", "malformed", "redirect")
        for front in (identity, vault):
            azure.token = {}
            for mode in modes:
                front.mode = mode
                told(service, asks(service, vault))
            front.mode = "works"
    shown = [one for one in (CANARY, VALUE, "token-for-") if one in service.output]
    harm(shown, f"the log contains answers of an Azure endpoint: {shown}")
