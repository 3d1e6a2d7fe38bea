"""Edges of the proofs in test_access.py: further attacks on the same protections."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from .. import test_access as core
from ..harness import edit, harm, insert, protects, refused, works
from ..routes import routes, stubbed, walkers
from ..service import AUTH
from ..test_access import (
    ADMINISTRATOR,
    CHANGE,
    NOT_SIGNED_IN,
    PERMISSION,
    UNROUTED,
    grant,
    manage,
    permits,
    roles_of,
)
from .core import sabotages
from .steps import is_a_rule

if TYPE_CHECKING:
    from flask import Flask

    from ..running import Service
    from ..wire import Response


SEAL = edit(
    "request/access.py",
    "    if faults := [*_faults(app, endpoints)]:\n",
    "    state_of(app).rules = {name: (*marks_of(app.view_functions[name]), Rule())[0] for name in endpoints}\n"
    "    return\n"
    "    if faults := [*_faults(app, endpoints)]:\n",
)


@protects("deny-by-default", options=edit("request/access.py", UNROUTED, "    if request.method == 'OPTIONS':\n"))
def test_neither_head_nor_options_is_a_way_round_the_rule(service: Service) -> None:
    seen = service.adds_route("/probe", methods=("GET", "HEAD", "OPTIONS"))
    signed_in = service.client(service.user()).login()
    for method in ("GET", "HEAD", "OPTIONS"):
        works(signed_in.send(method, "/probe").status == 200, f"{method} reaches the view for a signed-in user")
    works(seen == ["GET", "HEAD", "OPTIONS"], "the view runs for each method")
    seen.clear()
    for method in ("OPTIONS", "HEAD", "GET"):
        answer = service.client().send(method, "/probe")
        harm(seen, f"an anonymous {method} ran the view")
        assert answer.status == NOT_SIGNED_IN, method


@protects(
    "deny-by-default",
    late=edit("request/access.py", '        refuse(403, "deny-by-default")\n', "        return None\n"),
)
def test_a_route_that_is_added_after_the_start_runs_for_nobody(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = service.adds_route("/probe", mark=("proof.administer",))
    grant(service, monkeypatch, ADMINISTRATOR, {PERMISSION})
    user, administrator = service.user(), service.user(roles=(ADMINISTRATOR,))
    late: list[str] = []

    def view() -> str:
        late.append("ran")
        return "ran"

    # Before the first request, when Flask still takes routes: one without a mark, and one that is marked too late.
    service.app.add_url_rule("/late", "late", view)
    service.app.add_url_rule("/late-but-public", "late_but_public", service.module().public(lambda: view()))
    works(service.client(administrator).login().get("/probe").status == 200, "a route with a rule answers")
    works(seen == ["GET"], "its view runs")
    for visitor in (service.client(), service.client(user).login(), service.client(administrator).login()):
        for path in ("/late", "/late-but-public"):
            answer = visitor.get(path)
            harm(late, f"the route {path}, added after the start, ran its view")
            refused(answer, 403, "deny-by-default")


def bare() -> str:
    """Return a fixed text; this view has no access rule."""
    return "open"


@protects("deny-by-default", seal=SEAL)
def test_route_without_exactly_one_rule_stops_the_start(service: Service) -> None:
    from flask import Blueprint
    from flask.views import MethodView

    bastion = service.module()

    class Bare(MethodView):
        def get(self) -> str:
            return "open"

    shop = Blueprint("shop", __name__, static_folder=".", static_url_path="/shop/static")
    works(service.start().app, "a service starts if every route has exactly one access rule")
    additions: dict[str, tuple[Any, str]] = {
        "bare": (lambda app: app.add_url_rule("/bare", "bare", bare), "has no access rule"),
        "class": (lambda app: app.add_url_rule("/class", "class", Bare.as_view("class")), "has no access rule"),
        "shop.static": (lambda app: app.register_blueprint(shop), "has no access rule"),
        "doubly": (
            lambda app: app.add_url_rule("/doubly", "doubly", bastion.public(bastion.login_required(lambda: "open"))),
            "has 2 access rules",
        ),
    }
    for endpoint, (add, fault) in additions.items():
        service._additions[:] = [add]
        started = service.start()
        harm(started.app is not None, f"the service started with {endpoint}, a route that {fault}")
        assert len(started.reasons) == 1
        assert f"{endpoint!r}" in started.reasons[0]
        assert fault in started.reasons[0]
        if endpoint == "bare":
            assert f"{bare.__code__.co_filename}:{bare.__code__.co_firstlineno}" in started.reasons[0]


@protects("deny-by-default", doubled=edit("request/access.py", "    yield from _doubled(app)\n", ""))
def test_two_views_for_one_path_and_method_stop_the_start(service: Service) -> None:
    """Otherwise the public view may answer in place of the protected one."""
    bastion = service.module()

    def add(app: Flask, rules: tuple[tuple[str, str, str], ...]) -> None:
        for endpoint, method, address in rules:
            mark = bastion.public if endpoint.startswith("open") else bastion.login_required
            app.add_url_rule(address, endpoint, mark(lambda **_: "ran"), methods=[method])

    apart = (("open", "GET", "/probe"), ("kept", "POST", "/probe"))
    numbers = (("open-number", "GET", "/probe/<uuid:a>"), ("kept-number", "GET", "/probe/<int:a>"))
    service._additions[:] = [functools.partial(add, rules=(*apart, *numbers))]
    works(service.start().app, "a service starts if each path and method has one view")
    for one, other in (("/probe", "/probe"), ("/<a>/probe", "/<string:b>/probe"), ("/<int:a>", "/<int:b>")):
        service._additions[:] = [functools.partial(add, rules=(("open", "GET", one), ("kept", "GET", other)))]
        started = service.start()
        harm(started.app is not None, f"the service started with {one} and {other}, one of which never runs")
        [reason] = started.reasons
        assert reason.startswith("The routes 'open' (")
        assert f"both answer GET {other}, so one of them never runs" in reason


@protects(
    "deny-by-default",
    methods=edit("request/access.py", "if _own_marks(getattr(cls, name, None)))", "if cls is None)"),
)
def test_access_rule_on_a_method_of_a_class_stops_the_start(service: Service) -> None:
    from flask.views import MethodView, View

    bastion = service.module()

    class Read(MethodView):
        def get(self) -> str:
            return "read"

        def post(self) -> str:
            return "written"

    def route(view: Any, app: Flask) -> None:
        app.add_url_rule("/probe", view_func=view)

    works(service.start().app, "a service starts if every route has exactly one access rule")
    service._additions[:] = [lambda app: app.add_url_rule("/probe", view_func=bastion.public(Read).as_view("probe"))]
    works(service.start().app, "the service starts with a class that has one rule")

    @bastion.public
    class Post(MethodView):
        def get(self) -> str:
            return "read"

        @bastion.requires(PERMISSION)  # type: ignore[untyped-decorator]
        def post(self) -> str:
            return "written"

    @bastion.public
    class Inherited(Post):
        def get(self) -> str:
            return "read"

    @bastion.public
    class Dispatched(View):
        @bastion.login_required  # type: ignore[untyped-decorator]
        def dispatch_request(self) -> str:
            return "ran"

    @bastion.public
    class Odd(MethodView):
        methods = ("PURGE",)

        @bastion.login_required  # type: ignore[untyped-decorator]
        def purge(self) -> str:
            return "gone"

    for cls, name in ((Post, "post"), (Inherited, "post"), (Dispatched, "dispatch_request"), (Odd, "purge")):
        service._additions[:] = [functools.partial(route, cls.as_view("probe"))]
        started = service.start()
        harm(started.app is not None, f"the service started with {cls.__name__}, whose rule on {name}() has no effect")
        assert len(started.reasons) == 1
        assert started.reasons[0].startswith("The route 'probe' (")
        assert f"has an access rule on {name}, where it has no effect. Put it on the class" in started.reasons[0]


@protects(
    "deny-by-default",
    inherited=edit("request/access.py", 'getattr(of, "__dict__", {}).get(MARK, ())', "getattr(of, MARK, ())"),
)
def test_a_class_of_views_has_no_rule_of_its_base_class(service: Service) -> None:
    from flask.views import MethodView

    bastion = service.module()

    @bastion.public
    class Base(MethodView):
        def get(self) -> str:
            return "read"

    class Sub(Base):
        def post(self) -> str:
            return "written"

    @bastion.login_required
    class Marked(Base):
        def post(self) -> str:
            return "written"

    service._additions[:] = [lambda app: app.add_url_rule("/probe", view_func=Base.as_view("probe"))]
    works(service.start().app, "the service starts with the base class itself")
    service._additions[:] = [lambda app: app.add_url_rule("/probe", view_func=Sub.as_view("probe"))]
    started = service.start()
    harm(started.app is not None, "the service started with a class that inherits its rule from a base class")
    assert len(started.reasons) == 1
    assert "'probe'" in started.reasons[0]
    assert "has no access rule" in started.reasons[0]
    service._additions[:] = [lambda app: app.add_url_rule("/probe", view_func=Marked.as_view("probe"))]
    marked = service.start().app
    assert marked is not None
    assert str(service.module("state").state_of(marked).rules["probe"]) == "login"


@protects(
    "deny-by-default",
    both=edit(
        "request/access.py",
        'return (*_own_marks(view), *_own_marks(getattr(view, "view_class", None)))',
        'return _own_marks(view) or _own_marks(getattr(view, "view_class", None))',
    ),
)
def test_class_with_two_access_rules_stops_the_start(service: Service) -> None:
    from flask.views import MethodView

    bastion = service.module()

    class Opened(MethodView):
        decorators = [bastion.public]  # noqa: RUF012  (as Flask declares it)

        def get(self) -> str:
            return "read"

    service._additions[:] = [lambda app: app.add_url_rule("/probe", view_func=Opened.as_view("probe"))]
    works(service.start().app, "the service starts with a class whose decorators hold its one rule")
    closed = bastion.login_required(Opened)
    service._additions[:] = [lambda app: app.add_url_rule("/probe", view_func=closed.as_view("probe"))]
    started = service.start()
    harm(started.app is not None, "the service started with a class marked login_required that was open to the public")
    assert len(started.reasons) == 1
    assert "has 2 access rules" in started.reasons[0]


@protects(
    "deny-by-default",
    table=edit(
        "request/access.py",
        '        path = rule.rule.replace("|", "\\\\|")\n',
        '        path = rule.rule.replace("|", "\\\\|")\n        if state_of(app).rules[rule.endpoint].public:\n'
        "            continue\n",
    ),
)
def test_no_route_is_opened_without_a_line_in_the_reviewed_table(service: Service) -> None:
    access = service.module("request.access")
    service.adds_route("/opened", mark="public")
    service.adds_route("/closed", mark="login_required")
    table = access.document(service.app)
    works("| `/closed` | GET | login |" in table, "the access table lists a protected route")
    harm("| `/opened` | GET | public |" not in table, "a route was opened without a line in the access table")


@protects(
    "role-required",
    named=edit(
        "request/access.py",
        "    if not permissions or not all(isinstance(p, str) and p for p in permissions):\n",
        "    if False:\n",
    ),
)
def test_a_rule_that_names_no_permission_is_not_taken(service: Service) -> None:
    def view() -> str:
        return "ran"

    works(is_a_rule(service, PERMISSION), "@requires accepts one permission")
    works(is_a_rule(service, PERMISSION, "proof.read"), "@requires accepts two permissions")
    wrong = ((), ("",), (PERMISSION, ""), (view,), (PERMISSION, 1), (None,))  # view: @requires without parentheses
    harm(
        [given for given in wrong if is_a_rule(service, *given)],
        "@requires accepted a rule with a missing or invalid permission",
    )


@protects(
    "role-required",
    header=edit(
        "request/access.py",
        "    if rule.permissions - current_user.permissions:\n",
        '    claimed = state().permissions(frozenset({request.headers.get("X-User-Role", "")}))\n'
        "    if rule.permissions - current_user.permissions - claimed:\n",
    ),
)
def test_nothing_in_a_request_gives_a_user_a_role(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = service.adds_route("/admin/probe", methods=("GET", "POST"), mark=(PERMISSION,))
    harmless = service.adds_route("/harmless")
    grant(service, monkeypatch, ADMINISTRATOR, {PERMISSION})
    administrator = service.client(service.user(roles=(ADMINISTRATOR,))).login()
    plain = service.client(service.user()).login()
    works(administrator.get("/admin/probe").status == 200, "an administrator opens the protected page")
    works(administrator.post("/admin/probe").status == 200, "an administrator posts to the protected page")
    works(seen == ["GET", "POST"], "both requests of the administrator run the view")
    seen.clear()
    claims = {
        "X-User-Role": ADMINISTRATOR,
        "X-Role": ADMINISTRATOR,
        "X-Forwarded-User": str(administrator.user and administrator.user.email),
        "X-Original-URL": "/harmless",
        "X-Rewrite-URL": "/harmless",
        "Referer": "https://app.example/admin/probe",
    }
    for name, value in claims.items():
        answer = plain.get("/admin/probe", headers={name: value})
        harm(seen, f"the header {name}: {value} gave a user the administrator's permission")
        refused(answer, 403, "role-required")
    claimed = {"role": ADMINISTRATOR, "roles": ADMINISTRATOR, "is_admin": "1"}
    answer = plain.post("/admin/probe", claimed)
    harm(seen, "a field of the body ran the administrator's view")
    refused(answer, 403, "role-required")
    answer = plain.get("/admin/probe", query=claimed)
    harm(seen, "a query parameter ran the administrator's view")
    refused(answer, 403, "role-required")
    # A proxy's header names another address than the one that is asked for.
    for name in ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix"):
        answer = plain.get("/harmless", headers={name: "/admin/probe"})
        harm(seen, f"the header {name} routed a request to the administrator's page")
        assert answer.status == 200
    assert len(harmless) == 3


# What another spelling of /admin/probe gives: it is another address (404), the same one (403), or where Flask corrects
# the slashes a redirect to it.
SPELLINGS = {
    "/Admin/probe": 404,
    "/ADMIN/PROBE": 404,
    "/admin/probe;x": 404,
    "/admin/probe/;x": 404,
    "/admin/probe%20": 404,
    "/admin/probe%00": 400,
    "/admin/probe.json": 404,
    "/./admin/probe": 404,
    "/harmless/../admin/probe": 404,
    "/%61dmin/probe": 403,
    "/admin%2fprobe": 400,
    "/admin/probe?x=/harmless": 403,
}
SLASHES = {
    "session": {"//admin/probe": 403, "/admin//probe": 308, "/admin/probe/": 404, "/admin/probe//": 404},
    "jwt": {"//admin/probe": 403, "/admin//probe": 404, "/admin/probe/": 403, "/admin/probe//": 404},
}[AUTH]


@protects(
    "role-required",
    permission=edit("request/access.py", "    if rule.permissions - current_user.permissions:\n", "    if False:\n"),
)
def test_no_other_spelling_of_an_address_leaves_its_rule_behind(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = service.adds_route("/admin/probe", mark=(PERMISSION,))
    grant(service, monkeypatch, ADMINISTRATOR, {PERMISSION})
    administrator = service.client(service.user(roles=(ADMINISTRATOR,))).login()
    works(administrator.get("/%61dmin/probe").status == 200, "an administrator opens the page by an encoded path")
    works(seen == ["GET"], "the view runs for the administrator")
    seen.clear()
    plain = service.client(service.user()).login()
    found: dict[str, Response] = {path: plain.get(path) for path in (*SPELLINGS, *SLASHES)}
    harm(seen, "the view ran for a user without the permission")
    assert {path: answer.status for path, answer in found.items()} == {**SPELLINGS, **SLASHES}


# --- role-change-immediate ---------------------------------------------------------------------------------------

PROFILE_FIELDS = '    """What a user may change of his account without a mail; nothing else is a field of it."""\n'


@protects(
    CHANGE,
    self=(
        edit("identity/account.py", "from flask import Flask\n", "from flask import Flask, request\n"),
        edit(
            "identity/account.py",
            "    shown = users.display_name(name)\n",
            "    shown = users.display_name(name)\n    sent = request.get_json(silent=True) or request.form\n"
            "    more = {'roles': sent['roles']} if 'roles' in sent else {}\n",
        ),
        edit("identity/account.py", "values(display_name=shown)", "values(display_name=shown, **more)"),
        *([insert("jwt/account.py", after=PROFILE_FIELDS, new='\n    roles: str = ""')] if AUTH == "jwt" else []),
    ),
)
def test_nobody_gives_himself_a_role(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    manage(service, monkeypatch)
    user = service.user()
    client = service.client(user).login()
    method, path = {"session": ("POST", "/account/name"), "jwt": ("PATCH", "/auth/me")}[AUTH]
    client.send(method, path, {"display_name": "Alice"})
    works(service.rows("SELECT display_name FROM auth_user") == [("Alice",)], "a user changes their own display name")
    answer = client.send(method, path, {"display_name": "Alice", "roles": ADMINISTRATOR})
    refusal = permits(client, user)
    harm(roles_of(service, user), "a user gave themselves a role")
    assert answer.status == {"session": 303, "jwt": 422}[AUTH]
    refused(refusal, 403, "role-required")


COUNTS = "    authentication.count(app)  # for each session, before any work for it\n"
ASKS = "    access.install(app, style.unauthenticated, style.factor_missing, style.not_fresh)\n"


@protects("default-throttle", refused=(edit("__init__.py", COUNTS, ""), edit("__init__.py", ASKS, f"{ASKS}{COUNTS}")))
def test_a_request_that_is_refused_counts_for_its_session(service: Service) -> None:
    service.adds_route("/closed", mark=(PERMISSION,))
    service.adds_route("/open")
    thief, other = service.client(service.user()).login(), service.client(service.user()).login()
    most = service.limits.requests_per_minute_and_session
    answers = [thief.get("/closed") for _ in range(most)]
    works(other.get("/open").status == 200, "another session is served")
    further = thief.get("/open")
    harm(further.status == 200, "refused requests did not count against the session's rate limit")
    refused(further, 429, "default-throttle")
    assert {answer.status for answer in answers} == {403}


@protects(
    CHANGE,
    last=edit(
        "identity/users.py",
        "            if row.active:\n                keep_an_administrator(connection)\n",
        "",
    ),
)
def test_the_last_administrator_stays_one(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    manage(service, monkeypatch)
    chief, second = service.user(roles=(ADMINISTRATOR,)), service.user(roles=(ADMINISTRATOR,))
    service.user(roles=(ADMINISTRATOR,), active=False)  # who can't sign in manages nothing
    administrator = service.client(chief).login()
    permits(administrator, second, remove=True)
    works(roles_of(service, second) == "", "an administrator removes the role of another administrator")
    answer = permits(administrator, chief, remove=True)
    harm(roles_of(service, chief) == "", "the last administrator was removed, so no user can manage accounts")
    assert answer.status == 409


EVERY_METHOD = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")


@protects(
    "role-required",
    permission=edit("request/access.py", "    if rule.permissions - current_user.permissions:\n", "    if False:\n"),
)
def test_partial_permissions_and_unknown_roles_open_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.adds_route("/admin/probe", methods=EVERY_METHOD, mark=(PERMISSION,))
    service.adds_route("/admin/two", mark=(PERMISSION, "proof.second"))
    walked = [route for route in routes(service) if route.access.permissions]
    assert len(walked) >= 7
    assert "/admin/probe" in {route.path for route in walked}
    permissions = {name for route in walked for name in route.access.permissions}
    grant(service, monkeypatch, ADMINISTRATOR, permissions)
    grant(service, monkeypatch, "proof-half", {PERMISSION})
    administrators = walkers(service, service.user(roles=(ADMINISTRATOR,)), requests=2)
    # No role, one that the settings do not name, and for the route of two permissions one of them.
    others = {route: [service.user(), service.user(roles=("proof-unknown",))] for route in walked}
    others[next(route for route in walked if route.path == "/admin/two")].append(service.user(roles=("proof-half",)))
    for number, (route, users) in enumerate(others.items()):
        with stubbed(service, route.endpoint) as ran:
            answer = next(administrators).send(route.method, route.path)
            works(answer.status == 200, f"{route} answers a user with the permission")
            ran.clear()
            for user in users:
                answer = service.client(user, f"192.0.2.{number % 250 + 1}").login().send(route.method, route.path)
                harm(ran, f"{route} ran for a user without its permission")
                refused(answer, 403, "role-required")
                audited = service.rows("SELECT user_id FROM audit_event WHERE kind = 'access.denied'")
                assert user.id.hex in {str(row.user_id).replace("-", "") for row in audited}


@protects(
    CHANGE,
    **sabotages(core.test_a_role_that_was_taken_away_opens_nothing_from_the_next_request_on, CHANGE, "cache"),
)
def test_role_changes_take_effect_at_once_and_are_logged(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = service.adds_route("/admin/probe", mark=(PERMISSION,))
    manage(service, monkeypatch)
    chief, demoted, promoted = (
        service.user(roles=(ADMINISTRATOR,)),
        service.user(roles=(ADMINISTRATOR,)),
        replace(service.user(), methods="password totp"),  # they have the required second factor
    )
    administrator, newcomer = service.client(chief).login(), service.client(promoted).login()
    held = [service.client(demoted, address=f"198.51.100.{number}").login() for number in (1, 2)]
    works([client.get("/admin/probe").status for client in held] == [200, 200], "the page opens for administrators")
    seen.clear()
    done = permits(administrator, demoted, remove=True)
    works(roles_of(service, demoted) == "", "another administrator removes the role")
    answers = [client.get("/admin/probe") for client in held]
    harm(seen, "an existing session or token kept the removed role")
    for answer in answers:
        refused(answer, 403, "role-required")
    refused(newcomer.get("/admin/probe"), 403, "role-required")
    assert permits(administrator, promoted).status == done.status
    assert newcomer.get("/admin/probe").status == 200
    details = [
        {name: event[name] for name in ("event", "role", "old", "new")}
        for event in service.log
        if event["event"].startswith("user.role_")
    ]
    assert details == [
        {"event": "user.role_removed", "role": ADMINISTRATOR, "old": ADMINISTRATOR, "new": ""},
        {"event": "user.role_given", "role": ADMINISTRATOR, "old": "", "new": ADMINISTRATOR},
    ]
