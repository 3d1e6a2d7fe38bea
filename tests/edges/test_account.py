"""Edges of the proofs in test_account.py: further attacks on the same protections."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ..accounts import (
    CHOSEN,
    DONE,
    ENDED,
    NO_LOCK_AT_FIRST,
    OTHER,
    Hashing,
    account,
    administrator,
    live_sessions,
    lives,
    signs_in,
    with_app,
)
from ..harness import at_once, edit, harm, protects, refused, works
from ..logins import WRONG, HashSpy, arrived, attempt, cheap_user, device_of, stored
from ..mails import subjects, token_for, tokens_for
from ..running import PASSWORD
from ..service import AUTH
from ..test_account import (
    COMPLETE,
    CONFIRMED,
    CURRENT,
    ENDED_FIRST,
    FILE,
    NEW,
    OWN,
    REVOKES,
    Two,
    kept_waiting,
    refused_late,
    stale,
)
from .test_exceptions import declare, limit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..running import Service
    from ..service import Client
    from ..wire import Response


LINKS = "identity/links.py"
LOCKED = "    hold(connection, old.id)\n"
HELD = "        sessions.hold(connection, user.id)\n        if factors.held(user.id, connection):  # added since\n"
COMPARED = "and_(_u.password_hash == row.password_hash, _u.email == subject)"
PAGE_IS_ANYBODYS = (
    ()
    if AUTH == "jwt"
    else (edit("session/account.py", "    if link.user_id != current_user.id:\n        links.gone(links.EMAIL)\n", ""),)
)
# --- the password ----------------------------------------------------------------------------------------------


@protects(
    CURRENT,
    counted=edit(
        "identity/login.py",
        '        audit.record("password.wrong"',
        '        attempt.not_made()\n        audit.record("password.wrong"',
    ),
)
def test_a_stolen_session_guesses_a_few_times_only(service: Service) -> None:
    user, tries = cheap_user(service), service.limits.login_failures
    thief = service.client(user, "198.51.100.66").login()
    works(lives(thief), "the session is good")
    guesses = [thief.change_password((WRONG, OTHER)[number % 2], CHOSEN) for number in range(tries)]
    before = stored(service, user.email)
    thief.login()  # a session of its own makes no new guesses
    answer = thief.change_password(user.password, CHOSEN)  # the next guess happens to be right
    harm(stored(service, user.email) != before, "there was no end to guessing")
    assert [guess.status for guess in guesses] == [403] * tries
    refused(answer, 429, CURRENT)
    assert service.client(user, "198.51.100.67").login().step_up(user.password).status == 429
    assert signs_in(service, user.email, user.password)  # whoever is at the login is not kept out
    service.travel(minutes=service.limits.login_wait_minutes, seconds=1)
    owner = service.client(user, "192.0.2.103").login()
    assert owner.change_password(user.password, CHOSEN).status == DONE["change_password"]
    login, throttle = service.module("identity.login"), service.module("throttle")
    with service.app.app_context():
        for _ in range(tries):
            throttle.book(login.AGAIN, user.email, CURRENT)
    refused(owner.step_up(CHOSEN), 429, CURRENT)
    owner.forgot(user.email)
    assert owner.reset(token_for(service, user.email, "reset"), OTHER).status == DONE["reset"]
    again = arrived(service, user, "192.0.2.107", OTHER)
    assert again.step_up(OTHER).status == DONE["step_up"]  # guesses of the former password


@protects(
    CURRENT,
    right=edit(
        "identity/login.py",
        'throttle.spend(f"{AGAIN}-rate", user.email, "password-change-needs-current", RATE)',
        'throttle.Spent(b"", 0.0)',
    ),
)
def test_not_even_the_right_password_is_proved_as_often_as_one_likes(service: Service) -> None:
    """Each costs a hash: one account, one's own, would keep everybody's logins waiting."""
    user, other, spy = cheap_user(service), cheap_user(service), HashSpy(service)
    client = service.client(user, "192.0.2.104").login()
    statuses = [client.step_up(user.password).status for _ in range(20)]
    works(statuses == [DONE["step_up"]] * 20, "so many proofs a minute are taken")
    works(len(spy.compared) == 20, "each was compared")
    spy.compared.clear()
    answer = service.client(user, "192.0.2.105").login().step_up(user.password)  # not by another session either
    harm(spy.compared, "one more was compared")
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
    works(answer.status == DONE["confirm_email"], "the address is changed")
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
    works(answer.status == DONE["reset"], "the password is set")
    harm([one for one in (two.first, two.second, two.copy) if lives(one)], "a session outlived a new password")
    assert live_sessions(service, two.user.id) == 0
    assert lives(two.unharmed)


@protects(REVOKES, proved=edit("identity/sessions.py", ENDED_FIRST, "row is None"))
def test_who_proves_who_he_is_leaves_a_copy_of_the_session_behind(service: Service) -> None:
    """And what the session had asked for goes on with it."""
    two = Two(service)
    two.first.ask_email(NEW)
    answer = two.first.step_up(two.user.password)
    works(answer.status == DONE["step_up"], "the right password is taken")
    harm(lives(two.copy), "a copy of the session is as good as the one that was proved")
    assert lives(two.first)
    assert lives(two.second)
    assert two.first.confirm_email(token_for(service, NEW, "email")).status == DONE["confirm_email"]


@pytest.mark.parametrize("way", ["password", "address", "reset"])
@protects(
    REVOKES,
    devices=edit("identity/devices.py", "    connection.execute(delete(Device).where(_d.user_id == user_id))\n", ""),
)
def test_a_device_that_a_thief_signed_in_from_has_no_guesses_of_its_own_any_more(service: Service, way: str) -> None:
    user, other = service.user(), service.user()
    owner, mallory = service.client(user, "192.0.2.116").login(), service.client(address="198.51.100.68")
    known = device_of(attempt(mallory, user.email, user.password))
    unharmed = device_of(attempt(service.client(address="192.0.2.117"), other.email, other.password))
    kept_waiting(service, user.email)
    spy = HashSpy(service, quick=True)
    attempt(mallory, user.email, WRONG, known)
    works(len(spy.compared) == 1, "on a known device a password is looked at while the account has to wait")
    done = changed_by_owner(service, owner, way)
    works(done == DONE[{"password": "change_password", "address": "confirm_email"}.get(way, way)], "it is changed")
    email = NEW if way == "address" else user.email
    kept_waiting(service, email)
    spy.compared.clear()
    answer = attempt(mallory, email, WRONG, known)
    harm(spy.compared, "the device of before has guesses, though everybody else has to wait")
    refused(answer, 429, "login-throttle-account")
    kept_waiting(service, other.email)
    refused(attempt(service.client(address="192.0.2.117"), other.email, WRONG, unharmed), 401, "login-uniform-failure")


def changed_by_owner(service: Service, owner: Client, way: str) -> int:
    """The status of a change of what opens the account."""
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
    """What is put into the list happens once, when a password has just been compared, and nothing came of it yet."""
    login, waiting_for = service.module("identity.login"), list[Any]()
    real = login._matches

    def matches(*arguments: Any) -> bool:
        found = bool(real(*arguments))
        if waiting_for:
            at_once([waiting_for.pop()])  # in a thread: each request has one of its own
        return found

    monkeypatch.setattr(login, "_matches", matches)
    return waiting_for


@pytest.mark.parametrize("way", ["password", "reset", "address"])
@protects(REVOKES, under_way=edit("identity/login.py", COMPARED, "_u.id == row.id"))
def test_a_login_that_is_under_way_while_its_credential_is_changed_opens_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    Hashing(service, monkeypatch, cheap=True)
    user, meanwhile = service.user(), after_comparing(service, monkeypatch)
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
    meanwhile.append(lambda: done.append(act().status))
    answer = attempt(service.client(address="198.51.100.66"), user.email, user.password)
    works(done == [DONE[name]], "while the old password was compared its owner changed what it opens")
    left = 0 if way == "reset" else 1  # the owner's own
    harm(live_sessions(service, user.id) > left, "what is no longer in force opened a session")
    refused(answer, 401, "login-uniform-failure")
    assert live_sessions(service, user.id) == left
    now = (NEW, user.password) if way == "address" else (user.email, CHOSEN)
    assert signs_in(service, *now)


@protects(REVOKES, under_way=edit("identity/login.py", COMPARED, "_u.id == row.id"))
def test_a_login_that_waits_for_the_row_that_is_changed_opens_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new password is written and not committed when the login comes to the account: it has to wait, and look."""
    from sqlalchemy import event

    Hashing(service, monkeypatch, cheap=True)
    users, meanwhile = [service.user() for _ in range(4)], after_comparing(service, monkeypatch)
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
        meanwhile.append(waits)
        statuses = at_once(
            [
                partial(changes, owner, user.password),
                partial(logs_in, thief, user.email, user.password),
            ]
        )
        works(statuses[0] == DONE["change_password"] and begins.is_set(), "the password is changed at this moment")
        harm(live_sessions(service, user.id) > 1, "the old password opened a session")
        assert statuses[1] == 401


