"""Edges of the proofs in test_login_manager.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...harness import edit, harm, protects, works
from ...session.test_login_manager import LOADER
from ...session_client import COOKIE

if TYPE_CHECKING:
    from ...running import Service, User


class Someone:
    """A user as an extension makes one for Flask-Login."""

    is_active = is_authenticated = True
    is_anonymous = False

    def __init__(self, users: list[User]) -> None:
        self.id = users[0].id

    def get_id(self) -> str:
        return str(self.id)


@protects(
    "session-id-random-hashed",
    mechanism=(
        edit("session/cookie.py", '"csrf_token", "_flashes"})', '"csrf_token", "_flashes", "_user_id"})'),
        edit(
            "session/cookie.py",
            "    return sessions.find_by_token(token) if isinstance(token, str) else None\n",
            "    if isinstance(token, str):\n        return sessions.find_by_token(token)\n"
            "    from uuid import UUID, uuid4\n\n    from ..clock import now\n\n"
            '    named = session.get("_user_id")\n    nobody = frozenset()\n'
            '    return Principal(UUID(named), "", uuid4(), now(), now(), nobody, nobody) if named else None\n',
        ),
    ),
)
def test_login_user_of_flask_login_signs_nobody_in(service: Service) -> None:
    import flask_login

    users: list[User] = []

    def by_extension() -> str:
        flask_login.login_user(Someone(users), remember=True, force=True)
        return "logged in, it says"

    def by_ourselves() -> str:
        flask_login.login_user(service.module("authentication").current_user, remember=True)
        return "logged in, it says"

    called = service.adds_route("/extension", mark="public", view=by_extension)
    service.adds_route("/ourselves", view=by_ourselves)
    seen = service.adds_route("/probe")
    users.append(service.user())
    browser = service.client(users[0]).login()
    works(browser.get("/probe").status == 200, "who has signed in opens the page")
    works(seen == ["GET"], "it ran")
    seen.clear()
    thief = service.client()
    errors = [thief.get("/extension"), browser.get("/ourselves")]
    assert called == ["GET"]
    answer = thief.get("/probe")
    harm(seen, "login_user opened a protected page")
    assert answer.status == 303
    assert thief.content() == {}
    assert thief.cookies.keys() <= {COOKIE}
    # It does not only do nothing: it says so, at once.
    assert [error.status for error in errors] == [500, 500]
    raised = [event["exception"] for event in service.log if event["event"] == "unhandled_exception"]
    assert ["opens no session here" in text for text in raised] == [True, True]


KNOWN = {COOKIE, "__Host-device"}  # the second signs nobody in: it only says that the browser has been here before
WRITER = (
    edit(
        "session/login_manager.py",
        "        app.login_manager = self  # type: ignore[attr-defined]\n",
        "        app.login_manager = self  # type: ignore[attr-defined]\n"
        "        app.after_request(self._update_remember_cookie)\n",
    ),
    edit("session/login_manager.py", "            raise TypeError(", "            return\n            TypeError("),
)


@protects("no-remember-cookie", set=WRITER)
def test_nobody_gets_a_cookie_that_outlives_the_session(service: Service) -> None:
    import flask_login

    users: list[User] = []

    def remember() -> str:
        flask_login.login_user(Someone(users), remember=True, force=True)
        return "remembered, it says"

    def allow(app: Any) -> None:  # with these no other layer has anything against the cookie
        app.config.update(
            REMEMBER_COOKIE_NAME="__Host-remember",
            REMEMBER_COOKIE_SECURE=True,
            REMEMBER_COOKIE_HTTPONLY=True,
            REMEMBER_COOKIE_SAMESITE="Lax",
        )

    service.adds(allow)
    called = service.adds_route("/remember", mark="public", view=remember)
    users.append(service.user())
    browser = service.client(users[0])
    credentials = {"identifier": users[0].email, "password": users[0].password}
    answer = browser.post("/login", {**credentials, "remember": "on", "remember_me": "1"})
    works(answer.status == 303, "the user signs in")
    works(browser.get("/account").status == 200, "without being remembered")
    other = service.client().get("/remember")
    assert called == ["GET"]
    lines = [*answer.set_cookies, *other.set_cookies]
    harm([line.raw for line in lines if line.name not in KNOWN], "a cookie was set that signs in for a year")
    assert {line.name for line in answer.set_cookies} <= KNOWN
    assert other.status == 500  # login_user opens no session here, and says so
    assert "opens no session here" in next(one["exception"] for one in other.events if "exception" in one)


@protects(
    "logout-ends-server-side",
    extension=edit("session/login_manager.py", "            log_out()\n", "            pass\n"),
)
def test_logout_user_of_flask_login_ends_the_session_for_every_copy_of_the_cookie(service: Service) -> None:
    import flask_login

    def leave() -> str:
        flask_login.logout_user()
        return "nobody" if not service.module("authentication").current_user.is_authenticated else "somebody"

    service.adds_route("/leave", mark="public", view=leave)
    seen = service.adds_route("/probe")
    browser = service.client(service.user()).login()
    thief = browser.copy()
    works(thief.get("/probe").status == 200, "a copy of the cookie opens the page before")
    works(seen == ["GET"], "it ran")
    seen.clear()
    left = browser.get("/leave")
    works(left.text == "nobody", "an extension calls logout_user, and nobody is signed in for the rest of the request")
    answer = thief.get("/probe")
    harm(seen, "a copy of the cookie still opens the page after logout_user")
    assert answer.status == 303
    assert browser.cookie is None
    assert service.client().get("/leave").text == "nobody"


@protects(
    "deny-by-default",
    login_disabled=edit("session/login_manager.py", '{"LOGIN_DISABLED": False, ', "{"),
)
def test_login_disabled_stops_the_start(service: Service) -> None:
    works(service.start().app, "without it the service starts")
    service.adds(lambda app: app.config.update(LOGIN_DISABLED=True))
    started = service.start()
    harm(started.app is not None, "the service starts with LOGIN_DISABLED, under which Flask-Login lets everybody in")
    assert len(started.reasons) == 1
    assert "LOGIN_DISABLED" in started.reasons[0]
    service.adds(lambda app: app.config.update(LOGIN_DISABLED=False, SESSION_PROTECTION="strong"))
    [reason] = service.start().reasons  # it would clear a cookie that is not its own
    assert "SESSION_PROTECTION" in reason


@protects(
    "deny-by-default",
    options=edit(
        "access.py",
        "    if not current_user.is_authenticated:\n",
        '    if not current_user.is_authenticated and request.method != "OPTIONS":\n',
    ),
)
def test_what_flask_login_exempts_is_refused_all_the_same(service: Service) -> None:
    import flask_login

    seen: list[str] = []

    def view() -> str:
        from flask import request

        seen.append(request.method)
        return "ran"

    def add(app: Any) -> None:
        marked = service.module().login_required(flask_login.login_required(view))
        app.add_url_rule("/probe", "probe", marked, methods=["GET", "OPTIONS"])

    service.adds(add)
    browser = service.client(service.user()).login()
    works(browser.get("/probe").status == 200, "both marks let the user in")
    works(seen == ["GET"], "the view runs")
    seen.clear()
    service.app.config["LOGIN_DISABLED"] = True  # later than any check could see it
    for method in ("OPTIONS", "GET"):
        answer = service.client().send(method, "/probe")
        harm(seen, f"an anonymous {method} ran a view that Flask-Login exempts")
        assert answer.status == 303


@protects(
    "deny-by-default",
    seal=edit(
        "access.py",
        "    if faults := [*_faults(app, endpoints)]:\n",
        "    endpoints = {name for name in endpoints if marks_of(app.view_functions[name])}\n"
        "    if faults := [*_faults(app, endpoints)]:\n",
    ),
)
def test_login_required_of_flask_login_alone_does_not_pass_the_seal(service: Service) -> None:
    import flask_login

    def marked_elsewhere() -> str:
        return "open to OPTIONS"

    works(service.start().app, "a service starts whose every route has one rule of ours")
    service.adds(lambda app: app.add_url_rule("/probe", "probe", flask_login.login_required(marked_elsewhere)))
    started = service.start()
    harm(started.app is not None, "the service starts with a route that only Flask-Login protects")
    assert len(started.reasons) == 1
    assert "'probe'" in started.reasons[0]
    assert f"{marked_elsewhere.__code__.co_filename}:{marked_elsewhere.__code__.co_firstlineno}" in started.reasons[0]


@protects("session-id-random-hashed", remember=LOADER)
@protects("no-remember-cookie", read=LOADER)
def test_a_hand_made_remember_token_is_nobody(service: Service) -> None:
    from flask_login import current_user, encode_cookie

    def who() -> str:
        signed_in = current_user.is_authenticated and current_user.is_active and not current_user.is_anonymous
        return str(current_user.id) if signed_in else "nobody"

    service.adds_route("/who", mark="public", view=who)
    seen = service.adds_route("/probe")
    user = service.user()
    browser = service.client(user).login()
    works(browser.get("/probe").status == 200, "the session's cookie opens the page")
    seen.clear()
    thief = service.client()
    for name in ("remember_token", "__Host-remember_token", "remember"):
        for content in (str(user.id), user.id.hex, user.email, browser.content()["token"]):
            with service.app.app_context():  # signed with the service's own key, as Flask-Login does it
                thief.cookies = {name: encode_cookie(content)}
            harm(thief.get("/who").text == content, "Flask-Login takes a remember cookie for a user")
            answer = thief.get("/probe")
            harm(seen, "a remember cookie opened the page")
            assert answer.status == 303
            assert thief.get("/who").text == "nobody"
    # One that is junk does not sign out whom the session's cookie signs in.
    assert browser.cookie is not None
    browser.cookies = {COOKIE: browser.cookie, "remember_token": "junk|junk"}
    assert browser.get("/probe").status == 200
    assert browser.get("/who").text == str(user.id)
