"""PostgreSQL by psycopg 3: any number of processes and machines share accounts, sessions and counters.

A password inside an address ends in process lists, logs and error texts: it is a secret of its own. By default libpq
encrypts only if the server offers it, verifies no certificate, and waits two hours for a lost server.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from click import Command
from psycopg.errors import ExclusionViolation, ForeignKeyViolation, IdleInTransactionSessionTimeout, UniqueViolation
from psycopg.pq import Conninfo, TransactionStatus
from sqlalchemy import URL, Connection, Engine, event, make_url, text
from sqlalchemy.engine import ExceptionContext

from ..settings import BastionSettings
from .server import SYSTEM, check_query, check_roles, is_authority, on_this_machine, parsed, start_here

SECRETS: Final[Mapping[str, str]] = {"DATABASE_PASSWORD": "opens the database for DATABASE_URL's user"}
CONNECT_SECONDS: Final = 5  # a database that is away is answered with 503, not waited for
POOL_SECONDS: Final = 5.0  # for a free connection, of at most twice the threads and two
STATEMENT_MILLISECONDS: Final = 5_000
IDLE_IN_TRANSACTION_MILLISECONDS: Final = 10_000
LOCK_MILLISECONDS: Final = 5_000  # of a migration: the statements behind it in the queue wait as long
# A lost server is detected after ten seconds, whether an acknowledgement or an answer is missing.
NETWORK: Final = {
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "gssencmode": "disable",  # where it succeeds there is no TLS, and so no verified certificate
}
# libpq's own variables: defaults for parts that the address omits, such as the real address of `localhost`.
VARIABLES: Final = (
    *(option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar),
    *("PGDATESTYLE", "PGGEQO", "PGSYSCONFDIR", "PGTZ"),
)
# Allowed after the `?` of the address. libpq accepts others: a password, a file of passwords, another user.
QUERY: Final = ("application_name", "host", "port", "sslcert", "sslkey", "sslmode", "sslrootcert")
# With one of the first three, COPY runs programs or reads or writes server files; the others reach every table.
_ADMINISTRATOR: Final = text(
    "SELECT bool_or(rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls OR rolname IN"
    " ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files',"
    " 'pg_read_all_data', 'pg_write_all_data')) FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')"
)
_OWNS: Final = text("SELECT EXISTS (SELECT FROM pg_class WHERE relkind = 'r' AND pg_has_role(relowner, 'MEMBER'))")
_WROTE: Final = text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")


def check(settings: BastionSettings) -> Iterator[str]:
    """Return reasons against this database address, without showing it."""
    url = parsed(settings)
    if url is None or url.get_backend_name() not in ("postgresql", "postgres"):
        yield "DATABASE_URL must name a PostgreSQL database, as in postgresql://my_service@db.internal:5432/my_service."
    elif not url.username or not url.database or not (url.host or "host" in url.query):
        yield "DATABASE_URL lacks the user, host or database: postgresql://user@host:5432/name."
    elif faults := [*check_query(url, QUERY)]:
        yield from faults
    else:
        yield from _check_transport(url)
        yield from check_roles(settings, url.username)
    if settings.production and (found := sorted(name for name in VARIABLES if name in os.environ)):
        yield f"{', '.join(found)} would change what DATABASE_URL says. Take it out of the environment."


def _check_transport(url: URL) -> Iterator[str]:
    """Require another machine's server to show a certificate of its name, from a CA that the address names."""
    if all(map(on_this_machine, _hosts(url))):
        return
    if url.query.get("sslmode") != "verify-full":
        yield (
            "DATABASE_URL names another machine and does not verify it, so anybody on the way could be the database. "
            "Add ?sslmode=verify-full&sslrootcert=/path/of/ca.pem, the authority that signed the server's certificate."
        )
    elif not is_authority(url.query.get("sslrootcert")):
        yield (
            "DATABASE_URL: sslrootcert must be the absolute path of a readable file of certificates (PEM), as of the "
            f"authority that signed the server's. Those of public authorities are in {SYSTEM}."
        )


def _hosts(url: URL) -> Iterator[str]:
    """Yield every host that the driver may try: the address's, and those after its `?`, which replace it."""
    others = url.query.get("host", ())
    for listed in (url.host or "", *((others,) if isinstance(others, str) else others)):
        yield from filter(None, listed.split(","))


def address(settings: BastionSettings, *, migrates: bool = False) -> URL:
    """Return the address to connect to, without the password, which each connection adds; call it after check().

    Migrations sign in as the role that owns the tables, where there is one.
    """
    url = make_url(settings.database_url).set(drivername="postgresql+psycopg")
    return url.set(username=settings.migration_user) if migrates and settings.migration_user else url


def options(settings: BastionSettings, *, migrates: bool = False) -> dict[str, Any]:
    """Return the engine's options: a connection for each thread, spare ones, and a limit on every wait.

    A migration has no statement limit, only one on the wait for locks.
    """
    parameters = {
        "statement_timeout": 0 if migrates else STATEMENT_MILLISECONDS,
        "lock_timeout": LOCK_MILLISECONDS if migrates else 0,  # in a request a wait is part of the statement's time
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MILLISECONDS,
        "timezone": "UTC",
    }
    return {
        "pool_size": settings.threads + 2,
        "max_overflow": settings.threads,
        "pool_timeout": POOL_SECONDS,
        "pool_pre_ping": True,
        "connect_args": {
            "connect_timeout": CONNECT_SECONDS,
            "options": " ".join(f"-c {name}={value}" for name, value in parameters.items()),
            **NETWORK,
        },
    }


def prepare(engine: Engine) -> None:
    """Treat a connection as lost if the server ended it for an idle transaction; limits are in the options."""

    @event.listens_for(engine, "handle_error")
    def _on_error(context: ExceptionContext) -> None:
        # The driver reports this as a late error of the statement, and the connection as usable.
        if isinstance(context.original_exception, IdleInTransactionSessionTimeout):
            context.is_disconnect = True


def is_administrator(connection: Connection) -> bool:
    """Return whether the role has rights beyond its own database, by itself or through a role membership."""
    return bool(connection.scalar(_ADMINISTRATOR))


def owns_tables(connection: Connection) -> bool:
    """Return whether the role can alter and drop tables, as an owner or a member of their owner."""
    return bool(connection.scalar(_OWNS))


def begin(connection: Connection) -> None:
    """Do nothing: rows are locked where they are read to decide (`sessions.hold`, `users.changing`)."""


def has_written(connection: Connection) -> bool:
    """Return whether the open transaction has written and can still be committed."""
    driver: Any = connection.connection.driver_connection
    if driver.info.transaction_status != TransactionStatus.INTRANS:
        return False
    return bool(connection.scalar(_WROTE))


def is_conflict(error: BaseException | None) -> bool:
    """Return True for a broken constraint that a concurrent request can cause; others are faults of the code."""
    return isinstance(error, (UniqueViolation, ForeignKeyViolation, ExclusionViolation))


COMMANDS: Final[tuple[Command, ...]] = ()
"""Commands of `db`: none here. The server's own programs make a backup, see docs/bastion/database.md."""


def development_url(folder: Path, package: str, password: Path) -> str:
    """For development: return the URL of a PostgreSQL on this machine, started if need be."""
    return f"postgresql://{package}@127.0.0.1:{start_here('local_postgresql.py', folder, package, password)}/{package}"
