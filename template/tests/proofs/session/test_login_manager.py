"""Flask-Login is a surface here and opens nothing: each of the doors that it leaves open by default is shut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, works

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
def test_a_hand_made_remember_token_is_no_user(service: Service) -> None:
    from flask_login import current_user, encode_cookie

    service.adds_route("/who", mark="public", view=lambda: str(current_user.id if current_user else None))
    user, thief = service.user(), service.client()
    browser = service.client(user).login()
    works(browser.get("/account").status == 200, "the session's cookie opens the account")
    for content in (str(user.id), user.email, browser.content()["token"]):
        with service.app.app_context():  # signed with the service's own key, as Flask-Login does it
            thief.cookies = {"remember_token": encode_cookie(content)}
        answer = thief.get("/who")
        harm(answer.text == content, "Flask-Login takes a remember cookie for a user")
        assert answer.text == "None"
