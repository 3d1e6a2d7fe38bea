"""Edges of the proofs in test_backend_azure.py: further attacks on the same protections."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ..faulty_backend import Answer, Front, Request
from ..harness import edit, harm, protects, works
from ..mail_server import resolves_here
from ..running import Service
from ..test_backend_azure import FORGED, IDENTITY_HOST, VALUE, Azure, asks, azures, in_a_hurry, opened, tokens, told

if TYPE_CHECKING:
    from pathlib import Path


ATTACKER = "ours.vault.azure.net.attacker.example"
GRANT = "/deploy/base/secrets/azure/grant.sh"


def place_of_its_own(service: Service) -> dict[str, str]:
    """Return settings of an empty vault at the stand-in that all proofs share."""
    variables = service.environment.backend.write(service.folder, {})
    os.environ[IDENTITY_HOST] = variables.pop(IDENTITY_HOST)
    return variables


# --- who answers ---------------------------------------------------------------------------------------------------


@protects("secret-backend-genuine", elsewhere=edit("secrets/azure.py", "and not local:", "and not vault:"))
def test_the_workloads_token_goes_to_a_vault_alone(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    resolves_here(monkeypatch, ATTACKER, "ours.vault.azure.net")
    works(service.start().app is not None, "a stand-in on this machine is accepted")
    azure = Azure(resource=f"https://{ATTACKER.partition('.')[2]}")
    with Front(azure, name=ATTACKER) as attacker, Front(azure, tls=False) as clear:
        service.environment.settings.update({IDENTITY_HOST: clear.url})
        azure.resource += f":{attacker.port}"
        named = (
            *(attacker.url, clear.url, f"http://ours.vault.azure.net:{clear.port}", "ours.vault.azure.net"),
            *(
                f"https://x@ours.vault.azure.net:{attacker.port}",
                "https://ours.vault.azure.net/secrets",
                "https://[::1",
            ),
            *(f"https://{ATTACKER}:{attacker.port}\\.vault.azure.net", "https://ours.vault.azure.net:444", ""),
        )
        for url in named:
            tried = service.start(BASTION_AZURE_VAULT_URL=url, BASTION_AZURE_CA=attacker.ca)
            harm(tokens(attacker), f"the service sent its token to {url}")
            assert tried.reasons == [
                "BASTION_AZURE_VAULT_URL: name the vault with the secrets of this service, https://<name>.vault.azure.net."
            ]
    check, settings = service.module("secrets.azure").check, service.module("secrets.azure").Settings
    for url in (
        "https://ours.vault.azure.net",
        "https://ours-1.vault.usgovcloudapi.net",
        "https://ours.vault.azure.cn",
    ):
        assert [*check(settings(BASTION_AZURE_VAULT_URL=url), production=False, database_users=False)] == []


@protects(
    "secret-backend-genuine",
    challenge=edit(
        "secrets/azure.py",
        "_workload(settings, options), **options)",
        "_workload(settings, options), verify_challenge_resource=False, **options)",
    ),
)
def test_no_vault_gets_a_token_for_something_else(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    with azures() as (vault, identity, azure):
        works(told(service, asks(service, vault)) == (VALUE, ""), "a vault gets a token for its own resource")
    with azures() as (vault, identity, azure):
        azure.resource = "https://management.azure.com"
        _value, fault = told(service, asks(service, vault))
        harm(tokens(vault), "the vault received a token that manages the subscription")
        assert fault == "sent a challenge that is not its own"
        assert identity.requests == []


@protects("secret-backend-genuine", redirect=edit("secrets/azure.py", '    "permit_redirects": False,\n', ""))
def test_no_answer_is_taken_from_where_a_vault_points_to(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)

    def forged(request: Request) -> Answer:
        about = {
            "value": FORGED,
            "id": f"https://127.0.0.1{request.path.partition('?')[0]}{'7' * 32}",
            "attributes": {},
        }
        return Answer(200, json.dumps(about).encode())

    with azures() as (vault, _identity, _azure), Front(forged) as attacker:
        works(told(service, asks(service, vault)) == (VALUE, ""), "the service accepts the vault's own answer")
        vault.mode = "redirect"
        vault.location = f"{attacker.url}/secrets/{service.module('secrets.azure').OURS}API-KEY/"
        value, fault = told(service, asks(service, vault))
        harm(value == FORGED, "the service accepted another server's answer after a redirect")
        assert fault == "fails (status 307)"
        assert attacker.requests == []


@protects(
    "secret-backend-genuine",
    metadata=edit(
        "secrets/azure.py", "if name in os.environ and not _is_this_machines(os.environ[name]):", "if False:"
    ),
)
def test_no_other_machine_says_who_this_workload_is(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    resolves_here(monkeypatch, "identity.attacker.example")
    works(service.start().app is not None, "the platform's identity endpoint signs the service in")
    with Front(Azure(), name="identity.attacker.example", tls=False) as attacker:
        for name in (IDENTITY_HOST, "IDENTITY_ENDPOINT", "MSI_ENDPOINT"):
            service.environment.settings["IDENTITY_HEADER"] = "given-by-the-platform"
            tried = service.start(**{name: f"{attacker.url}/"})
            harm(attacker.requests, "the service asked another machine for its identity token")
            assert tried.reasons == [
                f"{name}: another machine would say who this workload is. Leave it to the platform."
            ]
    check, settings = service.module("secrets.azure").check, service.module("secrets.azure").Settings
    named = settings(BASTION_AZURE_VAULT_URL="https://ours.vault.azure.net")
    for url in (
        "http://169.254.130.3:8081/msi/token",
        "http://localhost:42356/msi/token",
        "http://127.0.0.1:41741/msi",
    ):
        monkeypatch.setenv("IDENTITY_ENDPOINT", url)
        assert [*check(named, production=True, database_users=False)] == []


# --- the answer ----------------------------------------------------------------------------------------------------


@protects(
    "secret-backend-genuine",
    about=edit(
        "secrets/azure.py", 'if (secret.name or "").casefold() != wanted.casefold():', "if secret.name is None:"
    ),
)
def test_an_answer_about_another_secret_is_not_taken(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    ours = service.module("secrets.azure").OURS
    with azures() as (vault, _identity, azure):
        found = asks(service, vault).found("API_KEY")
        works(found.value.reveal() == VALUE, "the service reads the requested secret")
        assert (found.version, found.changed_at, found.ends_at) == ("7" * 32, 1_700_000_000, None)
        for name in (f"{ours}OTHER-KEY", f"{ours}API-KEY-2", f"x-{ours}API-KEY"):
            azure.changed = {"id": f"{vault.url}/secrets/{name}/{'7' * 32}"}
            value, fault = told(service, asks(service, vault))
            harm(value, f"the service accepted the value of {name!r} for another secret")
            assert fault == "answered about another secret"


@protects(
    "secret-backend-genuine",
    ended=(
        edit("secrets/azure.py", "or (ends is not None and ends <= seconds()):", "or False:"),
        edit("secrets/kept.py", "answer.ends_at is not None and seconds() >= answer.ends_at", "False"),
    ),
    early=edit("secrets/azure.py", "or (begins or 0) > seconds() or", "or"),
)
def test_a_version_that_may_not_be_used_now_is_absent(service: Service) -> None:
    backend = service.environment.backend
    variables, now = place_of_its_own(service), int(service.now().timestamp())
    versions: dict[str, dict[str, Any]] = {
        "DISABLED": {"enabled": False},
        "ENDED": {"exp": now - 1},
        "EARLY": {"nbf": now + 3600},
        "LEASED": {"nbf": now - 1, "exp": now + 3600},
    }
    for name, attributes in versions.items():
        backend.change(variables, {name: VALUE})
        works(opened(service, **variables).get(name).reveal() == VALUE, "the service reads the earlier version")
        backend.change(variables, {name: FORGED}, **attributes)
    secrets = opened(service, **variables)
    works(secrets.get("LEASED").reveal() == FORGED, "the service reads a version within its validity period")
    assert secrets.found("LEASED").ends_at == now + 3600
    for name in ("ENDED", "EARLY", "DISABLED", "NEVER_MADE"):
        harm(secrets.find(name) is not None, f"{name}: a disabled, expired or not yet valid version was used")
    service.travel(seconds=3601)
    assert secrets.find("LEASED") is None


@protects(
    "secret-backend-genuine",
    name=edit("secrets/azure.py", "        if not remote.NAME.match(name):\n            return None\n", ""),
)
def test_a_name_leads_to_no_other_secret(service: Service) -> None:
    variables = place_of_its_own(service)
    service.environment.backend.change(variables, {"API_KEY": VALUE})
    secrets = opened(service, **variables)
    works(secrets.get("API_KEY").reveal() == VALUE, "the service reads a secret by its name")
    for name in ("API-KEY", "api_key", f"A{'B' * 64}", ""):
        harm(secrets.find(name) is not None, f"the undeclared name {name!r} leads to a secret")


# --- what the service may read -------------------------------------------------------------------------------------


@protects(
    "secret-backend-identity",
    least=edit(GRANT, '--scope "$vault/secrets/$secret"', '--scope "$vault"'),
    role=edit(GRANT, "Key Vault Secrets User", "Key Vault Secrets Officer"),
)
def test_what_is_granted_is_to_read_each_secret_and_nothing_else(service: Service, tmp_path: Path) -> None:
    called, there = tmp_path / "called", tmp_path / "there"
    there.write_text("", "utf-8")
    program = tmp_path / "az"
    answers = f'"keyvault show"*) echo /subscriptions/1/vaults/ours ;; "keyvault secret list"*) cat {there} ;;'
    program.write_text(f'#!/bin/sh\n(IFS=\'|\'; echo "$*") >> {called}\ncase "$*" in {answers} esac\n', "utf-8")
    program.chmod(0o700)
    script = service.root / GRANT[1:]
    bash, path = shutil.which("bash") or "bash", f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run([bash, script, "ours", "principal"], env={"PATH": path}, check=True)
    azure, secrets = service.module("secrets.azure"), service.module("secrets")
    read = [azure.named(azure.OURS, name) for name in (*service.environment.secrets, *secrets.OPTIONAL)]
    made = [line.split("|") for line in called.read_text("utf-8").splitlines()]
    created = [line[line.index("--name") + 1] for line in made if line[:3] == ["keyvault", "secret", "set"]]
    works(sorted(created) == sorted(read), "the script creates each required and each optional secret")
    granted = [line for line in made if line[:3] == ["role", "assignment", "create"]]
    works(len(granted) == len(read), "the script grants access to each secret")
    role = ["--role", "Key Vault Secrets User", "--assignee-object-id", "principal"]
    wanted = [[*role, "--scope", f"/subscriptions/1/vaults/ours/secrets/{name}"] for name in read]
    more = [line for line in granted if line[3:9] not in wanted]
    harm(more, f"the script grants more than reading the service's secrets: {more}")
    assert sorted(line[3:9] for line in granted) == sorted(wanted)
    called.unlink()
    subprocess.run([bash, script, "ours", "principal", "PAYMENT_TOKEN"], env={"PATH": path}, check=True)
    assert called.read_text("utf-8").count("PAYMENT-TOKEN") == 2
    called.unlink()
    there.write_text("\n".join(read), "utf-8")
    subprocess.run([bash, script, "ours", "principal"], env={"PATH": path}, check=True)
    assert "|set|" not in called.read_text("utf-8")  # an existing secret gets no new version
