"""Edges of the notices to owners of accounts, whose core is in test_mail.py."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from .. import mails
from ..accounts import CHOSEN, OTHER, administrator, with_app
from ..authenticator import App, Authenticator
from ..harness import edit, harm, insert, protects, works
from ..logins import SIGNED_IN, WRONG, attempt, device_of
from ..running import PASSWORD
from ..service import AUTH, Client

if TYPE_CHECKING:
    from email.message import EmailMessage

    from ..running import Service
    from ..wire import Response


THIEF = "203.0.113.66"
_numbers = itertools.count(1)


ROW = "credential-change-notices"
LOGIN, FACTORS, ACCOUNT, LETTERS = "identity/login.py", "identity/factors.py", "identity/account.py", "mail/letters.py"
DONE = Client.DONE
PASSWORD_CHANGED = "Your password was changed"


class Owner:
    """Somebody with an account, and the mailbox that is read after each event."""

    def __init__(self, service: Service) -> None:
        self.service, self.user, self.email = service, service.user(), ""
        self.read: dict[str, int] = {}

    def news(self) -> list[EmailMessage]:
        """What came since the mailbox was last read."""
        found = mails.sent(self.service, self.user.email)
        new = found[self.read.get(self.user.email, 0) :]
        self.read[self.user.email] = len(found)
        return new

    def hears_nothing(self, what: str) -> None:
        """The mailbox is empty after something ordinary."""
        harm([mail["Subject"] for mail in self.news()], f"the owner is mailed to, {what}")

    @contextmanager
    def is_told(self, subject: str, address: str = THIEF) -> Iterator[None]:
        """What is done within comes with exactly this notice, of when and from where it was done."""
        assert self.news() == []
        began = self.service.now()
        yield
        moments = {f"{moment:%Y-%m-%d %H:%M} UTC" for moment in (began, self.service.now())}
        self.service.travel(minutes=3)  # the mail is sent later than that
        found = self.news()
        subjects = [mail["Subject"] for mail in found]
        harm(subject not in subjects, f"the owner is not told: {subject}")
        assert subjects == [subject]
        text = mails.text(found[0])
        harm(not [moment for moment in moments if moment in text], "the notice does not say when it happened")
        harm(address not in text, "the notice does not say from where")
        harm(mails.link(found[0]), "a notice holds a link that does something")
        assert "new password" in text or "write to" in text

    def client(self, address: str = THIEF, methods: str = "password") -> Client:
        """A session that has just been proved."""
        return self.service.client(replace(self.user, methods=methods), address).login()

    def signs_in(self, device: str | None = None, address: str = "", app: App | None = None) -> str:
        """Sign in with everything that is asked for; what the device is given."""
        number = next(_numbers)
        client = self.service.client(self.user, address or f"198.{18 + number // 250 % 2}.{number % 250}.5")
        answer = attempt(client, self.user.email, self.user.password, device)
        if app is not None:
            more = {"device_token": device} if AUTH == "jwt" and device is not None else {}
            answer = client.send_code(app.next_code(), **more)
        works(answer.status == SIGNED_IN, "the right password and code sign in")
        return device_of(answer)

    def fails(self, times: int, device: str | None = None) -> None:
        """Somebody, each time from another network, types a wrong password."""
        for _ in range(times):
            number = next(_numbers)
            client = self.service.client(address=f"198.{18 + number // 250 % 2}.{number % 250}.5")
            assert attempt(client, self.user.email, WRONG, device).status == 401

    def guesses(self, times: int, app: App) -> list[Response]:
        """Somebody who knows the password types wrong codes."""
        client = self.service.client(self.user, THIEF)
        attempt(client, self.user.email, self.user.password)
        return [client.send_code(app.wrong_code()) for _ in range(times)]


ADDED, REMOVED = "A second factor was added", "A second factor was removed"
NEW_DEVICE, AFTER_FAILURES = "Sign-in on a new device", "Sign-in after failed attempts"
GUESSED = "Somebody is guessing your codes"


@protects(
    ROW,
    added=edit(FACTORS, "        mail.enqueue(connection, mail.FACTOR_ADDED, user.email)\n", ""),
    factor=edit(FACTORS, "\n        mail.enqueue(connection, mail.FACTOR_REMOVED, user.email)\n", "\n"),
    codes=edit(FACTORS, "        mail.enqueue(connection, mail.CODES_MADE, user.email)\n", ""),
    used=edit(LOGIN, "    _notify(connection, user_id, mail.CODE_USED)\n", "    pass\n"),
)
def test_no_second_factor_comes_or_goes_without_its_owner_being_told(service: Service) -> None:
    owner, device = Owner(service), Authenticator()
    both = "password totp"
    client = owner.client()
    app = App(service, client.seed_of(client.begin_totp()))
    with owner.is_told(ADDED):
        confirmed = client.confirm_totp(app.code())
        works(confirmed.status == DONE["confirm_totp"], "an app is added, with the first recovery codes")
    client = owner.client(methods=both)
    with owner.is_told("New recovery codes"):
        renewed = client.new_codes()
        works(renewed.status == DONE["new_codes"], "there are new ones")
    [code, *_] = client.codes_of(renewed)
    with owner.is_told("A recovery code was used"):
        works(client.step_up(PASSWORD, code).status == DONE["step_up"], "one is used")
    client = owner.client(methods=both)
    options, asked = client.passkey_options()
    with owner.is_told(ADDED):
        works(client.add_passkey(asked, device.create(options)).status == DONE["add_passkey"], "a passkey is added")
    client = owner.client(methods=both)
    [passkey] = client.passkeys()
    with owner.is_told(REMOVED):
        works(client.remove_passkey(passkey["id"]).status == DONE["remove_passkey"], "and removed")
    client = owner.client(methods=both)
    another = App(service, client.seed_of(client.begin_totp()))
    assert client.confirm_totp(another.code()).status == DONE["confirm_totp"]
    service.travel(minutes=3)
    assert sorted(mail["Subject"] for mail in owner.news()) == [ADDED, REMOVED]  # one app in the place of the other
    client = owner.client(methods=both)
    with owner.is_told(REMOVED):
        works(client.remove_totp().status == DONE["remove_totp"], "so is the app")


@protects(
    ROW,
    copied=edit(LOGIN, "        _notify(connection, assertion.user_id, mail.PASSKEY_SUSPENDED)\n", ""),
    administrator=edit("mail/__init__.py", "if purpose in NOTICES - BY_OTHERS else", "if purpose in NOTICES else"),
    administrators=edit(FACTORS, "        mail.enqueue(connection, mail.FACTORS_RESET, row.email)\n", ""),
)
def test_a_copied_passkey_and_what_an_administrator_removed_are_told(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, device, at_the_desk = Owner(service), Authenticator(), "192.0.2.90"
    manager = administrator(service, monkeypatch, at_the_desk)
    client = owner.client()
    options, asked = client.passkey_options()
    works(client.add_passkey(asked, device.create(options)).status == DONE["add_passkey"], "a passkey is added")
    assert [mail["Subject"] for mail in owner.news()] == [ADDED]
    thief = service.client(address=THIEF)
    options, asked = thief.login_passkey_options()
    with owner.is_told("A passkey was switched off"):
        works(thief.login_with_passkey(asked, device.get(options, count=1)).status == 401, "a copy is refused")
    works(manager.reset_factors(owner.user.id).status == DONE["reset_factors"], "an administrator removes what is lost")
    found = owner.news()
    harm(not found, "the owner is not told what an administrator removed")
    text = mails.text(found[0])
    harm(at_the_desk in text, "every user learns where the administrator is")
    assert [mail["Subject"] for mail in found] == ["Your second factors were removed"]
    assert "It happened on" in text
    assert "write to" in text


@protects(
    ROW,
    device=edit(LOGIN, "        _notify(connection, user_id, mail.NEW_DEVICE)\n", "        pass\n"),
    known=edit(LOGIN, "    elif seen_at is None and not _is_first(", "    elif not _is_first("),
    first=edit(
        LOGIN, "    elif seen_at is None and not _is_first(connection, opened):\n", "    elif seen_at is None:\n"
    ),
)
def test_a_login_from_a_device_that_is_not_known_is_told_and_no_other(service: Service) -> None:
    owner, mallory = Owner(service), Owner(service)
    laptop = owner.signs_in()
    owner.hears_nothing("although it is the very first login")
    for _ in range(2):
        works(owner.signs_in(laptop) == laptop, "she signs in there again")
    owner.hears_nothing("although the device is known")
    foreign = mallory.signs_in()
    for device in (None, foreign):
        with owner.is_told(NEW_DEVICE):
            owner.signs_in(device, THIEF)
    owner.signs_in(laptop)
    owner.hears_nothing("although hers is known as before")
    app = with_app(service, owner.user)
    with owner.is_told(NEW_DEVICE):
        phone = owner.signs_in(None, THIEF, app)
    for device in (laptop, phone):
        assert owner.signs_in(device, app=app) == device
    owner.hears_nothing("although both are known, with a code as well")
    devices = service.module("identity.models").Device.__table__

    def unused(days: int) -> None:
        with service.engine.begin() as connection:
            connection.execute(devices.update().values(seen_at=service.now() - timedelta(days=days)))

    unused(399)
    assert owner.signs_in(laptop, app=app) == laptop
    owner.hears_nothing("although hers is known for 400 days")
    unused(401)
    with owner.is_told(NEW_DEVICE):
        owner.signs_in(laptop, THIEF, app)


@protects(ROW, dormant=edit(LOGIN, "< now() - sessions.KEPT:\n", "< now() - 10_000 * sessions.KEPT:\n"))
def test_an_account_that_slept_for_years_is_no_new_one(service: Service) -> None:
    """Written as it would be found then: the clock that signs cookies is not the service's, and travels no 500 days."""
    owner = Owner(service)
    models = service.module("identity.models")
    users, long_ago = models.User.__table__, service.now() - timedelta(days=500)
    owner.signs_in()
    owner.hears_nothing("although it is the very first login")
    with service.engine.begin() as connection:
        connection.execute(users.update().where(users.c.id == owner.user.id).values(created_at=long_ago))
        for model in (models.AuthSession, models.Device):
            connection.execute(model.__table__.delete())  # as `sessions purge` does in time
    with owner.is_told(NEW_DEVICE):
        owner.signs_in(None, THIEF)


