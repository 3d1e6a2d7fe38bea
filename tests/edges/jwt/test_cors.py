"""Edges of the proofs in test_cors.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...harness import edit, harm, protects, works
from ...jwt.test_cors import ANSWER, CLIENT, calls
from ...test_cors import ROW, opened

if TYPE_CHECKING:
    from ...running import Service


@protects(ROW)
def test_a_listed_origin_is_told_why_it_was_refused_and_gets_nothing_else(service: Service) -> None:
    service.setting("BASTION_CORS_ORIGINS", CLIENT)
    service.adds_route("/probe", methods=("GET", "POST"))
    stranger = service.client()
    answer = calls(stranger, "GET", CLIENT)
    works((answer.status, opened(answer)) == (401, ANSWER), "the script can read that it has to sign in")
    keys = stranger.get("/.well-known/jwks.json", headers={"Origin": CLIENT})
    works(keys.status == 200, "the keys are there")
    harm(opened(keys), "an answer that a cache gives to everybody names one origin")


@protects(
    ROW,
    boot=edit("guards.py", "        if not (ORIGIN.match(origin) or local):\n", "        if not (origin or local):\n"),
)
def test_no_list_of_origins_is_a_pattern(service: Service) -> None:
    works(service.start(BASTION_CORS_ORIGINS=CLIENT).app is not None, "an origin that is written out starts")
    for wrong in (
        *("*", "null", "https://*.client.example", "https://.*", "^https://client", "http://client.example"),
        *(
            "client.example",
            "https://client.example/",
            "https://",
            "https://user@client.example",
            "http://localhost:3000",
        ),
    ):
        tried = service.start(BASTION_CORS_ORIGINS=f"https://first.example,{wrong}")
        harm(tried.app is not None, f"it started with {wrong}")
        assert tried.reasons == [
            "BASTION_CORS_ORIGINS: entry 2 is no https origin. Write it as in https://client.example, without a path."
        ]
    local = {"BASTION_ENV": "development", "BASTION_CORS_ORIGINS": "http://localhost:3000"}
    assert service.start(**local).app is not None
