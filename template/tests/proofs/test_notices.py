"""Proofs of the notices (mail/__init__.py, NOTICES): what could be a thief's deed is told to the account's owner.

The attacker here holds a session, or knows the password. What he does succeeds; the owner learns of it by one mail, and
hears nothing of what is ordinary.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from . import mails
from .accounts import CHOSEN, OTHER
from .authenticator import App
from .harness import edit, harm, insert, protects, works
from .logins import SIGNED_IN, WRONG, attempt, device_of
from .running import PASSWORD
from .service import AUTH, Client

if TYPE_CHECKING:
    from email.message import EmailMessage

    from .running import Service
    from .wire import Response


ROW = "credential-change-notices"
LOGIN, FACTORS, ACCOUNT, LETTERS = "identity/login.py", "identity/factors.py", "identity/account.py", "mail/letters.py"
DONE = Client.DONE
THIEF = "203.0.113.66"
PASSWORD_CHANGED = "Your password was changed"
_numbers = itertools.count(1)


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
