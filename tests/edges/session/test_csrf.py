"""Edges of the proofs in test_csrf.py: further attacks on the same protections."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

from ...harness import edit, harm, insert, protects, refused, works
from ...session.test_csrf import CHECK, LAYER, ROW, UNSAFE, bad_tokens, token_of
from ...session_client import COOKIE, FIELD, HEADER
from ...wire import ORIGIN

if TYPE_CHECKING:
    from ...running import Service


# A form that hears from the app-wide layer that the token is right does not look at it again.
BOTH = edit(
    "session/csrf.py",
    CHECK,
    "    def check_token() -> None:\n        from flask import g\n\n        g.csrf_valid = True\n",
)
FORM = insert(
    "session/forms.py",
    after='    """Base of every form that is posted: it carries the CSRF token and checks it by itself as well."""\n',
    new="\n    class Meta:\n        csrf = False\n",
)


@protects(ROW, layer=LAYER)
def test_a_token_counts_only_in_the_form_field_and_in_the_one_header(service: Service) -> None:
    seen = service.adds_route("/bare", methods=UNSAFE)
    browser = service.client(service.user()).login()
    token = browser.csrf_token()
    works(browser.post("/bare", json={"a": 1}).status == 200, "a script sends JSON with the token in the header")
    works(seen == ["POST"], "the view runs")
    seen.clear()
    cookies = f"{COOKIE}={browser.cookie}; {FIELD}={token}"
    left_out: dict[str, Any] = {HEADER: None, "Referer": f"{ORIGIN}/account"}
    elsewhere = [
        browser.post("/bare", json={FIELD: token}, headers=left_out),
        browser.post("/bare", json={"a": 1}, headers=left_out, query={FIELD: token}),
        browser.post("/bare", json={"a": 1}, headers={**left_out, "Cookie": cookies}),
        browser.post("/bare", json={"a": 1}, headers={**left_out, "X-CSRF-Token": token}),
        browser.post("/bare", json={"a": 1}, headers={**left_out, "X-XSRF-Token": token}),
        browser.post("/bare", json={"a": 1}, headers={**left_out, "Authorization": f"Bearer {token}"}),
        browser.post("/bare", json={"a": 1}, headers={**left_out, "X-Requested-With": "XMLHttpRequest"}),
    ]
    harm(seen, "a token was read from where another site, or a log, could have put or found it")
    for answer in elsewhere:
        refused(answer, 400, ROW)


@protects(ROW, layer=BOTH)
def test_an_anonymous_form_is_not_taken_without_its_token_either(service: Service) -> None:
    user, attacker = service.user(), service.client()
    foreign = attacker.csrf_token()
    browser = service.client(user)
    token = browser.csrf_token()
    credentials = {"identifier": user.email, "password": user.password}
    thief = service.client()
    works(service.client(user).post("/login", credentials).location, "the login form is taken with its token")
    answers = [
        browser.post("/login", {**credentials, FIELD: None}),
        browser.post("/login", {**credentials, FIELD: foreign}),
        thief.post("/login", {**credentials, FIELD: token}),  # without the cookie that belongs to it
    ]
    signed_in = [one for one in (browser, thief) if "token" in one.content()]
    harm(signed_in, "a browser was signed in by a form that is not of this session")
    for answer in answers:
        refused(answer, 400, ROW)


@protects(ROW, age=edit("session/csrf.py", "service.limits.csrf_token_minutes * 60", "None"))
def test_a_token_that_was_read_long_ago_is_refused(service: Service) -> None:
    seen = service.adds_route("/bare", methods=UNSAFE)
    browser = service.client(service.user()).login()
    browser.csrf_token()
    life = service.module("state").state_of(service.app).limits.csrf_token_minutes * 60
    older = token_of(browser, seconds_ago=life - 60)
    works(browser.post("/bare", {FIELD: older}).status == 200, "a form that was open for a while is taken")
    works(seen == ["POST"], "the view runs")
    seen.clear()
    for seconds in (life + 1, life + 60, 86_400):
        answer = browser.post("/bare", {FIELD: token_of(browser, seconds_ago=seconds)})
        harm(seen, f"a token that is {seconds} s old was accepted")
        refused(answer, 400, ROW)


@protects(
    ROW,
    keys=edit(
        "session/csrf.py",
        "return iter(self._rings.get(SECRET).texts()[::-1])",
        "return iter(self._rings.get(SECRET).texts())",
    ),
)
def test_a_former_key_signs_no_token_any_more(service: Service) -> None:
    seen = service.adds_route("/bare", methods=("POST",))
    oldest, old, new = (secrets.token_urlsafe(32) for _ in range(3))
    service.restart(SECRET_KEY=old)
    browser = service.client(service.user()).login()
    before = browser.csrf_token()
    works(browser.post("/bare", {FIELD: before}).status == 200, "a token of this session is taken")
    service.restart(SECRET_KEY=new, BASTION_SECRET_KEY_FALLBACKS=f"{old},{oldest}")
    works(browser.post("/bare", {FIELD: before}).status == 200, "also from a form that was open during a rotation")
    works(len(seen) == 2, "the view ran both times")
    browser.cookie = browser.cookie  # it reads the page again
    after = browser.csrf_token()
    signers = [key for key in (old, oldest) if signed_with(key, after)]
    harm(signers, "a token was signed with a key that was replaced, and so would be by whoever has stolen that")
    assert signed_with(new, after)
    assert signed_with(old, before)


def signed_with(key: str, token: str) -> bool:
    from itsdangerous import URLSafeTimedSerializer

    return URLSafeTimedSerializer(key, salt="wtf-csrf-token").loads_unsafe(token)[0]


@protects(ROW, form=FORM)
def test_a_form_refuses_a_missing_token_by_itself(service: Service) -> None:
    forms = service.module("session.forms")
    browser, attacker = service.client(service.user()).login(), service.client(service.user()).login()
    token, bad = browser.csrf_token(), bad_tokens(browser, attacker)

    class Probe(forms.SubmittedForm):  # type: ignore[misc, name-defined]
        title = forms.StringField("Title", [forms.InputRequired()])

    def check(form: Any, fields: dict[str, str]) -> Any:
        """Validate a form in a request that the app-wide layer has not looked at."""
        cookie = {"Cookie": f"{COOKIE}={browser.cookie}"}
        with service.app.test_request_context("/x", method="POST", data=fields, base_url=ORIGIN, headers=cookie):
            made = form()
            return made.validate(), made.errors

    credentials = {"identifier": "user@example.com", "password": "a password"}
    for form, fields in ((Probe, {"title": "x"}), (forms.LoginForm, credentials)):
        works(check(form, {**fields, FIELD: token}) == (True, {}), "the form is valid with its token")
        for what, wrong in {"no token": {}, **{what: {FIELD: bad_one} for what, bad_one in bad.items()}}.items():
            valid, errors = check(form, {**fields, **wrong})
            harm(valid, f"a form is valid with {what}")
            assert errors.keys() == {FIELD}, what


# --- csrf-token-bound ------------------------------------------------------------------------------------------

CLEARED = "    session.clear()  # a cookie that somebody planted before ends here, its form token with it\n"
KEEPS = '    known = session.get("csrf_token")\n    session.clear()\n    session["csrf_token"] = known\n'
OUT = "    sessions.end(current_user.session_id, current_user.id)\n"


@protects(
    "csrf-token-bound",
    renewed=edit("session/cookie.py", CLEARED, KEEPS),
    ended=edit("session/cookie.py", f"{OUT}    session.clear()\n", f"{OUT}{KEEPS}"),
)
def test_a_token_from_before_a_login_or_logout_is_none_after_it(service: Service) -> None:
    seen = service.adds_route("/bare", methods=("POST",), mark="public")
    user = service.user()
    browser = service.client(user)
    before = browser.csrf_token()
    works(browser.post("/bare", {FIELD: before}).status == 200, "a visitor's token is taken")
    browser.login(through_form=True)
    during = browser.csrf_token()
    works(browser.post("/bare", {FIELD: during}).status == 200, "so is that of the signed-in user")
    works(len(seen) == 2, "the view ran both times")
    seen.clear()
    answers = [browser.post("/bare", {FIELD: before})]
    browser.post("/logout", {FIELD: during})
    after = browser.csrf_token()
    answers += [browser.post("/bare", {FIELD: before}), browser.post("/bare", {FIELD: during})]
    harm(seen, "a token outlived the session that it was made for")
    for answer in answers:
        refused(answer, 400, ROW)
    assert browser.post("/bare", {FIELD: after}).status == 200


@protects(
    "csrf-token-bound", bits=edit("session/csrf.py", "    session.setdefault(FIELD, secrets.token_urlsafe(32))\n", "")
)
def test_what_tokens_are_made_of_is_as_random_as_a_session(service: Service) -> None:
    seen = service.adds_route("/bare", methods=("POST",), mark="public")
    visitors = [service.client() for _ in range(3)]
    statuses = [visitor.post("/bare", {FIELD: visitor.csrf_token()}).status for visitor in visitors]
    works(statuses == [200] * 3, "a visitor's token is taken")
    works(len(seen) == 3, "the view ran")
    kept = {visitor.content()[FIELD] for visitor in visitors}
    bits = [len(base64.urlsafe_b64decode(value + "=")) * 8 for value in kept if len(value) == 43]
    harm(len(bits) < 3, "tokens are made of fewer than 256 bits, or of the same for two visitors")
    assert bits == [256] * 3


@protects(
    "csrf-token-bound",
    query=edit(
        "session/csrf.py",
        "    try:\n        protect.protect()\n",
        "    if FIELD in request.args:\n        from flask_wtf.csrf import validate_csrf\n\n"
        "        validate_csrf(request.args[FIELD])\n        return True\n"
        "    try:\n        protect.protect()\n",
    ),
)
def test_a_token_is_in_the_body_of_a_page_and_nowhere_else(service: Service) -> None:
    seen = service.adds_route("/bare", methods=("POST",))
    browser = service.client(service.user()).login()
    token = browser.csrf_token()
    works(browser.post("/bare", {FIELD: token}).status == 200, "the token of a page is taken")
    works(seen == ["POST"], "the view ran")
    seen.clear()
    answers = [browser.post("/bare", {FIELD: None, "a": "1"}, query={name: token}) for name in (FIELD, HEADER)]
    harm(seen, "a token was read from an address, which logs, histories and Referers keep")
    for answer in answers:
        refused(answer, 400, ROW)
    kept = browser.content()[FIELD]
    pages = [browser.get(path) for path in ("/account", "/login", "/", "/nowhere")]
    pages.append(browser.post("/account/sessions/end-others"))
    lines = [line for page in pages for line in page.set_cookies]
    headers = [value for page in pages for name, value in page.headers if name.lower() != "set-cookie"]
    harm([value for value in headers if token in value], "a token is in a header or an address")
    harm([line.raw for line in lines if "httponly" not in line.attributes], "a script can read the cookie")
    harm(token in service.output, "a token is in the log")
    harm(kept in service.output, "what tokens are made of is in the log")
    assert len(lines) >= 1
