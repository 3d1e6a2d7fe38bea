"""Proofs of secrets/aws.py: only the verified AWS endpoint supplies the requested secret; stored keys are refused.

They stop whoever stands on the way, or may leave a variable or file behind, from choosing this service's keys or role.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .faulty_backend import CANARY, Front, Mode
from .harness import edit, harm, protects, works
from .running import Service

if TYPE_CHECKING:
    import pytest


NAME, VALUE, FORMER = "API_KEY", "the-value-of-the-secret", "the-former-value-of-it"


def in_a_hurry(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt at each question."""
    monkeypatch.setattr(service.module("secrets.kept"), "PAUSES", ())


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
    with Front(("127.0.0.1", service.environment.backend.port)) as front:
        service.environment.settings.update(BASTION_AWS_ENDPOINT=front.url, BASTION_AWS_CA=front.ca)
        works(service.start().app is not None, "the service starts with secrets read from AWS over TLS")
        works(len(front.requests) >= 3, "the service sends its requests to the configured endpoint")
        untrusted: tuple[Mode, ...] = ("other name", "other authority", "expired")
        for mode in untrusted:
            front.mode = mode
            front.requests.clear()
            tried = service.start()
            harm(front.requests, f"the service sent a request to a server with an untrusted certificate ({mode})")
            assert tried.app is None
            [reason] = tried.reasons
            assert "did not prove who it is (TLS)" in reason
        front.mode = "works"
        del service.environment.settings["BASTION_AWS_CA"]
        assert "did not prove who it is (TLS)" in service.start().text  # nobody vouches for it without that file


# --- who asks ------------------------------------------------------------------------------------------------------


@protects("secret-backend-identity", stored=edit("secrets/aws.py", "    for name in KEYS:", "    for name in ():"))
def test_no_start_goes_on_beside_a_stored_key(service: Service) -> None:
    works(service.start().app is not None, "the service reads secrets with the platform's role")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        tried = service.start(**{name: CANARY})
        harm(tried.app is not None, f"the service started with {name}, a stored key that opens every secret")
        [reason] = tried.reasons
        assert reason.startswith(f"{name} is a stored key, and not read: this service signs in with the role")
        assert CANARY not in tried.text


@protects(
    "secrets-never-shown",
    vendor_log=edit("secrets/aws.py", '    logging.getLogger("botocore").setLevel(logging.INFO)', "    None"),
)
def test_a_log_of_everything_holds_no_answer_of_aws(service: Service) -> None:
    service.setting("BASTION_LOG_LEVEL", "DEBUG")
    works(service.client().get("/healthz").status == 200, "the service starts at log level DEBUG")
    service.rotate(**{NAME: VALUE})
    kept = service.module("state").state_of(service.app).secrets
    works(kept.get(NAME).reveal() == VALUE, "the service reads a secret")
    works('"level": "debug"' in service.output, "the log contains debug entries")
    harm(VALUE in service.output, "the AWS client library wrote the secret to the log")
    assert service.environment.backend.key not in service.output
