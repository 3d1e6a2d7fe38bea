"""Mail transport over TLS: mails go only to a server whose certificate was verified by name.

Mails carry links that open accounts; an attacker on the network path can suppress a server's STARTTLS offer
(downgrade). In development mails are files below instance/mail/. Source: ASVS 12.3.1, 12.3.2; RFC 8314.
"""

from __future__ import annotations

import os
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from email_validator import EmailNotValidError, validate_email

from ..clock import now
from ..secrets import Secret, Secrets
from ..settings import BastionSettings
from ..state import state

PASSWORD: Final = "SMTP_PASSWORD"  # noqa: S105  (the name of a secret)
FOLDER: Final = Path("instance/mail")
TIMEOUT: Final = 10.0  # seconds for each step of the conversation
PORTS: Final = {"smtps": 465, "smtp": 587}


@dataclass(frozen=True, slots=True)
class Server:
    """The mail server; `implicit_tls` means TLS from the first byte, otherwise STARTTLS is required."""

    host: str
    port: int
    user: str
    implicit_tls: bool

    @property
    def on_this_machine(self) -> bool:
        """Return whether the server is on this machine: a relay there may speak without TLS."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse(url: str) -> Server:
    """Parse BASTION_SMTP_URL. Raise ValueError, without the URL in it, for an invalid one."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname or parts.password is not None:
        raise ValueError
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError
    user = unquote(parts.username or "")
    return Server(parts.hostname, parts.port or PORTS[parts.scheme], user, parts.scheme == "smtps")


def check(settings: BastionSettings, secrets: Secrets) -> Iterator[str]:
    """Return reasons against a start that could send no mail, or could send it in clear text."""
    if not settings.production and not settings.smtp_url:
        return
    try:
        server = parse(settings.smtp_url)
    except ValueError:
        yield (
            "BASTION_SMTP_URL: name the mail server, smtps://user@mail.example:465 (or smtp:// with STARTTLS), without "
            f"a password; that is the secret {PASSWORD}."
        )
    else:
        if server.user and secrets.find(PASSWORD) is None:
            yield f"{PASSWORD}: BASTION_SMTP_URL has a user, so the service needs the password."
    if settings.smtp_ca and not Path(settings.smtp_ca).is_file():
        yield "BASTION_SMTP_CA: there is no such file. Leave it out to use the system's certificates."
    try:
        validate_email(settings.mail_from, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError:
        yield "BASTION_MAIL_FROM: name the address that mails come from, such as accounts@app.example."


def sender() -> str:
    """Return the address that mails come from."""
    return state().settings.mail_from or "accounts@localhost"  # only in development


def hand_over(message: EmailMessage) -> None:
    """Give the mail to the server, or to a file in development. Raise OSError and smtplib.SMTPException."""
    settings = state().settings
    if settings.smtp_url:
        _by_smtp(message, parse(settings.smtp_url), settings.smtp_ca)
    else:
        _into_file(message)


def _by_smtp(message: EmailMessage, server: Server, certificates: str) -> None:
    if not server.user:
        _deliver(message, server, certificates, None)
        return
    secrets = state().secrets
    password = secrets.get(PASSWORD)
    try:
        _deliver(message, server, certificates, password)
    except smtplib.SMTPAuthenticationError:
        if not secrets.refresh(PASSWORD, password):  # it was not exchanged: the server has another reason
            raise
        _deliver(message, server, certificates, secrets.get(PASSWORD))


def _deliver(message: EmailMessage, server: Server, certificates: str, password: Secret | None) -> None:
    context = ssl.create_default_context(cafile=certificates or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if server.implicit_tls:
        connection: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT, context=context)
    else:
        connection = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT)
    try:
        # A relay on this machine needs no TLS, as long as no password goes there in clear text.
        if not server.implicit_tls and (server.user or not server.on_this_machine):
            connection.starttls(context=context)  # raises SMTPNotSupportedError when it is not offered
        if password is not None:
            connection.login(server.user, password.reveal())
        connection.send_message(message)
    finally:
        with suppress(OSError, smtplib.SMTPException):  # a goodbye that fails must not have a sent mail sent again
            connection.quit()
        connection.close()


def _into_file(message: EmailMessage) -> None:
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = FOLDER / f"{now():%Y%m%d-%H%M%S-%f}.eml"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(message.as_bytes(policy=SMTP))
    print(f"\nMail to {message['To']}: {message['Subject']} ({file})", flush=True)
