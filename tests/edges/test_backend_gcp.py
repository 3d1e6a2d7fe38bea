"""Edges of the proofs in test_backend_gcp.py: further attacks on the same protections."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..faulty_backend import CANARY, Answer, Front, Request
from ..harness import edit, harm, protects, works
from ..mail_server import resolves_here
from ..running import Service
from ..test_backend_gcp import in_a_hurry

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


VALUE, FORMER = "the-value-of-the-secret", "the-former-value-of-it"
TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"
CHECKSUM = "2404249746"  # of VALUE
TOKEN = "token-of-the-workload"
GRANT = "/deploy/base/secrets/gcp/grant.sh"
ATTACKER = "secretmanager.googleapis.com.attacker.example"
OF_GOOGLE = '    if api is None or not (remote.is_loopback(api.hostname or "") or (api.hostname or "").endswith(".googleapis.com")):\n'  # noqa: E501
OF_THE_MACHINE = (
    '    if settings.metadata != METADATA and (metadata is None or not remote.is_loopback(metadata.hostname or "")):\n'
)


@dataclass
class Google:
    """A stand-in for Google and its metadata service, with one secret and the faults in `changed`."""

    changed: dict[str, Any] = field(default_factory=dict)
    """Fields that replace those of a genuine answer."""
    tokens: list[str] = field(default_factory=lambda: [TOKEN])
    """The valid tokens; the metadata service issues the newest."""
    lasts: Any = 3599

    def __call__(self, request: Request) -> Answer:
        if request.path == TOKEN_PATH:
            answer = {"access_token": self.tokens[-1], "expires_in": self.lasts, "token_type": "Bearer"}
            return Answer(200, json.dumps(answer).encode())
        if request.headers.get("authorization") not in [f"Bearer {token}" for token in self.tokens]:
            return Answer(401, b'{"error": {"status": "UNAUTHENTICATED"}}')
        secret = request.path.split("/")[5]
        payload = {"data": b64encode(VALUE.encode()).decode(), "dataCrc32c": CHECKSUM}
        answer = {"name": f"projects/100000000001/secrets/{secret}/versions/7", "payload": payload, **self.changed}
        return Answer(200, json.dumps(answer).encode())


@contextmanager
def googles(service: Service) -> Iterator[tuple[Front, Google, Any]]:
    """Yield a front without TLS, its stand-in for Google, and the service's `Secrets` that query it."""
    google = Google()
    with Front(google, tls=False) as front:
        yield front, google, asks(service, front)


def asks(service: Service, api: Front, metadata: Front | None = None) -> Any:
    """Return the service's `Secrets` that query this front and get tokens from it or from another one."""
    return opened(service, BASTION_GCP_ENDPOINT=api.url, BASTION_GCP_METADATA=(metadata or api).url)


def opened(service: Service, **settings: str) -> Any:
    """Return a new backend with these settings; its cache is empty."""
    gcp = service.module("secrets.gcp")
    return gcp.open_secrets(
        gcp.Settings(**{"BASTION_GCP_PROJECT": "a-project", "BASTION_GCP_PREFIX": gcp.OURS, **settings})
    )


def query(service: Service, secrets: Any) -> tuple[str, str]:
    """Return the value and the fault of one query; one of them is empty."""
    with ThreadPoolExecutor(1) as thread:  # where an exception is a result
        asked = thread.submit(secrets.get, "API_KEY")
        error = asked.exception()
    if error is None:
        return asked.result().reveal(), ""
    assert isinstance(error, service.module("secrets").SecretUnavailable)
    text = f"{error!r} {error.__context__!r} {error.__cause__!r}"
    assert [one for one in (VALUE, TOKEN, CANARY) if one in text] == []
    return "", error.fault


# --- who answers ---------------------------------------------------------------------------------------------------


