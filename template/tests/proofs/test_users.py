"""Proofs of identity/users.py: who is switched off is out at once, and an administrator never becomes somebody else."""

from __future__ import annotations

import re
import uuid
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from .accounts import (
    ADMINISTRATOR,
    CHOSEN,
    DONE,
    ENDED,
    OTHER,
    WHAT_WAS_SENT,
    account,
    administrator,
    exchange,
    live_sessions,
    lives,
    signs_in,
    with_app,
)
from .harness import at_once, edit, harm, protects, refused, works
from .logins import arrived, attempt, stored
from .mails import sent, token_for, tokens_for
from .service import AUTH

if TYPE_CHECKING:
    from .running import Service

FILE = "identity/users.py"
DISABLE = "admin-disable-immediate"
RESET = "admin-reset-cannot-choose"
NOT_ENDED = '        _s.expires_at > bindparam("moment"),\n'
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
def test_a_disabled_user_is_out_at_once_and_nothing_of_before_comes_back(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = administrator(service, monkeypatch)
    user, other = service.user(), service.user()
    client, unharmed = service.client(user, "192.0.2.11").login(), service.client(other, "192.0.2.12").login()
    service.client(address="192.0.2.13").forgot(user.email)
    token = token_for(service, user.email, "reset")
    works(lives(client) and lives(unharmed), "two users are signed in")
    works(manager.disable(user.id).status == DONE["disable"], "an administrator disables one of them")
    harm(lives(client), "a disabled user went on")
    assert client.account().status == ENDED
    early = service.client().reset(token, CHOSEN)
    refused(early, 410, "reset-token-single-use")
    refused(attempt(service.client(), user.email, user.password), 401, "login-uniform-failure")
    assert lives(unharmed)
    if AUTH == "jwt":
        refused(exchange(service, client), 401, "refresh-lifetimes")
    works(manager.enable(user.id).status == DONE["enable"], "and enables him again")
    harm(lives(client), "a session of before came back")
    again = service.client(address="192.0.2.14").reset(token, CHOSEN)
    harm(signs_in(service, user.email, CHOSEN), "a link of before came back")
    refused(again, 410, "reset-token-single-use")
    assert signs_in(service, user.email, user.password)
    assert manager.user is not None
    events = [event for event in service.log if str(event.get("event")).startswith("user.")]
    who = str(manager.user.id)
    assert [(event["event"], event["by"]) for event in events] == [("user.disabled", who), ("user.enabled", who)]
    told = service.client(user, "192.0.2.15").login().events()
    assert "203.0.113.80" in told.text  # from where oneself signed in, but not from where others did something
    assert manager.address not in told.text


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
    harm(not account(service, first.user.email).active, "nobody is left who may manage accounts")  # type: ignore[union-attr]
    assert answer.status == 409
    assert lives(first)
    assert first.take(first.user.id, ADMINISTRATOR).status == 409
    assert account(service, first.user.email).roles == ADMINISTRATOR  # type: ignore[union-attr]


def test_two_administrators_who_disable_each_other_at_once_leave_one(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = [administrator(service, monkeypatch, f"192.0.2.{number}") for number in (31, 32)]
    users = [client.user for client in pair if client.user is not None]
    for _ in range(5):
        for client in pair:
            client.honest("POST", {}, None, None, None)
        calls = zip(pair, reversed(users), strict=True)
        answers = at_once([lambda client=client, user=user: client.disable(user.id) for client, user in calls])
        active = [user for user in users if account(service, user.email).active]  # type: ignore[union-attr]
        assert len(active) == 1
        # Who was disabled before his own request was looked at is sent to sign in.
        done = [
            one for one in answers if one.status == DONE["disable"] and not (one.location or "").startswith("/login")
        ]
        assert len(done) == 1
        service.rows("UPDATE auth_user SET active = :yes", yes=True)
        for client in pair:
            client.login()


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


def test_there_is_nothing_to_be_done_to_an_account_that_is_not_there(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, nobody, users = administrator(service, monkeypatch), uuid.uuid4(), service.module("identity.users")
    answers = [
        *(manager.show_user(nobody), manager.disable(nobody), manager.enable(nobody), manager.reset_factors(nobody)),
        *(manager.give(nobody, ADMINISTRATOR), manager.admin_reset(nobody), manager.end_sessions_of(nobody)),
        *([manager.get(f"/users/{nobody}/factors/remove")] if AUTH == "session" else []),
    ]
    for answer in answers:
        refused(answer, 404, "ownership-404")
    with service.app.app_context(), pytest.raises(users.UserError, match="no such account"):
        users.set_active(nobody, False)  # deleted since it was looked for


@protects(
    "session-list-and-revoke",
    everybody=edit(
        "identity/sessions.py",
        "        return connection.execute(_ending(now(), _s.id != but)).rowcount\n",
        "        return 0\n",
    ),
    waiting=edit("identity/sessions.py", "        connection.execute(_ending_flows())\n", ""),
)
def test_an_administrator_ends_the_sessions_of_one_user_or_of_everybody(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = administrator(service, monkeypatch)
    user, other = service.user(), service.user()
    one, two = service.client(user, "192.0.2.51").login(), service.client(user, "192.0.2.52").login()
    theirs = service.client(other, "192.0.2.53").login()
    for answer in (theirs.end_sessions_of(user.id), theirs.end_everybodys()):
        refused(answer, 403, "role-required")
    works(manager.end_sessions_of(user.id).status == DONE["end_sessions_of"], "the sessions of one user are ended")
    works(not lives(one) and not lives(two), "all of them")
    works(lives(theirs), "and nobody else's")
    again, late = service.client(user, "192.0.2.54").login(), service.user()
    app, thief = with_app(service, late), arrived(service, late, "192.0.2.55")
    assert thief.waiting
    assert manager.end_everybodys().status == DONE["end_everybodys"]
    harm([client for client in (again, theirs) if lives(client)], "a session outlived the end of all")
    completed = thief.send_code(app.next_code())
    harm(lives(thief), "a login that waited for its second factor outlived the end of all")
    assert completed.status == 401
    assert lives(manager)
    refused(manager.end_sessions_of(uuid.uuid4()), 404, "ownership-404")
    assert live_sessions(service, user.id) == 0


def test_accounts_are_listed_in_pages_by_address(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = administrator(service, monkeypatch)
    for number in range(30):
        service.user(f"page_{number:02}@example.com")
    service.user("pagex30@example.com")
    first, second = manager.users("page_"), manager.users("PAGE_", 2)
    assert "page_00@example.com" in first.text
    assert "page_24@example.com" in first.text
    assert "page_25@example.com" not in first.text
    assert "page_25@example.com" in second.text
    assert "pagex30@example.com" not in first.text + second.text  # a _ is a letter like any other
    assert manager.users("page_", 2**31 - 1).ok
    assert manager.users("%").ok
    assert "page" not in "".join(re.findall(r"[\w]+@example", manager.users("%").text))
    users = service.module("identity.users")
    monkeypatch.setattr(users, "PAGE_SIZE", 10)
    with service.app.app_context():
        found = [users.page(number, q) for number, q in ((1, "page_0"), (1, "page_"), (3, "page_"))]
    assert [(len(rows), more) for rows, more in found] == [(10, False), (10, True), (10, False)]  # full, and the last
    monkeypatch.setattr(users, "MOST_PAGES", 2)
    with service.app.app_context():
        found = [users.page(number, "page_") for number in (1, 2, 3)]
    assert [(len(rows), more) for rows, more in found] == [(10, True), (10, False), (0, False)]
