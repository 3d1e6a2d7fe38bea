"""Tests of request/security_txt.py: who finds a hole learns where to report it, and reads nothing out of date."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ..wire import ORIGIN

if TYPE_CHECKING:
    from ..running import Service


PATH = "/.well-known/security.txt"


@pytest.mark.parametrize(
    ("contact", "told"),
    [("security@example.com", "mailto:security@example.com"), ("https://example.com/report", None)],
)
def test_the_contact_of_the_answers_is_told(
    service: Service, monkeypatch: pytest.MonkeyPatch, contact: str, told: str | None
) -> None:
    monkeypatch.setattr(service.module("chosen"), "SECURITY_CONTACT", contact)
    answer = service.client().get(PATH)
    lines = dict(line.split(": ", 1) for line in answer.text.splitlines())
    assert (answer.status, lines["Contact"]) == (200, told or contact)
    assert lines["Canonical"] == f"{ORIGIN}{PATH}"
    assert answer.header("Cross-Origin-Resource-Policy") == "cross-origin"  # it is for everybody
    ahead = datetime.fromisoformat(lines["Expires"]) - service.now()
    assert timedelta(days=90) < ahead < timedelta(days=365)  # RFC 9116, 2.5.5


def test_without_a_contact_there_is_no_such_file(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.module("chosen"), "SECURITY_CONTACT", "")
    assert service.client().get(PATH).status == 404