@protects(
    REVOKES,
    renewed=(
        edit("identity/sessions.py", LOCKED, ""),
        edit("identity/login.py", HELD, HELD.removeprefix("        sessions.hold(connection, user.id)\n")),
        *NO_LOCK_AT_FIRST,
        edit(
            "identity/sessions.py", ENDED_FIRST, ENDED_FIRST.replace("or c", "or not c").removesuffix(".rowcount != 1")
        ),
    ),
)
def test_a_step_up_that_is_under_way_does_not_outlive_a_new_password(service: Service) -> None:
    from sqlalchemy import event

    two, reads = Two(service), "SELECT auth_session.expires_at, auth_session.address"
    works(two.copy.step_up(two.user.password).status == DONE["step_up"], "who proves who he is goes on")
    thief, owner, changing = two.copy, two.second, list[threading.Thread]()
    for client in (thief, owner):
        client.honest("POST", {}, None, None, None)
    done: list[int] = []

    def change() -> None:
        done.append(owner.change_password(two.user.password, CHOSEN).status)

    def meanwhile(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith(reads) and not changing:
            changing.append(threading.Thread(target=change, daemon=True))
            changing[0].start()
            changing[0].join(1)  # where the account's row is locked already, it waits for the end of this step-up

    with service.app.app_context():
        event.listen(service.module("database").db.engine, "after_cursor_execute", meanwhile)
    thief.step_up(two.user.password)
    works(len(changing) == 1, "the session was read, and its end not written yet")
    changing[0].join(10)
    works(done == [DONE["change_password"]], "when its owner changed the password")
    harm(lives(thief), "the session goes on, though everything that the old password opened has ended")
    assert live_sessions(service, two.user.id) == 1
    assert lives(owner)


# --- the address -----------------------------------------------------------------------------------------------


@protects(
    CONFIRMED,
    account=(edit(FILE, "    if link.user_id != user.id:\n        links.gone(links.EMAIL)\n", ""), *PAGE_IS_ANYBODYS),
    session=edit(
        LINKS,
        "            _l.session_id.is_(None),\n",
        "            _l.id.is_not(None),\n",
    ),
    expiry=edit(LINKS, "        _l.expires_at > moment,\n", ""),
)
def test_a_link_to_another_address_is_worth_nothing_without_the_login_that_asked(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    users = [service.user() for _ in range(4)]
    clients = [service.client(user, f"192.0.2.{number}").login() for number, user in enumerate(users, 131)]
    for number, client in enumerate(clients):
        client.ask_email(f"{number}-{NEW}")
    tokens = [token_for(service, f"{number}-{NEW}", "email") for number in range(4)]
    service.client(address="192.0.2.139").register(f"0-{NEW}")
    makes_account, links = token_for(service, f"0-{NEW}", "activate"), service.module("identity.links")
    works(clients[0].confirm_email(tokens[0]).status == DONE["confirm_email"], "who asked for it confirms it")
    with service.app.app_context():
        assert links.look(makes_account, links.ACTIVATE) is None  # the address has an account now
    mallory = service.client(service.user(), "198.51.100.66").login()
    stranger = service.client(address="198.51.100.67")
    answers = [mallory.confirm_email(tokens[1])]
    assert stranger.confirm_email(tokens[1]).status == ENDED
    harm(account(service, f"1-{NEW}"), "somebody else's link gave an account this address")
    service.client(users[2], "192.0.2.140").login().end_others()
    clients[2].login()
    answers.append(clients[2].confirm_email(tokens[2]))
    harm(account(service, f"2-{NEW}"), "the change went on though the login that asked for it had ended")
    service.travel(minutes=service.limits.reset_minutes, seconds=1)
    clients[3].login()  # beside the one that asked, which lives on
    answers.append(clients[3].confirm_email(tokens[3]))
    harm(account(service, f"3-{NEW}"), "a link that had ended changed an address")
    for answer in answers:
        refused(answer, 410, CONFIRMED)


@protects(
    CONFIRMED,
    others=edit(
        LINKS, "else _l.user_id == this.user_id", "else or_(_l.email == this.email, _l.user_id == this.user_id)"
    ),
)
def test_whoever_asks_for_an_address_as_well_ends_no_link_that_its_owner_has(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = limit("reset_minutes", 60)  # links that outlive the next mail to a mailbox
    declare(service, monkeypatch, tmp_path / "exceptions.toml", hour)
    user = service.user()
    client, mallory = service.client(user).login(), service.client(service.user(), "198.51.100.68").login()
    client.ask_email(NEW)
    works(len(tokens := tokens_for(service, NEW, "email")) == 1, "the owner of an address has a link to it")
    for _ in range(3):
        service.travel(minutes=4)
        client.step_up(user.password)
    mallory.login().ask_email(NEW)
    assert len(tokens_for(service, NEW, "email")) == 2
    answer = client.confirm_email(tokens[0])
    harm(account(service, NEW) is None, "somebody else's wish for it keeps it from its owner")
    assert answer.status == DONE["confirm_email"]


@protects("fresh-login-5-min", confirm=edit(FILE, "user, proved=False)", "user, proved=True)"))
def test_whoever_opens_a_link_has_not_proved_who_he_is(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stolen session, minutes after its owner asked for another address, would be as fresh as a new login."""
    manager, other = administrator(service, monkeypatch), service.user()
    assert manager.user is not None
    manager.ask_email(NEW)
    token = token_for(service, NEW, "email")
    stale(service, manager)
    works(manager.confirm_email(token).status == DONE["confirm_email"], "an old session confirms what it asked for")
    export = manager.export()
    harm(export.ok, "and hands out everything about the account, though nobody gave the password")
    act = manager.disable(other.id)
    harm(not account(service, other.email).active, "and disables others")  # type: ignore[union-attr]
    refused_late(export, manager)
    refused_late(act, manager)
    assert manager.step_up(manager.user.password).status == DONE["step_up"]
    assert manager.export().status == DONE["export"]


@protects("fresh-login-5-min", password=edit(FILE, "proved=not factors.held(user.id, connection)", "proved=True"))
def test_a_password_change_proves_no_second_factor(service: Service) -> None:
    """A thief who has the session and the password lacks the second factor, and must not get round it."""
    without, user = service.client(service.user(), "192.0.2.91").login(), service.user()
    app, thief = with_app(service, user), arrived(service, user, "192.0.2.92")
    thief.send_code(app.next_code())
    stale(service, without, thief)
    works(without.change_password(PASSWORD, CHOSEN).status == DONE["change_password"], "a password is changed")
    works(without.export().ok, "and proves who has no other factor")
    assert thief.change_password(user.password, CHOSEN).status == DONE["change_password"]
    export = thief.export()
    harm(export.ok, "the password counted as a proof without the second factor")
    refused_late(export, thief)


# --- the end of an account -------------------------------------------------------------------------------------


@protects(
    COMPLETE, ended=edit(FILE, "if not sessions.end(user.session_id, user.id, connection=connection):", "if False:")
)
def test_a_deletion_that_is_under_way_while_its_session_is_ended_deletes_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    two, users = Two(service), service.module("identity.users")
    works(two.unharmed.delete_account().status == DONE["delete_account"], "a session that lives deletes its account")
    real, done = users.changing, list[int]()

    def changing(user_id: Any) -> Any:
        at_once([lambda: done.append(two.second.end_others().status)])  # in a thread: each request has one of its own
        return real(user_id)

    monkeypatch.setattr(users, "changing", changing)
    answer = two.copy.delete_account()
    works(done == [DONE["end_others"]], "its owner ended all other sessions, and knows that they are over")
    harm(account(service, two.user.email) is None, "one of them deleted the account after that")
    assert answer.status == 401
    assert lives(two.second)


@protects(
    COMPLETE,
    notices=edit(FILE, " & _o.purpose.not_in(mail.NOTICES)", ""),
    former=edit(FILE, "mail.EMAIL_CHANGED, user.email)", "mail.EMAIL_CHANGED, user.email, user_id=user.id)"),
)
def test_what_a_thief_did_is_told_though_he_deletes_the_account_right_after(service: Service) -> None:
    user = service.user()
    thief = service.client(user, "198.51.100.69").login()
    thief.ask_email(NEW)
    works(
        thief.confirm_email(token_for(service, NEW, "email")).status == DONE["confirm_email"], "it is his address now"
    )
    works(thief.change_password(user.password, CHOSEN).status == DONE["change_password"], "and his password")
    thief.forgot(NEW)
    works(thief.delete_account().status == DONE["delete_account"], "and he deletes the account before a mail is out")
    harm("Your address was changed" not in subjects(service, user.email), "its owner never learns of the change")
    told = subjects(service, NEW)
    harm("Your password was changed" not in told, "nor does the last address of the new password")
    assert told[1:] == ["Your password was changed", "Your account was deleted"]  # and nothing that leads anywhere
    assert tokens_for(service, NEW, "reset") == []


# --- what leaves -----------------------------------------------------------------------------------------------

BY_OTHERS = (
    *("user.enabled", "user.disabled", "user.role_given", "user.role_removed", "password.reset_started"),
    *("mfa.reset_by_administrator", "session.ended_by_administrator"),
)


@protects(OWN, others=edit(FILE, 'case((_of_others, ""), else_=_a.address)', "_a.address"))
def test_nobody_is_told_from_where_an_administrator_works(service: Service) -> None:
    user = service.user()
    client = service.client(user).login()

    def told(kind: str, address: str) -> bool:
        with service.app.app_context():
            service.module("audit").record(kind, user_id=user.id)
        service.rows("UPDATE audit_event SET address = :address WHERE kind = :kind", address=address, kind=kind)
        return address in client.events().text

    works(told("password.changed", "203.0.113.5"), "one's own events have their address")
    harm([kind for kind in BY_OTHERS if told(kind, "203.0.113.6")], "the account's owner reads an administrator's")
    assert client.events().status == 200


@protects(OWN, looked=edit(FILE, " | (_a.kind.not_in(SHOWN) & (_a.actor_id != _a.user_id))", ""))
def test_an_export_tells_nobody_from_where_others_looked_at_the_account(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds every event of the account, those too that no list shows."""
    chief = administrator(service, monkeypatch, "203.0.113.7")
    user = service.user()
    client = service.client(user, "203.0.113.8").login()

    def exported() -> list[tuple[str, str]]:
        found = client.export().json
        events = (found["tables"] if AUTH == "jwt" else found)["events"]
        return [(event["kind"], event["address"]) for event in events]

    exported()
    works(("account.exported", "203.0.113.8") in exported(), "one's own events have their address")
    works(chief.show_user(user.id).status == DONE["show_user"], "an administrator looks at the account")
    found = exported()
    harm(("user.read", "203.0.113.7") in found, "the account's owner reads an administrator's address")
    assert ("user.read", "") in found


@protects(
    "default-throttle",
    export=edit(FILE, '    throttle.spend("export", str(user.id), "default-throttle", EXPORTS)\n', ""),
)
def test_nobody_takes_everything_out_again_and_again(service: Service) -> None:
    user, other = service.user(), service.user()
    client = service.client(user, "192.0.2.175").login()
    answers = [client.export() for _ in range(5)]
    works([answer.status for answer in answers] == [DONE["export"]] * 5, "five exports an hour are made")
    works(user.email in answers[-1].text, "with what is stored")
    answer = service.client(user, "192.0.2.176").login().export()
    harm(user.email in answer.text, "and one more")
    refused(answer, 429, "default-throttle")
    assert service.client(other, "192.0.2.177").login().export().status == DONE["export"]
    service.travel(hours=1, seconds=1)
    assert client.login().export().status == DONE["export"]


# --- reading ---------------------------------------------------------------------------------------------------
