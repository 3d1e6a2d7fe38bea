"""Edges of the proofs in test_csrf.py: further attacks on the same protections."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

from ... import mails
from ...databases import changed, everything
from ...harness import edit, harm, insert, protects, refused, works
from ...rings import new_key, ring_of
from ...routes import routes, stubbed, walkers
from ...session.test_csrf import CHECK, EXEMPT, LAYER, READ, ROW, UNBOUND, UNSAFE, by_header
from ...session_client import COOKIE, FIELD, HEADER
from ...wire import ORIGIN

if TYPE_CHECKING:
    from ...running import Service
    from ...session_client import Client
    from ...wire import Response


def token_of(client: Client, *, seconds_ago: int) -> str:
    """Return the token that a page of this session had this long ago; the proof knows the key."""
    from itsdangerous import TimestampSigner, URLSafeTimedSerializer

    class Then(TimestampSigner):
        def get_timestamp(self) -> int:
            return super().get_timestamp() - seconds_ago

    key = client.service.app.config["WTF_CSRF_SECRET_KEY"]
    return str(URLSafeTimedSerializer(key, salt="wtf-csrf-token", signer=Then).dumps(client.content()[FIELD]))


def altered(token: str) -> str:
    """Return the token with one letter of its signature changed."""
    body, _, signature = token.rpartition(".")
    return f"{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


def bad_tokens(client: Client, attacker: Client) -> dict[str, str]:
    """Return invalid tokens of this session, including one of the attacker's own session."""
    token = client.csrf_token()
    life = client.service.module("state").state_of(client.service.app).limits.csrf_token_minutes * 60
    return {
        "an empty token": "",
        "an expired token": token_of(client, seconds_ago=life + 1),
        "an altered token": altered(token),
        "a token of the attacker's session": attacker.csrf_token(),
        "the unsigned value of this session": client.content()[FIELD],
        "half a token": token[: len(token) // 2],
        "the name of a token": FIELD,
    }


BARE = frozenset({"probe_bare", "probe_bare_public"})


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
def test_csrf_token_is_read_only_from_its_field_and_header(service: Service) -> None:
    seen = service.adds_route("/bare", methods=UNSAFE)
    browser = service.client(service.user()).login()
    token = browser.csrf_token()
    works(browser.post("/bare", json={"a": 1}).status == 200, "a script sends JSON with the token in the header")
    works(seen == ["POST"], "the view runs for a signed-in client")
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
    harm(seen, "a CSRF token was read from a place that another site or a log can reach")
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
    works(service.client(user).post("/login", credentials).location, "the login form with its token is accepted")
    answers = [
        browser.post("/login", {**credentials, FIELD: None}),
        browser.post("/login", {**credentials, FIELD: foreign}),
        thief.post("/login", {**credentials, FIELD: token}),  # without the cookie that belongs to it
    ]
    signed_in = [one for one in (browser, thief) if "token" in one.content()]
    harm(signed_in, "a login form without a token of this session signed a browser in")
    for answer in answers:
        refused(answer, 400, ROW)


@protects(ROW, age=edit("session/csrf.py", "service.limits.csrf_token_minutes * 60", "None"))
def test_a_token_that_was_read_long_ago_is_refused(service: Service) -> None:
    seen = service.adds_route("/bare", methods=UNSAFE)
    browser = service.client(service.user()).login()
    browser.csrf_token()
    life = service.module("state").state_of(service.app).limits.csrf_token_minutes * 60
    older = token_of(browser, seconds_ago=life - 60)
    works(browser.post("/bare", {FIELD: older}).status == 200, "a form that was open for a while is accepted")
    works(seen == ["POST"], "the view runs for a signed-in client")
    seen.clear()
    for seconds in (life + 1, life + 60, 86_400):
        answer = browser.post("/bare", {FIELD: token_of(browser, seconds_ago=seconds)})
        harm(seen, f"a token of {seconds} s ago was accepted")
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
    works(browser.post("/bare", {FIELD: before}).status == 200, "a token of this session is accepted")
    service.restart(SECRET_KEY=ring_of(service, new, old, oldest))
    works(browser.post("/bare", {FIELD: before}).status == 200, "a form that was open during a rotation is accepted")
    works(len(seen) == 2, "the view ran both times")
    browser.cookie = browser.cookie  # it reads the page again
    after = browser.csrf_token()
    signers = [key for key in (old, oldest) if signed_with(key, after)]
    harm(signers, "a new token was signed with a replaced key, which a thief may hold")
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
        """Validate a form in a request that the app-wide layer has not checked."""
        cookie = {"Cookie": f"{COOKIE}={browser.cookie}"}
        with service.app.test_request_context("/x", method="POST", data=fields, base_url=ORIGIN, headers=cookie):
            made = form()
            return made.validate(), made.errors

    credentials = {"identifier": "user@example.com", "password": "a password"}
    for form, fields in ((Probe, {"title": "x"}), (forms.LoginForm, credentials)):
        works(check(form, {**fields, FIELD: token}) == (True, {}), "the form is valid with its token")
        for what, wrong in {"no token": {}, **{what: {FIELD: bad_one} for what, bad_one in bad.items()}}.items():
            valid, errors = check(form, {**fields, **wrong})
            harm(valid, f"the form is valid with {what}")
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
    works(browser.post("/bare", {FIELD: before}).status == 200, "an anonymous visitor's token is accepted")
    browser.login(through_form=True)
    during = browser.csrf_token()
    works(browser.post("/bare", {FIELD: during}).status == 200, "the signed-in user's token is accepted")
    works(len(seen) == 2, "the view ran both times")
    seen.clear()
    answers = [browser.post("/bare", {FIELD: before})]
    browser.post("/logout", {FIELD: during})
    after = browser.csrf_token()
    answers += [browser.post("/bare", {FIELD: before}), browser.post("/bare", {FIELD: during})]
    harm(seen, "a token survived the login or logout of its session")
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
    works(statuses == [200] * 3, "a visitor's token is accepted")
    works(len(seen) == 3, "the view ran for the valid token")
    kept = {visitor.content()[FIELD] for visitor in visitors}
    bits = [len(base64.urlsafe_b64decode(value + "=")) * 8 for value in kept if len(value) == 43]
    harm(len(bits) < 3, "tokens have fewer than 256 random bits, or two visitors share them")
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
    works(browser.post("/bare", {FIELD: token}).status == 200, "the token of a page is accepted")
    works(seen == ["POST"], "the view ran for the valid token")
    seen.clear()
    answers = [browser.post("/bare", {FIELD: None, "a": "1"}, query={name: token}) for name in (FIELD, HEADER)]
    harm(seen, "a token was read from a URL, which logs, histories and Referer headers keep")
    for answer in answers:
        refused(answer, 400, ROW)
    kept = browser.content()[FIELD]
    pages = [browser.get(path) for path in ("/account", "/login", "/", "/nowhere")]
    pages.append(browser.post("/account/sessions/end-others"))
    lines = [line for page in pages for line in page.set_cookies]
    headers = [value for page in pages for name, value in page.headers if name.lower() != "set-cookie"]
    harm([value for value in headers if token in value], "a header or a URL contains a token")
    harm([line.raw for line in lines if "httponly" not in line.attributes], "a script can read the cookie")
    harm(token in service.output, "the log contains a token")
    harm(kept in service.output, "the log contains the secret of the tokens")
    assert len(lines) >= 1


@protects(ROW, layer=LAYER)
def test_no_unsafe_route_runs_without_a_token_of_this_session(service: Service) -> None:
    """Request every route without a token and with the attacker's own.

    Other invalid tokens go to the bare routes, by each method and in both places: one function reads all tokens.
    """
    service.adds_probe()
    service.adds_route("/bare", methods=UNSAFE)
    service.adds_route("/bare/public", methods=UNSAFE, mark="public")
    unsafe = [route for route in routes(service) if route.method in UNSAFE and route.endpoint != EXEMPT]
    walked = [route for route in unsafe if not route.access.webhook]  # these take a signature: test_webhooks.py
    assert len(walked) >= 10
    assert ("bastion.logout", "POST") in {route.name for route in walked}
    permissions = {name for route in walked for name in route.access.permissions}
    state = service.module("state").state_of(service.app)
    roles = tuple(role for role, held in state.team.roles.items() if held & permissions)
    user, attacker = service.user(roles=roles), service.client(service.user()).login()
    assert {route.endpoint for route in walked} > BARE
    for route, browser in zip(walked, walkers(service, user, requests=20), strict=False):
        good, bad = browser.csrf_token(), {"a token of the attacker's session": attacker.csrf_token()}
        bad |= bad_tokens(browser, attacker) if route.endpoint in BARE else {}
        with stubbed(service, route.endpoint) as ran:
            works(by_header(browser, route, good).status == 200, f"{route} accepts the token in the header")
            works(ran == [route.method], f"{route} ran for a valid token")
            if route.method == "POST":
                works(browser.post(route.path, {"a": "1", FIELD: good}).status == 200, f"{route} reads the field")
                without = browser.post(route.path, {"a": "1", FIELD: good}, headers={"Referer": None})
                works(without.status == 200, f"{route} needs no Referer")
            ran.clear()
            answers = {"no token": by_header(browser, route, None)}
            answers |= {what: by_header(browser, route, token) for what, token in bad.items()}
            if route.method == "POST":
                answers["no field"] = browser.post(route.path, {"a": "1", FIELD: None})
                answers |= {f"{what} as field": browser.post(route.path, {FIELD: token}) for what, token in bad.items()}
            harm(ran, f"{route} ran without a token of this session")
            for answer in answers.values():
                refused(answer, 400, ROW)


@protects("csrf-token-bound", value=UNBOUND)
def test_a_token_of_another_session_is_no_token_here(service: Service) -> None:
    seen = service.adds_route("/bare", methods=("POST",))
    user = service.user()
    victim, second = service.client(user).login(), service.client(user).login()
    thief, stranger = service.client(service.user()).login(), service.client()
    token = victim.csrf_token()
    works(victim.post("/bare", {FIELD: token}).status == 200, "a token of this session is accepted")
    works(victim.post("/bare", {FIELD: token}).status == 200, "a token may be used repeatedly within the hour")
    works(thief.post("/bare").status == 200, "the attacker's token is accepted in the attacker's session")
    works(len(seen) == 3, "the view ran each time")
    seen.clear()
    answers = [victim.post("/bare", {FIELD: other.csrf_token()}) for other in (thief, stranger, second)]
    harm(seen, "a token of another session was accepted, such as the attacker's own")
    for answer in answers:
        refused(answer, 400, ROW)


@protects(
    "csrf-exemptions-listed",
    exempt=edit(
        "session/csrf.py", 'frozenset({"bastion.csp_report"})', 'frozenset({"bastion.csp_report", "probe_bare"})'
    ),
    methods=edit("session/csrf.py", '{"POST", "PUT", "PATCH", "DELETE"},', '{"POST", "PUT", "DELETE"},'),
)
def test_no_view_but_the_one_for_reports_runs_without_a_token(service: Service) -> None:
    service.adds_route("/bare", methods=UNSAFE, mark="public")
    service.adds_route("/exempt", methods=UNSAFE, mark="public")
    service.adds(lambda app: service.module("session.csrf").protect.exempt(app.view_functions["probe_exempt"]))
    user = service.user(roles=tuple(service.module("state").state_of(service.app).team.roles))
    walked = [route for route in routes(service) if route.method in UNSAFE and not route.access.webhook]
    report = b'{"csp-report": {"document-uri": "https://app.example/account"}}'
    bare = {HEADER: None, "Origin": None, "Referer": None, "Cookie": None}
    before = everything(service)
    sent = service.client().post(
        "/csp-report", body=report, content_type="application/csp-report", headers={**bare, "Sec-Fetch-Site": None}
    )
    works(sent.status == 204, "a browser's report is accepted without a token")
    works(changed(before, everything(service)) == [], "it changes no table")
    opened: set[str] = set()
    refusals: dict[str, Response] = {}
    for route, browser in zip(walked, walkers(service, user, requests=2), strict=False):
        with stubbed(service, route.endpoint) as ran:
            answer = by_header(browser, route, None)
        opened |= {route.endpoint} if ran else set()
        refusals |= {} if route.endpoint == EXEMPT else {str(route): answer}
    harm(opened - {EXEMPT}, "a view that is not on the exemption list ran without a token")
    assert opened == {EXEMPT}
    assert len(refusals) >= 12
    for answer in refusals.values():
        refused(answer, 400, ROW)


# --- secret-key-rotation-honoured -------------------------------------------------------------------------------------


@protects("secret-key-rotation-honoured", csrf=edit("session/csrf.py", f"{READ}[::-1])", f"{READ}[:1])"))
def test_forms_links_and_logins_survive_two_key_rotations(service: Service) -> None:
    seen = service.adds_route("/bare", methods=("GET", "POST"))
    first, second, third = (new_key() for _ in range(3))
    service.restart(SECRET_KEY=first)
    user = service.user()
    browser, forgetful = service.client(user).login(), service.client()
    token = browser.csrf_token()
    forgetful.forgot(user.email)
    forgetful.open_link("reset", mails.token_for(service, user.email, "reset"))
    works(browser.post("/bare", {FIELD: token}).status == 200, "the form with its token is accepted")
    works(forgetful.shown("/reset"), "the link leads to its form")
    link, cookie = dict(forgetful.cookies), browser.cookie
    for keys in ((second, first), (third, second, first)):
        service.restart(SECRET_KEY=ring_of(service, *keys))
        seen.clear()
        works(browser.get("/bare").status == 200, "the session survives the key rotation")
        browser.post("/bare", {FIELD: token})
        harm("POST" not in seen, "a form that was opened before the rotation was refused")
        assert forgetful.shown("/reset")
    configured = service.app.secret_key, service.app.config["SECRET_KEY_FALLBACKS"]
    assert configured == (third, [first, second])  # other libraries look there
    newest = service.client(service.user()).login()
    service.restart(SECRET_KEY=third)
    seen.clear()
    browser.cookie, forgetful.cookies = cookie, link
    assert browser.get("/bare").status == 303
    assert forgetful.shown("/reset") == {}
    assert seen == []
    assert newest.get("/bare").status == 200
