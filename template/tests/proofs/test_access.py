"""Deny by default: every route has a rule, and no view runs for anyone whom its rule leaves out.

The walks cover every route that the team adds later; a view that is walked over is replaced by one that only records.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from .harness import edit, harm, protects, refused, works
from .routes import routes, stubbed, walkers
from .service import AUTH

if TYPE_CHECKING:
    from .running import Service, User
    from .service import Client
    from .wire import Response


NOT_SIGNED_IN = {"session": 303, "jwt": 401}[AUTH]
ADMINISTRATOR = "proof-administrator"
PERMISSION = "proof.administer"
UNROUTED = "    if request.endpoint is None:  # 404 or 405: no view will run\n"


def grant(service: Service, monkeypatch: pytest.MonkeyPatch, role: str, permissions: Iterable[str]) -> None:
    """Name one more role in the team's settings, beside those that are there."""
    settings = type(service.module("state").state_of(service.app).team)
    monkeypatch.setattr(settings, "roles", {**settings.roles, role: frozenset(permissions)})


@protects("deny-by-default", guard=edit("request/access.py", UNROUTED, "    if True:\n"))
def test_no_view_runs_for_a_stranger_unless_it_is_marked_public(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked = routes(service)
    assert len(walked) >= 20
    assert ("bastion.logout", "POST") in {route.name for route in walked}
    grant(service, monkeypatch, ADMINISTRATOR, {name for route in walked for name in route.access.permissions})
    right_users = walkers(service, service.user(roles=(ADMINISTRATOR,)), requests=2)
    for number, route in enumerate(walked):
        visitor = service.client(address=f"192.0.2.{number % 250 + 1}") if route.access.public else next(right_users)
        with stubbed(service, route.endpoint) as ran:
            answer = visitor.send(route.method, route.path)
            works(answer.status == 200, f"{route} answers a client with access")
            works(ran or route.method == "OPTIONS", f"{route} runs for a client with access")
    protected = [route for route in walked if not route.access.public]
    assert len(protected) >= 8
    ran_for_strangers, answers, stranger = [], {}, service.client()
    for number, route in enumerate(protected):
        with stubbed(service, route.endpoint) as ran:
            stranger.address = f"203.0.113.{number % 250 + 1}"
            answers[route] = stranger.send(route.method, route.path)
            ran_for_strangers += [str(route)] * len(ran)
    harm(ran_for_strangers, f"views ran for an unauthenticated client: {', '.join(ran_for_strangers)}")
    for route, answer in answers.items():
        assert answer.status == route.not_signed_in, str(route)


ROUTES = {
    "session": {
        "session/account.py": 'post("/account/export")',
        "session/administration.py": 'get("/users")',
        "session/factors.py": 'post("/login/factor/cancel")',
        "session/pages.py": 'post("/login")',
    },
    "jwt": {
        "jwt/account.py": 'post("/auth/register")',
        "jwt/administration.py": 'get("/auth/users")',
        "jwt/endpoints.py": 'post("/auth/refresh")',
        "jwt/factors.py": 'post("/auth/login/passkey")',
    },
}[AUTH]
"""One route of each module that has some."""
OTHERWISE = [
    edit(path, f"@blueprint.{route}", f"@blueprint.put{route[route.index('(') :]}") for path, route in ROUTES.items()
]


@protects("deny-by-default", reviewed=tuple(OTHERWISE))
def test_the_table_of_routes_in_the_docs_is_the_one_that_the_marks_make(service: Service) -> None:
    access = service.module("request.access")
    command = f"uv run {service.module('state').state_of(service.app).service_name} dev access"
    table = access.document(service.app)
    works("| public |" in table and "| login |" in table, "the service generates the table of routes")
    file = service.root / access.TABLE_FILE
    written = file.read_text(encoding="utf-8") if file.is_file() else "(no file)"
    harm(written != table, f"the routes differ from the reviewed table: review them, then run {command}")
    assert written == table


@protects(
    "role-required",
    permission=edit("request/access.py", "    if rule.permissions - current_user.permissions:\n", "    if False:\n"),
)
def test_a_user_without_the_permission_runs_no_view_that_asks_for_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.adds_route("/admin/probe", methods=("GET", "POST", "DELETE"), mark=(PERMISSION,))
    walked = [route for route in routes(service) if route.access.permissions]
    assert "/admin/probe" in {route.path for route in walked}
    grant(service, monkeypatch, ADMINISTRATOR, {name for route in walked for name in route.access.permissions})
    administrators = walkers(service, service.user(roles=(ADMINISTRATOR,)), requests=2)
    for number, route in enumerate(walked):
        with stubbed(service, route.endpoint) as ran:
            answer = next(administrators).send(route.method, route.path)
            works(answer.status == 200, f"{route} answers a user with the permission")
            ran.clear()
            user = service.client(service.user(), f"192.0.2.{number % 250 + 1}").login()
            answer = user.send(route.method, route.path)
            harm(ran, f"{route} ran for a user without its permission")
            refused(answer, 403, "role-required")


# --- role-change-immediate ---------------------------------------------------------------------------------------

CHANGE = "role-change-immediate"


def permits(client: Client, user: User, *, remove: bool = False) -> Response:
    """Give the user the administrators' role, or take it away, as an administrator does it."""
    if AUTH == "session":
        return client.post(f"/users/{user.id}/roles/{ADMINISTRATOR}/{'take' if remove else 'give'}")
    return client.send("DELETE" if remove else "PUT", f"/auth/users/{user.id}/roles/{ADMINISTRATOR}")


def roles_of(service: Service, user: User) -> str:
    """The roles of this user as they are stored."""
    return str(service.rows("SELECT roles FROM auth_user WHERE email = :email", email=user.email)[0][0])


def manage(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the proofs' administrators manage accounts, and be the only ones."""
    grant(service, monkeypatch, ADMINISTRATOR, {PERMISSION, service.module("identity.users").MANAGE})


@protects(
    CHANGE,
    cache=(
        edit("identity/sessions.py", "import hashlib\n", "import functools\nimport hashlib\n"),
        edit("identity/sessions.py", "def find_by_token(", "@functools.lru_cache\ndef find_by_token("),
        edit("identity/sessions.py", "def find_by_id(", "@functools.lru_cache\ndef find_by_id("),
    ),
)
def test_a_role_that_was_taken_away_opens_nothing_from_the_next_request_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = service.adds_route("/admin/probe", mark=(PERMISSION,))
    manage(service, monkeypatch)
    chief, demoted = service.user(roles=(ADMINISTRATOR,)), service.user(roles=(ADMINISTRATOR,))
    client = service.client(demoted).login()
    works(client.get("/admin/probe").status == 200, "an administrator opens the protected page")
    seen.clear()
    permits(service.client(chief).login(), demoted, remove=True)
    works(roles_of(service, demoted) == "", "another administrator removes the role")
    answer = client.get("/admin/probe")
    harm(seen, "an existing session or token kept the removed role")
    refused(answer, 403, "role-required")
