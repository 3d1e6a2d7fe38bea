"""Edges of the proofs in test_cookie.py: further attacks on the same protections."""

from __future__ import annotations

import base64
import json
import re
import secrets
from datetime import timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

from hypothesis import Phase, example, given, settings, strategies

from ...accounts import with_app
from ...harness import edit, harm, insert, protects, refused, works
from ...logins import arrive
from ...session import test_cookie as core
from ...session.test_cookie import HASH, LOADER, session_rows, signed_in
from ...session_client import COOKIE, FIELD
from ..core import sabotages
from ..steps import session_ids

if TYPE_CHECKING:
    from ...running import Service, User


def limits(service: Service) -> Any:
    """Return the limits in force, including those that the team declared."""
    return service.module("state").state_of(service.app).limits


ALLOWED_KEYS = {"token", "csrf_token", "next", "pending", "_flashes"}
PHASES = (Phase.explicit, Phase.generate)  # without shrinking: a failing example is reported as it is


def as_read(cookie: str) -> str:
    """Return a cookie as the signer reads it: without characters outside base64, both alphabets allowed."""
    return re.sub(r"[^A-Za-z0-9_.-]", "", cookie.translate({ord("+"): "-", ord("/"): "_"}))


def number_of_rows(service: Service) -> int:
    """Return the number of rows of all tables together."""
    from sqlalchemy import func, select

    tables = service.module("database").Base.metadata.tables.values()
    with service.engine.connect() as connection:
        return sum(connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables)


# --- session-id-random-hashed ----------------------------------------------------------------------------------


@protects(
    "session-id-random-hashed",
    keys=(
        edit("session/cookie.py", '"csrf_token", "_flashes"}', '"csrf_token", "_flashes", "user"}'),
        edit(
            "session/cookie.py",
            "    begin(opened.token)\n",
            '    begin(opened.token)\n    session["user"] = str(opened.user_id)\n',
        ),
    ),
)
def test_the_cookie_tells_its_reader_nothing_about_anybody(service: Service) -> None:
    service.adds_route("/probe")
    user = service.user(roles=("admin",))
    stranger, browser = service.client(), service.client(user)
    stranger.get("/login", query={"next": "/account"})
    works(stranger.content()["next"] == "/account", "the anonymous cookie stores where the visitor wanted to go")
    contents = {"anonymous": stranger.content()}
    app = with_app(service, user)
    arrive(browser, user.email, user.password)
    contents["half signed in"] = browser.content()
    browser.send_code(app.code())
    works(browser.get("/probe").status == 200, "the issued cookie opens a protected page")
    contents["signed in"] = browser.content()
    browser.csrf_token()
    contents["with a form"] = browser.content()
    browser.post("/account/sessions/end-others")
    contents["with a message"] = browser.content()
    assert "_flashes" in contents["with a message"]
    personal = [str(user.id), user.id.hex, user.email, "admin", browser.address, browser.agent, user.password]
    personal += [str(row.id) for row in session_rows(service, user)]
    for when, content in contents.items():
        text = json.dumps(content)
        harm(content.keys() - ALLOWED_KEYS, f"the cookie of a browser that is {when} holds more than it may")
        harm([value for value in personal if value in text], f"the cookie of a browser that is {when} reveals the user")
    # 256 random bits each, in base64url.
    assert len(contents["half signed in"]["pending"]) == 43
    assert len(contents["signed in"]["token"]) == 43
    assert len(contents["with a form"][FIELD]) == 43
    assert len(contents["anonymous"][FIELD]) == 43


