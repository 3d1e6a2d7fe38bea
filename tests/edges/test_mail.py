"""Edges of the proofs in test_mail.py: further attacks on the same protections."""

from __future__ import annotations

import itertools
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import OperationalError

from .. import mail_server, mails
from .. import test_mail as core
from ..accounts import CHOSEN, OTHER, administrator, with_app
from ..authenticator import App, Authenticator
from ..databases import everything
from ..environment import stubbed
from ..harness import at_once, edit, harm, insert, protects, refused, works
from ..logins import SIGNED_IN, WRONG, attempt, device_of
from ..mail_server import NAME, Authority, MailServer, resolves_here
from ..running import PASSWORD, Service
from ..service import AUTH, DATABASE, PACKAGE, Client
from ..test_mail import LINKS_TO, OTHER_HOST, VERIFIED, parts, register, relay, send, waiting
from ..test_settings import command
from ..wire import HOST
from .core import sabotages

if TYPE_CHECKING:
    from email.message import EmailMessage

    from ..running import Service
    from ..wire import Response


NEW_PASSWORD = "seven wet llamas juggle maps"


def is_good(service: Service, token: str, purpose: str) -> bool:
    """Return whether this link is still valid."""
    with service.app.app_context():
        return service.module("identity.links").look(token, purpose) is not None


# --- the line ----------------------------------------------------------------------------------------------------


@protects(
    "mail-tls-verified",
    password=edit("delivery/transport.py", "(server.user or not server.on_this_machine)", "not server.on_this_machine"),
)
def test_a_local_relay_without_tls_gets_no_password(service: Service, tmp_path: Path) -> None:
    """Any program on the machine can listen on the relay's port and receive the mails."""
    ours, secret = Authority(tmp_path), "canary-of-the-relay-5e1d"
    service.setting("BASTION_REGISTRATION", "open")
    service.setting("BASTION_SMTP_CA", ours.file)
    service.setting("SMTP_PASSWORD", secret)
    with mail_server.running(context=ours.context("localhost")) as good:
        service.restart(BASTION_SMTP_URL=good.url("service", host="localhost"))
        register(service, "first@example.com")
        works(send(service) == 1 and good.logins == [f"\0service\0{secret}"], "the service logs in to a relay with TLS")
        encrypted = good.encrypted
    with mail_server.running(offers_starttls=False) as plain:
        service.restart(BASTION_SMTP_URL=plain.url(host="localhost"))
        register(service, "second@example.com", 1)
        works(send(service) == 1 and plain.encrypted == [False], "a relay without a password needs no TLS")
        service.restart(BASTION_SMTP_URL=plain.url("service", host="localhost"))
        register(service, "third@example.com", 2)
        send(service)
        harm(plain.logins, "a listener on this machine got the password")
        assert encrypted == [True]
        assert len(plain.mails) == 1
    assert [event["error"] for event in service.log if event["event"] == "mail_failed"] == ["SMTPNotSupportedError"]
    assert waiting(service) == 1
    assert secret not in service.output


@protects("mail-tls-verified", start=edit("__init__.py", "            *transport.check(settings, opened),\n", ""))
def test_a_service_that_can_mail_nobody_safely_does_not_start(service: Service, tmp_path: Path) -> None:
    works(service.start(BASTION_SMTP_URL="smtps://mail.example").app is not None, "TLS from the first byte starts")
    works(service.start(BASTION_SMTP_URL="smtp://mail.example:2525").app is not None, "so does STARTTLS")
    parse = service.module("delivery.transport").parse
    assert parse("smtps://mail.example").port == 465  # RFC 8314, 7.3
    assert [parse(f"smtp://mail.example{port}").port for port in ("", ":2525")] == [587, 2525]  # RFC 6409, 3.1
    faults: list[tuple[dict[str, str | None], str]] = [
        ({"BASTION_SMTP_URL": None}, "BASTION_SMTP_URL: name the mail server"),
        ({"BASTION_SMTP_URL": "http://mail.example"}, "BASTION_SMTP_URL: name the mail server"),
        ({"BASTION_SMTP_URL": "smtps://"}, "BASTION_SMTP_URL: name the mail server"),
        ({"BASTION_SMTP_URL": "smtps://mail.example?verify=no"}, "BASTION_SMTP_URL: name the mail server"),
        ({"BASTION_SMTP_URL": "smtps://me:canary-1c@mail.example"}, "BASTION_SMTP_URL: name the mail server"),
        ({"BASTION_SMTP_URL": "smtps://me@mail.example"}, "SMTP_PASSWORD: BASTION_SMTP_URL has a user"),
        ({"BASTION_SMTP_CA": str(tmp_path / "none.pem")}, "BASTION_SMTP_CA: there is no such file"),
        ({"BASTION_MAIL_FROM": None}, "BASTION_MAIL_FROM: name the address"),
        ({"BASTION_MAIL_FROM": "a@app.example\nBcc: b@evil.example"}, "BASTION_MAIL_FROM: name the address"),
        ({"BASTION_MAIL_FROM": "zoë@app.example"}, "BASTION_MAIL_FROM: name the address"),  # not every server takes it
    ]
    for changes, reason in faults:
        tried = service.start(**changes)
        harm(tried.app is not None, f"the service started with {changes}")
        assert len(tried.reasons) == 1
        assert tried.reasons[0].startswith(reason)
        assert "canary-1c" not in tried.text


# --- the letter --------------------------------------------------------------------------------------------------

ENCODED = (
    "=?utf-8?q?victim?=@example.com",
    "=?UTF-8?B?dmljdGlt?=@example.com",
    "=?us-ascii?Q?victim=40evil.example=3e?=@example.com",
    "a=?utf-8?q?b?=c@example.com",
    "\uff1d\uff1futf-8\uff1fq\uff1fvictim\uff1f\uff1d@example.com",  # full-width: it becomes the first of these
)
"""What a mail program shows, and Python's own reader of headers takes, as another address (RFC 2047)."""


