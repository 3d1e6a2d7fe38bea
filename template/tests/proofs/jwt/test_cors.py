"""CORS: only an origin that exactly equals a listed one may call the service and read its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, refused, works
from ..test_cross_site import CORS_ROW as ROW
from ..test_cross_site import opened

if TYPE_CHECKING:
    from ..jwt_client import Client
    from ..running import Service
    from ..wire import Response


CLIENT = "https://client.example"
SCRIPT = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
ANSWER = [("Access-Control-Allow-Origin", CLIENT)]
PREFLIGHT = [
    *ANSWER,
    ("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type"),
    ("Access-Control-Max-Age", "600"),
]


def calls(client: Client, method: str, origin: str) -> Response:
    """As a browser lets a script of this origin call."""
    return client.send(method, "/probe", headers={"Origin": origin, **SCRIPT})


def asks(client: Client, origin: str) -> Response:
    """The question before such a call: it never carries a token."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    return client.send("OPTIONS", "/probe", headers={"Origin": origin, **SCRIPT, **asked, "Authorization": None})


@protects(
    ROW,
    prefix=edit(
        "edge/cors.py",
        'return environ.get("HTTP_ORIGIN") in self._origins',
        'return environ.get("HTTP_ORIGIN", "").startswith(tuple(self._origins))',
    ),
)
def test_no_origin_but_a_listed_one_reads_an_answer(service: Service) -> None:
    service.setting("BASTION_CORS_ORIGINS", f"https://first.example, {CLIENT}")
    seen = service.adds_route("/probe", methods=("GET", "POST"))
    client = service.client(service.user()).login()
    asked = asks(client, CLIENT)
    works((asked.status, asked.body, opened(asked)) == (204, b"", PREFLIGHT), "a preflight of a listed origin passes")
    called = calls(client, "POST", CLIENT)
    works((called.status, opened(called)) == (200, ANSWER), "a script of a listed origin calls the view")
    seen.clear()
    for origin in ("https://evil.example", "null", f"{CLIENT}.evil.com", f"{CLIENT}:8443"):
        answers = [asks(client, origin), calls(client, "GET", origin), calls(client, "POST", origin)]
        harm([found for one in answers if (found := opened(one))], f"a script of origin {origin!r} may read an answer")
        harm(seen, f"the view ran for a script of {origin!r}")
        for one in answers:
            refused(one, 403, "csrf-cross-site-blocked")
            assert "Origin" in (one.header("Vary") or "")
