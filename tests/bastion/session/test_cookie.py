"""Unit tests beside the proofs in test_cookie.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...running import Service


# --- session-id-random-hashed ----------------------------------------------------------------------------------


def test_what_one_request_says_to_the_visitor_is_not_said_by_another_with_the_same_cookie(service: Service) -> None:
    def says() -> Any:
        from flask import flash, session

        flash("a message")
        return {"waiting": len(session["_flashes"])}

    service.adds_route("/says", view=says)
    client = service.client(service.user()).login()
    client.get("/says")
    held = client.cookie
    for _ in range(3):
        client.cookie = held
        assert client.get("/says").json == {"waiting": 2}


# --- logout-ends-server-side -----------------------------------------------------------------------------------


def test_who_deletes_his_account_leaves_no_token_in_the_browser(service: Service) -> None:
    browser = service.client(service.user()).login()
    assert browser.delete_account().status == 303
    assert "token" not in browser.content()


# --- cookie-flags, where the style has a cookie ------------------------------------------------------------------


def test_what_a_team_can_not_change_of_the_cookie_and_of_forms_is_named(service: Service) -> None:
    """The start compares these with what is in force (test_guards.py): what is left out here could be loosened."""
    assert {
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_DOMAIN": None,
        "SESSION_COOKIE_PATH": "/",
        "WTF_CSRF_ENABLED": True,
        "WTF_CSRF_CHECK_DEFAULT": False,
        "WTF_CSRF_METHODS": {"POST", "PUT", "PATCH", "DELETE"},
        "WTF_CSRF_FIELD_NAME": "csrf_token",
        "WTF_CSRF_HEADERS": ["X-CSRFToken"],
        "WTF_CSRF_SSL_STRICT": False,
        "LOGIN_DISABLED": False,
        "SESSION_PROTECTION": None,
    } == service.module("session").LOCKED


# --- no-remember-cookie -----------------------------------------------------------------------------------------------


def test_the_current_user_of_flask_login_is_the_one_of_this_service(service: Service) -> None:
    import flask_login

    current_user = service.module("request.authentication").current_user

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
