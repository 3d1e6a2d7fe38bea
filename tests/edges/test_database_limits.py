"""Edges of the proofs in test_database_limits.py: further attacks on the same protections."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import text

from ..harness import edit, harm, protects, works
from ..service import DATABASE
from ..test_database_limits import ENDLESS, QUICK, ROW, hurry, said_to_come_back, things, writes_then

if TYPE_CHECKING:
    import pytest

    from ..running import Service
    from ..wire import Response


WAITS = {
    "sqlite": edit("database/sqlite.py", '"pool_timeout": BUSY_SECONDS', '"pool_timeout": 60'),
    "postgresql": edit("database/postgresql.py", '"pool_timeout": POOL_SECONDS', '"pool_timeout": 60'),
    "mysql": edit("database/mysql.py", '"pool_timeout": POOL_SECONDS', '"pool_timeout": 60'),
}
POOL = {"sqlite": "BUSY_SECONDS", "postgresql": "POOL_SECONDS", "mysql": "POOL_SECONDS"}


@protects(ROW, pool=WAITS[DATABASE])
def test_whoever_finds_all_connections_taken_is_told_to_come_back(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.module(f"database.{DATABASE}"), POOL[DATABASE], QUICK)
    service.setting("BASTION_THREADS", "2")
    service.adds_route("/probe")
    client = service.client(service.user()).login()
    works(client.get("/probe").status == 200, "with a free connection the page is there")
    answers: list[Response] = []
    asks = threading.Thread(target=lambda: answers.append(client.get("/probe")), daemon=True)
    with all_taken(service):
        asks.start()
        asks.join(timeout=10)
        harm(not answers, "a request goes on waiting for a connection, and holds its thread")
    asks.join(timeout=10)
    said_to_come_back(answers[0])
    assert client.get("/probe").status == 200


@contextmanager
def all_taken(service: Service) -> Iterator[None]:
    """Every connection of the pool is in somebody's hands."""
    with service.app.app_context():
        engine = service.module("database").db.engine
    size = engine.pool.size() + engine.pool._max_overflow
    assert size == 6  # two threads and two, and half again
    with ExitStack() as taken:
        for _ in range(size):
            taken.enter_context(engine.connect())
        yield


if DATABASE == "postgresql":

    @protects(
        ROW,
        idle=edit(
            "database/postgresql.py",
            '"idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MILLISECONDS',
            '"idle_in_transaction_session_timeout": 0',
        ),
    )
    def test_a_transaction_that_does_nothing_lets_go_of_its_locks(
        service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hurry(service, monkeypatch)
        idle = writes_then(service, "/idle", lambda _session: time.sleep(QUICK * 5))
        quick = writes_then(service, "/quick", lambda session: session.scalar(text("SELECT 1")))
        client = service.client(service.user()).login()
        works((client.get("/quick").status, quick) == (200, ["/quick"]), "one that goes on is committed")
        answer = client.get("/idle")
        harm(idle, "a transaction kept its locks while it did nothing, for five times as long as it may")
        said_to_come_back(answer)
        assert things(service) == 1
        assert client.get("/quick").status == 200


LONGER = ENDLESS["sqlite"].replace("9000000", "20000")  # of so many steps that SQLite looks at the time meanwhile


if DATABASE == "sqlite":

    @protects(ROW)
    def test_a_long_statement_within_its_time_comes_to_its_end(service: Service) -> None:
        longer = writes_then(service, "/longer", lambda session: session.scalar(text(LONGER)))
        client = service.client(service.user()).login()
        works(client.get("/longer").status == 200, "SQLite looks at the time meanwhile")
        harm(longer != ["/longer"], "a statement that may take its time was ended")
