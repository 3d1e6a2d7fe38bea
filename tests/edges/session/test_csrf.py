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
    """The token that a page of this session had so long ago: the proof knows the key."""
    from itsdangerous import TimestampSigner, URLSafeTimedSerializer

    class Then(TimestampSigner):
        def get_timestamp(self) -> int:
            return super().get_timestamp() - seconds_ago

    key = client.service.app.config["WTF_CSRF_SECRET_KEY"]
    return str(URLSafeTimedSerializer(key, salt="wtf-csrf-token", signer=Then).dumps(client.content()[FIELD]))


def altered(token: str) -> str:
    """The token with one letter of its signature changed."""
    body, _, signature = token.rpartition(".")
    return f"{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


def bad_tokens(client: Client, attacker: Client) -> dict[str, str]:
    """Tokens that are no token of this session now; the attacker has read one of a session of his own."""
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
    service.restart(SECRET_KEY=ring_of(service, new, old, oldest))
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


@protects(ROW, layer=LAYER)
def test_no_unsafe_route_runs_without_a_token_of_this_session(service: Service) -> None:
    """Every route is asked without a token and with the attacker's own.

    What else is no token goes to the bare routes, by each method and in both places: one function reads it for all.
    """
    service.adds_probe()
    service.adds_route("/bare", methods=UNSAFE)
    service.adds_route("/bare/public", methods=UNSAFE, mark="public")
    walked = [route for route in routes(service) if route.method in UNSAFE and route.endpoint != EXEMPT]
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
            works(by_header(browser, route, good).status == 200, f"{route} takes the token in the header")
            works(ran == [route.method], f"{route} runs")
            if route.method == "POST":
                works(browser.post(route.path, {"a": "1", FIELD: good}).status == 200, f"{route} takes it as a field")
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
    works(victim.post("/bare", {FIELD: token}).status == 200, "a token of this session is taken")
    works(victim.post("/bare", {FIELD: token}).status == 200, "as often as its page is used, within the hour")
    works(thief.post("/bare").status == 200, "the attacker's is taken in his own")
    works(len(seen) == 3, "the view ran each time")
    seen.clear()
    answers = [victim.post("/bare", {FIELD: other.csrf_token()}) for other in (thief, stranger, second)]
    harm(seen, "a token of another session was taken: the attacker has one of his own")
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
    walked = [route for route in routes(service) if route.method in UNSAFE]
    report = b'{"csp-report": {"document-uri": "https://app.example/account"}}'
    bare = {HEADER: None, "Origin": None, "Referer": None, "Cookie": None}
    before = everything(service)
    sent = service.client().post(
        "/csp-report", body=report, content_type="application/csp-report", headers={**bare, "Sec-Fetch-Site": None}
    )
    works(sent.status == 204, "a browser's report is taken without a token")
    works(changed(before, everything(service)) == [], "it changes no table")
    opened: set[str] = set()
    refusals: dict[str, Response] = {}
    for route, browser in zip(walked, walkers(service, user, requests=2), strict=False):
        with stubbed(service, route.endpoint) as ran:
            answer = by_header(browser, route, None)
        opened |= {route.endpoint} if ran else set()
        refusals |= {} if route.endpoint == EXEMPT else {str(route): answer}
    harm(opened - {EXEMPT}, "a view runs without a token that is not on the list")
    assert opened == {EXEMPT}
    assert len(refusals) >= 12
    for answer in refusals.values():
        refused(answer, 400, ROW)


# --- secret-key-rotation-honoured -------------------------------------------------------------------------------------


@protects("secret-key-rotation-honoured", csrf=edit("session/csrf.py", f"{READ}[::-1])", f"{READ}[:1])"))
def test_a_form_a_link_and_a_login_outlive_two_rotations_and_no_key_that_is_gone(service: Service) -> None:
    seen = service.adds_route("/bare", methods=("GET", "POST"))
    first, second, third = (new_key() for _ in range(3))
    service.restart(SECRET_KEY=first)
    user = service.user()
    browser, forgetful = service.client(user).login(), service.client()
    token = browser.csrf_token()
    forgetful.forgot(user.email)
    forgetful.open_link("reset", mails.token_for(service, user.email, "reset"))
    works(browser.post("/bare", {FIELD: token}).status == 200, "the form is taken")
    works(forgetful.shown("/reset"), "the link leads to its form")
    link, cookie = dict(forgetful.cookies), browser.cookie
    for keys in ((second, first), (third, second, first)):
        service.restart(SECRET_KEY=ring_of(service, *keys))
        seen.clear()
        works(browser.get("/bare").status == 200, "the login goes on")
        browser.post("/bare", {FIELD: token})
        harm("POST" not in seen, "each form that was open during a rotation is an error")
        assert forgetful.shown("/reset")
    told = service.app.secret_key, service.app.config["SECRET_KEY_FALLBACKS"]
    assert told == (third, [first, second])  # code of others looks there
    newest = service.client(service.user()).login()
    service.restart(SECRET_KEY=third)
    seen.clear()
    browser.cookie, forgetful.cookies = cookie, link
    assert browser.get("/bare").status == 303
    assert forgetful.shown("/reset") == {}
    assert seen == []
    assert newest.get("/bare").status == 200
