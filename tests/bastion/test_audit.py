"""Unit tests beside the proofs in test_audit.py."""

from __future__ import annotations

import ast
import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ..edges.test_audit import FOREIGN, recorded, writes
from ..logins import PATH, SIGNED_IN, UNKNOWN, WRONG, attempt, cheap_user
from ..probe_model import model
from ..service import AUTH, DATABASE
from ..test_audit import events, left_by
from ..test_settings import command
from ..wire import ORIGIN

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        result = service.app.test_cli_runner().invoke(service.module("cli").purge_sessions)
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
    assert purge() == "Deleted: 0 sessions, 0 devices, 0 counters, 0 links, 0 flows, 0 audit events."
    service.travel(minutes=6)
    assert purge() == "Deleted: 0 sessions, 0 devices, 0 counters, 1 links, 1 flows, 0 audit events."
    service.travel(hours=22, minutes=54)
    for _ in range(most):
        attempt(service.client(), user.email, WRONG)
    assert counters() == 2
    assert purge() == "Deleted: 0 sessions, 0 devices, 0 counters, 0 links, 0 flows, 0 audit events."
    service.travel(hours=2)
    # Of the address without an account: what failed, and how often it was tried.
    assert purge() == "Deleted: 0 sessions, 0 devices, 2 counters, 0 links, 0 flows, 0 audit events."
    service.rows("UPDATE throttle_counter SET blocked_until = :until", until=later(service))
    service.travel(hours=48)
    # Of the network, and how often the account was tried; what failed there waits, or did until yesterday.
    assert purge() == "Deleted: 0 sessions, 0 devices, 2 counters, 0 links, 0 flows, 0 audit events."
    service.travel(hours=48)
    assert purge() == "Deleted: 0 sessions, 0 devices, 1 counters, 0 links, 0 flows, 0 audit events."
    events = recorded(service, "login.failure")
    assert events == most + 1
    service.travel(days=365 - 6)
    with service.app.app_context():
        service.module("audit").record("login.failure")
    service.travel(days=3)
    assert purge() == f"Deleted: 1 sessions, 0 devices, 0 counters, 0 links, 0 flows, {events + 1} audit events."
    assert recorded(service, "login.failure") == 1


def later(service: Service) -> str:
    """In a day, as the column holds it: UTC without its zone."""
    from datetime import timedelta

    return (service.now() + timedelta(hours=24)).strftime("%Y-%m-%d %H:%M:%S.%f")


# --- audit-events-complete -----------------------------------------------------------------------------------------


def test_a_store_that_is_away_keeps_nobody_from_being_refused(service: Service) -> None:
    from ..logins import Outage

    service.adds_route("/report", view=lambda: service.module("errors").refuse(409, "report-locked"))
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
        if ast.unparse(node.func) == "audit.record":
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


def test_the_document_names_each_kind_of_event_and_no_other(service: Service) -> None:
    audit = service.module("audit")
    modules = [Kinds(file.read_text("utf-8")) for file in sorted(service.bastion.rglob("*.py"))]
    assert [text for module in modules for text in module.unknown] == []
    refusals = {*audit.REFUSALS.values(), "throttle.hit", "link.refused", "token.refused", "input.refused"}
    recorded_here = set[str]().union(*(module.found for module in modules)) | refusals
    page = (service.root / "docs" / "bastion" / "audit.md").read_text("utf-8")
    documented = re.findall(r"^\| `([a-z_.]+)` \| (both|jwt|session) \|", page, re.MULTILINE)
    counted = re.findall(r"^\| `([a-z_.]+)` \| \w+ \| [^|]*; counted \|", page, re.MULTILINE)
    elsewhere = {kind for kind, style in documented if style not in ("both", AUTH)}
    assert len(documented) == len(dict(documented)) >= 45
    assert recorded_here - elsewhere == {kind for kind, _ in documented} - elsewhere
    assert "login.failure" in recorded_here
    assert {*audit.FAILURES, *audit.COUNTED} <= recorded_here | elsewhere
    assert {*counted} == audit.COUNTED
    unwanted = ("failure", "wrong", "refused", "denied", "owned", "hit", "reuse", "suspected", "unavailable")
    assert {kind for kind, _ in documented if kind.endswith(unwanted)} == audit.FAILURES
    columns = {column.name for column in service.module("identity.models").AuditEvent.__table__.columns}
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
