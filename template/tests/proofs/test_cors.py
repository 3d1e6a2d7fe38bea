"""Attacks by scripts of other origins: without a decision of the operator's none of them may read any answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .harness import edit, harm, protects, works
from .test_headers import made, visitor
from .wire import ORIGIN

if TYPE_CHECKING:
    from .running import Service
    from .wire import Response


ROW = "cors-exact-origin"


def opened(answer: Response) -> list[tuple[str, str]]:
    """What an answer allows scripts of other origins."""
    return [header for header in answer.headers if header[0].lower().startswith("access-control-")]


@protects(ROW, view=edit("edge/headers.py", " or name.startswith(PREFIX)", ""))
def test_no_answer_is_open_to_other_origins_unless_they_are_named(service: Service) -> None:
    def careless() -> Any:
        from flask import Response

        everybody = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"}
        return Response("{}", mimetype="application/json", headers=everybody)

    service.adds_route("/careless", mark="public", view=careless)
    client = visitor(service)
    works(client.get("/careless").json == {}, "the own origin reads it")
    answers = made(service, client)
    for origin in (ORIGIN, "https://evil.example", "null"):
        for path in ("/careless", "/kind/shared", "/missing", "/healthz"):
            asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            answers[f"{path} {origin}"] = client.get(path, headers={"Origin": origin})
            answers[f"preflight {path} {origin}"] = client.send("OPTIONS", path, headers=asked)
    harm({name: found for name, one in answers.items() if (found := opened(one))}, "another origin may read an answer")
    assert {one.status for name, one in answers.items() if name.startswith("preflight")} <= {403, 404, 405}
