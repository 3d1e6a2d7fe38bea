"""Edges of the proofs in test_account.py: further attacks on the same protections."""

from __future__ import annotations

import secrets
import threading
from base64 import urlsafe_b64encode
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from .. import test_account as core
from ..accounts import (
    ADMINISTRATOR,
    CHOSEN,
    DONE,
    ENDED,
    NO_LOCK_AT_FIRST,
    OTHER,
    Hashing,
    account,
    administrator,
    exchange,
    live_sessions,
    lives,
    nothing_more_was_read,
    signs_in,
    with_app,
)
from ..databases import everything
from ..harness import at_once, edit, harm, protects, refused, works
from ..logins import WRONG, HashSpy, arrived, attempt, cheap_user, device_of, stored
from ..mails import link, sent, subjects, text, token_for, tokens_for, waiting
from ..routes import ANY_ID, routes
from ..running import PASSWORD
from ..service import AUTH, DATABASE
from ..test_account import (
    COMPLETE,
    CONFIRMED,
    CURRENT,
    ENDED_FIRST,
    FILE,
    LEAKS,
    NEW,
    OWN,
    REVOKES,
    SEEN,
    session_of,
)
from .core import sabotages
from .steps import becomes_member
from .test_exceptions import declare, limit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..running import Service
    from ..service import Client
    from ..wire import Response


def writes(service: Service, user: Any, mark: str, *models: Any) -> None:
    """Insert one row into the table of each model."""
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


def stale(service: Service, *clients: Client) -> None:
    """Travel past the re-authentication limit while the sessions stay valid."""
    service.travel(seconds=service.limits.fresh_login_seconds + 1)
    for client in clients:
        assert lives(client)


class Two:
    """An account with two sessions and a copy of the first, beside another signed-in user."""

    def __init__(self, service: Service) -> None:
        self.user, self.other = service.user(), service.user()
        self.first, self.second = (service.client(self.user, f"192.0.2.{number}").login() for number in (111, 112))
        self.copy = self.first.copy()
        self.unharmed = service.client(self.other, "192.0.2.113").login()
        works(lives(self.first) and lives(self.second) and lives(self.copy), "all sessions are valid")

    def ended(self, what: str) -> None:
        harm(lives(self.second), f"another session survived {what}")
        harm(lives(self.copy), f"a copied session survived {what}")
        assert self.second.account().status == ENDED
        assert lives(self.first)
        assert lives(self.unharmed)


def kept_waiting(service: Service, email: str) -> None:
    """Fail logins from many networks until the login throttle blocks this account."""
    for number in range(service.limits.login_failures):
        attempt(service.client(address=f"203.0.113.{number}"), email, WRONG)


HEX_OF_THE_HASH = {
    "sqlite": "lower(hex(auth_session.token_hash))",
    "postgresql": "encode(auth_session.token_hash, 'hex')",
    "mysql": "lower(hex(auth_session.token_hash))",
}[DATABASE]


def refused_late(answer: Response, client: Client) -> None:
    """Assert that the request is refused because the last authentication is too old."""
    assert answer.status == client.NOT_FRESH
    if AUTH == "jwt":
        refused(answer, client.NOT_FRESH, "fresh-login-5-min")


def hashes_of(service: Service) -> list[str]:
    """Return the stored token hashes in hex and in base64url."""
    kept = [bytes(row[0]) for row in service.rows("SELECT token_hash FROM auth_session")]
    return [spelling for one in kept for spelling in (one.hex(), urlsafe_b64encode(one).decode().rstrip("="))]


def failures(service: Service) -> int:
    return int(service.rows("SELECT count(*) FROM audit_event WHERE kind = 'login.failure'")[0][0])


LONG_AGO = "2001-02-03"


def keeps_of_each(service: Service, user: Any, mark: str) -> set[str]:
    """Write one row per table with data of this user, with `mark` in each text and time; return the team's tables."""
    from sqlalchemy.orm import Mapper

    models, owned = service.module("identity.models"), service.module("database").Owned
    classes = [models.AuthSession, models.Device, models.Link, models.Totp, models.Passkey, models.RecoveryCode]
    mappers: list[Mapper[Any]] = [*service.module("database").Base.registry.mappers]
    theirs = [one.class_ for one in mappers if issubclass(one.class_, owned)]
    writes(service, user, mark, *classes, service.module("audit.tables").AuditEvent, *theirs)
    return {str(one.__tablename__) for one in theirs}


LINKS = "identity/links.py"
LOCKED = "    hold(connection, old.id)\n"
HELD = "        sessions.hold(connection, user.id)\n        if factors.held(user.id, connection):  # added since\n"
COMPARED = "and_(USERS.password_hash == row.password_hash, USERS.email == subject)"
PAGE_IS_ANYBODYS = (
    ()
    if AUTH == "jwt"
    else (edit("session/account.py", "    if link.user_id != current_user.id:\n        links.gone(links.EMAIL)\n", ""),)
)
# --- the password ----------------------------------------------------------------------------------------------


