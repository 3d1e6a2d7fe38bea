"""MySQL 8 and MariaDB by PyMySQL: any number of processes and machines share accounts, sessions and counters.

By default both truncate long values, compare case-insensitively, and continue after a partial roll-back: each can let
an attacker into another account. A password inside an address ends in process lists and logs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from click import Command
from pymysql import IntegrityError
from pymysql.constants import ER
from sqlalchemy import URL, Connection, Engine, Table, event, make_url, text
from sqlalchemy.engine import ExceptionContext

from ..settings import BastionSettings
from .server import SYSTEM, check_query, check_roles, is_authority, on_this_machine, parsed, start_here

SECRETS: Final[Mapping[str, str]] = {"DATABASE_PASSWORD": "opens the database for DATABASE_URL's user"}
CONNECT_SECONDS: Final = 5  # a database that is away is answered with 503, not waited for
POOL_SECONDS: Final = 5.0  # for a free connection, of at most twice the threads and two
STATEMENT_SECONDS: Final = 5
LOCK_SECONDS: Final = 5
# Against a silent server. Longer than the limit of a statement, so that usually the server ends it: a statement that
# only the client gave up continues there.
SILENCE_SECONDS: Final = 10
# Allowed after the `?` of the address. The driver accepts others: password files, another user, initial SQL.
QUERY: Final = ("ssl_ca", "unix_socket")
# TRADITIONAL includes STRICT_ALL_TABLES: a value that does not fit is an error, and is neither truncated nor converted.
# The second wait is for tables that a migration has locked; MySQL's default limit is a year.
SESSION: Final = (
    "SET SESSION sql_mode = 'TRADITIONAL', time_zone = '+00:00', "
    f"innodb_lock_wait_timeout = {LOCK_SECONDS}, lock_wait_timeout = {LOCK_SECONDS}"
)
# Each server reads one of these comments. MySQL's limit is in milliseconds and only for SELECT.
LIMIT: Final = (
    f" /*!80000 , max_execution_time = {STATEMENT_SECONDS * 1000} */"
    f" /*M!100100 , max_statement_time = {STATEMENT_SECONDS} */"
)
# Byte by byte, trailing blanks too. No collation of this kind exists in both.
EXACT: Final = {"mysql": "utf8mb4_0900_bin", "mariadb": "utf8mb4_nopad_bin"}
QUERY_TIMEOUT: Final = 3024  # of MySQL
STATEMENT_TIMEOUT: Final = 1969  # of MariaDB
# After a deadlock the server has rolled back the whole transaction, after the others only the last statement.
GIVEN_UP: Final = frozenset(
    (ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT, ER.QUERY_INTERRUPTED, QUERY_TIMEOUT, STATEMENT_TIMEOUT)
)
CONFLICTS: Final = frozenset((ER.DUP_ENTRY, ER.NO_REFERENCED_ROW_2, ER.ROW_IS_REFERENCED_2))
READS: Final = frozenset(
    ("SELECT", "WITH", "SHOW", "EXPLAIN", "DESCRIBE", "SET", "DO", "SAVEPOINT", "RELEASE", "ROLLBACK")
)
COMMENTS: Final = {"/*": "*/", "#": "\n", "--": "\n"}
EXECUTED: Final = ("/*!", "/*M!")  # comments that this server executes
_WROTE: Final = "bastion.wrote"
# A role without rights outside of databases has only USAGE on the server. The accounts are in `mysql`.
_ADMINISTRATES: Final = re.compile(r"GRANT (?!USAGE ON ).* ON (?:\*|`mysql`|`%`)\.")
_ROLES: Final = text(  # of MariaDB: the user's own roles, each with the roles that it is a member of
    "SELECT role_name FROM information_schema.applicable_roles WHERE is_default IS NOT NULL"
)
_GRANTS: Final = text("SHOW GRANTS")
_TAKE: Final = text("SET ROLE :role")
_TAKE_ALL: Final = text("SET ROLE ALL")
_OWNS: Final = text(  # the name of a database in a grant is a pattern
    "SELECT EXISTS (SELECT 1 FROM information_schema.schema_privileges"
    " WHERE privilege_type IN ('ALTER', 'CREATE', 'DROP') AND DATABASE() LIKE table_schema)"
)


def check(settings: BastionSettings) -> Iterator[str]:
    """Return reasons against this database address, without showing it."""
    url = parsed(settings)
    if url is None or url.get_backend_name() not in ("mysql", "mariadb"):
        yield "DATABASE_URL must name a MySQL or MariaDB database, as in mysql://my_service@db.internal:3306/my_service."
    elif not url.username or not url.database or not (url.host or "unix_socket" in url.query):
        yield "DATABASE_URL lacks the user, host or database: mysql://user@host:3306/name."
    elif faults := [*check_query(url, QUERY)]:
        yield from faults
    else:
        yield from _check_transport(url)
        yield from check_roles(settings, url.username)


def _check_transport(url: URL) -> Iterator[str]:
    """Require another machine's server to show a certificate of its name, from a CA that the address names."""
    socket, authority = url.query.get("unix_socket"), url.query.get("ssl_ca")
    if socket is not None:
        if not isinstance(socket, str) or not socket.startswith("/"):
            yield "DATABASE_URL: unix_socket must be the absolute path of the server's socket."
    elif authority is None and not on_this_machine(url.host or ""):
        yield (
            "DATABASE_URL names another machine and does not verify it, so anybody on the way could be the database. "
            "Add ?ssl_ca=/path/of/ca.pem, the authority that signed the server's certificate."
        )
    elif authority is not None and not is_authority(authority):
        yield (
            "DATABASE_URL: ssl_ca must be the absolute path of a readable file of certificates (PEM), as of the "
            f"authority that signed the server's. Those of public authorities are in {SYSTEM}."
        )


