"""Proofs of identity/users.py: who is switched off is out at once, and an administrator never becomes somebody else."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from .accounts import (
    CHOSEN,
    DONE,
    ENDED,
    OTHER,
    WHAT_WAS_SENT,
    administrator,
    exchange,
    lives,
    signs_in,
)
from .harness import edit, harm, protects, refused, works
from .logins import stored
from .mails import sent, token_for, tokens_for
from .service import AUTH

if TYPE_CHECKING:
    from .running import Service


DISABLE = "admin-disable-immediate"
RESET = "admin-reset-cannot-choose"
NOT_ENDED = '        _s.expires_at > bindparam("moment"),\n'


@protects(
    DISABLE,
    active=edit("identity/sessions.py", f"{NOT_ENDED}        _u.active,\n", NOT_ENDED),
)
def test_the_column_alone_keeps_a_user_out(service: Service) -> None:
    user, _other = service.user(), service.user()  # that somebody else is active helps nobody
    client = service.client(user).login()
    works(lives(client), "an active user is in")
    service.client(address="192.0.2.13").forgot(user.email)
    token = token_for(service, user.email, "reset")
    with service.engine.begin() as connection:
        table = service.module("identity.models").User.__table__
        connection.execute(table.update().where(table.c.id == user.id).values(active=False))
    harm(lives(client), "a user whose account is off went on, since nobody had ended the session")
    assert client.account().status == ENDED
    refused(service.client().reset(token, CHOSEN), 410, "reset-token-single-use")
    if AUTH == "jwt":
        refused(exchange(service, client), 401, "refresh-lifetimes")


# --- no administrator becomes somebody else --------------------------------------------------------------------

MINTS = """def _minted(user_id, email):
    from types import SimpleNamespace

    from ..database import transaction
    from ..identity import links

    due = dict(purpose=links.RESET, email=email, user_id=user_id, session_id=None, inviter_id=None, roles="")
    with transaction() as connection:
        return links.mint(connection, SimpleNamespace(**due))


"""
TELLS_THE_LINK = {
    "jwt": (
        edit("jwt/administration.py", "def _found(", f"{MINTS}def _found("),
        edit(
            "jwt/administration.py",
            '    return AcceptedAnswer()\n\n\n@blueprint.delete("/auth/users/<uuid:user_id>/sessions")',
            "    return AcceptedAnswer(status=_minted(user_id, _found(user_id).email))\n\n\n"
            '@blueprint.delete("/auth/users/<uuid:user_id>/sessions")',
        ),
    ),
    "session": (
        edit("session/administration.py", "def _may_change(", f"{MINTS}def _may_change("),
        edit(
            "session/administration.py",
            '"A link to choose a new password is on its way to the user."',
            "_minted(user_id, found.email)",
        ),
    ),
}[AUTH]
RESETS = "    with transaction() as connection:\n        sessions.end_all(user_id, connection=connection)\n"


@protects(
    RESET,
    answer=TELLS_THE_LINK,
    choose=edit(
        "identity/recovery.py",
        RESETS,
        f"{RESETS}"
        f"        if chosen := {WHAT_WAS_SENT}.get('password'):\n"
        "            made = users.checked_password(chosen, email)\n"
        "            connection.execute(update(User).where(_u.id == user_id).values(password_hash=made))\n",
    ),
    sessions=edit("identity/recovery.py", RESETS, "    with transaction() as connection:\n"),
)
def test_an_administrator_starts_a_reset_and_neither_learns_nor_chooses_anything(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, user = administrator(service, monkeypatch), service.user()
    assert manager.user is not None
    client = service.client(user, "192.0.2.41").login()
    before = stored(service, user.email)
    answers = [manager.admin_reset(user.id, password=OTHER, again=OTHER, email=manager.user.email)]
    page = manager.show_user(user.id)
    works(page.ok, "the administrator sees the account")
    harm(stored(service, user.email) != before, "an administrator chose somebody's password")
    harm(lives(client), "a session outlived the reset that an administrator started")
    told = [word for answer in (*answers, page) for word in re.findall(r"[\w-]{43}", answer.text)]
    digests = {sha256(word.encode()).digest() for word in told}
    kept = {bytes(row[0]) for row in service.rows("SELECT token_hash FROM auth_link")}
    harm(digests & kept, "an administrator was told the link")
    assert answers[0].status == DONE["admin_reset"]
    token = token_for(service, user.email, "reset")
    assert tokens_for(service, user.email, "reset") == [token]
    assert sent(service, manager.user.email) == []
    for method in ("PUT", "PATCH", "POST"):
        path = {"jwt": f"/auth/users/{user.id}", "session": f"/users/{user.id}"}[AUTH]
        assert manager.send(method, path, {"password": OTHER}).status == 405
    assert stored(service, user.email) == before
    assert service.client().reset(token, CHOSEN).status == DONE["reset"]
    assert signs_in(service, user.email, CHOSEN)
