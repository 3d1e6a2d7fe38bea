"""The session cookie names a row and nothing else: what is copied, planted, guessed or left alone opens nothing."""

from __future__ import annotations

import base64
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..harness import edit, harm, protects, works
from ..session_client import COOKIE, FIELD
from ..test_queries import session_ids
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


def limits(service: Service) -> Any:
    """The limits in force, with what the team has declared."""
    return service.module("state").state_of(service.app).limits


# --- session-id-random-hashed ----------------------------------------------------------------------------------


@protects("session-id-random-hashed", hash=HASH)
def test_a_stolen_copy_of_the_database_signs_nobody_in(service: Service) -> None:
    seen = service.adds_route("/probe")
    user = service.user()
    browser = service.client(user).login()
    works(browser.get("/probe").status == 200, "the issued cookie opens a protected page")
    works(seen == ["GET"], "it ran")
    seen.clear()
    stored = bytes(session_rows(service, user)[0].token_hash)
    # The thief knows the database and, to be generous, the key: what could stand in the cookie's place of the token?
    guesses: list[Any] = [
        stored.decode("latin-1"),
        stored.hex(),
        base64.urlsafe_b64encode(stored).decode().rstrip("="),
        base64.urlsafe_b64encode(stored).decode(),
        str(user.id),
        user.id.hex,
        str(session_rows(service, user)[0].id),
        user.email,
        secrets.token_urlsafe(32),
        "",
        None,
        True,
        0,
        [browser.content()["token"]],
        {"token": browser.content()["token"]},
        browser.content()["token"].swapcase(),
        f" {browser.content()['token']}",
    ]
    for guess in guesses:
        answer = service.client(user).forge(token=guess).get("/probe")
        harm(seen, "a cookie without the token opened a protected page")
        assert answer.status == 303
        assert answer.location == "/login?next=/probe"


# --- session-rotated-on-privilege-change -----------------------------------------------------------------------


@protects(
    "session-rotated-on-privilege-change",
    login=(
        edit(
            "identity/sessions.py",
            "        connection.execute(_ending(moment, _s.id == replaces))\n",
            "        connection.execute(update(AuthSession).where(_s.id == replaces).values(user_id=user_id))\n",
        ),
        edit(
            "session/cookie.py",
            "    target = session.get(NEXT)\n",
            "    target, kept = session.get(NEXT), session.get(TOKEN)\n",
        ),
        edit("session/cookie.py", "    session[TOKEN] = token\n", "    session[TOKEN] = kept or token\n"),
    ),
)
def test_who_plants_his_own_session_in_a_browser_does_not_become_whoever_signs_in_there(service: Service) -> None:
    user, thief = service.user(), service.client(service.user()).login()
    assert thief.user is not None
    works(thief.user.email in thief.get("/account").text, "the attacker is signed in as himself")
    browser = service.client(user)
    browser.cookie = thief.cookie  # planted
    browser.login(through_form=True)
    works(user.email in browser.get("/account").text, "the victim has signed in")
    answer = thief.get("/account")
    harm(user.email in answer.text, "the planted session is now the victim's")
    assert answer.status == 303
    assert browser.content()["token"] != thief.content()["token"]
    assert [row.revoked_at is not None for row in session_rows(service, thief.user)] == [True]


# --- session-idle-30-min ---------------------------------------------------------------------------------------


@protects(
    "session-idle-30-min", idle=edit("identity/sessions.py", '        _s.seen_at > bindparam("alive_since"),\n', "")
)
def test_a_cookie_that_was_left_for_the_idle_time_opens_nothing(service: Service) -> None:
    seen = service.adds_route("/probe")
    browser = signed_in(service, service.user())
    idle = limits(service).session_idle_minutes
    works(browser.get("/probe").status == 200, "a fresh session opens the page")
    for _ in range(6):
        service.travel(minutes=idle - 1)
        works(browser.get("/probe").status == 200, "a session in use stays open")
    works(len(seen) == 7, "it ran each time")
    seen.clear()
    service.travel(minutes=idle, seconds=1)
    answer = browser.get("/probe")
    harm(seen, "the page opened for a session that was idle for too long")
    assert answer.status == 303
    assert answer.location == "/login?next=/probe"


