"""Content types: a browser never has to guess a type, so text that a user wrote does not run as a page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .harness import Edit, edit, harm, protects, works
from .routes import routes
from .service import AUTH
from .test_headers import made, visitor

if TYPE_CHECKING:
    from .running import Service
    from .wire import Response


ROW = "content-type-with-charset"
MARKUP = "<script>alert(1)</script>"
PAGE = "text/html; charset=utf-8"
JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"
# A service without pages sends no HTML, whatever a view makes.
TEXT: dict[str, Edit] = (
    {"page": edit("edge/media_types.py", "    if not pages and", "    if pages and")} if AUTH == "jwt" else {}
)


def vague(found: list[str]) -> bool:
    """Whether a browser would have to guess, or would show a page where there is none."""
    if len(found) != 1 or found[0] == "":
        return True
    unsaid = found[0].startswith("text/") and not found[0].endswith("; charset=utf-8")
    return unsaid or ("html" in found[0] and AUTH == "jwt")


def types(answers: dict[str, Response]) -> dict[str, list[str]]:
    return {kind: one.headers_named("Content-Type") for kind, one in answers.items()}


@protects(ROW, charset=edit("edge/media_types.py", 'return f"{kind}{_CHARSET}"', "return kind"), **TEXT)
def test_no_answer_leaves_a_browser_to_guess_what_it_is(service: Service) -> None:
    def sends(kind: str) -> Any:
        from flask import Response

        return Response(MARKUP, content_type=kind)

    service.adds_route("/bare", mark="public", view=lambda: sends("text/plain"))
    service.adds_route("/page", mark="public", view=lambda: sends("text/html"))
    service.adds_route("/text", mark="public", view=lambda: MARKUP)
    service.adds_route("/json", mark="public", view=lambda: {"name": MARKUP})
    client = service.client()
    works(client.get("/json").json == {"name": MARKUP}, "the client parses a JSON answer")
    page = PAGE if AUTH == "session" else PLAIN
    expected = {"/bare": [PLAIN], "/text": [page], "/page": [page]}
    harm(types({path: client.get(path) for path in expected}) != expected, "an answer has a wrong content type")


@protects(ROW)
def test_every_answer_is_what_it_says(service: Service) -> None:
    client = visitor(service)
    works(client.get("/kind/text").headers_named("Content-Type") == [PLAIN], "a plain text is sent as text/plain")
    answers = {name: one for name, one in made(service, client).items() if one.body}
    for route in routes(service):
        if route.method == "GET" and (one := client.get(route.path)).body:
            answers[str(route)] = one
    harm({name: found for name, found in types(answers).items() if vague(found)}, "a browser must guess a content type")
    for name, answer in answers.items():
        [kind] = answer.headers_named("Content-Type")
        if kind.endswith("json"):
            json.loads(answer.body)
        assert kind != PAGE or answer.text.lstrip()[:9].lower() == "<!doctype", name
        answer.body.decode("utf-8")
    assert {"missing", "text", "style", "bad host", "live"} <= answers.keys()
