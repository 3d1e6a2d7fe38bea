"""Proofs of jwt/administration.py that only concern JSON; the others are in ../test_users.py."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from ...accounts import ADMINISTRATOR, administrator
from ...harness import edit, harm, protects, refused, works
from ...routes import ANY_ID

if TYPE_CHECKING:
    import pytest

    from ...running import Service


@protects(
    "ownership-404",
    account=edit("jwt/administration.py", '    if row is None:\n        refuse(404, "ownership-404")\n', ""),
)
def test_nothing_is_done_to_an_account_that_is_not_there(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator who sends an unknown id gets 404, not a success."""
    admin = administrator(service, monkeypatch)
    there, unknown = service.user().id, UUID(ANY_ID)
    works(admin.end_sessions_of(there).status == 204, "an administrator ends the sessions of an account")
    answers = [
        *(admin.end_sessions_of(unknown), admin.disable(unknown), admin.enable(unknown), admin.admin_reset(unknown)),
        *(admin.give(unknown, ADMINISTRATOR), admin.take(unknown, ADMINISTRATOR), admin.reset_factors(unknown)),
        admin.show_user(unknown),
    ]
    harm([answer for answer in answers if answer.ok], "an action on an unknown account was answered with a success")
    for answer in answers:
        refused(answer, 404, "ownership-404")