# --- session-absolute-12-h -------------------------------------------------------------------------------------


@protects(
    "session-absolute-12-h",
    use=edit("identity/sessions.py", '        _s.expires_at > bindparam("moment"),\n', ""),
    move=edit(
        "identity/sessions.py", "        lifetime=row.expires_at - now(),\n", "        lifetime=timedelta(hours=12),\n"
    ),
)
def test_a_session_in_use_ends_half_a_day_after_the_login(service: Service) -> None:
    seen = service.adds_route("/probe")
    user = service.user()
    browser = service.client(user).login()
    hours = limits(service).session_absolute_hours
    passed, step = timedelta(), timedelta(minutes=10)
    while passed + step <= timedelta(hours=hours) - step:
        service.travel(minutes=10)
        passed += step
        assert browser.get("/probe").status == 200
    sessions, database = service.module("identity.sessions"), service.module("database")
    with service.app.app_context():  # what every proof of identity within a session does
        principal = sessions.find_by_token(browser.content()["token"])
        with database.transaction() as connection:
            renewed = sessions.renew(connection, principal, proved=True)
    browser.forge(token=renewed.token)
    service.travel(minutes=9)
    works(browser.get("/probe").status == 200, "a minute before its end the session is still open")
    works(len(seen) >= 6 * (hours - 1), "it was in use all the time")
    seen.clear()
    service.travel(minutes=1, seconds=1)
    answer = browser.get("/probe")
    harm(seen, "a session was longer than it may be, because it was in use or was renewed")
    assert session_ids(service, user) == []  # nor is it among those that are shown to its owner
    assert answer.status == 303
    assert answer.location == "/login?next=/probe"


# --- logout-ends-server-side -----------------------------------------------------------------------------------


@protects(
    "logout-ends-server-side",
    row=edit("session/cookie.py", "    sessions.end(current_user.session_id, current_user.id)\n", ""),
)
def test_a_copy_of_the_cookie_opens_nothing_after_the_logout(service: Service) -> None:
    seen = service.adds_route("/probe", methods=("GET", "POST"))
    user = service.user()
    browser = service.client(user).login()
    token, form_token = browser.content()["token"], browser.csrf_token()
    thief = browser.copy()
    works(thief.get("/probe").status == 200, "the copied cookie opens the page before the logout")
    works(thief.post("/probe", {FIELD: form_token}).status == 200, "and can post")
    works(seen == ["GET", "POST"], "both ran")
    seen.clear()
    out = browser.post("/logout")
    works(out.location == "/login", "the user signs out")
    answers = [thief.get("/probe"), thief.post("/probe", {FIELD: form_token})]
    answers.append(service.client(user).forge(token=token).get("/probe"))  # the thief has the key as well
    harm(seen, "a copy of the cookie still opens the page after the logout")
    assert [answer.status for answer in answers] == [303, 303, 303]
    (line,) = out.set_cookies
    assert line.deletes
    assert line.name == COOKIE
    flags = {name: line.attributes.get(name) for name in ("secure", "httponly", "path", "samesite", "domain")}
    assert flags == {"secure": True, "httponly": True, "path": "/", "samesite": "Lax", "domain": None}
    assert browser.cookie is None
    assert service.client(user).login(through_form=True).get("/probe").status == 200


@protects(
    "logout-post-and-clears",
    button=edit("session/templates/bastion/base.html", "action=\"{{ url_for('bastion.logout') }}\"", 'action="/login"'),
)
def test_a_user_can_sign_out_on_every_page(service: Service) -> None:
    service.adds_probe()
    browser = service.client(service.user()).login()
    answers = pages(browser, "/", "/account", "/probe")
    shown = {path: Page(one.text) for path, one in answers.items() if one.ok and one.mimetype == "text/html"}
    works(len(shown) >= 3, "pages are shown")
    works("/account" in shown, "one's account among them")

    def leaves(page: Page) -> bool:
        return [form.method for form in page.forms if form.action == "/logout" and FIELD in form.controls] == ["POST"]

    harm([path for path, page in shown.items() if not leaves(page)], "whoever is signed in here can't sign out")
    assert len(shown) < 100
