"""Proofs of audit/: every event writes its row, and removing or changing a row is detected.

They stop an attack from leaving no trace, and its author from removing it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .accounts import CHOSEN, Hashing, administrator
from .harness import edit, harm, protects, works
from .logins import WRONG, attempt
from .test_settings import command

if TYPE_CHECKING:
    from collections.abc import Callable

    from .running import Service, User


# --- audit-events-complete -----------------------------------------------------------------------------------------


def events(service: Service) -> list[dict[str, Any]]:
    """Every row of the audit, in the order in which they were written, through a connection of our own."""
    table = service.module("audit.tables").AuditEvent.__table__
    with service.engine.connect() as connection:
        return [dict(row) for row in connection.execute(table.select().order_by(table.c.at)).mappings()]


def left_by(service: Service, does: Callable[[], object]) -> list[dict[str, Any]]:
    """The rows that something leaves; counted ones that were there before count by what they grew."""
    before = {row["id"]: row["times"] for row in events(service)}
    does()
    return [row for row in events(service) if row["times"] != before.get(row["id"])]


@protects(
    "audit-events-complete",
    login=edit("identity/login.py", 'audit.record("login.failure", user_id=row.id', "dict(user_id=row.id"),
    refused=edit("audit/refusal.py", "    refused(status, reason, about)\n", ""),
    actor=edit("audit/__init__.py", "        actor = who.id\n", "        actor = user_id\n"),
    outcome=edit("audit/__init__.py", "FAILURE if kind in FAILURES else SUCCESS", "SUCCESS"),
)
def test_what_happens_to_an_account_leaves_a_row_with_its_outcome_and_its_actor(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, user = administrator(service, monkeypatch), service.user()
    chief, client, stranger = manager.user, service.client(user), service.client(address="198.51.100.7")
    assert chief is not None
    Hashing(service, monkeypatch, cheap=True)
    cases: list[tuple[str, str, Callable[[], object], User | None, User | None]] = [
        ("login.failure", "failure", lambda: attempt(stranger, user.email, WRONG), None, user),
        ("login.success", "success", lambda: client.login(through_form=True), user, user),
        ("password.changed", "success", lambda: client.change_password(user.password, CHOSEN), user, user),
        ("access.denied", "failure", lambda: client.users(), user, user),
        ("user.disabled", "success", lambda: manager.disable(user.id), chief, user),
    ]
    missing = []
    works(left_by(service, lambda: manager.users()), "listing all users writes an audit row")
    for kind, outcome, does, actor, about in cases:
        rows = left_by(service, does)
        found = [(row["kind"], row["outcome"], row["actor_id"], row["user_id"], row["times"]) for row in rows]
        wanted = [(kind, outcome, actor and actor.id, about and about.id, 1)]
        missing += [] if found == wanted else [f"{kind}: {found} instead of {wanted}"]
        missing += [kind for row in rows if not (row["request_id"] and row["address"] and row["at"])]
    harm(missing, "an event wrote no audit row, or a wrong one")


# --- audit-access-decisions ------------------------------------------------------------------------------------------

DECISIONS = "audit-access-decisions"


@protects(
    DECISIONS,
    permission=edit("audit/__init__.py", '    (403, "role-required"): "access.denied",\n', ""),
    ownership=edit("audit/__init__.py", '    (404, "ownership-404"): "access.not_owned",\n', ""),
)
def test_a_user_who_asks_for_what_is_anothers_is_on_record(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = service.adds_probe()
    manager, user, other = administrator(service, monkeypatch), service.user(), service.user()
    item, client = probe.add(other, "a title"), service.client(user).login()
    works(manager.users().status == 200, "a user with the permission opens the route")
    works(probe.read(service.client(other).login(), item).ok, "the owner reads the object")
    answers = client.users(), probe.read(client, item)
    rows = {row["kind"]: row for row in events(service) if row["actor_id"] == user.id}
    harm("access.denied" not in rows, "denied access without the permission was not audited")
    harm("access.not_owned" not in rows, "denied access to another user's object was not audited")
    assert [answer.status for answer in answers] == [403, 404]
    assert rows["access.denied"]["request_id"] == answers[0].request_id
    assert rows["access.not_owned"]["details"]["id"] == str(item)


# --- audit-tamper-evident ---------------------------------------------------------------------------------------------

ROW = "audit-tamper-evident"
FILE = "audit/chain.py"


def record(service: Service, *kinds: str, **more: Any) -> None:
    """Events of the team's, a second apart."""
    for kind in kinds:
        with service.app.app_context():
            service.module("audit").record(kind, **more)
        service.travel(seconds=1)


def seal(service: Service) -> int:
    """What a worker does every ten seconds."""
    with service.app.app_context():
        return int(service.module("audit.chain").seal())


def verify(service: Service, monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[object, str]:
    """The command's exit status, and what it says."""
    code, text = command(service, monkeypatch, "audit", "verify", *options)
    return code, text.splitlines()[-1]


def tables(service: Service) -> Any:
    """The two tables, for statements of an attacker who got at the database."""
    models = service.module("audit.tables")
    return models.AuditEvent.__table__, models.AuditHead.__table__


class Attacker:
    """A person who can write to the database at will, and has no key."""

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
    works(seal(service) == 3, "the service seals new rows")
    record(service, "four.sent", "five.sent", "six.sent", user_id=user.id, report="a report", by="ada")
    works(seal(service) == 3, "the service seals later rows")
    works(seal(service) == 0, "the service seals each row once")
    works(verdict(service) is None, "the intact chain verifies")
    return Attacker(service)


def verdict(service: Service, known: str | None = None) -> str | None:
    """The first fault, or None; without the command."""
    with service.app.app_context():
        fault: str | None = service.module("audit.chain").verify(known).fault
    return fault


NOT_COMPARED = edit(FILE, 'if fault := ring.fault(row["mac"], NUMBERED', 'if None and ring.fault(row["mac"], NUMBERED')


@protects(
    ROW, compared=NOT_COMPARED, removed=(NOT_COMPARED, edit(FILE, 'if row["number"] != number + 1:', "if False:"))
)
def test_an_event_that_was_removed_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    attacker = prepared(service)
    third, fourth = attacker.read(3), attacker.read(4)
    attacker.runs(attacker.takes(3))
    harm(verdict(service) is None, "an attacker removed an event unnoticed")
    assert verify(service, monkeypatch) == (1, "Error: row 3 was removed.")
    attacker.runs(attacker.rows.insert().values(third), attacker.at(4).values(kind="other.sent"))
    harm(verdict(service) is None, "an attacker changed an event unnoticed")
    assert str(verdict(service)).startswith(f"row 4 ({fourth['id']}) was changed, or is not in its place")
