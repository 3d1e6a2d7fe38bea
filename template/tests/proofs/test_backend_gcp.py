"""Proofs of secrets/gcp.py: only the verified Google endpoint supplies the requested secret; key files are refused.

They stop whoever stands on the way, or may set an address, from choosing this service's keys or taking its identity.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .faulty_backend import CANARY, Front, Mode
from .harness import edit, harm, protects, works
from .running import Service

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def in_a_hurry(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pauses between the attempts of a start."""
    monkeypatch.setattr(service.module("secrets.kept"), "PAUSES", (0.0, 0.0))


# --- who answers ---------------------------------------------------------------------------------------------------


@protects(
    "secret-backend-genuine",
    verify=edit(
        "secrets/gcp.py",
        "context = ssl.create_default_context(cafile=settings.ca or None)",
        "context = ssl._create_unverified_context()",
    ),
)
def test_whoever_stands_on_the_way_gets_no_question_and_gives_no_answer(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_hurry(service, monkeypatch)
    with Front(("127.0.0.1", service.environment.backend.port)) as front:
        service.environment.settings.update(BASTION_GCP_ENDPOINT=front.url, BASTION_GCP_CA=front.ca)
        works(service.start().app is not None, "the service starts with secrets read from Google over TLS")
        works(len(front.requests) >= 3, "the service sends its requests to the configured endpoint")
        untrusted: tuple[Mode, ...] = ("other name", "other authority", "expired")
        for mode in untrusted:
            front.mode = mode
            front.requests.clear()
            tried = service.start()
            harm(front.requests, f"the service sent its token to a server with an untrusted certificate ({mode})")
            assert tried.app is None
            [reason] = tried.reasons
            assert reason.startswith("SECRET '")
            assert "did not prove who it is (TLS)" in reason
        front.mode = "works"
        del service.environment.settings["BASTION_GCP_CA"]
        assert "did not prove who it is (TLS)" in service.start().text  # nobody vouches for it without that file


@protects(
    "secret-backend-identity",
    key_file=edit("secrets/gcp.py", 'if production and "GOOGLE_APPLICATION_CREDENTIALS" in os.environ:', "if False:"),
)
def test_no_key_file_signs_this_service_in(service: Service, tmp_path: Path) -> None:
    works(service.start().app is not None, "the service reads secrets with its workload identity")
    key = tmp_path / "key.json"
    key.write_text(json.dumps({"type": "service_account", "private_key": CANARY}), "utf-8")
    tried = service.start(GOOGLE_APPLICATION_CREDENTIALS=str(key))
    harm(tried.app is not None, "the service started with a key file")
    [reason] = tried.reasons
    assert reason.startswith("GOOGLE_APPLICATION_CREDENTIALS is not read: this service signs in as the workload")
    assert CANARY not in tried.text
