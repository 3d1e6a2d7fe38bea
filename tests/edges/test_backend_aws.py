"""Edges of the proofs in test_backend_aws.py: further attacks on the same protections."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..backend_aws import ask
from ..faulty_backend import CANARY, Answer, Front, Request
from ..harness import edit, harm, protects, works
from ..mail_server import resolves_here
from ..running import Service
from ..service import PACKAGE
from ..test_backend_aws import FORMER, NAME, VALUE, in_a_hurry

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


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
    """A stand-in for AWS that answers with one secret and the faults in `changed`."""

    changed: dict[str, Any] = field(default_factory=dict)
    """Fields that replace those of a genuine answer."""

    def __call__(self, request: Request) -> Answer:
        answer = {"Name": json.loads(request.body)["SecretId"], "SecretString": VALUE, "VersionId": "7", **self.changed}
        return Answer(200, json.dumps({"CreatedDate": 1.7e9, **answer}).encode())


@dataclass
class Machine:
    """The metadata service of an instance; an old one (version 1) issues no token and requires none."""

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
    """Return a new backend with these settings; its cache is empty."""
    aws = service.module("secrets.aws")
    return aws.open_secrets(aws.Settings(**settings))


@contextmanager
def answering(service: Service, aws: Aws | None = None) -> Iterator[tuple[Front, Any]]:
    """Yield a stand-in for AWS without TLS, and the service's `Secrets` that query it."""
    with Front(aws or Aws(), tls=False) as front:
        yield front, opened(service, BASTION_AWS_ENDPOINT=front.url)


def query(service: Service, secrets: Any) -> tuple[str, str]:
    """Return the value and the fault of one query; one of them is empty."""
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
    """Return the ID of the key that signed the request."""
    found = re.search(r"Credential=([^/]+)/", request.headers.get("authorization", ""))
    return found[1] if found else ""


# --- who answers ---------------------------------------------------------------------------------------------------


