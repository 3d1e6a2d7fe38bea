"""Unit tests beside the proofs in test_audit_chain.py."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest

from ..edges.test_audit_chain import aged, heads, kept
from ..harness import at_once
from ..stub_backend import stubbed
from ..test_audit_chain import (
    Attacker,
    pages_of_two,  # noqa: F401 - autouse
    record,
    seal,
    verdict,
    verify,
)
from ..test_settings import command

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..running import Service


# --- what goes on beside it: tests, no proofs of a row ----------------------------------------------------------


def test_what_is_older_than_a_year_goes_and_the_rest_still_verifies(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def purge() -> int:
        with service.app.app_context():
            return int(service.module("audit").purge())

    record(service, "one.sent", "two.sent")
    seal(service)
    service.travel(days=300)
    record(service, "three.sent")
    old, _ = heads(service)[-1], seal(service)
    service.travel(days=100)
    record(service, "four.sent")
    assert purge() == 2
    assert verdict(service, old) is None
    service.travel(days=400)
    assert purge() == 2
    assert verdict(service, heads(service)[-1]) is None
    gone = "row 2 is not kept any more; if its head was logged less than a year ago it was taken out, "
    assert verdict(service, old) == f"{gone}otherwise take a later one from the log"
    assert [event["rows"] for event in service.log if event["event"] == "audit_purged"] == [2, 2]
    record(service, "five.sent")
    assert verify(service, monkeypatch)[1].startswith("OK: 1 events, 0 more not sealed yet. Head: 5:")


def test_what_else_is_over_goes_although_the_audit_is_not_in_order(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.client(service.user()).login()
    record(service, "one.kept")
    seal(service)
    service.travel(days=400)
    attacker = Attacker(service)
    attacker.runs(attacker.at(1).values(kind="one.sent"))
    code, text = command(service, monkeypatch, "sessions", "purge")
    assert (code, kept(attacker), service.rows("SELECT id FROM auth_session")) == (1, [1], [])
    done, error = text.splitlines()[-2:]
    assert (done.startswith("Deleted: 1 sessions, "), done.endswith(" flows.")) == (True, True)
    assert error.startswith("Error: No audit event was deleted: row 1 (")


def comes_first(chain: Any, work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's work is done between what is read next and the transaction that writes it."""
    really = chain.transaction

    def overtaken() -> Any:
        monkeypatch.setattr(chain, "transaction", really)
        work()
        return really()

    monkeypatch.setattr(chain, "transaction", overtaken)


