"""Edges of the proofs in test_openapi.py: further attacks on the same protections."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...accounts import CHOSEN, OTHER
from ...authenticator import App
from ...harness import edit, harm, protects, refused, works
from ...jwt.test_openapi import DESCRIBED, endpoint_of, operations_of, reached
from ...logins import attempt, stored
from ...routes import ANY_ID
from ...running import Service

if TYPE_CHECKING:
    from ...jwt_client import Client


NEW = (("ActivateBody", "password"), ("ResetBody", "password"), ("ChangeBody", "new_password"))


@protects(
    "health-reveals-nothing",
    openapi=edit("jwt/openapi.py", "_AUDIENCES[settings.openapi](document)", "public(document)"),
)
def test_a_stranger_does_not_get_the_openapi_document(service: Service) -> None:
    service.adds_probe()
    member, stranger = service.client(service.user()).login(), service.client()
    known = member.get("/openapi.json")
    works(known.status == 200, "a signed-in user reads the document")
    works({"/probe", "/probe/{item_id}", "/auth/login"} <= set(known.json["paths"]), "it lists the team's operations")
    answer = stranger.get("/openapi.json")
    harm("paths" in answer.text, "a stranger read the OpenAPI document")
    refused(answer, 401, "deny-by-default")


@protects(
    "health-reveals-nothing",
    off=(
        edit("jwt/openapi.py", '    if settings.openapi == "off":', "    if not settings.openapi:"),
        edit("jwt/openapi.py", "_AUDIENCES[settings.openapi](document)", "login_required(document)"),
    ),
)
def test_nobody_gets_the_description_where_it_is_off(service: Service) -> None:
    service.setting("BASTION_OPENAPI", "off")
    member = service.client(service.user()).login()
    works(member.get("/auth/me").status == 200, "the API answers a signed-in user")
    answer = member.get("/openapi.json")
    harm("paths" in answer.text, "the OpenAPI document was served although it is off")
    assert answer.status == 404


# --- what it says ---------------------------------------------------------------------------------------------


@protects(
    DESCRIBED,
    fresh=edit("jwt/openapi.py", "    if access.fresh:\n", "    if False:\n"),
    shortest=edit("jwt/account.py", 'Field(json_schema_extra={"minLength": SHORTEST})', "Field()"),
)
def test_openapi_states_fresh_logins_and_password_length(service: Service) -> None:
    """Otherwise a client signs its user out, or accepts a new password that the service then refuses."""
    user = service.user()
    client = service.client(user).login()
    document = client.get("/openapi.json").json
    schemas = document["components"]["schemas"]
    said = {schemas[name]["properties"][field]["minLength"] for name, field in NEW}
    before, shortest = stored(service, user.email), min(said)
    answer = client.change_password(user.password, (CHOSEN * 2)[:shortest])
    works(client.account().status == 200, "a signed-in user reads their account")
    harm(stored(service, user.email) == before, "the document allows a password that the service refuses as too short")
    works(answer.status == 200, "a password of the documented minimum length is accepted")
    refused(client.change_password((CHOSEN * 2)[:shortest], OTHER[: shortest - 1]), 422, "input-validated-typed")

    service.travel(seconds=service.limits.fresh_login_seconds + 1)
    stale = [
        f"{method} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if refused_as_stale(service, client, method, path) and "x-fresh-login-seconds" not in operation
    ]
    harm(stale, "the document does not say that an operation needs a fresh login")
    marked = [one for ones in document["paths"].values() for one in ones.values() if "x-fresh-login-seconds" in one]
    assert {one["x-fresh-login-seconds"] for one in marked} == {service.limits.fresh_login_seconds}
    assert ["401" in one["responses"] for one in marked] == [True] * len(marked)
    wrong = client.step_up("not the password of any user")
    refused(wrong, 403, "password-change-needs-current")  # not 401, at which clients sign out
    assert "403" in document["paths"]["/auth/reauthenticate"]["post"]["responses"]
    assert client.account().status == 200


def refused_as_stale(service: Service, client: Client, method: str, path: str) -> bool:
    """Return whether this operation requires re-authentication."""
    answer = reached(service, client, method, path)
    return 'error="insufficient_user_authentication"' in (answer.header("WWW-Authenticate") or "")


@protects(
    DESCRIBED,
    waiting=edit(
        "jwt/openapi.py",
        "{declared.status: declared.answer, **declared.also}.items()",
        "{200: declared.answer}.items()",
    ),
    factor=edit("jwt/openapi.py", "set() if access.public or access.without_factor else {403}", "set()"),
)
def test_openapi_describes_logins_that_lack_a_second_factor(service: Service) -> None:
    """Otherwise a client takes a waiting login for a failure, and a missing second factor for a lasting refusal."""
    service.adds_probe()
    user = service.user()
    client = service.client(user).login()
    document = client.get("/openapi.json").json
    works(client.confirm_totp(App(service, client.seed_of(client.begin_totp())).code()).ok, "a user sets up an app")
    waits = attempt(service.client(user), user.email, user.password)
    works("mfa_token" in waits.json, "the next login waits for the second factor")
    described = document["paths"]["/auth/login"]["post"]["responses"]
    harm(str(waits.status) not in described, "the document does not describe a login that waits for its second factor")
    shape = described[str(waits.status)]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert {*waits.json} == {*document["components"]["schemas"][shape]["required"]}
    assert described["200"] != described[str(waits.status)]

    roles: tuple[str, ...] = tuple(service.module("state").state_of(service.app).team.roles)
    lacking = service.client(replace(service.user(roles=roles), methods="password")).login()
    shut: list[tuple[str, str]] = []
    silent: list[str] = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answer = reached(service, lacking, method, path)
            if answer.status == 403:
                refused(answer, 403, "mfa-required-for-admins")
                assert "POST /auth/totp" in answer.json["errors"][0]["detail"]
                shut.append((method, path))
                silent += [f"{method} {path}" for _ in range("403" not in operation["responses"])]
    harm(silent, "the document does not say that a second factor may be missing")
    assert {("get", "/auth/me"), ("get", "/probe"), ("get", "/auth/users")} <= {*shut}
    assert not {("get", "/auth/factors"), ("post", "/auth/totp"), ("post", "/auth/logout")} & {*shut}


# --- what layers refuse, and what reaches a view --------------------------------------------------------------------

ALWAYS, SUCCESSES = {"400", "429", "500", "503"}, {200, 201, 202, 204}


@protects(
    DESCRIBED,
    layers=edit("jwt/openapi.py", "{400, 429, 500, 503, *declared.refuses}", "{500, *declared.refuses}"),
    body=edit("jwt/openapi.py", "    statuses |= {413, 415} if declared.body else set()\n", ""),
    part=edit("jwt/openapi.py", "    statuses |= {404, 405} if rule.arguments else set()\n", ""),
    success=(
        edit(
            "jwt/account.py", "@operation(status=202)\ndef request_reset", "@operation(status=102)\ndef request_reset"
        ),
        edit("jwt/administration.py", "@operation(status=202)", "@operation(status=102)"),
        edit("jwt/endpoints.py", "also={202: WaitingAnswer}, refuses", "also={102: WaitingAnswer}, refuses"),
    ),
)
def test_openapi_describes_refusals_of_the_layers(service: Service) -> None:
    """A generated client takes an undocumented refusal for a fault of its own."""
    probe = service.adds_probe()
    client, declaration_of = service.client(service.user()).login(), service.module("jwt.api").declaration_of
    paths = client.get("/openapi.json").json["paths"]
    works(probe.create(client).status == 201, "an honest client creates a row")
    ceiling, busy = service.app.wsgi_app._ceiling, "198.51.100.77"  # type: ignore[attr-defined]
    for _ in range(service.limits.requests_per_minute_and_address):
        ceiling.hit(busy)
    answers = [
        ("/probe", "get", client.get("/probe", query={"page": ["1", "2"]})),
        ("/probe", "get", client.get("/probe", query={"page": "0"})),
        ("/probe", "get", service.client().get("/probe")),
        ("/probe", "get", service.client(address=busy).get("/probe")),
        ("/probe", "post", client.post("/probe", {"title": 1})),
        ("/probe", "post", client.post("/probe", body=b"{}", content_type="text/plain")),
        ("/probe", "post", client.post("/probe", headers={"Content-Length": "99999999"})),
        ("/probe/{item_id}", "get", client.get("/probe/x")),
        ("/auth/users/{user_id}", "get", client.patch(f"/auth/users/{ANY_ID}", {})),
        ("/auth/users", "get", client.users()),
    ]
    service.take_database_away()
    answers.append(("/probe", "get", client.get("/probe")))
    unknown = [
        f"{one.status} of {path}"
        for path, method, one in answers
        if str(one.status) not in paths[path][method]["responses"]
    ]
    harm(unknown, f"the document does not describe a layer's answer: {unknown}")
    assert [one.status for _, _, one in answers] == [400, 422, 401, 429, 422, 415, 413, 404, 405, 403, 503]

    rules, views = service.module("state").state_of(service.app).rules, service.app.view_functions
    endpoints = {(path, method): endpoint_of(service, path, method) for path, method, _ in operations_of(paths)}
    declared = {name: declaration_of(views[endpoint]) for name, endpoint in endpoints.items()}
    unheard = {name: strange for name, one in declared.items() if (strange := {one.status, *one.also} - SUCCESSES)}
    harm(unheard, "an operation declares a success status that clients do not expect")
    for path, method, operation in operations_of(paths):
        one, access = declared[path, method], rules[endpoints[path, method]]
        places = {part["in"] for part in operation["parameters"]}
        expected = ALWAYS | {str(status) for status in (one.status, *one.also, *one.refuses)}
        expected |= {"413", "415", "422"} if one.body else set()
        expected |= {"422"} if "query" in places else set()
        expected |= {"409"} if method != "get" else set()
        expected |= {"404", "405"} if "path" in places else set()
        expected |= {"401"} if operation["security"] else set()
        expected |= set() if access.public or access.without_factor else {"403"}
        assert operation["responses"].keys() == expected, path
        assert operation.get("requestBody", {}).get("required", False) == bool(one.body)
        busy_answer = operation["responses"]["429"]
        assert busy_answer["description"] == "Too many requests"
        assert busy_answer["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
        text = operation.get("description", "")
        assert ("RFC 9470" in text, "without one" in text) == (access.fresh, access.without_factor)


KINDS = ("int", "path", "uuid", "text")


def adds_parts(service: Service) -> list[Any]:
    """A team's operations with each kind of path parameter, and one with a query; records their input."""
    arrived: list[Any] = []

    def add(app: Any) -> None:
        schema, api, bastion = service.module("jwt.schema"), service.module("jwt.api"), service.module()

        class Wanted(schema.Query):  # type: ignore[misc, name-defined]
            wanted: int
            sort: str = ""

        class Seen(schema.Answer):  # type: ignore[misc, name-defined]
            """What arrived.

            It is shown.
            """

            text: str

        def take(value: object) -> Any:
            """Take a part.

            It is kept.
            """
            arrived.append(value)
            return Seen(text=str(value))

        def ask(query: Any) -> None:
            arrived.append(query.wanted)

        def choose() -> None:
            """One of two."""

        take.__annotations__, ask.__annotations__ = {"return": Seen}, {"query": Wanted, "return": None}
        choose.__annotations__ = {"return": type("Other", (schema.Answer,), {}) | Seen}
        mark = bastion.login_required
        for kind, part in zip(KINDS, ("<int:value>", "<path:value>", "<uuid:value>", "<value>"), strict=True):
            rule, methods = f"/of-{kind}/{part}", ["GET", "DELETE"] if kind == "text" else ["GET"]
            app.add_url_rule(rule, f"of_{kind}", mark(api.operation(take)), methods=methods)
        app.add_url_rule("/of-query", "of_query", mark(api.operation(ask)), methods=["GET"])
        app.add_url_rule("/of-two", "of_two", mark(api.operation(also={202: Seen})(choose)), methods=["GET"])

    service.adds(add)
    return arrived


