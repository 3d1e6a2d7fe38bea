"""Refusing a reused refresh token revokes its login permanently: no error or rollback undoes the revocation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...harness import edit, harm, protects, refused, works
from ...logins import fails_afterwards

if TYPE_CHECKING:
    from ...running import Service, User
    from ...service import Client
    from ...wire import Response


ROW = "refusal-writes-survive"
UNCOMMITTED = edit(
    "jwt/refresh.py",
    "    with transaction() as connection:\n        if not _revoke(",
    "    with connect() as connection:\n        if not _revoke(",
)


def exchange(client: Client, token: str | None) -> Response:
    return client.copy().post("/auth/refresh", {"refresh_token": token})


def left_behind(service: Service, user: User) -> tuple[int, int]:
    """Return the user's ended logins and audited reuses, read through a separate connection."""
    ended = service.rows(
        "SELECT count(*) FROM auth_session JOIN auth_user ON auth_user.id = auth_session.user_id"
        " WHERE auth_session.revoked_at IS NOT NULL AND auth_user.email = :email",
        email=user.email,
    )
    return ended[0][0], service.rows("SELECT count(*) FROM audit_event WHERE kind = 'token.refresh_reuse'")[0][0]


@protects(ROW, family=UNCOMMITTED)
def test_refusing_a_reused_token_keeps_the_revocation(service: Service) -> None:
    user = service.user()
    client = service.client(user).login()
    answer = exchange(client, client.refresh_token)
    works(answer.status == 200, "a client exchanges a refresh token once")
    newest = answer.json["refresh_token"]
    again = exchange(client, client.refresh_token)
    harm(left_behind(service, user) != (1, 1), "the answer rolled back the revocation or its audit row")
    refused(again, 401, "refresh-reuse-revokes-family")
    refused(exchange(client, newest), 401, "refresh-reuse-revokes-family")


@protects(ROW, family=UNCOMMITTED)
def test_an_exception_after_the_refusal_keeps_the_revocation(service: Service) -> None:
    failing = fails_afterwards(service)
    user = service.user()
    client = service.client(user).login()
    answer = exchange(client, client.refresh_token)
    works(answer.status == 200, "a client exchanges a refresh token once")
    failing.append("in a function of the team's")
    again = exchange(client, client.refresh_token)
    failing.clear()
    harm(left_behind(service, user) != (1, 1), "the exception rolled back the revocation or its audit row")
    assert again.status == 500
    refused(exchange(client, answer.json["refresh_token"]), 401, "refresh-reuse-revokes-family")
