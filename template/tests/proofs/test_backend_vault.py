"""Proofs of secrets/vault.py: the service asks only a verified Vault, stores no token and reads only its own secrets.

They stop whoever stands on the way from choosing keys, and whoever gets in from taking more, or for longer, than one
service needs.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from .faulty_backend import CANARY, Answer, Front, Mode, Request
from .harness import edit, harm, protects, works
from .running import Service
from .service import DATABASE, PACKAGE

NAME, VALUE = "API_KEY", "the-value-of-the-secret"
SERVICE = PACKAGE.replace("_", "-")
POLICY = "/deploy/base/secrets/vault/policy.hcl"
READS = '  capabilities = ["read"]'


def server(service: Service) -> Any:
    """The real OpenBao of this run."""
    return service.environment.backend


@contextmanager
def fronted(service: Service, **options: Any) -> Iterator[Front]:
    """A front before it, with TLS unless `options` say otherwise; it keeps what the service sends."""
    address = urlsplit(server(service).address)
    with Front((address.hostname, address.port), **options) as front:
        yield front


def opened(service: Service, **settings: str) -> Any:
    """The backend as at a start, nothing kept, with these settings changed; NAME holds VALUE there."""
    variables = service.environment.variables()
    server(service).put(variables["BASTION_VAULT_PATH"], {NAME: VALUE})
    vault = service.module("secrets.vault")
    return vault.open_secrets(vault.Settings(**{**variables, **settings}))


@pytest.fixture(autouse=True)
def _in_a_hurry(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pauses between the attempts of a start."""
    monkeypatch.setattr(service.module("secrets.kept"), "PAUSES", (0.0, 0.0))


# --- who answers ----------------------------------------------------------------------------------------------------


@protects(
    "secret-backend-genuine",
    verify=edit(
        "secrets/vault_client.py",
        "session.verify = self._settings.ca or usual.cafile or usual.capath or True",
        "session.verify = False",
    ),
)
def test_whoever_stands_on_the_way_is_sent_nothing_and_not_believed(service: Service) -> None:
    warnings.filterwarnings("ignore", message="Unverified HTTPS request")  # of the library, when it is sabotaged
    with fronted(service) as front:
        service.environment.settings.update(BASTION_VAULT_ADDR=front.url, BASTION_VAULT_CA=front.ca)
        works(service.start().app is not None, "the service starts with secrets read from Vault over TLS")
        works(len(front.requests) >= 4, "the service sends its requests to the configured address")
        untrusted: tuple[Mode, ...] = ("other name", "other authority", "expired")
        for mode in untrusted:
            front.mode = mode
            front.requests.clear()
            tried = service.start()
            harm(front.requests, f"the service sent its credentials to a server with an untrusted certificate ({mode})")
            assert len(tried.reasons) == 1
            assert "did not prove who it is (TLS). Check that it runs" in tried.reasons[0]
        front.mode = "works"
        service.environment.settings["BASTION_VAULT_CA"] = ""
        assert "did not prove who it is (TLS)" in service.start().text  # the system does not know that authority


# --- as whom --------------------------------------------------------------------------------------------------------


def test_no_log_of_the_client_shows_a_value_or_what_opens_vault(service: Service) -> None:
    with fronted(service) as front:
        app = service.boot(BASTION_VAULT_ADDR=front.url, BASTION_VAULT_CA=front.ca, BASTION_LOG_LEVEL="DEBUG")
        with app.app_context():
            assert service.module("secrets").get("SECRET_KEY").reveal() == service.environment.secrets["SECRET_KEY"]
    tokens = {sent.headers["x-vault-token"] for sent in front.requests if "x-vault-token" in sent.headers}
    assert len(tokens) >= 1
    ids = {json.loads(sent.body)["secret_id"] for sent in front.requests if b"secret_id" in sent.body}
    assert len(ids) == 1
    assert [one for one in (*tokens, *ids, *service.environment.secrets.values()) if one in service.output] == []


# --- what it may do there -------------------------------------------------------------------------------------------


