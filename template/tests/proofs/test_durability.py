"""Durability: a killed worker or a database outage loses no acknowledged write and needs no restart.

These are tests, no proofs of a protection: nothing that could be left out makes them true.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from .logins import SIGNED_IN, attempt, cheap_hash, cheap_user, store
from .real_server import Pressure
from .service import DATABASE, PACKAGE
from .test_throttle import login_as_sent

if TYPE_CHECKING:
    import pytest

    from .running import Service


# Any Argon2id string is one of today's: many logins a second write more than a few that are slow to hash.
KEEPS_HASHES = f"from {PACKAGE}.bastion.identity import passwords; passwords.PRESENT = passwords.PREFIX"


def test_kill_9_in_the_middle_of_writes_loses_no_acknowledged_write(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [service.user() for _ in range(6)]
    for user in users:
        store(service, user, cheap_hash(user.password))
    clients = [service.client(user, f"198.51.100.{number}") for number, user in enumerate(users)]
    server = service.real_server(first=KEEPS_HASHES)

    def login(writer: int, name: str) -> bytes:
        return login_as_sent(clients[writer], users[writer].email, users[writer].password, name)

    login(0, "warm")  # the proof's own app is made before the threads begin
    writers = Pressure(server, login, status=SIGNED_IN, writers=len(users))
    assert writers.until(acknowledged=40)
    workers = [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", server.output)]
    for pid in (server.process.pid, *workers):  # the master first: it would replace its worker
        os.kill(pid, signal.SIGKILL)
    server.process.wait(timeout=30)
    writers.end()
    assert len(workers) == 1
    kept = {agent for (agent,) in service.rows("SELECT agent FROM auth_session")}
    assert set(writers.acknowledged) - kept == set()
    if DATABASE == "sqlite":
        assert service.rows("PRAGMA integrity_check") == [("ok",)]
    passwords = service.module("identity.passwords")
    monkeypatch.setattr(passwords, "PRESENT", passwords.PREFIX)
    service.travel(minutes=1, seconds=1)  # an account signs in so often a minute, and no more
    for user in users:
        assert attempt(service.client(), user.email, user.password).status == SIGNED_IN


@contextmanager
def away(service: Service) -> Iterator[None]:
    """The database refuses: every connection, or every write (SQLite, which has no server to stop)."""
    if DATABASE == "postgresql":
        database = service.engine.dialect.identifier_preparer.quote(service.database.name)
        with service.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"ALTER DATABASE {database} CONNECTION LIMIT 0"))
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            connection.execute(text(f"{others} WHERE datname = current_database() AND pid <> pg_backend_pid()"))
            yield
            connection.execute(text(f"ALTER DATABASE {database} CONNECTION LIMIT -1"))
    elif DATABASE == "mysql":
        store: Any = service.baseline.store
        with store.refusing(service.database):
            yield
    else:
        with service.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield
            connection.rollback()


def test_a_database_that_comes_back_needs_no_restart(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    if DATABASE == "sqlite":  # whoever waits for a lock waits less long than in earnest
        monkeypatch.setattr(service.module("database.sqlite"), "BUSY_SECONDS", 0.1)
    seen = service.adds_route("/probe")
    user, visitor = cheap_user(service), service.client()
    visitor.honest("POST", {}, None, None, None)  # the login page is open
    client = service.client(user).login()
    assert client.get("/probe").status == 200
    assert client.get("/readyz").status == 200
    seen.clear()
    with away(service):
        service.travel(seconds=2)  # a probe is answered from memory for a second
        refused = [attempt(visitor, user.email, user.password)]
        if DATABASE != "sqlite":
            refused.append(client.get("/probe"))
            assert client.get("/readyz").status == 503
            assert seen == []
        assert client.get("/healthz").status == 200
    assert [one.status for one in refused] == [503] * len(refused)
    assert [one.header("Retry-After") for one in refused] == ["5"] * len(refused)
    service.travel(seconds=2)
    assert client.get("/readyz").status == 200
    assert client.get("/probe").status == 200  # the session is still there
    assert attempt(visitor, user.email, user.password).status == SIGNED_IN
