"""Proofs of the ends of every wait for the database: for a statement, a lock, a connection, a server that is gone.

They stop one slow statement, or one that somebody chose to be slow, from taking the threads of a service one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from .harness import edit, harm, protects, works
from .probe_model import model
from .service import DATABASE

if TYPE_CHECKING:
    import pytest

    from .running import Service
    from .wire import Response


ROW = "database-timeouts"
QUICK = 0.3  # seconds: the limits here, which are seconds in earnest
# Three seconds and more: ten times as long as it may take, and the end of it without a limit.
ENDLESS = {
    "sqlite": "WITH RECURSIVE n (x) AS (SELECT 1 UNION SELECT x + 1 FROM n WHERE x < 9000000) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(3)",
    "mysql": "SELECT sleep(3)",
}
UNLIMITED = {
    "sqlite": edit("database/sqlite.py", "+ STATEMENT_SECONDS if", "+ inf if"),
    "postgresql": edit("database/postgresql.py", "0 if migrates else STATEMENT_MILLISECONDS", "0"),
    "mysql": edit("database/mysql.py", "SESSION if migrates else SESSION + LIMIT", "SESSION"),
}
SECONDS = {"sqlite": ("STATEMENT_SECONDS",)}
MILLISECONDS = {"postgresql": ("STATEMENT_MILLISECONDS", "IDLE_IN_TRANSACTION_MILLISECONDS")}


def hurry(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are a fraction of a second from here on. Before the app is made."""
    dialect = service.module(f"database.{DATABASE}")
    for name in SECONDS.get(DATABASE, ()):
        monkeypatch.setattr(dialect, name, QUICK)
    for name in MILLISECONDS.get(DATABASE, ()):
        monkeypatch.setattr(dialect, name, int(QUICK * 1000))
    if DATABASE == "mysql":
        quick = dialect.LIMIT.replace("5000", str(int(QUICK * 1000))).replace("= 5 ", f"= {QUICK} ")
        monkeypatch.setattr(dialect, "LIMIT", quick)


def things(service: Service) -> int:
    """How many things were written."""
    return int(service.rows("SELECT count(*) FROM proof_probe_item")[0][0])


def writes_then(service: Service, path: str, what: Callable[[Any], object]) -> list[str]:
    """A route that writes a thing and then does this with its session; and which of them came to their end."""
    ended: list[str] = []

    def view() -> Any:
        database, bastion = service.module("database"), service.module()
        database.db.session.add(model(service)(user_id=bastion.current_user.id, title=path))
        database.db.session.flush()
        what(database.db.session)
        database.db.session.commit()
        ended.append(path)
        return "done"

    service.adds_route(path, view=view)
    return ended


def said_to_come_back(answer: Response) -> None:
    assert answer.status == 503
    assert answer.header("Retry-After") == "5"


@protects(ROW, statement=UNLIMITED[DATABASE])
def test_a_statement_without_an_end_is_ended(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(service, monkeypatch)
    quick = writes_then(service, "/quick", lambda session: session.scalar(text("SELECT 1")))
    slow = writes_then(service, "/slow", lambda session: session.scalar(text(ENDLESS[DATABASE])))
    client = service.client(service.user()).login()
    works((client.get("/quick").status, quick) == (200, ["/quick"]), "a quick statement comes to its end")
    answer = client.get("/slow")
    harm(slow, "a statement held a thread and its locks for ten times as long as it may")
    said_to_come_back(answer)
    assert things(service) == 1  # what it had written before is rolled back
    assert client.get("/quick").status == 200


def test_a_connection_that_is_lost_in_the_middle_leaves_nothing(service: Service) -> None:
    if DATABASE == "sqlite":
        return  # a file has no connections

    def lose(session: Any) -> None:
        end_all(service)
        session.scalar(text("SELECT 1"))

    lost = writes_then(service, "/lost", lose)
    quick = writes_then(service, "/quick", lambda session: session.scalar(text("SELECT 1")))
    client = service.client(service.user()).login()
    said_to_come_back(client.get("/lost"))
    assert client.get("/quick").status == 200
    assert (lost, quick, things(service)) == ([], ["/quick"], 1)


def end_all(service: Service) -> None:
    """End every connection of the service to the database."""
    if DATABASE == "postgresql":
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        service.rows(f"SELECT pg_terminate_backend(pid) {others}")
    else:
        store: Any = service.baseline.store
        store._end_connections(service.database)