@protects(
    CURRENT,
    counted=edit(
        "identity/attempts.py",
        '        audit.record("password.wrong"',
        '        attempt.not_made()\n        audit.record("password.wrong"',
    ),
)
def test_a_stolen_session_guesses_a_few_times_only(service: Service) -> None:
    user, tries = cheap_user(service), service.limits.login_failures
    thief = service.client(user, "198.51.100.66").login()
    works(lives(thief), "the thief's session is valid")
    guesses = [thief.change_password((WRONG, OTHER)[number % 2], CHOSEN) for number in range(tries)]
    before = stored(service, user.email)
    thief.login()  # a session of its own makes no new guesses
    answer = thief.change_password(user.password, CHOSEN)  # the next guess happens to be right
    harm(stored(service, user.email) != before, "a stolen session guessed the password without a limit")
    assert [guess.status for guess in guesses] == [403] * tries
    refused(answer, 429, CURRENT)
    assert service.client(user, "198.51.100.67").login().step_up(user.password).status == 429
    assert signs_in(service, user.email, user.password)  # the login is not locked
    service.travel(minutes=service.limits.login_wait_minutes, seconds=1)
    owner = service.client(user, "192.0.2.103").login()
    assert owner.change_password(user.password, CHOSEN).status == DONE["change_password"]
    attempts, throttle = service.module("identity.attempts"), service.module("throttle")
    with service.app.app_context():
        for _ in range(tries):
            throttle.book(attempts.AGAIN, user.email, CURRENT)
    refused(owner.step_up(CHOSEN), 429, CURRENT)
    owner.forgot(user.email)
    assert owner.reset(token_for(service, user.email, "reset"), OTHER).status == DONE["reset"]
    again = arrived(service, user, "192.0.2.107", OTHER)
    assert again.step_up(OTHER).status == DONE["step_up"]  # guesses of the former password


@protects(
    CURRENT,
    right=edit(
        "identity/attempts.py",
        'throttle.spend(f"{AGAIN}-rate", user.email, "password-change-needs-current", RATE)',
        'throttle.Spent(b"", 0.0)',
    ),
)
def test_right_password_has_a_rate_limit_for_step_up_too(service: Service) -> None:
    """Each step-up costs a password hash, so one account could delay every login."""
    user, other, spy = cheap_user(service), cheap_user(service), HashSpy(service)
    client = service.client(user, "192.0.2.104").login()
    statuses = [client.step_up(user.password).status for _ in range(20)]
    works(statuses == [DONE["step_up"]] * 20, "20 step-ups a minute are accepted")
    works(len(spy.compared) == 20, "the service compared each password")
    spy.compared.clear()
    answer = service.client(user, "192.0.2.105").login().step_up(user.password)  # not by another session either
    harm(spy.compared, "the service compared one more password")
    refused(answer, 429, CURRENT)
    assert service.client(other, "192.0.2.106").login().step_up(other.password).status == DONE["step_up"]
    assert signs_in(service, user.email, user.password)
    service.travel(seconds=61)
    assert client.step_up(user.password).status == DONE["step_up"]


# --- what a new password or address ends -----------------------------------------------------------------------


@protects(
    REVOKES,
    email=edit(
        FILE,
        "factors.credentials_changed(connection, user, proved=False)",
        "sessions.renew(connection, user, proved=False)",
    ),
)
def test_a_new_address_ends_every_other_session(service: Service) -> None:
    two = Two(service)
    two.first.ask_email(NEW)
    answer = two.first.confirm_email(token_for(service, NEW, "email"))
    works(answer.status == DONE["confirm_email"], "the user changes the email address")
    two.ended("a new address")


@protects(
    REVOKES,
    reset=edit("identity/recovery.py", "        sessions.end_all(link.user_id, connection=connection)\n", ""),
)
def test_a_password_by_a_mailed_link_ends_every_session(service: Service) -> None:
    two = Two(service)
    stranger = service.client()
    stranger.forgot(two.user.email)
    answer = stranger.reset(token_for(service, two.user.email, "reset"), CHOSEN)
    works(answer.status == DONE["reset"], "the user resets the password by a mailed link")
    harm([one for one in (two.first, two.second, two.copy) if lives(one)], "a session survived the password reset")
    assert live_sessions(service, two.user.id) == 0
    assert lives(two.unharmed)


@protects(REVOKES, proved=edit("identity/sessions.py", ENDED_FIRST, "row is None"))
def test_step_up_invalidates_copies_of_the_session(service: Service) -> None:
    """A pending email change of the session survives the step-up."""
    two = Two(service)
    two.first.ask_email(NEW)
    answer = two.first.step_up(two.user.password)
    works(answer.status == DONE["step_up"], "the user re-authenticates with the right password")
    harm(lives(two.copy), "a copy of the session survived the step-up")
    assert lives(two.first)
    assert lives(two.second)
    assert two.first.confirm_email(token_for(service, NEW, "email")).status == DONE["confirm_email"]


