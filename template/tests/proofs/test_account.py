"""Proofs of identity/account.py: a stolen session does not become a stolen account, and what its owner ends is gone."""

from __future__ import annotations

import itertools
import secrets
from base64 import urlsafe_b64encode
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from .accounts import (
    ADMINISTRATOR,
    CHOSEN,
    DONE,
    ENDED,
    OTHER,
    TAKES_ANYTHING,
    WHAT_WAS_SENT,
    account,
    administrator,
    becomes_member,
    exchange,
    lives,
    nothing_more_was_read,
    signs_in,
)
from .harness import edit, harm, protects, refused, works
from .logins import WRONG, attempt, cheap_user, stored
from .mails import link, sent, subjects, text, token_for, tokens_for, waiting
from .routes import ANY_ID, routes
from .service import AUTH, DATABASE
from .snapshot import changed, everything

if TYPE_CHECKING:
    from collections.abc import Callable

    from .running import Service
    from .service import Client
    from .wire import Response


FILE = "identity/account.py"
CURRENT = "password-change-needs-current"
REVOKES = "credential-change-revokes-sessions"
CONFIRMED = "email-change-confirmed"
COMPLETE = "account-delete-complete"
NEW = "new@example.com"
ASKS = "        mail.enqueue(connection, links.EMAIL, email,"
ENDED_FIRST = "row is None or connection.execute(_ending(now(), _s.id == old.session_id)).rowcount != 1"


def stale(service: Service, *clients: Client) -> None:
    """So much later that each has to prove once more who he is, while the sessions live on."""
    service.travel(seconds=service.limits.fresh_login_seconds + 1)
    for client in clients:
        assert lives(client)


# --- the password ----------------------------------------------------------------------------------------------


@protects(
    CURRENT,
    current=edit(
        FILE,
        "    login.prove(user, current)\n    if hmac.compare_digest(",
        "    if hmac.compare_digest(",
    ),
)
def test_a_stolen_session_sets_no_password(service: Service) -> None:
    user = service.user()
    thief, owner = (service.client(user, f"192.0.2.{number}").login() for number in (101, 102))
    before = stored(service, user.email)
    works(lives(owner), "the owner is signed in")
    guesses = [thief.change_password(guess, OTHER) for guess in (None, "", OTHER, user.password.upper())]
    harm(stored(service, user.email) != before, "the password was changed by somebody who does not know it")
    assert [guess.status for guess in guesses[:2]] == [422, 422]
    for guess in guesses[2:]:
        refused(guess, 403, CURRENT)
    assert owner.change_password(user.password, user.password).status == 422  # no other one
    assert owner.change_password(user.password, "too short").status == 422
    assert stored(service, user.email) == before
    assert owner.change_password(user.password, CHOSEN).status == DONE["change_password"]
    assert signs_in(service, user.email, CHOSEN)
    assert not signs_in(service, user.email, user.password)
    told = ["Your password was changed", "Sign-in on a new device"]  # the second is of the login just before
    assert subjects(service, user.email) == told


# --- what a new password or address ends -----------------------------------------------------------------------


class Two:
    """An account with two sessions, a copy of the first, and somebody else who is signed in."""

    def __init__(self, service: Service) -> None:
        self.user, self.other = service.user(), service.user()
        self.first, self.second = (service.client(self.user, f"192.0.2.{number}").login() for number in (111, 112))
        self.copy = self.first.copy()
        self.unharmed = service.client(self.other, "192.0.2.113").login()
        works(lives(self.first) and lives(self.second) and lives(self.copy), "all sessions are good")

    def ended(self, what: str) -> None:
        harm(lives(self.second), f"another session outlived {what}")
        harm(lives(self.copy), f"a copy of the session outlived {what}")
        assert self.second.account().status == ENDED
        assert lives(self.first)
        assert lives(self.unharmed)


