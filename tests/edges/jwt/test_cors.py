"""Edges of the proofs in test_cors.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...harness import edit, harm, protects, refused, works
from ...jwt import test_cors as core
from ...jwt.test_cors import ANSWER, CLIENT, PREFLIGHT, asks, calls
from ...test_cross_site import CORS_ROW as ROW
from ...test_cross_site import opened
from ..core import sabotages

if TYPE_CHECKING:
    from ...running import Service


@protects(ROW)
def test_a_listed_origin_reads_a_refusal_and_nothing_more(service: Service) -> None:
    service.setting("BASTION_CORS_ORIGINS", CLIENT)
    service.adds_route("/probe", methods=("GET", "POST"))
    stranger = service.client()
    answer = calls(stranger, "GET", CLIENT)
    works((answer.status, opened(answer)) == (401, ANSWER), "a script of a listed origin can read the 401")
    keys = stranger.get("/.well-known/jwks.json", headers={"Origin": CLIENT})
    works(keys.status == 200, "the service publishes its JWKS")
    harm(opened(keys), "a cacheable public answer names one origin")


@protects(
    ROW,
    boot=edit(
        "start/guards.py", "        if not (ORIGIN.match(origin) or local):\n", "        if not (origin or local):\n"
    ),
)
def test_no_list_of_origins_is_a_pattern(service: Service) -> None:
    works(service.start(BASTION_CORS_ORIGINS=CLIENT).app is not None, "the service starts with an exact origin")
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
        harm(tried.app is not None, f"the service started with the origin {wrong}")
        assert tried.reasons == [
            "BASTION_CORS_ORIGINS: entry 2 is no https origin. Write it as in https://client.example, without a path."
        ]
    local = {"BASTION_ENV": "development", "BASTION_CORS_ORIGINS": "http://localhost:3000"}
    assert service.start(**local).app is not None


ALIKE = (
    "https://evil.example",
    "null",
    "",
    "*",
    "http://client.example",
    "https://client.example:8443",
    "https://client.example:443",
    "https://client.example.evil.com",
    "https://client.example.",
    "https://evilclient.example",
    "https://evil-client.example",
    "https://sub.client.example",
    "https://CLIENT.example",
    "HTTPS://client.example",
    "https://client.example/",
    "https://client.example/path",
    "https://client.example, https://evil.example",
    "https://client.example@evil.example",
    "https://client.exampl",
    "client.example",
    " https://client.example",
)


@protects(
    ROW,
    **sabotages(core.test_no_origin_but_a_listed_one_reads_an_answer, ROW, "prefix"),
    echo=edit(
        "edge/cors.py",
        'return environ.get("HTTP_ORIGIN") in self._origins',
        'return environ.get("HTTP_ORIGIN") is not None',
    ),
)
def test_no_origin_that_looks_like_a_listed_one_reads_an_answer(service: Service) -> None:
    service.setting("BASTION_CORS_ORIGINS", f"https://first.example, {CLIENT}")
    seen = service.adds_route("/probe", methods=("GET", "POST"))
    client = service.client(service.user()).login()
    asked = asks(client, CLIENT)
    works((asked.status, asked.body, opened(asked)) == (204, b"", PREFLIGHT), "a preflight of a listed origin passes")
    works(asked.header("Content-Length") is None, "the 204 answer has no Content-Length (RFC 9110, 8.6)")
    for method in ("GET", "POST"):
        called = calls(client, method, CLIENT)
        works((called.status, opened(called)) == (200, ANSWER), f"a listed origin reads the answer to {method}")
        works("Origin" in (called.header("Vary") or ""), "the answer varies by Origin, for caches")
    works(seen == ["GET", "POST"], "the view ran for each call, and not for the preflight")
    seen.clear()
    for origin in ALIKE:
        answers = [asks(client, origin), calls(client, "GET", origin), calls(client, "POST", origin)]
        harm([found for one in answers if (found := opened(one))], f"a script of origin {origin!r} may read an answer")
        harm(seen, f"the view ran for a script of origin {origin!r}")
        for one in answers:
            refused(one, 403, "csrf-cross-site-blocked")
            assert "Origin" in (one.header("Vary") or "")
    wrong = client.send("OPTIONS", "/probe", headers={"Origin": CLIENT})  # no question of a browser's
    assert (wrong.status, seen) == (405, [])
    navigated = client.post(
        "/probe", headers={"Origin": CLIENT, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    )
    refused(navigated, 403, "csrf-cross-site-blocked")  # a form there is no script
