"""Edges of the proofs in test_users.py: further attacks on the same protections."""

from __future__ import annotations

import re
import uuid
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from .. import test_users as core
from ..accounts import (
    ADMINISTRATOR,
    CHOSEN,
    DONE,
    ENDED,
    OTHER,
    account,
    administrator,
    exchange,
    live_sessions,
    lives,
    signs_in,
    with_app,
)
from ..harness import edit, harm, protects, refused, works
from ..logins import arrived, attempt, stored
from ..mails import sent, token_for, tokens_for
from ..service import AUTH
from ..test_users import DISABLE, NOT_ENDED, RESET
from .core import sabotages

if TYPE_CHECKING:
    from ..running import Service


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


FILE = "identity/users.py"
LAST = "            if is_administrator(row.roles):\n                keep_an_administrator(connection)\n"


@protects(
    DISABLE,
    revocation=edit(FILE, "            sessions.end_all(user_id, connection=connection)\n", ""),
    links=edit(
        FILE,
        "            links.cancel(connection, row.email, user_id)\n",
        "",
    ),
)
def test_disabling_a_user_revokes_sessions_and_links_for_good(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = administrator(service, monkeypatch)
    user, other = service.user(), service.user()
    client, unharmed = service.client(user, "192.0.2.11").login(), service.client(other, "192.0.2.12").login()
    service.client(address="192.0.2.13").forgot(user.email)
    token = token_for(service, user.email, "reset")
    works(lives(client) and lives(unharmed), "two users are signed in")
    works(manager.disable(user.id).status == DONE["disable"], "an administrator disables one of them")
    harm(lives(client), "a disabled user still had access")
    assert client.account().status == ENDED
    early = service.client().reset(token, CHOSEN)
    refused(early, 410, "reset-token-single-use")
    refused(attempt(service.client(), user.email, user.password), 401, "login-uniform-failure")
    assert lives(unharmed)
    if AUTH == "jwt":
        refused(exchange(service, client), 401, "refresh-lifetimes")
    works(manager.enable(user.id).status == DONE["enable"], "the administrator enables the account again")
    harm(lives(client), "a session from before the disabling was valid again")
    again = service.client(address="192.0.2.14").reset(token, CHOSEN)
    harm(signs_in(service, user.email, CHOSEN), "a link from before the disabling was valid again")
    refused(again, 410, "reset-token-single-use")
    assert signs_in(service, user.email, user.password)
    assert manager.user is not None
    events = [event for event in service.log if str(event.get("event")).startswith("user.")]
    who = str(manager.user.id)
    assert [(event["event"], event["by"]) for event in events] == [("user.disabled", who), ("user.enabled", who)]
    shown = service.client(user, "192.0.2.15").login().events()
    assert "203.0.113.80" in shown.text  # the user's own address, but no administrator's
    assert manager.address not in shown.text


@protects(
    DISABLE,
    last_admin=edit(FILE, LAST, ""),
)
def test_nobody_disables_the_last_administrator(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = administrator(service, monkeypatch), administrator(service, monkeypatch, "192.0.2.21")
    assert first.user is not None
    assert second.user is not None
    works(first.disable(second.user.id).status == DONE["disable"], "one of two is disabled")
    answer = first.disable(first.user.id)
    harm(not account(service, first.user.email).active, "the last administrator was disabled")  # type: ignore[union-attr]
    assert answer.status == 409
    assert lives(first)
    assert first.take(first.user.id, ADMINISTRATOR).status == 409
    assert account(service, first.user.email).roles == ADMINISTRATOR  # type: ignore[union-attr]


# --- no administrator takes over an account --------------------------------------------------------------------


@protects(
    "session-list-and-revoke",
    everybody=edit(
        "identity/sessions.py",
        "        return connection.execute(_ending(now(), SESSIONS.id != but)).rowcount\n",
        "        return 0\n",
    ),
    waiting=edit("identity/sessions.py", "        connection.execute(_ending_flows())\n", ""),
)
def test_an_administrator_ends_sessions_of_one_or_all_users(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = administrator(service, monkeypatch)
    user, other = service.user(), service.user()
    one, two = service.client(user, "192.0.2.51").login(), service.client(user, "192.0.2.52").login()
    theirs = service.client(other, "192.0.2.53").login()
    for answer in (theirs.end_sessions_of(user.id), theirs.end_everybodys()):
        refused(answer, 403, "role-required")
    works(manager.end_sessions_of(user.id).status == DONE["end_sessions_of"], "an administrator ends a user's sessions")
    works(not lives(one) and not lives(two), "all of them end")
    works(lives(theirs), "other users' sessions stay")
    again, late = service.client(user, "192.0.2.54").login(), service.user()
    app, thief = with_app(service, late), arrived(service, late, "192.0.2.55")
    assert thief.waiting
    assert manager.end_everybodys().status == DONE["end_everybodys"]
    harm([client for client in (again, theirs) if lives(client)], "a session survived the end of all sessions")
    completed = thief.send_code(app.next_code())
    harm(lives(thief), "a login that waited for its second factor survived the end of all sessions")
    assert completed.status == 401
    assert lives(manager)
    refused(manager.end_sessions_of(uuid.uuid4()), 404, "ownership-404")
    assert live_sessions(service, user.id) == 0


@protects(
    DISABLE,
    active=edit("identity/sessions.py", f"{NOT_ENDED}        USERS.active,\n", NOT_ENDED),
)
def test_the_column_alone_keeps_a_user_out(service: Service) -> None:
    user, _other = service.user(), service.user()  # another active user changes nothing
    client = service.client(user).login()
    works(lives(client), "an active user has access")
    service.client(address="192.0.2.13").forgot(user.email)
    token = token_for(service, user.email, "reset")
    with service.engine.begin() as connection:
        table = service.module("identity.models").User.__table__
        connection.execute(table.update().where(table.c.id == user.id).values(active=False))
    harm(lives(client), "a user with a disabled account still had access")
    assert client.account().status == ENDED
    refused(service.client().reset(token, CHOSEN), 410, "reset-token-single-use")
    if AUTH == "jwt":
        refused(exchange(service, client), 401, "refresh-lifetimes")


@protects(
    RESET,
    **sabotages(core.test_an_administrator_starts_a_reset_and_chooses_nothing, RESET, "choose", "sessions"),
    answer=TELLS_THE_LINK,
)
def test_an_administrators_reset_reveals_and_sets_no_password(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, user = administrator(service, monkeypatch), service.user()
    assert manager.user is not None
    client = service.client(user, "192.0.2.41").login()
    before = stored(service, user.email)
    answers = [manager.admin_reset(user.id, password=OTHER, again=OTHER, email=manager.user.email)]
    page = manager.show_user(user.id)
    works(page.ok, "the administrator sees the account")
    harm(stored(service, user.email) != before, "an administrator chose another user's password")
    harm(lives(client), "a session survived an administrator's password reset")
    words = [word for answer in (*answers, page) for word in re.findall(r"[\w-]{43}", answer.text)]
    digests = {sha256(word.encode()).digest() for word in words}
    kept = {bytes(row[0]) for row in service.rows("SELECT token_hash FROM auth_link")}
    harm(digests & kept, "an administrator received the reset link")
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