@protects(
    "session-id-random-hashed",
    keys=edit("session/cookie.py", "            del session[key]\n", "            session.modified = True\n"),
)
def test_session_data_of_a_view_stays_out_of_the_cookie(service: Service) -> None:
    def remember() -> str:
        from flask import session

        session["user_id"] = "canary"
        session["cart"] = ["canary"]
        session["next"] = "/account"
        return "kept"

    seen = service.adds_route("/probe", view=remember)
    browser = service.client(service.user()).login()
    works(browser.get("/probe").status == 200, "the view runs")
    works(seen == ["GET"], "the view ran once")
    works(browser.content()["next"] == "/account", "the allowed keys are stored")
    harm(browser.content().keys() - ALLOWED_KEYS, "the readable cookie contains data of a view")
    assert browser.get("/account").status == 200


@protects(
    "session-id-random-hashed",
    anonymous=edit(
        "session/pages.py",
        "    return login_page(LoginForm())\n",
        '    audit.record("form.shown")\n    return login_page(LoginForm())\n',
    ),
)
def test_visitors_who_are_not_signed_in_leave_no_row(service: Service) -> None:
    user = service.user()
    before = number_of_rows(service)
    service.client(user).login()
    works(number_of_rows(service) == before + 1, "a login adds a row")
    before += 1
    for number in range(10):
        visitor = service.client(address=f"198.51.100.{number}")
        assert visitor.get("/login", query={"next": "/account"}).status == 200
        assert visitor.content().keys() == {FIELD, "next"}
    stranger = service.client()
    assert stranger.get("/account").status == 303
    assert stranger.get("/nowhere").status == 404
    assert stranger.forge(token=secrets.token_urlsafe(32)).get("/account").status == 303
    harm(number_of_rows(service) - before, "anonymous visitors add rows to the database")


@protects(
    "session-id-random-hashed",
    random=edit("identity/sessions.py", "secrets.token_urlsafe(TOKEN_BYTES)", 'f"{now().timestamp():043.6f}"'),
)
def test_hundreds_of_tokens_tell_nothing_about_the_next(service: Service) -> None:
    """With a source of 15 bits, such as a process ID, 500 tokens repeat in 98 of 100 runs."""
    users = [service.user() for _ in range(100)]  # of whom none has a session too many, which would be audited
    sessions, database = service.module("identity.sessions"), service.module("database")
    with service.app.app_context(), database.transaction() as connection:
        opened = [
            sessions.open_session(user.id, lifetime=timedelta(hours=1), connection=connection)
            for user in users
            for _ in range(5)
        ]
    tokens = [one.token for one in opened]
    works({len(token) for token in tokens} == {43}, "each login has a token as long as 256 bits in base64url")
    harm(len(set(tokens)) < 500, "two logins have the same token")
    for place in (0, 12, 24):  # 72 bits each: no two of hundreds of random ones are alike
        harm(len({token[place : place + 12] for token in tokens}) < 500, "tokens share a common part")


@protects(
    "session-id-random-hashed",
    salt=edit("session/cookie.py", '    salt = "bastion-session"\n', '    salt = "cookie-session"\n'),
)
def test_value_signed_for_another_purpose_is_no_session(service: Service) -> None:
    import hashlib

    from flask.json.tag import TaggedJSONSerializer
    from itsdangerous import URLSafeTimedSerializer

    seen = service.adds_route("/probe")
    browser = service.client(service.user()).login()
    works(browser.get("/probe").status == 200, "the service's own cookie opens the page")
    works(seen == ["GET"], "the view ran")
    seen.clear()
    content, key = browser.content(), service.environment.secrets["SECRET_KEY"]
    forged = service.client(browser.user)
    for salt in ("cookie-session", "wtf-csrf-token", "itsdangerous", ""):
        for digest in (hashlib.sha256, hashlib.sha1, hashlib.sha512):
            signer = {"key_derivation": "hmac", "digest_method": digest}
            made = URLSafeTimedSerializer(key, salt=salt, serializer=TaggedJSONSerializer(), signer_kwargs=signer)
            forged.cookie = str(made.dumps(content))
            answer = forged.get("/probe")
            harm(seen, f"a value signed with the salt {salt!r} was accepted as a session")
            assert answer.status == 303
    payload, _, rest = str(browser.cookie).partition(".")
    for altered in (f"{payload}.{rest[:-2]}", payload, f"{payload}..", f"{payload[:-1]}A.{rest}", "x" * 5000):
        forged.cookie = altered
        answer = forged.get("/probe")
        harm(seen, "an altered cookie was accepted as a session")
        assert answer.status == 303


