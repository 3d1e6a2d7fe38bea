"""Proofs of secrets/vault.py: the real Vault alone is asked, by a token that nobody stores, for what is this service's.

They stop whoever stands on the way from choosing keys, and whoever gets in from taking more, or for longer, than one
service needs.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from .faulty_backend import CANARY, ELSEWHERE, Answer, Front, Mode, Request
from .harness import at_once, edit, harm, protects, works
from .mail_server import resolves_here
from .running import Service
from .service import DATABASE, PACKAGE

NAME, VALUE = "API_KEY", "the-value-of-the-secret"
SERVICE = PACKAGE.replace("_", "-")
POLICY = "/deploy/base/secrets/vault/policy.hcl"
HERE = "BASTION_VAULT_ADDR: name an https origin, as in https://vault.internal:8200; http is for an agent on a loopback address."  # noqa: E501
LOCAL_POLICY = 'path "secret/data/*" { capabilities = ["read"] }'
READS = '  capabilities = ["read"]'


def server(service: Service) -> Any:
    """The real OpenBao of this run."""
    return service.environment.backend.server


@contextmanager
def fronted(service: Service, **options: Any) -> Iterator[Front]:
    """A front before it, with TLS unless `options` say otherwise; it keeps what the service sends."""
    address = urlsplit(server(service).address)
    with Front((address.hostname, address.port), **options) as front:
        yield front


def opened(service: Service, **settings: str) -> Any:
    """The backend as at a start, nothing kept, with these settings changed; NAME holds VALUE there."""
    variables = service.environment.variables()
    server(service).write(variables["BASTION_VAULT_PATH"], {NAME: VALUE})
    vault = service.module("secrets.vault")
    return vault.open_secrets(vault.Settings(**{**variables, **settings}))


def through(service: Service, front: Front) -> Any:
    """The same through this front."""
    return opened(service, BASTION_VAULT_ADDR=front.url, BASTION_VAULT_CA=front.ca)


def told(service: Service, secrets: Any, name: str = NAME) -> tuple[str, str]:
    """The value that would be used, and how the question failed: one of them is empty."""
    with ThreadPoolExecutor(1) as thread:  # where an exception is a result
        asked = thread.submit(secrets.get, name)
        error = asked.exception()
    if error is None:
        return asked.result().reveal(), ""
    assert isinstance(error, service.module("secrets").SecretUnavailable)
    assert [one for one in (VALUE, CANARY) if one in f"{error!r} {error.__context__!r} {error.__cause__!r}"] == []
    return "", error.fault


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
        works(service.start().app is not None, "it starts with what Vault says over TLS")
        works(len(front.requests) >= 4, "and asks nobody else")
        untrusted: tuple[Mode, ...] = ("other name", "other authority", "expired")
        for mode in untrusted:
            front.mode = mode
            front.requests.clear()
            tried = service.start()
            harm(front.requests, f"what the service signs in with was sent to a server with a certificate of {mode}")
            assert len(tried.reasons) == 1
            assert "did not prove who it is (TLS). Check that it runs" in tried.reasons[0]
        front.mode = "works"
        service.environment.settings["BASTION_VAULT_CA"] = ""
        assert "did not prove who it is (TLS)" in service.start().text  # the system does not know that authority


@protects(
    "secret-backend-genuine",
    redirect=edit("secrets/vault_client.py", "allow_redirects=False", "allow_redirects=True"),
    proxy=edit("secrets/vault_client.py", "session.trust_env = False", "session.trust_env = True"),
)
def test_no_redirect_and_no_proxy_gets_what_is_for_vault(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with fronted(service) as front, Front(lambda _request: Answer(503), tls=False) as other:
        works(told(service, through(service, front)) == (VALUE, ""), "Vault answers")
        front.mode, front.location = "redirect", f"{other.url}{ELSEWHERE}"
        found = told(service, through(service, front))
        harm([sent for sent in other.requests if b"secret_id" in sent.body], "another host was sent the secret_id")
        assert found == ("", "fails (status 307)")
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, other.url)
        found = told(service, opened(service))  # by http on this machine, as to an agent of Vault's
        harm(other.requests, "a proxy was sent the secret_id")
        assert found == (VALUE, "")


@protects(
    "secret-backend-genuine", plain=edit("secrets/vault.py", "if remote.origin(settings.address) is None:", "if False:")
)
def test_no_address_without_tls_is_asked(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "vault.attacker.example"
    resolves_here(monkeypatch, name)
    works(service.start().app is not None, "an agent on a loopback address is asked over http")
    with Front(lambda _request: Answer(403), name=name, tls=False) as other:
        tried = service.start(BASTION_VAULT_ADDR=other.url)
        harm(other.requests, "another machine was sent the secret_id in the clear")
        assert tried.reasons == [HERE]
    for address in ("", "vault:8200", f"https://user@{name}", f"https://{name}/v1", f"https://{name}?a", "file:///x"):
        assert service.start(BASTION_VAULT_ADDR=address).reasons == [HERE]


@protects(
    "secret-backend-genuine", name=edit("secrets/vault_client.py", "if not remote.NAME.match(name):", "if False:")
)
def test_no_name_leads_to_the_secrets_of_another_service(service: Service) -> None:
    secrets = opened(service)
    server(service).write("proofs/another", {NAME: VALUE})
    works(secrets.get(NAME).reveal() == VALUE, "a secret of this service is read")
    for name in (f"../another/{NAME}", f"%2e%2e/another/{NAME}", "lower", "", f"{NAME}?version=1"):
        harm(secrets.find(name), f"{name} was read")


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
        assert told(service, vault.open_secrets(settings)) == ("", "has no text in the field `value` of it")


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
        found = told(service, secrets)
        hurried.undo()
        assert found[0] == ""
        assert found[1] == fault if fault else found[1] in ("does not answer", "did not prove who it is (TLS)")
        assert front.connections == 3
        front.mode = "works"
        service.travel(seconds=11)
        assert told(service, secrets) == (VALUE, "")


# --- as whom --------------------------------------------------------------------------------------------------------


@protects(
    "secret-backend-identity",
    variables=edit("secrets/vault.py", "if production and (found := [", "if False and (found := ["),
    open=edit("secrets/vault.py", 'if settings.auth == "approle" and file.stat().st_mode & stat.S_IRWXO:', "if False:"),
)
def test_no_stored_token_and_no_open_file_signs_this_service_in(service: Service, tmp_path: Path) -> None:
    works(service.start().app is not None, "a secret_id in a file of the service's own signs it in")
    for name in ("VAULT_TOKEN", "BAO_TOKEN", "VAULT_SKIP_VERIFY", "VAULT_ADDR", "VAULT_CLIENT_KEY"):
        service.environment.settings[name] = CANARY
        tried = service.start()
        del service.environment.settings[name]
        harm(tried.app is not None, f"it started beside {name}")
        assert [reason.partition(":")[0] for reason in tried.reasons] == [name]
        assert CANARY not in tried.text
    file = tmp_path / "secret_id"
    file.write_text(Path(service.env["BASTION_VAULT_SECRET_ID_FILE"]).read_text("utf-8"), "utf-8")
    for mode in (0o400, 0o600, 0o440):
        file.chmod(mode)
        works(service.start(BASTION_VAULT_SECRET_ID_FILE=str(file)).app is not None, "another file is fine")
    for mode in (0o604, 0o602, 0o601):
        file.chmod(mode)
        tried = service.start(BASTION_VAULT_SECRET_ID_FILE=str(file))
        harm(tried.app is not None, "everybody on this machine can sign in as this service")
        assert [reason.partition(":")[0] for reason in tried.reasons] == ["BASTION_VAULT_SECRET_ID_FILE"]


@protects(
    "secret-backend-identity",
    again=edit(
        "secrets/vault_client.py", "            self._log_in()  # it was taken away", "            # it was taken away"
    ),
    late=edit("secrets/vault_client.py", "< self.ends_at - self.lasts / 3", "< self.ends_at"),
)
def test_a_token_that_ends_or_is_taken_away_is_replaced_and_none_is_kept_in_a_file(service: Service) -> None:
    with fronted(service) as front:
        secrets = through(service, front)
        works(told(service, secrets) == (VALUE, ""), "the service is signed in")
        first = front.requests[-1].headers["x-vault-token"]
        service.travel(minutes=30)
        works(told(service, secrets) == (VALUE, ""), "and stays so")
        works(front.requests[-1].headers["x-vault-token"] == first, "with the same token")
        server(service).client().auth.token.revoke(first)
        service.travel(seconds=301)
        told(service, secrets)
        second = front.requests[-1].headers["x-vault-token"]
        harm(second == first, "a token that Vault refuses is used until it would have ended")
        service.travel(hours=700)  # of 768, which is Vault's default
        asked = len(front.requests)
        told(service, secrets)
        paths = [sent.path for sent in front.requests[asked:]]
        harm("/v1/auth/token/renew-self" not in paths, "a token is used to its end, and the next question fails")
        assert front.requests[-1].headers["x-vault-token"] == second
        kept = [file for file in service.folder.rglob("*") if file.is_file()]
        assert [file for file in kept if {first.encode(), second.encode()} & {*file.read_bytes().split()}] == []


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
    server(service).write(SERVICE, {**service.environment.secrets, "MIGRATION_PASSWORD": CANARY})
    server(service).write("another-service", {NAME: VALUE})
    variables = server(service).sign_in({SERVICE: text}, role=SERVICE, token_no_default_policy=True)
    works(service.start(**variables, BASTION_VAULT_PATH=SERVICE).app is not None, "it starts with these rights alone")
    client = hvac.Client(url=server(service).address, token="")
    file = Path(variables["BASTION_VAULT_SECRET_ID_FILE"])
    client.auth.approle.login(variables["BASTION_VAULT_ROLE"], file.read_text("utf-8"))
    works(client.auth.token.renew_self()["auth"]["lease_duration"] > 0, "it may keep its token for longer")
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
        harm(answer.ok, f"{method} {path} was allowed")
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


@protects("database-users-end", one=edit("secrets/vault_client.py", "if user is None or user.is_late():", "if True:"))
def test_one_database_user_serves_for_as_long_as_it_may_last(service: Service) -> None:
    with with_users(service) as (vault, secrets):
        found = secrets.found("DATABASE_PASSWORD")
        works((found.user, found.value.reveal()) == ("v-user-0", f"{VALUE} of v-user-0"), "Vault made a user")
        for _ in range(40):
            service.travel(seconds=301)
            found = secrets.found("DATABASE_PASSWORD")
        harm(vault.users[1:], "each question makes another user, which lives on for an hour")
        assert vault.renewed == ["lease-v-user-0"] * 40
        assert found.ends_at - service.now().timestamp() > 3500


@protects(
    "database-users-end", late=edit("secrets/vault_client.py", "< self.ends_at - self.lasts / 3", "< self.ends_at")
)
def test_a_database_user_that_may_last_no_longer_has_a_successor_long_before(service: Service) -> None:
    with with_users(service) as (vault, secrets):
        works(secrets.found("DATABASE_PASSWORD").user == "v-user-0", "Vault made a user")
        vault.left = 3600 - 2700
        service.travel(seconds=2700)
        found = secrets.found("DATABASE_PASSWORD")
        harm(found.user == "v-user-0", "the user is used until connections fail")
        assert found.user == "v-user-1"


@protects(
    "database-users-end",
    token=edit("secrets/vault_client.py", ".until(asked_at, given), None", ".until(asked_at, given), self._user"),
)
def test_a_database_user_is_not_used_beyond_the_token_that_made_it(service: Service) -> None:
    with with_users(service) as (vault, secrets):
        vault.token_seconds, vault.lease_seconds = 600, 100_000
        found = secrets.found("DATABASE_PASSWORD")
        works(found.user == "v-user-0", "Vault made a user")
        assert found.ends_at - service.now().timestamp() <= 600  # which Vault ends together with the token
        vault.refused["auth/token/renew-self"] = 403
        service.travel(seconds=401)
        found = secrets.found("DATABASE_PASSWORD")
        harm(found.user == "v-user-0", "Vault ended this user together with the token")
        assert found.user == "v-user-1"


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
        variables = server(service).sign_in({"proofs": LOCAL_POLICY, name: policy}, role=name)
        for variable, value in {**variables, "BASTION_VAULT_DATABASE_ROLE": name}.items():
            service.setting(variable, value)
        return name
