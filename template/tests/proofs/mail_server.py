"""A mail server that the proofs control: it keeps what it is given, and fails or cheats as a proof wants it to.

It stops proofs from believing a stub of the client: what counts is what came over the wire, and whether it was TLS.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword

NAME = "mail.example"
"""The name that the service asks for, and that the right certificate is for."""


@dataclass
class MailServer:
    """What it offers, and what came of it."""

    context: ssl.SSLContext | None = None
    implicit_tls: bool = False
    offers_starttls: bool = True
    rejects: bool = False
    """Whether it refuses each mail, after having read it."""
    password: str = ""
    """What a login has to show; empty: it is welcome with any."""
    holds: threading.Event = field(default_factory=threading.Event)
    """Set: answer at once. Cleared: read a mail, and say nothing until it is set."""
    port: int = 0
    connections: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    """Accepted or not: the operator of a server has what was sent to it."""
    recipients: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    """For each mail, whether it came over TLS."""
    logins: list[str] = field(default_factory=list)
    refused: int = 0
    """How many of them did not show the password."""
    arrived: threading.Event = field(default_factory=threading.Event)

    def url(self, user: str = "", host: str = NAME) -> str:
        """The setting that leads to it."""
        return f"{'smtps' if self.implicit_tls else 'smtp'}://{f'{user}@' if user else ''}{host}:{self.port}"

    def conversation(self) -> SMTP:
        """One connection, which may log in without TLS: it is the client that must not."""
        self.connections += 1
        upgrades = self.context if self.offers_starttls and not self.implicit_tls else None
        return SMTP(
            self,
            hostname=NAME,
            tls_context=upgrades,
            authenticator=self._admits,
            auth_require_tls=False,
            auth_exclude_mechanism=["LOGIN"],  # else a client whose password is refused shows it once more this way
        )

    def _admits(
        self, _server: SMTP, _session: object, _envelope: object, _how: str, login: LoginPassword
    ) -> AuthResult:
        user, password = login.login.decode(), login.password.decode()
        self.logins.append(f"\0{user}\0{password}")
        welcome = self.password in ("", password)
        self.refused += not welcome
        return AuthResult(success=welcome, handled=False)

    async def handle_RCPT(
        self, _server: SMTP, _session: object, envelope: Envelope, address: str, _options: object
    ) -> str:
        """Take a mail to any address."""
        self.recipients.append(address)
        envelope.rcpt_tos.append(address)
        return "250 known"

    async def handle_DATA(self, server: SMTP, _session: object, envelope: Envelope) -> str:
        """Keep the mail, and answer when the proof lets it."""
        assert isinstance(envelope.content, bytes)
        assert server.transport is not None
        mail: Any = message_from_bytes(envelope.content, policy=policy.default)
        self.mails.append(mail)
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        self.arrived.set()
        await asyncio.to_thread(self.holds.wait, 20)
        return "451 not today" if self.rejects else "250 accepted"


@contextmanager
def running(**offers: Any) -> Iterator[MailServer]:
    """The server on a free loopback port, until the end of the block."""
    made, loop = MailServer(**offers), asyncio.new_event_loop()
    made.holds.set()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def end() -> None:
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    tls = made.context if made.implicit_tls else None
    started = loop.create_server(made.conversation, "127.0.0.1", 0, ssl=tls)
    server = asyncio.run_coroutine_threadsafe(started, loop).result(10)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.holds.set()
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)
        loop.close()


@dataclass
class Authority:
    """An authority for certificates; whoever trusts its file trusts what it issued."""

    folder: Path
    _own: trustme.CA = field(default_factory=trustme.CA)

    @property
    def file(self) -> str:
        """Its own certificate, for BASTION_SMTP_CA."""
        path = self.folder / "authority.pem"
        self._own.cert_pem.write_to_path(str(path))
        return str(path)

    def context(self, name: str = NAME) -> ssl.SSLContext:
        """What a server of this name speaks TLS with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._own.issue_cert(name).configure_cert(context)
        return context


def resolves_here(monkeypatch: Any, *names: str) -> None:
    """Names of mail servers lead to this machine: as their administrator says, or whoever answers in his place."""
    real = socket.getaddrinfo

    def resolve(host: Any, *more: Any, **further: Any) -> Any:
        return real("127.0.0.1" if host in names else host, *more, **further)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
