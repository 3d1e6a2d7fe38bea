"""Edges of the proofs in test_audit.py: further attacks on the same protections."""

from __future__ import annotations

import json
import shlex
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ..accounts import ADMINISTRATOR, CHOSEN, OTHER, administrator, with_app, with_codes
from ..authenticator import App, Authenticator
from ..harness import edit, harm, protects, refused, works
from ..logins import PATH, SIGNED_IN, UNKNOWN, WRONG, attempt, cheap_user
from ..mails import token_for
from ..probe_model import model
from ..service import AUTH
from ..test_audit import (
    DECISIONS,
    FILE,
    NOT_COMPARED,
    ROW,
    Attacker,
    events,
    left_by,
    prepared,
    record,
    seal,
    verdict,
    verify,
)
from ..test_settings import command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..running import Service, User
    from ..wire import Response


@pytest.fixture(autouse=True)
def pages_of_two(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify and sign rows two at a time, so that the tests cover the gap between two pages."""
    monkeypatch.setattr(service.module("audit.chain"), "PAGE", 2)


FOREIGN = {"Origin": "https://evil.example", "Referer": "https://evil.example/", "Sec-Fetch-Site": "cross-site"}


def recorded(service: Service, kind: str) -> int:
    """Return how many events of this kind are stored, read through a separate connection."""
    return int(service.rows("SELECT count(*) FROM audit_event WHERE kind = :kind", kind=kind)[0][0])


class Scenarios:
    """Actions on accounts, each with the audit event that it must write."""

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
        """Yield the kind of event, the action, its actor and the account that it concerns."""
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
        """Return path and fields of a request with a link that was never mailed."""
        if AUTH == "session":
            return "/reset", {"password": CHOSEN, "again": CHOSEN}
        return "/auth/reset/complete", {"token": "x" * 43, "password": CHOSEN}

    def asks_too_often(self, client: Any) -> Response:
        """Ask for resets until the network is throttled, and return the last answer."""
        table = self.service.module("audit.tables").AuditEvent.__table__
        for number in range(30):
            answer: Response = client.forgot(f"unknown-{number}@example.com")
            if answer.status == 429:
                break
        with self.service.engine.begin() as connection:  # a counted attempt leaves its own event
            connection.execute(table.delete().where(table.c.kind == "password.reset_asked"))
        return answer

    def ends_others(self) -> Response:
        """End all logins of the user but one, of which there are at least two."""
        self.service.client(self.user, "192.0.2.23").login()
        answer: Response = self.client.end_others()
        return answer

    def a_session(self, user: User) -> Any:
        """Start another login of this user and return its public handle."""
        self.service.client(user, "192.0.2.22").login()
        [row] = self.service.rows("SELECT id FROM auth_session WHERE address = '192.0.2.22'")
        return uuid.UUID(str(row.id))


COMPLETE: Any = {
    "login": edit("identity/login.py", 'audit.record("login.failure", user_id=row.id', "dict(user_id=row.id"),
    "role": edit(
        "identity/users.py",
        "        audit.record(kind, user_id=user_id, connection=connection, role",
        "        dict(role",
    ),
    "refused": edit("audit/refusal.py", "    refused(status, reason, about)\n", ""),
    "actor": edit("audit/__init__.py", "        actor = who.id\n", "        actor = user_id\n"),
    "outcome": edit("audit/__init__.py", "FAILURE if kind in FAILURES else SUCCESS", "SUCCESS"),
}
REFUSED = {
    *("login.failure", "password.wrong", "access.denied", "access.not_owned", "cross_site.refused", "link.refused"),
    *("input.refused", "throttle.hit", {"session": "csrf.refused", "jwt": "token.refused"}[AUTH]),
}
KINDS = "audit/kinds.csv"


def writes(service: Service) -> None:
    """Insert a row as a view of the team does: sent to the database, not committed yet."""
    session = service.module("database").db.session
    session.add(model(service)(user_id=service.module().current_user.id, title="a report"))
    session.flush()


@protects(
    "refusal-writes-survive",
    audit=edit(
        "audit/__init__.py",
        "return connection if state().dialect.has_written(connection) else None",
        "return connection",
    ),
)
def test_event_recorded_before_a_write_survives_the_rollback(service: Service) -> None:
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
    works(client.get("/report").status == 200, "a view that has read the database records an event")
    kept = recorded(service, "report.refused")
    broken.append(True)
    answer = client.get("/report")
    harm(recorded(service, "report.refused") != kept + 1, "the exception rolled back the recorded event")
    assert (answer.status, kept) == (500, 1)


# --- audit-events-complete -----------------------------------------------------------------------------------------


@protects(
    "audit-events-complete",
    clear=edit(
        "identity/login.py",
        'audit.record("login.failure", user_id=row.id',
        'audit.record("login.failure", identifier=identifier, user_id=row.id',
    ),
)
def test_a_password_that_was_typed_as_the_address_is_nowhere(service: Service) -> None:
    canary = "canary of nine quiet owls"
    user = cheap_user(service)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "a correct login succeeds")
    attempt(service.client(), canary, WRONG)
    harm([row for row in events(service) if canary in str(row)], "the audit stores a password typed as the address")
    [row] = [row for row in events(service) if row["kind"] == "login.failure"]
    assert (row["user_id"], row["details"]) == (None, {"reason": "unknown"})
    assert canary not in service.output


@protects(
    "audit-events-complete",
    details=edit("audit/__init__.py", '"details": log.redact(details)', '"details": dict(details)'),
)
@protects("audit-access-decisions", address=edit("audit/__init__.py", "isinstance(value, (UUID, int))}", "value}"))
def test_no_row_keeps_a_secret_detail_or_a_text_of_the_address(service: Service) -> None:
    token = "cut-0f-token"  # no pattern finds it

    def report() -> str:
        service.module("audit").record("report.sent", token=token, report="weekly")
        return "sent"

    service.adds_route("/report", view=report)
    service.adds_route("/shared/<part>/<int:number>", mark=("proof.granted-to-no-role",))
    client = service.client(service.user()).login()
    works(client.get("/report").text == "sent", "a view records an event")
    refused(client.get(f"/shared/{token}/7"), 403, "role-required")
    kept = {row["kind"]: row["details"] for row in events(service)}
    harm(token in str(kept), "the audit stores a token")
    assert kept["report.sent"] == {"token": "[redacted]", "report": "weekly"}
    assert kept["access.denied"]["number"] == "7"


@protects("audit-events-complete", factors=edit("identity/login.py", "        factors=sorted(methods),\n", ""))
def test_a_login_says_by_what_it_was_proved(service: Service) -> None:
    user = cheap_user(service)
    service.client(user).login(through_form=True)
    [row] = [row for row in events(service) if row["kind"] == "login.success"]
    works(row["user_id"] == user.id, "a login writes its audit row")
    harm("factors" not in row["details"], "the audit does not say which factors a login used")
    assert row["details"]["factors"] == ["password"]


@protects(
    "audit-events-complete",
    factors=edit("identity/login.py", "        factors=sorted(methods),\n", ""),
    second_factor=edit("identity/attempts.py", '    audit.record("mfa.failure", ', "    dict("),
)
def test_second_factors_are_audited_and_named_by_the_login(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, user = administrator(service, monkeypatch), cheap_user(service)
    app, codes = with_app(service, user), with_codes(service, user)
    client = service.client(user)

    def kinds(does: Callable[[], object]) -> list[tuple[str, str]]:
        rows = left_by(service, does)
        assert {row["user_id"] for row in rows} == {user.id}
        return [(row["kind"], row["outcome"]) for row in rows]

    found = kinds(lambda: attempt(client, user.email, user.password))
    works(found == [("login.pending", "success")], "the right password starts a pending login")
    harm(not left_by(service, lambda: client.send_code(app.wrong_code())), "a wrong second factor was not audited")
    rows = left_by(service, lambda: client.send_code(app.code()))
    harm("factors" not in rows[0]["details"], "the audit does not say which factors a login used")
    assert [(row["kind"], row["details"]) for row in rows] == [("login.success", {"factors": ["password", "totp"]})]
    other = service.client(user, "192.0.2.11")
    attempt(other, user.email, user.password)
    rows = left_by(service, lambda: other.send_code(codes[0]))
    assert sorted(row["kind"] for row in rows) == ["login.success", "mfa.code_used"]
    assert [row["details"] for row in rows if row["kind"] == "login.success"] == [
        {"factors": ["password", "recovery-code"]}
    ]
    assert kinds(lambda: client.new_codes()) == [("mfa.codes_made", "success")]
    assert kinds(lambda: client.remove_totp()) == [("mfa.totp_removed", "success")]
    again = App(service, client.seed_of(client.begin_totp()))
    found = kinds(lambda: client.confirm_totp(again.code()))
    assert sorted(found) == [("mfa.codes_made", "success"), ("mfa.totp_added", "success")]
    another, device = App(service, client.seed_of(client.begin_totp())), Authenticator()
    found = kinds(lambda: client.confirm_totp(another.code()))
    assert sorted(found) == [("mfa.totp_added", "success"), ("mfa.totp_removed", "success")]
    options, state = client.passkey_options()
    assert kinds(lambda: client.add_passkey(state, device.create(options))) == [("passkey.added", "success")]
    [passkey] = client.passkeys()
    assert kinds(lambda: client.rename_passkey(passkey["id"], "Laptop")) == [("passkey.renamed", "success")]
    assert kinds(lambda: client.remove_passkey(passkey["id"])) == [("passkey.removed", "success")]
    [row] = left_by(service, lambda: manager.reset_factors(user.id))
    assert (row["kind"], row["user_id"]) == ("mfa.reset_by_administrator", user.id)
    assert row["actor_id"] == manager.user.id  # type: ignore[union-attr]


@protects(
    "audit-events-complete",
    kept=edit(
        "audit/__init__.py",
        '    g.setdefault("bastion_audit", []).append(row)\n',
        '    db.session.execute(insert(AuditEvent).values(**{**row, "bucket": None}))\n',
    ),
)
def test_refusal_is_audited_although_its_request_is_rolled_back(service: Service) -> None:
    def view(item_id: uuid.UUID) -> Any:
        writes(service)
        found = service.module().owned_or_404(model(service), item_id)
        service.module("database").db.session.commit()
        return str(found.id)

    service.adds_route("/report/<uuid:item_id>", view=view)
    probe = service.adds_probe()
    user, other = service.user(), service.user()
    own, foreign = probe.add(user, "a title"), probe.add(other, "a title")
    client = service.client(user).login()
    works(client.get(f"/report/{own}").status == 200, "a view that has written finds the user's own object")
    answer = client.get(f"/report/{foreign}")
    rows = [row for row in events(service) if row["kind"] == "access.not_owned"]
    harm(not rows, "the rollback of the request removed its audit row")
    assert (answer.status, len(rows), probe.count()) == (404, 1, 3)


@protects(
    "audit-events-complete",
    quoted=edit("audit/__init__.py", """ and not {*' "='} & {*word} else text""", " else text"),
    names=edit("audit/__init__.py", 'f"details.{name}" if name in who else name', "name"),
)
def test_no_text_of_an_event_passes_for_another_field(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user, other = service.user(), service.user()

    def shown(**details: Any) -> list[str]:
        with service.app.app_context():
            service.module("audit").record("report.sent", user_id=user.id, **details)
        service.travel(seconds=1)
        code, text = command(service, monkeypatch, "audit", "show", "--last", "1")
        assert code == 0
        return shlex.split(text)[4:]

    works(shown(by="ada", count=2) == [f"user={user.id}", "by=ada", "count=2"], "each field is shown on its own")
    for text in ("x by=command", "x\tby=command", 'x" by=command', "x' by=command", "by=command", "\\"):
        parts = shown(report=text, by="ada")
        harm([part for part in parts if part.startswith("by=")] != ["by=ada"], "a text forged the actor of an event")
        assert [part.partition("=")[0] for part in parts] == ["user", "report", "by"]
    parts = shown(user=str(other.id), actor="ada")
    harm(f"user={other.id}" in parts, "a detail forged the user of an event")
    assert parts == [f"user={user.id}", f"details.user={other.id}", "details.actor=ada"]
    assert shown(names=["x by=command"], empty="") == [f"user={user.id}", "names=[x by=command]"]


@protects("audit-events-complete", role_name=edit("identity/users.py", "elif not _ROLE.match(role):", "elif False:"))
def test_what_is_no_name_of_a_role_is_in_no_event(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, user = administrator(service, monkeypatch), service.user()
    answer = manager.take(user.id, "former_role")
    works(answer.status == {"session": 303, "jwt": 204}[AUTH], "a role that settings.py does not name can be removed")
    for typed in ("x%20by=command", "a" * 51, "Admin", "admin%20"):
        answer = manager.take(user.id, typed)
        harm(recorded(service, "user.role_removed") != 1, "the audit stores an invalid role name that was typed")
        assert answer.status == 422


@protects(
    "audit-events-complete",
    session=edit("audit/__init__.py", "        session_id = session_id or who.session_id\n", ""),
)
def test_an_event_names_the_login_in_which_it_happened(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, user = administrator(service, monkeypatch), service.user()
    [listed] = left_by(service, lambda: manager.users())
    works(listed["session_id"] is not None, "an event names its login")
    [row] = left_by(service, lambda: manager.disable(user.id))
    harm(row["session_id"] is None, "the audit does not name the login that disabled an account")
    assert row["session_id"] == listed["session_id"]


@protects(
    "audit-events-complete",
    masses=edit(KINDS, "passkey.refused,both,failure,counted", "passkey.refused,both,failure,"),
    pending=edit(KINDS, "login.pending,both,success,counted", "login.pending,both,success,"),
    asked=edit(KINDS, "user.register_asked,both,success,counted", "user.register_asked,both,success,"),
    again=edit("audit/__init__.py", "or nobodys or own):", "or nobodys):"),
    nothing_ended=edit(
        {"session": "session/account.py", "jwt": "jwt/endpoints.py"}[AUTH],
        "    if ended:  # otherwise",
        "    if True:  # otherwise",
    ),
)
def test_repeated_actions_do_not_fill_the_audit_table(service: Service) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    user, careful = cheap_user(service), cheap_user(service)
    with_app(service, careful)
    client = service.client(user).login()
    service.client(user, "192.0.2.22").login()
    [row] = left_by(service, lambda: client.end_others())
    works((row["kind"], row["details"]) == ("session.ended_others", {"count": 1}), "ended sessions are audited")
    rows = left_by(service, lambda: [client.end_others() for _ in range(10)])
    harm(rows, "ending no session wrote an audit row")
    service.travel(seconds=60 - service.now().second)
    options, state = client.passkey_options()
    device = Authenticator()
    answer = device.create(options)
    assert client.add_passkey(state, answer).status == 200
    rows = left_by(service, lambda: [client.add_passkey("x" + state, answer) for _ in range(10)])
    found = {row["kind"]: row["times"] for row in rows}
    harm(len(rows) != len(found), "each refused passkey wrote an audit row")
    assert found == {"passkey.refused": 10, **{"session": {}, "jwt": {"input.refused": 10}}[AUTH]}
    options, state = client.step_up_options()
    proof = device.get(options)
    rows = left_by(service, lambda: [client.step_up_with_passkey("x" + state, proof) for _ in range(4)])
    found = {row["kind"]: row["times"] for row in rows}
    harm(len(rows) != len(found), "each failed step-up wrote an audit row")
    assert found["login.failure"] == 4
    tries = [("203.0.113.7", 3), ("203.0.113.8", 2)]
    rows = left_by(
        service,
        lambda: [attempt(service.client(None, a), careful.email, careful.password) for a, n in tries for _ in range(n)],
    )
    harm(len(rows) > len(tries), "each right password without the second factor wrote an audit row")
    assert [(row["kind"], row["address"], row["times"]) for row in rows] == [("login.pending", *one) for one in tries]
    stranger, emails = service.client(None, "203.0.113.9"), [f"{number}@example.com" for number in range(3)]
    rows = left_by(service, lambda: [asks(one) for asks in (stranger.register, stranger.forgot) for one in emails])
    harm(len(rows) > 2, "each link that a stranger asked for wrote an audit row")
    assert {row["kind"]: row["times"] for row in rows} == {"user.register_asked": 3, "password.reset_asked": 3}


# --- audit-access-decisions ------------------------------------------------------------------------------------------

REPEATS = 60


@protects(
    DECISIONS,
    flood=edit("audit/__init__.py", "    if not has_request_context() or not (row", "    if True or not (row"),
    count=edit("audit/__init__.py", "values(times=EVENTS.times + 1,", "values(times=1,"),
)
def test_repeats_are_one_row_a_minute_with_their_number(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, user = administrator(service, monkeypatch), service.user()
    works(manager.users().status == 200, "a user with the permission opens the route")
    client, stranger = service.client(user).login(), service.client(address="198.51.100.7")
    for _ in range(REPEATS):
        assert client.users().status == 403
        assert stranger.post(PATH, {"csrf_token": "x"}, headers=FOREIGN).status == 403
    for kind in ("access.denied", "cross_site.refused"):
        found = [row["times"] for row in events(service) if row["kind"] == kind]
        harm(len(found) > 2, f"{REPEATS} requests wrote {len(found)} rows: a client can fill the table")
        harm(sum(found) != REPEATS, "some refused requests are counted in no row")
    assert [row["address"] for row in events(service) if row["kind"] == "cross_site.refused"][:1] == ["198.51.100.7"]
    other = service.client(address="203.0.113.7")
    rows = left_by(service, lambda: other.post(PATH, {"csrf_token": "x"}, headers=FOREIGN))
    assert [(row["address"], row["times"]) for row in rows] == [("203.0.113.7", 1)]
    service.travel(seconds=60 - service.now().second)

    def customer() -> None:
        for number in range(5):
            service.client(address=f"2001:db8:7:{number:x}::1").post(PATH, {"csrf_token": "x"}, headers=FOREIGN)
            service.travel(seconds=10)

    rows = left_by(service, customer)
    harm(len(rows) > 1, "a hoster's customer with 65,536 networks wrote a row from each")
    assert [row["times"] for row in rows] == [5]
    assert [row["times"] for row in left_by(service, lambda: client.users())] == [1]


READS = {"session": "session/administration.py", "jwt": "jwt/administration.py"}[AUTH]


@protects(
    DECISIONS,
    read=edit(READS, '    audit.record("user.read", user_id=user_id, session_id=current_user.session_id)\n', ""),
    listed=edit(READS, '    audit.record("user.listed", session_id=current_user.session_id)\n', ""),
)
def test_whoever_looks_at_accounts_of_others_is_on_record(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, user = administrator(service, monkeypatch), service.user()
    service.travel(seconds=60 - service.now().second)  # the beginning of a minute
    client = service.client(user).login()
    rows = left_by(service, lambda: [client.account(), client.account(), client.rename("Ada")])
    works(rows == [], "a user who reads their own account writes no row")
    answers = manager.show_user(user.id).status, manager.show_user(user.id).status, manager.users().status
    found = {row["kind"]: row for row in events(service) if row["actor_id"] == manager.user.id}  # type: ignore[union-attr]
    harm("user.read" not in found, "reading another user's account was not audited")
    harm("user.listed" not in found, "listing the accounts was not audited")
    assert answers == (200, 200, 200)
    assert (found["user.read"]["user_id"], found["user.read"]["times"]) == (user.id, 2)


@protects("audit-events-complete", **COMPLETE)
def test_each_event_writes_one_row_with_outcome_and_actor(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    scenarios, missing, walked = Scenarios(service, monkeypatch), list[str](), set[str]()
    works(recorded(service, "login.success") == 1, "a login writes its audit row")
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
    harm(missing, "an event wrote no audit row, or a wrong one")
    assert walked >= REFUSED
    assert failures >= REFUSED
    assert len(walked) >= 32
    stranger = service.client(address="198.51.100.9")
    token = token_for(service, "new@example.com", "activate")
    rows = left_by(service, lambda: stranger.activate(token, OTHER))
    assert sorted(row["kind"] for row in rows) == ["user.activated", "user.created"]


@protects(
    DECISIONS,
    permission=edit("audit/__init__.py", '    (403, "role-required"): "access.denied",\n', ""),
    ownership=edit("audit/__init__.py", '    (404, "ownership-404"): "access.not_owned",\n', ""),
    object=edit("request/queries.py", 'about={"object": model.__name__, "id": str(ident)}', "about={}"),
)
def test_whoever_asks_for_what_is_not_his_is_on_record(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = service.adds_probe()
    manager, user, other = administrator(service, monkeypatch), service.user(), service.user()
    item, client = probe.add(other, "a title"), service.client(user).login()
    works(manager.users().status == 200, "a user with the permission opens the route")
    works(probe.read(service.client(other).login(), item).ok, "the owner reads the object")
    works([row for row in events(service) if row["outcome"] == "failure"] == [], "success writes no failure row")
    answers = client.users(), probe.read(client, item)
    rows = {row["kind"]: row for row in events(service) if row["actor_id"] == user.id}
    harm("access.denied" not in rows, "denied access without the permission was not audited")
    harm("access.not_owned" not in rows, "denied access to another user's object was not audited")
    about = rows["access.not_owned"]["details"]
    harm((about.get("object"), about.get("id")) != ("ProbeItem", str(item)), "the audit omits the denied object")
    assert [*about.values()].count(str(item)) == 2  # as what of the address, too
    assert [answer.status for answer in answers] == [403, 404]
    ids = [rows[kind]["request_id"] for kind in ("access.denied", "access.not_owned")]
    assert ids == [answer.request_id for answer in answers]
    denied = rows["access.denied"]["details"]
    assert (denied["permission"], denied["method"]) == (service.module("identity.users").READ, "GET")
    assert denied["route"] == {"session": "/users", "jwt": "/auth/users"}[AUTH]
    assert {row["session_id"] for row in rows.values()} == {rows["access.denied"]["session_id"]}


# --- audit-tamper-evident ---------------------------------------------------------------------------------------------


def heads(service: Service) -> list[str]:
    """Return the chain heads that the service logged."""
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
    works(verify(service, monkeypatch) == (0, f"OK: 6 events, 0 more not sealed yet. Head: {head}"), "it verifies")
    kept = attacker.read(3)
    changes: dict[str, Any] = {
        **{name: uuid.uuid4() for name in ("id", "user_id", "actor_id", "session_id")},
        **{"kind": "three.kept", "outcome": "failure", "address": "203.0.113.1", "request_id": "x", "times": 2},
        **{"at": kept["at"] + timedelta(microseconds=1), "details": {"report": "another"}},
    }
    for name, value in changes.items():
        attacker.runs(attacker.at(3).values({name: value}))
        fault = verdict(service)
        harm(fault is None, f"an attacker changed {name} unnoticed")
        assert str(fault).partition(" (")[0] == "row 3"
        attacker.runs(attacker.at(3).values({name: kept[name]}))
        assert verdict(service) is None
    assert {*changes} == {*service.module("audit.chain").SIGNED, "times"}
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
    """A backup is restored and new rows follow; the former rows were sealed with the same key."""
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
    works(seal(service) == 3, "rows after a restored backup are sealed")
    works(verdict(service) is None, "the intact chain verifies")
    attacker.runs(attacker.takes(4), attacker.rows.insert().values(fourth))
    harm(verdict(service) is None, "a row of another history was accepted")
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
    harm(sealed > 1, "a forged event was sealed")
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
    harm(verdict(service) is None, "an attacker removed the first events, as if past their retention, unnoticed")
    assert verdict(service) == "the head of the chain was changed, or is not in its place"
    attacker.runs(attacker.head.update().values(head), *(attacker.rows.insert().values(row) for row in first))
    assert verdict(service) is None
    attacker.runs(attacker.takes(6))
    assert verdict(service) == "row 6 was removed"
    attacker.runs(attacker.head.update().values(number=5, mac=attacker.read(5)["mac"]))
    harm(verdict(service) is None, "an attacker removed the last event unnoticed")
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
    works(verdict(service) is None, "the unsigned head of an empty chain is valid")
    attacker = prepared(service)
    shorter = {"number": 5, "mac": attacker.read(5)["mac"], "version": 0}
    attacker.runs(attacker.takes(6), attacker.head.update().values(shorter))
    harm(verdict(service) is None, "an attacker removed the last event unnoticed by marking the head as unsigned")
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
        works(verify(service, monkeypatch, "--head", known)[0] == 0, "the chain contains each logged head")
    attacker.runs(attacker.takes(3), attacker.head.update().values(head))
    assert verdict(service) is None  # as it was
    code, text = verify(service, monkeypatch, "--head", newest)
    harm(code == 0, "an attacker cut off the end of the chain although its head was logged")
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
    """Run `sessions purge` and return its exit status and its last line."""
    code, text = command(service, monkeypatch, "sessions", "purge")
    return code, text.splitlines()[-1]


def kept(attacker: Attacker) -> list[int]:
    """Return the numbers of the stored events."""
    rows = attacker.service.rows("SELECT number FROM audit_event WHERE number IS NOT NULL ORDER BY number")
    return [row.number for row in rows]


def aged(service: Service, monkeypatch: pytest.MonkeyPatch) -> Attacker:
    """Prepare events 3 and 4 (which counts two) past the retention of a year, 5 to 7 within it; 1 and 2 are purged."""
    from ..logins import PATH

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
    works(purge(service, monkeypatch)[1].endswith(" 2 audit events."), "the purge deletes events older than a year")
    attacker = Attacker(service)
    works((kept(attacker), attacker.read(4)["times"]) == ([3, 4, 5, 6, 7], 2), "the purge keeps all other events")
    works(verdict(service) is None, "the intact chain verifies")
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
        harm(kept(attacker) != before, "the purge deleted events although the chain was tampered with")
        assert (code, f"{fault}.") == (1, text.splitlines()[-1].partition("Error: No audit event was deleted: ")[2])
        [entry] = [json.loads(line) for line in text.splitlines() if '"audit_not_purged"' in line]
        assert (entry["level"], entry["fault"]) == ("error", fault)
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
    """A backup is restored; then a row of the former history replaces an old row."""
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
    works(purge(service, monkeypatch)[1].endswith(" 0 audit events."), "the purge deletes no recent event")
    service.travel(days=400)
    attacker.runs(attacker.takes(2), attacker.rows.insert().values(other))
    code, text = purge(service, monkeypatch)
    harm(kept(attacker) != [1, 2], "the purge deleted events although the last row was exchanged")
    fault = "row 2 is not the one that the head names"
    assert (code, text) == (1, f"Error: No audit event was deleted: {fault}.")
    record(service, "three.sent")
    code, text = purge(service, monkeypatch)
    harm(kept(attacker) != [1, 2, 3], "the purge deleted an exchanged row, so the row behind it looks forged")
    fault = f"row 3 ({attacker.read(3)['id']}) was changed, or is not in its place"
    assert (code, text) == (1, f"Error: No audit event was deleted: {fault}.")
    attacker.runs(attacker.takes(2), attacker.rows.insert().values(own))
    attacker.runs(attacker.at(1).values(at=service.now()))
    assert purge(service, monkeypatch)[0] == 1  # a younger copy would keep all events
    attacker.runs(attacker.at(1).values(at=first["at"]))
    assert purge(service, monkeypatch)[1].endswith(" 2 audit events.")


@protects(
    ROW,
    age=edit(FILE, "delete(AuditEvent).where(EVENTS.number <= last)", "delete(AuditEvent).where(EVENTS.at < moment)"),
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
    harm(not rows, "the purge deleted an event before it was sealed")
    assert (code, text.endswith(" 2 audit events."), [row.kind for row in rows]) == (0, True, ["eight.sent"])
    assert kept(attacker) == [5, 6, 7]
    code, text = verify(service, monkeypatch)
    assert (code, text.endswith("which has no number yet, was inserted or changed.")) == (1, True)


@protects(
    ROW,
    worker=edit("delivery/outbox.py", "                    chain.seal()\n", "                    pass\n"),
)
def test_a_worker_seals_by_itself(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice:
        """A pause whose second end comes 11 s later, with one more event; the third stops the worker."""

        def __init__(self) -> None:
            self.waited = 0

        def wait(self, _seconds: float) -> bool:
            self.waited += 1
            if self.waited == 2:
                record(service, "two.sent")
                service.travel(seconds=11)
            return self.waited > 2

    outbox = service.module("delivery.outbox")
    monkeypatch.setattr(outbox.threading, "Event", Twice)
    record(service, "one.sent")
    works(len(service.rows("SELECT id FROM audit_event")) == 1, "the service writes an event")
    outbox._keep_draining(service.app)
    harm(service.rows("SELECT id FROM audit_event WHERE number IS NULL"), "the worker left a row unsealed")
    assert [head.partition(":")[0] for head in heads(service)] == ["1", "2"]


# --- what goes on beside it: tests, no proofs of a row ----------------------------------------------------------


@protects(ROW, held=edit(FILE, "if sealed + refused < BATCH:", "if sealed < BATCH:"))
def test_unsigned_rows_do_not_block_the_sealing_of_others(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unsealed row can be removed unnoticed, so an attacker would want to block sealing."""
    monkeypatch.setattr(service.module("audit.chain"), "BATCH", 2)
    attacker = prepared(service)
    real, early = attacker.read(1), service.now() - timedelta(days=1)
    for _ in range(5):
        attacker.runs(attacker.rows.insert().values({**real, "id": uuid.uuid4(), "at": early, "number": None}))
    record(service, "account.plundered", "account.left")
    numbers = "SELECT number FROM audit_event WHERE kind = 'account.plundered'"
    for _ in range(3):
        seal(service)
    harm([row for row in service.rows(numbers) if row.number is None], "inserted rows kept an event from being sealed")
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
    harm(verdict(service) is None, "an attacker removed an event unnoticed")
    assert verify(service, monkeypatch) == (1, "Error: row 3 was removed.")
    attacker.runs(attacker.rows.insert().values(third))
    assert verdict(service) is None
    moves = [attacker.at(3).values(number=99), attacker.at(4).values(number=3), attacker.at(99).values(number=4)]
    attacker.runs(*moves)
    harm(verdict(service) is None, "an attacker swapped two events unnoticed")
    assert str(verdict(service)).startswith(f"row 3 ({fourth['id']}) was changed, or is not in its place")
