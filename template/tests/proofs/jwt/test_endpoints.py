"""Proofs of jwt/endpoints.py that concern JSON alone; the others are in ../test_login.py and ../test_sessions.py.

They stop somebody else's login from looking like one's own in the list that its owner is to notice it by.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from ..accounts import with_app, with_codes
from ..harness import edit, harm, protects, works
from ..logins import attempt, cheap_user

if TYPE_CHECKING:
    import pytest

    from ..running import Service

FILE = "jwt/endpoints.py"


@protects("session-list-and-revoke", place=edit(FILE, 'address=request.remote_addr or "",', 'address="",'))
def test_a_login_is_listed_with_where_it_came_from(service: Service) -> None:
    user = cheap_user(service)
    owner, thief = service.client(user), service.client(user, "203.0.113.9")
    owner.agent, thief.agent = "the owner's", "the thief's"
    for client in (owner, thief):
        client.login(through_form=True)
    answer = owner.sessions()
    works(len(answer.json["items"]) == 2, "both logins are listed")
    listed = {one["agent"]: one for one in answer.json["items"]}
    harm(listed["the thief's"]["address"] != thief.address, "nobody sees where a login came from")
    assert listed["the owner's"]["address"] == owner.address
    assert (listed["the owner's"]["current"], listed["the thief's"]["current"]) == (True, False)
    assert {one["current"] for one in thief.sessions().json["items"] if one["agent"] == thief.agent} == {True}


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
