"""Unit tests beside the proofs in test_backend_azure.py."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest

from ..faulty_backend import Answer, Front, Mode, Request
from ..running import Service
from ..test_backend_azure import LOGIN, TENANT, VALUE, asks, azures, in_a_hurry, tokens, told

if TYPE_CHECKING:
    from pathlib import Path


CLIENT = "00000000-0000-4000-8000-000000000003"
# --- who answers ---------------------------------------------------------------------------------------------------


def test_a_pod_signs_in_with_its_projected_token(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("token-of-the-pod", "utf-8")

    def authority(request: Request) -> Answer:
        place = f"https://{LOGIN}/{TENANT}"
        endpoints = {
            "authorization_endpoint": f"{place}/authorize",
            "token_endpoint": f"{place}/token",
            "issuer": place,
        }
        token = {"access_token": "token-for-the-vault", "expires_in": 3599, "token_type": "Bearer"}
        return Answer(200, json.dumps(endpoints if request.method == "GET" else token).encode())

    with azures() as (vault, identity, _azure), Front(authority, name=LOGIN) as login:
        real = socket.getaddrinfo
        leads_to = {LOGIN: ("127.0.0.1", login.port)}
        monkeypatch.setattr(socket, "getaddrinfo", lambda h, p, *a, **k: real(*leads_to.get(h, (h, p)), *a, **k))
        monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
        azure = service.module("secrets.azure")
        settings = azure.Settings(BASTION_AZURE_VAULT_URL=vault.url, BASTION_AZURE_CA=vault.ca)
        lacking = (
            "AZURE_FEDERATED_TOKEN_FILE is there without AZURE_TENANT_ID or AZURE_CLIENT_ID: annotate the Kubernetes "
        )
        assert [*azure.check(settings, production=True, database_users=False)] == [f"{lacking}account."]
        monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
        monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
        assert [*azure.check(settings, production=True, database_users=False)] == []
        assert told(service, asks(service, vault)) == (VALUE, "")
        assert identity.requests == []
        sent = parse_qs(login.requests[-1].body.decode())
        assert (sent["client_assertion"], sent["client_id"]) == (["token-of-the-pod"], [CLIENT])
        assert tokens(vault) == ["Bearer token-for-the-vault"]


# --- what is answered ----------------------------------------------------------------------------------------------


def test_nothing_that_fails_is_asked_twice(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.module("secrets.kept"), "PAUSES", ())  # one attempt
    faults: dict[Mode, str] = {
        "down": "does not answer",
        "slow": "does not answer",
        "403": "refuses this service (forbidden)",
        "500": "fails (status 500)",
        "malformed": "gave no answer of its kind",
        "redirect": "fails (status 307)",
    }
    for mode, fault in faults.items():
        with azures() as (vault, identity, _azure), monkeypatch.context() as hurried:
            if mode == "slow":  # whoever answers has his time: a busy machine needs it
                hurried.setitem(service.module("secrets.azure").ONCE, "read_timeout", 1.0)
            vault.mode = mode
            assert told(service, asks(service, vault)) == ("", fault)
            assert len(vault.requests) == (mode != "down")
            vault.mode, identity.mode = "works", mode
            assert told(service, asks(service, vault))[1].startswith(
                ("can't be asked: the", "refuses this service (not")
            )
            assert len(identity.requests) == (mode != "down")


def test_an_answer_that_is_no_secret_is_a_fault(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    for changed in ({"value": None}, {"id": None}, {"id": "https://127.0.0.1/nothing"}):
        with azures() as (vault, _identity, azure):
            azure.changed = changed
            value, fault = told(service, asks(service, vault))
            assert (value, bool(fault)) == ("", True)
