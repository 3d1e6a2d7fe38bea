"""Proofs of jwt/openapi.py: the map of the interface is for whom BASTION_OPENAPI names, and tells no more than it must.

They stop a stranger from reading every address, field and permission of a service that he has no account for.
"""

from __future__ import annotations

from ..harness import edit, harm, protects, refused, works
from ..running import Service


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
