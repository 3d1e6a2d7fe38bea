"""SQLite: a file beside the service, no server. One machine, one worker process.

Two processes would wait for each other's writes, and in-process counters must be counted once. A reader of the file has
every account, so only its owner may read it. An endless query would block a thread, an endless writer all others.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any, Final

import click
from flask import has_request_context
from flask.cli import with_appcontext
from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from ..settings import BastionSettings
from . import connect

SECRETS: Final[Mapping[str, str]] = {}
CODE: Final = Path(__file__).resolve().parents[2]  # the service's package, with the folder of its static files
BUSY_SECONDS: Final = 5.0  # how long a writer waits for another before the request is answered with 503
STATEMENT_SECONDS: Final = 5.0  # how long a statement of a request may take, until its last row is read; likewise
STEPS: Final = 50_000  # of SQLite's machine between two looks at the time: mostly a few milliseconds
CONFLICTS: Final = frozenset(f"SQLITE_CONSTRAINT_{kind}" for kind in ("FOREIGNKEY", "PRIMARYKEY", "UNIQUE"))
_ENDS_AT: Final = "bastion.statement_ends_at"


def check(settings: BastionSettings) -> Iterator[str]:
    """Return reasons against this database address, without showing it."""
    url = _parsed(settings)
    if url is None or url.get_backend_name() != "sqlite":
        yield "DATABASE_URL must name a SQLite file, as in sqlite:////var/lib/my-service/data.sqlite."
    elif not url.database or not Path(url.database).is_absolute() or url.query:
        yield "DATABASE_URL must name a SQLite file by its absolute path (four slashes) and nothing else."
    elif not Path(url.database).parent.is_dir():
        yield "DATABASE_URL: the folder of the SQLite file does not exist. Make it, writable for the service alone."
    elif Path(url.database).resolve().is_relative_to(CODE):
        yield "DATABASE_URL: the SQLite file lies in the package, beside what is served. Name a folder outside of it."
    elif Path(url.database).is_file() and stat.S_IMODE(Path(url.database).stat().st_mode) & 0o077:
        yield "DATABASE_URL: others than its owner may use the SQLite file. Run `chmod 600` on it, its -wal and -shm."
    if settings.migration_user:
        yield "BASTION_MIGRATION_USER is set, and SQLite has no users. Remove it."
    if settings.workers > 1:
        yield "WEB_CONCURRENCY is over 1: SQLite serves one worker process. Set it to 1, or move to PostgreSQL."


def _parsed(settings: BastionSettings) -> URL | None:
    try:
        return make_url(settings.database_url)
    except ArgumentError:
        return None


def address(settings: BastionSettings, *, migrates: bool = False) -> URL:  # noqa: ARG001
    """Return the address of the file, created readable only for its owner; call it after check()."""
    url = make_url(settings.database_url)
    with suppress(OSError):  # a folder that can't be written: connecting says so
        Path(str(url.database)).touch(mode=0o600)  # SQLite gives its journals the mode of the file
    return url


def options(settings: BastionSettings, *, migrates: bool = False) -> dict[str, Any]:  # noqa: ARG001
    """Return the engine's options: a connection for each thread and spare ones."""
    return {
        "pool_size": settings.threads + 2,
        "max_overflow": settings.threads,
        "pool_timeout": BUSY_SECONDS,
        "connect_args": {"timeout": BUSY_SECONDS},
    }


def prepare(engine: Engine) -> None:
    """Enforce foreign keys, let readers run beside the writer (WAL), and limit a request's statements to 5 s."""

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, record: ConnectionPoolEntry) -> None:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.set_progress_handler(lambda: monotonic() > record.info.get(_ENDS_AT, inf), STEPS)

    @event.listens_for(engine, "before_cursor_execute")
    def _on_statement(connection: Connection, *_statement: object) -> None:
        connection.info[_ENDS_AT] = monotonic() + STATEMENT_SECONDS if has_request_context() else inf


def is_administrator(_connection: Connection) -> bool:
    """Return False: a file has no roles. A user who may write it is its owner, which `check` verifies."""
    return False


def owns_tables(_connection: Connection) -> bool:
    """Return False as well: there is no right that could be revoked."""
    return False


def begin(connection: Connection) -> None:
    """Take the write lock at once: SQLite has no row locks, and data read must still be true at the write.

    The driver would begin with the first write, and read before that outside of any transaction.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def has_written(connection: Connection) -> bool:
    """Return whether the open transaction has written: only then does the driver begin one, and hold the lock."""
    return bool(getattr(connection.connection.driver_connection, "in_transaction", False))


def is_conflict(error: BaseException | None) -> bool:
    """Return True for a broken constraint that a concurrent request can cause; others are faults of the code."""
    return getattr(error, "sqlite_errorname", None) in CONFLICTS


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@with_appcontext
def backup(file: Path) -> None:
    """Write a copy of the running database to a new FILE that only its owner can read; the service may run."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}. Name a new file in a folder that is there.") from None
    with connect() as connection:
        connection.exec_driver_sql("VACUUM INTO ?", (str(file),))
    click.echo(f"Written: {file}")


COMMANDS: Final[tuple[click.Command, ...]] = (backup,)
"""Commands of `db`, beside those of every service."""


def development_url(folder: Path, _package: str, _password: Path) -> str:
    """For development: return the URL of a file in `folder` that only this user can read."""
    file = folder / "data.sqlite"
    file.touch(mode=0o600)
    return f"sqlite:///{file}"
