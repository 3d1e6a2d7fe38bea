"""Proofs of jwt/refresh.py: refresh token rotation and reuse detection; a reused token revokes its login.

What counts is seen in the database by a connection of the proofs' own, and by what the tokens still open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, refused, works

if TYPE_CHECKING:
    from ..jwt_client import Client
    from ..running import Service, User
    from ..wire import Response


FILE = "jwt/refresh.py"
ONE_USE, REUSE, LIVES = "refresh-one-use", "refresh-reuse-revokes-family", "refresh-lifetimes"
ONCE = edit(FILE, "        TOKENS.used_at.is_(None),\n        TOKENS.created_at", "        TOKENS.created_at")


def exchange(service: Service, token: str | None, address: str = "192.0.2.10") -> Response:
    """Exchange a refresh token as anybody does who holds it."""
    return service.client(address=address).post("/auth/refresh", {"refresh_token": token})


def tokens_of(service: Service, user: User) -> tuple[int, int]:
    """How many refresh tokens were ever made for this user, and how many of them are still unused."""
    statement = (
        "SELECT count(*), count(*) - count(t.used_at) FROM auth_refresh_token t"
        " JOIN auth_session s ON s.id = t.session_id JOIN auth_user u ON u.id = s.user_id WHERE u.email = :email"
    )
    [(made, unused)] = service.rows(statement, email=user.email)
    return made, unused


def live_logins(service: Service, user: User) -> int:
    """How many logins of this user are not revoked, as another process sees it."""
    statement = (
        "SELECT count(*) FROM auth_session s JOIN auth_user u ON u.id = s.user_id"
        " WHERE u.email = :email AND s.revoked_at IS NULL"
    )
    return int(service.rows(statement, email=user.email)[0][0])


# --- used once -------------------------------------------------------------------------------------------------


@protects(ONE_USE, once=ONCE)
def test_a_refresh_token_gives_no_second_pair(service: Service) -> None:
    client = service.client(service.user()).login(through_form=True)
    assert client.user is not None
    answer = exchange(service, client.refresh_token)
    works(answer.status == 200, "a client exchanges a refresh token for a new pair")
    client.token = answer.json["access_token"]
    works(client.get("/auth/me").status == 200, "the new access token opens the user's own account")
    again = exchange(service, client.refresh_token)
    harm(again.ok, "a used refresh token was exchanged for another pair")
    refused(again, 401, REUSE)
    assert tokens_of(service, client.user) == (2, 0)


# --- used twice ------------------------------------------------------------------------------------------------


class Theft:
    """A refresh token that was copied before its owner used it, and a second login of the same owner."""

    def __init__(self, service: Service) -> None:
        self.service = service
        service.at_least(sessions_per_account=2)
        self.seen = service.adds_route("/probe")
        self.user = service.user()
        self.owner: Client = service.client(self.user).login(through_form=True)
        self.second: Client = service.client(self.user, "192.0.2.20").login()
        self.stolen = self.owner.refresh_token
        self.renew(self.owner)
        self.renew(self.second)
        works(live_logins(service, self.user) == 2, "both logins of the owner are live")
        self.seen.clear()

    def renew(self, client: Client) -> None:
        """An honest exchange."""
        answer = exchange(self.service, client.refresh_token)
        works(answer.status == 200, "the owner exchanges the refresh token for a new pair")
        client.token, client.refresh_token = answer.json["access_token"], answer.json["refresh_token"]
        works(client.get("/probe").status == 200, "the new access token reaches the view")

    def use(self) -> Response:
        """The thief comes second."""
        return exchange(self.service, self.stolen, "203.0.113.66")

    def ended(self, reason: str = REUSE) -> None:
        """Neither of the two can go on with this login."""
        newer = exchange(self.service, self.owner.refresh_token)
        harm(newer.ok, "the newer refresh token still worked after the older one was reused")
        answer = self.owner.get("/probe")
        harm(self.seen, "the access token still reached the view after its refresh token was reused")
        harm(live_logins(self.service, self.user) != 1, "the login was not revoked after its refresh token was reused")
        refused(newer, 401, reason)
        refused(answer, 401, "jwt-sid-checked")


@protects(
    REUSE,
    family=edit(FILE, "        if not _revoke(connection, session_id):", "        if session_id:"),
    session=edit(FILE, "    return connection.execute(ended).rowcount == 1", "    return ended is not None"),
)
def test_a_copied_refresh_token_opens_nothing_for_long(service: Service) -> None:
    theft = Theft(service)
    thief = theft.use()
    harm(thief.ok, "the thief exchanged the copied refresh token for a pair")
    theft.ended()
    refused(thief, 401, REUSE)
    theft.renew(theft.second)  # the owner's other device goes on


# --- how long -------------------------------------------------------------------------------------------------


@protects(
    LIVES,
    end=edit(FILE, ".values(seen_at=moment))", ".values(seen_at=moment, expires_at=moment + timedelta(hours=24)))"),
)
def test_no_exchange_moves_the_end_of_the_login(service: Service) -> None:
    client = service.client(service.user()).login(through_form=True)
    token, idle = client.refresh_token, service.limits.refresh_idle_minutes
    left = service.limits.refresh_absolute_hours * 60 - 1
    while left > 0:
        left -= (step := min(idle - 1, left))
        service.travel(minutes=step)
        answer = exchange(service, token)
        works(answer.status == 200, "a client that refreshes before the idle limit continues")
        token = answer.json["refresh_token"]
    service.travel(minutes=2)
    answer = exchange(service, token)
    harm(answer.ok, "repeated refreshes extended a login beyond its absolute lifetime")
    refused(answer, 401, LIVES)