def address(settings: BastionSettings, *, migrates: bool = False) -> URL:
    """Return the address to connect to, without the password, which each connection adds; call it after check().

    Migrations sign in as the role that owns the tables, where there is one. One driver name serves both servers: it
    detects the server when it connects.
    """
    url = make_url(settings.database_url).set(drivername="mysql+pymysql").difference_update_query(["ssl_ca"])
    return url.set(username=settings.migration_user) if migrates and settings.migration_user else url


def options(settings: BastionSettings, *, migrates: bool = False) -> dict[str, Any]:
    """Return the engine's options: a connection for each thread, spare ones, and a limit on every wait.

    A migration has no statement limit, only one on the wait for locks.
    """
    return {
        "pool_size": settings.threads + 2,
        "max_overflow": settings.threads,
        "pool_timeout": POOL_SECONDS,
        "pool_pre_ping": True,
        # PostgreSQL's default, for which the statements are written: each sees all earlier commits. From the snapshot
        # of REPEATABLE READ, a transaction that waited for a lock would decide on old data.
        "isolation_level": "READ COMMITTED",
        "connect_args": {
            "charset": "utf8mb4",
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": None if migrates else SILENCE_SECONDS,
            "write_timeout": SILENCE_SECONDS,
            "init_command": SESSION if migrates else SESSION + LIMIT,
            "local_infile": False,  # a server could ask for any file of this machine
            **_transport(make_url(settings.database_url)),
        },
    }


def _transport(url: URL) -> dict[str, Any]:
    """Return verified TLS, or none on this machine: encryption without verification stops no active attacker."""
    if "ssl_ca" not in url.query:
        return {"ssl_disabled": True}
    return {"ssl_ca": url.query["ssl_ca"], "ssl_verify_cert": True, "ssl_verify_identity": True}


def prepare(engine: Engine) -> None:
    """Record which transactions have written, and end those that the server has partly rolled back."""

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.info.pop(_WROTE, None)

    @event.listens_for(engine, "after_cursor_execute")
    def _on_statement(connection: Connection, _cursor: object, statement: str, *_more: object) -> None:
        if not _only_reads(statement):
            connection.info[_WROTE] = True

    @event.listens_for(engine, "handle_error")
    def _on_error(context: ExceptionContext) -> None:
        # The next statement would continue, and the commit would keep half of the work. Without its connection a
        # transaction can only be rolled back, as on PostgreSQL.
        error = context.original_exception
        if error.args and error.args[0] in GIVEN_UP:
            context.is_disconnect, context.invalidate_pool_on_disconnect = True, False


def _only_reads(statement: str) -> bool:
    """Return whether a statement only reads, by its first word after comments and opening brackets."""
    rest = statement.lstrip(" \t\r\n(")
    while (begin := next((one for one in COMMENTS if rest.startswith(one)), "")) and not rest.startswith(EXECUTED):
        rest = rest.partition(COMMENTS[begin])[2].lstrip(" \t\r\n(")
    word = re.match("[A-Za-z]*", rest)
    return word is not None and word[0].upper() in READS


@event.listens_for(Table, "before_create")
def _compare_exactly(table: Table, connection: Connection, **_more: object) -> None:
    """Make every table of a migration, the team's too, compare text exactly, as the other databases do."""
    server = "mariadb" if getattr(connection.dialect, "is_mariadb", False) else "mysql"
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"), ("collate", EXACT[server])):
        table.kwargs.setdefault(f"mysql_{option}", value)


def is_administrator(connection: Connection) -> bool:
    """Return whether the role may administer the server, by itself or by a role that it can take.

    No table that its members may read shows a role's rights: this takes each role, and drops the connection.
    """
    grants = list(connection.scalars(_GRANTS))
    if getattr(connection.dialect, "is_mariadb", False):
        for role in connection.scalars(_ROLES).all():  # its users have one at a time
            connection.execute(_TAKE, {"role": role})
            grants += connection.scalars(_GRANTS)
    else:
        connection.execute(_TAKE_ALL)
        grants += connection.scalars(_GRANTS)
    connection.invalidate()
    return any(map(_ADMINISTRATES.match, grants))


def owns_tables(connection: Connection) -> bool:
    """Return whether the role can alter and drop the tables of its database."""
    return bool(connection.scalar(_OWNS))


def begin(connection: Connection) -> None:
    """Do nothing: rows are locked where they are read to decide (`sessions.hold`, `users.changing`)."""


def has_written(connection: Connection) -> bool:
    """Return whether the open transaction has written and can still be committed."""
    return not connection.invalidated and bool(connection.info.get(_WROTE))


def is_conflict(error: BaseException | None) -> bool:
    """Return True for a broken constraint that a concurrent request can cause; others are faults of the code."""
    return isinstance(error, IntegrityError) and error.args[0] in CONFLICTS


COMMANDS: Final[tuple[Command, ...]] = ()
"""Commands of `db`: none here. The server's own programs make a backup, see docs/bastion/database.md."""


def development_url(folder: Path, package: str, password: Path) -> str:
    """For development: return the URL of a MariaDB on this machine, started if need be."""
    return f"mysql://{package}@127.0.0.1:{start_here('local_mysql.py', folder, package, password)}/{package}"
