"""Proofs of jwt/openapi.py: the map of the interface is for whom BASTION_OPENAPI names, and tells no more than it must.

They stop a stranger from reading every address, field and permission of a service that he has no account for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, refused, works
from ..running import Service
from .conforming import Compared
from .forging import claims_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..jwt_client import Client

DESCRIBED = "openapi-says-what-happens"
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
