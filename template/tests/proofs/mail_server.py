"""A mail server that the proofs control: it keeps what it is given, and fails or cheats in the way that it is told.

It stops proofs from believing a stub of the client: what counts is what came over the wire, and whether it was TLS.
"""

from __future__ import annotations

import base64
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import trustme

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
    """Accepted or not: who runs a server has what was sent to it."""
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


class _Conversation(socketserver.StreamRequestHandler):
    timeout = 20
    disable_nagle_algorithm = True  # several short lines in a row would wait for the client's system each time

    def handle(self) -> None:
        mail_server: MailServer = self.server.told  # type: ignore[attr-defined]
        mail_server.connections += 1
        with suppress(OSError):  # the client went away, or did not like the certificate
            self._talk(mail_server)

    def finish(self) -> None:
        with suppress(OSError):  # what was not sent yet
            super().finish()
        self.connection.close()

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())
        self.wfile.flush()

    def _encrypt(self, context: ssl.SSLContext) -> None:
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")

    def _talk(self, told: MailServer) -> None:
        if told.implicit_tls and told.context is not None:
            self._encrypt(told.context)
        self._say("220 ready")
        while line := self.rfile.readline():
            command, _, rest = line.decode("ascii").strip().partition(" ")
            match command.upper():
                case "EHLO":
                    self._say("250-here")
                    if told.offers_starttls and not self._is_encrypted():
                        self._say("250-STARTTLS")
                    self._say("250 AUTH PLAIN")
                case "STARTTLS" if told.context is not None:
                    self._say("220 go ahead")
                    self._encrypt(told.context)
                case "AUTH":
                    told.logins.append(base64.b64decode(rest.partition(" ")[2]).decode())
                    self._admit(told)
                case "RCPT":
                    told.recipients.append(rest.partition("<")[2].rstrip(">"))
                    self._say("250 known")
                case "DATA":
                    self._receive(told)
                case "QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 fine")

    def _admit(self, told: MailServer) -> None:
        if told.password in ("", told.logins[-1].rpartition("\0")[2]):
            self._say("235 welcome")
        else:
            told.refused += 1
            self._say("535 not with this password")

    def _is_encrypted(self) -> bool:
        return isinstance(self.connection, ssl.SSLSocket)

    def _receive(self, told: MailServer) -> None:
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        mail: Any = message_from_bytes(b"".join(lines), policy=policy.default)
        told.mails.append(mail)
        told.encrypted.append(self._is_encrypted())
        told.arrived.set()
        told.holds.wait(20)
        self._say("451 not today" if told.rejects else "250 accepted")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False


@contextmanager
def running(**offers: Any) -> Iterator[MailServer]:
    """The server on a free loopback port, until the end of the block."""
    told = MailServer(**offers)
    told.holds.set()
    with _Server(("127.0.0.1", 0), _Conversation) as server:
        server.told = told  # type: ignore[attr-defined]
        told.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield told
        finally:
            told.holds.set()
            server.shutdown()
            thread.join(timeout=5)


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
