"""Unit tests beside the proofs in test_users.py."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest

from ..accounts import (
    ADMINISTRATOR,
    DONE,
    account,
    administrator,
)
from ..harness import at_once, refused
from ..service import AUTH

if TYPE_CHECKING:
    from ..running import Service


def test_two_administrators_who_disable_each_other_at_once_leave_one(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = [administrator(service, monkeypatch, f"192.0.2.{number}") for number in (31, 32)]
    users = [client.user for client in pair if client.user is not None]
    for _ in range(5):
        for client in pair:
            client.honest("POST", {}, None, None, None)
        calls = zip(pair, reversed(users), strict=True)
        answers = at_once([lambda client=client, user=user: client.disable(user.id) for client, user in calls])
        active = [user for user in users if account(service, user.email).active]  # type: ignore[union-attr]
        assert len(active) == 1
        # Who was disabled before his own request was looked at is sent to sign in.
        done = [
            one for one in answers if one.status == DONE["disable"] and not (one.location or "").startswith("/login")
        ]
        assert len(done) == 1
        service.rows("UPDATE auth_user SET active = :yes", yes=True)
        for client in pair:
            client.login()


# --- no administrator becomes somebody else --------------------------------------------------------------------


def test_there_is_nothing_to_be_done_to_an_account_that_is_not_there(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, nobody, users = administrator(service, monkeypatch), uuid.uuid4(), service.module("identity.users")
    answers = [
        *(manager.show_user(nobody), manager.disable(nobody), manager.enable(nobody), manager.reset_factors(nobody)),
        *(manager.give(nobody, ADMINISTRATOR), manager.admin_reset(nobody), manager.end_sessions_of(nobody)),
        *([manager.get(f"/users/{nobody}/factors/remove")] if AUTH == "session" else []),
    ]
    for answer in answers:
        refused(answer, 404, "ownership-404")
    with service.app.app_context(), pytest.raises(users.UserError, match="no such account"):
        users.set_active(nobody, False)  # deleted since it was looked for


def test_accounts_are_listed_in_pages_by_address(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = administrator(service, monkeypatch)
    for number in range(30):
        service.user(f"page_{number:02}@example.com")
    service.user("pagex30@example.com")
    first, second = manager.users("page_"), manager.users("PAGE_", 2)
    assert "page_00@example.com" in first.text
    assert "page_24@example.com" in first.text
    assert "page_25@example.com" not in first.text
    assert "page_25@example.com" in second.text
    assert "pagex30@example.com" not in first.text + second.text  # a _ is a letter like any other
    assert manager.users("page_", 2**31 - 1).ok
    assert manager.users("%").ok
    assert "page" not in "".join(re.findall(r"[\w]+@example", manager.users("%").text))
    users = service.module("identity.users")
    monkeypatch.setattr(users, "PAGE_SIZE", 10)
    with service.app.app_context():
        found = [users.page(number, q) for number, q in ((1, "page_0"), (1, "page_"), (3, "page_"))]
    assert [(len(rows), more) for rows, more in found] == [(10, False), (10, True), (10, False)]  # full, and the last
    monkeypatch.setattr(users, "MOST_PAGES", 2)
    with service.app.app_context():
        found = [users.page(number, "page_") for number in (1, 2, 3)]
    assert [(len(rows), more) for rows, more in found] == [(10, True), (10, False), (0, False)]
