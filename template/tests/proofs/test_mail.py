"""Proofs of mail/: content, recipients, rate limit, TLS and storage of mails, and security notices to account owners.

They stop a mail from carrying a stranger's text, filling a mailbox, and showing its link to an attacker on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import mail_server, mails
from .accounts import Hashing
from .databases import everything
from .harness import edit, harm, insert, protects, works
from .mail_server import NAME, Authority, MailServer, resolves_here
from .running import Service
from .service import AUTH
from .wire import HOST, ORIGIN

if TYPE_CHECKING:
    from email.message import EmailMessage


OTHER_HOST = "another-host.example"
LINKS_TO = {"session": f"{ORIGIN}/link/", "jwt": "https://client.example/account#purpose="}[AUTH]


def register(service: Service, email: str, number: int = 0) -> None:
    """Ask for an account with this address; each number is another network."""
    client = service.client(address=f"198.51.{number // 200}.{number % 200 + 1}")
    assert client.register(email).status == client.DONE["register"]


def send(service: Service) -> int:
    """Let the service send what is due."""
    with service.app.app_context():
        return int(service.module("delivery.outbox").drain())


def parts(mail: EmailMessage) -> list[str]:
    """The text and the HTML of a mail, as they are shown."""
    bodies = [mail.get_body((kind,)) for kind in ("plain", "html")]
    return [str(body.get_content()) for body in bodies if body is not None]


def waiting(service: Service) -> int:
    return len(mails.waiting(service))


@contextmanager
def relay(service: Service, **offers: Any) -> Iterator[MailServer]:
    """A relay on this machine, to which the service mails without TLS."""
    with mail_server.running(**offers) as server:
        service.setting("BASTION_SMTP_URL", server.url(host="127.0.0.1"))
        service.setting("BASTION_REGISTRATION", "open")
        yield server


# --- the line ----------------------------------------------------------------------------------------------------

VERIFIED = "context = ssl.create_default_context(cafile=certificates or None)\n"


@protects(
    "mail-tls-verified",
    implicit=edit("delivery/transport.py", "timeout=TIMEOUT, context=context)", "timeout=TIMEOUT)"),
    name=insert("delivery/transport.py", after=VERIFIED, new="    context.check_hostname = False\n"),
)
def test_a_mail_goes_to_no_server_without_a_certificate_of_its_name(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path)
    resolves_here(monkeypatch, NAME, OTHER_HOST)
    service.setting("BASTION_REGISTRATION", "open")
    service.setting("BASTION_SMTP_CA", ours.file)
    service.setting("SMTP_PASSWORD", "canary-of-the-mail-server-9ab3")
    with mail_server.running(context=ours.context(), implicit_tls=True) as good:
        service.restart(BASTION_SMTP_URL=good.url("service"))
        register(service, "first@example.com")
        works(send(service) == 1 and good.encrypted == [True], "the service sends mail over TLS to the verified server")
    register(service, "second@example.com", 1)
    for context in (theirs.context(), ours.context(OTHER_HOST)):
        with mail_server.running(context=context, implicit_tls=True) as evil:
            service.restart(BASTION_SMTP_URL=evil.url("service"))
            send(service)
            harm(evil.mails, "an impostor mail server received a mail")
            harm(evil.logins, "an impostor mail server received the password")
            assert evil.connections == 1
        service.travel(minutes=11)
    errors = [event["error"] for event in service.log if event["event"] == "mail_failed"]
    assert errors == ["SSLCertVerificationError"] * 2
    assert waiting(service) == 1


# --- the letter --------------------------------------------------------------------------------------------------


@protects(
    "mail-injection-refused",
    recipient=insert(
        "identity/users.py",
        after='    text = unicodedata.normalize("NFKC", typed.strip(" "))\n',
        new="    return typed\n",
    ),
    body=edit(
        "delivery/letters.py", 'texts["letter"]["greeting"], values)', 'texts["letter"]["greeting"] + email, values)'
    ),
)
def test_no_text_of_a_stranger_is_in_a_mail(service: Service) -> None:
    with relay(service) as server:
        honest, bait = "honest@example.com", "free-gold.evil.example@example.com"
        register(service, honest)
        send(service)
        works(server.recipients == [honest], "a valid address receives the mail")
        works(mails.link(server.mails[0]) is not None, "the mail contains a link")
        for number, typed in enumerate(("a@example.com, b@evil.example", "a@example.com\r\nBcc: b@evil.example")):
            answer = service.client(address=f"203.0.113.{number + 1}").register(typed)
            send(service)
            harm(server.recipients[1:], f"a mail was sent to an injected recipient: {typed!r}")
            assert answer.status == 422
        register(service, bait, 9)
        send(service)
        assert server.recipients == [honest, bait]
        harm([part for part in parts(server.mails[1]) if "free-gold" in part], "a stranger's text appears in a mail")
        assert server.mails[1]["Subject"] == "Confirm your address"


@protects(
    "mailed-link-fixed-origin",
    host=edit(
        "session/mailed_link.py",
        "    origin = state().settings.public_origin\n",
        '    origin = f"https://{request.host}"\n',
    )
    if AUTH == "session"
    else edit(
        "jwt/mailed_link.py",
        "    base = settings().link_base or",
        '    base = "https://" + __import__("flask").request.host or',
    ),
)
def test_no_host_of_a_request_is_in_a_mailed_link(service: Service) -> None:
    """Mails are normally sent outside requests; here they are sent within a hostile request."""
    service.setting("BASTION_TRUSTED_HOSTS", f"{HOST},.{HOST}")

    def drain() -> dict[str, int]:
        return {"sent": service.module("delivery.outbox").drain()}

    service.adds_route("/send", mark="public", view=drain)
    with relay(service) as server:
        register(service, "a@example.com")
        works(service.client().get("/send").json == {"sent": 1}, "a mail is sent within a request")
        register(service, "b@example.com", 1)
        answer = service.client(address="203.0.113.1").get("/send", headers={"Host": f"evil.{HOST}"})
        shown = parts(server.mails[1])
        harm("evil" in "".join(shown), "a mailed link points to the attacker's host")
        assert answer.json == {"sent": 1}
        assert LINKS_TO in shown[0]


# --- the budget --------------------------------------------------------------------------------------------------


COUNTED = "    if counted is None:\n        return False\n"


@protects("mail-budget-per-recipient", recipient=edit("delivery/budget.py", COUNTED, ""))
@protects("reset-throttle", identifier=edit("delivery/budget.py", COUNTED, ""))
def test_one_mailbox_gets_one_mail_of_a_kind_in_ten_minutes(service: Service) -> None:
    victim = service.user().email
    asks = [service.client(address=f"198.51.100.{number}") for number in range(1, 5)]
    answers = [asks[0].forgot(victim)]
    works(len(mails.sent(service, victim)) == 1, "the first mail is sent")
    for client in asks[1:]:
        answers.append(client.forgot(victim))
        harm(len(mails.sent(service, victim)) > 1, "strangers sent a second mail to the mailbox within ten minutes")
    assert {answer.status for answer in answers} == {asks[0].DONE["forgot"]}
    service.travel(minutes=10, seconds=1)
    asks[0].forgot(victim)
    assert len(mails.sent(service, victim)) == 2


# --- the outbox --------------------------------------------------------------------------------------------------


@protects(
    "mail-queue-holds-no-token",
    clear=edit(
        "delivery/outbox.py",
        "        return links.mint(connection, due) if connection.execute(still_there).rowcount == 1 else None\n",
        "        if connection.execute(still_there).rowcount == 1:\n            token = links.mint(connection, due)\n"
        "            connection.execute(update(OutgoingMail).where(MAILS.id == due.id).values(roles=token))\n"
        "            return token\n",
    ),
)
def test_no_table_holds_the_link_of_a_mail(service: Service) -> None:
    with relay(service, rejects=True) as server:  # so that the mail is there, and waits at the same time
        register(service, "a@example.com")
        send(service)
        link = mails.link(server.mails[0])
        assert link is not None
        works(waiting(service) == 1, "a mail that the server rejected stays queued")
        harm(link[1] in repr(everything(service)), "a table contains the mailed link")
        assert link[1] not in service.output


@protects(
    "mail-outbox-at-least-once",
    failure=edit("delivery/outbox.py", "        if over:\n", "        if over or error:\n"),
)
def test_a_mail_that_its_server_refuses_is_sent_later(service: Service) -> None:
    with relay(service, rejects=True) as server:
        register(service, "a@example.com")
        send(service)
        works(len(server.mails) == 1, "the service offers the mail to the server")
        server.rejects = False
        service.travel(minutes=1, seconds=1)
        send(service)
        harm(len(server.mails) == 1, "a mail was lost after the server refused it once")
        assert waiting(service) == 0


# --- notices -----------------------------------------------------------------------------------------------------


@protects(
    "credential-change-notices",
    password=edit("identity/account.py", "        mail.enqueue(connection, mail.PASSWORD_CHANGED, user.email)\n", ""),
    origin=edit("mail/__init__.py", 'origin=_origin() if purpose in NOTICES - BY_OTHERS else ""', 'origin=""'),
)
def test_no_password_changes_without_a_mail_to_its_owner(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user = service.user()
    Hashing(service, monkeypatch, cheap=True)
    thief = service.client(user, "203.0.113.66").login()
    changed = thief.change_password(user.password, "seven wet llamas juggle maps")
    works(changed.status == thief.DONE["change_password"], "a thief who knows the password changes it")
    letters = mails.sent(service, user.email)
    harm([mail["Subject"] for mail in letters] != ["Your password was changed"], "the owner received no notice")
    harm(thief.address not in mails.text(letters[0]), "the notice lacks the client address of the change")
    assert mails.link(letters[0]) is None
