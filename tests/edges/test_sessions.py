"""Edges of the proofs in test_sessions.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import mails
from .. import test_sessions as core
from ..accounts import NO_LOCK_AT_FIRST, exchange
from ..harness import Meeting, at_once, edit, harm, insert, protects, refused, works
from ..logins import SIGNED_IN, Outage, attempt, cheap_user, sessions_of, step_up
from ..service import AUTH
from ..test_access import NOT_SIGNED_IN
from ..test_sessions import CLOSED, FRESH, LIMIT, SURPLUS, asks_to_prove_again, live
from .core import sabotages

if TYPE_CHECKING:
    import pytest

    from ..running import Service
    from ..service import Client
    from ..wire import Response


# --- session-limit-5 ------------------------------------------------------------------------------------------------


@protects(
    LIMIT,
    count=(
        edit("identity/sessions.py", SURPLUS, ""),
        insert(
            "identity/sessions.py",
            after="                connection=own,\n            )\n",
            new="    surplus = _surplus(connection, user_id, uuid4(), now())\n",
        ),
        *NO_LOCK_AT_FIRST,
    ),
)
def test_logins_at_the_same_moment_are_counted_together(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each round three logins count the sessions before one of them writes, which exposes a stale count."""
    most, user, app = service.limits.sessions_per_account, cheap_user(service), service.app
    sessions = service.module("identity.sessions")
    from datetime import timedelta

    def opens() -> None:
        with app.app_context():
            sessions.open_session(user.id, lifetime=timedelta(hours=1))

    for _ in range(most):
        opens()
    works(live(service, user) == most, "logins up to the limit are open")
    real, meetings = sessions._beginning, [Meeting(3)]

    def begin_together(*only_if: Any, **values: Any) -> Any:
        meetings[-1].wait()
        return real(*only_if, **values)

    monkeypatch.setattr(sessions, "_beginning", begin_together)
    left = []
    rounds = 4  # all meet in each; where one lock covers the file, they wait until the barrier times out
    for _ in range(rounds):
        at_once([opens] * 3)
        meetings.append(Meeting(3))
        left.append(live(service, user))
    harm([number for number in left if number > most], "parallel logins left more sessions open than allowed")
    assert left == [most] * rounds


# --- session-store-fails-closed -------------------------------------------------------------------------------------

ISSUE = edit(
    "identity/login.py",
    "        with transaction() as connection:\n            begun = _begin(",
    "        import contextlib\n\n        with contextlib.suppress(Exception), transaction() as connection:\n"
    "            begun = _begin(",
)


