"""Proofs of jwt/bearer.py: a token opens nothing by itself; the session row that it names does, on every request.

The tokens are unexpired and correctly signed in each attack: only their login has ended, or never was theirs.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..harness import edit, harm, protects, refused, works
from .forging import claims_of, ring_of

if TYPE_CHECKING:
    from ..jwt_client import Client
    from ..running import Service, User

ROW = "jwt-sid-checked"
ROWS = "identity/sessions.py"
BY_ID = '_BY_ID: Final = _LIVE.where(_s.id == bindparam("session_id"), _s.user_id == bindparam("owner_id"))'
NO_ROW = edit(
    ROWS,
    BY_ID,
    "_BY_ID: Final = select(\n"
    '    _u.id, _u.created_at, _u.created_at.label("seen_at"), _u.created_at.label("verified_at"),\n'
    '    _u.id.label("user_id"), _u.email, _u.roles,\n'
    ').where(_u.id == bindparam("owner_id"), _u.active)',
)
REVOKED = edit(
    ROWS,
    '        _s.revoked_at.is_(None),\n        _s.seen_at > bindparam("alive_since"),\n',
    '        _s.seen_at > bindparam("alive_since"),\n',
)


class Logins:
    """A view that tells by whom it was called, and logins of two users that reach it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        [self.key] = ring_of(service, [service.module("jwt.keys").generate()])
        self.seen = service.adds_route("/probe", view=lambda: service.module().current_user.email)
        self.user: User = service.user()
        self.other = self.of(service.user())

    def of(self, user: User, agent: str = "") -> Client:
        """A new login, whose token reaches the view."""
        client = self.service.client(user)
        client.agent = agent
        client.login()
        works(client.get("/probe").text == user.email, "a new login reaches the view")
        self.seen.clear()
        return client

    def sign(self, client: Client, **claims: Any) -> Client:
        """The same client with a token by the service's own key, of which only these claims are changed."""
        changed = client.copy()
        changed.token = self.key.token({**claims_of(client.token), **claims})
        return changed

    def dead(self, client: Client, what: str) -> None:
        """The token of this client opens nothing, though it is correctly signed and has not ended."""
        assert self.service.now().timestamp() < claims_of(client.token)["exp"]
        for path in ("/probe", "/auth/me", "/auth/sessions"):
            answer = client.get(path)
            harm(self.seen, f"the view ran for {what}")
            refused(answer, 401, ROW)
            assert answer.header("WWW-Authenticate") == 'Bearer error="invalid_token"'

    def alive(self, client: Client) -> None:
        """The token of this client still reaches the view."""
        assert client.get("/probe").status == 200
        self.seen.clear()


def logs_out(_service: Service, client: Client, _second: Client) -> int:
    return client.post("/auth/logout").status


def ends_it_from_another(_service: Service, client: Client, second: Client) -> int:
    return second.delete(f"/auth/sessions/{claims_of(client.token)['sid']}").status


def ends_all_others(_service: Service, _client: Client, second: Client) -> int:
    return second.delete("/auth/sessions").status


def used_a_refresh_token_twice(service: Service, client: Client, _second: Client) -> int:
    body = {"refresh_token": client.refresh_token}
    first, again = (service.client().post("/auth/refresh", body).status for _ in range(2))
    assert (first, again) == (200, 401)
    return 204


def is_revoked_by_another_process(service: Service, client: Client, _second: Client) -> int:
    service.rows("UPDATE auth_session SET revoked_at = created_at WHERE agent = :agent", agent=client.agent)
    return 204


ENDS: dict[str, Callable[[Service, Client, Client], int]] = {
    "was logged out": logs_out,
    "was ended from another": ends_it_from_another,
    "was ended with all others": ends_all_others,
    "used a refresh token twice": used_a_refresh_token_twice,
    "was revoked by another process": is_revoked_by_another_process,
}


@protects(ROW, row=NO_ROW, revoked=REVOKED)
def test_the_token_of_a_login_that_has_ended_opens_nothing(service: Service) -> None:
    logins = Logins(service)
    for what, end in ENDS.items():
        client, second = logins.of(logins.user, what), logins.of(logins.user)
        thief = client.copy()  # has what the client has, and is told of nothing
        logins.alive(thief)
        assert end(service, client, second) == 204
        logins.dead(thief, f"a login that {what}")
        logins.alive(second)
        logins.alive(logins.other)


@protects(ROW, disabled=edit(ROWS, "        _u.active,\n", ""))
def test_the_token_of_a_user_who_was_disabled_opens_nothing(service: Service) -> None:
    logins = Logins(service)
    client = logins.of(logins.user)
    service.rows("UPDATE auth_user SET active = FALSE WHERE email = :email", email=logins.user.email)
    logins.dead(client, "a user who was disabled")
    logins.alive(logins.other)
    service.rows("UPDATE auth_user SET active = TRUE WHERE email = :email", email=logins.user.email)
    logins.alive(client)
    with service.app.app_context():
        for active in (False, True):  # what the command does ends the logins as well: they don't come back
            service.module("identity.users").set_active(logins.user.email, active)
            logins.dead(client, "a user who was disabled by the command")
    logins.alive(logins.of(logins.user))


@protects(
    ROW,
    expired=edit(ROWS, '        _s.expires_at > bindparam("moment"),\n        _u.active,\n', "        _u.active,\n"),
)
def test_a_token_does_not_outlive_its_login(service: Service) -> None:
    logins = Logins(service)
    client = logins.of(logins.user)
    service.rows(
        "UPDATE auth_session SET expires_at = created_at WHERE user_id IN"
        " (SELECT id FROM auth_user WHERE email = :email)",
        email=logins.user.email,
    )
    logins.dead(client, "a login past its end")
    logins.alive(logins.other)


@protects(ROW, row=NO_ROW)
def test_a_token_whose_login_is_nowhere_opens_nothing(service: Service) -> None:
    logins = Logins(service)
    client = logins.of(logins.user)
    logins.alive(logins.sign(client, jti="made by hand"))
    for sid in (str(uuid.uuid4()), str(uuid.UUID(int=0)), claims_of(client.token)["sub"]):
        logins.dead(logins.sign(client, sid=sid), "a login that never was")
    service.rows("DELETE FROM auth_refresh_token")
    service.rows("DELETE FROM auth_session")
    logins.dead(client, "a login whose row is gone")


@protects(ROW, owner=edit(ROWS, BY_ID, '_BY_ID: Final = _LIVE.where(_s.id == bindparam("session_id"))'))
def test_a_token_names_no_login_but_its_own_users(service: Service) -> None:
    logins = Logins(service)
    client = logins.of(logins.user)
    theirs = claims_of(logins.other.token)
    logins.alive(logins.sign(client, sub=theirs["sub"], sid=theirs["sid"]))
    logins.dead(logins.sign(client, sid=theirs["sid"]), "one user by the login of another")
    logins.dead(logins.sign(client, sub=theirs["sub"]), "one user by his own login for another")
    logins.dead(logins.sign(client, sub=str(uuid.uuid4())), "a user who never was")
