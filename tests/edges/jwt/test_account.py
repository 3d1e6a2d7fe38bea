"""Proofs of account functions that only concern tokens and JSON; the others are in ../test_account.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...accounts import ADMINISTRATOR, CHOSEN, account, administrator, exchange, lives
from ...harness import edit, harm, protects, refused, works

if TYPE_CHECKING:
    import pytest

    from ...running import Service


@protects(
    "credential-change-revokes-sessions",
    refresh=edit(
        "jwt/refresh.py",
        "    SESSIONS.revoked_at.is_(None),\n    SESSIONS.expires_at > bindparam(",
        "    SESSIONS.expires_at > bindparam(",
    ),
)
def test_no_refresh_token_outlives_a_new_password(service: Service) -> None:
    user = service.user()
    first, second = (service.client(user, f"192.0.2.{number}").login() for number in (11, 12))
    copy, other = first.copy(), service.client(service.user(), "192.0.2.13").login()
    works(first.change_password(user.password, CHOSEN).status == 200, "the owner changes the password")
    answers = [exchange(service, one) for one in (second, copy)]
    harm([answer for answer in answers if answer.ok], "a refresh token survived a password change")
    for answer in answers:
        refused(answer, 401, "refresh-lifetimes")
    for one in (first, other):
        renewed = exchange(service, one)
        assert renewed.status == 200
        one.token = renewed.json["access_token"]
        assert lives(one)


@protects(
    "mass-assignment-refused",
    json=(
        edit("jwt/schema.py", 'extra="forbid"', 'extra="allow"'),
        edit(
            "jwt/account.py",
            "account.update_profile(current_user, body.display_name)",
            "account.update_profile(current_user, body.display_name, **(body.model_extra or {}))",
        ),
        edit(
            "identity/account.py",
            "(user: Principal, name: str) -> None:",
            "(user: Principal, name: str, **more: Any) -> None:",
        ),
        edit("identity/account.py", "values(display_name=shown)", "values(display_name=shown, **more)"),
    ),
)
def test_a_field_that_is_not_declared_reaches_no_column(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    administrator(service, monkeypatch)
    user = service.user()
    client = service.client(user).login()
    works(client.rename("Member").json["display_name"] == "Member", "the user changes the display name")
    works(client.account().json["display_name"] == "Member", "the account shows the new display name")
    before = account(service, user.email)
    answer = client.rename("Member", roles=ADMINISTRATOR)
    harm(account(service, user.email) != before, "a user gave themselves a role through an undeclared field")
    refused(answer, 422, "input-validated-typed")
    assert answer.json["errors"] == [{"pointer": "#", "detail": "There is a field that is not known."}]
