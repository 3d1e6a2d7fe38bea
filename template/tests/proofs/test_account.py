"""Proofs of identity/account.py: a stolen session cannot take over an account, and a deleted account leaves no data."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from .accounts import (
    ADMINISTRATOR,
    CHOSEN,
    DONE,
    ENDED,
    OTHER,
    TAKES_ANYTHING,
    WHAT_WAS_SENT,
    Hashing,
    account,
    administrator,
    lives,
    nothing_more_was_read,
)
from .databases import changed, everything
from .harness import edit, harm, protects, refused, works
from .logins import stored
from .mails import sent, subjects, token_for, waiting
from .routes import ANY_ID, routes
from .service import AUTH

if TYPE_CHECKING:
    from .running import Service
    from .service import Client


FILE = "identity/account.py"
CURRENT = "password-change-needs-current"
REVOKES = "credential-change-revokes-sessions"
CONFIRMED = "email-change-confirmed"
COMPLETE = "account-delete-complete"
NEW = "new@example.com"
ASKS = "        mail.enqueue(connection, links.EMAIL, email,"
ENDED_FIRST = "row is None or connection.execute(_ending(now(), SESSIONS.id == old.session_id)).rowcount != 1"


# --- the password ----------------------------------------------------------------------------------------------


@protects(
    CURRENT,
    current=edit(
        FILE,
        "    attempts.prove(user, current)\n    if hmac.compare_digest(",
        "    if hmac.compare_digest(",
    ),
)
def test_who_finds_a_session_open_sets_no_password(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user, other = service.user(), service.user()
    Hashing(service, monkeypatch, cheap=True)
    changed = service.client(other).login().change_password(other.password, CHOSEN)
    works(changed.status == DONE["change_password"], "a user who knows the password changes it")
    before = stored(service, user.email)
    guess = service.client(user).login().change_password(OTHER, CHOSEN)
    harm(stored(service, user.email) != before, "a thief changed the password without knowing the current one")
    refused(guess, 403, CURRENT)


# --- what a new password or address ends -----------------------------------------------------------------------


@protects(
    REVOKES,
    password=edit(
        FILE,
        "factors.credentials_changed(connection, user, proved=not factors.held(user.id, connection))",
        "sessions.renew(connection, user, proved=True)",
    ),
    own=edit("identity/sessions.py", ENDED_FIRST, "row is None"),
)
def test_a_new_password_ends_every_session_but_this_one(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.at_least(sessions_per_account=2)
    user = service.user()
    Hashing(service, monkeypatch, cheap=True)
    owner, thief = (service.client(user, f"192.0.2.{number}").login() for number in (111, 112))
    copy = owner.copy()
    works(lives(thief) and lives(copy), "the other session and the copied session are valid")
    answer = owner.change_password(user.password, CHOSEN)
    works(answer.status == DONE["change_password"], "the owner changes the password")
    harm([one for one in (thief, copy) if lives(one)], "another or a copied session survived the password change")
    assert thief.account().status == ENDED
    assert lives(owner)


# --- the address -----------------------------------------------------------------------------------------------


@protects(
    CONFIRMED,
    direct=edit(
        FILE,
        ASKS,
        f"        connection.execute(update(User).where(USERS.id == user.id).values(email=email))\n{ASKS}",
    ),
    notice=edit(FILE, "        mail.enqueue(connection, mail.EMAIL_ASKED, user.email)\n", ""),
)
def test_an_address_is_changed_by_the_reader_of_its_mail_and_the_former_one_hears_of_it(service: Service) -> None:
    user = service.user()
    client = service.client(user).login()
    works(client.ask_email(NEW).status == DONE["ask_email"], "the user asks to change the email address")
    harm(account(service, NEW), "the email address changed before the new address was confirmed")
    harm(
        "Your address is about to change" not in subjects(service, user.email),
        "the current address received no notice",
    )
    answer = client.confirm_email(token_for(service, NEW, "email"))
    assert answer.status == DONE["confirm_email"]
    made = account(service, NEW)
    assert made is not None
    assert made.id == user.id
    assert account(service, user.email) is None


# --- the end of an account -------------------------------------------------------------------------------------


@protects(
    COMPLETE,
    account=edit(FILE, "        connection.execute(delete(User).where(USERS.id == user.id))", "        pass"),
    rows=(
        edit(
            FILE,
            "        connection.execute(delete(Link).where((LINKS.user_id == user.id) | (LINKS.email == row.email)))\n",
            "",
        ),
        edit(
            FILE,
            "connection.execute(delete(OutgoingMail).where(waiting))",
            "pass",
        ),
    ),
    owner=edit(FILE, "delete(User).where(USERS.id == user.id)", "delete(User)"),
)
def test_no_table_holds_anything_of_a_deleted_account(service: Service) -> None:
    service.at_least(sessions_per_account=2)
    probe = service.adds_probe()
    user, other = service.user(), service.user()
    items = probe.add(user, "mine"), probe.add(other, "theirs")
    client, second = (service.client(user, f"192.0.2.{number}").login() for number in (141, 142))
    client.forgot(user.email)
    token = token_for(service, user.email, "reset")
    client.forgot(user.email)  # a link was sent, and one more mail waits
    works(client.delete_account().status == DONE["delete_account"], "the owner deletes the account")
    harm(("reset", user.email) in waiting(service), "a mail to the deleted account's address is still queued")
    sent(service)
    left = everything(service)
    harm([name for name, rows in left.items() if user.email in repr(rows)], "a table still holds the deleted address")
    harm(account(service, other.email) is None, "another user's account was deleted")
    assert probe.row(items[0]) is None
    assert probe.row(items[1]) == ("theirs", "")
    assert not lives(second)
    assert service.client().reset(token, OTHER).status == 410


# --- what a user may write -------------------------------------------------------------------------------------


@protects(
    "mass-assignment-refused",
    update=(
        *TAKES_ANYTHING,
        edit(
            FILE,
            "values(display_name=shown)",
            f"values(**{{name: value for name, value in {WHAT_WAS_SENT}.items() if name in USERS}})",
        ),
    ),
)
def test_a_user_writes_no_more_of_an_account_than_its_name(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    administrator(service, monkeypatch)  # names the role
    user = service.user()
    client = service.client(user).login()
    works(client.rename("Member").status == DONE["rename"], "the user changes the display name")
    before = account(service, user.email)
    works(before is not None and before.display_name == "Member", "the new name is stored in the account")
    answer = client.rename("Member", roles=ADMINISTRATOR, is_admin="true", password_hash="x", email=NEW)
    harm(account(service, user.email) != before, "a user wrote a column that only the service may write")
    nothing_more_was_read(answer, "rename")


# --- one's own sessions ----------------------------------------------------------------------------------------


@protects(
    "session-list-and-revoke",
    owner=edit(
        "identity/sessions.py",
        "SESSIONS.id == session_id, SESSIONS.user_id == user_id)).rowcount",
        "SESSIONS.id == session_id)).rowcount",
    ),
)
def test_a_user_ends_an_own_session_and_none_of_another(service: Service) -> None:
    service.at_least(sessions_per_account=2)
    user = service.user()
    client, second = (service.client(user, f"192.0.2.{number}").login() for number in (161, 162))
    theirs = service.client(service.user(), "192.0.2.163").login()
    works(second.address in client.sessions().text, "the list shows the user's own sessions")
    answer = client.end_session(session_of(service, second).id)
    works(answer.status == DONE["end_session"] and not lives(second), "the user ends one of their own sessions")
    answer = client.end_session(session_of(service, theirs).id)
    harm(not lives(theirs), "a user ended another user's session")
    refused(answer, 404, "ownership-404")
    assert theirs.address not in client.sessions().text


def session_of(service: Service, client: Client) -> Any:
    """The row of this client's session, which has an address of its own."""
    table = service.module("identity.models").AuthSession.__table__
    with service.engine.connect() as connection:
        return connection.execute(table.select().where(table.c.address == client.address)).one()


