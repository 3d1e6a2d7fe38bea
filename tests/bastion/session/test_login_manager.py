"""Unit tests beside the proofs in test_login_manager.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...running import Service


def test_the_current_user_of_flask_login_is_the_one_of_this_service(service: Service) -> None:
    import flask_login

    current_user = service.module("authentication").current_user

    def who() -> dict[str, object]:
        theirs = flask_login.current_user
        same = theirs._get_current_object() is current_user._get_current_object()
        return {"same": same, "known": theirs.is_authenticated, "email": theirs.email}

    service.adds_route("/who", mark="public", view=who)
    user = service.user()
    assert service.client(user).login().get("/who").json == {"same": True, "known": True, "email": user.email}
    assert service.client().get("/who").json == {"same": True, "known": False, "email": ""}


def test_an_extension_that_asks_flask_login_for_its_answer_gets_the_one_of_this_service(service: Service) -> None:
    from flask import current_app

    service.adds_route("/asked", mark="public", view=lambda: current_app.login_manager.unauthorized())  # type: ignore[attr-defined]
    answer = service.client().get("/asked")
    assert (answer.status, answer.location) == (303, "/login?next=/asked")
