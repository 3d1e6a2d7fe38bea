"""Unit tests beside the proofs in test_database_password.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ..running import Service
from ..test_database_password import NAME

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


@pytest.mark.parametrize("here", [True, False])
def test_the_owners_password_is_nowhere_near_a_process_that_does_not_migrate(
    service: Service, monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    check, dialect = service.module("database").check_owner, SimpleNamespace(SECRETS={NAME: "opens the database"})
    monkeypatch.delenv("MIGRATION_PASSWORD", raising=False)
    held, absent = SimpleNamespace(find=lambda _name: "x"), SimpleNamespace(find=lambda _name: None)

    def reasons(secrets: object, *, migrates: bool = False, dialect: object = dialect) -> int:
        return len([*check(secrets, dialect, migrates=migrates, here=here)])

    # Of a backend that others read from as well, nobody asks for what is not his.
    assert (reasons(held), reasons(absent), reasons(held, migrates=True)) == (here, 0, 0)
    monkeypatch.setenv("MIGRATION_PASSWORD", "x")
    assert (reasons(absent), reasons(absent, migrates=True)) == (1, 0)
    assert reasons(held, dialect=SimpleNamespace(SECRETS={})) == 0
