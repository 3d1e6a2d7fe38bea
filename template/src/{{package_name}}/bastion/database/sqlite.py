"""SQLite: a file beside the service, no server. One machine, one worker process.

Two processes that write one file wait for each other, and what counts attempts must be counted once. Whoever can read
the file has every account: it is its owner's alone.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError

from ..secrets import Secrets
from ..settings import BastionSettings

SECRETS: Final[tuple[str, ...]] = ()
CODE: Final = Path(__file__).resolve().parents[2]  # the service's package, with the folder of its static files
BUSY_SECONDS: Final = 5.0  # how long a writer waits for another before the request is answered with 503


def check(settings: BastionSettings) -> Iterator[str]:
    """Reasons against this database address, without showing it."""
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
    if settings.workers > 1:
        yield "WEB_CONCURRENCY is over 1: SQLite serves one worker process. Set it to 1, or move to PostgreSQL."


def _parsed(settings: BastionSettings) -> URL | None:
    try:
        return make_url(settings.database_url)
    except ArgumentError:
        return None


def address(settings: BastionSettings, _secrets: Secrets) -> URL:
    """The address to connect to, of a file that is made here, for its owner alone; call it after check()."""
    url = make_url(settings.database_url)
    with suppress(OSError):  # a folder that can't be written: connecting says so
        Path(str(url.database)).touch(mode=0o600)  # SQLite gives its journals the mode of the file
    return url


def options(settings: BastionSettings) -> dict[str, Any]:
    """Options of the engine: a connection for each thread and one to spare."""
    return {
        "pool_size": settings.threads + 2,
        "max_overflow": settings.threads,
        "pool_timeout": BUSY_SECONDS,
        "connect_args": {"timeout": BUSY_SECONDS},
    }


def prepare(engine: Engine) -> None:
    """Each connection enforces foreign keys, and readers don't wait for the writer (WAL)."""

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.close()


def begin(connection: Connection) -> None:
    """Take the lock for writing at once: no row can be locked here, and what is read must still be true at the write.

    The driver would begin with the first write, and read before that outside of any transaction.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def has_written(connection: Connection) -> bool:
    """Whether the open transaction has written: only then does the driver begin one, and hold the lock."""
    return bool(getattr(connection.connection.driver_connection, "in_transaction", False))


def development_url(folder: Path, _package: str, _password: Path) -> str:
    """For development: a file in `folder`, readable by this user alone."""
    file = folder / "data.sqlite"
    file.touch(mode=0o600)
    return f"sqlite:///{file}"
