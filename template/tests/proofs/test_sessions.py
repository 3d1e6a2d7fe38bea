"""Proofs of identity/sessions.py: the session limit, lookups that fail closed, and re-authentication."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .harness import edit, harm, protects, works
from .logins import Outage
from .routes import routes, stubbed
from .service import AUTH
from .test_access import ADMINISTRATOR, NOT_SIGNED_IN, grant

if TYPE_CHECKING:
    import pytest

    from .running import Service, User
    from .wire import Response


# --- session-limit-5 ------------------------------------------------------------------------------------------------

LIMIT = "session-limit-5"
SURPLUS = "    surplus = _surplus(connection, user_id, session_id, moment)\n"


def live(service: Service, user: User) -> int:
    """How many sessions of this user have not ended."""
    statement = (
        "SELECT count(*) FROM auth_session JOIN auth_user ON auth_user.id = auth_session.user_id"
        " WHERE auth_user.email = :email AND revoked_at IS NULL"
    )
    return int(service.rows(statement, email=user.email)[0][0])


@protects(LIMIT, limit=edit("identity/sessions.py", SURPLUS, "    surplus: Sequence[UUID] = ()\n"))
def test_one_login_too_many_ends_the_session_that_was_unused_for_longest(service: Service) -> None:
    seen = service.adds_route("/probe")
    most, user = service.limits.sessions_per_account, service.user()
    clients = []
    for number in range(most + 1):
        clients.append(service.client(user).login(through_form=number == most))
        service.travel(seconds=2)
    works([client.get("/probe").status for client in clients[1:]] == [200] * most, "the allowed sessions stay open")
    seen.clear()
    answer = clients[0].get("/probe")
    harm(seen, "one session more than the limit stayed open")
    assert answer.status == NOT_SIGNED_IN
    assert live(service, user) == most


# --- session-store-fails-closed -------------------------------------------------------------------------------------

CLOSED = "session-store-fails-closed"


@protects(
    CLOSED,
    load=edit(
        "request/authentication.py",
        "            g.principal = authenticate() or ANONYMOUS\n",
        "            try:\n                g.principal = authenticate() or ANONYMOUS\n"
        "            except Exception:\n                g.principal = ANONYMOUS\n",
    ),
)
def test_while_sessions_cannot_be_read_no_user_is_taken_for_a_visitor(service: Service) -> None:
    seen = service.adds_route("/public", mark="public")
    client = service.client(service.user()).login()
    outage = Outage(service, "auth_session")
    works(client.get("/public").status == 200, "a signed-in user gets the page")
    outage.on = True
    works(service.client().get("/public").status == 200, "a visitor without a session gets the page during the outage")
    seen.clear()
    answer = client.get("/public")
    harm(seen, "a view ran for a user whose session could not be read")
    assert (answer.status, answer.header("Retry-After")) == (503, "5")
    outage.on = False
    assert client.get("/public").status == 200


# --- fresh-login-5-min ----------------------------------------------------------------------------------------------

FRESH = "fresh-login-5-min"
SENSITIVE = {
    "session": {"change_email", "end_session", "end_others", "delete_account"},
    "jwt": {"request_email_change", "end_session", "end_others", "delete_account"},
}[AUTH]


def asks_to_prove_again(answer: Response) -> bool:
    """Whether the answer asks the client to let its user sign in once more, and says how."""
    if AUTH == "session":
        return (answer.location or "").startswith("/reauth") and answer.status == 303
    challenge = answer.header("WWW-Authenticate") or ""
    return answer.status == 401 and 'error="insufficient_user_authentication", max_age="' in challenge


@protects(
    FRESH,
    fresh=edit(
        "request/access.py",
        "    if rule.fresh and abs(now() - current_user.verified_at) >",
        "    if False and timedelta(1) >",
    ),
)
def test_an_old_login_runs_no_view_that_asks_for_a_fresh_one(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.at_least(requests_per_minute_and_session=120, requests_per_minute_and_address=600)
    every = routes(service)
    walked = [route for route in every if route.access.fresh]
    assert len(walked) >= 8
    assert {route.endpoint.rpartition(".")[2] for route in walked} >= SENSITIVE
    grant(service, monkeypatch, ADMINISTRATOR, {name for route in every for name in route.access.permissions})
    manages = service.module("identity.users").MANAGE
    writes = [route for route in every if manages in route.access.permissions and route.method not in ("GET", "HEAD")]
    assert len(writes) >= 6
    assert [str(route) for route in writes if not route.access.fresh] == []
    old = service.client(service.user(roles=(ADMINISTRATOR,))).login()
    service.travel(seconds=service.limits.fresh_login_seconds + 1)
    new = service.client(service.user(roles=(ADMINISTRATOR,))).login()
    for route in walked:
        with stubbed(service, route.endpoint) as ran:
            new.send(route.method, route.path)
            works(len(ran) == 1, f"a user who has just signed in reaches {route}")
            ran.clear()
            answer = old.send(route.method, route.path)
            harm(ran, f"a user reached {route} without a fresh login")
        assert asks_to_prove_again(answer), f"{route}: {answer.status} {answer.headers}"
