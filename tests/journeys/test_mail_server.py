"""The service hands its mail to a mail server that somebody else wrote (aiosmtpd), over TLS that it has verified."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from journeys.running import LINK, SECONDS, Running, free_port

# It warns of every set-up but STARTTLS; here the connection is encrypted from its first byte.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
USER, PASSWORD = "service@example.com", "the password of the mail server"


class Kept:
    """What the server accepted, and who had signed in to it."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.encrypted: list[bool] = []

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients += envelope.rcpt_tos
        self.encrypted.append(session.ssl is not None or session.authenticated is True)
        return "250 accepted"


def _check(_server: SMTP, _session: Session, _envelope: Envelope, mechanism: str, data: object) -> AuthResult:
    known = getattr(data, "login", b"") == USER.encode() and getattr(data, "password", b"") == PASSWORD.encode()
    return AuthResult(success=known and mechanism in ("LOGIN", "PLAIN"))


def _connect(port: int) -> None:
    """The controller tries itself out; its own way takes the server's side of TLS for both."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), SECONDS) as plain, context.wrap_socket(plain) as connection:
        connection.recv(100)


@pytest.fixture
def mail_server(tmp_path: Path) -> Iterator[tuple[Controller, Kept, Path]]:
    """TLS from the first byte, for the name localhost; only who signs in may send."""
    authority = trustme.CA()
    certificates = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(certificates))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    kept = Kept()
    controller = Controller(
        kept,
        hostname="127.0.0.1",
        port=free_port(),
        server_hostname="localhost",
        ready_timeout=SECONDS,
        ssl_context=context,
        authenticator=_check,
        auth_required=True,
        auth_require_tls=False,  # it knows STARTTLS alone as TLS; here everything is encrypted
    )
    controller._trigger_server = lambda: _connect(controller.port)  # type: ignore[method-assign]
    controller.start()
    yield controller, kept, certificates
    controller.stop()


def creates(pages: Running, folder: Path, address: str, **settings: str) -> str:
    """What the command says, on a database of its own: the running service would send what waits in its."""
    database = f"sqlite:///{folder / 'data.sqlite'}"
    return pages.command("users", "create", address, DATABASE_URL=database, **settings)


def test_a_mail_arrives_as_text_and_html_with_one_link(
    pages: Running, mail_server: tuple[Controller, Kept, Path], tmp_path: Path
) -> None:
    controller, kept, certificates = mail_server
    settings = {
        "BASTION_SMTP_URL": f"smtps://{USER.replace('@', '%40')}@localhost:{controller.port}",
        "BASTION_SMTP_CA": str(certificates),
        "BASTION_MAIL_FROM": "accounts@example.com",
        "SMTP_PASSWORD": PASSWORD,
    }
    said = creates(pages, tmp_path, "dora@example.com", **settings)
    assert "\nSent.\n" in said
    assert PASSWORD not in said
    [mail] = kept.mails
    assert (kept.recipients, mail["To"]) == (["dora@example.com"], "dora@example.com")
    assert mail["Subject"] == "Your new account"
    assert mail["From"] == "my-service <accounts@example.com>"
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    [link] = {*LINK.findall(str(text.get_content()))}
    assert f'href="{link}"' in str(html.get_content())


def test_no_mail_goes_to_a_server_whose_certificate_is_of_nobody_known(
    pages: Running, mail_server: tuple[Controller, Kept, Path], tmp_path: Path
) -> None:
    controller, kept, _ = mail_server
    settings = {"BASTION_SMTP_URL": f"smtps://localhost:{controller.port}", "BASTION_MAIL_FROM": "accounts@example.com"}
    said = creates(pages, tmp_path, "emil@example.com", **settings)
    assert "Still waiting: 1." in said
    assert "SSLCertVerificationError" in said
    assert kept.mails == []
