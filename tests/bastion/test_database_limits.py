"""Unit tests beside the proofs in test_database_limits.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from ..harness import at_once
from ..probe_model import model
from ..service import DATABASE
from ..test_database import end_all, said_to_come_back, things, writes_then

if TYPE_CHECKING:
    import pytest

    from ..running import Service


A_WHILE = {"postgresql": "SELECT pg_sleep(0.02)", "mysql": "SELECT sleep(0.02)"}


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
