"""Proofs of secrets/aws.py: AWS itself answers about the secret that was asked for, and no stored key opens it.

They stop whoever stands on the way, or may leave a variable or file behind, from choosing this service's keys or role.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .faulty_backend import CANARY, Answer, Front, Mode, Request
from .harness import edit, harm, protects, works
from .mail_server import resolves_here
from .running import Service
from .service import PACKAGE

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NAME, VALUE, FORMER = "API_KEY", "the-value-of-the-secret", "the-former-value-of-it"
SERVICE = PACKAGE.replace("_", "-")
KEY, OF_THE_ROLE = "AKIAOFSOMEBODYELSE00", "ASIAOFTHEROLE0000000"
TOKEN = "token-of-the-role"
ATTACKER = "secretsmanager.eu-central-1.amazonaws.com.attacker.example"
MANAGER = "secretsmanager.us-east-1.amazonaws.com"
METADATA, CONTAINER = "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI"
POLICY = "/deploy/base/secrets/aws/policy.json"
OURS = f"arn:aws:secretsmanager:*:*:secret:{SERVICE}/*"
ANY_SOURCE = edit("secrets/aws.py", " if one.METHOD in ROLES]", "]")
REFUSED = Answer(400, b'{"__type": "AccessDeniedException", "Message": "' + CANARY.encode() + b'"}')


@dataclass
class Aws:
    """What answers in the place of AWS: one secret, and what is wrong with it."""

    changed: dict[str, Any] = field(default_factory=dict)
    """Parts of the answer that are others than AWS would give."""

    def __call__(self, request: Request) -> Answer:
        told = {"Name": json.loads(request.body)["SecretId"], "SecretString": VALUE, "VersionId": "7", **self.changed}
        return Answer(200, json.dumps({"CreatedDate": 1.7e9, **told}).encode())


@dataclass
class Machine:
    """The metadata service of an instance; an old one gives no token, and asks for none."""

    old: bool = False

    def __call__(self, request: Request) -> Answer:
        if request.path == "/latest/api/token":
            return Answer(405 if self.old or request.method != "PUT" else 200, b"token")
        if not self.old and request.headers.get("x-aws-ec2-metadata-token") != "token":
            return Answer(401)
        if request.path.endswith("/security-credentials/"):
            return Answer(200, b"the-role")
        key = {"AccessKeyId": OF_THE_ROLE, "SecretAccessKey": "s", "Token": TOKEN}
        return Answer(200, json.dumps({"Code": "Success", **key, "Expiration": "2999-01-01T00:00:00Z"}).encode())


def opened(service: Service, **settings: str) -> Any:
    """The backend with these settings beside the service's own, as at a start: nothing is kept."""
    aws = service.module("secrets.aws")
    return aws.open_secrets(aws.Settings(**settings))


@contextmanager
def answering(service: Service, aws: Aws | None = None) -> Iterator[tuple[Front, Any]]:
    """What answers in the place of AWS, without TLS, and the service's `Secrets` that ask it."""
    with Front(aws or Aws(), tls=False) as front:
        yield front, opened(service, BASTION_AWS_ENDPOINT=front.url)


