"""Edges of the proofs in test_audit_chain.py: further attacks on the same protections."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ..harness import edit, harm, protects, works
from ..test_audit_chain import (
    FILE,
    NOT_COMPARED,
    ROW,
    Attacker,
    pages_of_two,  # noqa: F401 - autouse
    prepared,
    record,
    seal,
    verdict,
    verify,
)
from ..test_settings import command

if TYPE_CHECKING:
    from ..running import Service


def heads(service: Service) -> list[str]:
    """The heads that were logged."""
    return [event["head"] for event in service.log if event["event"] == "audit_sealed"]


@protects(
    ROW,
    compared=NOT_COMPARED,
    fields=edit(FILE, '"user_id", "actor_id", "session_id"', '"user_id", "session_id"'),
    count=(
        edit(FILE, 'number, mac, content, row["times"])', "number, mac, content)"),
        edit(FILE, 'mac, _content(row), row["times"])', "mac, _content(row))"),
    ),
)
def test_what_was_changed_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    attacker = prepared(service)
    head = heads(service)[-1]
    works(verify(service, monkeypatch) == (0, f"OK: 6 events, 0 more not sealed yet. Head: {head}"), "and said to be")
    kept = attacker.read(3)
    changes: dict[str, Any] = {
        **{name: uuid.uuid4() for name in ("id", "user_id", "actor_id", "session_id")},
        **{"kind": "three.kept", "outcome": "failure", "address": "203.0.113.1", "request_id": "x", "times": 2},
        **{"at": kept["at"] + timedelta(microseconds=1), "details": {"report": "another"}},
    }
    for name, value in changes.items():
        attacker.runs(attacker.at(3).values({name: value}))
        fault = verdict(service)
        harm(fault is None, f"another {name} is in order")
        assert str(fault).partition(" (")[0] == "row 3"
        attacker.runs(attacker.at(3).values({name: kept[name]}))
        assert verdict(service) is None
    assert {*changes} == {*service.module("audit_chain").SIGNED, "times"}
    attacker.runs(attacker.at(4).values(details=dict(reversed(attacker.read(4)["details"].items()))))
    assert verdict(service) is None  # some databases give fields back in another order
    attacker.runs(attacker.at(3).values(kind="three.kept"))
    code, text = verify(service, monkeypatch)
    assert (code, text) == (1, f"Error: row 3 ({kept['id']}) was changed, or is not in its place.")


@protects(
    ROW,
    chain=(
        edit(FILE, "ring.sign(NUMBERED, number, mac, content", 'ring.sign(NUMBERED, number, b"", content'),
        edit(FILE, 'NUMBERED, row["number"], mac, _content(row)', 'NUMBERED, row["number"], b"", _content(row)'),
    ),
)
def test_a_row_of_another_chain_fits_nowhere(service: Service) -> None:
    """A backup is put back, and the service goes on from there; what it had written before is under the same key."""
    record(service, "one.sent", "two.sent")
    seal(service)
    attacker = Attacker(service)
    with service.engine.connect() as connection:
        head = dict(connection.execute(attacker.head.select()).mappings().one())
    record(service, "three.sent", "four.sent", "five.sent")
    seal(service)
    fourth = attacker.read(4)
    attacker.runs(*(attacker.takes(number) for number in (3, 4, 5)), attacker.head.update().values(head))
    record(service, "three.kept", "four.kept", "five.kept")
    works(seal(service) == 3, "after a backup was put back new rows are sealed")
    works(verdict(service) is None, "and in order")
    attacker.runs(attacker.takes(4), attacker.rows.insert().values(fourth))
    harm(verdict(service) is None, "an event that happened in another history is in order")
    assert str(verdict(service)).startswith("row 4 ")


@protects(ROW, inserted=edit(FILE, '            if ring.fault(row["mac"], ROW, content):\n', "            if False:\n"))
def test_a_row_that_somebody_else_wrote_is_not_sealed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    attacker = prepared(service)
    record(service, "seven.sent")
    with service.engine.connect() as connection:
        waiting = dict(
            connection.execute(attacker.rows.select().where(attacker.rows.c.number.is_(None))).mappings().one()
        )
    laid: list[dict[str, Any]] = [
        {"id": uuid.uuid4(), "mac": mac} for mac in (None, waiting["mac"], attacker.read(3)["mac"])
    ]
    attacker.runs(*(attacker.rows.insert().values({**waiting, **one}) for one in laid))
    sealed = seal(service)
    harm(sealed > 1, "an event that never happened was sealed like the others")
    assert sealed == 1
    [strange] = [event["count"] for event in service.log if event["event"] == "audit_row_not_ours"]
    assert strange == 3
    code, text = verify(service, monkeypatch)
    assert code == 1
    assert text.endswith("which has no number yet, was inserted or changed.")
    attacker.runs(*(attacker.rows.delete().where(attacker.rows.c.id == one["id"]) for one in laid))
    attacker.runs(attacker.rows.insert().values({**attacker.read(3), "id": uuid.uuid4(), "number": 8}))
    assert str(verdict(service)).startswith("row 8 (")


@protects(
    ROW,
    head=edit(FILE, "    return ring.fault(head.seal", "    return None and ring.fault(head.seal"),
    anchor=(
        edit(FILE, "HEAD, *values.values())", "HEAD, number, mac)"),
        edit(FILE, "HEAD, head.number, head.mac, head.anchor_number, head.anchor_mac)", "HEAD, head.number, head.mac)"),
    ),
)
def test_neither_end_can_be_cut_off(service: Service) -> None:
    attacker = prepared(service)
    with service.engine.connect() as connection:
        head = dict(connection.execute(attacker.head.select()).mappings().one())
    second, first, last = attacker.read(2), [attacker.read(number) for number in (1, 2)], attacker.read(6)
    begins_later = attacker.head.update().values(anchor_number=2, anchor_mac=second["mac"])
    attacker.runs(begins_later, attacker.takes(1), attacker.takes(2))
    harm(verdict(service) is None, "the first events were taken out, as if they were too old to keep")
    assert verdict(service) == "the head of the chain was changed, or is not in its place"
    attacker.runs(attacker.head.update().values(head), *(attacker.rows.insert().values(row) for row in first))
    assert verdict(service) is None
    attacker.runs(attacker.takes(6))
    assert verdict(service) == "row 6 was removed"
    attacker.runs(attacker.head.update().values(number=5, mac=attacker.read(5)["mac"]))
    harm(verdict(service) is None, "the last event was taken out")
    assert verdict(service) == "the head of the chain was changed, or is not in its place"
    record(service, "seven.sent")
    assert seal(service) == 0  # it would be signed anew
    assert [event for event in service.log if event["event"] == "audit_chain_broken"]
    attacker.runs(attacker.head.update().values(head), attacker.rows.insert().values(last))
    attacker.runs(attacker.head.insert().values({**head, "id": 2}))  # a second head keeps nothing from its number
    assert seal(service) == 1
    assert verdict(service) is None


@protects(ROW, beginning=edit(FILE, 'None if dict(head._mapping) == START else "was changed"', "None"))
def test_only_an_empty_chain_has_an_unsigned_head(service: Service) -> None:
    works(verdict(service) is None, "the head of a new database has no seal, and is in order")
    attacker = prepared(service)
    shorter = {"number": 5, "mac": attacker.read(5)["mac"], "version": 0}
    attacker.runs(attacker.takes(6), attacker.head.update().values(shorter))
    harm(verdict(service) is None, "the last event was taken out, and the head says that nothing was sealed yet")
    assert verdict(service) == "the head of the chain was changed"


@protects(ROW, known=edit(FILE, "    yield from _fault_of_known(connection, head, known)\n", ""))
def test_a_database_that_was_put_back_does_not_go_with_the_log(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(service, "one.sent", "two.sent")
    seal(service)
    attacker = Attacker(service)
    with service.engine.connect() as connection:
        head = dict(connection.execute(attacker.head.select()).mappings().one())
    record(service, "three.sent")
    seal(service)
    former, newest = heads(service)
    for known in (former, newest):
        works(verify(service, monkeypatch, "--head", known)[0] == 0, "the chain goes through what was logged")
    attacker.runs(attacker.takes(3), attacker.head.update().values(head))
    assert verdict(service) is None  # as it was
    code, text = verify(service, monkeypatch, "--head", newest)
    harm(code == 0, "the end was cut off, and the log says that it was there")
    assert (code, text) == (
        1,
        "Error: rows up to 3 were sealed once, and the chain ends with 2: its end was cut off.",
    )
    record(service, "three.kept")
    other = "Error: row 3 is not the one whose head was logged."
    assert verify(service, monkeypatch, "--head", newest) == (1, other)
    assert verify(service, monkeypatch, "--head", former)[0] == 0
    assert verify(service, monkeypatch, "--head", "three")[0] == 2


def purge(service: Service, monkeypatch: pytest.MonkeyPatch) -> tuple[object, str]:
    """The command's exit status, and what it says at the end."""
    code, text = command(service, monkeypatch, "sessions", "purge")
    return code, text.splitlines()[-1]