@protects(
    "secret-backend-genuine",
    elsewhere=edit("secrets/aws.py", "if settings.endpoint and not _is_of_aws(settings.endpoint):", "if False:"),
)
def test_no_address_but_one_of_aws_is_asked(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    resolves_here(monkeypatch, ATTACKER, MANAGER)
    works(service.start().app is not None, "a stand-in on this machine is accepted")
    upstream = ("127.0.0.1", service.environment.backend.port)
    with Front(upstream, name=ATTACKER) as attacker, Front(upstream, name=ATTACKER, tls=False) as clear:
        named = (
            *(attacker.url, clear.url, f"http://{MANAGER}:{clear.port}", f"https://{MANAGER}/", MANAGER),
            *(f"https://x@{MANAGER}:{attacker.port}", f"https://{ATTACKER}:{attacker.port}\\.amazonaws.com"),
            "https://[::1",
        )
        for url in named:
            tried = service.start(BASTION_AWS_ENDPOINT=url, BASTION_AWS_CA=attacker.ca)
            harm([*attacker.requests, *clear.requests], f"the service requested secrets from {url}")
            assert tried.reasons == [
                "BASTION_AWS_ENDPOINT: name an https origin of AWS, as that of a VPC endpoint, or leave it out."
            ]
    aws = service.module("secrets.aws")
    for url in (f"https://{MANAGER}", "https://vpce-0-1.secretsmanager.eu-west-1.vpce.amazonaws.com", ""):
        assert [*aws.check(aws.Settings(BASTION_AWS_ENDPOINT=url), production=True, database_users=False)] == []


@protects(
    "secret-backend-genuine",
    variable=edit("secrets/aws.py", '        "ignore_configured_endpoint_urls": True,\n', ""),
    file=(
        edit("secrets/aws.py", '        "ignore_configured_endpoint_urls": True,\n', ""),
        edit("secrets/aws.py", '        "config_file": os.devnull,\n', ""),
        edit("secrets/aws.py", "given if name in READ else None", "given"),
    ),
)
def test_settings_of_aws_tools_do_not_redirect_requests(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    in_a_hurry(service, monkeypatch)
    resolves_here(monkeypatch, MANAGER, "sts.us-east-1.amazonaws.com")
    config, token = tmp_path / "config", tmp_path / "token"
    token.write_text(TOKEN, "utf-8")
    with answering(service) as (front, secrets):
        works(query(service, secrets) == (VALUE, ""), "the service queries the configured endpoint")
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
                value, fault = query(service, opened(service))
            harm(front.requests, f"{next(iter(left_behind))} redirected the service's requests")
            assert (value, fault) == ("", "does not answer")  # nothing listens at AWS's own address here


# --- the answer ----------------------------------------------------------------------------------------------------


@protects("secret-backend-genuine", about=edit("secrets/aws.py", 'if answer.get("Name") != place:', "if False:"))
def test_an_answer_about_another_secret_is_not_taken(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_hurry(service, monkeypatch)
    aws = Aws()
    with answering(service, aws) as (front, secrets):
        found = secrets.found(NAME)
        works(found.value.reveal() == VALUE, "the service reads the requested secret")
        works((found.version, found.changed_at) == ("7", 1.7e9), "the service reads its version")
        for name in (NAME, f"{SERVICE}/OTHER_KEY", "", None):
            aws.changed = {"Name": name}
            value, fault = query(service, opened(service, BASTION_AWS_ENDPOINT=front.url))
            harm(value, f"the service accepted the value of {name!r} for another secret")
            assert fault == "answered about another secret"


@protects(
    "secret-backend-genuine", latest=edit("secrets/aws.py", 'VersionStage="AWSCURRENT"', 'VersionStage="AWSPREVIOUS"')
)
def test_a_version_that_was_replaced_or_deleted_is_not_used(service: Service) -> None:
    backend, names = service.environment.backend, service.env
    secret = {"SecretId": f"{names['BASTION_AWS_PREFIX']}/{NAME}"}

    def asked() -> Any:
        return opened(service, BASTION_AWS_PREFIX=names["BASTION_AWS_PREFIX"])

    for text in ("first", FORMER, VALUE):
        backend.change(names, {NAME: text})
    works(asked().find(NAME) is not None, "the service reads a secret with several versions")
    found = asked().found(NAME)
    harm(found.value.reveal() == FORMER, "the service used a replaced version")
    assert found.value.reveal() == VALUE
    pending = ask(names, "PutSecretValue", **secret, SecretString="not-yet", VersionStages=["AWSPENDING"])
    assert pending[0] == 200
    after = asked().found(NAME)  # a pending version does not count
    assert (after.value.reveal(), after.version, after.changed_at) == (VALUE, found.version, found.changed_at)
    assert ask(names, "DeleteSecret", **secret, RecoveryWindowInDays=7)[0] == 200
    assert asked().find(NAME) is None
    assert asked().find("NEVER_MADE") is None


@protects(
    "secret-backend-genuine",
    name=edit("secrets/aws.py", "        if not remote.NAME.match(name):\n            return None\n", ""),
)
def test_a_name_leads_to_no_other_services_secret(service: Service) -> None:
    names = service.env
    others = {f"payments/{NAME}": FORMER, "lower-case": FORMER}
    service.environment.backend.change(names, {NAME: VALUE, **others})
    secrets = opened(service, BASTION_AWS_PREFIX=names["BASTION_AWS_PREFIX"])
    works(secrets.get(NAME).reveal() == VALUE, "the service reads a secret by its name")
    for name in (*others, f"../{NAME}", f"{NAME}\n", f"A{'B' * 64}", ""):
        harm(secrets.find(name) is not None, f"the service accepted {name!r} as a secret name")


# --- who asks ------------------------------------------------------------------------------------------------------


@protects(
    "secret-backend-identity",
    sources=ANY_SOURCE,
    program=(
        edit("secrets/aws.py", "one.METHOD in ROLES", 'one.METHOD in (*ROLES, "custom-process")'),
        edit("secrets/aws.py", '        "config_file": os.devnull,\n', ""),
        edit("secrets/aws.py", "given if name in READ else None", "given"),
    ),
)
def test_stored_keys_and_programs_do_not_authenticate(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    in_a_hurry(service, monkeypatch)
    ran, config = tmp_path / "ran", tmp_path / "config"
    keys = {"Version": 1, "AccessKeyId": KEY, "SecretAccessKey": "s"}
    program = f"sh -c 'touch {ran}; echo {json.dumps(json.dumps(keys))}'"
    config.write_text(f"[default]\ncredential_process = {program}\n", "utf-8")
    with answering(service) as (front, secrets):
        works(query(service, secrets) == (VALUE, ""), "the service reads a secret with the platform's role")
        works(signed_by(front.requests[-1]) not in ("", KEY), "the request is signed with a key of the role")
        for left_behind in (
            {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": "s"},
            {"AWS_CONFIG_FILE": str(config)},
        ):
            with monkeypatch.context() as environment:
                for name, text in left_behind.items():
                    environment.setenv(name, text)
                value, _fault = query(service, opened(service, BASTION_AWS_ENDPOINT=front.url))
            harm(ran.exists(), "the service ran a program from an AWS configuration file")
            harm(signed_by(front.requests[-1]) == KEY, "the service signed a request with a stored key")
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
        works(query(service, opened(service, BASTION_AWS_ENDPOINT=front.url)) == (VALUE, ""), "IMDSv2 is accepted")
        works(signed_by(front.requests[-1]) == OF_THE_ROLE, "the request is signed with the instance's role")
        machine.old = True
        front.requests.clear()
        value, fault = query(service, opened(service, BASTION_AWS_ENDPOINT=front.url))
        harm(front.requests, "the service took credentials from IMDSv1, which answers every GET")
        assert (value, fault) == ("", "can't be asked: the platform gave no credentials of the role")


@protects(
    "secret-backend-identity",
    metadata=edit("secrets/aws.py", "return host in METADATA_HOSTS or remote.is_loopback(host)", "return True"),
    proxy=edit("secrets/aws.py", '"http" in get_environ_proxies(', "None in get_environ_proxies("),
)
def test_nobody_elsewhere_says_or_hears_who_this_service_is(service: Service) -> None:
    works(service.start(**{METADATA: "http://169.254.169.254"}).app is not None, "the metadata service is accepted")
    proxy = {"HTTP_PROXY": "http://proxy.example:3128"}
    works(service.start(**proxy, NO_PROXY="169.254.169.254").app is not None, "a proxy for other hosts is accepted")
    for name in (METADATA, CONTAINER):
        for address in ("https://attacker.example/x", "http://169.254.169.254.attacker.example", "http://[::1"):
            tried = service.start(**{name: address})
            harm(tried.app is not None, f"the service started with {name} set to {address}")
            assert tried.reasons[0] == (
                f"{name} is not on this machine: whoever answers there chooses who this service is. Remove it."
            )
    tried = service.start(**proxy)
    harm(tried.app is not None, "the service started with a proxy that would get the role's credentials")
    assert tried.reasons == [
        "HTTP_PROXY would be handed the credentials of this service's role. Name 169.254.169.254 in NO_PROXY."
    ]


# --- what this role may do -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Policy:
    """An IAM policy and the actions that it allows."""

    statements: tuple[Mapping[str, Any], ...]

    def allows(self, action: str, resource: str, **context: str) -> bool:
        """Return whether a statement matches action, resource and conditions; KeyError: unknown operator."""
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
        """Return a stand-in for AWS that answers what this policy allows, and refuses the rest."""
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
    """Match as IAM does: * stands for any characters, ? for one."""
    listed = [patterns] if isinstance(patterns, str) else patterns
    rules = [re.escape(one).replace(r"\*", ".*").replace(r"\?", ".") for one in listed]
    return any(re.fullmatch(rule, text, re.DOTALL) for rule in rules)


OPERATORS: dict[str, Callable[[Any, str], bool]] = {
    "StringLike": matches,
    "ForAnyValue:StringEquals": lambda wanted, text: text in ([wanted] if isinstance(wanted, str) else wanted),
}


def policy_of(service: Service) -> Policy:
    """Return the policy that ships with this service."""
    return Policy(tuple(json.loads((service.root / POLICY[1:]).read_text("utf-8"))["Statement"]))


@protects(
    "secret-backend-identity",
    actions=edit(POLICY, '"secretsmanager:GetSecretValue"', '"secretsmanager:*"'),
    prefix=edit(POLICY, f'"Resource": "{OURS}"', '"Resource": "*"'),
    stage=edit(POLICY, '{ "secretsmanager:VersionStage": "AWSCURRENT" }', "{}"),
)
def test_its_role_reads_only_its_own_current_secrets(service: Service) -> None:
    from botocore.loaders import create_loader

    backend = service.environment.backend
    names = backend.variables(SERVICE)
    actions = sorted(create_loader().load_service_model("secretsmanager", "service-2")["operations"])
    assert "PutSecretValue" in actions
    with Front(policy_of(service).guards(("127.0.0.1", backend.port)), tls=False) as front:
        role = {**names, "BASTION_AWS_ENDPOINT": front.url}
        backend.change(names, {**service.environment.secrets, "SMTP_PASSWORD": VALUE})
        service.environment.settings.update(BASTION_AWS_PREFIX=SERVICE, BASTION_AWS_ENDPOINT=front.url)
        works(service.start().app is not None, "the service starts with this policy")
        works(len(front.requests) >= 3, "the service sends its requests to the configured endpoint")
        ours = f"{SERVICE}/SMTP_PASSWORD"
        others = (f"{SERVICE}-2/{NAME}", f"payments/{NAME}", f"x/{SERVICE}/{NAME}", "*")
        for secret in others[:-1]:
            backend.change({**names, "BASTION_AWS_PREFIX": secret.rpartition("/")[0]}, {NAME: CANARY})
        current = {"VersionStage": "AWSCURRENT"}
        tried = [
            *(("GetSecretValue", {"SecretId": secret, **current}) for secret in others),
            *(("GetSecretValue", {"SecretId": ours, **stage}) for stage in ({}, {"VersionStage": "AWSPREVIOUS"})),
            *((action, {"SecretId": ours, **current}) for action in actions if action != "GetSecretValue"),
            *((action, {"SecretId": "*"}) for action in actions),
        ]
        assert len(tried) > 50
        answers = {f"{action} {asked}": ask(role, action, **asked) for action, asked in tried}
        harm([one for one, (status, _) in answers.items() if status == 200], "the role may do more than it needs")
        harm([one for one, answer in answers.items() if answer[1].get("__type") != "AccessDeniedException"], "or could")
        assert ask(role, "GetSecretValue", SecretId=ours, **current)[1]["SecretString"] == VALUE


@protects(
    "secret-backend-identity",
    key=edit(POLICY, f'"kms:EncryptionContext:SecretARN": "{OURS}"', '"kms:EncryptionContext:SecretARN": "*"'),
)
def test_its_role_decrypts_nothing_but_its_own_secrets(service: Service) -> None:
    key, account = "arn:aws:kms:eu-west-1:111122223333:key/1", "arn:aws:secretsmanager:eu-west-1:111122223333:secret"
    via, of = {"kms:ViaService": "secretsmanager.eu-west-1.amazonaws.com"}, "kms:EncryptionContext:SecretARN"
    policy = policy_of(service)
    works(policy.allows("kms:Decrypt", key, **via, **{of: f"{account}:{SERVICE}/{NAME}-a1b2c3"}), "own secrets pass")
    others = (f"{account}:payments/{NAME}-a1b2c3", f"{account}:{SERVICE}-2/{NAME}-a1b2c3", "")
    harm([one for one in others if policy.allows("kms:Decrypt", key, **via, **{of: one})], "it decrypts another secret")
    for action, context in (
        ("kms:Decrypt", {of: f"{account}:{SERVICE}/{NAME}-a1b2c3"}),
        ("kms:Decrypt", {"kms:ViaService": "s3.eu-west-1.amazonaws.com", of: f"{account}:{SERVICE}/{NAME}-a1b2c3"}),
        ("kms:Encrypt", {**via, of: f"{account}:{SERVICE}/{NAME}-a1b2c3"}),
    ):
        assert not policy.allows(action, key, **context)
