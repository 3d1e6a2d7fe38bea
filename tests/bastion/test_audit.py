"""Unit tests beside the proofs in test_audit.py."""

from __future__ import annotations

import ast
import csv
import json
import re
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ..edges.test_audit import (
    FOREIGN,
    aged,
    heads,
    kept,
    pages_of_two,  # noqa: F401 - autouse
    recorded,
    writes,
)
from ..environment import stubbed
from ..harness import at_once
from ..logins import PATH, SIGNED_IN, UNKNOWN, WRONG, attempt, cheap_user
from ..probe_model import model
from ..rings import ring_of
from ..service import AUTH, DATABASE
from ..test_audit import (
    Attacker,
    events,
    left_by,
    record,
    seal,
    verdict,
    verify,
)
from ..test_settings import command
from ..wire import ORIGIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..running import Service


def test_a_view_that_has_written_records_with_its_work_and_waits_for_nobody(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    if DATABASE == "sqlite":  # whoever waits for a lock waits less long than in earnest
        monkeypatch.setattr(service.module("database.sqlite"), "BUSY_SECONDS", 0.1)

    def undone() -> None:
        with service.module("database").transaction() as connection:
            service.module("audit").record("report.undone", outcome="failure", connection=connection)
            raise LookupError("this work is undone, and so is what was said of it")

    def view(outcome: str) -> Any:
        audit = service.module("audit")
        with pytest.raises(LookupError):
            undone()
        writes(service)
        audit.record(f"report.{outcome}")
        for _ in range(2):  # part of the work, so each has a row of its own, though others of this kind are counted
            audit.record("user.read")
        audit.record("report.refused", user_id=service.module().current_user.id, outcome="failure")
        if outcome == "broken":
            raise RuntimeError("after the event")
        service.module("database").db.session.commit()
        service.module("audit").record("report.sent")
        return "fine"

    service.adds_route("/report/<any(exported, broken):outcome>", view=view)
    client = service.client(service.user()).login()
    statuses = [client.get(f"/report/{outcome}").status for outcome in ("exported", "broken")]
    assert statuses == [200, 500]
    kinds = ("report.exported", "report.sent", "report.broken")
    assert [recorded(service, kind) for kind in (*kinds, "user.read")] == [1, 1, 0, 2]
    assert (recorded(service, "report.refused"), recorded(service, "report.undone")) == (2, 0)
    logged = [event["event"] for event in service.log if event["event"] in kinds]
    assert logged == ["report.exported", "report.sent", "report.broken"]  # the log has them all


if DATABASE == "mysql":

    @pytest.mark.parametrize(
        ("statements", "written"),
        [
            (("SAVEPOINT here", "SELECT 1", "ROLLBACK TO SAVEPOINT here"), False),
            (("SAVEPOINT here", "RELEASE SAVEPOINT here"), False),
            (
                (
                    "/* who asks */ -- and why\n# or not\n (select 1)",
                    "\n/* a * b **/ /**/ WITH x AS (SELECT 1) SELECT * FROM x",
                ),
                False,
            ),
            (("SELECT 1 /* a comment */", "/* SELECT */ DELETE FROM audit_event WHERE 1 = 0"), True),
            (("/*! DELETE FROM audit_event WHERE 1 = 0 */",), True),
            (("-- SELECT\nDELETE FROM audit_event WHERE 1 = 0", "SAVEPOINT here"), True),
            (("DELETE FROM audit_event WHERE 1 = 0", "SELECT 1"), True),
        ],
    )
    def test_what_only_reads_is_no_unfinished_work(
        service: Service, statements: tuple[str, ...], written: bool
    ) -> None:
        with service.app.app_context(), service.module("database").connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
            assert service.module("database.mysql").has_written(connection) is written


def test_a_write_that_the_database_refused_keeps_nobody_from_recording(service: Service) -> None:
    def view(after: str) -> Any:
        from sqlalchemy import text
        from sqlalchemy.exc import IntegrityError

        session = service.module("database").db.session
        writes(service)
        if after == "flushed":
            session.add(model(service)(title="of nobody"))
            with pytest.raises(IntegrityError):
                session.flush()
        else:
            with pytest.raises(IntegrityError):
                session.execute(text("INSERT INTO proof_probe_item SELECT * FROM proof_probe_item"))
        if after == "rolled back":
            session.rollback()
        service.module("audit").record("report.failed")
        return after

    service.adds_route("/report/<after>", view=view)
    client = service.client(service.user()).login()
    assert client.get("/report/rolled%20back").text == "rolled back"
    assert recorded(service, "report.failed") == 1
    assert [client.get(f"/report/{after}").text for after in ("left", "flushed")] == ["left", "flushed"]


def test_purge_deletes_what_is_over_and_keeps_what_still_counts(service: Service) -> None:
    def purge() -> str:
        result = service.app.test_cli_runner().invoke(service.module("commands.sessions").purge_sessions)
        assert result.exit_code == 0
        return result.output.strip()

    def counters() -> int:
        return int(service.rows("SELECT count(*) FROM throttle_counter")[0][0])

    user, most = cheap_user(service), service.limits.login_failures
    assert attempt(service.client(), user.email, user.password).status == SIGNED_IN
    attempt(service.client(), UNKNOWN, WRONG)
    flows = service.module("identity.flows")
    with service.app.app_context(), service.module("database").transaction() as connection:
        ends = flows.begin(connection, flows.LOGIN, user.id).expires_at
        link = {
            "token_hash": bytes(32),
            "purpose": "reset",
            "email": user.email,
            "user_id": user.id,
            "expires_at": ends,
        }
        connection.execute(service.module("identity.models").Link.__table__.insert().values(**link))
    service.travel(hours=24)
    assert purge() == "Deleted: 0 sessions, 0 devices, 0 counters, 0 links, 0 flows, 0 files, 0 audit events."
    service.travel(minutes=6)
    assert purge() == "Deleted: 0 sessions, 0 devices, 0 counters, 1 links, 1 flows, 0 files, 0 audit events."
    service.travel(hours=22, minutes=54)
    for _ in range(most):
        attempt(service.client(), user.email, WRONG)
    assert counters() == 2
    assert purge() == "Deleted: 0 sessions, 0 devices, 0 counters, 0 links, 0 flows, 0 files, 0 audit events."
    service.travel(hours=2)
    # Of the address without an account: what failed, and how often it was tried.
    assert purge() == "Deleted: 0 sessions, 0 devices, 2 counters, 0 links, 0 flows, 0 files, 0 audit events."
    service.rows("UPDATE throttle_counter SET blocked_until = :until", until=later(service))
    service.travel(hours=48)
    # Of the network, and how often the account was tried; what failed there waits, or did until yesterday.
    assert purge() == "Deleted: 0 sessions, 0 devices, 2 counters, 0 links, 0 flows, 0 files, 0 audit events."
    service.travel(hours=48)
    assert purge() == "Deleted: 0 sessions, 0 devices, 1 counters, 0 links, 0 flows, 0 files, 0 audit events."
    events = recorded(service, "login.failure")
    assert events == most + 1
    service.travel(days=365 - 6)
    with service.app.app_context():
        service.module("audit").record("login.failure")
    service.travel(days=3)
    deleted = "1 sessions, 0 devices, 0 counters, 0 links, 0 flows, 0 files"
    assert purge() == f"Deleted: {deleted}, {events + 1} audit events."
    assert recorded(service, "login.failure") == 1


def later(service: Service) -> str:
    """In a day, as the column holds it: UTC without its zone."""
    from datetime import timedelta

    return (service.now() + timedelta(hours=24)).strftime("%Y-%m-%d %H:%M:%S.%f")


# --- audit-events-complete -----------------------------------------------------------------------------------------


def test_a_store_that_is_away_keeps_nobody_from_being_refused(service: Service) -> None:
    from ..logins import Outage

    service.adds_route("/report", view=lambda: service.module("audit.refusal").refuse(409, "report-locked"))
    client = service.client(service.user()).login()
    token = getattr(client, "csrf_token", str)()  # of the session style
    outage = Outage(service, "audit_event")
    outage.on = True
    answer = client.post(PATH, {"csrf_token": token}, headers=FOREIGN)
    assert (answer.status, outage.met) == (403, 1)
    assert client.get("/report").status == 409  # of which there is no event
    assert [event["kind"] for event in service.log if event["event"] == "audit_row_lost"] == ["cross_site.refused"]


def test_of_two_that_are_the_first_in_a_minute_the_slower_one_is_counted_as_well(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import IntegrityError

    audit = service.module("audit")
    client, really, faster = service.client(address="198.51.100.7"), audit.transaction, [0]

    @contextmanager
    def overtaken() -> Any:
        with really() as connection:
            yield connection
            if faster[0]:
                faster[0] -= 1
                raise IntegrityError("INSERT", {}, Exception("there is one already"))

    monkeypatch.setattr(audit, "transaction", overtaken)
    for times, lost in ((1, 0), (2, 1)):
        faster[0] = times
        service.travel(minutes=1)
        rows = left_by(service, lambda: client.post(PATH, {"csrf_token": "x"}, headers=FOREIGN))
        assert [row["times"] for row in rows] == [1] * (1 - lost)
        assert len([event for event in service.log if event["event"] == "audit_row_lost"]) == lost


# --- the document, and what an operator sees: tests, no proofs of a row --------------------------------------------


class Kinds(ast.NodeVisitor):
    """The kinds of events that one module records: literal ones, and those that come in a variable or argument."""

    def __init__(self, source: str) -> None:
        self.found: set[str] = set()
        self.unknown: list[str] = []
        self._inside: list[ast.FunctionDef] = []
        self._tree = ast.parse(source)
        self.visit(self._tree)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A function, which may take the kind as an argument."""
        self._inside.append(node)
        self.generic_visit(node)
        self._inside.pop()

    def visit_Call(self, node: ast.Call) -> None:
        """A call of audit.record()."""
        if ast.unparse(node.func) in ("audit.record", "record"):
            kinds = {*self._kinds_of(node.args[0])}
            self.found |= kinds
            self.unknown += [] if kinds else [ast.unparse(node)]
        self.generic_visit(node)

    def _kinds_of(self, value: ast.expr) -> Iterator[str]:
        if not isinstance(value, ast.Name):
            yield from _texts(value)
            return
        function = self._inside[-1]
        names = [one.arg for one in function.args.args]
        for node in ast.walk(function if value.id not in names else self._tree):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == value.id:
                yield from _texts(node.value)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == function.name and value.id in names:
                yield from _texts(node.args[names.index(value.id)])


def _texts(value: ast.expr) -> Iterator[str]:
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_each_kind_of_event_is_in_the_one_table_and_each_column_in_the_document(service: Service) -> None:
    audit = service.module("audit")
    modules = [Kinds(file.read_text("utf-8")) for file in sorted(service.bastion.rglob("*.py"))]
    assert [text for module in modules for text in module.unknown] == []
    refusals = {*audit.REFUSALS.values(), "throttle.hit", "link.refused", "token.refused", "input.refused"}
    recorded_here = set[str]().union(*(module.found for module in modules)) | refusals
    with (service.bastion / "audit" / "kinds.csv").open(newline="", encoding="utf-8") as file:
        kinds = {row["kind"]: row for row in csv.DictReader(file)}
    elsewhere = {kind for kind, row in kinds.items() if row["style"] not in ("both", AUTH)}
    assert recorded_here - elsewhere == kinds.keys() - elsewhere
    assert "login.failure" in recorded_here
    unwanted = ("failure", "wrong", "refused", "denied", "owned", "hit", "reuse", "suspected", "unavailable")
    assert {kind for kind in kinds if kind.endswith(unwanted)} == audit.FAILURES
    assert audit.BY_OTHERS - {"session.ended_by_administrator"} < audit.SHOWN.keys()
    page = (service.root / "docs" / "bastion" / "audit.md").read_text("utf-8")
    columns = {column.name for column in service.module("audit.tables").AuditEvent.__table__.columns}
    assert columns == {*re.findall(r"`([a-z_]+)`", page.partition("## Fields")[2].partition("**Counted**")[0])} - {
        "success",
        "failure",
    }


def test_an_operator_sees_the_newest_events_last_and_nothing_that_moves_his_cursor(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, other = cheap_user(service), cheap_user(service)
    assert attempt(service.client(), user.email, WRONG).status == 401
    service.travel(hours=2)
    assert attempt(service.client(), other.email, other.password).status == SIGNED_IN
    with service.app.app_context():
        service.module("audit").record("report.\x1b[2Jsent", user_id=user.id, name="\x1b]0;owned\x07\u202e")
    code, text = command(service, monkeypatch, "audit", "show")
    lines = text.splitlines()
    assert (code, len(lines)) == (0, 3)
    assert text.isascii()
    assert "\x1b" not in text
    assert [line.split()[2] for line in lines] == ["login.failure", "login.success", "report.\\u001b[2Jsent"]
    assert "failure" in lines[0]
    assert "ip=192.0.2.10 reason=password" in lines[0]
    row = events(service)[0]
    counts = [re.findall(r" x\d+ ", service.module("audit").as_line({**row, "times": times})) for times in (1, 2)]
    assert counts == [[], [" x2 "]]

    def kinds(*options: str) -> list[str]:
        code, text = command(service, monkeypatch, "audit", "show", "--json", *options)
        assert code == 0
        return [json.loads(line)["kind"].partition(".")[0] for line in text.splitlines()]

    assert kinds("--user", user.email) == kinds("--user", str(user.id)) == ["login", "report"]
    assert kinds("--kind", "login.success") == ["login"]
    for since in ("90m", "1h"):
        assert kinds("--since", since) == ["login", "report"]
    for since in ("150m", "3h", "1d", "99999d"):
        assert kinds("--since", since) == ["login", "login", "report"]
    assert kinds("--last", "1") == ["report"]
    for options in (("--user", "nobody@example.com"), ("--since", "7"), ("--since", "0d"), ("--last", "1001")):
        assert command(service, monkeypatch, "audit", "show", *options)[0] == 2


def test_each_refusal_on_a_route_of_accounts_is_of_the_kind_that_is_documented(service: Service) -> None:
    audit: Any = service.module("audit")
    expected = dict.fromkeys((400, 413, 415, 422), "input.refused") | {429: "throttle.hit", 410: "link.refused"}
    statuses = (400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 429, 500, 503)
    with service.app.test_request_context(PATH, ORIGIN, method="POST"):
        assert {one: kind for one in statuses if (kind := audit._kind_of(one, "a row"))} == expected
        assert audit._kind_of(403, "deny-by-default") == "access.denied"
        # What is wrong with a token is told by a 401 alone, and that it is over is no event.
        tokens = ("jwt-alg-pinned", "refresh-hashed", *audit.ORDINARY)
        kinds = [[audit._kind_of(status, row) for row in tokens] for status in (401, 403)]
        assert kinds == [["token.refused"] * 2 + [None] * 3, [None] * 5]
    with service.app.test_request_context("/static/x", ORIGIN):
        found = {one: kind for one in statuses if (kind := audit._kind_of(one, "a row"))}
    assert found == {429: "throttle.hit", 410: "link.refused"}


# --- audit-tamper-evident ---------------------------------------------------------------------------------------------

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
    assert (done.startswith("Deleted: 1 sessions, "), done.endswith(" files.")) == (True, True)
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
    chain = service.module("audit.chain")
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
    chain = service.module("audit.chain")
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
    present = secrets.token_urlsafe(32)
    service.restart(DATA_KEY=ring_of(service, present, former))
    record(service, "three.sent")
    assert seal(service) == 2
    assert verdict(service) is None
    service.restart(DATA_KEY=present)
    assert str(verdict(service)).startswith("row 1 (")
    assert "put it back into the ring" in str(verdict(service))
    code, text = command(service, monkeypatch, "audit", "restart", "--yes")
    assert (code, text.partition("The former head was ")[2].partition(":")[0]) == (0, "3")
    waiting = service.rows("SELECT kind FROM audit_event WHERE number IS NULL")
    assert [tuple(row) for row in waiting] == [("audit.restarted",)]  # the others have their place at once
    code, text = verify(service, monkeypatch)
    assert (code, text.partition(", ")[0]) == (0, "OK: 4 events")
    [(kind,)] = service.rows("SELECT kind FROM audit_event WHERE number = 4")
    assert kind == "audit.restarted"


def test_what_a_process_with_a_newer_key_has_sealed_is_in_order_for_the_others(service: Service) -> None:
    chain: Any = service.module("audit.chain")
    with stubbed(service) as stub:
        one = service.app
        record(service, "one.sent")
        service.travel(seconds=11)
        stub.values["DATA_KEY"] = ring_of(service, secrets.token_urlsafe(32), stub.values["DATA_KEY"])
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
    monkeypatch.setattr(service.module("audit.chain"), "BATCH", 2)
    record(service, *(f"report.sent_{number}" for number in range(4)))
    assert (seal(service), seal(service)) == (4, 0)
    record(service, *(f"report.sent_{number}" for number in range(4, 9)))
    assert (seal(service), verdict(service)) == (5, None)
    kinds = [row.kind for row in service.rows("SELECT kind FROM audit_event ORDER BY number")]
    assert kinds == [f"report.sent_{number}" for number in range(9)]  # in the order in which they happened
    record(service, "report.sent_9")
    sealed: list[int] = []
    comes_first(service.module("audit.chain"), lambda: sealed.append(seal(service)), monkeypatch)
    assert (seal(service), verdict(service)) == (0, None)  # it would go on from a head that is no longer the last
    assert sealed == [1]


def test_nobody_finds_the_key_of_the_chain_by_trying(service: Service) -> None:
    chain, derived = service.module("audit.chain"), service.module("crypto.ring").derived
    keys = {derived(key, label) for key in (b"a" * 32, b"b" * 32) for label in (b"one", b"other")}
    assert (len(keys), min(map(len, keys)) >= 32) == (4, True)
    with service.app.app_context():
        assert len(chain.Ring().sign(chain.ROW, "x")) == chain.KEY_BYTES + 32


def test_what_is_counted_is_sealed_when_its_minute_is_over(service: Service) -> None:
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
