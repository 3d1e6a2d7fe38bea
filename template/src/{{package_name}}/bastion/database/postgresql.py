"""PostgreSQL by psycopg 3: any number of processes and machines share accounts, sessions and counters.

A password inside an address ends in process lists, logs and error texts: it is a secret of its own. libpq encrypts only
if the server likes to, and asks nobody who that is; it waits for a server that is gone for two hours.
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
POOL_SECONDS: Final = 5.0  # for one that is free, of as many as there are threads and half again
STATEMENT_MILLISECONDS: Final = 5_000
IDLE_IN_TRANSACTION_MILLISECONDS: Final = 10_000
LOCK_MILLISECONDS: Final = 5_000  # of a migration: whoever comes behind it in the queue waits as long
# A server that is gone without a word is missed after ten seconds, whether it owes an acknowledgement or an answer.
NETWORK: Final = {
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "gssencmode": "disable",  # where it succeeds there is no TLS, and nobody looks at a certificate
}
# libpq's own variables: each is a default for what the address does not say, such as the real address of `localhost`.
VARIABLES: Final = (
    *(option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar),
    *("PGDATESTYLE", "PGGEQO", "PGSYSCONFDIR", "PGTZ"),
)
# After the `?` of the address. libpq knows others there: a password, a file of passwords, another user.
QUERY: Final = ("application_name", "host", "port", "sslcert", "sslkey", "sslmode", "sslrootcert")
# COPY by one of the first three runs a program or replaces files of the server's; the others see every table.
_ADMINISTRATOR: Final = text(
    "SELECT bool_or(rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls OR rolname IN"
    " ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files',"
    " 'pg_read_all_data', 'pg_write_all_data')) FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')"
)
_OWNS: Final = text("SELECT EXISTS (SELECT FROM pg_class WHERE relkind = 'r' AND pg_has_role(relowner, 'MEMBER'))")
_WROTE: Final = text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")


def check(settings: BastionSettings) -> Iterator[str]:
    """Reasons against this database address, without showing it."""
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
    """Whoever answers from another machine must show a certificate of its name, from an authority that is named."""
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
    """Every host that the driver may try: that of the address, and those after its `?`, which replace it."""
    others = url.query.get("host", ())
    for listed in (url.host or "", *((others,) if isinstance(others, str) else others)):
        yield from filter(None, listed.split(","))


def address(settings: BastionSettings, *, migrates: bool = False) -> URL:
    """The address to connect to, without the password, which each connection asks for; call it after check().

    Who migrates signs in as the role that owns the tables, where there is one.
    """
    url = make_url(settings.database_url).set(drivername="postgresql+psycopg")
    return url.set(username=settings.migration_user) if migrates and settings.migration_user else url


def options(settings: BastionSettings, *, migrates: bool = False) -> dict[str, Any]:
    """Options of the engine: a connection for each thread and one to spare, and an end to every wait.

    A migration may take its time with a large table, once it has the lock.
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
    """The limits travel with the connection request. Who has kept a transaction waiting learns that it is lost."""

    @event.listens_for(engine, "handle_error")
    def _on_error(context: ExceptionContext) -> None:
        # The driver takes it for a mistake of the statement that came too late, and the connection for a good one.
        if isinstance(context.original_exception, IdleInTransactionSessionTimeout):
            context.is_disconnect = True


def is_administrator(connection: Connection) -> bool:
    """Whether the role reaches past its own database, by itself or as a role that it is a member of."""
    return bool(connection.scalar(_ADMINISTRATOR))


def owns_tables(connection: Connection) -> bool:
    """Whether the role can alter and drop what it works with."""
    return bool(connection.scalar(_OWNS))


def begin(connection: Connection) -> None:
    """Nothing: rows are locked where they are read to decide (`sessions.hold`, `users.changing`)."""


def has_written(connection: Connection) -> bool:
    """Whether the open transaction has written and can still be committed."""
    driver: Any = connection.connection.driver_connection
    if driver.info.transaction_status != TransactionStatus.INTRANS:
        return False
    return bool(connection.scalar(_WROTE))


def is_conflict(error: BaseException | None) -> bool:
    """Return True for a broken constraint that a concurrent request can cause; others are faults of the code."""
    return isinstance(error, (UniqueViolation, ForeignKeyViolation, ExclusionViolation))


COMMANDS: Final[tuple[Command, ...]] = ()
"""Of `db`: none. The server's own programs make a backup, see docs/bastion/database.md."""


def development_url(folder: Path, package: str, password: Path) -> str:
    """For development: a PostgreSQL of this machine's own, started if need be."""
    return f"postgresql://{package}@127.0.0.1:{start_here('local_postgresql.py', folder, package, password)}/{package}"