@protects(
    ROW,
    failures=edit(LOGIN, "    if any(throttle.failed_often(", "    if False and any(throttle.failed_often("),
    waited=edit("throttle.py", 'if not counted["rounds"] and counted["failures"]', 'if counted["failures"]'),
    once=edit("throttle.py", "(recent if since is None else max(recent, since))", "recent"),
    few=edit("throttle.py", 'counted["failures"] < OFTEN:', 'counted["failures"] < 1:'),
)
def test_a_login_after_failed_ones_is_told_once(service: Service) -> None:
    Owner(service).signs_in()  # somebody else, on a device of his own
    owner = Owner(service)
    laptop = owner.signs_in()
    owner.fails(4, laptop)
    owner.signs_in(laptop)
    owner.hears_nothing("although she had only mistyped it a few times")
    for more in (0, 1):
        service.travel(minutes=16)
        owner.fails(5, laptop)
        service.travel(minutes=16 + 16 * more)
        owner.fails(more, laptop)
        with owner.is_told(AFTER_FAILURES):
            owner.signs_in(laptop, THIEF)
        owner.signs_in(laptop)
        owner.hears_nothing("although nothing has failed since")
    owner.fails(5)
    owner.signs_in(laptop)
    owner.hears_nothing("although others have failed elsewhere, and her device is known")
    service.travel(minutes=16)
    with owner.is_told(AFTER_FAILURES):  # and not that the device is new as well
        owner.signs_in(None, THIEF)
    service.travel(hours=25)
    with owner.is_told(NEW_DEVICE):
        owner.signs_in(None, THIEF)
    app = with_app(service, owner.user)
    owner.fails(5)
    service.travel(minutes=16)
    with owner.is_told(AFTER_FAILURES):  # of the password, by whoever has the second factor as well
        owner.signs_in(None, THIEF, app)