@protects(
    "secret-backend-identity",
    policy=edit(POLICY, f'path "secret/data/{SERVICE}/+" {{\n{READS}', 'path "secret/*" {\n  capabilities = ["read", "list", "update"]'),  # noqa: E501
)  # fmt: skip
def test_the_policy_lets_the_service_read_its_own_secrets_and_do_nothing_else(service: Service) -> None:
    import hvac

    text = (service.root / POLICY[1:]).read_text("utf-8")
    server(service).put(SERVICE, {**service.environment.secrets, "MIGRATION_PASSWORD": CANARY})
    server(service).put("another-service", {NAME: VALUE})
    variables = server(service).sign_in({SERVICE: text}, role=SERVICE, token_no_default_policy=True)
    works(service.start(**variables, BASTION_VAULT_PATH=SERVICE).app is not None, "the service starts with this policy")
    client = hvac.Client(url=server(service).address, token="")
    file = Path(variables["BASTION_VAULT_SECRET_ID_FILE"])
    client.auth.approle.login(variables["BASTION_VAULT_ROLE"], file.read_text("utf-8"))
    works(client.auth.token.renew_self()["auth"]["lease_duration"] > 0, "the service may renew its token")
    tries = [
        ("get", "secret/data/another-service/API_KEY"),
        ("get", f"secret/metadata/{SERVICE}/SECRET_KEY"),
        ("list", f"secret/metadata/{SERVICE}"),
        ("list", "secret/metadata"),
        ("post", f"secret/data/{SERVICE}/SECRET_KEY"),
        ("post", f"secret/delete/{SERVICE}/SECRET_KEY"),
        ("delete", f"secret/metadata/{SERVICE}/SECRET_KEY"),
        ("post", "auth/token/create"),
        ("get", f"sys/policies/acl/{SERVICE}"),
        ("get", "database/creds/another-service"),
        ("get", "cubbyhole/x"),
    ]
    if DATABASE != "sqlite":  # who serves requests never opens the database as its owner
        tries.append(("get", f"secret/data/{SERVICE}/MIGRATION_PASSWORD"))
    for method, path in tries:
        answer = client.session.request(
            method.upper(),
            f"{client.url}/v1/{path}",
            headers={"X-Vault-Token": client.token},
            json={"data": {"value": CANARY}} if method == "post" else None,
            timeout=5,
        )
        harm(answer.ok, f"the policy allowed {method} {path}")
        assert answer.status_code == 403, path


# --- database users that end ----------------------------------------------------------------------------------------


class FakeVault:
    """Answers as Vault does where a database engine makes users; time and refusals are what a proof says."""

    def __init__(self) -> None:
        self.users: list[str] = []
        self.tokens: list[str] = []
        self.renewed: list[str] = []
        self.token_seconds, self.lease_seconds = 100_000, 3600
        self.left: int | None = None
        """How long a renewed lease still lasts; None: its whole time again."""
        self.refused: dict[str, int] = {}
        """Path to the status that answers it."""

    def __call__(self, request: Request) -> Answer:
        path = request.path.removeprefix("/v1/")
        if path in self.refused:
            return Answer(self.refused[path], b'{"errors": ["no"]}')
        if path.startswith("auth/") and path.endswith("/login"):
            self.tokens.append(f"token-{len(self.tokens)}")
            return told_as({"auth": {"client_token": self.tokens[-1], "lease_duration": self.token_seconds}})
        if request.headers.get("x-vault-token") not in self.tokens:
            return Answer(403, b'{"errors": ["permission denied"]}')
        if path == "auth/token/renew-self":
            return told_as({"auth": {"client_token": self.tokens[-1], "lease_duration": self.token_seconds}})
        if path == "database/creds/role":
            self.users.append(f"v-user-{len(self.users)}")
            lease = {"lease_id": f"lease-{self.users[-1]}", "lease_duration": self.lease_seconds, "renewable": True}
            return told_as({**lease, "data": {"username": self.users[-1], "password": f"{VALUE} of {self.users[-1]}"}})
        if path == "sys/leases/renew":
            self.renewed.append(json.loads(request.body)["lease_id"])
            return told_as({"lease_duration": self.lease_seconds if self.left is None else self.left})
        return Answer(404, b'{"errors": []}')


def told_as(values: dict[str, Any]) -> Answer:
    return Answer(200, json.dumps(values).encode())


@contextmanager
def with_users(service: Service) -> Iterator[tuple[FakeVault, Any]]:
    """A Vault that makes database users, and the service's `Secrets` over it."""
    vault = FakeVault()
    with Front(vault, tls=False) as front:
        yield vault, opened(service, BASTION_VAULT_ADDR=front.url, BASTION_VAULT_DATABASE_ROLE="role")


@protects(
    "database-users-end", late=edit("secrets/vault_client.py", "< self.ends_at - self.lasts / 3", "< self.ends_at")
)
def test_a_database_user_that_may_last_no_longer_has_a_successor_long_before(service: Service) -> None:
    with with_users(service) as (vault, secrets):
        works(secrets.found("DATABASE_PASSWORD").user == "v-user-0", "Vault creates a database user")
        vault.left = 3600 - 2700
        service.travel(seconds=2700)
        found = secrets.found("DATABASE_PASSWORD")
        harm(found.user == "v-user-0", "the service still used a database user with a quarter of its lease left")
        assert found.user == "v-user-1"