def kept(attacker: Attacker) -> list[int]:
    """The numbers of the events that are there."""
    rows = attacker.service.rows("SELECT number FROM audit_event WHERE number IS NOT NULL ORDER BY number")
    return [row.number for row in rows]


def aged(service: Service, monkeypatch: pytest.MonkeyPatch) -> Attacker:
    """Events 3 and 4 (which counts two) are older than a year, 5 to 7 are not; those before are gone in good order."""
    from ..logins import PATH
    from .test_audit import FOREIGN

    record(service, "one.sent", "two.sent")
    assert seal(service) == 2
    service.travel(days=300)
    service.travel(seconds=60 - service.now().second)  # the beginning of a minute
    record(service, "three.sent")
    for _ in range(2):
        assert service.client().post(PATH, {"csrf_token": "x"}, headers=FOREIGN).status == 403
    service.travel(minutes=1)
    assert seal(service) == 2
    service.travel(days=200)
    record(service, "five.sent", "six.sent", "seven.sent")
    works(purge(service, monkeypatch)[1].endswith(" 2 audit events."), "what is older than a year goes")
    attacker = Attacker(service)
    works((kept(attacker), attacker.read(4)["times"]) == ([3, 4, 5, 6, 7], 2), "and nothing else")
    works(verdict(service) is None, "all is in order")
    service.travel(days=200)
    return attacker