# --- signed-values-sha256 ---------------------------------------------------------------------------------------


@protects("signed-values-sha256", cookie=edit("session/cookie.py", "    digest_method = staticmethod(DIGEST)\n", ""))
def test_a_cookie_that_is_signed_as_flask_does_it_is_no_session(service: Service) -> None:
    import hashlib

    from flask.json.tag import TaggedJSONSerializer
    from itsdangerous import URLSafeTimedSerializer

    seen = service.adds_route("/probe")
    browser = service.client(service.user()).login()
    content, key = browser.content(), service.environment.secrets["SECRET_KEY"]

    def signed(digest: Any) -> str:
        options = {"key_derivation": "hmac", "digest_method": digest}
        made = URLSafeTimedSerializer(
            key, salt="bastion-session", serializer=TaggedJSONSerializer(), signer_kwargs=options
        )
        return str(made.dumps(content))

    works(browser.get("/probe").status == 200, "the service's own cookie opens the page")
    works(seen == ["GET"], "the view ran")
    seen.clear()
    forged_by = service.client(browser.user)
    forged_by.cookie = signed(hashlib.sha1)
    answer = forged_by.get("/probe")
    harm(seen, "a cookie signed with SHA-1 was accepted as a session")
    assert answer.status == 303
    forged_by.cookie = signed(hashlib.sha256)
    assert forged_by.get("/probe").status == 200


# --- session-rotated-on-privilege-change -----------------------------------------------------------------------


@protects(
    "session-rotated-on-privilege-change",
    clear=edit(
        "session/cookie.py",
        "    session.clear()  # a cookie that somebody planted before ends here, its form token with it\n",
        "",
    ),
)
def test_login_invalidates_a_planted_csrf_token(service: Service) -> None:
    seen = service.adds_route("/probe", methods=("GET", "POST"))
    user, thief = service.user(), service.client()
    known = thief.csrf_token()
    planted = {**thief.content(), "next": "/probe?page=2", "_flashes": [("info", "a planted message")]}
    browser = service.client(user).forge(**planted)
    before = browser.copy()
    answer = browser.post("/login", {"identifier": user.email, "password": user.password, FIELD: known})
    works(answer.location == "/probe?page=2", "the victim signs in and reaches the requested page")
    works(browser.get("/probe?page=2").status == 200, "the new cookie opens the page")
    works(browser.post("/probe").status == 200, "the new token is accepted")
    works(seen == ["GET", "POST"], "both requests ran")
    seen.clear()
    answer = browser.post("/probe", {FIELD: known})
    harm(seen, "a CSRF token known before the login is still valid")
    refused(answer, 400, "csrf-token-required")
    harm("a planted message" in browser.get("/account").text, "data planted before the login is shown after it")
    assert before.get("/account").status == 303
    assert browser.content().keys() == {"token", FIELD}
    assert browser.content()[FIELD] != planted[FIELD]


@protects(
    "session-rotated-on-privilege-change",
    again=edit(
        "session/cookie.py",
        "replaces=current_user.session_id if current_user.is_authenticated else None",
        "replaces=None",
    ),
)
def test_second_login_ends_the_earlier_session(service: Service) -> None:
    seen = service.adds_route("/probe")
    browser = service.client(service.user()).login()
    thief = browser.copy()
    works(thief.get("/probe").status == 200, "the copied cookie opens the page before the second login")
    browser.login(through_form=True)
    works(browser.get("/probe").status == 200, "the new cookie opens it after the second login")
    works(browser.content()["token"] != thief.content()["token"], "the token has changed")
    seen.clear()
    answer = thief.get("/probe")
    harm(seen, "the cookie from before the second login still opened the page")
    assert answer.status == 303
    assert browser.user is not None
    old, new = session_rows(service, browser.user)
    assert old.revoked_at == new.created_at  # one moment, one transaction
    assert new.revoked_at is None


