"""MySQL or MariaDB for the proofs: the server of TEST_DATABASE_URL, or a MariaDB that is started here.

It stops proofs from attacking another database than the service will run on. Nothing is installed, and the server
listens on a Unix socket in a folder of its own.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from . import local_mysql as local
from . import place
from .databases import MIB, Database, NoServer, free_port, in_memory

if TYPE_CHECKING:
    from sqlalchemy import URL

START_SECONDS = 30.0
# What is lost in a crash is lost: these databases live for seconds.
QUICK = (
    *("--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-stats-persistent=0"),
    *("--innodb-buffer-pool-size=128M", "--performance-schema=off"),
)
FIXED = (
    *("--skip-name-resolve", "--skip-log-bin", "--max-connections=300"),
    *("--character-set-server=utf8mb4", "--local-infile=0"),
)


@dataclass(slots=True)
class MariaDB:
    """A running server of our own."""

    folder: Path
    password: str
    process: subprocess.Popen[bytes] = field(repr=False)
    port: int = 0

    @property
    def admin_url(self) -> str:
        return f"mysql://root:{self.password}@localhost/mysql?unix_socket={self.folder}/socket"

    def stop(self) -> None:
        """Nothing of it is kept, so it may end as it likes."""
        self.process.kill()
        self.process.wait(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)


def start_with_tls(certificate: str, key: str) -> MariaDB:
    """The same with a loopback port, and a certificate (PEM) on it; connections without TLS are taken, too."""
    files = {"server.pem": certificate, "server.key": key}
    return start_mariadb(
        free_port(), ("--bind-address=127.0.0.1", "--ssl-cert=../server.pem", "--ssl-key=../server.key"), files
    )


def start_mariadb(
    port: int = 0,
    settings: Sequence[str] = ("--skip-networking", "--skip-ssl"),
    files: Mapping[str, str] = MappingProxyType({}),
) -> MariaDB:
    """Make a new server in a temporary folder and start it. Raises NoServer when it can't.

    `files` are put beside the data, for the server alone.
    """
    # In memory a database is cloned in 5 ms. Short: a socket's path has at most about 100 bytes.
    folder = Path(tempfile.mkdtemp(prefix="proof-my-", dir=in_memory(1024 * MIB)))
    password, first = secrets.token_urlsafe(24), folder / "first.sql"
    for name, content in {**files, first.name: f"ALTER USER root@localhost IDENTIFIED BY '{password}';\n"}.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(content, encoding="utf-8")
    user, group = local.user(), local.group()
    if user is not None and group is not None:  # the server refuses to run as root
        for path in (folder, first, *(folder / name for name in files)):
            os.chown(path, user, group)
    try:
        program = local.binary("mariadbd")
        local.initialise(folder / "data", "--auth-root-authentication-method=normal", "--skip-test-db")
    except RuntimeError as missing:
        shutil.rmtree(folder, ignore_errors=True)
        raise NoServer(f"no MariaDB: set TEST_DATABASE_URL, or else: {missing}") from None
    where = (
        *(f"--datadir={folder}/data", f"--socket={folder}/socket", f"--init-file={first}", f"--port={port}"),
        f"--tmpdir={folder}",  # a server that starts deletes what others have in a common one, and they crash
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  our own arguments
            [program, "--no-defaults", *where, *QUICK, *FIXED, *settings], user=user, group=group, cwd=folder,
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
        )  # fmt: skip
    server = MariaDB(folder, password, process, port)
    deadline = time.monotonic() + START_SECONDS
    while not _listens(folder / "socket"):  # whoever connects before it is ready, waits
        if process.poll() is not None or time.monotonic() > deadline:
            text = (folder / "log").read_text("utf-8", "replace")[-300:]
            server.stop()
            raise NoServer(f"MariaDB does not start: {text}")
        time.sleep(0.02)
    return server


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _connect(url: URL) -> Any:
    import pymysql
    from pymysql.constants import CLIENT

    where = {name: value for name, value in url.query.items() if name in ("unix_socket", "ssl_ca")}
    trust = {"ssl_verify_cert": True, "ssl_verify_identity": True} if "ssl_ca" in where else {"ssl_disabled": True}
    more: Any = {**where, **trust}
    return pymysql.connect(
        host=url.host, port=url.port or 3306, user=url.username, password=url.password or "", autocommit=True,
        charset="utf8mb4", client_flag=CLIENT.MULTI_STATEMENTS, **more,
    )  # fmt: skip


class MySQLStore:
    """Databases of a server, each with users of its own: one for the service's requests, one who makes the tables.

    The server may be somebody else's.
    """

    def __init__(self, admin_url: str, server: MariaDB | None) -> None:
        from sqlalchemy import make_url

        self.server = server
        self.admin = make_url(admin_url).set(drivername="mysql")
        self.made: set[str] = set()
        self.statements: dict[str, list[str]] = {}
        self._run("SELECT 1")

    def _run(self, *statements: str) -> list[Sequence[Any]]:
        """Rows of the first statement. Names and passwords are of our own random letters; DDL takes no parameters."""
        with closing(_connect(self.admin)) as connection, connection.cursor() as cursor:
            cursor.execute(";".join(statements))
            rows = list(cursor.fetchall())
            while cursor.nextset():
                pass
            return rows

    def _database(self, *statements: str) -> Database:
        """Make a database and its two users, by the service's own script; the statements fill it."""
        name, password, owner_password = f"proof_{secrets.token_hex(6)}", *(secrets.token_urlsafe(32) for _ in "12")
        self._run(
            *self.script(name),
            f"ALTER USER {name} IDENTIFIED BY '{password}' ACCOUNT UNLOCK",
            f"ALTER USER {name}_owner IDENTIFIED BY '{owner_password}' ACCOUNT UNLOCK",
            f"USE {name}",
            *statements,
        )
        self.made.add(name)
        url = self.admin._replace(username=name, password=None, database=name)
        own = url.set(drivername="mysql+pymysql", username=f"{name}_owner", password=owner_password)
        own = own.update_query_dict({"charset": "utf8mb4"} | ({} if "ssl_ca" in own.query else {"ssl_disabled": "yes"}))
        return Database(
            name,
            url.render_as_string(hide_password=False),
            password,
            own.render_as_string(hide_password=False),
            f"{name}_owner",
            owner_password,
        )

    def script(self, database: str) -> tuple[str, str]:
        """The service's own deploy/base/database/mysql.sql, as an administrator runs it."""
        file = place.root / "deploy" / "base" / "database" / "mysql.sql"
        names = f"@database = '{database}', @application = '{database}', @owner = '{database}_owner'"
        return f"SET {names}", file.read_text(encoding="utf-8").rstrip().removesuffix(";")

    def create(self) -> Database:
        return self._database()

    def clone(self, template: str) -> Database:
        """The statements that made the tables, again: CREATE TABLE LIKE would leave the foreign keys out."""
        if template not in self.statements:
            self.statements[template] = self._copy_of(template)
        return self._database("SET foreign_key_checks = 0", *self.statements[template])

    def _copy_of(self, template: str) -> list[str]:
        tables = [
            name
            for (name,) in self._run(
                f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{template}'"  # noqa: S608
            )
        ]
        made = [self._run(f"SHOW CREATE TABLE {template}.`{table}`")[0][1] for table in tables]
        return [*made, *(f"INSERT INTO `{table}` SELECT * FROM {template}.`{table}`" for table in tables)]  # noqa: S608

    def settle(self, name: str) -> None:
        """Nothing: the server has it."""

    def drop(self, database: Database) -> None:
        self._end_connections(database)  # whoever is in a transaction would keep the tables
        self._remove(database.name)

    def _remove(self, name: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS {name}", f"DROP USER IF EXISTS {name}, {name}_owner")
        self.made.discard(name)

    def _end_connections(self, database: Database) -> None:
        connected = f"SELECT id FROM information_schema.processlist WHERE db = '{database.name}'"  # noqa: S608
        for (number,) in self._run(connected):
            with suppress(Exception):  # it has gone by itself
                self._run(f"KILL {number}")

    def take_away(self, database: Database) -> None:
        self.drop(database)

    @contextmanager
    def refusing(self, database: Database) -> Iterator[None]:
        """For a while the service is not let in, and out if it was in."""
        self._run(f"ALTER USER {database.name} ACCOUNT LOCK")
        self._end_connections(database)
        yield
        self._run(f"ALTER USER {database.name} ACCOUNT UNLOCK")

    def close(self) -> None:
        if self.server is not None:
            self.server.stop()
            return
        for name in [*self.made]:  # somebody else's server: leave as little as possible
            with suppress(Exception):
                self._remove(name)


def open_store() -> MySQLStore:
    """Databases on the server that TEST_DATABASE_URL names, else on one that is started now. Raises NoServer."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        return MySQLStore(url, None)
    server = start_mariadb()
    return MySQLStore(server.admin_url, server)
