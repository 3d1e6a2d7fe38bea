"""Proofs of audit_chain.py: whoever gets at the database takes no trace out of the audit, and lays none in it.

They stop a row from being changed, removed, inserted or moved without `audit verify` naming it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .harness import edit, harm, protects, works
from .test_settings import command

if TYPE_CHECKING:
    from .running import Service


ROW = "audit-tamper-evident"
FILE = "audit_chain.py"


@pytest.fixture(autouse=True)
def pages_of_two(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are verified, and signed anew, two at a time: what is done between two pages is looked at as well."""
    monkeypatch.setattr(service.module("audit_chain"), "PAGE", 2)


def record(service: Service, *kinds: str, **more: Any) -> None:
    """Events of the team's, a second apart."""
    for kind in kinds:
        with service.app.app_context():
            service.module("audit").record(kind, **more)
        service.travel(seconds=1)


def seal(service: Service) -> int:
    """What a worker does every ten seconds."""
    with service.app.app_context():
        return int(service.module("audit_chain").seal())


def verify(service: Service, monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[object, str]:
    """The command's exit status, and what it says."""
    code, text = command(service, monkeypatch, "audit", "verify", *options)
    return code, text.splitlines()[-1]


def tables(service: Service) -> Any:
    """The two tables, for statements of whoever got at the database."""
    models = service.module("identity.models")
    return models.AuditEvent.__table__, models.AuditHead.__table__


class Attacker:
    """Somebody who can write to the database as he likes, and has no key."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.rows, self.head = tables(service)

    def runs(self, *statements: Any) -> None:
        with self.service.engine.begin() as connection:
            for statement in statements:
                connection.execute(statement)

    def read(self, number: int) -> dict[str, Any]:
        with self.service.engine.connect() as connection:
            found = connection.execute(self.rows.select().where(self.rows.c.number == number)).mappings().one()
        return dict(found)

    def at(self, number: int) -> Any:
        """A statement that changes the row of this number."""
        return self.rows.update().where(self.rows.c.number == number)

    def takes(self, number: int) -> Any:
        return self.rows.delete().where(self.rows.c.number == number)


def prepared(service: Service) -> Attacker:
    """Six events, sealed in two batches, and two that wait; all is in order."""
    user = service.user()
    record(service, "one.sent", "two.sent", "three.sent", user_id=user.id)
    works(seal(service) == 3, "new rows are sealed")
    record(service, "four.sent", "five.sent", "six.sent", user_id=user.id, report="a report", by="ada")
    works(seal(service) == 3, "and those after them")
    works(seal(service) == 0, "once")
    works(verdict(service) is None, "all is in order")
    return Attacker(service)


def verdict(service: Service, known: str | None = None) -> str | None:
    """The first fault, or None; without the command."""
    with service.app.app_context():
        fault: str | None = service.module("audit_chain").verify(known).fault
    return fault


NOT_COMPARED = edit(FILE, 'if fault := ring.fault(row["mac"], NUMBERED', 'if None and ring.fault(row["mac"], NUMBERED')


@protects(
    ROW, compared=NOT_COMPARED, removed=(NOT_COMPARED, edit(FILE, 'if row["number"] != number + 1:', "if False:"))
)
def test_an_event_that_was_removed_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    attacker = prepared(service)
    third, fourth = attacker.read(3), attacker.read(4)
    attacker.runs(attacker.takes(3))
    harm(verdict(service) is None, "an event was taken out")
    assert verify(service, monkeypatch) == (1, "Error: row 3 was removed.")
    attacker.runs(attacker.rows.insert().values(third), attacker.at(4).values(kind="other.sent"))
    harm(verdict(service) is None, "an event says something else")
    assert str(verdict(service)).startswith(f"row 4 ({fourth['id']}) was changed, or is not in its place")