# --- session-idle-30-min ---------------------------------------------------------------------------------------


@protects("session-idle-30-min", mark=edit("identity/sessions.py", "        _mark_idle(key, moment, idle)\n", ""))
def test_idle_session_stays_ended_when_the_clock_is_set_back(service: Service) -> None:
    seen = service.adds_route("/probe")
    user = service.user()
    browser, other = signed_in(service, user), signed_in(service, user)
    idle = limits(service).session_idle_minutes
    works(browser.get("/probe").status == 200, "a fresh session opens the page")
    works(seen == ["GET"], "the view ran")
    seen.clear()
    service.travel(minutes=idle, seconds=1)
    assert browser.get("/probe").status == 303
    service.travel(minutes=-idle)
    answer = browser.get("/probe")
    harm(seen, "an ended session was valid again after the clock was set back")
    assert answer.status == 303
    assert [row.revoked_at is not None for row in session_rows(service, user)] == [True, False]
    assert other.get("/probe").status == 200  # no request met it while it was idle


@protects(
    "session-idle-30-min",
    passive=edit(
        "request/authentication.py",
        "        if request.endpoint not in PASSIVE and not is_signed():\n",
        "        if request.endpoint:\n",
    ),
)
def test_automatic_requests_do_not_keep_a_session_alive(service: Service) -> None:
    seen = service.adds_route("/probe")
    browser = signed_in(service, service.user())
    idle = limits(service).session_idle_minutes
    works(browser.get("/probe").status == 200, "a fresh session opens the page")
    works(seen == ["GET"], "the view ran")
    seen.clear()
    service.travel(minutes=idle - 1)
    works(browser.get("/static/bastion/bastion.css").status == 200, "the stylesheet is served")
    report = b'{"csp-report": {"document-uri": "https://app.example/account"}}'
    # With a field in place of the form token, since a client that looks for one opens a page.
    sent = {"CONTENT_TYPE": "application/csp-report", "CONTENT_LENGTH": str(len(report)), "wsgi.input": BytesIO(report)}
    works(browser.post("/csp-report", {FIELD: "none"}, environ=sent).status == 204, "a policy report is accepted")
    works(browser.get("/healthz").status == 200, "the health probe answers")
    service.travel(minutes=1, seconds=1)
    answer = browser.get("/probe")
    harm(seen, "automatic requests kept an idle session alive")
    assert answer.status == 303


# --- session-absolute-12-h -------------------------------------------------------------------------------------


@protects(
    "session-absolute-12-h",
    browser=insert(
        "session/cookie.py",
        after="    digest_method = staticmethod(DIGEST)\n",
        new="\n    def get_expiration_time(self, app: Flask, session: Any) -> datetime:\n"
        "        return now() + timedelta(days=30)\n",
    ),
)
def test_a_browser_keeps_the_cookie_no_longer_than_it_is_open(service: Service) -> None:
    user = service.user()
    browser = service.client(user)
    shown = browser.get("/login")
    browser.cookie = None
    answer = browser.post("/login", {"identifier": user.email, "password": user.password})
    works(browser.get("/account").status == 200, "the user is signed in")
    lines = [line for one in (shown, answer) for line in one.set_cookies if line.name == COOKIE]
    harm([line.raw for line in lines if {"max-age", "expires"} & line.attributes.keys()], "a browser keeps the cookie")
    assert len(lines) == 2


# --- logout-ends-server-side -----------------------------------------------------------------------------------