@protects(
    DESCRIBED,
    longest=edit("jwt/openapi.py", '"maxLength": LONGEST, "pattern"', '"maxLength": LONGEST_PATH, "pattern"'),
    query=edit("jwt/openapi.py", '"required": name in schema.get("required", [])', '"required": False'),
)
def test_openapi_describes_the_values_that_reach_the_view(service: Service) -> None:
    arrived = adds_parts(service)
    client = service.client(service.user()).login()
    paths = client.get("/openapi.json").json["paths"]
    works(client.get("/of-int/1").json == {"text": "1"}, "a documented URL is answered")
    parts = {kind: paths[f"/of-{kind}/{{value}}"]["get"]["parameters"][0] for kind in KINDS}
    said: dict[str, Any] = {kind: part.pop("schema") for kind, part in parts.items()}
    number, text, path = said["int"], said["text"], said["path"]
    allowed = [("int", number["minimum"]), ("int", number["maximum"]), ("uuid", ANY_ID), ("path", "a/b")]
    allowed += [(kind, "x" * said[kind][name]) for kind in ("text", "path") for name in ("minLength", "maxLength")]
    missing = [(kind, value) for kind, value in allowed if client.get(f"/of-{kind}/{value}").status != 200]
    harm(missing, "the document allows a URL that gets no 200 answer")
    optional = {one["name"]: "1" for one in paths["/of-query"]["get"]["parameters"] if one["required"]}
    harm(client.get("/of-query", query=optional).status != 204, "the document marks a required parameter as optional")
    assert len(arrived) == len(allowed) + 2

    beyond = [("int", number["maximum"] + 1), ("int", number["minimum"] - 1), ("uuid", "x"), ("text", "a/b")]
    beyond += [("text", "x" * (text["maxLength"] + 1)), ("path", "x" * (path["maxLength"] + 1)), ("text", "")]
    assert {client.get(f"/of-{kind}/{value}").status for kind, value in beyond} == {404}
    assert re.search(text.pop("pattern"), "a/b") is None
    assert said == {
        "int": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
        "path": {"type": "string", "minLength": 1, "maxLength": 1024},
        "uuid": {"type": "string", "format": "uuid"},
        "text": {"type": "string", "minLength": 1, "maxLength": 255},
    }
    assert [*parts.values()] == [{"name": "value", "in": "path", "required": True}] * len(KINDS)
    both = paths["/of-text/{value}"]
    assert {method: one["operationId"] for method, one in both.items()} == {
        "get": "of_text.get",
        "delete": "of_text.delete",
    }
    assert [one["summary"] for one in both.values()] == ["Take a part."] * 2
    asked = {one["name"]: one for one in paths["/of-query"]["get"]["parameters"]}
    assert [(one["in"], one["required"], one["schema"]["type"]) for one in asked.values()] == [
        ("query", True, "integer"),
        ("query", False, "string"),
    ]
    two = paths["/of-two"]["get"]["responses"]
    assert [two[status]["description"] for status in ("200", "202")] == ["Done", "What arrived."]
