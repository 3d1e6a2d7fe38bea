"""Proofs of mail/: what is mailed, to whom, how often, over which line, and what is kept of it.

They stop a mail from carrying a stranger's text, filling a mailbox, and showing its link to anybody on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import mail_server, mails
from .harness import edit, harm, insert, protects, refused, works
from .mail_server import NAME, Authority, MailServer, resolves_here
from .running import PASSWORD, Service
from .service import AUTH
from .snapshot import everything
from .wire import HOST, ORIGIN

if TYPE_CHECKING:
    from email.message import EmailMessage


OTHER = "another-host.example"
LINKS_TO = {"session": f"{ORIGIN}/link/", "jwt": "https://client.example/account#purpose="}[AUTH]
NEW_PASSWORD = "seven wet llamas juggle maps"


def register(service: Service, email: str, number: int = 0) -> None:
    """Ask for an account with this address; each number is another network."""
    client = service.client(address=f"198.51.{number // 200}.{number % 200 + 1}")
    assert client.register(email).status == client.DONE["register"]


def send(service: Service) -> int:
    """Let the service send what is due."""
    with service.app.app_context():
        return int(service.module("mail.outbox").drain())


def is_good(service: Service, token: str, purpose: str) -> bool:
    """Whether this link would open anything now."""
    with service.app.app_context():
        return service.module("identity.links").look(token, purpose) is not None


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
    implicit=edit("mail/transport.py", "timeout=TIMEOUT, context=context)", "timeout=TIMEOUT)"),
    starttls=edit("mail/transport.py", "connection.starttls(context=context)", "connection.starttls()"),
    name=insert("mail/transport.py", after=VERIFIED, new="    context.check_hostname = False\n"),
    offered=edit(
        "mail/transport.py",
        "if not server.implicit_tls and (server.user or not server.on_this_machine):",
        "if not server.implicit_tls and connection.ehlo() and connection.has_extn('starttls'):",
    ),
)
def test_a_mail_goes_to_no_server_that_does_not_prove_its_name(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path)
    secret = "canary-of-the-mail-server-9ab3"
    resolves_here(monkeypatch, NAME, OTHER)
    service.setting("BASTION_REGISTRATION", "open")
    service.setting("BASTION_SMTP_CA", ours.file)
    service.setting("SMTP_PASSWORD", secret)

    def serve(server: MailServer) -> None:
        service.restart(BASTION_SMTP_URL=server.url("service"))

    with mail_server.running(context=ours.context(), implicit_tls=True) as good:
        serve(good)
        register(service, "first@example.com")
        works(send(service) == 1 and good.encrypted == [True], "it goes over TLS to the server of the right name")
        works(good.logins == [f"\0service\0{secret}"], "with the password")
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
                {"context": ours.context(OTHER), "implicit_tls": True},
                {"context": ours.context(OTHER)},
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
                    harm(evil.mails, f"somebody on the way has a mail ({error})")
                    harm(evil.logins, f"somebody on the way has the password ({error})")
                    assert evil.connections == 1
                assert [event["error"] for event in service.log if event["event"] == "mail_failed"][-1] == error
                assert waiting(service) == 1
                works(is_good(service, link[1], "activate"), "the link before it stays good")
                serve(good)
                service.travel(minutes=2)
                works(send(service) == 1 and waiting(service) == 0, "and the mail goes out when it can")
                link = mails.link(good.mails[-1])
                assert link is not None
    assert secret not in service.output


# --- the letter --------------------------------------------------------------------------------------------------


@protects(
    "mail-injection-refused",
    recipient=insert(
        "identity/users.py",
        after='    text = unicodedata.normalize("NFKC", typed.strip(" "))\n',
        new="    return typed\n",
    ),
    subject=edit(
        "mail/letters.py", 'message["Subject"] = parts["subject"]', 'message["Subject"] = parts["subject"] + email'
    ),
    body=edit(
        "mail/letters.py", 'texts["letter"]["greeting"], values)', 'texts["letter"]["greeting"] + email, values)'
    ),
)
def test_nothing_that_a_stranger_typed_is_in_a_mail(service: Service) -> None:
    with relay(service) as server:
        honest, bait = "honest@example.com", "free-gold.evil.example@example.com"
        register(service, honest)
        send(service)
        works(server.recipients == [honest], "an honest address gets the mail")
        [mail] = server.mails
        works(mails.link(mail) is not None, "with its link")
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
            harm([one for one in server.recipients if one != honest], f"a mail went to what was typed: {typed!r}")
            assert answer.status == 422
        assert waiting(service) == 0

        register(service, bait, 9)
        named = service.client(service.user("named@example.com")).login()
        assert named.rename("free-gold at evil.example").status == named.DONE["rename"]
        assert named.change_password(PASSWORD, NEW_PASSWORD).status == named.DONE["change_password"]
        send(service)
        assert sorted(server.recipients) == sorted([honest, bait, "named@example.com"])
        for mail in server.mails:
            harm("free-gold" in mail["Subject"], "a stranger writes subjects")
            harm([part for part in parts(mail) if "free-gold" in part], "a stranger writes into mails")
        assert [mail["Subject"] for mail in server.mails[:2]] == ["Confirm your address"] * 2


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
    """Mails are sent in no request at all; here they are sent within a hostile one, which may be any that waits."""
    service.setting("BASTION_TRUSTED_HOSTS", f"{HOST},.{HOST}")

    def drain() -> dict[str, int]:
        return {"sent": service.module("mail.outbox").drain()}

    service.adds_route("/send", mark="public", view=drain)
    with relay(service) as server:
        client = service.client()
        register(service, "a@example.com")
        works(client.get("/send").json == {"sent": 1}, "a mail is sent within a request")
        works(mails.link(server.mails[0]) is not None, "and has its link")

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
            [told] = [mail for mail in server.mails if mail["To"] == f"b{number}@example.com"]
            harm("evil" in "".join(parts(told)), "a mail of the service leads to an attacker's host")
            assert answer.json == {"sent": 1}
            assert LINKS_TO in parts(told)[0]
        sent = len(server.mails)
        answer = client.get("/send", headers={"Host": "evil.example"})
        refused(answer, 400, "host-header-trusted")
        assert len(server.mails) == sent


# --- the budget --------------------------------------------------------------------------------------------------


@protects(
    "mail-budget-per-recipient",
    recipient=edit("mail/budget.py", "    if counted is None:\n        return False\n", ""),
    cancel=edit(
        "mail/outbox.py",
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
    works(is_good(service, token, "activate"), "the first mail's link is good")
    for number in range(1, 21):
        register(service, victim, number)
        if number % 10 == 0:
            harm(len(mails.sent(service, victim)) > 1, "strangers fill a mailbox")
            assert waiting(service) == 0
    harm(not is_good(service, token, "activate"), "strangers take the owner's link away")
    register(service, bystander, 30)
    works(len(mails.sent(service, bystander)) == 1, "another recipient is served meanwhile")
    service.travel(minutes=10, seconds=1)
    register(service, victim, 31)
    works(len(mails.sent(service, victim)) == 2, "and the same one ten minutes later")
    assert not is_good(service, token, "activate")  # the newer one replaces it
    assert is_good(service, mails.token_for(service, victim, "activate"), "activate")


# --- the outbox --------------------------------------------------------------------------------------------------


@protects(
    "mail-queue-holds-no-token",
    clear=edit(
        "mail/outbox.py",
        "        return links.mint(connection, due) if connection.execute(still_there).rowcount == 1 else None\n",
        "        if connection.execute(still_there).rowcount == 1:\n            token = links.mint(connection, due)\n"
        "            connection.execute(update(OutgoingMail).where(_o.id == due.id).values(roles=token))\n"
        "            return token\n",
    ),
    terminal=edit(
        "mail/outbox.py", "if token is not None and not state().settings.production:", "if token is not None:"
    ),
)
def test_no_table_and_no_output_holds_what_the_mail_holds(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    with relay(service) as server:
        register(service, "a@example.com")
        before = repr(everything(service))
        send(service)
        link = mails.link(server.mails[0])
        works(link is not None and is_good(service, link[1], "activate"), "the mail's link opens something")
        server.rejects = True
        register(service, "b@example.com", 1)
        send(service)
        rejected = mails.link(server.mails[1])
        assert link is not None
        assert rejected is not None
        dump, output = before + repr(everything(service)), "".join(capfd.readouterr()) + service.output
        for _purpose, token in (link, rejected):
            harm(token in dump, "whoever reads a table has the link")
            harm(token in output, "whoever reads the output has the link")
        assert waiting(service) == 1
        assert "a@example.com" in before


@protects(
    "mail-outbox-at-least-once",
    failure=edit("mail/outbox.py", "        if over:\n", "        if over or error:\n"),
)
def test_a_mail_waits_for_its_server_and_is_given_up_after_a_day(service: Service) -> None:
    with relay(service, rejects=True) as server:
        register(service, "a@example.com")
        send(service)
        works(len(server.mails) == 1, "the server was asked")
        server.rejects = False
        service.travel(minutes=1, seconds=1)
        send(service)
        harm(len(server.mails) == 1, "one refusal of the server lost the mail")
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
