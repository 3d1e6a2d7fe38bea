"""Proofs of jwt/openapi.py: the map of the interface is for whom BASTION_OPENAPI names, and tells no more than it must.

They stop a stranger from reading every address, field and permission of a service that he has no account for.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ..accounts import CHOSEN, OTHER
from ..authenticator import App
from ..harness import edit, harm, protects, refused, works
from ..logins import attempt, stored
from ..routes import ANY_ID, stubbed
from ..running import Service
from ..wire import HOST
from .conforming import Compared
from .forging import claims_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..jwt_client import Client
    from ..wire import Response

DESCRIBED = "openapi-says-what-happens"
NEW = (("ActivateBody", "password"), ("ResetBody", "password"), ("ChangeBody", "new_password"))
ANSWER = '        return Response(answer.model_dump_json(), status, mimetype="application/json")\n'


@protects(
    "health-reveals-nothing",
    openapi=edit("jwt/openapi.py", "_AUDIENCES[settings.openapi](document)", "public(document)"),
)
def test_a_stranger_does_not_get_the_description_of_the_interface(service: Service) -> None:
    service.adds_probe()
    member, stranger = service.client(service.user()).login(), service.client()
    known = member.get("/openapi.json")
    works(known.status == 200, "whoever is signed in reads it")
    works({"/probe", "/probe/{item_id}", "/auth/login"} <= set(known.json["paths"]), "the team's operations are in it")
    answer = stranger.get("/openapi.json")
    harm("paths" in answer.text, "a stranger has the description")
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
    works(member.get("/auth/me").status == 200, "the interface itself is there")
    answer = member.get("/openapi.json")
    harm("paths" in answer.text, "the description is there")
    assert answer.status == 404


def test_everybody_gets_the_description_where_it_is_public(service: Service) -> None:
    service.setting("BASTION_OPENAPI", "public")
    assert service.client().get("/openapi.json").json["openapi"] == "3.1.0"


def test_no_other_word_opens_the_description(service: Service) -> None:
    for value in ("Public", "on", "yes", "", "signed_in"):
        tried = service.start(BASTION_OPENAPI=value)
        assert tried.app is None
        assert tried.reasons == ["BASTION_OPENAPI: Input should be 'off', 'signed-in' or 'public'. Correct it."]


# --- what it says ---------------------------------------------------------------------------------------------


@protects(
    DESCRIBED,
    crash=edit(
        "jwt/api.py",
        "        return schema.model_validate_json(data)\n    except ValidationError as error:\n",
        "        return schema.model_validate_json(data)\n    except KeyError as error:\n",
    ),
    status=edit("jwt/openapi.py", ", *declared.refuses}", "}"),
    shape=edit("jwt/api.py", ANSWER, ANSWER.replace("json()", 'json(exclude={"email", "expires_in"})')),
    type=edit("jwt/api.py", ANSWER, ANSWER.replace("application/json", "text/plain")),
)
def test_no_input_gets_an_answer_that_the_description_does_not_know(service: Service) -> None:
    """A client that was made from it would take what it does not know for success, or fail on it."""
    probe = service.adds_probe()
    roles: tuple[str, ...] = tuple(service.module("state").state_of(service.app).team.roles)

    def caller(path: str) -> tuple[Client, Mapping[str, str]]:
        client = service.client(service.user(roles=roles)).login()
        said = claims_of(client.token)
        known = {"user_id": said["sub"], "session_id": said["sid"], "role": roles[0]}
        if "{item_id}" in path:
            known["item_id"] = probe.create(client).json["id"]
        return client, known

    compared = Compared(service, caller)
    compared.all()
    assert len(compared.operations) >= 12
    honest = {("GET", "/auth/me"), ("GET", "/auth/sessions"), ("GET", "/probe"), ("GET", "/probe/{item_id}")}
    answered = {(method, path) for method, path, status in compared.answered if status == 200}
    works(honest <= answered, "what fits the description is answered")
    changing = {("POST", "/probe", 201), ("DELETE", "/probe/{item_id}", 204)}
    works(changing <= compared.answered, "also what changes something")
    works(("POST", "/auth/login", 401) in compared.answered, "and a wrong password is refused")
    harm(compared.denied, f"the description denies an answer: {compared.denied[:3]}")
    assert {status for _, _, status in compared.answered} >= {200, 201, 204, 400, 401, 404, 422}


@protects(
    DESCRIBED,
    fresh=edit("jwt/openapi.py", "    if access.fresh:\n", "    if False:\n"),
    shortest=edit("jwt/account.py", 'Field(json_schema_extra={"minLength": SHORTEST})', "Field()"),
)
def test_the_description_says_what_needs_a_fresh_login_and_how_long_a_new_password_is(service: Service) -> None:
    """Otherwise a client signs its user out, or lets him type for nothing."""
    user = service.user()
    client = service.client(user).login()
    document = client.get("/openapi.json").json
    schemas = document["components"]["schemas"]
    said = {schemas[name]["properties"][field]["minLength"] for name, field in NEW}
    before, shortest = stored(service, user.email), min(said)
    answer = client.change_password(user.password, (CHOSEN * 2)[:shortest])
    works(client.account().status == 200, "whoever is signed in sees his account")
    harm(stored(service, user.email) == before, "the description allows a password that is refused as too short")
    works(answer.status == 200, "a password of the shortest length that it says is taken")
    refused(client.change_password((CHOSEN * 2)[:shortest], OTHER[: shortest - 1]), 422, "input-validated-typed")

    service.travel(seconds=service.limits.fresh_login_seconds + 1)
    stale = [
        f"{method} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if refused_as_stale(service, client, method, path) and "x-fresh-login-seconds" not in operation
    ]
    harm(stale, "the description does not say that the login must be fresh")
    marked = [one for ones in document["paths"].values() for one in ones.values() if "x-fresh-login-seconds" in one]
    assert {one["x-fresh-login-seconds"] for one in marked} == {service.limits.fresh_login_seconds}
    assert ["401" in one["responses"] for one in marked] == [True] * len(marked)
    wrong = client.step_up("not the password of anybody")
    refused(wrong, 403, "password-change-needs-current")  # not 401, at which clients sign out
    assert "403" in document["paths"]["/auth/reauthenticate"]["post"]["responses"]
    assert client.account().status == 200


def refused_as_stale(service: Service, client: Client, method: str, path: str) -> bool:
    """Whether this operation asks for a proof first."""
    answer = reached(service, client, method, path)
    return 'error="insufficient_user_authentication"' in (answer.header("WWW-Authenticate") or "")


def reached(service: Service, client: Client, method: str, path: str) -> Response:
    """What the layers before this operation say; what it would do itself is left out."""
    path = re.sub(r"\{\w+\}", "x", re.sub(r"\{\w+_id\}", ANY_ID, path))
    rule = service.app.url_map.bind(HOST).match(path, method.upper())[0]
    with stubbed(service, rule):
        return client.send(method, path)


@protects(
    DESCRIBED,
    waiting=edit(
        "jwt/openapi.py",
        "{declared.status: declared.answer, **declared.also}.items()",
        "{200: declared.answer}.items()",
    ),
    factor=edit("jwt/openapi.py", "set() if access.public or access.without_factor else {403}", "set()"),
)
def test_the_description_says_what_a_login_without_its_second_factor_is_answered(service: Service) -> None:
    """Otherwise a client takes a login that waits for a failure, and a door that a code would open for a closed one."""
    service.adds_probe()
    user = service.user()
    client = service.client(user).login()
    document = client.get("/openapi.json").json
    works(client.confirm_totp(App(service, client.seed_of(client.begin_totp())).code()).ok, "an app is set up")
    waits = attempt(service.client(user), user.email, user.password)
    works("mfa_token" in waits.json, "and the next login waits for its code")
    described = document["paths"]["/auth/login"]["post"]["responses"]
    harm(str(waits.status) not in described, "the description does not know a login that waits")
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
    harm(silent, "the description does not say that a second factor may be missing")
    assert {("get", "/auth/me"), ("get", "/probe"), ("get", "/auth/users")} <= {*shut}
    assert not {("get", "/auth/factors"), ("post", "/auth/totp"), ("post", "/auth/logout")} & {*shut}