@protects(
    REVOKES,
    password=edit(
        FILE,
        "factors.credentials_changed(connection, user, proved=not factors.held(user.id, connection))",
        "sessions.renew(connection, user, proved=True)",
    ),
    own=edit("identity/sessions.py", ENDED_FIRST, "row is None"),
)
def test_a_new_password_ends_every_other_session(service: Service) -> None:
    two = Two(service)
    answer = two.first.change_password(two.user.password, CHOSEN)
    works(answer.status == DONE["change_password"], "the password is changed")
    two.ended("a new password")


def kept_waiting(service: Service, email: str) -> None:
    """A stranger guesses from many networks, until this account has to wait."""
    for number in range(service.limits.login_failures):
        attempt(service.client(address=f"203.0.113.{number}"), email, WRONG)


# --- the address -----------------------------------------------------------------------------------------------


@protects(
    CONFIRMED,
    direct=edit(
        FILE,
        ASKS,
        f"        connection.execute(update(User).where(_u.id == user.id).values(email=email))\n{ASKS}",
    ),
    notice=edit(FILE, "        mail.enqueue(connection, mail.EMAIL_ASKED, user.email)\n", ""),
    done=edit(
        FILE,
        "        mail.enqueue(connection, mail.EMAIL_CHANGED, user.email)  # to the former address\n",
        "",
    ),
)
def test_an_address_is_changed_by_whoever_reads_its_mail_and_the_former_one_is_told(service: Service) -> None:
    user = service.user()
    client = service.client(user, "192.0.2.121").login()
    stale(service, client)
    late = client.ask_email("late@example.com")
    assert waiting(service) == []
    refused_late(late, client)
    client.step_up(user.password)
    works(client.ask_email(NEW).status == DONE["ask_email"], "another address is asked for")
    harm(account(service, NEW), "the address is another one before anybody has read its mail")
    harm("Your address is about to change" not in subjects(service, user.email), "the present address was not told")
    service.client(address="192.0.2.122").forgot(NEW)
    assert tokens_for(service, NEW, "reset") == []
    assert signs_in(service, user.email, user.password)
    answer = client.confirm_email(token_for(service, NEW, "email"))
    works(answer.status == DONE["confirm_email"], "its link puts it in force")
    works(account(service, NEW).id == user.id, "for this account")  # type: ignore[union-attr]
    harm("Your address was changed" not in subjects(service, user.email), "the former address was not told")
    told = sent(service, user.email)
    asked, signed_in, changed = "Your address is about to change", "Sign-in on a new device", "Your address was changed"
    assert [mail["Subject"] for mail in told] == [asked, signed_in, changed]
    assert [mail["Subject"] for mail in told if NEW in text(mail) or link(mail) is not None] == []
    assert not signs_in(service, user.email, user.password)
    assert signs_in(service, NEW, user.password)


# --- the end of an account -------------------------------------------------------------------------------------


