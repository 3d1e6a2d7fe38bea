"""Proofs of audit.py: what is recorded stays as long as it should, stops no request, and fills no disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .harness import edit, harm, protects, works
from .logins import SIGNED_IN, UNKNOWN, WRONG, attempt, cheap_user
from .probe_model import model
from .service import DATABASE

if TYPE_CHECKING:
    from .running import Service


def recorded(service: Service, kind: str) -> int:
    """How many events of this kind are kept, through a connection of our own."""
    return int(service.rows("SELECT count(*) FROM audit_event WHERE kind = :kind", kind=kind)[0][0])


def writes(service: Service) -> None:
    """What a view of the team's does: a row of its own, sent to the database, not committed yet."""
    session = service.module("database").db.session
    session.add(model(service)(user_id=service.module().current_user.id, title="a report"))
    session.flush()


@protects(
    "refusal-writes-survive",
    audit=edit("audit.py", "return connection if dialect.has_written(connection) else None", "return connection"),
)
def test_what_is_recorded_before_the_first_write_outlives_the_roll_back(service: Service) -> None:
    def view() -> Any:
        from sqlalchemy import func, select

        service.module("database").db.session.scalar(select(func.count()).select_from(model(service)))
        service.module("audit").record("report.refused")
        if broken:
            raise RuntimeError("after the event")
        return "fine"

    broken: list[bool] = []
    service.adds_route("/report", view=view)
    client = service.client(service.user()).login()
    works(client.get("/report").status == 200, "a view that has read can record")
    kept = recorded(service, "report.refused")
    broken.append(True)
    answer = client.get("/report")
    harm(recorded(service, "report.refused") != kept + 1, "the exception took back what was recorded")
    assert (answer.status, kept) == (500, 1)


def test_a_view_that_has_written_records_with_its_work_and_waits_for_nobody(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    if DATABASE == "sqlite":  # whoever waits for a lock waits less long than in earnest
        monkeypatch.setattr(service.module("database.sqlite"), "BUSY_SECONDS", 0.1)

    def view(outcome: str) -> Any:
        writes(service)
        service.module("audit").record(f"report.{outcome}")
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
    assert [recorded(service, kind) for kind in kinds] == [1, 1, 0]
    logged = [event["event"] for event in service.log if event["event"] in kinds]
    assert logged == ["report.exported", "report.sent", "report.broken"]  # the log has them all


def test_a_write_that_the_database_refused_keeps_nobody_from_recording(service: Service) -> None:
    def view(after: str) -> Any:
        from sqlalchemy import text
        from sqlalchemy.exc import IntegrityError

        session = service.module("database").db.session
        writes(service)
        with pytest.raises(IntegrityError):
            session.execute(text("INSERT INTO proof_probe_item (id) VALUES (NULL)"))
        if after == "rolled back":
            session.rollback()
        service.module("audit").record("report.failed")
        return after

    service.adds_route("/report/<after>", view=view)
    client = service.client(service.user()).login()
    assert client.get("/report/rolled%20back").text == "rolled back"
    assert recorded(service, "report.failed") == 1
    assert client.get("/report/left").text == "left"


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
    service.travel(hours=47)
    for _ in range(most):
        attempt(service.client(), user.email, WRONG)
    assert counters() == 2
    assert purge() == "Deleted: 0 sessions, 0 devices, 0 counters, 0 links, 0 audit events."
    service.travel(hours=2)
    # Of the address without an account: what failed, and how often it was tried.
    assert purge() == "Deleted: 0 sessions, 0 devices, 2 counters, 0 links, 0 audit events."
    service.rows("UPDATE throttle_counter SET blocked_until = :until", until=later(service))
    service.travel(hours=48)
    # Of the network, and how often the account was tried; what failed there waits, or did until yesterday.
    assert purge() == "Deleted: 0 sessions, 0 devices, 2 counters, 0 links, 0 audit events."
    service.travel(hours=48)
    assert purge() == "Deleted: 0 sessions, 0 devices, 1 counters, 0 links, 0 audit events."
    events = recorded(service, "login.failure")
    assert events == most + 1
    service.travel(days=365 - 6)
    with service.app.app_context():
        service.module("audit").record("login.failure")
    service.travel(days=3)
    assert purge() == f"Deleted: 1 sessions, 0 devices, 0 counters, 0 links, {events + 1} audit events."
    assert recorded(service, "login.failure") == 1


def later(service: Service) -> str:
    """In a day, as the column holds it: UTC without its zone."""
    from datetime import timedelta

    return (service.now() + timedelta(hours=24)).strftime("%Y-%m-%d %H:%M:%S.%f")
