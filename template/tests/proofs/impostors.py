"""Who answers in the database's place and asks for the password, and a real server that can show who it is.

It stops proofs of TLS from trusting what a driver says about itself: what an impostor was sent is in his hands.
"""

from __future__ import annotations

import importlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme

from . import databases
from .service import DATABASE

HOST = "0.0.0.0"  # noqa: S104  another machine by its name, and this one when somebody connects to it


class Authority:
    """Signs certificates; `file` holds its own."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.file = folder / f"ca-{id(self)}.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def context(self, name: str, *, days: int = 30) -> ssl.SSLContext:
        """What a server has whose certificate is of this name, and ends in so many days."""
        made, now = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), datetime.now(UTC)
        own = self.ca.issue_cert(name, not_before=now - timedelta(9), not_after=now + timedelta(days))
        own.configure_cert(made)
        return made


class Impostor:
    """Answers in the database's place, with the given certificate or without TLS, and asks for the password."""

    def __init__(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        self.context = context
        self.asked = 0
        self.passwords: list[str] = []
        self._listener = listener
        self._thread = threading.Thread(target=self._answer_all, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def _answer_all(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            connection.settimeout(5)
            self.asked += 1
            with suppress(OSError, struct.error), connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        """Speak the server's part until the password is there."""
        raise NotImplementedError

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=5)


class PostgreSQLImpostor(Impostor):
    """PostgreSQL: Frontend/Backend Protocol, "Message Formats"."""

    def _answer(self, connection: socket.socket) -> None:
        head = connection.recv(8)
        if head == struct.pack("!II", 8, 80877103):  # SSLRequest
            connection.sendall(b"N" if self.context is None else b"S")
            if self.context is not None:
                with self.context.wrap_socket(connection, server_side=True) as encrypted:
                    self._ask(encrypted, encrypted.recv(8))
                return
            head = connection.recv(8)
        self._ask(connection, head)

    def _ask(self, connection: socket.socket, head: bytes) -> None:
        connection.recv(struct.unpack("!II", head)[0] - 8)  # user and database
        connection.sendall(b"R" + struct.pack("!II", 8, 3))  # AuthenticationCleartextPassword
        kind, length = struct.unpack("!cI", connection.recv(5))
        if kind == b"p":
            self.passwords.append(connection.recv(length - 4).rstrip(b"\0").decode())


class MySQLImpostor(Impostor):
    """MySQL: Client/Server Protocol, "Connection Phase"."""

    def _answer(self, connection: socket.socket) -> None:
        offers = 0x0008_A20B | (0x0800 if self.context else 0)  # 4.1 passwords, plugins, a database; TLS
        first = b"\x0a8.4.0\0" + struct.pack("<I", 1) + b"saltsalt\0" + struct.pack("<H", offers & 0xFFFF)
        first += b"\x2d" + struct.pack("<HHB", 2, offers >> 16, 21) + b"\0" * 10 + b"saltsaltsalt\0"
        self._send(connection, 0, first + b"mysql_native_password\0")
        sent = self._read(connection)
        if self.context is not None and len(sent) == 32:  # asks for TLS, and has said nothing yet
            with self.context.wrap_socket(connection, server_side=True) as encrypted:
                self._read(encrypted)
                self._ask(encrypted, 3)
        elif sent:
            self._ask(connection, 2)

    def _ask(self, connection: socket.socket, number: int) -> None:
        self._send(connection, number, b"\xfemysql_clear_password\0")
        if password := self._read(connection):
            self.passwords.append(password.rstrip(b"\0").decode())

    def _send(self, connection: socket.socket, number: int, payload: bytes) -> None:
        connection.sendall(struct.pack("<I", len(payload))[:3] + bytes([number]) + payload)

    def _read(self, connection: socket.socket) -> bytes:
        length = int.from_bytes(connection.recv(4)[:3], "little")
        return connection.recv(length)


IMPOSTORS = {"postgresql": PostgreSQLImpostor, "mysql": MySQLImpostor}
STORES = {"postgresql": (".servers", "PostgreSQLStore"), "mysql": (".store_mysql", "MySQLStore")}


@contextmanager
def impostor(context: ssl.SSLContext | None) -> Iterator[Impostor]:
    """Somebody who answers in the place of the service's kind of database."""
    made = IMPOSTORS[DATABASE](socket.create_server(("127.0.0.1", 0)), context)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def real_one(authority: Authority) -> Iterator[Any]:
    """A server with TLS and a certificate of the name that the service uses, and its store of databases."""
    module, store = STORES[DATABASE]
    servers: Any = importlib.import_module(module, __package__)
    own = authority.ca.issue_cert(HOST)
    chain, key = (pem.bytes().decode() for pem in (own.private_key_and_cert_chain_pem, own.private_key_pem))
    try:
        server = servers.start_with_tls(chain, key)
    except databases.NoServer as missing:
        databases.give_up(missing)
    try:
        yield getattr(servers, store)(server.admin_url, server)
    finally:
        server.stop()


def contexts(authority: Authority, stranger: Authority) -> dict[str, ssl.SSLContext | None]:
    """What impostors have: everything but a certificate of this name that the right authority has signed for today."""
    return {
        "another name": authority.context("db.example"),
        "another authority": stranger.context(HOST),
        "expired": authority.context(HOST, days=-1),
        "no TLS": None,
    }