@protects(
    "logout-post-and-clears",
    clear=edit("session/pages.py", '    answer.headers["Clear-Site-Data"] = \'"storage"\'\n', ""),
)
def test_logout_clears_script_storage_and_keeps_other_cookies(service: Service) -> None:
    browser = service.client(service.user()).login()
    browser.cookies["__Host-device"] = "kept"
    answer = browser.post("/logout")
    works((answer.status, answer.location) == (303, "/login"), "the user signs out and lands on a public page")
    works(service.client().get("/login").status == 200, "the public page opens")
    harm(answer.header("Clear-Site-Data") is None, "data stored by scripts is left to the next user of the browser")
    assert answer.headers_named("Clear-Site-Data") == ['"storage"']  # "cookies" would take those of other hosts as well
    assert answer.header("Cache-Control") == "no-store"
    assert [line.name for line in answer.set_cookies] == [COOKIE]
    assert browser.cookies == {"__Host-device": "kept"}
    assert browser.post("/logout", {FIELD: None}).status == 400


# --- cookie-flags, where the style has a cookie ------------------------------------------------------------------


@protects(
    "cookie-flags",
    secure=edit("edge/cookies.py", '    if secure and "secure" not in flags:\n', "    if False:\n"),
)
def test_cookie_without_secure_is_not_set(service: Service) -> None:
    from flask import Response as Answer

    def setting(flags: str) -> Any:
        line = f"__Host-x=1; {flags}HttpOnly; SameSite=Lax; Path=/"
        return lambda: Answer("answered", headers=[("Set-Cookie", line)])

    service.adds_route("/good", mark="public", view=setting("Secure; "))
    service.adds_route("/bad", mark="public", view=setting(""))
    browser = service.client(service.user()).login(through_form=True)
    works(browser.get("/account").status == 200, "the session cookie was set, stored and sent back")
    works(browser.get("/good").set_cookies, "a cookie with every flag is set")
    answer = browser.get("/bad")
    harm(answer.set_cookies, "a cookie without Secure was set")
    refused(answer, 200, "cookie-flags")


@protects(
    "cookie-flags",
    token=edit(
        "session/account.py",
        "device_name(row.agent)}",
        '__import__("flask").session["token"]}',
    ),
)
def test_the_token_appears_in_the_cookie_alone(service: Service) -> None:
    def logs_it() -> dict[str, str]:
        from flask import session

        service.module("log").get_logger("probe").warning("seen", cookie=dict(session), text=f"session {session}")
        return {"probe": "ran"}

    seen = service.adds_route("/probe", view=logs_it)
    browser = service.client(service.user()).login(through_form=True)
    token = browser.content()["token"]
    works(token, "the signed cookie holds the token")
    answers = [browser.get(path) for path in ("/account", "/probe", "/nowhere", "/login", "/")]
    works(seen == ["GET"], "the view that logs its session ran")
    answers += [browser.post("/account/sessions/end-others"), browser.post("/nowhere"), browser.post("/logout")]
    for answer in answers:
        elsewhere = [f"{name}: {value}" for name, value in answer.headers if name.lower() != "set-cookie"]
        harm(token in answer.text, "a page contains the session token")
        harm([line for line in elsewhere if token in line], "a header contains the session token")
    harm(token in service.output, "the log contains the session token")


@protects("session-id-random-hashed", hash=HASH)
def test_malformed_cookies_neither_sign_in_nor_fail(service: Service) -> None:
    seen = service.adds_route("/probe")
    user = service.user()
    browser = service.client(user).login()
    works(browser.get("/probe").status == 200, "the issued cookie opens a protected page")
    works(seen == ["GET"], "the view ran")
    seen.clear()
    stored = bytes(session_rows(service, user)[0].token_hash).decode("latin-1")
    good = str(browser.cookie)
    letters = strategies.characters(max_codepoint=255, exclude_characters=";")
    cut = strategies.tuples(strategies.integers(0, len(good) - 2), strategies.text(letters, max_size=4))
    altered = cut.map(lambda pair: good[: pair[0]] + pair[1] + good[pair[0] + 1 :])
    short = strategies.text(max_size=50)
    tokens = short | strategies.none() | strategies.integers() | strategies.lists(short, max_size=3)
    failed: list[str] = []

    @settings(max_examples=60, derandomize=True, database=None, deadline=None, phases=PHASES)
    @example(None, stored)
    @given(strategies.text(letters, max_size=100) | altered | strategies.none(), tokens)
    def opens_nothing(value: str | None, token: Any) -> None:
        visitor = service.client()
        if value is None:
            visitor.forge(token=token)  # rightly signed: the attacker has the key
        elif as_read(value) != good:
            visitor.cookie = value
        answer = visitor.get("/probe")
        failed.extend([repr(value)] if answer.status >= 500 else [])
        harm(seen, "a forged cookie opened a protected page")
        assert answer.status == 303

    opens_nothing()
    assert failed == []