def test_a_purge_is_in_nobodys_way_who_seals_or_purges_meanwhile(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = service.module("audit_chain")
    attacker, looks = aged(service, monkeypatch), chain._oldest

    def late(*arguments: Any) -> Any:
        found = looks(*arguments)
        monkeypatch.setattr(chain, "_oldest", looks)
        meanwhile.pop()()
        return looks(*arguments) if behind else found

    def purges() -> int:
        with service.app.app_context():
            return int(service.module("audit").purge())

    def seals() -> None:
        record(service, "eight.sent")
        assert seal(service) == 1

    meanwhile: list[Any] = [seals]
    behind = False  # whether it looks at the rows only then
    monkeypatch.setattr(chain, "_oldest", late)
    assert (purges(), kept(attacker), verdict(service)) == (2, [5, 6, 7, 8], None)
    service.travel(days=200)
    meanwhile = [lambda: attacker.runs(attacker.head.update().values(number=7, mac=attacker.read(7)["mac"]))]
    with service.engine.connect() as connection:
        head = dict(connection.execute(attacker.head.select()).mappings().one())
    monkeypatch.setattr(chain, "_oldest", late)
    assert (purges(), kept(attacker)) == (0, [5, 6, 7, 8])
    assert verdict(service) == "the head of the chain was changed, or is not in its place"  # not signed anew
    attacker.runs(attacker.head.update().values(head))
    meanwhile = [purges]
    monkeypatch.setattr(chain, "_oldest", late)
    assert (purges(), kept(attacker), verdict(service)) == (0, [8], None)
    record(service, "nine.sent")
    service.travel(days=400)
    meanwhile, behind = [purges], True
    monkeypatch.setattr(chain, "_oldest", late)
    assert (purges(), kept(attacker), verdict(service)) == (0, [], None)
    record(service, "ten.sent")
    service.travel(days=200)
    record(service, "eleven.sent")
    service.travel(days=200)
    assert seal(service) == 2

    def another() -> None:
        service.travel(days=200)
        assert purges() == 2  # one more than was old enough before

    comes_first(chain, another, monkeypatch)
    assert (purges(), kept(attacker), verdict(service)) == (0, [], None)


def test_a_verification_that_a_purge_came_in_between_looks_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = service.module("audit_chain")
    attacker, looks = aged(service, monkeypatch), chain._faults

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(chain, "_faults", looks)
        assert service.module("audit").purge() == 2
        return looks(*arguments)

    monkeypatch.setattr(chain, "_faults", late)
    assert verify(service, monkeypatch)[1].startswith("OK: 3 events, 0 more not sealed yet. Head: 7:")
    assert kept(attacker) == [5, 6, 7]


def test_a_former_key_verifies_and_a_lost_one_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    record(service, "one.sent")
    seal(service)
    record(service, "two.sent")  # written under the former key, sealed under the next
    former = service.environment.secrets["DATA_KEY"]
    service.restart(DATA_KEY=secrets.token_urlsafe(32), DATA_KEY_FALLBACKS=former)
    record(service, "three.sent")
    assert seal(service) == 2
    assert verdict(service) is None
    service.restart(DATA_KEY_FALLBACKS=None)
    assert str(verdict(service)).startswith("row 1 (")
    assert "put it into DATA_KEY_FALLBACKS" in str(verdict(service))
    code, text = command(service, monkeypatch, "audit", "restart", "--yes")
    assert (code, text.partition("The former head was ")[2].partition(":")[0]) == (0, "3")
    waiting = service.rows("SELECT kind FROM audit_event WHERE number IS NULL")
    assert [tuple(row) for row in waiting] == [("audit.restarted",)]  # the others have their place at once
    code, text = verify(service, monkeypatch)
    assert (code, text.partition(", ")[0]) == (0, "OK: 4 events")
    [(kind,)] = service.rows("SELECT kind FROM audit_event WHERE number = 4")
    assert kind == "audit.restarted"


def test_what_a_process_with_a_newer_key_has_sealed_is_in_order_for_the_others(service: Service) -> None:
    chain: Any = service.module("audit_chain")
    with stubbed(service) as stub:
        one = service.app
        record(service, "one.sent")
        service.travel(seconds=11)
        stub.values.update(DATA_KEY=secrets.token_urlsafe(32), DATA_KEY_FALLBACKS=stub.values["DATA_KEY"])
        with service._make().app_context():
            assert chain.seal() == 1
        with one.app_context():
            assert chain.verify().fault is None


def test_many_write_and_seal_at_once_and_all_is_in_order(service: Service) -> None:
    service.app  # noqa: B018  made before the threads
    sealed: list[int] = []

    def writes() -> None:
        for number in range(10):
            with service.app.app_context():
                service.module("audit").record("report.sent", number=number)

    def seals() -> None:
        for _ in range(10):
            sealed.append(seal(service))

    at_once([writes, seals, writes, seals])
    sealed.append(seal(service))
    assert sum(sealed) == 20
    assert verdict(service) is None
    assert [row.number for row in service.rows("SELECT number FROM audit_event ORDER BY number")] == [*range(1, 21)]


def test_all_that_waits_is_sealed_however_much_it_is(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.module("audit_chain"), "BATCH", 2)
    record(service, *(f"report.sent_{number}" for number in range(4)))
    assert (seal(service), seal(service)) == (4, 0)
    record(service, *(f"report.sent_{number}" for number in range(4, 9)))
    assert (seal(service), verdict(service)) == (5, None)
    kinds = [row.kind for row in service.rows("SELECT kind FROM audit_event ORDER BY number")]
    assert kinds == [f"report.sent_{number}" for number in range(9)]  # in the order in which they happened
    record(service, "report.sent_9")
    sealed: list[int] = []
    comes_first(service.module("audit_chain"), lambda: sealed.append(seal(service)), monkeypatch)
    assert (seal(service), verdict(service)) == (0, None)  # it would go on from a head that is no longer the last
    assert sealed == [1]


def test_nobody_finds_the_key_of_the_chain_by_trying(service: Service) -> None:
    chain = service.module("audit_chain")
    keys = {chain._derived(key) for key in (b"a" * 32, b"b" * 32)}
    assert (len(keys), min(map(len, keys)) >= 32) == (2, True)
    with service.app.app_context():
        assert len(chain.Ring().sign(chain.ROW, "x")) == chain.KEY_BYTES + 32


def test_what_is_counted_is_sealed_when_its_minute_is_over(service: Service) -> None:
    from ..edges.test_audit import FOREIGN
    from ..logins import PATH

    def refused() -> int:
        return service.client().post(PATH, {"csrf_token": "x"}, headers=FOREIGN).status

    service.travel(seconds=60 - service.now().second)  # the beginning of a minute
    assert [refused(), refused()] == [403, 403]
    assert seal(service) == 0
    service.travel(minutes=1)
    assert seal(service) == 1
    assert refused() == 403
    times = [row.times for row in service.rows("SELECT times FROM audit_event ORDER BY at")]
    assert (times, verdict(service)) == ([2, 1], None)