@protects(
    ROW,
    purged=edit(FILE, "    if head is None or fault is not None:\n        _log", "    if head is None:\n        _log"),
)
def test_nothing_is_purged_as_long_as_something_is_wrong(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    attacker = aged(service, monkeypatch)
    long_ago = attacker.read(3)["at"] - timedelta(days=1000)
    rows = {number: attacker.read(number) for number in kept(attacker)}
    with service.engine.connect() as connection:
        head = dict(connection.execute(attacker.head.select()).mappings().one())
    changed, is_gone = "was changed, or is not in its place", "was removed"
    older = [attacker.at(number).values(at=long_ago) for number in (5, 6)]
    another = uuid.uuid4()
    laid = {at: attacker.rows.insert().values({**rows[3], "id": another, "number": at}) for at in (1, 2)}
    attacks: list[tuple[list[Any], str]] = [
        (older, f"row 5 ({rows[5]['id']}) {changed}"),
        ([attacker.at(3).values(kind="three.kept")], f"row 3 ({rows[3]['id']}) {changed}"),
        ([attacker.at(4).values(times=1)], f"row 4 ({rows[4]['id']}) {changed}"),
        ([attacker.takes(4)], f"row 4 {is_gone}"),
        ([attacker.takes(5)], f"row 5 {is_gone}"),
        ([attacker.takes(number) for number in (5, 6, 7)], f"row 5 {is_gone}"),
        ([attacker.at(3).values(number=None)], f"row 3 {is_gone}"),
        *(([one], f"row {at} ({another}) was inserted: the chain begins with 3") for at, one in laid.items()),
        (
            [attacker.head.update().values(anchor_number=3, anchor_mac=rows[3]["mac"])],
            f"the head of the chain {changed}",
        ),
        ([attacker.head.delete()], "the row of audit_head was removed"),
    ]
    for statements, fault in attacks:
        attacker.runs(*statements)
        before = kept(attacker)
        code, text = command(service, monkeypatch, "sessions", "purge")
        harm(kept(attacker) != before, "events went although one was changed, and nobody can find out any more")
        assert (code, f"{fault}.") == (1, text.splitlines()[-1].partition("Error: No audit event was deleted: ")[2])
        [told] = [json.loads(line) for line in text.splitlines() if '"audit_not_purged"' in line]
        assert (told["level"], told["fault"]) == ("error", fault)
        attacker.runs(attacker.rows.delete(), attacker.head.delete(), attacker.head.insert().values(head))
        attacker.runs(*(attacker.rows.insert().values(row) for row in rows.values()))
        assert verdict(service) is None
    assert purge(service, monkeypatch)[1].endswith(" 2 audit events.")
    assert (verdict(service), kept(attacker)) == (None, [5, 6, 7])


@protects(
    ROW,
    end=edit(
        FILE, "    elif fault is None:\n        fault = _fault_of_end", "    elif False:\n        fault = _fault_of_end"
    ),
    hangs=edit(FILE, "        fault, _ = _fault_between(connection, ring, last, mac, last + 1)\n", "        pass\n"),
)
def test_what_stays_after_a_purge_hangs_on_what_went(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup is put back, and the service goes on; a row of the other history takes the place of one that is old."""
    record(service, "one.sent")
    seal(service)
    attacker = Attacker(service)
    with service.engine.connect() as connection:
        head = dict(connection.execute(attacker.head.select()).mappings().one())
    record(service, "two.sent")
    seal(service)
    other = attacker.read(2)
    attacker.runs(attacker.takes(2), attacker.head.update().values(head))
    record(service, "two.kept")
    seal(service)
    first, own = attacker.read(1), attacker.read(2)
    works(purge(service, monkeypatch)[1].endswith(" 0 audit events."), "nothing is too old")
    service.travel(days=400)
    attacker.runs(attacker.takes(2), attacker.rows.insert().values(other))
    code, text = purge(service, monkeypatch)
    harm(kept(attacker) != [1, 2], "the last row was exchanged, and all of them went")
    fault = "row 2 is not the one that the head names"
    assert (code, text) == (1, f"Error: No audit event was deleted: {fault}.")
    record(service, "three.sent")
    code, text = purge(service, monkeypatch)
    harm(kept(attacker) != [1, 2, 3], "a row was exchanged and went, and the one behind it looks like a forgery")
    fault = f"row 3 ({attacker.read(3)['id']}) was changed, or is not in its place"
    assert (code, text) == (1, f"Error: No audit event was deleted: {fault}.")
    attacker.runs(attacker.takes(2), attacker.rows.insert().values(own))
    attacker.runs(attacker.at(1).values(at=service.now()))
    assert purge(service, monkeypatch)[0] == 1  # whoever made it younger would keep everything
    attacker.runs(attacker.at(1).values(at=first["at"]))
    assert purge(service, monkeypatch)[1].endswith(" 2 audit events.")


@protects(
    ROW, age=edit(FILE, "delete(AuditEvent).where(_a.number <= last)", "delete(AuditEvent).where(_a.at < moment)")
)
def test_a_row_that_was_made_older_before_it_was_sealed_stays(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacker = aged(service, monkeypatch)
    record(service, "eight.sent")
    waiting = attacker.rows.c.number.is_(None)
    attacker.runs(attacker.rows.update().where(waiting).values(at=service.now() - timedelta(days=1000)))
    code, text = purge(service, monkeypatch)
    rows = service.rows("SELECT kind FROM audit_event WHERE number IS NULL")
    harm(not rows, "an event was taken out before it had its place in the chain")
    assert (code, text.endswith(" 2 audit events."), [row.kind for row in rows]) == (0, True, ["eight.sent"])
    assert kept(attacker) == [5, 6, 7]
    code, text = verify(service, monkeypatch)
    assert (code, text.endswith("which has no number yet, was inserted or changed.")) == (1, True)


@protects(
    ROW,
    worker=edit("mail/outbox.py", "                    audit_chain.seal()\n", "                    pass\n"),
)
def test_a_worker_seals_by_itself(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice:
        """A pause after whose second end, ten seconds later, the worker stops."""

        def __init__(self) -> None:
            self.waited = 0

        def wait(self, _seconds: float) -> bool:
            self.waited += 1
            if self.waited == 2:
                record(service, "two.sent")
                service.travel(seconds=11)
            return self.waited > 2

    outbox = service.module("mail.outbox")
    monkeypatch.setattr(outbox.threading, "Event", Twice)
    record(service, "one.sent")
    works(len(service.rows("SELECT id FROM audit_event")) == 1, "an event is written")
    outbox._keep_draining(service.app)
    harm(service.rows("SELECT id FROM audit_event WHERE number IS NULL"), "a row stays without its place in the chain")
    assert [head.partition(":")[0] for head in heads(service)] == ["1", "2"]


# --- what goes on beside it: tests, no proofs of a row ----------------------------------------------------------


@protects(ROW, held=edit(FILE, "if sealed + refused < BATCH:", "if sealed < BATCH:"))
def test_rows_that_nobody_has_signed_keep_no_other_from_being_sealed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has no number yet can be taken out unseen: an attacker would want it to stay so."""
    monkeypatch.setattr(service.module("audit_chain"), "BATCH", 2)
    attacker = prepared(service)
    real, early = attacker.read(1), service.now() - timedelta(days=1)
    for _ in range(5):
        attacker.runs(attacker.rows.insert().values({**real, "id": uuid.uuid4(), "at": early, "number": None}))
    record(service, "account.plundered", "account.left")
    numbers = "SELECT number FROM audit_event WHERE kind = 'account.plundered'"
    for _ in range(3):
        seal(service)
    harm([row for row in service.rows(numbers) if row.number is None], "rows in front keep his own from its number")
    assert [row.number for row in service.rows(numbers)] == [7]
    assert str(verdict(service)).endswith("which has no number yet, was inserted or changed")
    attacker.runs(attacker.takes(7), attacker.rows.delete().where(attacker.rows.c.number.is_(None)))
    assert str(verdict(service)).startswith("row 7 ")


@protects(
    ROW,
    compared=NOT_COMPARED,
    removed=(NOT_COMPARED, edit(FILE, 'if row["number"] != number + 1:', "if False:")),
)
def test_what_was_removed_or_moved_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    attacker = prepared(service)
    third, fourth = attacker.read(3), attacker.read(4)
    attacker.runs(attacker.takes(3))
    harm(verdict(service) is None, "an event was taken out")
    assert verify(service, monkeypatch) == (1, "Error: row 3 was removed.")
    attacker.runs(attacker.rows.insert().values(third))
    assert verdict(service) is None
    moves = [attacker.at(3).values(number=99), attacker.at(4).values(number=3), attacker.at(99).values(number=4)]
    attacker.runs(*moves)
    harm(verdict(service) is None, "two events changed places")
    assert str(verdict(service)).startswith(f"row 3 ({fourth['id']}) was changed, or is not in its place")
