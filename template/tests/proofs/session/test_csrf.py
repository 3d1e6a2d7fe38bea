"""CSRF protection: an unsafe request without a token of its own session runs no view.

Everything else in it is right: the cookie, the Origin, Sec-Fetch-Site, the Referer. A view that is walked over is
replaced by one that only records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..harness import edit, harm, insert, protects, refused, works
from ..rings import new_key, ring_of
from ..routes import Route, routes, stubbed, walkers
from ..session_client import FIELD, HEADER
from ..webhooks import UNSIGNED
from ..wire import ORIGIN

if TYPE_CHECKING:
    from ..running import Service
    from ..session_client import Client
    from ..wire import Response


ROW = "csrf-token-required"
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
FIELDS = "application/x-www-form-urlencoded"
EXEMPT = "bastion.csp_report"  # browsers send policy reports without a token
CHECK = "    def check_token() -> None:\n        require_token()\n"
LAYER = edit("session/csrf.py", CHECK, "    def check_token() -> None:\n        return\n")


def every_form(service: Service) -> dict[str, Any]:
    """The class of each form by its name: of the service, and of what the proofs have added."""
    from flask_wtf import FlaskForm

    service.app  # noqa: B018  it imports every form

    def below(form: Any) -> list[Any]:
        return [found for sub in form.__subclasses__() for found in (sub, *below(sub))]

    return {form.__name__: form for form in below(FlaskForm)}


def by_header(client: Client, route: Route, token: str | None, **headers: None) -> Response:
    """Ask as a script of this service does, with the token in the header; `headers` are those to leave out."""
    sent = {HEADER: token, **headers}
    return client.send(route.method, route.path, body=b"a=1", content_type=FIELDS, headers=sent)


@protects(ROW, layer=LAYER)
def test_no_unsafe_route_runs_without_a_token_of_its_session(service: Service) -> None:
    """Send each route no token, then the attacker's own token, as a header and as a form field."""
    service.adds_route("/bare", methods=UNSAFE)
    walked = [route for route in routes(service) if route.method in UNSAFE and route.endpoint != EXEMPT]
    assert ("bastion.logout", "POST") in {route.name for route in walked}
    assert len(walked) >= 10
    roles = tuple(service.module("state").state_of(service.app).team.roles)
    user, attacker = service.user(roles=roles), service.client(service.user()).login()
    theirs = attacker.csrf_token()
    for route, browser in zip(walked, walkers(service, user, requests=6), strict=False):
        good = browser.csrf_token()
        with stubbed(service, route.endpoint) as ran:
            works(by_header(browser, route, good).status == 200, f"{route} accepts the token in the header")
            works(ran == [route.method], f"{route} ran for a valid token")
            ran.clear()
            answers = [by_header(browser, route, token, **UNSIGNED) for token in (None, theirs)]
            if route.method == "POST":
                forms = ({"a": "1", FIELD: token} for token in (None, theirs))
                answers += [browser.post(route.path, form, headers=UNSIGNED) for form in forms]
            harm(ran, f"{route} ran without a token of this session")
            for answer in answers:
                refused(answer, *((403, "webhook-signature-required") if route.access.webhook else (400, ROW)))


# --- csrf-token-bound ------------------------------------------------------------------------------------------

# Signature and age alone: the attacker's own token has both.
UNBOUND = edit(
    "session/csrf.py",
    "        protect.protect()\n",
    "        from flask import current_app as app\n"
    "        from itsdangerous import URLSafeTimedSerializer as Serializer\n\n"
    '        if request.method in ("POST", "PUT", "PATCH", "DELETE"):\n'
    '            keys = Serializer(app.config["WTF_CSRF_SECRET_KEY"], salt="wtf-csrf-token")\n'
    '            keys.loads(request.form.get(FIELD, ""), max_age=3600)\n',
)


@protects("csrf-token-bound", value=UNBOUND)
def test_a_token_of_another_session_is_refused(service: Service) -> None:
    service.at_least(sessions_per_account=2)
    seen = service.adds_route("/bare", methods=("POST",))
    user = service.user()
    victim, second = service.client(user).login(), service.client(user).login()
    works(victim.post("/bare", {FIELD: victim.csrf_token()}).status == 200, "a token of this session is accepted")
    works(seen == ["POST"], "the view ran for the valid token")
    seen.clear()
    answers = [victim.post("/bare", {FIELD: other.csrf_token()}) for other in (service.client(), second)]
    harm(seen, "a token of another session was accepted, such as the attacker's own")
    for answer in answers:
        refused(answer, 400, ROW)


# --- csrf-exemptions-listed ------------------------------------------------------------------------------------


@protects(
    "csrf-exemptions-listed",
    exempt=edit(
        "session/csrf.py", 'frozenset({"bastion.csp_report"})', 'frozenset({"bastion.csp_report", "probe_bare"})'
    ),
)
def test_only_the_view_for_reports_runs_without_a_token(service: Service) -> None:
    service.adds_route("/bare", methods=UNSAFE, mark="public")
    user = service.user(roles=tuple(service.module("state").state_of(service.app).team.roles))
    walked = [route for route in routes(service) if route.method in UNSAFE]
    works(walked, "the service has unsafe routes")
    opened = set()
    for route, browser in zip(walked, walkers(service, user, requests=2), strict=False):
        with stubbed(service, route.endpoint) as ran:
            by_header(browser, route, None, **UNSIGNED)
        opened |= {route.endpoint} if ran else set()
    harm(opened - {EXEMPT}, "a view that is not on the exemption list ran without a token")
    assert opened == {EXEMPT}


@protects(
    "csrf-exemptions-listed",
    form=insert(
        "session/forms.py",
        after='any other message would tell which accounts can exist."""\n',
        new="\n    class Meta:\n        csrf = False\n",
    ),
)
def test_no_form_switches_its_token_off(service: Service) -> None:
    found = every_form(service)
    works(len(found) >= 2, "the service has forms")
    works("LoginForm" in found, "the login form is one of them")
    with service.app.test_request_context("/", base_url=ORIGIN):
        harm([name for name, form in found.items() if not form().meta.csrf], "a form does not require a CSRF token")
        assert [name for name, form in found.items() if FIELD not in form()._fields] == []


# --- secret-key-rotation-honoured ------------------------------------------------------------------------------

READ = "return iter(self._rings.get(SECRET).texts()"


@protects("secret-key-rotation-honoured", csrf=edit("session/csrf.py", f"{READ}[::-1])", f"{READ}[:1])"))
def test_an_open_form_and_a_login_survive_two_rotations(service: Service) -> None:
    seen = service.adds_route("/bare", methods=("GET", "POST"))
    first, second, third = (new_key() for _ in range(3))
    service.restart(SECRET_KEY=first)
    browser = service.client(service.user()).login()
    token, cookie = browser.csrf_token(), browser.cookie
    works(browser.post("/bare", {FIELD: token}).status == 200, "the form with its token is accepted")
    for keys in ((second, first), (third, second, first)):
        service.restart(SECRET_KEY=ring_of(service, *keys))
        seen.clear()
        works(browser.get("/bare").status == 200, "the session survives the key rotation")
        browser.post("/bare", {FIELD: token})
        harm("POST" not in seen, "a form that was opened before the rotation was refused")
    service.restart(SECRET_KEY=third)
    browser.cookie = cookie
    assert browser.get("/bare").status == 303
