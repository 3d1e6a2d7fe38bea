"""The session cookie only names a row: a guessed, planted, idle, expired or signed-out session opens nothing.

Flask-Login is a surface here: the door that it leaves open by default, the remember cookie, is shut.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..harness import edit, harm, protects, works
from ..session_client import COOKIE, FIELD
from .pages import Page, pages

if TYPE_CHECKING:
    from ..running import Service, User
    from ..session_client import Client


HASH = edit(
    "identity/sessions.py",
    'return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()',
    'return token.encode("utf-8", "surrogatepass")[:32]',  # as much of it as MySQL's column holds
)


def session_rows(service: Service, user: User) -> list[Any]:
    """The user's session rows as they are in the database, oldest first."""
    table = service.module("identity.models").AuthSession.__table__
    with service.engine.connect() as connection:
        return list(
            connection.execute(table.select().where(table.c.user_id == user.id).order_by(table.c.created_at)).all()
        )


def signed_in(service: Service, user: User, hours: float = 24) -> Client:
    """A browser with a session whose absolute end is far away, so that only the idle time can end it."""
    with service.app.app_context():
        opened = service.module("identity.sessions").open_session(user.id, lifetime=timedelta(hours=hours))
    return service.client(user).forge(token=opened.token)


# --- session-id-random-hashed ----------------------------------------------------------------------------------


@protects("session-id-random-hashed", hash=HASH)
def test_a_copy_of_the_database_signs_no_thief_in(service: Service) -> None:
    seen = service.adds_route("/probe")
    user = service.user()
    works(service.client(user).login().get("/probe").status == 200, "the issued cookie opens a protected page")
    seen.clear()
    row = session_rows(service, user)[0]
    stored = bytes(row.token_hash)
    # The thief knows the database and, to be generous, the key: what could stand in the cookie's place of the token?
    for guess in (stored.decode("latin-1"), stored.hex(), str(user.id), str(row.id), user.email):
        answer = service.client(user).forge(token=guess).get("/probe")
        harm(seen, "a cookie made from stored values opened a protected page")
        assert answer.status == 303


# --- session-rotated-on-privilege-change -----------------------------------------------------------------------


@protects(
    "session-rotated-on-privilege-change",
    login=(
        edit(
            "identity/sessions.py",
            "        connection.execute(_ending(moment, SESSIONS.id == replaces))\n",
            "        connection.execute(update(AuthSession).where(SESSIONS.id == replaces).values(user_id=user_id))\n",
        ),
        edit(
            "session/cookie.py",
            "    target = session.get(NEXT)\n",
            "    target, kept = session.get(NEXT), session.get(TOKEN)\n",
        ),
        edit("session/cookie.py", "    session[TOKEN] = token\n", "    session[TOKEN] = kept or token\n"),
    ),
)
def test_a_session_that_was_planted_in_a_browser_is_not_its_users_after_the_login(service: Service) -> None:
    user, thief = service.user(), service.client(service.user()).login()
    works(thief.get("/account").status == 200, "the attacker is signed in")
    browser = service.client(user)
    browser.cookie = thief.cookie  # planted
    browser.login(through_form=True)
    works(user.email in browser.get("/account").text, "the victim signs in")
    answer = thief.get("/account")
    harm(user.email in answer.text, "the planted cookie opened the victim's account (session fixation)")
    assert answer.status == 303


# --- session-idle-30-min ---------------------------------------------------------------------------------------


@protects(
    "session-idle-30-min",
    idle=edit("identity/sessions.py", '        SESSIONS.seen_at > bindparam("alive_since"),\n', ""),
)
def test_a_cookie_that_was_not_used_for_the_idle_time_opens_nothing(service: Service) -> None:
    seen = service.adds_route("/probe")
    browser, idle = signed_in(service, service.user()), service.limits.session_idle_minutes
    for _ in range(2):
        works(browser.get("/probe").status == 200, "a session in use stays open")
        service.travel(minutes=idle - 1)
    seen.clear()
    service.travel(minutes=1, seconds=1)
    answer = browser.get("/probe")
    harm(seen, "the view ran for a session past its idle timeout")
    assert answer.location == "/login?next=/probe"


# --- session-absolute-12-h -------------------------------------------------------------------------------------


@protects(
    "session-absolute-12-h",
    use=edit("identity/sessions.py", '        SESSIONS.expires_at > bindparam("moment"),\n', ""),
)
def test_a_session_in_use_ends_at_its_absolute_end(service: Service) -> None:
    seen = service.adds_route("/probe")
    browser = service.client(service.user()).login()
    step = min(20, service.limits.session_idle_minutes - 1)
    for _ in range(0, service.limits.session_absolute_hours * 60, step):
        works(browser.get("/probe").status == 200, "a session in use stays open until its absolute end")
        service.travel(minutes=step)
    seen.clear()
    answer = browser.get("/probe")
    harm(seen, "a session in use outlived its absolute lifetime")
    assert answer.location == "/login?next=/probe"


# --- logout-ends-server-side -----------------------------------------------------------------------------------


@protects(
    "logout-ends-server-side",
    row=edit("session/cookie.py", "    sessions.end(current_user.session_id, current_user.id)\n", ""),
)
def test_a_copy_of_the_cookie_is_worth_nothing_after_the_logout(service: Service) -> None:
    seen = service.adds_route("/probe")
    browser = service.client(service.user()).login()
    thief = browser.copy()
    works(thief.get("/probe").status == 200, "the copied cookie opens the page before the logout")
    seen.clear()
    out = browser.post("/logout")
    works(out.location == "/login", "the user signs out")
    answer = thief.get("/probe")
    harm(seen, "a copy of the cookie still opened the page after the logout")
    assert answer.status == 303
    assert [(line.name, line.deletes) for line in out.set_cookies] == [(COOKIE, True)]


@protects(
    "logout-post-and-clears",
    button=edit("session/templates/bastion/_who.html", "action=\"{{ url_for('bastion.logout') }}\"", 'action="/login"'),
)
def test_a_user_can_sign_out_on_every_page(service: Service) -> None:
    service.adds_probe()
    browser = service.client(service.user()).login()
    answers = pages(browser, "/", "/account", "/probe")
    shown = {path: Page(one.text) for path, one in answers.items() if one.ok and one.mimetype == "text/html"}
    works(len(shown) >= 3, "the service shows its pages")
    works("/account" in shown, "the service shows the account page")

    def leaves(page: Page) -> bool:
        return [form.method for form in page.forms if form.action == "/logout" and FIELD in form.controls] == ["POST"]

    harm([path for path, page in shown.items() if not leaves(page)], "a page offers a signed-in user no sign-out")
    assert len(shown) < 100


# --- no-remember-cookie -----------------------------------------------------------------------------------------------

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
    works(browser.get("/account").status == 200, "the session cookie opens the account page")
    for content in (str(user.id), user.email, browser.content()["token"]):
        with service.app.app_context():  # signed with the service's own key, as Flask-Login does it
            thief.cookies = {"remember_token": encode_cookie(content)}
        answer = thief.get("/who")
        harm(answer.text == content, "Flask-Login accepted a forged remember cookie as a user")
        assert answer.text == "None"