@pytest.mark.parametrize("way", ["password", "address", "reset"])
@protects(
    REVOKES,
    devices=edit(
        "identity/devices.py", "    connection.execute(delete(Device).where(DEVICES.user_id == user_id))\n", ""
    ),
)
def test_credential_change_revokes_known_devices(service: Service, way: str) -> None:
    user, other = service.user(), service.user()
    owner, mallory = service.client(user, "192.0.2.116").login(), service.client(address="198.51.100.68")
    known = device_of(attempt(mallory, user.email, user.password))
    unharmed = device_of(attempt(service.client(address="192.0.2.117"), other.email, other.password))
    kept_waiting(service, user.email)
    spy = HashSpy(service, quick=True)
    attempt(mallory, user.email, WRONG, known)
    works(len(spy.compared) == 1, "on a known device a password is compared while the account is locked")
    done = changed_by_owner(service, owner, way)
    works(done == DONE[{"password": "change_password", "address": "confirm_email"}.get(way, way)], "it is changed")
    email = NEW if way == "address" else user.email
    kept_waiting(service, email)
    spy.compared.clear()
    answer = attempt(mallory, email, WRONG, known)
    harm(spy.compared, "a device known before the change still had its own guesses")
    refused(answer, 429, "login-throttle-account")
    kept_waiting(service, other.email)
    refused(attempt(service.client(address="192.0.2.117"), other.email, WRONG, unharmed), 401, "login-uniform-failure")


def changed_by_owner(service: Service, owner: Client, way: str) -> int:
    """Change a credential of the account in this way and return the status."""
    user = owner.user
    assert user is not None
    if way == "password":
        return owner.change_password(user.password, CHOSEN).status
    if way == "address":
        owner.ask_email(NEW)
        return owner.confirm_email(token_for(service, NEW, "email")).status
    owner.forgot(user.email)
    return service.client(address="192.0.2.118").reset(token_for(service, user.email, "reset"), CHOSEN).status