@protects(
    COMPLETE,
    account=edit(FILE, "        connection.execute(delete(User).where(_u.id == user.id))", "        pass"),
    rows=(
        edit(
            FILE,
            "        connection.execute(delete(Link).where((_l.user_id == user.id) | (_l.email == row.email)))\n",
            "",
        ),
        edit(
            FILE,
            "connection.execute(delete(OutgoingMail).where(waiting))",
            "pass",
        ),
    ),
    owner=edit(FILE, "delete(User).where(_u.id == user.id)", "delete(User)"),
    waiting=edit(FILE, "((_o.user_id == user.id) | (_o.email == row.email))", "(_o.user_id == user.id)"),
)
def test_nothing_of_a_deleted_account_is_left_and_nothing_of_it_opens_anything(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    probe, told = service.adds_probe(), list[Any]()
    service.adds(lambda app: service.module().before_deletion(app, lambda _connection, user_id: told.append(user_id)))
    user, other = becomes_member(service, "member@example.com", name="Member"), service.user()
    items = probe.add(user, "mine"), probe.add(other, "theirs")
    unharmed = service.client(other, "192.0.2.141").login()
    client = service.client(user, "192.0.2.142").login(through_form=True)
    second = service.client(user, "192.0.2.143").login()
    client.forgot(user.email)
    reset = token_for(service, user.email, "reset")
    service.travel(minutes=4)
    client.ask_email(NEW)
    unharmed.ask_email(f"their-{NEW}")
    change, theirs = token_for(service, NEW, "email"), token_for(service, f"their-{NEW}", "email")
    client.forgot(user.email)  # one more mail that waits
    unharmed.forgot(other.email)  # and two of somebody else
    unharmed.ask_email(f"their-other-{NEW}")
    stale(service, client)
    refused_late(client.delete_account(), client)
    assert account(service, user.email)
    client.step_up(user.password)
    kept = client.copy()
    works(client.delete_account().status == DONE["delete_account"], "an account is deleted by its owner")
    harm(("reset", user.email) in waiting(service), "a mail to its address still waits to be sent")
    with service.app.app_context():
        still_good = service.module("identity.links").look(theirs, "email")
    sent(service)
    left = everything(service)
    harm([name for name, rows in left.items() if user.email in repr(rows)], "the address is still somewhere")
    harm(account(service, other.email) is None, "another account was deleted")
    harm([one for one in (kept, second) if lives(one)], "a session outlived its account")
    assert (told, still_good is None) == ([user.id], False)
    assert subjects(service, user.email)[-1] == "Your account was deleted"
    asked = "Your address is about to change"
    assert subjects(service, other.email) == [asked, "Choose a new password", asked]
    assert len(tokens_for(service, f"their-other-{NEW}", "email")) == 1
    assert probe.row(items[0]) is None
    assert probe.row(items[1]) == ("theirs", "")
    assert lives(unharmed)
    assert service.client().reset(reset, OTHER).status == 410
    assert not signs_in(service, user.email, user.password)
    if AUTH == "jwt":
        refused(exchange(service, kept), 401, "refresh-one-use")
    assert unharmed.confirm_email(change).status == 410
    [(events,)] = service.rows("SELECT count(*) FROM audit_event WHERE kind = 'account.deleted'")
    assert events == 1
    service.travel(minutes=10)
    again = becomes_member(service, user.email, address="192.0.2.144")
    assert again.id != user.id
    assert probe.titles(probe.list(service.client(again, "192.0.2.144").login())) == []
    unharmed.login()
    with service.app.app_context():
        for _ in range(2):  # as often as one likes
            service.module("identity.sessions").purge()
            service.module("identity.links").purge()
    assert lives(unharmed)


# --- what a user may write -------------------------------------------------------------------------------------


@protects(
    "mass-assignment-refused",
    update=(
        *TAKES_ANYTHING,
        edit(
            FILE,
            "values(display_name=shown)",
            f"values(**{{name: value for name, value in {WHAT_WAS_SENT}.items() if name in _u}})",
        ),
    ),
)
def test_nobody_writes_more_of_an_account_than_its_name(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    administrator(service, monkeypatch)  # names the role
    other = service.user()
    tried = {
        "roles": ADMINISTRATOR,
        "role": ADMINISTRATOR,
        "is_admin": "true",
        "permissions": "users.manage",
        "password_hash": "x",
        "password": OTHER,
        "email": "victim@example.com",
        "email_verified": "true",
        "active": "",
        "id": str(other.id),
        "user_id": str(other.id),
        "owner_id": str(other.id),
        "created_at": "2000-01-01T00:00:00Z",
        "verified_at": "2999-01-01T00:00:00Z",
    }
    works(becomes_member(service, "honest@example.com").email, "who sends no more has an account")
    service.client(address="192.0.2.151").register("member@example.com")
    token = token_for(service, "member@example.com", "activate")
    more = {name: value for name, value in tried.items() if name != "password"}
    activated = service.client().activate(token, CHOSEN, "Member", **more)
    if account(service, "member@example.com") is None:
        assert service.client().activate(token, CHOSEN, "Member").status == DONE["activate"]
    before = account(service, "member@example.com")
    assert before is not None
    harm(before.roles or before.password_hash == "x" or before.id == other.id, "whoever activates decides what he is")
    user = service.user()
    client = service.client(user).login()
    works(client.rename("Member").status == DONE["rename"], "the name is changed")
    before = account(service, user.email)
    works(before is not None and before.display_name == "Member", "in the account")
    assert account(service, other.email).display_name == ""  # type: ignore[union-attr]
    assert not client.rename("x" * 101).ok
    assert account(service, user.email) == before
    answers = []
    for name, value in tried.items():
        answers.append(client.rename("Member", **{name: value}))
        harm(account(service, user.email) != before, f"{name} was written by the account's owner")
    nothing_more_was_read(activated, "activate")
    for answer in answers:
        nothing_more_was_read(answer, "rename")
    assert client.rename("x" * 101).status == 422
    assert client.rename("x" * 100).status == DONE["rename"]
    assert client.rename("Member").status == DONE["rename"]
    assert client.rename("tick\u202etock").status == 422
    assert account(service, user.email) == before


# --- one's own sessions ----------------------------------------------------------------------------------------

HEX_OF_THE_HASH = {
    "sqlite": "lower(hex(auth_session.token_hash))",
    "postgresql": "encode(auth_session.token_hash, 'hex')",
    "mysql": "lower(hex(auth_session.token_hash))",
}[DATABASE]


@protects(
    "session-list-and-revoke",
    owner=edit(
        "identity/sessions.py",
        "_s.id == session_id, _s.user_id == user_id)).rowcount",
        "_s.id == session_id)).rowcount",
    ),
    token=edit(
        "identity/sessions.py",
        "select(_s.id, _s.created_at, _s.seen_at, _s.address, _s.agent)",
        "select(_s.id, _s.created_at, _s.seen_at, _s.agent, "
        f'__import__("sqlalchemy").literal_column("{HEX_OF_THE_HASH}").label("address"))',
    ),
)
def test_a_user_sees_and_ends_the_own_sessions_and_no_others(service: Service) -> None:
    user, other = service.user(), service.user()
    client = service.client(user, "192.0.2.161").login()
    second = service.client(user, "192.0.2.162").login()
    theirs = service.client(other, "192.0.2.163").login()
    ids = {one.address: session_of(service, one) for one in (client, second, theirs)}
    listed = client.sessions()
    works(str(ids[second.address].id) in listed.text, "the own sessions are listed")
    hashes = [bytes(one.token_hash) for one in ids.values()]
    harm([one for one in hashes if one.hex() in listed.text], "the list has what the database keeps of a token")
    answer = client.end_session(ids[theirs.address].id)
    harm(not lives(theirs), "a session of somebody else was ended")
    refused(answer, 404, "ownership-404")
    assert client.address in listed.text
    assert second.address in listed.text
    assert str(ids[theirs.address].id) not in listed.text
    assert [one for one in hashes if urlsafe_b64encode(one).decode().rstrip("=") in listed.text] == []
    stale(service, client, second, theirs)
    for late in (client.end_session(ids[second.address].id), client.end_others()):
        refused_late(late, client)
    assert lives(second)
    client.step_up(user.password)
    assert client.end_session(ids[second.address].id).status == DONE["end_session"]
    assert second.account().status == ENDED
    refused(client.end_session(ids[second.address].id), 404, "ownership-404")  # it has ended already
    third = service.client(user, "192.0.2.164").login()
    assert client.end_others().status == DONE["end_others"]
    assert third.account().status == ENDED
    assert lives(client)
    assert lives(theirs)


def session_of(service: Service, client: Client) -> Any:
    """The row of this client's session, which has an address of its own."""
    table = service.module("identity.models").AuthSession.__table__
    with service.engine.connect() as connection:
        return connection.execute(table.select().where(table.c.address == client.address)).one()


def refused_late(answer: Response, client: Client) -> None:
    """Who it is was proved too long ago."""
    assert answer.status == client.NOT_FRESH
    if AUTH == "jwt":
        refused(answer, client.NOT_FRESH, "fresh-login-5-min")


# --- what leaves -----------------------------------------------------------------------------------------------

SHOWS = "_SHOWN: Final = select(_u.id, _u.email, _u.display_name, _u.active, _u.roles, _u.created_at)"
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
def test_no_answer_holds_what_nobody_is_to_see(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every address that can be read, as the owner, as somebody else and as an administrator."""
    manager = administrator(service, monkeypatch)
    owner, other = service.user(), service.user()
    service.rows("UPDATE auth_user SET display_name = replace('Name-@', '@', email)")
    canaries = [row[0] for row in service.rows("SELECT password_hash FROM auth_user")]
    walked = [route for route in routes(service) if route.method == "GET" and not route.access.public]
    assert len(walked) >= 6
    clients = {
        "owner": service.client(owner, "192.0.2.171").login(),
        "somebody else": service.client(other, "192.0.2.172").login(),
        "administrator": manager,
    }
    keys = ("password_hash", "token_hash")
    found, seen = [], {}
    for who, client in clients.items():
        for route in walked:
            answer = client.get(route.path.replace(ANY_ID, str(owner.id)))
            seen[who, route.path] = answer
            found += [f"{route} to {who}" for secret in (*canaries, *keys) if secret in answer.text]
            found += [f"{route} to {who}: hash" for one in hashes_of(service) if one in answer.text]
    works(owner.email in clients["owner"].account().text, "an owner sees the own address")
    works(owner.email in manager.show_user(owner.id).text, "and so does an administrator")
    harm(found, "an answer holds a secret")
    told = [path for (who, path), answer in seen.items() if who == "somebody else" and owner.email in answer.text]
    assert told == []
    for client in clients.values():
        assert not [key for key in (*canaries, *keys) if key in client.export().text]
    if AUTH == "jwt":
        account_fields = {"id", "email", "display_name", "roles", "permissions", "session_id"}
        assert clients["owner"].account().json.keys() == account_fields | {"signed_in_at", "verified_at"}
        user_fields = {"id", "email", "display_name", "active", "roles", "created_at"}
        assert manager.show_user(owner.id).json.keys() == user_fields | {"live_sessions"}
        assert {frozenset(item) for item in manager.users().json["items"]} == {frozenset(user_fields)}


def hashes_of(service: Service) -> list[str]:
    """What the database keeps of tokens, as it might be written."""
    kept = [bytes(row[0]) for row in service.rows("SELECT token_hash FROM auth_session")]
    return [spelling for one in kept for spelling in (one.hex(), urlsafe_b64encode(one).decode().rstrip("="))]


SEEN = {"session": "Password changed", "jwt": "password.changed"}[AUTH]
OWN = "own-events-kept"


@protects(OWN, masses=edit(FILE, "partition_by=_a.kind, ", ""))
def test_nothing_that_can_be_caused_in_masses_hides_what_happened_to_an_account(service: Service) -> None:
    user, shown = cheap_user(service), service.module("identity.account").EVENTS_SHOWN
    thief = service.client(user, "198.51.100.70").login()
    thief.change_password(user.password, CHOSEN)
    works(SEEN in thief.events().text, "its owner would see that the password was changed")
    refused(thief.users(), 403, "role-required")
    for _ in range(shown):
        thief.users()
    harm(SEEN not in thief.events().text, "requests that are refused push it out of the list")
    with service.app.app_context():
        for kind in service.module("identity.account").SHOWN - {"password.changed", "login.failure"}:
            for _ in range(shown):
                service.module("audit").record(kind, user_id=user.id)
    harm(SEEN not in thief.events().text, "what somebody repeats who is in pushes it out of the list")
    kept_waiting(service, user.email)
    assert failures(service) == service.limits.login_failures
    with service.app.app_context():
        for _ in range(shown):  # on many other days
            service.module("audit").record("login.failure", user_id=user.id)
    owner = service.client(user, "192.0.2.173").login()
    harm(SEEN not in owner.events().text, "a stranger's guesses push it out of the list")
    assert {"session": "Failed attempt to sign in", "jwt": "login.failure"}[AUTH] in owner.events().text
    with service.app.app_context():
        found = [event["kind"] for event in service.module("identity.account").recent_events(user.id)]
    assert {found.count(kind) for kind in {*found} - {"password.changed"}} == {shown}
    other = service.client(service.user(), "192.0.2.174").login()
    assert SEEN not in other.events().text
    if AUTH == "session":  # each has words
        assert service.module("session.account").EVENTS.keys() == service.module("identity.account").SHOWN


def failures(service: Service) -> int:
    return int(service.rows("SELECT count(*) FROM audit_event WHERE kind = 'login.failure'")[0][0])


LONG_AGO = "2001-02-03"


def keeps_of_each(service: Service, user: Any, mark: str) -> set[str]:
    """Write one row of everything that is kept of a user, with this in each text and time; the tables of the team."""
    from sqlalchemy.orm import Mapper

    models, owned = service.module("identity.models"), service.module("database").Owned
    classes = [models.AuthSession, models.Device, models.Link, models.Totp, models.Passkey, models.RecoveryCode]
    mappers: list[Mapper[Any]] = [*service.module("database").Base.registry.mappers]
    theirs = [one.class_ for one in mappers if issubclass(one.class_, owned)]
    writes(service, user, mark, *classes, models.AuditEvent, *theirs)
    return {str(one.__tablename__) for one in theirs}


def writes(service: Service, user: Any, mark: str, *models: Any) -> None:
    """Write one row of each of these, whatever it is for."""
    for model in models:
        values: dict[str, Any] = {"user_id": user.id}
        for column in model.__table__.columns:
            kind = column.type.python_type
            if kind is str:
                values[column.name] = mark[: column.type.length]
            elif isinstance(column.type, service.module("database").UTCDateTime):
                values[column.name] = datetime.fromisoformat(f"{mark}T00:00:00+00:00")
            elif not column.nullable and column.name != "user_id":
                made: dict[Any, Callable[[], Any]] = {
                    UUID: uuid4,
                    bytes: partial(secrets.token_bytes, 32),
                    object: dict,
                }
                values[column.name] = made.get(kind, kind)()
        with service.engine.begin() as connection:
            connection.execute(model.__table__.insert().values(**values))


@protects("response-fields-allow-list", others=edit(FILE, "_l.used_at).where(_l.user_id == user.id)", "_l.used_at)"))
def test_an_export_is_all_that_is_kept_of_one_user_and_nothing_of_another(service: Service) -> None:
    user, other = service.user(), service.user()
    service.client(other, "192.0.2.178").login()
    theirs = keeps_of_each(service, other, LONG_AGO)
    client = service.client(user, "192.0.2.179").login()
    keeps_of_each(service, user, "2002-03-04")
    answer = client.export()
    found = answer.json["tables"] if AUTH == "jwt" else answer.json
    of_ours = {"account", "sessions", "devices", "links", "events", "authenticator_app", "passkeys", "recovery_codes"}
    works(found.keys() == {*of_ours, *theirs}, "everything is there, by table")
    works([name for name, rows in found.items() if not rows] == [], "with what is kept in it")
    harm([text for text in (LONG_AGO, other.email, str(other.id)) if text in answer.text], "and what is another's")
    counted = {name: len(rows) for name, rows in found.items()}
    assert counted == dict.fromkeys(found, 1) | {
        "sessions": 2,
        "devices": counted["devices"],
        "events": counted["events"],
    }
    keys = {name: {*rows[0]} for name, rows in found.items() if name in of_ours}
    assert keys == {
        "account": {"id", "email", "display_name", "roles", "created_at"},
        "sessions": {"id", "created_at", "seen_at", "expires_at", "revoked_at", "methods", "address", "agent"},
        "devices": {"created_at", "seen_at"},
        "links": {"purpose", "email", "created_at", "expires_at", "used_at"},
        "events": {"at", "kind", "address"},
        "authenticator_app": {"created_at"},
        "passkeys": {"name", "created_at", "used_at", "backed_up"},
        "recovery_codes": {"created_at", "used_at"},
    }


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
        "session/account.py",
        "    link = _kept_link(*links.MAKES_ACCOUNT)\n",
        "    link = _kept_link(*links.MAKES_ACCOUNT)\n"
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
    works(leaver.post(SIGNS_OUT[1]).status == {"jwt": 204, "session": 303}[AUTH], "signing out is a POST")
    works(changed(before, everything(service)), "which changes something")
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
        harm(moved, "reading an address changed something")
    assert service.client().activate(token, CHOSEN).status == DONE["activate"]
