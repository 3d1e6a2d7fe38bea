"""Proofs of the ends of every wait for the database: for a statement, a lock, a connection, a server that is gone.

They stop one slow statement, or one that somebody chose to be slow, from taking the threads of a service one by one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from .harness import at_once, edit, harm, protects, works
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
LONGER = ENDLESS["sqlite"].replace("9000000", "20000")  # of so many steps that SQLite looks at the time meanwhile
A_WHILE = {"postgresql": "SELECT pg_sleep(0.02)", "mysql": "SELECT sleep(0.02)"}
UNLIMITED = {
    "sqlite": edit("database/sqlite.py", "+ STATEMENT_SECONDS if", "+ inf if"),
    "postgresql": edit("database/postgresql.py", "0 if migrates else STATEMENT_MILLISECONDS", "0"),
    "mysql": edit("database/mysql.py", "SESSION if migrates else SESSION + LIMIT", "SESSION"),
}
WAITS = {
    "sqlite": edit("database/sqlite.py", '"pool_timeout": BUSY_SECONDS', '"pool_timeout": 60'),
    "postgresql": edit("database/postgresql.py", '"pool_timeout": POOL_SECONDS', '"pool_timeout": 60'),
    "mysql": edit("database/mysql.py", '"pool_timeout": POOL_SECONDS', '"pool_timeout": 60'),
}
SECONDS = {"sqlite": ("STATEMENT_SECONDS",)}
MILLISECONDS = {"postgresql": ("STATEMENT_MILLISECONDS", "IDLE_IN_TRANSACTION_MILLISECONDS")}
POOL = {"sqlite": "BUSY_SECONDS", "postgresql": "POOL_SECONDS", "mysql": "POOL_SECONDS"}


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
    longer = writes_then(service, "/longer", lambda session: session.scalar(text(LONGER)))
    client = service.client(service.user()).login()
    works((client.get("/quick").status, quick) == (200, ["/quick"]), "a quick statement comes to its end")
    answer = client.get("/slow")
    harm(slow, "a statement held a thread and its locks for ten times as long as it may")
    said_to_come_back(answer)
    assert things(service) == 1  # what it had written before is rolled back
    assert client.get("/quick").status == 200
    if DATABASE == "sqlite":
        monkeypatch.setattr(service.module("database.sqlite"), "STATEMENT_SECONDS", 60.0)
        assert (client.get("/longer").status, longer) == (200, ["/longer"])


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


def test_connections_that_are_ended_under_load_cost_no_acknowledged_write(service: Service) -> None:
    if DATABASE == "sqlite":
        return
    from flask import request

    def write(session: Any) -> None:
        title = request.headers["X-Title"]
        session.add(model(service)(user_id=service.module().current_user.id, title=title))
        session.flush()
        session.execute(text(A_WHILE[DATABASE]))  # so that most connections are ended in the middle of a write

    writes_then(service, "/write", write)
    clients = [service.client(service.user()).login() for _ in range(4)]
    over = threading.Event()
    answers: dict[str, int] = {}

    def writes(number: int) -> None:
        for count in range(100):  # a session has so many requests a minute, and some more
            title = f"{number}-{count}"
            answers[title] = clients[number].get("/write", headers={"X-Title": title}).status
            if over.wait(0.01):
                return

    writers = [threading.Thread(target=writes, args=(number,), daemon=True) for number in range(4)]
    for thread in writers:
        thread.start()
    for _ in range(20):
        time.sleep(0.05)
        end_all(service)
    over.set()
    for thread in writers:
        thread.join(timeout=30)
    assert 503 in answers.values()
    answers["afterwards"] = clients[0].get("/write", headers={"X-Title": "afterwards"}).status
    assert answers["afterwards"] == 200  # by itself
    kept = {title for (title,) in service.rows("SELECT title FROM proof_probe_item")}
    acknowledged = {title for title, status in answers.items() if status == 200}
    assert {*answers.values()} == {200, 503}
    assert acknowledged - kept == set()


def end_all(service: Service) -> None:
    """End every connection of the service to the database."""
    if DATABASE == "postgresql":
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        service.rows(f"SELECT pg_terminate_backend(pid) {others}")
    else:
        store: Any = service.baseline.store
        store._end_connections(service.database)


def test_of_two_who_wait_for_each_other_one_comes_back_later(service: Service) -> None:
    if DATABASE == "sqlite":
        return  # one writes at a time
    met = threading.Barrier(2)

    def lock(session: Any, email: str) -> None:
        session.execute(text("UPDATE auth_user SET display_name = '' WHERE email = :email"), {"email": email})

    def crosses(one: str, other: str) -> Callable[[Any], None]:
        def cross(session: Any) -> None:
            lock(session, one)
            met.wait(timeout=10)
            lock(session, other)

        return cross

    first, second = "first@example.com", "second@example.com"
    writes_then(service, "/there", crosses(first, second))
    writes_then(service, "/back", crosses(second, first))
    for email in (first, second):
        service.user(email)
    clients = [service.client(service.user()).login() for _ in range(2)]
    answers = at_once([lambda: clients[0].get("/there"), lambda: clients[1].get("/back")])
    assert sorted(answer.status for answer in answers) == [200, 503]
    said_to_come_back(max(answers, key=lambda answer: answer.status))
    assert things(service) == 1


if DATABASE == "postgresql":

    def shown(engine: Any) -> dict[str, str]:
        """The limits as the server has them for a connection of this engine."""
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "TimeZone")
        with engine.connect() as connection:
            return {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names}

    def test_the_server_has_the_limits_and_so_has_the_driver(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        with service.app.app_context():
            engine = service.module("database").db.engine
        requests = {"statement_timeout": "5s", "lock_timeout": "0", "idle_in_transaction_session_timeout": "10s"}
        assert shown(engine) == {**requests, "TimeZone": "UTC"}
        assert (engine.pool._timeout, engine.pool._pre_ping) == (5.0, True)
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            given = driver.info.get_parameters()
        wanted = {"connect_timeout": "5", "tcp_user_timeout": "10000"}
        wanted |= {"keepalives_idle": "4", "keepalives_interval": "2", "keepalives_count": "3"}
        assert {name: given.get(name) for name in wanted} == wanted

        migrating: list[dict[str, str]] = []
        made = service._make

        def noted(*, migrates: bool = False) -> Any:
            app = made(migrates=migrates)
            with app.app_context():
                migrating.append(shown(service.module("database").db.engine))
            return app

        monkeypatch.setattr(service, "_make", noted)
        service.migrate()
        assert migrating == [{**requests, "statement_timeout": "0", "lock_timeout": "5s", "TimeZone": "UTC"}]

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
