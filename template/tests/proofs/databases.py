"""A database of its own for each proof: a copy of one that the service's own migrations have made.

It stops proofs from seeing each other's rows, and from passing on a schema that no migration makes.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import pytest

if TYPE_CHECKING:
    from .running import Service
    from .service import Backend

MIB = 1024 * 1024


class NoServer(RuntimeError):
    """There is neither TEST_DATABASE_URL nor a server that could be started; the text says what to install."""


@dataclass(frozen=True, slots=True)
class Database:
    """One database: `url` as DATABASE_URL has it, the password apart, and the address for the proofs' own engine."""

    name: str
    url: str
    password: str
    engine_url: str
    owner: str = ""
    """The role that owns its tables, where that is another one than the service's, with the password of its own."""
    owner_password: str = ""


class Store(Protocol):
    """Where databases are made."""

    def create(self) -> Database:
        """A new, empty database."""

    def clone(self, template: str) -> Database:
        """A copy of the database of that name, to which nobody may be connected."""

    def settle(self, name: str) -> None:
        """The database of that name is complete: nobody writes to it any more, it will be cloned."""

    def drop(self, database: Database) -> None:
        """Delete it, even while somebody is connected."""

    def take_away(self, database: Database) -> None:
        """Make it unreachable, as a server that is down; for good."""

    def close(self) -> None:
        """Delete everything."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Made once in a session: a migrated database, and the hash of the proofs' password."""

    store: Store
    backend: Backend
    template: str
    password_hash: str


prepared: Baseline | None = None
"""In --sabotage, made by the parent before the children; they inherit it."""


def in_memory(needed: int) -> Path | None:
    """A folder in memory with so many bytes free, where there is one (containers often give it only 64 MiB)."""
    folder = Path("/dev/shm")  # noqa: S108  what is made in it has a random name, and mode 0700
    if not os.access(folder, os.W_OK | os.X_OK) or shutil.disk_usage(folder).free < needed:
        return None
    return folder


def free_port() -> int:
    """A port of this machine for a server that opens its own a moment later. Raises NoServer when there is none.

    It is none of those (32768 and more) that the system gives meanwhile to whoever asks for any port.
    """
    for _ in range(100):
        port = 20_000 + secrets.randbelow(12_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise NoServer("no port of 127.0.0.1 between 20000 and 32000 can be opened")


@contextmanager
def opened() -> Iterator[tuple[Store, Backend]]:
    """Where this service's data and secrets lie. Without a server: skipped loudly on a laptop, failed with CI=true."""
    from .service import Backend, open_store

    owner = os.getpid()
    with ExitStack() as ends:
        try:
            store: Store = open_store()
            ends.callback(_in_process(owner, store.close))
            backend = Backend()
            ends.callback(_in_process(owner, backend.close))
        except NoServer as missing:
            give_up(missing)
        yield store, backend


def give_up(missing: NoServer) -> NoReturn:
    """Skip loudly on a laptop, fail with CI=true."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(str(missing), pytrace=False)
    pytest.skip(f"NOT PROVEN: {missing}")


def _in_process(owner: int, close: Callable[[], None]) -> Callable[[], None]:
    """A child that was forked meanwhile leaves alone what is its parent's."""
    return lambda: close() if os.getpid() == owner else None


# --- what a proof asks a database --------------------------------------------------------------------------------

MOVING = frozenset({"seen_at", "expires_at"})
"""Columns that any request of a signed-in user may write."""


def everything(service: Service) -> dict[str, list[str]]:
    """Table to its rows, read through a connection of the proofs' own."""
    tables: Any = service.module("database").Base.metadata.sorted_tables
    found: dict[str, list[str]] = {}
    with service.engine.connect() as connection:
        for table in tables:
            kept = [column for column in table.columns if column.name not in MOVING]
            found[table.name] = sorted(repr(row) for row in connection.execute(table.select().with_only_columns(*kept)))
    return found


def changed(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """The tables that differ."""
    return [name for name in before if before[name] != after.get(name)]


def executed(service: Service, statements: tuple[str, ...]) -> tuple[list[str], list[Any]]:
    """Which of these the server does for the service's role, each by itself; and how it refuses the others.

    An attacker's statement that has got past the service comes by the service's own connection, too.
    """
    done, refusals = list[str](), list[Any]()
    from sqlalchemy import event
    from sqlalchemy.exc import DBAPIError

    with service.app.app_context():
        engine = service.module("database").db.engine
    event.listen(engine, "handle_error", lambda context: refusals.append(context.original_exception))
    for statement in statements:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection, suppress(DBAPIError):
            connection.exec_driver_sql(statement)
            done.append(statement)
    return done, refusals