# In the token style the refresh token's row refers to the session's: without the session's row it can't exist.
@protects(CLOSED, **({"issue": ISSUE} if AUTH == "session" else {}))
def test_a_failed_commit_issues_no_cookie_or_token(service: Service) -> None:
    from sqlalchemy import event
    from sqlalchemy.exc import OperationalError

    failing: list[str] = []
    user = cheap_user(service)

    def fail(connection: Any) -> None:
        # The commit of the login is the one that has written a session.
        if connection.info.pop("wrote", None) and failing:
            failing.append("met")
            raise OperationalError("COMMIT", {}, Exception("the disk is full"))

    def note(connection: Any, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("INSERT INTO auth_session"):
            connection.info["wrote"] = True

    with service.app.app_context():
        engine = service.module("database").db.engine
    event.listen(engine, "commit", fail)
    event.listen(engine, "before_cursor_execute", note)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    before = sessions_of(service, user)
    client = service.client()
    client.honest("POST", {}, None, None, None)
    failing.append("now")
    answer = attempt(client, user.email, user.password)
    works(failing == ["now", "met"], "the login wrote a session, and its commit failed")
    works(sessions_of(service, user) == before, "the session does not exist")
    given = [cookie.name for cookie in answer.set_cookies] or [word for word in ("_token",) if word in answer.text]
    harm(given, "a cookie or token was issued for a session that does not exist")
    assert answer.status == 503
    failing.clear()
    assert attempt(service.client(), user.email, user.password).status == SIGNED_IN


# --- fresh-login-5-min ----------------------------------------------------------------------------------------------

MARK = {
    "session": ("session/account.py", '@blueprint.route("/account/email", methods=["GET", "POST"])\n@login_required'),
    "jwt": ("jwt/account.py", '@blueprint.post("/auth/email")\n@login_required'),
}[AUTH]
EMAIL_PATH = {"session": "/account/email", "jwt": "/auth/email"}[AUTH]
ENDED_FIRST = "row is None or connection.execute(_ending(now(), SESSIONS.id == old.session_id)).rowcount != 1"


def changes_address(client: Client) -> Response:
    """Ask to change the account's address, as a thief with a session would."""
    return client.post(EMAIL_PATH, {"email": "thief@example.org"})


@protects(
    FRESH, back=edit("request/access.py", "abs(now() - current_user.verified_at)", "now() - current_user.verified_at")
)
def test_a_clock_that_is_put_back_keeps_no_login_fresh(service: Service) -> None:
    user = cheap_user(service)
    thief = service.client(user).login()
    service.travel(hours=-1)  # a machine that was an hour ahead, and finds out
    changes_address(service.client(cheap_user(service)).login())
    works(len(mails.waiting(service)) == 2, "after a new login the user changes the address")
    service.rows("DELETE FROM mail_outbox")
    if AUTH == "jwt":  # an access token that lies ahead is refused, and exchanged for one of now
        thief.cookie = exchange(service, thief).json["access_token"]
    answer = changes_address(thief)
    harm(mails.waiting(service), "a session counted as fresh for an hour and five minutes")
    assert asks_to_prove_again(answer)
    step_up(thief, user.password)
    changes_address(thief)
    assert len(mails.waiting(service)) == 2


@protects(FRESH, mark=edit(MARK[0], f"{MARK[1]}(fresh=True)", MARK[1]))
def test_a_stale_session_changes_no_address_before_step_up(service: Service) -> None:
    user = cheap_user(service)
    changes_address(service.client(cheap_user(service)).login())
    works(len(mails.waiting(service)) == 2, "a fresh session mails a link to the new and a notice to the old address")
    service.rows("DELETE FROM mail_outbox")
    owner = service.client(user).login()
    service.travel(seconds=service.limits.fresh_login_seconds + 1)
    answer = changes_address(owner)
    harm(mails.waiting(service), "a stale session changed the account's address")
    assert asks_to_prove_again(answer)
    wrong = step_up(owner, "not the password of any user")
    refused(wrong, 403, "password-change-needs-current")
    assert asks_to_prove_again(changes_address(owner))
    assert step_up(owner, user.password).status == SIGNED_IN
    changes_address(owner)
    assert len(mails.waiting(service)) == 2


@protects(
    FRESH,
    other=(
        edit(
            "identity/sessions.py",
            "        verified_at=row.verified_at,\n",
            "        verified_at=_latest(row.user_id),\n",
        ),
        edit(
            "identity/sessions.py",
            "def _principal(row: Row[Any]) -> Principal:\n",
            "def _latest(user_id: UUID) -> Any:\n    from sqlalchemy import func\n\n    with connect() as connection:\n"
            "        latest = select(func.max(SESSIONS.verified_at)).where(SESSIONS.user_id == user_id)\n"
            "        return connection.execute(latest).scalar()\n"
            "\n\ndef _principal(row: Row[Any]) -> Principal:\n",
        ),
    ),
    token=(
        edit("identity/sessions.py", ENDED_FIRST, "row is None"),
        edit(
            "identity/sessions.py",
            "    return open_session(\n        old.id,\n",
            "    proven = update(AuthSession).where(SESSIONS.id == old.session_id).values(verified_at=now())\n"
            "    connection.execute(proven)\n"
            "    return open_session(\n        old.id,\n",
        ),
    ),
)
def test_a_step_up_refreshes_only_the_session_that_proved_it(service: Service) -> None:
    user = cheap_user(service)
    owner, elsewhere = service.client(user).login(), service.client(user, address="198.51.100.7").login()
    thief = owner.copy()
    service.travel(seconds=service.limits.fresh_login_seconds + 1)
    works(step_up(owner, user.password).status == SIGNED_IN, "the owner re-authenticates")
    changes_address(owner)
    works(len(mails.waiting(service)) == 2, "the owner then changes the address")
    service.rows("DELETE FROM mail_outbox")
    answers = [changes_address(elsewhere), changes_address(thief)]
    harm(mails.waiting(service), "a session counted as fresh without re-authentication")
    assert asks_to_prove_again(answers[0])
    assert answers[1].status == NOT_SIGNED_IN


@protects(LIMIT, limit=edit("identity/sessions.py", SURPLUS, "    surplus: Sequence[UUID] = ()\n"))
def test_a_login_above_the_limit_ends_the_least_used_session(service: Service) -> None:
    seen = service.adds_route("/probe")
    most, user, other = service.limits.sessions_per_account, cheap_user(service), cheap_user(service)
    bystander = service.client(other).login(through_form=True)
    clients = []
    for number in range(most):
        clients.append(service.client(user, address=f"198.51.100.{number}").login(through_form=True))
        service.travel(seconds=61)
    used = [client.get("/probe").status for client in clients[:1]]  # the first is in use again, the second is not
    works(used == [200], "the first session is open")
    clients.append(service.client(user).login(through_form=True))
    works([client.get("/probe").status for client in (clients[0], *clients[2:])] == [200] * most, "the limit is open")
    seen.clear()
    answer = clients[1].get("/probe")
    harm(seen, "one session more than the limit stayed open")
    assert answer.status == NOT_SIGNED_IN
    assert live(service, user) == most
    assert sessions_of(service, user) == most + 1
    assert bystander.get("/probe").status == 200
    kinds = [event["event"] for event in service.log if event["event"] == "session.surplus"]
    assert kinds == ["session.surplus"]


@protects(
    CLOSED,
    **sabotages(core.test_while_sessions_cannot_be_read_no_user_is_taken_for_a_visitor, CLOSED, "load"),
)
def test_an_outage_of_sessions_makes_no_user_anonymous(service: Service) -> None:
    seen, public = service.adds_route("/probe"), service.adds_route("/public", mark="public")
    client = service.client(service.user()).login()
    outage = Outage(service, "auth_session")
    works([client.get(path).status for path in ("/probe", "/public")] == [200, 200], "a signed-in user gets the page")
    seen.clear()
    public.clear()
    outage.on = True
    answers = [client.get("/probe"), client.get("/public")]
    works(service.client().get("/public").status == 200, "a visitor without a session gets the page during the outage")
    works(service.client().get("/healthz").status == 200, "the platform's probe is answered")
    works(public.pop() == "GET", "the view ran for the visitor")
    outage.on = False
    harm(seen + public, "a view ran for an unauthenticated request")
    for answer in answers:
        assert answer.status == 503
        assert answer.header("Retry-After") == "5"
        assert answer.set_cookies == []
        assert [event["event"] for event in answer.events] == ["database_unavailable"]
    assert [client.get(path).status for path in ("/probe", "/public")] == [200, 200]  # the same cookie or token
