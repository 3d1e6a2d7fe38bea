"""Edges of the proofs in test_backend_vault.py: further attacks on the same protections."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ..faulty_backend import CANARY, ELSEWHERE, Answer, Front
from ..harness import edit, harm, protects, works
from ..mail_server import resolves_here
from ..running import Service
from ..test_backend_vault import (
    NAME,
    VALUE,
    _in_a_hurry,  # noqa: F401 - autouse
    fronted,
    opened,
    server,
    with_users,
)

HERE = "BASTION_VAULT_ADDR: name an https origin, as in https://vault.internal:8200; http is for an agent on a loopback address."  # noqa: E501


def through(service: Service, front: Front) -> Any:
    """Return a backend that connects to Vault through this front."""
    return opened(service, BASTION_VAULT_ADDR=front.url, BASTION_VAULT_CA=front.ca)


def query(service: Service, secrets: Any, name: str = NAME) -> tuple[str, str]:
    """Return the value and the fault of one query; one of them is empty."""
    with ThreadPoolExecutor(1) as thread:  # where an exception is a result
        asked = thread.submit(secrets.get, name)
        error = asked.exception()
    if error is None:
        return asked.result().reveal(), ""
    assert isinstance(error, service.module("secrets").SecretUnavailable)
    assert [one for one in (VALUE, CANARY) if one in f"{error!r} {error.__context__!r} {error.__cause__!r}"] == []
    return "", error.fault


# --- who answers ----------------------------------------------------------------------------------------------------


@protects(
    "secret-backend-genuine",
    redirect=edit("secrets/vault_client.py", "allow_redirects=False", "allow_redirects=True"),
    proxy=edit("secrets/vault_client.py", "session.trust_env = False", "session.trust_env = True"),
)
def test_no_redirect_and_no_proxy_gets_what_is_for_vault(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with fronted(service) as front, Front(lambda _request: Answer(503), tls=False) as other:
        works(query(service, through(service, front)) == (VALUE, ""), "the service reads a secret from Vault")
        front.mode, front.location = "redirect", f"{other.url}{ELSEWHERE}"
        found = query(service, through(service, front))
        harm([sent for sent in other.requests if b"secret_id" in sent.body], "another host was sent the secret_id")
        assert found == ("", "fails (status 307)")
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, other.url)
        found = query(service, opened(service))  # by http on this machine, as to an agent of Vault's
        harm(other.requests, "the service sent its secret_id through a proxy")
        assert found == (VALUE, "")


@protects(
    "secret-backend-genuine", plain=edit("secrets/vault.py", "if remote.origin(settings.address) is None:", "if False:")
)
def test_no_address_without_tls_is_asked(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "vault.attacker.example"
    resolves_here(monkeypatch, name)
    works(service.start().app is not None, "the service reaches an agent on a loopback address over http")
    with Front(lambda _request: Answer(403), name=name, tls=False) as other:
        tried = service.start(BASTION_VAULT_ADDR=other.url)
        harm(other.requests, "the service sent its secret_id in clear text to another machine")
        assert tried.reasons == [HERE]
    for address in ("", "vault:8200", f"https://user@{name}", f"https://{name}/v1", f"https://{name}?a", "file:///x"):
        assert service.start(BASTION_VAULT_ADDR=address).reasons == [HERE]


@protects(
    "secret-backend-genuine", name=edit("secrets/vault_client.py", "if not remote.NAME.match(name):", "if False:")
)
def test_no_name_leads_to_the_secrets_of_another_service(service: Service) -> None:
    secrets = opened(service)
    server(service).put("proofs/another", {NAME: VALUE})
    works(secrets.get(NAME).reveal() == VALUE, "the service reads its own secret")
    for name in (f"../another/{NAME}", f"%2e%2e/another/{NAME}", "lower", "", f"{NAME}?version=1"):
        harm(secrets.find(name), f"the service read a secret by the name {name}")


# --- as whom --------------------------------------------------------------------------------------------------------


@protects(
    "secret-backend-identity",
    variables=edit("secrets/vault.py", "if production and (found := [", "if False and (found := ["),
    open=edit("secrets/vault.py", 'if settings.auth == "approle" and file.stat().st_mode & stat.S_IRWXO:', "if False:"),
)
def test_no_stored_token_and_no_open_file_signs_this_service_in(service: Service, tmp_path: Path) -> None:
    works(service.start().app is not None, "a secret_id in the service's own file signs it in")
    for name in ("VAULT_TOKEN", "BAO_TOKEN", "VAULT_SKIP_VERIFY", "VAULT_ADDR", "VAULT_CLIENT_KEY"):
        service.environment.settings[name] = CANARY
        tried = service.start()
        del service.environment.settings[name]
        harm(tried.app is not None, f"the service started with {name} set")
        assert [reason.partition(":")[0] for reason in tried.reasons] == [name]
        assert CANARY not in tried.text
    file = tmp_path / "secret_id"
    file.write_text(Path(service.env["BASTION_VAULT_SECRET_ID_FILE"]).read_text("utf-8"), "utf-8")
    for mode in (0o400, 0o600, 0o440):
        file.chmod(mode)
        works(service.start(BASTION_VAULT_SECRET_ID_FILE=str(file)).app is not None, "a private file is accepted")
    for mode in (0o604, 0o602, 0o601):
        file.chmod(mode)
        tried = service.start(BASTION_VAULT_SECRET_ID_FILE=str(file))
        harm(tried.app is not None, "the service started with a secret_id file open to all users")
        assert [reason.partition(":")[0] for reason in tried.reasons] == ["BASTION_VAULT_SECRET_ID_FILE"]


@protects(
    "secret-backend-identity",
    again=edit(
        "secrets/vault_client.py", "            self._log_in()  # it was taken away", "            # it was taken away"
    ),
    late=edit("secrets/vault_client.py", "< self.ends_at - self.lasts / 3", "< self.ends_at"),
)
def test_ended_token_is_replaced_and_no_token_is_stored(service: Service) -> None:
    with fronted(service) as front:
        secrets = through(service, front)
        works(query(service, secrets) == (VALUE, ""), "the service signs in to Vault")
        first = front.requests[-1].headers["x-vault-token"]
        service.travel(minutes=30)
        works(query(service, secrets) == (VALUE, ""), "the service stays signed in")
        works(front.requests[-1].headers["x-vault-token"] == first, "the service keeps the same token")
        server(service).client().auth.token.revoke(first)
        service.travel(seconds=301)
        query(service, secrets)
        second = front.requests[-1].headers["x-vault-token"]
        harm(second == first, "the service kept using a revoked token")
        service.travel(hours=700)  # of 768, which is Vault's default
        asked = len(front.requests)
        query(service, secrets)
        paths = [sent.path for sent in front.requests[asked:]]
        harm("/v1/auth/token/renew-self" not in paths, "the service did not renew its token before it expired")
        assert front.requests[-1].headers["x-vault-token"] == second
        kept = [file for file in service.folder.rglob("*") if file.is_file()]
        assert [file for file in kept if {first.encode(), second.encode()} & {*file.read_bytes().split()}] == []


# --- database users that end ----------------------------------------------------------------------------------------


@protects("database-users-end", one=edit("secrets/vault_client.py", "if user is None or user.is_late():", "if True:"))
def test_one_database_user_serves_for_as_long_as_it_may_last(service: Service) -> None:
    with with_users(service) as (vault, secrets):
        found = secrets.found("DATABASE_PASSWORD")
        works((found.user, found.value.reveal()) == ("v-user-0", f"{VALUE} of v-user-0"), "a user is created")
        for _ in range(40):
            service.travel(seconds=301)
            found = secrets.found("DATABASE_PASSWORD")
        harm(vault.users[1:], "each query created another database user")
        assert vault.renewed == ["lease-v-user-0"] * 40
        assert found.ends_at - service.now().timestamp() > 3500


@protects(
    "database-users-end",
    token=edit("secrets/vault_client.py", ".until(asked_at, given), None", ".until(asked_at, given), self._user"),
)
def test_database_user_ends_with_the_vault_token_that_made_it(service: Service) -> None:
    with with_users(service) as (vault, secrets):
        vault.token_seconds, vault.lease_seconds = 600, 100_000
        found = secrets.found("DATABASE_PASSWORD")
        works(found.user == "v-user-0", "Vault creates a database user")
        assert found.ends_at - service.now().timestamp() <= 600  # which Vault ends together with the token
        vault.refused["auth/token/renew-self"] = 403
        service.travel(seconds=401)
        found = secrets.found("DATABASE_PASSWORD")
        harm(found.user == "v-user-0", "the service kept a database user that ends with its Vault token")
        assert found.user == "v-user-1"
