"""Unit tests beside the proofs in test_backend_aws.py."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..backend_aws import ask
from ..edges.test_backend_aws import CONTAINER, MANAGER, SERVICE, Aws, Machine, answering, opened, query
from ..faulty_backend import CANARY, Answer, Front, Mode, Request
from ..mail_server import resolves_here
from ..running import Service
from ..test_backend_aws import VALUE, in_a_hurry

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


# --- who answers ---------------------------------------------------------------------------------------------------


def test_what_somebody_believes_in_and_nobody_reads_stops_the_start(service: Service) -> None:
    assert service.start().app is not None
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        [reason] = service.start(**{name: CANARY}).reasons
        assert reason.startswith(f"{name} is not read: this service signs in with the role that the platform gives it")
        assert CANARY not in reason
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER"):
        assert service.start(**{name: f"https://{CANARY}"}).reasons == [
            f"{name} is not read. Remove it; another endpoint is BASTION_AWS_ENDPOINT."
        ]
    for name, wrong in {
        "BASTION_AWS_PREFIX": ("", "/a", "a/", "a//b", "a b", "arn:aws:x", "a\n", "x" * 100, "a/" * 4 + "a"),
        "BASTION_AWS_REGION": ("", "eu central", "eu-central-1.attacker.example", "eu-central-1\n"),
    }.items():
        for text in wrong:
            [reason] = service.start(**{name: text}).reasons
            assert reason.startswith(f"{name} is no ")


# --- what is answered ----------------------------------------------------------------------------------------------


def test_a_login_that_the_manager_itself_rotates_is_its_password_and_its_user(service: Service) -> None:
    names = service.env
    login = {"engine": "postgres", "host": "db.example", "username": "service_clone", "password": VALUE}
    kept = {
        "DATABASE_PASSWORD": json.dumps(login),
        "OTHER_PASSWORD": json.dumps({"password": VALUE}),  # nobody's
        "NUMBER_PASSWORD": "12345",
        "JWT_KEYS": json.dumps(login),
    }
    service.environment.backend.change(names, kept)
    secrets = opened(service, BASTION_AWS_PREFIX=names["BASTION_AWS_PREFIX"])
    found = secrets.found("DATABASE_PASSWORD")
    assert (found.value.reveal(), found.user) == (VALUE, "service_clone")
    for name in (name for name in kept if name != "DATABASE_PASSWORD"):
        found = secrets.found(name)
        assert (found.value.reveal(), found.user) == (kept[name], None)


def test_nothing_that_fails_is_told_with_a_value_or_asked_twice(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_hurry(service, monkeypatch)
    faults: dict[Mode, str] = {
        "down": "does not answer",
        "slow": "does not answer",
        "403": "fails (status 403)",
        "500": "fails (status 500)",
        "malformed": "answered about another secret",
        "redirect": "fails (status 307)",
    }
    with answering(service) as (front, _secrets):
        for mode, fault in faults.items():
            front.mode, front.connections = mode, 0
            front.requests.clear()
            with monkeypatch.context() as hurried:
                if mode == "slow":  # whoever answers has his time: a busy machine needs it
                    hurried.setattr(service.module("secrets.aws"), "_ASKING", quick(service))
                assert query(service, opened(service, BASTION_AWS_ENDPOINT=front.url)) == ("", fault)
            assert (front.connections, len(front.requests)) == (1, mode != "down")


def quick(service: Service) -> Any:
    """The client's configuration with a shorter time to wait for an answer; nothing else differs."""
    from botocore.config import Config

    return service.module("secrets.aws")._ASKING.merge(Config(read_timeout=1.0))