def in_a_hurry(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt at each question."""
    monkeypatch.setattr(service.module("secrets.kept"), "PAUSES", ())


def told(service: Service, secrets: Any) -> tuple[str, str]:
    """The value that would be used, and how the question failed: one of them is empty."""
    with ThreadPoolExecutor(1) as thread:  # where an exception is a result
        asked = thread.submit(secrets.get, NAME)
        error = asked.exception()
    if error is None:
        return asked.result().reveal(), ""
    assert isinstance(error, service.module("secrets").SecretUnavailable)
    text = f"{error!r} {error.__context__!r} {error.__cause__!r}"
    assert [one for one in (VALUE, TOKEN, CANARY, OF_THE_ROLE) if one in text] == []
    return "", error.fault


def signed_by(request: Request) -> str:
    """The id of the key that a question is signed with."""
    found = re.search(r"Credential=([^/]+)/", request.headers.get("authorization", ""))
    return found[1] if found else ""


# --- who answers ---------------------------------------------------------------------------------------------------


@protects(
    "secret-backend-genuine",
    verify=(
        edit("secrets/aws.py", '"ca_bundle": settings.ca or True', '"ca_bundle": False'),
        edit(
            "secrets/aws.py",
            "    session = Session(",
            '    __import__("urllib3").disable_warnings()\n    session = Session(',
        ),
    ),
)
def test_whoever_stands_on_the_way_gets_no_question_and_gives_no_answer(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_hurry(service, monkeypatch)
    with Front(("127.0.0.1", service.environment.backend.standin.port)) as front:
        service.environment.settings.update(BASTION_AWS_ENDPOINT=front.url, BASTION_AWS_CA=front.ca)
        works(service.start().app is not None, "it starts with what AWS says over TLS")
        works(len(front.requests) >= 3, "and asks nobody else")
        untrusted: tuple[Mode, ...] = ("other name", "other authority", "expired")
        for mode in untrusted:
            front.mode = mode
            front.requests.clear()
            tried = service.start()
            harm(front.requests, f"a server with a certificate of {mode} was asked")
            assert tried.app is None
            [reason] = tried.reasons
            assert "did not prove who it is (TLS)" in reason
        front.mode = "works"
        del service.environment.settings["BASTION_AWS_CA"]
        assert "did not prove who it is (TLS)" in service.start().text  # nobody vouches for it without that file


@protects(
    "secret-backend-genuine",
    elsewhere=edit("secrets/aws.py", "if settings.endpoint and not _is_of_aws(settings.endpoint):", "if False:"),
)
def test_no_address_but_one_of_aws_is_asked(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    resolves_here(monkeypatch, ATTACKER, MANAGER)
    works(service.start().app is not None, "a stand-in on this machine is all right")
    upstream = ("127.0.0.1", service.environment.backend.standin.port)
    with Front(upstream, name=ATTACKER) as attacker, Front(upstream, name=ATTACKER, tls=False) as clear:
        named = (
            *(attacker.url, clear.url, f"http://{MANAGER}:{clear.port}", f"https://{MANAGER}/", MANAGER),
            *(f"https://x@{MANAGER}:{attacker.port}", f"https://{ATTACKER}:{attacker.port}\\.amazonaws.com"),
            "https://[::1",
        )
        for url in named:
            tried = service.start(BASTION_AWS_ENDPOINT=url, BASTION_AWS_CA=attacker.ca)
            harm([*attacker.requests, *clear.requests], f"secrets are asked for at {url}")
            assert tried.reasons == [
                "BASTION_AWS_ENDPOINT: name an https origin of AWS, as that of a VPC endpoint, or leave it out."
            ]
    aws = service.module("secrets.aws")
    for url in (f"https://{MANAGER}", "https://vpce-0-1.secretsmanager.eu-west-1.vpce.amazonaws.com", ""):
        assert [*aws.check(aws.Settings(BASTION_AWS_ENDPOINT=url), production=True)] == []


@protects(
    "secret-backend-genuine",
    variable=edit("secrets/aws.py", '        "ignore_configured_endpoint_urls": True,\n', ""),
    file=(
        edit("secrets/aws.py", '        "ignore_configured_endpoint_urls": True,\n', ""),
        edit("secrets/aws.py", '        "config_file": os.devnull,\n', ""),
        edit("secrets/aws.py", "given if name in READ else None", "given"),
    ),
)
def test_no_variable_or_file_of_awss_tools_leads_to_another_place(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    in_a_hurry(service, monkeypatch)
    resolves_here(monkeypatch, MANAGER, "sts.us-east-1.amazonaws.com")
    config, token = tmp_path / "config", tmp_path / "token"
    token.write_text(TOKEN, "utf-8")
    with answering(service) as (front, secrets):
        works(told(service, secrets) == (VALUE, ""), "the address that the setting names is asked")
        monkeypatch.delenv("BASTION_AWS_ENDPOINT")
        config.write_text(f"[default]\nendpoint_url = {front.url}\n", "utf-8")
        pod = {"AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/ours", "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
        for left_behind in (
            {"AWS_CONFIG_FILE": str(config)},
            {"AWS_ENDPOINT_URL": front.url},
            {"AWS_ENDPOINT_URL_SECRETS_MANAGER": front.url},
            {"AWS_ENDPOINT_URL_STS": front.url, **pod},
            {"HTTPS_PROXY": front.url},
            {"AWS_CA_BUNDLE": str(tmp_path / "no-such-file")},
        ):
            front.requests.clear()
            with monkeypatch.context() as environment:
                for name, text in left_behind.items():
                    environment.setenv(name, text)
                value, fault = told(service, opened(service))
            harm(front.requests, f"{next(iter(left_behind))} says where this service asks")
            assert (value, fault) == ("", "does not answer")  # nothing listens at AWS's own address here


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


@protects("secret-backend-genuine", about=edit("secrets/aws.py", 'if answer.get("Name") != place:', "if False:"))
def test_an_answer_about_another_secret_is_not_taken(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    aws = Aws()
    with answering(service, aws) as (front, secrets):
        found = secrets.found(NAME)
        works(found.value.reveal() == VALUE, "the secret that was asked for is read")
        works((found.version, found.changed_at) == ("7", 1.7e9), "with its version")
        for name in (NAME, f"{SERVICE}/OTHER_KEY", "", None):
            aws.changed = {"Name": name}
            value, fault = told(service, opened(service, BASTION_AWS_ENDPOINT=front.url))
            harm(value, f"the value of {name!r} was taken for another one")
            assert fault == "answered about another secret"


@protects(
    "secret-backend-genuine", latest=edit("secrets/aws.py", 'VersionStage="AWSCURRENT"', 'VersionStage="AWSPREVIOUS"')
)
def test_a_version_that_was_replaced_or_deleted_is_not_used(service: Service) -> None:
    local, names = service.environment.backend.local, service.env
    secret = {"SecretId": f"{names['BASTION_AWS_PREFIX']}/{NAME}"}

    def asked() -> Any:
        return opened(service, BASTION_AWS_PREFIX=names["BASTION_AWS_PREFIX"])

    for text in ("first", FORMER, VALUE):
        local.put(names, {NAME: text})
    works(asked().find(NAME) is not None, "a secret with several versions is read")
    found = asked().found(NAME)
    harm(found.value.reveal() == FORMER, "a version that was replaced is used")
    assert found.value.reveal() == VALUE
    pending = local.ask(names, "PutSecretValue", **secret, SecretString="not-yet", VersionStages=["AWSPENDING"])
    assert pending[0] == 200
    after = asked().found(NAME)  # what is pending does not count
    assert (after.value.reveal(), after.version, after.changed_at) == (VALUE, found.version, found.changed_at)
    assert local.ask(names, "DeleteSecret", **secret, RecoveryWindowInDays=7)[0] == 200
    assert asked().find(NAME) is None
    assert asked().find("NEVER_MADE") is None


@protects(
    "secret-backend-genuine",
    name=edit("secrets/aws.py", "        if not remote.NAME.match(name):\n            return None\n", ""),
)
def test_a_name_leads_to_no_other_services_secret(service: Service) -> None:
    names = service.env
    others = {f"payments/{NAME}": FORMER, "lower-case": FORMER}
    service.environment.backend.local.put(names, {NAME: VALUE, **others})
    secrets = opened(service, BASTION_AWS_PREFIX=names["BASTION_AWS_PREFIX"])
    works(secrets.get(NAME).reveal() == VALUE, "a name is found")
    for name in (*others, f"../{NAME}", f"{NAME}\n", f"A{'B' * 64}", ""):
        harm(secrets.find(name) is not None, f"{name!r} is read as if it were a name")


def test_a_login_that_the_manager_itself_rotates_is_its_password_and_its_user(service: Service) -> None:
    names = service.env
    login = {"engine": "postgres", "host": "db.example", "username": "service_clone", "password": VALUE}
    kept = {
        "DATABASE_PASSWORD": json.dumps(login),
        "OTHER_PASSWORD": json.dumps({"password": VALUE}),  # nobody's
        "NUMBER_PASSWORD": "12345",
        "JWT_KEYS": json.dumps(login),
    }
    service.environment.backend.local.put(names, kept)
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
                assert told(service, opened(service, BASTION_AWS_ENDPOINT=front.url)) == ("", fault)
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
            assert told(service, opened(service, BASTION_AWS_ENDPOINT=front.url)) == ("", fault)
    with Front(lambda _request: Answer(200, b"[]"), tls=False) as front:
        assert told(service, opened(service, BASTION_AWS_ENDPOINT=front.url))[0] == ""
    for changed in ({"SecretString": None}, {"SecretString": 7}, {"SecretBinary": "AAAA", "SecretString": None}):
        with answering(service, Aws(changed)) as (_front, secrets):
            assert told(service, secrets) == ("", "gave something that is no text")
    dates: list[Any] = ["yesterday", None, [], 1e30]
    for created in dates:
        with answering(service, Aws({"CreatedDate": created})) as (_front, secrets):
            value, fault = told(service, secrets)
            assert (value == "") == fault.startswith("gave no answer of its kind")
    with answering(service, Aws({"SecretString": f"{VALUE}\n"})) as (_front, secrets):
        assert told(service, secrets) == (VALUE, "")


# --- who asks ------------------------------------------------------------------------------------------------------


@protects("secret-backend-identity", stored=edit("secrets/aws.py", "    for name in KEYS:", "    for name in ():"))
def test_no_start_goes_on_beside_a_stored_key(service: Service) -> None:
    works(service.start().app is not None, "the role of the platform opens the manager")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        tried = service.start(**{name: CANARY})
        harm(tried.app is not None, f"it started with {name}, which opens every secret to whoever reads it")
        [reason] = tried.reasons
        assert reason.startswith(f"{name} is a stored key, and not read: this service signs in with the role")
        assert CANARY not in tried.text


@protects(
    "secret-backend-identity",
    sources=ANY_SOURCE,
    program=(
        edit("secrets/aws.py", "one.METHOD in ROLES", 'one.METHOD in (*ROLES, "custom-process")'),
        edit("secrets/aws.py", '        "config_file": os.devnull,\n', ""),
        edit("secrets/aws.py", "given if name in READ else None", "given"),
    ),
)
def test_neither_a_stored_key_nor_a_program_says_who_this_service_is(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    in_a_hurry(service, monkeypatch)
    ran, config = tmp_path / "ran", tmp_path / "config"
    keys = {"Version": 1, "AccessKeyId": KEY, "SecretAccessKey": "s"}
    program = f"sh -c 'touch {ran}; echo {json.dumps(json.dumps(keys))}'"
    config.write_text(f"[default]\ncredential_process = {program}\n", "utf-8")
    with answering(service) as (front, secrets):
        works(told(service, secrets) == (VALUE, ""), "the role of the platform opens it")
        works(signed_by(front.requests[-1]) not in ("", KEY), "with a key of the role")
        for left_behind in (
            {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": "s"},
            {"AWS_CONFIG_FILE": str(config)},
        ):
            with monkeypatch.context() as environment:
                for name, text in left_behind.items():
                    environment.setenv(name, text)
                value, _fault = told(service, opened(service, BASTION_AWS_ENDPOINT=front.url))
            harm(ran.exists(), "a file of AWS's tools ran a program")
            harm(signed_by(front.requests[-1]) == KEY, "a stored key was used")
            assert value == VALUE


@protects(
    "secret-backend-identity",
    version_1=edit("secrets/aws.py", '"ec2_metadata_v1_disabled": True,', '"ec2_metadata_v1_disabled": False,'),
)
def test_an_instance_that_answers_every_get_signs_nobody_in(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    machine = Machine()
    with Front(machine, tls=False) as metadata, answering(service) as (front, _secrets):
        monkeypatch.delenv(CONTAINER)
        monkeypatch.setenv(METADATA, metadata.url)
        works(told(service, opened(service, BASTION_AWS_ENDPOINT=front.url)) == (VALUE, ""), "version 2 signs it in")
        works(signed_by(front.requests[-1]) == OF_THE_ROLE, "with the role of the instance")
        machine.old = True
        front.requests.clear()
        value, fault = told(service, opened(service, BASTION_AWS_ENDPOINT=front.url))
        harm(front.requests, "credentials were taken from a service that gives them to everybody")
        assert (value, fault) == ("", "can't be asked: the platform gave no credentials of the role")


@protects(
    "secret-backend-identity",
    metadata=edit("secrets/aws.py", "return host in METADATA_HOSTS or remote.is_loopback(host)", "return True"),
    proxy=edit("secrets/aws.py", '"http" in get_environ_proxies(', "None in get_environ_proxies("),
)
def test_nobody_elsewhere_says_or_hears_who_this_service_is(service: Service) -> None:
    works(service.start(**{METADATA: "http://169.254.169.254"}).app is not None, "the metadata service may be named")
    proxy = {"HTTP_PROXY": "http://proxy.example:3128"}
    works(service.start(**proxy, NO_PROXY="169.254.169.254").app is not None, "a proxy for others is all right")
    for name in (METADATA, CONTAINER):
        for address in ("https://attacker.example/x", "http://169.254.169.254.attacker.example", "http://[::1"):
            tried = service.start(**{name: address})
            harm(tried.app is not None, f"{name} may lead to {address}")
            assert tried.reasons[0] == (
                f"{name} is not on this machine: whoever answers there chooses who this service is. Remove it."
            )
    tried = service.start(**proxy)
    harm(tried.app is not None, "the credentials of the role go through a proxy in clear")
    assert tried.reasons == [
        "HTTP_PROXY would be handed the credentials of this service's role. Name 169.254.169.254 in NO_PROXY."
    ]


def test_without_a_role_it_says_so(service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_a_hurry(service, monkeypatch)
    monkeypatch.delenv(CONTAINER)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with answering(service) as (front, secrets):
        assert told(service, secrets) == ("", "can't be asked: the platform gives this service no role")
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/ours")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "gone"))
        value, fault = told(service, opened(service, BASTION_AWS_ENDPOINT=front.url))
        assert (value, fault[:14]) == ("", "gave no answer")
        assert front.requests == []


def test_a_platform_that_gives_no_credentials_is_asked_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    fault = "can't be asked: the platform gave no credentials of the role"
    with answering(service) as (front, secrets), Front(Machine(), tls=False) as platform:
        monkeypatch.setenv(CONTAINER, f"{platform.url}/latest/meta-data/iam/security-credentials/the-role")
        platform.mode = "down"
        assert told(service, secrets) == ("", fault)
        assert (platform.connections, front.requests) == (1, [])


@protects(
    "secrets-never-shown",
    vendor_log=edit("secrets/aws.py", '    logging.getLogger("botocore").setLevel(logging.INFO)', "    None"),
)
def test_a_log_of_everything_holds_no_answer_of_aws(service: Service) -> None:
    service.setting("BASTION_LOG_LEVEL", "DEBUG")
    works(service.client().get("/healthz").status == 200, "it starts with a log of everything")
    service.rotate(**{NAME: VALUE})
    kept = service.module("state").state_of(service.app).secrets
    works(kept.get(NAME).reveal() == VALUE, "a secret is read meanwhile")
    works('"level": "debug"' in service.output, "the log tells everything else")
    harm(VALUE in service.output, "the client of AWS wrote the secret to the log")
    assert service.environment.backend.standin.key not in service.output


# --- what this role may do -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy of IAM: what it allows to whoever has it."""

    statements: tuple[Mapping[str, Any], ...]

    def allows(self, action: str, resource: str, **context: str) -> bool:
        """Whether a statement fits action, resource and conditions. Raises KeyError for what this does not know."""
        return any(
            {"Allow": True}[statement["Effect"]]
            and matches(statement["Action"], action)
            and matches(statement["Resource"], resource)
            and all(
                OPERATORS[operator](text, context.get(key, ""))
                for operator, keys in statement.get("Condition", {}).items()
                for key, text in keys.items()
            )
            for statement in self.statements
        )

    def guards(self, upstream: tuple[str, int]) -> Callable[[Request], Answer]:
        """AWS as it answers a role with this policy: the manager answers what is allowed, and refuses the rest."""
        real = Front(upstream)._answer

        def answer(request: Request) -> Answer:
            action = request.headers["x-amz-target"].replace(".", ":", 1)
            asked = json.loads(request.body)
            name = asked.get("SecretId", asked.get("Name", "*"))
            context = {"secretsmanager:VersionStage": asked.get("VersionStage", "")}
            if not self.allows(action, f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}", **context):
                return REFUSED
            given = real(request)
            return given if given.body.startswith(b"{") else Answer(given.status, b"{}")  # moto can't do it

        return answer


def matches(patterns: str | list[str], text: str) -> bool:
    """As IAM does: * stands for any characters, ? for one."""
    listed = [patterns] if isinstance(patterns, str) else patterns
    rules = [re.escape(one).replace(r"\*", ".*").replace(r"\?", ".") for one in listed]
    return any(re.fullmatch(rule, text, re.DOTALL) for rule in rules)


OPERATORS: dict[str, Callable[[Any, str], bool]] = {
    "StringLike": matches,
    "ForAnyValue:StringEquals": lambda wanted, text: text in ([wanted] if isinstance(wanted, str) else wanted),
}


def policy_of(service: Service) -> Policy:
    """The policy that this service comes with."""
    return Policy(tuple(json.loads((service.root / POLICY[1:]).read_text("utf-8"))["Statement"]))


@protects(
    "secret-backend-identity",
    actions=edit(POLICY, '"secretsmanager:GetSecretValue"', '"secretsmanager:*"'),
    prefix=edit(POLICY, f'"Resource": "{OURS}"', '"Resource": "*"'),
    stage=edit(POLICY, '{ "secretsmanager:VersionStage": "AWSCURRENT" }', "{}"),
)
def test_its_role_reads_its_current_secrets_and_may_do_nothing_else(service: Service) -> None:
    from botocore.loaders import create_loader

    local, standin = service.environment.backend.local, service.environment.backend.standin
    names = standin.variables(SERVICE)
    actions = sorted(create_loader().load_service_model("secretsmanager", "service-2")["operations"])
    assert "PutSecretValue" in actions
    with Front(policy_of(service).guards(("127.0.0.1", standin.port)), tls=False) as front:
        role = {**names, "BASTION_AWS_ENDPOINT": front.url}
        local.put(names, {**service.environment.secrets, "SMTP_PASSWORD": VALUE})
        service.environment.settings.update(BASTION_AWS_PREFIX=SERVICE, BASTION_AWS_ENDPOINT=front.url)
        works(service.start().app is not None, "with this policy the service starts")
        works(len(front.requests) >= 3, "and asks nobody else")
        ours = f"{SERVICE}/SMTP_PASSWORD"
        others = (f"{SERVICE}-2/{NAME}", f"payments/{NAME}", f"x/{SERVICE}/{NAME}", "*")
        for secret in others[:-1]:
            local.put({**names, "BASTION_AWS_PREFIX": secret.rpartition("/")[0]}, {NAME: CANARY})
        current = {"VersionStage": "AWSCURRENT"}
        tried = [
            *(("GetSecretValue", {"SecretId": secret, **current}) for secret in others),
            *(("GetSecretValue", {"SecretId": ours, **stage}) for stage in ({}, {"VersionStage": "AWSPREVIOUS"})),
            *((action, {"SecretId": ours, **current}) for action in actions if action != "GetSecretValue"),
            *((action, {"SecretId": "*"}) for action in actions),
        ]
        assert len(tried) > 50
        answers = {f"{action} {asked}": local.ask(role, action, **asked) for action, asked in tried}
        harm([one for one, (status, _) in answers.items() if status == 200], "the role may do more than it has to")
        harm([one for one, answer in answers.items() if answer[1].get("__type") != "AccessDeniedException"], "or could")
        assert local.ask(role, "GetSecretValue", SecretId=ours, **current)[1]["SecretString"] == VALUE


@protects(
    "secret-backend-identity",
    key=edit(POLICY, f'"kms:EncryptionContext:SecretARN": "{OURS}"', '"kms:EncryptionContext:SecretARN": "*"'),
)
def test_its_role_decrypts_nothing_but_its_own_secrets(service: Service) -> None:
    key, account = "arn:aws:kms:eu-west-1:111122223333:key/1", "arn:aws:secretsmanager:eu-west-1:111122223333:secret"
    via, of = {"kms:ViaService": "secretsmanager.eu-west-1.amazonaws.com"}, "kms:EncryptionContext:SecretARN"
    policy = policy_of(service)
    works(policy.allows("kms:Decrypt", key, **via, **{of: f"{account}:{SERVICE}/{NAME}-a1b2c3"}), "a secret of ours")
    others = (f"{account}:payments/{NAME}-a1b2c3", f"{account}:{SERVICE}-2/{NAME}-a1b2c3", "")
    harm([one for one in others if policy.allows("kms:Decrypt", key, **via, **{of: one})], "somebody else's secret")
    for action, context in (
        ("kms:Decrypt", {of: f"{account}:{SERVICE}/{NAME}-a1b2c3"}),
        ("kms:Decrypt", {"kms:ViaService": "s3.eu-west-1.amazonaws.com", of: f"{account}:{SERVICE}/{NAME}-a1b2c3"}),
        ("kms:Encrypt", {**via, of: f"{account}:{SERVICE}/{NAME}-a1b2c3"}),
    ):
        assert not policy.allows(action, key, **context)


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
    passes_on = Front(("127.0.0.1", service.environment.backend.standin.port))._answer
    assert service.environment.backend.local.ask(names, "ListSecrets")[0] == 200
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
        assert told(service, opened(service)) == ("", "does not answer")
        assert asked[-1] == f"https://{names[name or 0]}/"