@protects("secret-backend-genuine", elsewhere=edit("secrets/gcp.py", OF_GOOGLE, "    if api is None and False:\n"))
def test_the_workloads_token_goes_to_google_alone(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    resolves_here(monkeypatch, ATTACKER, "secretmanager.googleapis.com")
    works(service.start().app is not None, "a stand-in on this machine is accepted")
    upstream = ("127.0.0.1", service.environment.backend.port)
    with Front(upstream, name=ATTACKER) as attacker, Front(upstream, name=ATTACKER, tls=False) as clear:
        named = (
            *(attacker.url, clear.url, f"http://secretmanager.googleapis.com:{clear.port}"),
            *(
                f"https://x@secretmanager.googleapis.com:{attacker.port}",
                "https://[::1",
                "secretmanager.googleapis.com",
            ),
            *(f"https://{ATTACKER}:{attacker.port}\\.googleapis.com", "https://secretmanager.googleapis.com/v1", ""),
        )
        for url in named:
            tried = service.start(BASTION_GCP_ENDPOINT=url, BASTION_GCP_CA=attacker.ca)
            harm([*attacker.requests, *clear.requests], f"the service sent its token to {url}")
            assert tried.reasons == [
                "BASTION_GCP_ENDPOINT: name an https origin below googleapis.com, or leave it out."
            ]
    check, settings = service.module("secrets.gcp").check, service.module("secrets.gcp").Settings
    for url in ("https://secretmanager.googleapis.com", "https://secretmanager-ours.p.googleapis.com"):
        assert [
            *check(
                settings(BASTION_GCP_PROJECT="ours-1", BASTION_GCP_ENDPOINT=url), production=True, database_users=False
            )
        ] == []


@protects(
    "secret-backend-genuine", metadata=edit("secrets/gcp.py", OF_THE_MACHINE, "    if metadata is None and False:\n")
)
def test_no_other_machine_says_who_this_workload_is(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    resolves_here(monkeypatch, "metadata.attacker.example")
    works(service.start().app is not None, "the machine's own metadata service signs the service in")
    with Front(Google(), name="metadata.attacker.example", tls=False) as attacker:
        for url in (attacker.url, "https://metadata.google.internal", f"{attacker.url}/x", "//127.0.0.1", ""):
            tried = service.start(BASTION_GCP_METADATA=url)
            harm(attacker.requests, "the service asked another machine for its identity token")
            assert tried.reasons == [
                "BASTION_GCP_METADATA: leave it out; only a stand-in on this machine may have another address."
            ]


# --- the answer ----------------------------------------------------------------------------------------------------


@protects(
    "secret-backend-genuine",
    about=edit("secrets/gcp.py", "if version is None:", "version = version or ['', '']\n    if False:"),
)
def test_an_answer_about_another_secret_is_not_taken(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    with googles(service) as (front, google, secrets):
        works(secrets.get("API_KEY").reveal() == VALUE, "the service reads the requested secret")
        works(secrets.found("API_KEY").version == "7", "the service reads its version")
        ours = service.module("secrets.gcp").OURS
        for name in (f"{ours}OTHER_KEY", f"{ours}API_KEY_2", f"x-{ours}API_KEY", ""):
            google.changed = {"name": f"projects/100000000001/secrets/{name}/versions/7"}
            value, fault = query(service, asks(service, front))
            harm(value, f"the service accepted the value of {name!r} for another secret")
            assert fault == "answered about another secret"


@protects("secret-backend-genuine", damaged=edit("secrets/gcp.py", 'if _text(payload, "dataCrc32c") !=', "if None is"))
def test_a_value_that_was_damaged_is_not_taken(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    assert service.module("secrets.gcp").crc32c(b"123456789") == 0xE3069283  # RFC 3720's polynomial, its check value
    with googles(service) as (front, google, secrets):
        works(secrets.get("API_KEY").reveal() == VALUE, "the service reads a value with its checksum")
        cut = b64encode(VALUE[:-1].encode()).decode()
        for payload in ({"data": cut, "dataCrc32c": CHECKSUM}, {"data": cut}, {"data": cut, "dataCrc32c": 1}):
            google.changed = {"payload": payload}
            value, fault = query(service, asks(service, front))
            harm(value, "the service used a damaged value")
            assert fault == "gave a value that was damaged on the way"


@protects("secret-backend-genuine", latest=edit("secrets/gcp.py", "/versions/latest:access", "/versions/1:access"))
def test_a_version_that_was_disabled_or_replaced_is_not_used(service: Service) -> None:
    backend = service.environment.backend
    names = backend.write(service.folder, {"API_KEY": FORMER, "DISABLED": FORMER})
    works(opened(service, **names).get("API_KEY").reveal() == FORMER, "the service reads the only version")
    backend.change(names, {"API_KEY": VALUE})
    backend.change(names, {"DISABLED": VALUE}, state="DISABLED")
    found = opened(service, **names).found("API_KEY")
    harm(found.value.reveal() == FORMER, "the service used a replaced version")
    assert (found.value.reveal(), found.version) == (VALUE, "2")
    for name in ("DISABLED", "NEVER_MADE"):
        assert opened(service, **names).find(name) is None  # the version before is no substitute


@protects(
    "secret-backend-genuine",
    name=(
        edit("secrets/gcp.py", "        if not remote.NAME.match(name):\n            return None\n", ""),
        edit("secrets/gcp.py", "if version is None:", "version = version or ['', '']\n    if False:"),
    ),
)
def test_a_name_leads_to_no_other_version_or_project(service: Service) -> None:
    names = service.environment.backend.write(service.folder, {"API_KEY": FORMER})
    service.environment.backend.change(names, {"API_KEY": VALUE, "api": VALUE})
    secrets = opened(service, **names)
    works(secrets.get("API_KEY").reveal() == VALUE, "the service reads a secret by its name")
    elsewhere = f"../{names['BASTION_GCP_PREFIX']}API_KEY"
    for name in ("API_KEY/versions/1:access?", "api", elsewhere, "API_KEY\r\nX: y", f"A{'B' * 64}", ""):
        found = secrets.find(name)
        harm(found is not None, f"the service accepted {name!r} as a secret name")


# --- what the service may read -------------------------------------------------------------------------------------


@protects(
    "secret-backend-identity",
    least=edit(GRANT, 'secrets add-iam-policy-binding "$prefix$name"', 'projects add-iam-policy-binding "$project"'),
    role=edit(GRANT, "roles/secretmanager.secretAccessor", "roles/secretmanager.admin"),
)
def test_what_is_granted_is_to_read_each_secret_and_nothing_else(service: Service, tmp_path: Path) -> None:
    called = tmp_path / "called"
    program = tmp_path / "gcloud"
    program.write_text(f'#!/bin/sh\necho "$*" >> {called}\ncase "$*" in "secrets describe"*) exit 1 ;; esac\n', "utf-8")
    program.chmod(0o700)
    script = service.root / GRANT[1:]
    bash, path = shutil.which("bash") or "bash", f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run([bash, script, "ours", "serviceAccount:us"], env={"PATH": path}, check=True)
    secrets = service.module("secrets")
    prefix = service.module("secrets.gcp").OURS
    read = [f"{prefix}{name}" for name in (*service.environment.secrets, *secrets.OPTIONAL)]
    made = [line.split() for line in called.read_text("utf-8").splitlines()]
    created = [line[2] for line in made if line[:2] == ["secrets", "create"]]
    works(sorted(created) == sorted(read), "the script creates each required and each optional secret")
    granted = [line for line in made if "add-iam-policy-binding" in line]
    works(len(granted) == len(read), "the script grants access to each secret")
    wanted = ["--project=ours", "--member=serviceAccount:us", "--role=roles/secretmanager.secretAccessor"]
    more = [line for line in granted if line[:2] != ["secrets", "add-iam-policy-binding"] or line[3:6] != wanted]
    harm(more, f"the script grants more than reading the service's secrets: {more}")
    assert sorted(line[2] for line in granted) == sorted(read)
    called.unlink()
    subprocess.run([bash, script, "ours", "serviceAccount:us", "PAYMENT_TOKEN"], env={"PATH": path}, check=True)
    named = [line.split()[2] for line in called.read_text("utf-8").splitlines()]
    assert named == [f"{prefix}PAYMENT_TOKEN"] * 3
