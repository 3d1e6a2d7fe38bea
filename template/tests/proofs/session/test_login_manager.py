"""Flask-Login is a surface here and opens nothing: each of the doors that it leaves open by default is shut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, works
from ..session_client import COOKIE

if TYPE_CHECKING:
    from ..running import Service


# What a reader of Flask-Login's documentation would do: give it a loader of users.
LOADER = (
    edit("session/login_manager.py", "    def _load_user(self) -> None:\n", "    def _unused(self) -> None:\n"),
    edit("session/login_manager.py", "    def _update_request_context_with_user(self", "    def _unused_too(self"),
    edit(
        "session/login_manager.py",
        "    RowsOnly().init_app(app)\n",
        "    from flask_login import UserMixin\n\n"
        "    manager = RowsOnly()\n    manager.init_app(app)\n\n"
        "    @manager.user_loader\n    def load(ident: str) -> Any:\n"
        "        user = UserMixin()\n        user.id = ident\n        return user\n",
    ),
)


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
