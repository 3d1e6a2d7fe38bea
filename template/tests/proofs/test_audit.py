"""Proofs of audit.py: each event leaves its row, which stays as long as it should, stops no request, fills no disk.

They stop an attack from leaving no trace, or so many that the one that counts is not seen.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from .accounts import ADMINISTRATOR, CHOSEN, OTHER, administrator
from .harness import edit, harm, protects, works
from .logins import PATH, UNKNOWN, WRONG, attempt, cheap_user
from .mails import token_for
from .service import AUTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .running import Service, User
    from .wire import Response


FOREIGN = {"Origin": "https://evil.example", "Referer": "https://evil.example/", "Sec-Fetch-Site": "cross-site"}


def recorded(service: Service, kind: str) -> int:
    """How many events of this kind are kept, through a connection of our own."""
    return int(service.rows("SELECT count(*) FROM audit_event WHERE kind = :kind", kind=kind)[0][0])


# --- audit-events-complete -----------------------------------------------------------------------------------------


def events(service: Service) -> list[dict[str, Any]]:
    """Every row of the audit, in the order in which they were written, through a connection of our own."""
    table = service.module("identity.models").AuditEvent.__table__
    with service.engine.connect() as connection:
        return [dict(row) for row in connection.execute(table.select().order_by(table.c.at)).mappings()]


class Scenarios:
    """What people do with accounts, each with the event that it leaves."""

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        self.service = service
        self.probe = service.adds_probe()
        service.setting("BASTION_REGISTRATION", "open")
        self.manager = administrator(service, monkeypatch)
        self.chief = self.manager.user
        self.user, self.other = cheap_user(service), cheap_user(service)
        self.client = service.client(self.user, "192.0.2.20").login(through_form=True)
        self.stranger = service.client(address="198.51.100.7")

    def of_accounts(self) -> Iterator[tuple[str, Callable[[], object], User | None, User | None]]:
        """The kind of the event, what is done, who did it, and the account that it concerns."""
        service, client, user = self.service, self.client, self.user
        yield "login.success", lambda: client.login(through_form=True), user, user
        yield "login.failure", lambda: attempt(self.stranger, user.email, WRONG), None, user
        yield "login.failure", lambda: attempt(self.stranger, UNKNOWN, WRONG), None, None
        yield "password.wrong", lambda: client.step_up(WRONG), user, user
        yield "login.step_up", lambda: client.step_up(user.password), user, user
        yield "password.changed", lambda: client.change_password(user.password, CHOSEN), user, user
        yield "password.reset_asked", lambda: self.stranger.forgot(user.email), None, None
        yield (
            "password.reset",
            lambda: self.stranger.reset(token_for(service, user.email, "reset"), user.password),
            user,
            user,
        )
        yield "login.success", lambda: client.login(through_form=True), user, user
        yield "email.change_asked", lambda: client.ask_email("another@example.com"), user, user
        yield (
            "email.changed",
            lambda: client.confirm_email(token_for(service, "another@example.com", "email")),
            user,
            user,
        )
        yield "session.ended_others", lambda: self.ends_others(), user, user
        yield "session.ended", lambda: client.end_session(self.a_session(user)), user, user
        yield "account.exported", lambda: client.export(), user, user
        yield "user.register_asked", lambda: self.stranger.register("new@example.com"), None, None
        yield "logout", lambda: client.post({"session": "/logout", "jwt": "/auth/logout"}[AUTH]), user, user

    def of_administration(self) -> Iterator[tuple[str, Callable[[], object], User | None, User | None]]:
        manager, chief, other = self.manager, self.chief, self.other
        yield "user.listed", lambda: manager.users(), chief, None
        yield "user.read", lambda: manager.show_user(other.id), chief, other
        yield "user.role_given", lambda: manager.give(other.id, ADMINISTRATOR), chief, other
        yield "user.role_removed", lambda: manager.take(other.id, ADMINISTRATOR), chief, other
        yield "user.disabled", lambda: manager.disable(other.id), chief, other
        yield "user.enabled", lambda: manager.enable(other.id), chief, other
        yield "password.reset_started", lambda: manager.admin_reset(other.id), chief, other
        yield "session.ended_by_administrator", lambda: manager.end_sessions_of(other.id), chief, other
        yield "session.ended_of_everybody", lambda: manager.end_everybodys(), chief, chief
        yield "user.invited", lambda: manager.invite("guest@example.com"), chief, chief

    def of_refusals(self) -> Iterator[tuple[str, Callable[[], object], User | None, User | None]]:
        service, stranger, user = self.service, self.stranger, self.other
        client = service.client(user, "192.0.2.21").login()
        item = self.probe.add(self.user, "a title")
        yield "access.denied", lambda: client.users(), user, user
        yield "access.not_owned", lambda: client.get(self.probe.path(item)), user, user
        yield "cross_site.refused", lambda: client.post(PATH, {}, headers=FOREIGN), user, user
        if AUTH == "session":
            yield "csrf.refused", lambda: client.post(PATH, {"csrf_token": "made up"}), user, user
        else:
            forged = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30.x"}
            yield "token.refused", lambda: stranger.get("/auth/me", headers=forged), None, None
            refresh = {"refresh_token": "x" * 43}
            yield "token.refused", lambda: self.elsewhere().post("/auth/refresh", refresh), None, None
        yield "link.refused", lambda: stranger.post(*self.of_a_link()), None, None
        yield "input.refused", lambda: stranger.post(PATH, body=b"a=b", content_type="text/plain"), None, None
        yield "throttle.hit", lambda: self.asks_too_often(stranger), None, None
        yield "account.deleted", lambda: client.delete_account(), user, user

    def elsewhere(self) -> Any:
        return self.service.client(address="198.51.100.8")

    def of_a_link(self) -> tuple[str, dict[str, str]]:
        """What is posted with a mailed link that nobody mailed."""
        if AUTH == "session":
            return "/reset", {"password": CHOSEN, "again": CHOSEN}
        return "/auth/reset/complete", {"token": "x" * 43, "password": CHOSEN}

    def asks_too_often(self, client: Any) -> Response:
        """Until a network has to wait, which the last request is told."""
        table = self.service.module("identity.models").AuditEvent.__table__
        for number in range(30):
            answer: Response = client.forgot(f"somebody-{number}@example.com")
            if answer.status == 429:
                break
        with self.service.engine.begin() as connection:  # what was taken leaves its own event
            connection.execute(table.delete().where(table.c.kind == "password.reset_asked"))
        return answer

    def ends_others(self) -> Response:
        """All logins of the user but one, of which there are two at least."""
        self.service.client(self.user, "192.0.2.23").login()
        answer: Response = self.client.end_others()
        return answer

    def a_session(self, user: User) -> Any:
        """A further login of this user: its public handle."""
        self.service.client(user, "192.0.2.22").login()
        [row] = self.service.rows("SELECT id FROM auth_session WHERE address = '192.0.2.22'")
        return uuid.UUID(str(row.id))


def left_by(service: Service, does: Callable[[], object]) -> list[dict[str, Any]]:
    """The rows that something leaves; counted ones that were there before count by what they grew."""
    before = {row["id"]: row["times"] for row in events(service)}
    does()
    return [row for row in events(service) if row["times"] != before.get(row["id"])]


COMPLETE: Any = {
    "login": edit("identity/login.py", 'audit.record("login.failure", user_id=row.id', "dict(user_id=row.id"),
    "role": edit(
        "identity/users.py",
        "        audit.record(kind, user_id=user_id, connection=connection, role",
        "        dict(role",
    ),
    "refused": edit("errors.py", "    audit.refused(status, reason, about)\n", ""),
    "actor": edit("audit.py", "        actor = who.id\n", "        actor = user_id\n"),
    "outcome": edit("audit.py", "FAILURE if kind in FAILURES else SUCCESS", "SUCCESS"),
}


@protects("audit-events-complete", **COMPLETE)
def test_each_event_leaves_one_row_with_its_outcome_and_whoever_did_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenarios, missing, walked = Scenarios(service, monkeypatch), list[str](), set[str]()
    works(recorded(service, "login.success") == 1, "a login leaves its row")
    failures = service.module("audit").FAILURES
    for part in (scenarios.of_accounts, scenarios.of_administration, scenarios.of_refusals):
        for kind, does, actor, user in part():
            rows = left_by(service, does)
            found = [(row["kind"], row["outcome"], row["actor_id"], row["user_id"], row["times"]) for row in rows]
            outcome = "failure" if kind in REFUSED else "success"
            wanted = [(kind, outcome, actor and actor.id, user and user.id, 1)]
            missing += [] if found == wanted else [f"{kind}: {found} instead of {wanted}"]
            walked.add(kind)
            for row in rows:
                missing += [] if row["request_id"] and row["address"] and row["at"] else [f"{kind}: where and when"]
    harm(missing, "an event left no row, or one that says something else")
    assert walked >= REFUSED
    assert failures >= REFUSED
    assert len(walked) >= 32
    stranger = service.client(address="198.51.100.9")
    token = token_for(service, "new@example.com", "activate")
    rows = left_by(service, lambda: stranger.activate(token, OTHER))
    assert sorted(row["kind"] for row in rows) == ["user.activated", "user.created"]


REFUSED = {
    *("login.failure", "password.wrong", "access.denied", "access.not_owned", "cross_site.refused", "link.refused"),
    *("input.refused", "throttle.hit", {"session": "csrf.refused", "jwt": "token.refused"}[AUTH]),
}
# --- audit-access-decisions ------------------------------------------------------------------------------------------

DECISIONS = "audit-access-decisions"


@protects(
    DECISIONS,
    permission=edit("audit.py", '    (403, "role-required"): "access.denied",\n', ""),
    ownership=edit("audit.py", '    (404, "ownership-404"): "access.not_owned",\n', ""),
    object=edit("database/queries.py", 'about={"object": model.__name__, "id": str(ident)}', "about={}"),
)
def test_whoever_asks_for_what_is_not_his_is_on_record(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = service.adds_probe()
    manager, user, other = administrator(service, monkeypatch), service.user(), service.user()
    item, client = probe.add(other, "a title"), service.client(user).login()
    works(manager.users().status == 200, "whoever has the permission opens the route")
    works(probe.read(service.client(other).login(), item).ok, "and the owner his object")
    works([row for row in events(service) if row["outcome"] == "failure"] == [], "which is no refusal")
    answers = client.users(), probe.read(client, item)
    rows = {row["kind"]: row for row in events(service) if row["actor_id"] == user.id}
    harm("access.denied" not in rows, "a user without the permission left no trace")
    harm("access.not_owned" not in rows, "a user who asked for an object of somebody else left no trace")
    about = rows["access.not_owned"]["details"]
    harm((about.get("object"), about.get("id")) != ("ProbeItem", str(item)), "nobody knows which object it was")
    assert [*about.values()].count(str(item)) == 2  # as what of the address, too
    assert [answer.status for answer in answers] == [403, 404]
    ids = [rows[kind]["request_id"] for kind in ("access.denied", "access.not_owned")]
    assert ids == [answer.request_id for answer in answers]
    denied = rows["access.denied"]["details"]
    assert (denied["permission"], denied["method"]) == (service.module("identity.users").READ, "GET")
    assert denied["route"] == {"session": "/users", "jwt": "/auth/users"}[AUTH]
    assert {row["session_id"] for row in rows.values()} == {rows["access.denied"]["session_id"]}
