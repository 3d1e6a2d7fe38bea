"""Unit tests beside the proofs in test_backend_vault.py."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ..backend_vault import POLICY
from ..edges.test_backend_vault import query, through
from ..faulty_backend import Front, Mode
from ..harness import at_once
from ..running import Service
from ..service import DATABASE
from ..test_backend_vault import (
    NAME,
    SERVICE,
    VALUE,
    FakeVault,
    _in_a_hurry,  # noqa: F401 - autouse
    fronted,
    opened,
    server,
    with_users,
)

# --- who answers ----------------------------------------------------------------------------------------------------


def test_the_newest_version_counts_and_a_deleted_one_is_no_secret(service: Service) -> None:
    path = service.environment.settings["BASTION_VAULT_PATH"] = "proofs/versions"
    kv = server(service).client().secrets.kv.v2
    for number in (1, 2):
        kv.create_or_update_secret(f"{path}/{NAME}", {"value": f"{VALUE} {number}"}, mount_point="secret")
    found = opened(service).found(NAME)
    assert (found.value.reveal(), found.version) == (VALUE, "3")  # opened() wrote the third
    assert abs(found.changed_at - time.time()) < 60
    kv.delete_latest_version_of_secret(f"{path}/{NAME}", mount_point="secret")
    vault = service.module("secrets.vault")
    settings = vault.Settings(**service.environment.variables())
    assert vault.open_secrets(settings).find(NAME) is None
    for wrong in ({"password": VALUE}, {"value": 7}, {"value": None}):
        kv.create_or_update_secret(f"{path}/{NAME}", wrong, mount_point="secret")
        assert query(service, vault.open_secrets(settings)) == ("", "has no text in the field `value` of it")


@pytest.mark.parametrize(
    ("mode", "fault"),
    [
        ("down", None),
        ("slow", "does not answer"),
        ("403", "refuses this service (forbidden)"),
        ("500", "fails (status 500)"),
        ("malformed", "gave no answer of its kind"),
    ],
)
def test_a_fault_is_told_by_its_kind_alone(
    service: Service, monkeypatch: pytest.MonkeyPatch, mode: Mode, fault: str | None
) -> None:
    remote = service.module("secrets.remote")
    assert (remote.CONNECT_SECONDS, remote.READ_SECONDS) == (2.0, 3.0)
    with fronted(service) as front, monkeypatch.context() as hurried:
        secrets = through(service, front)
        front.mode = mode
        if mode == "slow":  # whoever answers has his time: a busy machine needs it
            hurried.setattr(remote, "READ_SECONDS", 0.2)
        found = query(service, secrets)
        hurried.undo()
        assert found[0] == ""
        assert found[1] == fault if fault else found[1] in ("does not answer", "did not prove who it is (TLS)")
        assert front.connections == 3
        front.mode = "works"
        service.travel(seconds=11)
        assert query(service, secrets) == (VALUE, "")


# --- as whom --------------------------------------------------------------------------------------------------------


def test_a_pod_signs_in_with_the_token_that_kubernetes_projects(service: Service, tmp_path: Path) -> None:
    file, vault = tmp_path / "token", FakeVault()
    file.write_text("projected-1\n", "utf-8")
    with Front(vault, tls=False) as front:
        secrets = opened(
            service,
            BASTION_VAULT_ADDR=front.url,
            BASTION_VAULT_AUTH="kubernetes",
            BASTION_VAULT_AUTH_MOUNT="k8s",
            BASTION_VAULT_ROLE=SERVICE,
            BASTION_VAULT_SERVICE_ACCOUNT_FILE=str(file),
            BASTION_VAULT_NAMESPACE="team",
        )
        assert secrets.find(NAME) is None
        file.write_text("projected-2\n", "utf-8")  # as the kubelet does before it ends
        vault.tokens.clear()
        service.travel(hours=2)
        assert secrets.find(NAME) is None
    logins = [sent for sent in front.requests if sent.path == "/v1/auth/k8s/login"]
    assert [json.loads(sent.body) for sent in logins] == [
        {"role": SERVICE, "jwt": f"projected-{number}"} for number in (1, 2)
    ]
    assert {sent.headers["x-vault-namespace"] for sent in front.requests} == {"team"}


def test_settings_that_lead_nowhere_stop_the_start_with_their_names(service: Service, tmp_path: Path) -> None:
    for name, value in (
        ("BASTION_VAULT_ROLE", ""),
        ("BASTION_VAULT_MOUNT", "/secret"),
        ("BASTION_VAULT_PATH", "team/../other"),
        ("BASTION_VAULT_CA", str(tmp_path)),
        ("BASTION_VAULT_SECRET_ID_FILE", str(tmp_path / "none")),
        ("BASTION_VAULT_AUTH", "kubernetes"),
        *([("BASTION_VAULT_DATABASE_ROLE", SERVICE)] if DATABASE == "sqlite" else []),
    ):
        tried = service.start(**{name: value})
        expected = "BASTION_VAULT_SERVICE_ACCOUNT_FILE" if value == "kubernetes" else name
        assert [reason.partition(":")[0] for reason in tried.reasons] == [expected], name


# --- database users that end ----------------------------------------------------------------------------------------


def test_a_lease_that_somebody_revoked_is_noticed_and_one_that_may_not_be_renewed_is_kept(service: Service) -> None:
    with with_users(service) as (vault, secrets):
        assert secrets.found("DATABASE_PASSWORD").user == "v-user-0"
        vault.refused["sys/leases/renew"] = 403
        service.travel(seconds=301)
        assert secrets.found("DATABASE_PASSWORD").user == "v-user-0"
        vault.refused["sys/leases/renew"] = 400
        service.travel(seconds=11)
        assert secrets.refresh("DATABASE_PASSWORD")
        assert secrets.found("DATABASE_PASSWORD").user == "v-user-1"


if DATABASE == "postgresql":

    def test_requests_go_on_over_the_ends_of_three_leases(service: Service) -> None:
        """A real OpenBao makes users of the real PostgreSQL that end, and are dropped, after six seconds each."""
        service.adds_route("/probe")
        role = makes_users(service, seconds=6)
        browsers = [service.client(service.user()).login() for _ in range(4)]
        kept = service.module("state").state_of(service.app).secrets
        users: set[str] = set()
        began = time.monotonic()

        def present() -> int:
            """How many users of Vault's the database has now."""
            name = f"v-%-{role[:8]}%"
            return len(service.rows("SELECT rolname FROM pg_roles WHERE rolname LIKE :name", name=name))

        def ask(browser: Any) -> list[int]:
            seen = list[int]()
            # Until three have ended; a session has 120 requests a minute.
            while len(seen) < 90 and (time.monotonic() < began + 15 or len(users) < 4):
                seen.append(browser.get("/probe").status)
                users.add(kept.found("DATABASE_PASSWORD").user)
                time.sleep(0.2)
            return seen

        assert present() >= 1
        statuses = [status for seen in at_once([partial(ask, browser) for browser in browsers]) for status in seen]
        assert len(statuses) > 100
        assert {*statuses} == {200}
        assert len(users) >= 4
        ends = time.monotonic() + 30
        while present() > 2:  # OpenBao drops the others when it comes to it
            assert time.monotonic() < ends
            time.sleep(0.1)

    # As deploy/base/secrets/vault says it.
    CREATE_USER = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE"

    def makes_users(service: Service, *, seconds: int) -> str:
        """The name of a role of OpenBao's database engine that makes users with the rights of the service's own."""
        import secrets

        store: Any = service.baseline.store
        client, name = server(service).client(), f"r{secrets.token_hex(6)}"
        if "database/" not in client.sys.list_mounted_secrets_engines()["data"]:
            client.sys.enable_secrets_engine("database")
        admin = store.admin
        where = f":{admin.port or 5432}/postgres?host={admin.query.get('host') or admin.host}"
        client.secrets.database.configure(
            name,
            "postgresql-database-plugin",
            allowed_roles=[name],
            connection_url="postgresql://{{username}}:{{password}}@" + where,
            username=admin.username,
            password=admin.password,
        )
        client.secrets.database.create_role(
            name,
            name,
            [f"{CREATE_USER} {store.role}"],
            default_ttl=f"{seconds}s",
            max_ttl=f"{seconds}s",
            revocation_statements=['DROP ROLE IF EXISTS "{{name}}"'],
        )
        policy = f'path "database/creds/{name}" {{ capabilities = ["read"] }}'
        variables = server(service).sign_in({"proofs": POLICY, name: policy}, role=name)
        for variable, value in {**variables, "BASTION_VAULT_DATABASE_ROLE": name}.items():
            service.setting(variable, value)
        return name
