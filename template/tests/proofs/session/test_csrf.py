"""A request that changes something without a token of this session runs no view, wherever it comes from.

Everything else in it is right: the cookie, the Origin, Sec-Fetch-Site, the Referer. A view that is walked over is
replaced by one that only records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..harness import edit, harm, insert, protects, refused, works
from ..routes import Route, routes, stubbed, walkers
from ..session_client import FIELD, HEADER
from ..snapshot import changed, everything
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


def by_header(client: Client, route: Route, token: str | None) -> Response:
    """Ask as a script of this service does, with the token in the header."""
    return client.send(route.method, route.path, body=b"a=1", content_type=FIELDS, headers={HEADER: token})


BARE = frozenset({"probe_bare", "probe_bare_public"})


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


# --- csrf-exemptions-listed ------------------------------------------------------------------------------------


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
    works(len(found) >= 2, "there are forms")
    works("LoginForm" in found, "that of signing in is one of them")
    with service.app.test_request_context("/", base_url=ORIGIN):
        harm([name for name, form in found.items() if not form().meta.csrf], "a form asks for no token")
        assert [name for name, form in found.items() if FIELD not in form()._fields] == []