@protects("mail-injection-refused", encoded=edit("identity/users.py", 'if "=?" in text or any(', "if any("))
def test_no_encoded_word_makes_a_mail_go_to_somebody_else(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    manager = administrator(service, monkeypatch)
    member = service.client(service.user("member@example.com"), "192.0.2.9").login()
    for number, odd in enumerate(("a=b@example.com", "who?@example.com"), 50):
        register(service, odd, number)
        works([mail["To"] for mail in mails.sent(service)][-1] == odd, "an incomplete encoded word is kept")
    for number, typed in enumerate(ENCODED):
        asker = service.client(address=f"203.0.113.{number}")
        answers = [asker.register(typed), asker.forgot(typed), manager.invite(typed), member.ask_email(typed)]
        code, text = command(service, monkeypatch, "users", "create", typed)
        harm(mails.waiting(service), f"a mail to an injected recipient is queued: {typed!r}")
        harm(len(mails.sent(service)) > 2, f"a mail went to an injected recipient: {typed!r}")
        assert [answer.status for answer in answers] == [422] * 4
        assert (code, "This is not a valid e-mail address." in text) == (1, True)


# --- the budget --------------------------------------------------------------------------------------------------

STRANGERS = "STRANGERS: Final = (Allowance(1, timedelta(minutes=10)), Allowance(10, timedelta(days=1)))"


@protects("mail-budget-per-recipient", tag=edit("delivery/budget.py", "{_mailbox(email)}", "{email}"))
def test_a_mailbox_that_takes_many_names_gets_no_more_mails(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    register(service, "victim+shop@example.com")
    works(len(mails.sent(service, "victim+shop@example.com")) == 1, "an address with a tag gets its mail")
    for number in range(1, 6):
        register(service, f"victim+{number}@example.com", number)
    register(service, "victim@example.com", 6)
    harm(len(mails.sent(service)) > 1, "strangers flooded a mailbox through its tagged addresses")
    assert waiting(service) == 0
    client = service.client()
    token = mails.token_for(service, "victim+shop@example.com", "activate")
    assert client.activate(token, NEW_PASSWORD).status == client.DONE["activate"]
    assert attempt(service.client(), "victim@example.com", NEW_PASSWORD).status == 401  # which is another account
    assert attempt(service.client(), "victim+shop@example.com", NEW_PASSWORD).status == SIGNED_IN


@protects(
    "mail-budget-per-recipient",
    day=edit("delivery/budget.py", STRANGERS, STRANGERS.replace(", Allowance(10, timedelta(days=1)))", ",)")),
)
def test_a_patient_stranger_gets_ten_mails_a_day_into_a_mailbox(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    for number in range(10):
        register(service, "victim@example.com", number)
        works(len(mails.sent(service, "victim@example.com")) == number + 1, "one in ten minutes is sent")
        service.travel(minutes=10, seconds=1)
    register(service, "victim@example.com", 10)
    harm(len(mails.sent(service, "victim@example.com")) > 10, "an eleventh mail within a day")
    service.travel(hours=24)
    register(service, "victim@example.com", 11)
    assert len(mails.sent(service, "victim@example.com")) == 11


TRUSTED = "TRUSTED: Final = (Allowance(1, timedelta(minutes=1)), Allowance(10, timedelta(days=1)))"


@protects(
    "mail-budget-per-recipient",
    trusted=edit("delivery/budget.py", TRUSTED, TRUSTED.replace(", Allowance(10, timedelta(days=1)))", ",)")),
    each=edit("delivery/budget.py", 'f"{purpose}:{email}", *NOTICE', "email, *NOTICE"),
)
def test_administrators_and_devices_share_the_mailbox_limit(service: Service) -> None:
    budget = service.module("delivery.budget")

    def allowed(purpose: str = "invite") -> bool:
        with service.app.app_context():
            return bool(budget.allows(purpose, "victim@example.com", trusted=True))

    for _ in range(10):
        works(allowed(), "one a minute is sent")
        assert not allowed()
        service.travel(minutes=1, seconds=1)
    harm(allowed(), "an eleventh mail within a day")
    assert allowed("reset")
    service.travel(hours=24)
    assert allowed()
    for _ in range(2):
        assert [allowed("password-changed") for _ in range(11)] == [True] * 10 + [False]  # of each notice, in an hour
        harm(not allowed("email-changed"), "one kind of notice used up the limit of another kind")
        service.travel(hours=1, seconds=1)


@protects(
    "mail-budget-per-recipient",
    service=edit("delivery/budget.py", 'if _take("mail", f"every', 'if True or _take("mail", f"every'),
    notices=edit("delivery/budget.py", "if purpose in NOTICES:", "if not NOTICES:"),
    refund=edit("delivery/budget.py", "    refund(counted)\n", ""),
)
def test_notices_are_sent_beside_the_service_wide_mail_limit(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    service.setting("BASTION_MAILS_PER_HOUR", "10")
    owner = service.client(service.user("owner@example.com")).login()
    for number in range(10):
        register(service, f"user{number}@example.com", number)
    works(len(mails.sent(service)) == 10, "ten different recipients get mails")
    register(service, "one-more@example.com", 10)
    harm(len(mails.sent(service)) > 10, "strangers made the service send without a limit")
    assert [event["per_hour"] for event in service.log if event["event"] == "mail_budget_spent"] == [10]
    assert owner.change_password(PASSWORD, NEW_PASSWORD).status == owner.DONE["change_password"]
    notices = mails.subjects(service, "owner@example.com")
    works(notices == ["Your password was changed"], "the owner still gets the notice of a password change")
    thief = owner.copy()  # who has seen the new password
    assert thief.change_password(NEW_PASSWORD, PASSWORD).status == owner.DONE["change_password"]
    notices = mails.subjects(service, "owner@example.com")
    harm(len(notices) < 2, "the owner got no notice of a later change")
    assert notices == ["Your password was changed"] * 2
    service.travel(minutes=55)
    register(service, "one-more@example.com", 11)
    assert mails.sent(service, "one-more@example.com") == []
    service.travel(minutes=6)
    register(service, "one-more@example.com", 12)
    received = mails.sent(service, "one-more@example.com")
    harm(not received, "an unsent mail counted for its recipient")
    assert len(received) == 1


@protects(
    "mail-budget-per-recipient",
    kind=edit("delivery/budget.py", "    kind = EVERYBODY.get(purpose, purpose)\n", '    kind = ""\n'),
    exists=edit("delivery/budget.py", "    kind = EVERYBODY.get(purpose, purpose)\n", "    kind = purpose\n"),
)
def test_mass_registration_blocks_no_resets(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    service.setting("BASTION_MAILS_PER_HOUR", "10")
    owner = service.user("owner@example.com")
    for number in range(10):
        register(service, f"user{number}@example.com", number)
    works(len(mails.sent(service)) == 10, "ten different recipients get mails")
    register(service, owner.email, 10)
    harm(mails.subjects(service, owner.email), "only an address with an account got a mail above the limit")
    service.client(address="192.0.2.9").forgot(owner.email)
    harm(mails.tokens_for(service, owner.email, "reset") == [], "registrations used up the limit of password resets")
    assert len(mails.sent(service)) == 11


# --- the outbox --------------------------------------------------------------------------------------------------


@protects(
    "mail-queue-holds-no-token",
    request=edit(
        "identity/recovery.py",
        '    audit.record("password.reset_asked")\n',
        "    __import__(mail.__name__.removesuffix('mail') + 'delivery.outbox', fromlist='_').drain()\n",
    ),
)
def test_a_request_never_waits_for_a_mail_server(service: Service) -> None:
    with relay(service, rejects=True) as server:
        known, unknown = service.user("known@example.com").email, "unknown@example.com"
        client = service.client()
        register(service, "new@example.com")
        works(waiting(service) == 1, "a request queues a mail")
        assert send(service) == 0
        works(server.connections == 1, "the sender sends it")
        for email in (unknown, known):
            answer = client.forgot(email)
            harm(server.connections > 1, "an answer waited for the mail server, only for known addresses")
            assert answer.status == client.DONE["forgot"]
        assert mails.waiting(service) == [("activate", "new@example.com"), ("reset", known), ("reset", unknown)]
        server.rejects = False
        assert send(service) == 1
        assert server.recipients == ["new@example.com", known]
        assert waiting(service) == 1


@protects(
    "mail-outbox-at-least-once",
    claim=edit("delivery/outbox.py", "MAILS.id == due.id, MAILS.attempts == due.attempts)", "MAILS.id == due.id)"),
)
def test_of_two_senders_one_sends_a_mail(service: Service) -> None:
    with relay(service) as server:
        register(service, "a@example.com")
        works(send(service) == 1, "one sender sends")
        server.rejects = True
        register(service, "b@example.com", 1)
        assert send(service) == 0  # a first attempt has the budget behind it, too, which lets one mail pass
        server.rejects = False
        service.travel(minutes=2)

        outbox: Any = service.module("delivery.outbox")
        claim, both_have_read, lost = outbox._claim, threading.Barrier(2), threading.Event()

        def claim_together(due: Any) -> bool:
            both_have_read.wait(10)
            mine = bool(claim(due))
            if not mine:
                lost.set()
            return mine

        def release() -> int:
            deadline = time.monotonic() + 10
            while len(server.mails) < 4 and not lost.is_set() and time.monotonic() < deadline:
                time.sleep(0.02)
            server.holds.set()
            return 0

        outbox._claim = claim_together
        server.holds.clear()  # the first sender is not done when the other one begins
        sent = at_once([lambda: send(service), lambda: send(service), release])
        outbox._claim = claim
        harm(len(server.mails) > 3, "a mail was sent twice")
        assert sorted(sent) == [0, 0, 1]
        assert waiting(service) == 0


@protects(
    "mail-outbox-at-least-once",
    away=edit(
        "delivery/outbox.py",
        "        except Exception as error:  # the database",
        "        except KeyError as error:  #",
    ),
)
def test_a_database_that_was_away_ends_no_worker_that_sends(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    class Often:
        """A pause that stops the worker after its fifth use."""

        waited = 0

        def wait(self, _seconds: float) -> bool:
            self.waited += 1
            return self.waited > 5

    outbox: Any = service.module("delivery.outbox")
    drain, away = outbox.drain, [False, True, False, True, True]  # the last one first

    def drained() -> int:
        if away.pop():
            raise OperationalError("SELECT", {}, Exception("away"))
        return int(drain())

    with relay(service) as server:
        register(service, "a@example.com")
        works(send(service) == 1, "a mail is sent")
        register(service, "b@example.com", 1)
        monkeypatch.setattr(outbox, "drain", drained)
        monkeypatch.setattr(outbox, "threading", SimpleNamespace(Event=Often))
        with ThreadPoolExecutor() as pool:  # as in its own thread: no caller sees the exception that ends it
            pool.submit(outbox._keep_draining, service.app)
        harm(waiting(service), "the sender stopped after a short outage of the database")
        assert server.recipients == ["a@example.com", "b@example.com"]
        logged = [event["error"] for event in service.log if event["event"] == "outbox_unreachable"]
        assert logged == ["OperationalError"] * 2  # once each time that it is away


@protects(
    "mail-outbox-at-least-once",
    crash=edit("delivery/outbox.py", "due_at=now() + CLAIMED)", "due_at=now() + 10_000 * CLAIMED)"),
)
def test_a_mail_survives_the_process_that_was_sending_it(service: Service) -> None:
    with relay(service) as server:
        server.holds.clear()  # it has read the mail, and never says so
        service.client()
        real = service.real_server(first=f"from {PACKAGE}.bastion.delivery import outbox; outbox.POLL_SECONDS = 0.1")
        register(service, "a@example.com")
        works(server.arrived.wait(60), "a worker of the real server sends the mail")
        workers = [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", real.output)]
        for pid in (real.process.pid, *workers):
            os.kill(pid, signal.SIGKILL)
        real.process.wait(timeout=30)
        server.holds.set()
        assert waiting(service) == 1
        assert send(service) == 0  # its minute is not over
        service.travel(seconds=61)
        send(service)
        harm(len(server.mails) == 1, "the mail was lost with its process")
        assert server.recipients == ["a@example.com"] * 2  # the one duplicate that a crash may cost
        first, second = (mails.link(mail) for mail in server.mails)
        assert first is not None
        assert second is not None
        assert not is_good(service, first[1], "activate")
        assert is_good(service, second[1], "activate")
        assert waiting(service) == 0


@protects(
    "mail-outbox-at-least-once",
    cancelled=edit(
        "delivery/outbox.py",
        "return links.mint(connection, due) if connection.execute(still_there).rowcount == 1 else None",
        "return links.mint(connection, due)",
    ),
)
def test_a_link_cancelled_during_sending_is_invalid(service: Service) -> None:
    with relay(service) as server:
        user = service.user("a@example.com")
        owner, stranger = service.client(user).login(), service.client()
        assert stranger.forgot(service.user("b@example.com").email).status == stranger.DONE["forgot"]
        works(send(service) == 1, "a reset link is mailed")
        budget: Any = service.module("delivery.budget")
        allows = budget.allows

        def between(*arguments: Any, **more: Any) -> bool:
            budget.allows = allows
            assert owner.change_password(PASSWORD, NEW_PASSWORD).status == owner.DONE["change_password"]
            return bool(allows(*arguments, **more))

        budget.allows = between
        assert stranger.forgot(user.email).status == stranger.DONE["forgot"]
        send(service)
        found = [mails.link(mail) for mail in server.mails[1:]]
        harm([one for one in found if one and is_good(service, one[1], "reset")], "a cancelled link opens the account")
        assert [mail["Subject"] for mail in server.mails[1:]] == ["Your password was changed"]
        assert waiting(service) == 0


if DATABASE == "postgresql":  # the others let the sender wait until the change is done

    @protects(
        "pending-flows-cancelled",
        minted=edit("identity/links.py", "        connection.execute(end)  # a sender", "        pass  # a sender"),
    )
    def test_a_link_that_is_made_during_a_change_of_password_is_dead(service: Service) -> None:
        from sqlalchemy import event

        user = service.user("a@example.com")
        owner, outbox = service.client(user).login(), service.module("delivery.outbox")
        assert service.client().forgot(user.email).status == owner.DONE["forgot"]
        tokens: list[str] = []

        def sender(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
            """Another process makes the link after the change has revoked links, and before it cancels mails."""
            if statement.startswith("DELETE FROM mail_outbox") and not tokens:
                tokens.append("")
                [due] = outbox._due()
                tokens[0] = outbox._mint(outbox._decided(due))

        with service.app.app_context():
            event.listen(service.module("database").db.engine, "before_cursor_execute", sender)
        changed = owner.change_password(PASSWORD, NEW_PASSWORD).status
        works((changed, bool(tokens[0])) == (owner.DONE["change_password"], True), "the owner changes the password")
        harm(is_good(service, tokens[0], "reset"), "a thief's reset link survived the password change")
        assert waiting(service) == 1  # the notice


@protects(
    "secret-rotation-picked-up",
    mail=edit("delivery/transport.py", "if not secrets.refresh(PASSWORD, password):", "if True:"),
    stubborn=edit(
        "delivery/transport.py",
        "if not secrets.refresh(PASSWORD, password):",
        "if secrets.refresh(PASSWORD) and False:",
    ),
)
def test_rotating_the_mail_password_delays_no_mail(service: Service, tmp_path: Path) -> None:
    authority, host = Authority(tmp_path), "127.0.0.1"
    with mail_server.running(context=authority.context(host), password="the-first-of-them-xyz") as server:
        service.setting("BASTION_REGISTRATION", "open")
        service.setting("BASTION_SMTP_URL", server.url("accounts", host))
        service.setting("BASTION_SMTP_CA", authority.file)
        service.setting("SMTP_PASSWORD", server.password)
        with stubbed(service) as stub:
            stub.values["SMTP_PASSWORD"] = server.password
            register(service, "first@example.com")
            works(send(service) == 1, "the service signs in with the first password")
            for number, wait in enumerate((1, 301), 1):  # right after a question, and when the value is old by itself
                server.password = stub.values["SMTP_PASSWORD"] = f"another-one-{wait}-xyz"
                service.travel(seconds=wait)
                register(service, f"{wait}@example.com", number)
                harm(send(service) == 0, f"{wait} s after a rotation, a mail waited for minutes")
            server.password, before = "one-that-the-backend-has-not-xyz", len(server.logins)
            service.travel(seconds=11)
            register(service, "last@example.com", 3)
            assert send(service) == 0
            harm(len(server.logins) > before + 1, "a refused password was sent again at once")
            assert waiting(service) == 1
    assert "-xyz" not in service.output


@protects(
    "mail-outbox-at-least-once",
    later=edit("identity/links.py", "        LINKS.created_at <= this.created_at,\n", ""),
)
def test_a_slow_sender_keeps_the_link_of_its_successor(service: Service) -> None:
    with relay(service) as server:
        register(service, "warm@example.com")
        works(send(service) == 1, "a mail is sent")
        register(service, "a@example.com", 1)
        transport: Any = service.module("delivery.transport")
        real = transport.hand_over

        def slowly(mail: EmailMessage) -> None:
            transport.hand_over = real
            service.travel(seconds=50)
            assert send(service) == 0
            service.travel(seconds=11)  # so long that the mail is due again, and another worker sends it
            assert send(service) == 1
            real(mail)

        transport.hand_over = slowly
        send(service)
        assert [mail["To"] for mail in server.mails[1:]] == ["a@example.com"] * 2
        tokens = [link[1] for mail in server.mails[1:] if (link := mails.link(mail)) is not None]
        harm(not [token for token in tokens if is_good(service, token, "activate")], "the recipient has no valid link")


@protects(
    "mail-tls-verified",
    implicit=edit("delivery/transport.py", "timeout=TIMEOUT, context=context)", "timeout=TIMEOUT)"),
    starttls=edit("delivery/transport.py", "connection.starttls(context=context)", "connection.starttls()"),
    name=insert("delivery/transport.py", after=VERIFIED, new="    context.check_hostname = False\n"),
    offered=edit(
        "delivery/transport.py",
        "if not server.implicit_tls and (server.user or not server.on_this_machine):",
        "if not server.implicit_tls and connection.ehlo() and connection.has_extn('starttls'):",
    ),
)
def test_a_mail_goes_to_no_server_that_does_not_prove_its_name(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path)
    secret = "canary-of-the-mail-server-9ab3"
    resolves_here(monkeypatch, NAME, OTHER_HOST)
    service.setting("BASTION_REGISTRATION", "open")
    service.setting("BASTION_SMTP_CA", ours.file)
    service.setting("SMTP_PASSWORD", secret)

    def serve(server: MailServer) -> None:
        service.restart(BASTION_SMTP_URL=server.url("service"))

    with mail_server.running(context=ours.context(), implicit_tls=True) as good:
        serve(good)
        register(service, "first@example.com")
        works(send(service) == 1 and good.encrypted == [True], "a server with the right name gets the mail over TLS")
        works(good.logins == [f"\0service\0{secret}"], "it gets the password")
    with mail_server.running(context=ours.context()) as good:
        serve(good)
        register(service, "second@example.com", 1)
        works(send(service) == 1 and good.encrypted == [True], "or after STARTTLS")
        link = mails.link(good.mails[0])
        assert link is not None

        attackers: dict[str, list[dict[str, Any]]] = {
            "SSLCertVerificationError": [
                {"context": theirs.context(), "implicit_tls": True},
                {"context": theirs.context()},
                {"context": ours.context(OTHER_HOST), "implicit_tls": True},
                {"context": ours.context(OTHER_HOST)},
            ],
            "SMTPNotSupportedError": [
                {"context": ours.context(), "offers_starttls": False},
                {"offers_starttls": False},
            ],
        }
        for error, kinds in attackers.items():
            for offers in kinds:
                service.travel(minutes=11)
                with mail_server.running(**offers) as evil:
                    serve(evil)
                    register(service, "second@example.com", 2)
                    send(service)
                    harm(evil.mails, f"an attacker on the network read a mail ({error})")
                    harm(evil.logins, f"an attacker on the network read the password ({error})")
                    assert evil.connections == 1
                assert [event["error"] for event in service.log if event["event"] == "mail_failed"][-1] == error
                assert waiting(service) == 1
                works(is_good(service, link[1], "activate"), "the earlier link stays valid")
                serve(good)
                service.travel(minutes=2)
                works(send(service) == 1 and waiting(service) == 0, "the mail is sent later")
                link = mails.link(good.mails[-1])
                assert link is not None
    assert secret not in service.output


@protects(
    "mail-injection-refused",
    **sabotages(core.test_no_text_of_a_stranger_is_in_a_mail, "mail-injection-refused", "recipient", "body"),
    subject=edit("delivery/letters.py", 'message["Subject"] = subject', 'message["Subject"] = subject + email'),
)
def test_nothing_that_a_stranger_typed_is_in_a_mail(service: Service) -> None:
    with relay(service) as server:
        honest, bait = "honest@example.com", "free-gold.evil.example@example.com"
        register(service, honest)
        send(service)
        works(server.recipients == [honest], "a valid address receives the mail")
        [mail] = server.mails
        works(mails.link(mail) is not None, "the mail contains a link")
        assert set(mail.keys()) == {
            *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type")
        }

        for number, typed in enumerate(
            (
                "a@example.com, b@evil.example",
                "a@example.com\r\nBcc: b@evil.example",
                "a@example.com\nSubject: buy\n\nthis",
                "b@evil.example;a@example.com",
                '"a@example.com" <b@evil.example>',
                "a@example.com%0d%0aBcc:b@evil.example",
            ),
            start=1,
        ):
            answer = service.client(address=f"203.0.113.{number}").register(typed)
            send(service)
            harm([one for one in server.recipients if one != honest], f"a mail went to an injected address: {typed!r}")
            assert answer.status == 422
        assert waiting(service) == 0

        register(service, bait, 9)
        named = service.client(service.user("named@example.com")).login()
        assert named.rename("free-gold at evil.example").status == named.DONE["rename"]
        assert named.change_password(PASSWORD, NEW_PASSWORD).status == named.DONE["change_password"]
        send(service)
        assert sorted(server.recipients) == sorted([honest, bait, "named@example.com"])
        for mail in server.mails:
            harm("free-gold" in mail["Subject"], "a stranger's text appears in a subject")
            harm([part for part in parts(mail) if "free-gold" in part], "a stranger's text appears in a mail")
        assert [mail["Subject"] for mail in server.mails[:2]] == ["Confirm your address"] * 2


@protects(
    "mailed-link-fixed-origin",
    **sabotages(core.test_no_host_of_a_request_is_in_a_mailed_link, "mailed-link-fixed-origin", "host"),
    header=edit(
        "session/mailed_link.py",
        "    origin = state().settings.public_origin\n",
        '    origin = request.headers.get("X-Original-Host") or state().settings.public_origin\n',
    )
    if AUTH == "session"
    else edit(
        "jwt/mailed_link.py",
        "    base = settings().link_base or",
        '    base = __import__("flask").request.headers.get("X-Original-Host") or settings().link_base or',
    ),
)
def test_no_request_decides_where_a_mailed_link_leads(service: Service) -> None:
    """Mails are normally sent outside requests; here they are sent within a hostile request."""
    service.setting("BASTION_TRUSTED_HOSTS", f"{HOST},.{HOST}")

    def drain() -> dict[str, int]:
        return {"sent": service.module("delivery.outbox").drain()}

    service.adds_route("/send", mark="public", view=drain)
    with relay(service) as server:
        client = service.client()
        register(service, "a@example.com")
        works(client.get("/send").json == {"sent": 1}, "a mail is sent within a request")
        works(mails.link(server.mails[0]) is not None, "the mail contains a link")

        forged = {
            "X-Forwarded-Host": "evil.example",
            "X-Original-Host": "https://evil.example",
            "X-Host": "evil.example",
            "X-Rewrite-Url": "https://evil.example/",
            "Forwarded": "host=evil.example;proto=https",
            "Origin": "https://evil.example",
            "Referer": "https://evil.example/",
        }
        for number, headers in enumerate([{"Host": f"evil.{HOST}"}, forged], start=1):
            hostile = service.client(address=f"203.0.113.{number}")
            register(service, f"b{number}@example.com", number)
            hostile.get("/login", headers=headers)
            answer = hostile.get("/send", headers=headers)
            [mail_] = [mail for mail in server.mails if mail["To"] == f"b{number}@example.com"]
            harm("evil" in "".join(parts(mail_)), "a mailed link points to the attacker's host")
            assert answer.json == {"sent": 1}
            assert LINKS_TO in parts(mail_)[0]
        sent = len(server.mails)
        answer = client.get("/send", headers={"Host": "evil.example"})
        refused(answer, 400, "host-header-trusted")
        assert len(server.mails) == sent


@protects(
    "mail-budget-per-recipient",
    recipient=edit("delivery/budget.py", "    if counted is None:\n        return False\n", ""),
    cancel=edit(
        "delivery/outbox.py",
        "        _remove(claimed)\n        return False\n",
        "        with transaction() as connection:\n            links.cancel(connection, claimed.email)\n"
        "        return False\n",
    ),
)
def test_one_mailbox_gets_one_mail_of_a_kind_whoever_asks(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    victim, bystander = "victim@example.com", "bystander@example.com"
    register(service, victim)
    token = mails.token_for(service, victim, "activate")
    works(is_good(service, token, "activate"), "the first mail's link is valid")
    for number in range(1, 21):
        register(service, victim, number)
        if number % 10 == 0:
            harm(len(mails.sent(service, victim)) > 1, "strangers sent a second mail to the mailbox within ten minutes")
            assert waiting(service) == 0
    harm(not is_good(service, token, "activate"), "strangers invalidated the owner's link")
    register(service, bystander, 30)
    works(len(mails.sent(service, bystander)) == 1, "another recipient gets a mail")
    service.travel(minutes=10, seconds=1)
    register(service, victim, 31)
    works(len(mails.sent(service, victim)) == 2, "the same recipient gets one ten minutes later")
    assert not is_good(service, token, "activate")  # the newer one replaces it
    assert is_good(service, mails.token_for(service, victim, "activate"), "activate")


@protects(
    "mail-queue-holds-no-token",
    **sabotages(core.test_no_table_holds_the_link_of_a_mail, "mail-queue-holds-no-token", "clear"),
    terminal=edit(
        "delivery/outbox.py", "if token is not None and not state().settings.production:", "if token is not None:"
    ),
)
def test_no_table_and_no_output_holds_what_the_mail_holds(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    with relay(service) as server:
        register(service, "a@example.com")
        before = repr(everything(service))
        send(service)
        link = mails.link(server.mails[0])
        works(link is not None and is_good(service, link[1], "activate"), "the mail's link is valid")
        server.rejects = True
        register(service, "b@example.com", 1)
        send(service)
        rejected = mails.link(server.mails[1])
        assert link is not None
        assert rejected is not None
        dump, output = before + repr(everything(service)), "".join(capfd.readouterr()) + service.output
        for _purpose, token in (link, rejected):
            harm(token in dump, "a reader of the table has the link")
            harm(token in output, "a reader of the output has the link")
        assert waiting(service) == 1
        assert "a@example.com" in before


@protects(
    "mail-outbox-at-least-once",
    failure=edit("delivery/outbox.py", "        if over:\n", "        if over or error:\n"),
)
def test_a_mail_waits_for_its_server_and_is_given_up_after_a_day(service: Service) -> None:
    with relay(service, rejects=True) as server:
        register(service, "a@example.com")
        send(service)
        works(len(server.mails) == 1, "the service offers the mail to the server")
        server.rejects = False
        service.travel(minutes=1, seconds=1)
        send(service)
        harm(len(server.mails) == 1, "a mail was lost after the server refused it once")
        assert waiting(service) == 0

        server.rejects = True
        service.travel(hours=1)
        register(service, "b@example.com", 1)
        tries = 0
        while waiting(service) and tries < 60:
            send(service)
            tries += 1
            service.travel(minutes=61)
        assert tries == 25  # less and less often, at least every hour, for a day
        assert [event["status_code"] for event in service.log if event["event"] == "mail_given_up"] == [451]


# --- notices ----------------------------------------------------------------------------------------------------------

THIEF = "203.0.113.66"
_numbers = itertools.count(1)


ROW = "credential-change-notices"
LOGIN, ATTEMPTS, FACTORS, ACCOUNT, LETTERS = (
    "identity/login.py",
    "identity/attempts.py",
    "identity/factors.py",
    "identity/account.py",
    "delivery/letters.py",
)
DONE = Client.DONE
PASSWORD_CHANGED = "Your password was changed"


class Owner:
    """A user with an account, whose mailbox is read after each event."""

    def __init__(self, service: Service) -> None:
        self.service, self.user, self.email = service, service.user(), ""
        self.read: dict[str, int] = {}

    def news(self) -> list[EmailMessage]:
        """Return the mails since the mailbox was last read."""
        found = mails.sent(self.service, self.user.email)
        new = found[self.read.get(self.user.email, 0) :]
        self.read[self.user.email] = len(found)
        return new

    def hears_nothing(self, what: str) -> None:
        """Check that an ordinary event sent no mail."""
        harm([mail["Subject"] for mail in self.news()], f"the owner got a needless mail, {what}")

    @contextmanager
    def is_told(self, subject: str, address: str = THIEF) -> Iterator[None]:
        """Expect exactly this notice, with the time and address of the event."""
        assert self.news() == []
        began = self.service.now()
        yield
        moments = {f"{moment.day} {moment:%B %Y, %H:%M} UTC" for moment in (began, self.service.now())}
        self.service.travel(minutes=3)  # the mail is sent later than that
        found = self.news()
        subjects = [mail["Subject"] for mail in found]
        harm(subject not in subjects, f"the owner got no notice: {subject}")
        assert subjects == [subject]
        text = mails.text(found[0])
        harm(not [moment for moment in moments if moment in text], "the notice does not say when it happened")
        harm(address not in text, "the notice does not name the address")
        harm(mails.link(found[0]), "a notice contains a link with a token")
        assert "new password" in text or "write to" in text

    def client(self, address: str = THIEF, methods: str = "password") -> Client:
        """Return a client with a fresh session."""
        return self.service.client(replace(self.user, methods=methods), address).login()

    def signs_in(self, device: str | None = None, address: str = "", app: App | None = None) -> str:
        """Sign in with all required factors; return the device."""
        number = next(_numbers)
        client = self.service.client(self.user, address or f"198.{18 + number // 250 % 2}.{number % 250}.5")
        answer = attempt(client, self.user.email, self.user.password, device)
        if app is not None:
            more = {"device_token": device} if AUTH == "jwt" and device is not None else {}
            answer = client.send_code(app.next_code(), **more)
        works(answer.status == SIGNED_IN, "the right password and code sign in")
        return device_of(answer)

    def fails(self, times: int, device: str | None = None) -> None:
        """Type wrong passwords, each from another network."""
        for _ in range(times):
            number = next(_numbers)
            client = self.service.client(address=f"198.{18 + number // 250 % 2}.{number % 250}.5")
            assert attempt(client, self.user.email, WRONG, device).status == 401

    def guesses(self, times: int, app: App) -> list[Response]:
        """Type wrong codes after the right password."""
        client = self.service.client(self.user, THIEF)
        attempt(client, self.user.email, self.user.password)
        return [client.send_code(app.wrong_code()) for _ in range(times)]


ADDED, REMOVED = "A second factor was added", "A second factor was removed"
NEW_DEVICE, AFTER_FAILURES = "Sign-in on a new device", "Sign-in after failed attempts"
GUESSED = "Wrong codes for your account"


@protects(
    ROW,
    added=edit(FACTORS, "        mail.enqueue(connection, mail.FACTOR_ADDED, user.email)\n", ""),
    factor=edit(FACTORS, "\n        mail.enqueue(connection, mail.FACTOR_REMOVED, user.email)\n", "\n"),
    codes=edit(FACTORS, "        mail.enqueue(connection, mail.CODES_MADE, user.email)\n", ""),
    used=edit(ATTEMPTS, "    notify(connection, user_id, mail.CODE_USED)\n", "    pass\n"),
)
def test_changes_of_second_factors_are_notified(service: Service) -> None:
    owner, device = Owner(service), Authenticator()
    both = "password totp"
    client = owner.client()
    app = App(service, client.seed_of(client.begin_totp()))
    with owner.is_told(ADDED):
        confirmed = client.confirm_totp(app.code())
        works(confirmed.status == DONE["confirm_totp"], "the user adds an app and gets recovery codes")
    client = owner.client(methods=both)
    with owner.is_told("New recovery codes"):
        renewed = client.new_codes()
        works(renewed.status == DONE["new_codes"], "the user makes new codes")
    [code, *_] = client.codes_of(renewed)
    with owner.is_told("A recovery code was used"):
        works(client.step_up(PASSWORD, code).status == DONE["step_up"], "the user uses one")
    client = owner.client(methods=both)
    options, asked = client.passkey_options()
    with owner.is_told(ADDED):
        works(client.add_passkey(asked, device.create(options)).status == DONE["add_passkey"], "a user adds a passkey")
    client = owner.client(methods=both)
    [passkey] = client.passkeys()
    with owner.is_told(REMOVED):
        works(client.remove_passkey(passkey["id"]).status == DONE["remove_passkey"], "the user removes it")
    client = owner.client(methods=both)
    another = App(service, client.seed_of(client.begin_totp()))
    assert client.confirm_totp(another.code()).status == DONE["confirm_totp"]
    service.travel(minutes=3)
    assert sorted(mail["Subject"] for mail in owner.news()) == [ADDED, REMOVED]  # one app in the place of the other
    client = owner.client(methods=both)
    with owner.is_told(REMOVED):
        works(client.remove_totp().status == DONE["remove_totp"], "the user removes the app")


@protects(
    ROW,
    copied=edit(ATTEMPTS, "        notify(connection, assertion.user_id, mail.PASSKEY_SUSPENDED)\n", ""),
    administrator=edit(
        "mail/__init__.py",
        "origin=_origin() if purpose in NOTICES - BY_OTHERS",
        "origin=_origin() if purpose in NOTICES",
    ),
    administrators=edit(FACTORS, "        mail.enqueue(connection, mail.FACTORS_RESET, row.email)\n", ""),
)
def test_copied_passkeys_and_factor_resets_are_notified(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, device, at_the_desk = Owner(service), Authenticator(), "192.0.2.90"
    manager = administrator(service, monkeypatch, at_the_desk)
    client = owner.client()
    options, asked = client.passkey_options()
    works(client.add_passkey(asked, device.create(options)).status == DONE["add_passkey"], "a user adds a passkey")
    assert [mail["Subject"] for mail in owner.news()] == [ADDED]
    thief = service.client(address=THIEF)
    options, asked = thief.login_passkey_options()
    with owner.is_told("A passkey was switched off"):
        works(thief.login_with_passkey(asked, device.get(options, count=1)).status == 401, "the copy is refused")
    works(manager.reset_factors(owner.user.id).status == DONE["reset_factors"], "an administrator resets the factors")
    found = owner.news()
    harm(not found, "the owner got no notice of an administrator's reset")
    text = mails.text(found[0])
    harm(at_the_desk in text, "the notice reveals the administrator's address")
    assert [mail["Subject"] for mail in found] == ["Your second factors were removed"]
    assert "It happened on" in text
    assert "write to" in text


@protects(
    ROW,
    device=edit(LOGIN, "        attempts.notify(connection, user_id, mail.NEW_DEVICE)\n", "        pass\n"),
    known=edit(LOGIN, "    elif seen_at is None and not _is_first(", "    elif not _is_first("),
    first=edit(
        LOGIN, "    elif seen_at is None and not _is_first(connection, opened):\n", "    elif seen_at is None:\n"
    ),
)
def test_only_logins_from_unknown_devices_are_notified(service: Service) -> None:
    owner, mallory = Owner(service), Owner(service)
    laptop = owner.signs_in()
    owner.hears_nothing("although it is the very first login")
    for _ in range(2):
        works(owner.signs_in(laptop) == laptop, "the owner signs in there again")
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
    """Create the cookie as it would be then: the clock that signs cookies is not the service's."""
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
    waited=edit("throttle/__init__.py", 'if not counted["rounds"] and counted["failures"]', 'if counted["failures"]'),
    once=edit("throttle/__init__.py", "(recent if since is None else max(recent, since))", "recent"),
    few=edit("throttle/__init__.py", 'counted["failures"] < OFTEN:', 'counted["failures"] < 1:'),
)
def test_a_login_after_failed_ones_is_told_once(service: Service) -> None:
    Owner(service).signs_in()  # another user, on another device
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
    with owner.is_told(AFTER_FAILURES):  # of the password, by a user with the second factor
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
    works([answer.status for answer in owner.guesses(5, app)] == [401] * 5, "a thief guesses wrong codes")
    assert owner.news() == []
    service.travel(minutes=16)
    with owner.is_told(AFTER_FAILURES):
        owner.signs_in(laptop, THIEF, app)
    owner.signs_in(laptop, app=app)
    owner.hears_nothing("although nothing has failed since")


@protects(
    ROW,
    guesses=edit(ATTEMPTS, "            notify(connection, user_id, mail.FACTOR_GUESSED)\n", "            pass\n"),
    early=edit(ATTEMPTS, "    elif guess.day.number == WRONG_CODES.count:", "    elif guess.day.number:"),
)
def test_who_guesses_twenty_codes_is_told_of_once(service: Service) -> None:
    owner = Owner(service)
    app = with_app(service, owner.user)
    owner.signs_in(app=app)
    attempts, throttle = service.module("identity.attempts"), service.module("throttle")
    with service.app.app_context():
        for _ in range(5):  # earlier guesses, as the service's own counter keeps them
            throttle.take(f"{attempts.FACTOR}-day", owner.user.id.hex, attempts.WRONG_CODES)
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
    time=edit(LETTERS, "_moment(happened_at, ", "_moment(now(), "),
    origin=edit("mail/__init__.py", 'origin=_origin() if purpose in NOTICES - BY_OTHERS else ""', 'origin=""'),
    link=insert(
        LETTERS,
        after="    link = state().mailed_link.address_of(purpose if token is not None else links.RESET, token)\n",
        new='    link = state().mailed_link.address_of(links.RESET, __import__("secrets").token_urlsafe(32))\n',
    ),
)
def test_changes_of_password_and_address_are_notified(service: Service) -> None:
    owner = Owner(service)
    with owner.is_told(PASSWORD_CHANGED):
        changed = owner.client().change_password(PASSWORD, CHOSEN)
        works(changed.status == DONE["change_password"], "the user changes the password")
    reader = service.client(address=THIEF)
    assert reader.forgot(owner.user.email).status == DONE["forgot"]
    token = mails.token_for(service, owner.user.email, "reset")
    works([mail["Subject"] for mail in owner.news()] == ["Choose a new password"], "a reset link is mailed")
    with owner.is_told(PASSWORD_CHANGED):
        works(reader.reset(token, OTHER).status == DONE["reset"], "the mailed link changes it too")
    client = owner.client()
    with owner.is_told("Your address is about to change"):
        works(client.ask_email("thief@evil.example").status == DONE["ask_email"], "the user asks for a new address")
    with owner.is_told("Your address was changed"):
        moved = client.confirm_email(mails.token_for(service, "thief@evil.example", "email"))
        works(moved.status == DONE["confirm_email"], "the new address is confirmed")
    assert "evil" not in "".join(mails.text(mail) for mail in mails.sent(service, owner.user.email))


@protects(
    ROW,
    agent=edit(
        "mail/__init__.py", 'device_name(request.headers.get("User-Agent", ""))', "str(request.user_agent)[:60]"
    ),
)
def test_a_notice_names_the_device_in_fixed_words(service: Service) -> None:
    owner = Owner(service)
    client = owner.client()
    client.agent = "Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0"
    works(client.change_password(PASSWORD, CHOSEN).status == DONE["change_password"], "the user changes the password")
    [notice] = owner.news()
    named = mails.text(notice)
    works("Windows" in named, "the notice names the device")
    client.agent = "Prizes at https://evil.example Firefox/1"
    assert client.change_password(CHOSEN, OTHER).status == DONE["change_password"]
    [notice] = owner.news()
    harm("evil.example" in mails.text(notice), "a client wrote a link into a mail of this service")
    assert f"with Firefox on Windows at the address {THIEF}." in named
    assert f"with Firefox at the address {THIEF}." in mails.text(notice)
