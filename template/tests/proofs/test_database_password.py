"""Proofs of database/: a password of the database that was exchanged is used by the next connection.

They stop a rotation from waiting for a restart, and a password that was stolen from staying for that long.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from .harness import edit, harm, protects, works
from .running import Service
from .service import DATABASE
from .stub_backend import stubbed

NAME = "DATABASE_PASSWORD"


def login_of_its_own(service: Service) -> tuple[str, str, Callable[[str], Any]]:
    """A login that no other proof uses: the address with it, its password, and what changes that on the server."""
    from sqlalchemy import make_url

    store: Any = service.baseline.store
    url = make_url(service.database.url)
    if DATABASE == "mysql":  # each database has its own
        return (
            service.database.url,
            service.database.password,
            lambda new: store._run(f"ALTER USER {url.username} IDENTIFIED BY '{new}'"),
        )
    name, password = f"own_{random.token_hex(6)}", random.token_urlsafe(32)
    store._run(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE {store.role}")
    text = url.set(username=name).render_as_string(hide_password=False)
    return text, password, lambda new: store._run(f"ALTER ROLE {name} PASSWORD '{new}'")


if DATABASE != "sqlite":

    @protects(
        "secret-rotation-picked-up",
        connection=edit(
            "database/__init__.py",
            "found = secrets.found(password)\n            options",
            "found = vars(engine).setdefault('found', secrets.found(password))\n            options",
        ),
        refused=edit("database/__init__.py", "if refreshed or not secrets.refresh(password, found.value):", "if True:"),
    )
    def test_a_password_of_the_database_is_exchanged_without_a_failed_request(service: Service) -> None:
        url, password, change = login_of_its_own(service)
        service.setting("DATABASE_URL", url)
        service.adds_route("/probe")
        with stubbed(service) as stub:
            stub.values[NAME] = password
            client = service.client(service.user()).login()
            works(client.get("/probe").status == 200, "the database is opened with the first password")
            for wait in (
                1,
                11,
                301,
            ):  # the refusal tells of it, right after a question too; or the value is old by itself
                stub.values[NAME] = random.token_urlsafe(32)
                change(stub.values[NAME])
                service._dispose()  # whoever was connected stays so: the next connection signs in
                service.travel(seconds=wait)
                answer = client.get("/probe")
                harm(answer.status != 200, f"{wait} s after the exchange the former password is used")
            assert answer.status == 200
            change(random.token_urlsafe(32))
            service._dispose()
            service.travel(seconds=11)
            asked = stub.asked.count(NAME)
            away = client.get("/probe")
            assert (away.status, away.header("Retry-After")) == (503, "5")
            assert stub.asked.count(NAME) <= asked + 1
            assert stub.values[NAME] not in service.output


# --- tests, no proofs of a row: for whichever database, since these lines are the same for all ----------------------


class Server:
    """A server that lets one user and password in, and what the service believes them to be; its driver is SQLite's."""

    def __init__(self, service: Service, driver: Any) -> None:
        self.secret, self.driver = service.module("secrets").Secret, driver
        self.right, self.believed, self.refreshed = ("ada", "first"), ("ada", "first"), 0
        self.learns = True
        self.given: list[dict[str, Any]] = []

    def connect(self, *_arguments: object, **options: Any) -> Any:
        if (options.pop("user", None), options.pop("password")) != self.right:
            raise self.driver.OperationalError("refused")
        return self.driver.connect(":memory:", check_same_thread=False)

    def found(self, _name: str) -> Any:
        return SimpleNamespace(value=self.secret(self.believed[1]), user=self.believed[0])

    def refresh(self, _name: str, _former: object) -> bool:
        self.refreshed += 1
        if self.learns:
            self.believed = self.right
        return self.learns


def test_a_connection_signs_in_with_what_counts_now_and_none_outlives_its_user(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.pool import QueuePool

    engine = create_engine("sqlite://", poolclass=QueuePool)
    server = Server(service, engine.dialect.loaded_dbapi)
    monkeypatch.setattr(engine.dialect, "connect", server.connect)
    event.listen(engine, "do_connect", lambda _driver, _record, _args, options: server.given.append(options))
    service.module("database")._follow_rotation(engine, "DATABASE_PASSWORD", server)

    def opened() -> object:
        with engine.connect() as connection:
            return connection.connection.driver_connection

    first = opened()
    assert (opened(), server.refreshed) == (first, 0)
    server.right = ("ada", "second")
    engine.dispose()
    second = opened()
    assert (second is first, server.refreshed, opened()) == (False, 1, second)
    server.right = server.believed = ("grace", "third")
    third = opened()  # the user of the second ends
    assert (third is second, server.refreshed, opened()) == (False, 1, third)
    server.right = server.believed = (None, "fourth")  # type: ignore[assignment]
    fourth = opened()
    server.believed = ("ada", "fifth")  # who has no user of his own is not asked who it is
    assert (fourth is third, opened()) == (False, fourth)
    for learns, asked in ((False, 2), (True, 3)):
        server.right, server.learns = ("nobody", "at all"), learns
        monkeypatch.setattr(server, "found", lambda _name: SimpleNamespace(value=server.secret("wrong"), user=None))
        engine.dispose()
        with pytest.raises(OperationalError, match="refused"):
            opened()
        assert server.refreshed == asked  # once: a driver does not say why it was refused
    assert [options for options in server.given if "password" in options] == []  # they are in every traceback
    assert len(server.given) >= 5
    engine.dispose()


@pytest.mark.parametrize("backend", ["env", "files", "vault"])
def test_the_owners_password_is_nowhere_near_a_process_that_does_not_migrate(
    service: Service, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    chosen, check = service.module("chosen"), service.module("database").check_owner
    monkeypatch.setattr(chosen, "backend", SimpleNamespace(__name__=f"app.bastion.secrets.{backend}"))
    monkeypatch.setattr(chosen, "dialect", SimpleNamespace(SECRETS={NAME: "opens the database"}))
    monkeypatch.delenv("MIGRATION_PASSWORD", raising=False)
    held, absent = SimpleNamespace(find=lambda _name: "x"), SimpleNamespace(find=lambda _name: None)

    def reasons(secrets: object, *, migrates: bool = False) -> int:
        return len([*check(secrets, migrates=migrates)])

    # Of a backend that others read from as well, nobody asks for what is not his.
    assert (reasons(held), reasons(absent), reasons(held, migrates=True)) == (backend != "vault", 0, 0)
    monkeypatch.setenv("MIGRATION_PASSWORD", "x")
    assert (reasons(absent), reasons(absent, migrates=True)) == (1, 0)
    monkeypatch.setattr(chosen, "dialect", SimpleNamespace(SECRETS={}))
    assert reasons(held) == 0
