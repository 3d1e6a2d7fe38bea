"""PostgreSQL by psycopg 3: any number of processes and machines share accounts, sessions and counters.

A password inside an address ends in process lists, logs and error texts: it is a secret of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from psycopg.pq import TransactionStatus
from sqlalchemy import URL, Connection, Engine, make_url, text
from sqlalchemy.exc import ArgumentError

from ..secrets import Secrets
from ..settings import BastionSettings

SECRETS: Final[tuple[str, ...]] = ("DATABASE_PASSWORD",)
CONNECT_SECONDS: Final = 5  # a database that is away is answered with 503, not waited for
STATEMENT_MILLISECONDS: Final = 5_000
IDLE_IN_TRANSACTION_MILLISECONDS: Final = 10_000
# After the `?` of the address. libpq knows others there: a password, a file of passwords, another user.
QUERY: Final = ("application_name", "host", "port", "sslcert", "sslkey", "sslmode", "sslrootcert")
_WROTE: Final = text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")


def check(settings: BastionSettings) -> Iterator[str]:
    """Reasons against this database address, without showing it."""
    url = _parsed(settings)
    if url is None or url.get_backend_name() not in ("postgresql", "postgres"):
        yield "DATABASE_URL must name a PostgreSQL database, as in postgresql://my_service@db.internal:5432/my_service."
    elif not url.username or not url.database or not (url.host or "host" in url.query):
        yield "DATABASE_URL lacks the user, host or database: postgresql://user@host:5432/name."
    elif url.password is not None:
        yield "DATABASE_URL holds a password. Take it out, and set it as the secret DATABASE_PASSWORD."
    elif others := sorted({*url.query} - {*QUERY}):
        yield (
            f"DATABASE_URL has {', '.join(others)} after the `?`, where it may have {', '.join(QUERY)}. Take it out; a "
            "password is the secret DATABASE_PASSWORD."
        )


def _parsed(settings: BastionSettings) -> URL | None:
    try:
        return make_url(settings.database_url)
    except ArgumentError:
        return None


def address(settings: BastionSettings, secrets: Secrets) -> URL:
    """The address to connect to, password included; call it after check()."""
    password = secrets.get("DATABASE_PASSWORD").reveal()
    return make_url(settings.database_url).set(drivername="postgresql+psycopg", password=password)


def options(settings: BastionSettings) -> dict[str, Any]:
    """Options of the engine: a connection for each thread and one to spare, and an end to every wait."""
    return {
        "pool_size": settings.threads + 2,
        "max_overflow": settings.threads,
        "pool_timeout": CONNECT_SECONDS,
        "pool_pre_ping": True,
        "connect_args": {
            "connect_timeout": CONNECT_SECONDS,
            "options": f"-c statement_timeout={STATEMENT_MILLISECONDS}"
            f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MILLISECONDS} -c timezone=UTC",
        },
    }


def prepare(_engine: Engine) -> None:
    """Nothing to set for each connection: the options above travel with the connection request."""


def begin(connection: Connection) -> None:
    """Nothing: rows are locked where they are read to decide (`sessions.hold`, `users.changing`)."""


def has_written(connection: Connection) -> bool:
    """Whether the open transaction has written and can still be committed."""
    driver: Any = connection.connection.driver_connection
    if driver.info.transaction_status != TransactionStatus.INTRANS:
        return False
    return bool(connection.scalar(_WROTE))


def development_url(folder: Path, package: str, password: Path) -> str:
    """For development: a PostgreSQL of this machine's own, by the development group's binaries, started if need be."""
    from .local_postgresql import start

    return f"postgresql://{package}@127.0.0.1:{start(folder, package, password.read_text(encoding='utf-8'))}/{package}"