@protects("session-id-random-hashed", hash=HASH)
def test_a_stolen_copy_of_the_database_signs_nobody_in(service: Service) -> None:
    seen = service.adds_route("/probe")
    user = service.user()
    browser = service.client(user).login()
    works(browser.get("/probe").status == 200, "the issued cookie opens a protected page")
    works(seen == ["GET"], "the view ran")
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
        harm(seen, "a cookie made from stored values opened a protected page")
        assert answer.status == 303
        assert answer.location == "/login?next=/probe"


@protects(
    "session-rotated-on-privilege-change",
    **sabotages(
        core.test_a_session_that_was_planted_in_a_browser_is_not_its_users_after_the_login,
        "session-rotated-on-privilege-change",
        "login",
    ),
)
def test_session_fixation_is_refused(service: Service) -> None:
    user, thief = service.user(), service.client(service.user()).login()
    assert thief.user is not None
    works(thief.user.email in thief.get("/account").text, "the attacker signs in")
    browser = service.client(user)
    browser.cookie = thief.cookie  # planted
    browser.login(through_form=True)
    works(user.email in browser.get("/account").text, "the victim signs in")
    answer = thief.get("/account")
    harm(user.email in answer.text, "the planted cookie opened the victim's account (session fixation)")
    assert answer.status == 303
    assert browser.content()["token"] != thief.content()["token"]
    assert [row.revoked_at is not None for row in session_rows(service, thief.user)] == [True]


@protects(
    "session-idle-30-min",
    idle=edit("identity/sessions.py", '        SESSIONS.seen_at > bindparam("alive_since"),\n', ""),
)
def test_a_cookie_that_was_left_for_the_idle_time_opens_nothing(service: Service) -> None:
    seen = service.adds_route("/probe")
    browser = signed_in(service, service.user())
    idle = limits(service).session_idle_minutes
    works(browser.get("/probe").status == 200, "a fresh session opens the page")
    for _ in range(6):
        service.travel(minutes=idle - 1)
        works(browser.get("/probe").status == 200, "a session in use stays open")
    works(len(seen) == 7, "the view ran each time")
    seen.clear()
    service.travel(minutes=idle, seconds=1)
    answer = browser.get("/probe")
    harm(seen, "the view ran for a session past its idle timeout")
    assert answer.status == 303
    assert answer.location == "/login?next=/probe"