def after_comparing(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """Return a list whose callbacks run once each, right after a password comparison."""
    attempts, waiting_for = service.module("identity.attempts"), list[Any]()
    real = attempts.matches

    def matches(*arguments: Any) -> bool:
        found = bool(real(*arguments))
        if waiting_for:
            at_once([waiting_for.pop()])  # in a thread: each request has one of its own
        return found

    monkeypatch.setattr(attempts, "matches", matches)
    return waiting_for


@pytest.mark.parametrize("way", ["password", "reset", "address"])
@protects(REVOKES, under_way=edit("identity/login.py", COMPARED, "USERS.id == row.id"))
def test_login_during_a_credential_change_opens_no_session(
    service: Service, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    Hashing(service, monkeypatch, cheap=True)
    user, between = service.user(), after_comparing(service, monkeypatch)
    owner, reader = service.client(user, "192.0.2.114").login(), service.client(address="192.0.2.115")
    owner.ask_email(NEW)
    reader.forgot(user.email)
    change, reset = token_for(service, NEW, "email"), token_for(service, user.email, "reset")
    ways: dict[str, tuple[Callable[[], Response], str]] = {
        "password": (lambda: owner.change_password(user.password, CHOSEN), "change_password"),
        "reset": (lambda: reader.reset(reset, CHOSEN), "reset"),
        "address": (lambda: owner.confirm_email(change), "confirm_email"),
    }
    works(signs_in(service, user.email, user.password), "the password opens the account")
    act, name = ways[way]
    done: list[int] = []
    between.append(lambda: done.append(act().status))
    answer = attempt(service.client(address="198.51.100.66"), user.email, user.password)
    works(done == [DONE[name]], "the owner changes the credential while the login compares the old password")
    left = 0 if way == "reset" else 1  # the owner's own
    harm(live_sessions(service, user.id) > left, "a login with a replaced credential opened a session")
    refused(answer, 401, "login-uniform-failure")
    assert live_sessions(service, user.id) == left
    now = (NEW, user.password) if way == "address" else (user.email, CHOSEN)
    assert signs_in(service, *now)


@protects(REVOKES, under_way=edit("identity/login.py", COMPARED, "USERS.id == row.id"))
def test_login_blocked_by_a_password_change_opens_no_session(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new password is written, not committed, when the login reaches the account: it must wait and check again."""
    from sqlalchemy import event

    Hashing(service, monkeypatch, cheap=True)
    users, between = [service.user() for _ in range(4)], after_comparing(service, monkeypatch)
    works(signs_in(service, users[0].email, users[0].password), "a password opens its account")
    compared, changed_, begins = threading.Event(), threading.Event(), threading.Event()
    here = threading.local()

    def before(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        # Where the row of an account can be locked, the login waits there, and otherwise where it takes the lock.
        locks = statement.startswith("SELECT auth_user.id") and " FOR " in statement
        waits_here = locks or statement.startswith(("BEGIN IMMEDIATE", "INSERT INTO auth_session"))
        if waits_here and changed_.is_set() and not hasattr(here, "owner"):
            begins.set()

    def after(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("UPDATE auth_user SET password_hash") and hasattr(here, "owner"):
            changed_.set()
            begins.wait(10)
            threading.Event().wait(0.1)  # it is on its way to the database, and stands before the row

    def waits() -> None:
        compared.set()
        changed_.wait(10)

    def logs_in(client: Client, email: str, password: str) -> int:
        return attempt(client, email, password).status

    def changes(client: Client, password: str) -> int:
        compared.wait(10)
        here.owner = True
        return client.change_password(password, CHOSEN).status

    with service.app.app_context():
        engine = service.module("database").db.engine
    for number, user in enumerate(users[1:], 1):
        owner, thief = service.client(user, f"192.0.2.{number}").login(), service.client(address=f"198.51.100.{number}")
        for client in (owner, thief):
            client.honest("POST", {}, None, None, None)
        for one in (compared, changed_, begins):
            one.clear()
        if number == 1:
            event.listen(engine, "before_cursor_execute", before)
            event.listen(engine, "after_cursor_execute", after)
        between.append(waits)
        statuses = at_once(
            [
                partial(changes, owner, user.password),
                partial(logs_in, thief, user.email, user.password),
            ]
        )
        works(statuses[0] == DONE["change_password"] and begins.is_set(), "the password changes while the login waits")
        harm(live_sessions(service, user.id) > 1, "the old password opened a session")
        assert statuses[1] == 401


@protects(
    REVOKES,
    renewed=(
        edit("identity/sessions.py", LOCKED, ""),
        edit("identity/attempts.py", HELD, HELD.removeprefix("        sessions.hold(connection, user.id)\n")),
        *NO_LOCK_AT_FIRST,
        edit(
            "identity/sessions.py", ENDED_FIRST, ENDED_FIRST.replace("or c", "or not c").removesuffix(".rowcount != 1")
        ),
    ),
)
def test_step_up_during_a_password_change_is_ended(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy import event

    Hashing(service, monkeypatch, cheap=True)
    users = service.module("identity.users")
    checked_password, checked = users.checked_password, threading.Event()

    def checks(*arguments: Any) -> Any:
        found = checked_password(*arguments)
        checked.set()
        return found

    monkeypatch.setattr(users, "checked_password", checks)
    two, reads = Two(service), "SELECT auth_session.expires_at, auth_session.address"
    works(two.copy.step_up(two.user.password).status == DONE["step_up"], "a user re-authenticates with the password")
    thief, owner, changing = two.copy, two.second, list[threading.Thread]()
    for client in (thief, owner):
        client.honest("POST", {}, None, None, None)
    done: list[int] = []

    def change() -> None:
        done.append(owner.change_password(two.user.password, CHOSEN).status)

    def between(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith(reads) and not changing:
            changing.append(threading.Thread(target=change, daemon=True))
            changing[0].start()
            checked.wait(1 if DATABASE == "sqlite" else 10)  # SQLite locks the file: no password is looked at either
            changing[0].join(1)  # where the account's row is locked already, it waits for the end of this step-up

    with service.app.app_context():
        event.listen(service.module("database").db.engine, "after_cursor_execute", between)
    thief.step_up(two.user.password)
    works(len(changing) == 1, "the step-up has read the session and not yet written")
    changing[0].join(10)
    works(done == [DONE["change_password"]], "the owner changes the password during the step-up")
    harm(lives(thief), "a session survived the password change through a concurrent step-up")
    assert live_sessions(service, two.user.id) == 1
    assert lives(owner)


# --- the address -----------------------------------------------------------------------------------------------


@protects(
    CONFIRMED,
    account=(edit(FILE, "    if link.user_id != user.id:\n        links.gone(links.EMAIL)\n", ""), *PAGE_IS_ANYBODYS),
    session=edit(
        LINKS,
        "            LINKS.session_id.is_(None),\n",
        "            LINKS.id.is_not(None),\n",
    ),
    expiry=edit(LINKS, "        LINKS.expires_at > moment,\n", ""),
)
def test_email_change_link_needs_the_login_that_requested_it(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    users = [service.user() for _ in range(4)]
    clients = [service.client(user, f"192.0.2.{number}").login() for number, user in enumerate(users, 131)]
    for number, client in enumerate(clients):
        client.ask_email(f"{number}-{NEW}")
    tokens = [token_for(service, f"{number}-{NEW}", "email") for number in range(4)]
    service.client(address="192.0.2.139").register(f"0-{NEW}")
    makes_account, links = token_for(service, f"0-{NEW}", "activate"), service.module("identity.links")
    works(clients[0].confirm_email(tokens[0]).status == DONE["confirm_email"], "the asking login confirms the change")
    with service.app.app_context():
        assert links.look(makes_account, links.ACTIVATE) is None  # the address has an account now
    mallory = service.client(service.user(), "198.51.100.66").login()
    stranger = service.client(address="198.51.100.67")
    answers = [mallory.confirm_email(tokens[1])]
    assert stranger.confirm_email(tokens[1]).status == ENDED
    harm(account(service, f"1-{NEW}"), "another user's login confirmed the email change")
    service.client(users[2], "192.0.2.140").login().end_others()
    clients[2].login()
    answers.append(clients[2].confirm_email(tokens[2]))
    harm(account(service, f"2-{NEW}"), "the email change was confirmed after its login had ended")
    service.travel(minutes=service.limits.reset_minutes, seconds=1)
    clients[3].login()  # beside the one that asked, which lives on
    answers.append(clients[3].confirm_email(tokens[3]))
    harm(account(service, f"3-{NEW}"), "an expired link changed an email address")
    for answer in answers:
        refused(answer, 410, CONFIRMED)


@protects(
    CONFIRMED,
    others=edit(
        LINKS,
        "else LINKS.user_id == this.user_id",
        "else or_(LINKS.email == this.email, LINKS.user_id == this.user_id)",
    ),
)
def test_second_request_for_an_address_keeps_the_owners_link(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = limit("reset_minutes", 60)  # links that outlive the next mail to a mailbox
    declare(service, monkeypatch, tmp_path / "exceptions.toml", hour)
    user = service.user()
    client, mallory = service.client(user).login(), service.client(service.user(), "198.51.100.68").login()
    client.ask_email(NEW)
    works(len(tokens := tokens_for(service, NEW, "email")) == 1, "the owner of the address receives a link")
    for _ in range(3):
        service.travel(minutes=4)
        client.step_up(user.password)
    mallory.login().ask_email(NEW)
    assert len(tokens_for(service, NEW, "email")) == 2
    answer = client.confirm_email(tokens[0])
    harm(account(service, NEW) is None, "another user's request invalidated the owner's link")
    assert answer.status == DONE["confirm_email"]


@protects("fresh-login-5-min", confirm=edit(FILE, "user, proved=False)", "user, proved=True)"))
def test_whoever_opens_a_link_has_not_proved_who_he_is(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise confirming an email change would make a stolen session as fresh as a new login."""
    manager, other = administrator(service, monkeypatch), service.user()
    assert manager.user is not None
    manager.ask_email(NEW)
    token = token_for(service, NEW, "email")
    stale(service, manager)
    works(manager.confirm_email(token).status == DONE["confirm_email"], "an old session confirms its email change")
    export = manager.export()
    harm(export.ok, "a session without a fresh login exported the account")
    act = manager.disable(other.id)
    harm(not account(service, other.email).active, "an old session disabled a user")  # type: ignore[union-attr]
    refused_late(export, manager)
    refused_late(act, manager)
    assert manager.step_up(manager.user.password).status == DONE["step_up"]
    assert manager.export().status == DONE["export"]


@protects("fresh-login-5-min", password=edit(FILE, "proved=not factors.held(user.id, connection)", "proved=True"))
def test_a_password_change_proves_no_second_factor(service: Service) -> None:
    """A thief with the session and the password lacks the second factor and must not bypass it."""
    without, user = service.client(service.user(), "192.0.2.91").login(), service.user()
    app, thief = with_app(service, user), arrived(service, user, "192.0.2.92")
    thief.send_code(app.next_code())
    stale(service, without, thief)
    works(without.change_password(PASSWORD, CHOSEN).status == DONE["change_password"], "a user changes the password")
    works(without.export().ok, "that counts as re-authentication for a user without a second factor")
    assert thief.change_password(user.password, CHOSEN).status == DONE["change_password"]
    export = thief.export()
    harm(export.ok, "the password counted as re-authentication without the second factor")
    refused_late(export, thief)


# --- the end of an account -------------------------------------------------------------------------------------


@protects(
    COMPLETE, ended=edit(FILE, "if not sessions.end(user.session_id, user.id, connection=connection):", "if False:")
)
def test_session_ended_during_a_deletion_deletes_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    two, users = Two(service), service.module("identity.users")
    works(two.unharmed.delete_account().status == DONE["delete_account"], "a live session deletes its account")
    real, done = users.changing, list[int]()

    def changing(user_id: Any) -> Any:
        at_once([lambda: done.append(two.second.end_others().status)])  # in a thread: each request has one of its own
        return real(user_id)

    monkeypatch.setattr(users, "changing", changing)
    answer = two.copy.delete_account()
    works(done == [DONE["end_others"]], "the owner ends all other sessions during the deletion")
    harm(account(service, two.user.email) is None, "an ended session deleted the account")
    assert answer.status == 401
    assert lives(two.second)


@protects(
    COMPLETE,
    notices=edit(FILE, " & MAILS.purpose.not_in(mail.NOTICES)", ""),
    former=edit(FILE, "mail.EMAIL_CHANGED, user.email)", "mail.EMAIL_CHANGED, user.email, user_id=user.id)"),
)
def test_owner_is_notified_although_a_thief_deletes_the_account(service: Service) -> None:
    user = service.user()
    thief = service.client(user, "198.51.100.69").login()
    thief.ask_email(NEW)
    works(
        thief.confirm_email(token_for(service, NEW, "email")).status == DONE["confirm_email"], "a thief changes address"
    )
    works(thief.change_password(user.password, CHOSEN).status == DONE["change_password"], "and the password")
    thief.forgot(NEW)
    works(thief.delete_account().status == DONE["delete_account"], "the thief deletes the account before mail is sent")
    harm("Your address was changed" not in subjects(service, user.email), "the owner received no notice of the change")
    reported = subjects(service, NEW)
    harm("Your password was changed" not in reported, "the last address received no notice of the password change")
    assert reported[1:] == ["Your password was changed", "Your account was deleted"]  # and nothing that leads anywhere
    assert tokens_for(service, NEW, "reset") == []


# --- what leaves -----------------------------------------------------------------------------------------------


@protects(OWN, others=edit(FILE, 'case((_of_others, ""), else_=EVENTS.address)', "EVENTS.address"))
def test_nobody_is_told_from_where_an_administrator_works(service: Service) -> None:
    user = service.user()
    client = service.client(user).login()

    def shows(kind: str, address: str) -> bool:
        with service.app.app_context():
            service.module("audit").record(kind, user_id=user.id)
        service.rows("UPDATE audit_event SET address = :address WHERE kind = :kind", address=address, kind=kind)
        return address in client.events().text

    works(shows("password.changed", "203.0.113.5"), "a user's own events show their address")
    by_others = service.module("audit").BY_OTHERS
    harm([kind for kind in by_others if shows(kind, "203.0.113.6")], "a user read an administrator's network address")
    assert client.events().status == 200


@protects(OWN, looked=edit(FILE, " | (EVENTS.kind.not_in(audit.SHOWN) & (EVENTS.actor_id != EVENTS.user_id))", ""))
def test_export_hides_the_addresses_of_administrators(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The export holds every event of the account, including those that no list shows."""
    chief = administrator(service, monkeypatch, "203.0.113.7")
    user = service.user()
    client = service.client(user, "203.0.113.8").login()

    def exported() -> list[tuple[str, str]]:
        found = client.export().json
        events = (found["tables"] if AUTH == "jwt" else found)["events"]
        return [(event["kind"], event["address"]) for event in events]

    exported()
    works(("account.exported", "203.0.113.8") in exported(), "the export shows the user's own address")
    works(chief.show_user(user.id).status == DONE["show_user"], "an administrator reads the account")
    found = exported()
    harm(("user.read", "203.0.113.7") in found, "the export reveals the administrator's network address")
    assert ("user.read", "") in found


@protects(
    "default-throttle",
    export=edit(FILE, '    throttle.spend("export", str(user.id), "default-throttle", EXPORTS)\n', ""),
)
def test_nobody_takes_everything_out_again_and_again(service: Service) -> None:
    user, other = service.user(), service.user()
    client = service.client(user, "192.0.2.175").login()
    answers = [client.export() for _ in range(5)]
    works([answer.status for answer in answers] == [DONE["export"]] * 5, "five exports an hour are allowed")
    works(user.email in answers[-1].text, "the export contains the stored data")
    answer = service.client(user, "192.0.2.176").login().export()
    harm(answer.status == DONE["export"], "a sixth export within the hour was answered")
    refused(answer, 429, "default-throttle")
    assert service.client(other, "192.0.2.177").login().export().status == DONE["export"]
    service.travel(hours=1, seconds=1)
    assert client.login().export().status == DONE["export"]


# --- reading ---------------------------------------------------------------------------------------------------


@protects(
    CURRENT,
    **sabotages(core.test_who_finds_a_session_open_sets_no_password, CURRENT, "current"),
)
def test_a_stolen_session_sets_no_password(service: Service) -> None:
    user = service.user()
    thief, owner = (service.client(user, f"192.0.2.{number}").login() for number in (101, 102))
    before = stored(service, user.email)
    works(lives(owner), "the owner is signed in")
    guesses = [thief.change_password(guess, OTHER) for guess in (None, "", OTHER, user.password.upper())]
    harm(stored(service, user.email) != before, "a thief changed the password without knowing the current one")
    assert [guess.status for guess in guesses[:2]] == [422, 422]
    for guess in guesses[2:]:
        refused(guess, 403, CURRENT)
    assert owner.change_password(user.password, user.password).status == 422  # no other one
    assert owner.change_password(user.password, "too short").status == 422
    assert stored(service, user.email) == before
    assert owner.change_password(user.password, CHOSEN).status == DONE["change_password"]
    assert signs_in(service, user.email, CHOSEN)
    assert not signs_in(service, user.email, user.password)
    reported = ["Your password was changed", "Sign-in on a new device"]  # the second is of the login just before
    assert subjects(service, user.email) == reported


@protects(
    REVOKES,
    **sabotages(core.test_a_new_password_ends_every_session_but_this_one, REVOKES, "password", "own"),
)
def test_a_new_password_ends_every_other_session(service: Service) -> None:
    two = Two(service)
    answer = two.first.change_password(two.user.password, CHOSEN)
    works(answer.status == DONE["change_password"], "the owner changes the password")
    two.ended("a new password")


@protects(
    CONFIRMED,
    **sabotages(
        core.test_an_address_is_changed_by_the_reader_of_its_mail_and_the_former_one_hears_of_it,
        CONFIRMED,
        "direct",
        "notice",
    ),
    done=edit(
        FILE,
        "        mail.enqueue(connection, mail.EMAIL_CHANGED, user.email)  # to the former address\n",
        "",
    ),
)
def test_email_change_needs_the_new_mailbox_and_warns_the_old(service: Service) -> None:
    user = service.user()
    client = service.client(user, "192.0.2.121").login()
    stale(service, client)
    late = client.ask_email("late@example.com")
    assert waiting(service) == []
    refused_late(late, client)
    client.step_up(user.password)
    works(client.ask_email(NEW).status == DONE["ask_email"], "the user asks to change the email address")
    harm(account(service, NEW), "the email address changed before the new address was confirmed")
    harm("Your address is about to change" not in subjects(service, user.email), "the current address got no notice")
    service.client(address="192.0.2.122").forgot(NEW)
    assert tokens_for(service, NEW, "reset") == []
    assert signs_in(service, user.email, user.password)
    answer = client.confirm_email(token_for(service, NEW, "email"))
    works(answer.status == DONE["confirm_email"], "the mailed link confirms the new address")
    works(account(service, NEW).id == user.id, "the new address is of the same account")  # type: ignore[union-attr]
    harm("Your address was changed" not in subjects(service, user.email), "the former address received no notice")
    reported = sent(service, user.email)
    asked, signed_in, changed = "Your address is about to change", "Sign-in on a new device", "Your address was changed"
    assert [mail["Subject"] for mail in reported] == [asked, signed_in, changed]
    assert [mail["Subject"] for mail in reported if NEW in text(mail) or link(mail) is not None] == []
    assert not signs_in(service, user.email, user.password)
    assert signs_in(service, NEW, user.password)


@protects(
    COMPLETE,
    **sabotages(core.test_no_table_holds_anything_of_a_deleted_account, COMPLETE, "account", "rows", "owner"),
    waiting=edit(FILE, "((MAILS.user_id == user.id) | (MAILS.email == row.email))", "(MAILS.user_id == user.id)"),
)
def test_deleted_account_leaves_no_data_and_no_valid_token(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    probe, gone = service.adds_probe(), list[Any]()
    service.adds(lambda app: service.module().before_deletion(app, lambda _connection, user_id: gone.append(user_id)))
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
    unharmed.forgot(other.email)  # and two of another user
    unharmed.ask_email(f"their-other-{NEW}")
    stale(service, client)
    refused_late(client.delete_account(), client)
    assert account(service, user.email)
    client.step_up(user.password)
    kept = client.copy()
    works(client.delete_account().status == DONE["delete_account"], "the owner deletes the account")
    harm(("reset", user.email) in waiting(service), "a mail to the deleted account's address is still queued")
    with service.app.app_context():
        still_good = service.module("identity.links").look(theirs, "email")
    sent(service)
    left = everything(service)
    harm([name for name, rows in left.items() if user.email in repr(rows)], "a table still holds the deleted address")
    harm(account(service, other.email) is None, "another user's account was deleted")
    harm([one for one in (kept, second) if lives(one)], "a session survived the deletion of its account")
    assert (gone, still_good is None) == ([user.id], False)
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


@protects(
    "mass-assignment-refused",
    **sabotages(core.test_a_user_writes_no_more_of_an_account_than_its_name, "mass-assignment-refused", "update"),
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
    works(becomes_member(service, "honest@example.com").email, "a client that sends no extra field makes an account")
    service.client(address="192.0.2.151").register("member@example.com")
    token = token_for(service, "member@example.com", "activate")
    more = {name: value for name, value in tried.items() if name != "password"}
    activated = service.client().activate(token, CHOSEN, "Member", **more)
    if account(service, "member@example.com") is None:
        assert service.client().activate(token, CHOSEN, "Member").status == DONE["activate"]
    before = account(service, "member@example.com")
    assert before is not None
    harm(before.roles or before.password_hash == "x" or before.id == other.id, "an extra field set a protected column")
    user = service.user()
    client = service.client(user).login()
    works(client.rename("Member").status == DONE["rename"], "the user changes the display name")
    before = account(service, user.email)
    works(before is not None and before.display_name == "Member", "the new name is stored in the account")
    assert account(service, other.email).display_name == ""  # type: ignore[union-attr]
    assert not client.rename("x" * 101).ok
    assert account(service, user.email) == before
    answers = []
    for name, value in tried.items():
        answers.append(client.rename("Member", **{name: value}))
        harm(account(service, user.email) != before, f"the extra field {name} changed the account")
    nothing_more_was_read(activated, "activate")
    for answer in answers:
        nothing_more_was_read(answer, "rename")
    assert client.rename("x" * 101).status == 422
    assert client.rename("x" * 100).status == DONE["rename"]
    assert client.rename("Member").status == DONE["rename"]
    assert client.rename("tick\u202etock").status == 422
    assert account(service, user.email) == before


@protects(
    "session-list-and-revoke",
    **sabotages(core.test_a_user_ends_an_own_session_and_none_of_another, "session-list-and-revoke", "owner"),
    token=edit(
        "identity/sessions.py",
        "select(SESSIONS.id, SESSIONS.created_at, SESSIONS.seen_at, SESSIONS.address, SESSIONS.agent)",
        "select(SESSIONS.id, SESSIONS.created_at, SESSIONS.seen_at, SESSIONS.agent, "
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
    works(str(ids[second.address].id) in listed.text, "the list shows the user's own sessions")
    hashes = [bytes(one.token_hash) for one in ids.values()]
    harm([one for one in hashes if one.hex() in listed.text], "the session list reveals a token hash")
    answer = client.end_session(ids[theirs.address].id)
    harm(not lives(theirs), "a user ended another user's session")
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


@protects("response-fields-allow-list", **LEAKS)
def test_no_answer_holds_what_nobody_is_to_see(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read every protected GET route as the owner, as another user and as an administrator."""
    manager = administrator(service, monkeypatch)
    owner, other = service.user(), service.user()
    service.rows("UPDATE auth_user SET display_name = replace('Name-@', '@', email)")
    canaries = [row[0] for row in service.rows("SELECT password_hash FROM auth_user")]
    walked = [route for route in routes(service) if route.method == "GET" and not route.access.public]
    assert len(walked) >= 6
    clients = {
        "owner": service.client(owner, "192.0.2.171").login(),
        "another user": service.client(other, "192.0.2.172").login(),
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
    works(owner.email in clients["owner"].account().text, "the owner sees their own email address")
    works(owner.email in manager.show_user(owner.id).text, "an administrator sees the user's email address")
    harm(found, "an answer reveals a secret")
    reported = [path for (who, path), answer in seen.items() if who == "another user" and owner.email in answer.text]
    assert reported == []
    for client in clients.values():
        assert not [key for key in (*canaries, *keys) if key in client.export().text]
    if AUTH == "jwt":
        account_fields = {"id", "email", "display_name", "roles", "permissions", "session_id"}
        assert clients["owner"].account().json.keys() == account_fields | {"signed_in_at", "verified_at"}
        user_fields = {"id", "email", "display_name", "active", "roles", "created_at"}
        assert manager.show_user(owner.id).json.keys() == user_fields | {"live_sessions"}
        assert {frozenset(item) for item in manager.users().json["items"]} == {frozenset(user_fields)}


@protects(OWN, masses=edit(FILE, "partition_by=EVENTS.kind, ", ""))
def test_repeated_events_do_not_hide_a_password_change(service: Service) -> None:
    user, shown = cheap_user(service), service.module("identity.account").EVENTS_SHOWN
    thief = service.client(user, "198.51.100.70").login()
    thief.change_password(user.password, CHOSEN)
    works(SEEN in thief.events().text, "the event list shows the password change")
    refused(thief.users(), 403, "role-required")
    for _ in range(shown):
        thief.users()
    harm(SEEN not in thief.events().text, "refused requests pushed the password change off the event list")
    with service.app.app_context():
        for kind in service.module("audit").SHOWN.keys() - {"password.changed", "login.failure"}:
            for _ in range(shown):
                service.module("audit").record(kind, user_id=user.id)
    harm(SEEN not in thief.events().text, "repeated events pushed the password change off the event list")
    kept_waiting(service, user.email)
    assert failures(service) == service.limits.login_failures
    with service.app.app_context():
        for _ in range(shown):  # on many other days
            service.module("audit").record("login.failure", user_id=user.id)
    owner = service.client(user, "192.0.2.173").login()
    harm(SEEN not in owner.events().text, "failed logins pushed the password change off the event list")
    assert {"session": "Failed attempt to sign in", "jwt": "login.failure"}[AUTH] in owner.events().text
    with service.app.app_context():
        found = [event["kind"] for event in service.module("identity.account").recent_events(user.id)]
    assert {found.count(kind) for kind in {*found} - {"password.changed"}} == {shown}
    other = service.client(service.user(), "192.0.2.174").login()
    assert SEEN not in other.events().text


@protects("response-fields-allow-list", others=edit(FILE, "            LINKS.user_id == user.id\n", ""))
def test_export_holds_all_data_of_one_user_and_of_no_other(service: Service) -> None:
    user, other = service.user(), service.user()
    service.client(other, "192.0.2.178").login()
    theirs = keeps_of_each(service, other, LONG_AGO)
    client = service.client(user, "192.0.2.179").login()
    keeps_of_each(service, user, "2002-03-04")
    answer = client.export()
    found = answer.json["tables"] if AUTH == "jwt" else answer.json
    of_ours = {"account", "sessions", "devices", "links", "events", "authenticator_app", "passkeys", "recovery_codes"}
    works(found.keys() == {*of_ours, *theirs}, "the export contains every table")
    works([name for name, rows in found.items() if not rows] == [], "every table of the export has rows")
    harm([text for text in (LONG_AGO, other.email, str(other.id)) if text in answer.text], "another user's data")
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