@protects(
    ROW,
    factors=edit(
        LOGIN, "    return first, *(throttle.held(*counter) for counter in counters)\n", "    return (first,)\n"
    ),
)
def test_a_login_after_wrong_codes_is_told_once(service: Service) -> None:
    owner = Owner(service)
    app = with_app(service, owner.user)
    laptop = owner.signs_in(app=app)
    works([answer.status for answer in owner.guesses(5, app)] == [401] * 5, "who knows the password guesses codes")
    assert owner.news() == []
    service.travel(minutes=16)
    with owner.is_told(AFTER_FAILURES):
        owner.signs_in(laptop, THIEF, app)
    owner.signs_in(laptop, app=app)
    owner.hears_nothing("although nothing has failed since")


@protects(
    ROW,
    guesses=edit(LOGIN, "            _notify(connection, user_id, mail.FACTOR_GUESSED)\n", "            pass\n"),
    early=edit(LOGIN, "    elif guess.day.number == WRONG_CODES.count:", "    elif guess.day.number:"),
)
def test_who_guesses_twenty_codes_is_told_of_once(service: Service) -> None:
    owner = Owner(service)
    app = with_app(service, owner.user)
    owner.signs_in(app=app)
    login, throttle = service.module("identity.login"), service.module("throttle")
    with service.app.app_context():
        for _ in range(5):  # what was tried before, as the service's own counter keeps it
            throttle.take(f"{login.FACTOR}-day", owner.user.id.hex, login.WRONG_CODES)
    for minutes in (15, 30):
        assert [answer.status for answer in owner.guesses(5, app)] == [401] * 5
        owner.hears_nothing("although there were fewer than twenty")
        service.travel(minutes=minutes, seconds=1)
    assert [answer.status for answer in owner.guesses(4, app)] == [401] * 4
    owner.hears_nothing("although there were nineteen")
    with owner.is_told(GUESSED):
        assert [answer.status for answer in owner.guesses(1, app)] == [401]
    service.travel(hours=2, seconds=1)
    assert [answer.status for answer in owner.guesses(3, app)] == [429] * 3
    owner.hears_nothing("although nothing more was looked at")