@protects(
    "session-absolute-12-h",
    use=edit("identity/sessions.py", '        SESSIONS.expires_at > bindparam("moment"),\n', ""),
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
    works(len(seen) >= 6 * (hours - 1), "the session was in use all the time")
    seen.clear()
    service.travel(minutes=1, seconds=1)
    answer = browser.get("/probe")
    harm(seen, "a session in use or renewed outlived its absolute lifetime")
    assert session_ids(service, user) == []  # nor is it among those that are shown to its owner
    assert answer.status == 303
    assert answer.location == "/login?next=/probe"


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
    works(thief.post("/probe", {FIELD: form_token}).status == 200, "the copied cookie can post")
    works(seen == ["GET", "POST"], "both requests ran")
    seen.clear()
    out = browser.post("/logout")
    works(out.location == "/login", "the user signs out")
    answers = [thief.get("/probe"), thief.post("/probe", {FIELD: form_token})]
    answers.append(service.client(user).forge(token=token).get("/probe"))  # the thief has the key as well
    harm(seen, "a copy of the cookie still opened the page after the logout")
    assert [answer.status for answer in answers] == [303, 303, 303]
    (line,) = out.set_cookies
    assert line.deletes
    assert line.name == COOKIE
    flags = {name: line.attributes.get(name) for name in ("secure", "httponly", "path", "samesite", "domain")}
    assert flags == {"secure": True, "httponly": True, "path": "/", "samesite": "Lax", "domain": None}
    assert browser.cookie is None
    assert service.client(user).login(through_form=True).get("/probe").status == 200


# --- no-remember-cookie -----------------------------------------------------------------------------------------------


class Someone:
    """A user object as an extension makes it for Flask-Login."""

    is_active = is_authenticated = True
    is_anonymous = False

    def __init__(self, users: list[User]) -> None:
        self.id = users[0].id

    def get_id(self) -> str:
        return str(self.id)


@protects(
    "session-id-random-hashed",
    mechanism=(
        edit("session/cookie.py", '"csrf_token", "_flashes"}', '"csrf_token", "_flashes", "_user_id"}'),
        edit(
            "session/cookie.py",
            "    return sessions.find_by_token(token) if isinstance(token, str) else None\n",
            "    if isinstance(token, str):\n        return sessions.find_by_token(token)\n"
            "    from uuid import UUID, uuid4\n\n    from ..clock import now\n\n"
            '    named = session.get("_user_id")\n    none = frozenset()\n'
            '    return Principal(UUID(named), "", uuid4(), now(), now(), none, none) if named else None\n',
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
        flask_login.login_user(service.module("request.authentication").current_user, remember=True)
        return "logged in, it says"

    called = service.adds_route("/extension", mark="public", view=by_extension)
    service.adds_route("/ourselves", view=by_ourselves)
    seen = service.adds_route("/probe")
    users.append(service.user())
    browser = service.client(users[0]).login()
    works(browser.get("/probe").status == 200, "a signed-in user opens the page")
    works(seen == ["GET"], "the view ran")
    seen.clear()
    thief = service.client()
    errors = [thief.get("/extension"), browser.get("/ourselves")]
    assert called == ["GET"]
    answer = thief.get("/probe")
    harm(seen, "login_user() of Flask-Login opened a protected page")
    assert answer.status == 303
    assert thief.content() == {}
    assert thief.cookies.keys() <= {COOKIE}
    # It does not only do nothing: it says so, at once.
    assert [error.status for error in errors] == [500, 500]
    raised = [event["exception"] for event in service.log if event["event"] == "unhandled_exception"]
    assert ["opens no session here" in text for text in raised] == [True, True]


KNOWN = {COOKIE, "__Host-device"}  # the second signs no user in: it only says that the browser has been here before
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
    works(browser.get("/account").status == 200, "the account page opens")
    other = service.client().get("/remember")
    assert called == ["GET"]
    lines = [*answer.set_cookies, *other.set_cookies]
    harm([line.raw for line in lines if line.name not in KNOWN], "a cookie was set that outlives the session")
    assert {line.name for line in answer.set_cookies} <= KNOWN
    assert other.status == 500  # login_user opens no session here, and says so
    assert "opens no session here" in next(one["exception"] for one in other.events if "exception" in one)


@protects(
    "logout-ends-server-side",
    extension=edit("session/login_manager.py", "            log_out()\n", "            pass\n"),
)
def test_logout_user_of_flask_login_ends_the_session(service: Service) -> None:
    import flask_login

    def leave() -> str:
        flask_login.logout_user()
        return (
            "anonymous" if not service.module("request.authentication").current_user.is_authenticated else "signed in"
        )

    service.adds_route("/leave", mark="public", view=leave)
    seen = service.adds_route("/probe")
    browser = service.client(service.user()).login()
    thief = browser.copy()
    works(thief.get("/probe").status == 200, "a copy of the cookie opens the page before the logout")
    works(seen == ["GET"], "the view ran")
    seen.clear()
    left = browser.get("/leave")
    works(left.text == "anonymous", "an extension calls logout_user(), and the rest of the request is anonymous")
    answer = thief.get("/probe")
    harm(seen, "a copy of the cookie still opened the page after logout_user()")
    assert answer.status == 303
    assert browser.cookie is None
    assert service.client().get("/leave").text == "anonymous"


@protects(
    "deny-by-default",
    login_disabled=edit("session/login_manager.py", '{"LOGIN_DISABLED": False, ', "{"),
)
def test_login_disabled_stops_the_start(service: Service) -> None:
    works(service.start().app, "the service starts without it")
    service.adds(lambda app: app.config.update(LOGIN_DISABLED=True))
    started = service.start()
    harm(started.app is not None, "the service started with LOGIN_DISABLED")
    assert len(started.reasons) == 1
    assert "LOGIN_DISABLED" in started.reasons[0]
    service.adds(lambda app: app.config.update(LOGIN_DISABLED=False, SESSION_PROTECTION="strong"))
    [reason] = service.start().reasons  # it would clear a cookie that is not its own
    assert "SESSION_PROTECTION" in reason


@protects(
    "deny-by-default",
    options=edit(
        "request/access.py",
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
    works(browser.get("/probe").status == 200, "both marks admit the user")
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
        "request/access.py",
        "    if faults := [*_faults(app, endpoints)]:\n",
        "    endpoints = {name for name in endpoints if marks_of(app.view_functions[name])}\n"
        "    if faults := [*_faults(app, endpoints)]:\n",
    ),
)
def test_flask_logins_login_required_is_no_access_rule(service: Service) -> None:
    import flask_login

    def marked_elsewhere() -> str:
        return "open to OPTIONS"

    works(service.start().app, "a service starts if every route has one of its own rules")
    service.adds(lambda app: app.add_url_rule("/probe", "probe", flask_login.login_required(marked_elsewhere)))
    started = service.start()
    harm(started.app is not None, "the service started with a route that only Flask-Login protects")
    assert len(started.reasons) == 1
    assert "'probe'" in started.reasons[0]
    assert f"{marked_elsewhere.__code__.co_filename}:{marked_elsewhere.__code__.co_firstlineno}" in started.reasons[0]


@protects("session-id-random-hashed", remember=LOADER)
@protects("no-remember-cookie", read=LOADER)
def test_a_hand_made_remember_token_is_nobody(service: Service) -> None:
    from flask_login import current_user, encode_cookie

    def who() -> str:
        signed_in = current_user.is_authenticated and current_user.is_active and not current_user.is_anonymous
        return str(current_user.id) if signed_in else "anonymous"

    service.adds_route("/who", mark="public", view=who)
    seen = service.adds_route("/probe")
    user = service.user()
    browser = service.client(user).login()
    works(browser.get("/probe").status == 200, "the session cookie opens the page")
    seen.clear()
    thief = service.client()
    for name in ("remember_token", "__Host-remember_token", "remember"):
        for content in (str(user.id), user.id.hex, user.email, browser.content()["token"]):
            with service.app.app_context():  # signed with the service's own key, as Flask-Login does it
                thief.cookies = {name: encode_cookie(content)}
            harm(thief.get("/who").text == content, "Flask-Login accepted a forged remember cookie as a user")
            answer = thief.get("/probe")
            harm(seen, "a forged remember cookie opened the page")
            assert answer.status == 303
            assert thief.get("/who").text == "anonymous"
    # One that is junk does not sign out whom the session's cookie signs in.
    assert browser.cookie is not None
    browser.cookies = {COOKIE: browser.cookie, "remember_token": "junk|junk"}
    assert browser.get("/probe").status == 200
    assert browser.get("/who").text == str(user.id)
