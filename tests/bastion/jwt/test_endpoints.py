"""Unit tests beside the proofs in test_endpoints.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from ...accounts import with_app, with_codes
from ...logins import attempt, cheap_user

if TYPE_CHECKING:
    import pytest

    from ...running import Service


def test_what_a_client_is_told_of_a_login_that_waits_is_so(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user = cheap_user(service)
    with_app(service, user)
    waiting = attempt(service.client(user), user.email, user.password)
    assert (waiting.status, waiting.json["factors"]) == (202, ["totp"])
    assert 0 < waiting.json["expires_in"] <= 600
    with_codes(service, user)
    waiting = attempt(service.client(user), user.email, user.password)
    assert waiting.json["factors"] == ["totp", "recovery-code"]
    held = SimpleNamespace(totp=False, passkeys=2, recovery_codes=0)
    monkeypatch.setattr(service.module("identity.factors"), "held", lambda _user_id: held)
    begun = SimpleNamespace(user_id=user.id, token="x", expires_at=service.now())
    with service.app.app_context():
        assert service.module("jwt.endpoints")._waiting(begun).factors == ["passkey"]


def test_an_operation_without_an_answer_says_nothing_of_its_type(service: Service) -> None:
    client = service.client(service.user()).login()
    other = client.copy().login()
    ended = client.end_others()
    assert (ended.status, ended.header("Content-Type"), ended.text) == (204, None, "")
    assert client.end_others().status == 204
    assert other.account().status == 401
    events = service.rows("SELECT count(*) FROM audit_event WHERE kind = 'session.ended_others'")
    assert events[0][0] == 1  # where nothing was ended, nothing is written
