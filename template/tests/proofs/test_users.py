"""Proofs of identity/users.py: disabling a user ends access at once, and no administrator becomes another user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .accounts import (
    CHOSEN,
    DONE,
    ENDED,
    OTHER,
    WHAT_WAS_SENT,
    Hashing,
    administrator,
    lives,
)
from .harness import edit, harm, protects, works
from .logins import stored
from .mails import token_for

if TYPE_CHECKING:
    from .running import Service


DISABLE = "admin-disable-immediate"
RESET = "admin-reset-cannot-choose"
NOT_ENDED = '        SESSIONS.expires_at > bindparam("moment"),\n'


@protects(
    DISABLE,
    active=edit("identity/sessions.py", f"{NOT_ENDED}        USERS.active,\n", NOT_ENDED),
)
def test_a_user_who_is_switched_off_is_out_at_once(service: Service) -> None:
    user = service.user()
    client = service.client(user).login()
    works(lives(client), "an active user has access")
    service.rows("UPDATE auth_user SET active = :off WHERE email = :email", off=False, email=user.email)
    harm(lives(client), "a disabled user kept access through an open session")
    assert client.account().status == ENDED


# --- no administrator becomes another user ---------------------------------------------------------------------

RESETS = "    with transaction() as connection:\n        sessions.end_all(user_id, connection=connection)\n"


@protects(
    RESET,
    choose=edit(
        "identity/recovery.py",
        RESETS,
        f"{RESETS}"
        f"        if chosen := {WHAT_WAS_SENT}.get('password'):\n"
        "            made = users.checked_password(chosen, email)\n"
        "            connection.execute(update(User).where(USERS.id == user_id).values(password_hash=made))\n",
    ),
    sessions=edit("identity/recovery.py", RESETS, "    with transaction() as connection:\n"),
)
def test_an_administrator_starts_a_reset_and_chooses_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, user = administrator(service, monkeypatch), service.user()
    client, before = service.client(user, "192.0.2.41").login(), stored(service, user.email)
    Hashing(service, monkeypatch, cheap=True)
    works(manager.show_user(user.id).ok, "the administrator sees the account")
    answer = manager.admin_reset(user.id, password=OTHER, again=OTHER)
    harm(stored(service, user.email) != before, "an administrator chose another user's password")
    harm(lives(client), "a session survived an administrator's password reset")
    assert answer.status == DONE["admin_reset"]
    token = token_for(service, user.email, "reset")
    assert token not in answer.text
    assert service.client().reset(token, CHOSEN).status == DONE["reset"]