# --- what leaves -----------------------------------------------------------------------------------------------

SHOWS = "_SHOWN: Final = select(USERS.id, USERS.email, USERS.display_name, USERS.active, USERS.roles, USERS.created_at)"
SHOWS_ALL = edit("identity/users.py", SHOWS, "_SHOWN: Final = select(User.__table__)")
SHOWN_BY = {"jwt": "jwt/account.py", "session": "session/templates/bastion/account.html"}[AUTH]
LEAKS: Any = {
    "jwt": {
        "json": (
            SHOWS_ALL,
            edit(SHOWN_BY, "    id: UUID\n    email: str\n", "    id: UUID\n    email: str\n    password_hash: str\n"),
            edit(SHOWN_BY, "email=current_user.email,", "email=current_user.email, password_hash=row.password_hash,"),
        )
    },
    "session": {"page": (SHOWS_ALL, edit(SHOWN_BY, "{% block content %}\n", "{% block content %}{{ user }}\n"))},
}[AUTH]


@protects("response-fields-allow-list", **LEAKS)
def test_no_answer_holds_a_hash_or_what_is_anothers(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read every protected GET route as the owner, as another user and as an administrator."""
    manager, owner = administrator(service, monkeypatch), service.user()
    owners, others = service.client(owner).login(), service.client(service.user()).login()
    walked = [route for route in routes(service) if route.method == "GET" and not route.access.public]
    assert len(walked) >= 6
    works(owner.email in owners.account().text, "the owner sees their own email address")
    works(owner.email in manager.show_user(owner.id).text, "an administrator sees the user's email address")
    secrets = [row[0] for row in service.rows("SELECT password_hash FROM auth_user")]
    kept = [bytes(row[0]) for row in service.rows("SELECT token_hash FROM auth_session")]
    secrets += [one.hex() for one in kept] + ["password_hash", "token_hash"]
    for client, route in itertools.product((owners, others, manager), walked):
        answer = client.get(route.path.replace(ANY_ID, str(owner.id)))
        harm([secret for secret in secrets if secret in answer.text], f"{route} reveals a secret")
        harm(client is others and owner.email in answer.text, f"{route} reveals another user's email address")


SEEN = {"session": "Password changed", "jwt": "password.changed"}[AUTH]
OWN = "own-events-kept"


@protects(OWN, masses=edit(FILE, "partition_by=EVENTS.kind, ", ""))
def test_no_number_of_failed_logins_hides_a_changed_password(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user, shown = service.user(), service.module("identity.account").EVENTS_SHOWN
    Hashing(service, monkeypatch, cheap=True)
    thief = service.client(user).login()
    thief.change_password(user.password, CHOSEN)
    works(SEEN in thief.events().text, "the owner sees that the password was changed")
    with service.app.app_context():
        for _ in range(shown):
            service.module("audit").record("login.failure", user_id=user.id)
    harm(SEEN not in thief.events().text, "failed logins pushed the password change off the event list")
    assert {"session": "Failed attempt to sign in", "jwt": "login.failure"}[AUTH] in thief.events().text


# --- reading ---------------------------------------------------------------------------------------------------

NO_CONCERN = frozenset({"audit_event", "throttle_use", "throttle_counter"})
SIGNS_OUT = {"jwt": ("jwt/endpoints.py", "/auth/logout"), "session": ("session/pages.py", "/logout")}[AUTH]
SAFE_SABOTAGES: Any = {
    "logout": edit(
        SIGNS_OUT[0],
        f'@blueprint.post("{SIGNS_OUT[1]}")',
        f'@blueprint.route("{SIGNS_OUT[1]}", methods=["GET", "POST"])',
    )
}
if AUTH == "session":
    SAFE_SABOTAGES["link"] = edit(
        "session/mailed_link.py",
        "    link = kept_link(*links.MAKES_ACCOUNT)\n",
        "    link = kept_link(*links.MAKES_ACCOUNT)\n"
        "    from ..database import transaction\n\n"
        "    with transaction() as connection:\n"
        "        links.consume_once(connection, link)\n",
    )
TOGETHER = 10  # addresses that are read before all tables are looked at


@protects("csrf-safe-methods-change-nothing", **SAFE_SABOTAGES)
def test_reading_any_address_changes_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    probe = service.adds_probe()
    manager, user = administrator(service, monkeypatch), service.user()
    item = probe.add(user, "a title")
    leaver, before = service.client(user, "192.0.2.181").login(), everything(service)
    works(leaver.post(SIGNS_OUT[1]).status == {"jwt": 204, "session": 303}[AUTH], "the user signs out by POST")
    works(changed(before, everything(service)), "signing out changes the database")
    member = service.client(user, "192.0.2.182").login()
    member.register("new-member@example.com")
    token = token_for(service, "new-member@example.com", "activate")
    walked = [route for route in routes(service) if route.method in {"GET", "HEAD"}]
    walked.sort(key=lambda route: not route.path.startswith("/link/"))  # first, so that its form is open as well
    assert len(walked) >= 20
    assert {"/auth/me", "/account"} & {route.path for route in walked}
    before = everything(service)
    moved: list[str] = []
    for client, first in itertools.product((member, manager), range(0, len(walked), TOGETHER)):
        some = walked[first : first + TOGETHER]
        for route, ident in itertools.product(some, (user.id, item)):
            path = route.path.replace(ANY_ID, str(ident))
            if route.path.startswith("/link/"):
                path = f"/link/activate/{token}"
            client.send(route.method, path)
        tables = [name for name in changed(before, everything(service)) if name not in NO_CONCERN]
        moved += [f"{name}, by one of {', '.join(map(str, some))}" for name in tables]
        harm(moved, "a GET or HEAD request changed the database")
    assert service.client().activate(token, CHOSEN).status == DONE["activate"]