@protects(
    ROW,
    password=edit(ACCOUNT, "        mail.enqueue(connection, mail.PASSWORD_CHANGED, user.email)\n", ""),
    reset=edit("identity/recovery.py", "        mail.enqueue(connection, mail.PASSWORD_CHANGED, link.email)\n", ""),
    email=(
        edit(ACCOUNT, "        mail.enqueue(connection, mail.EMAIL_ASKED, user.email)\n", ""),
        edit(
            ACCOUNT, "        mail.enqueue(connection, mail.EMAIL_CHANGED, user.email)  # to the former address\n", ""
        ),
    ),
    time=edit(LETTERS, "{happened_at:%Y-%m-%d %H:%M} UTC", "{now():%Y-%m-%d %H:%M} UTC"),
    origin=edit("mail/__init__.py", 'origin=_origin() if purpose in NOTICES - BY_OTHERS else ""', 'origin=""'),
    link=insert(
        LETTERS,
        after="    link = style.mailed_link.address_of(purpose if token is not None else links.RESET, token)\n",
        new='    link = style.mailed_link.address_of(links.RESET, __import__("secrets").token_urlsafe(32))\n',
    ),
)
def test_no_password_and_no_address_changes_without_its_owner_being_told(service: Service) -> None:
    owner = Owner(service)
    with owner.is_told(PASSWORD_CHANGED):
        changed = owner.client().change_password(PASSWORD, CHOSEN)
        works(changed.status == DONE["change_password"], "whoever knows the password changes it")
    reader = service.client(address=THIEF)
    assert reader.forgot(owner.user.email).status == DONE["forgot"]
    token = mails.token_for(service, owner.user.email, "reset")
    works([mail["Subject"] for mail in owner.news()] == ["Choose a new password"], "a link comes for who forgot it")
    with owner.is_told(PASSWORD_CHANGED):
        works(reader.reset(token, OTHER).status == DONE["reset"], "whoever reads the mail changes it as well")
    client = owner.client()
    with owner.is_told("Your address is about to change"):
        works(client.ask_email("thief@evil.example").status == DONE["ask_email"], "another address is asked for")
    with owner.is_told("Your address was changed"):
        moved = client.confirm_email(mails.token_for(service, "thief@evil.example", "email"))
        works(moved.status == DONE["confirm_email"], "and confirmed")
    assert "evil" not in "".join(mails.text(mail) for mail in mails.sent(service, owner.user.email))