def test_what_aws_refuses_is_told_by_its_kind(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    for code, fault in {
        "AccessDeniedException": "refuses this service (forbidden)",
        "DecryptionFailure": "can't decrypt it: may the role of this service use its key of KMS?",
        "ThrottlingException": "refuses more questions (quota)",
        "InternalServiceError": "fails (status 400)",
    }.items():
        body = json.dumps({"__type": code, "Message": CANARY}).encode()
        with Front(lambda _request, body=body: Answer(400, body), tls=False) as front:  # type: ignore[misc]
            assert query(service, opened(service, BASTION_AWS_ENDPOINT=front.url)) == ("", fault)
    with Front(lambda _request: Answer(200, b"[]"), tls=False) as front:
        assert query(service, opened(service, BASTION_AWS_ENDPOINT=front.url))[0] == ""
    for changed in ({"SecretString": None}, {"SecretString": 7}, {"SecretBinary": "AAAA", "SecretString": None}):
        with answering(service, Aws(changed)) as (_front, secrets):
            assert query(service, secrets) == ("", "gave something that is no text")
    dates: list[Any] = ["yesterday", None, [], 1e30]
    for created in dates:
        with answering(service, Aws({"CreatedDate": created})) as (_front, secrets):
            value, fault = query(service, secrets)
            assert (value == "") == fault.startswith("gave no answer of its kind")
    with answering(service, Aws({"SecretString": f"{VALUE}\n"})) as (_front, secrets):
        assert query(service, secrets) == (VALUE, "")


# --- who asks ------------------------------------------------------------------------------------------------------


def test_without_a_role_it_says_so(service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_a_hurry(service, monkeypatch)
    monkeypatch.delenv(CONTAINER)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with answering(service) as (front, secrets):
        assert query(service, secrets) == ("", "can't be asked: the platform gives this service no role")
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/ours")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "gone"))
        value, fault = query(service, opened(service, BASTION_AWS_ENDPOINT=front.url))
        assert (value, fault[:14]) == ("", "gave no answer")
        assert front.requests == []


def test_a_platform_that_gives_no_credentials_is_asked_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    fault = "can't be asked: the platform gave no credentials of the role"
    with answering(service) as (front, secrets), Front(Machine(), tls=False) as platform:
        monkeypatch.setenv(CONTAINER, f"{platform.url}/latest/meta-data/iam/security-credentials/the-role")
        platform.mode = "down"
        assert query(service, secrets) == ("", fault)
        assert (platform.connections, front.requests) == (1, [])


# --- what this role may do -----------------------------------------------------------------------------------------


def test_who_may_take_the_role_is_one_task_or_one_service_account(service: Service) -> None:
    folder = service.root / "deploy" / "base" / "secrets" / "aws"
    [ecs] = json.loads((folder / "trust-ecs.json").read_text("utf-8"))["Statement"]
    assert ecs["Condition"]["StringEquals"] == {"aws:SourceAccount": "ACCOUNT"}
    [eks] = json.loads((folder / "trust-eks.json").read_text("utf-8"))["Statement"]
    assert sorted(eks["Condition"]) == ["StringEquals"]  # no pattern
    assert {key.rpartition(":")[2]: text for key, text in eks["Condition"]["StringEquals"].items()} == {
        "aud": "sts.amazonaws.com",
        "sub": f"system:serviceaccount:NAMESPACE:{SERVICE}",
    }


def test_the_stand_in_answers_nobody_who_does_not_know_its_key(service: Service) -> None:
    names = service.env
    asked = Request("POST", "/", {"X-Amz-Target": "secretsmanager.ListSecrets"}, b"{}")
    passes_on = Front(("127.0.0.1", service.environment.backend.port))._answer
    assert ask(names, "ListSecrets")[0] == 200
    for key in ("0" * 32, "", "x"):
        scope = f"AWS4-HMAC-SHA256 Credential={key}/20200101/us-east-1/secretsmanager/aws4_request"
        answer = passes_on(replace(asked, headers={**asked.headers, "Authorization": scope}))
        assert (answer.status, answer.body) == (403, b"")


def test_validated_cryptography_is_one_variable(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    names = (MANAGER, "secretsmanager-fips.us-east-1.amazonaws.com")
    resolves_here(monkeypatch, *names)
    monkeypatch.delenv("BASTION_AWS_ENDPOINT")
    from botocore.httpsession import URLLib3Session

    asked: list[str] = []
    send = URLLib3Session.send

    def noted(session: Any, request: Any) -> Any:
        asked.append(request.url)
        return send(session, request)

    monkeypatch.setattr(URLLib3Session, "send", noted)
    for name, wanted in ((None, "false"), (1, "true")):
        monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", wanted)
        assert query(service, opened(service)) == ("", "does not answer")
        assert asked[-1] == f"https://{names[name or 0]}/"
