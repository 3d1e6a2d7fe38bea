"""Attacks by what an answer is taken for: a text that is shown as a page runs whatever somebody wrote into it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .harness import Edit, edit, harm, protects, works
from .routes import routes
from .service import AUTH
from .test_headers import kinds, visitor

if TYPE_CHECKING:
    from .running import Service
    from .service import Client
    from .wire import Response


ROW = "content-type-with-charset"
MARKUP = "<script>alert(1)</script>"
PAGE = "text/html; charset=utf-8"
JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"
# What browsers want to be told of a file before they use it.
FILES = {
    "style.css": ["text/css; charset=utf-8"],
    "script.js": ["text/javascript; charset=utf-8"],
    "module.mjs": ["text/javascript; charset=utf-8"],
    "image.svg": ["image/svg+xml; charset=utf-8"],
    "photo.avif": ["image/avif"],
    "photo.webp": ["image/webp"],
    "favicon.ico": ["image/vnd.microsoft.icon"],
    "site.webmanifest": ["application/manifest+json"],
    "font.woff2": ["font/woff2"],
    "data.json": [JSON],
}
# A service without pages sends no HTML, whatever a view makes.
TEXT: dict[str, Edit] = (
    {
        "page": edit("edge/media_types.py", "    if not pages and", "    if pages and"),
        "xhtml": edit("edge/media_types.py", '"text/html", "application/xhtml+xml"', '"text/html", "text/xml"'),
    }
    if AUTH == "jwt"
    else {}
)


def adds_careless(service: Service) -> None:
    """Views and files that say nothing, or too little, about what they are."""
    for name in ("note", "note.unheard-of", "note.txt", *FILES):
        (service.folder / name).write_text(MARKUP)

    def file(name: str) -> Any:
        from flask import send_from_directory

        return send_from_directory(service.folder, name)

    def bare() -> Any:
        from flask import Response

        return Response(MARKUP, content_type="text/plain")

    def page(kind: str = "text/html") -> Any:
        from flask import Response

        return Response(MARKUP, mimetype=kind)

    def silent(status: int = 200) -> Any:
        from flask import Response

        answer = Response(MARKUP if status == 200 else "", status)
        del answer.headers["Content-Type"]
        return answer

    service.adds_route("/careless/file/<name>", mark="public", view=file)
    service.adds_route("/careless/bare", mark="public", view=bare)
    service.adds_route("/careless/silent", mark="public", view=silent)
    service.adds_route("/careless/empty/<int:status>", mark="public", view=silent)
    service.adds_route("/careless/text", mark="public", view=lambda: "a text")
    service.adds_route("/careless/page", mark="public", view=page)
    service.adds_route("/careless/xhtml", mark="public", view=lambda: page("application/xhtml+xml"))
    service.adds_route("/careless/json", mark="public", view=lambda: {"name": MARKUP})


def files(client: Client) -> dict[str, Response]:
    return {name: client.get(f"/careless/file/{name}") for name in FILES}


def vague(found: list[str]) -> bool:
    """Whether a browser would have to guess, or would show a page where there is none."""
    if len(found) != 1 or found[0] == "":
        return True
    unsaid = found[0].startswith("text/") and not found[0].endswith("; charset=utf-8")
    return unsaid or ("html" in found[0] and AUTH == "jwt")


def types(answers: dict[str, Response]) -> dict[str, list[str]]:
    return {kind: one.headers_named("Content-Type") for kind, one in answers.items()}


@protects(
    ROW,
    charset=edit("edge/media_types.py", 'return f"{kind}{_CHARSET}"', "return kind"),
    missing=edit("edge/headers.py", "            kind = UNKNOWN\n", "            pass\n"),
    suffix=edit("edge/headers.py", "        if kind.startswith(UNKNOWN):\n", "        if not kind:\n"),
    **TEXT,
)
def test_no_answer_leaves_a_browser_to_guess_what_it_is(service: Service) -> None:
    adds_careless(service)
    client = service.client()
    works(client.get("/careless/json").json == {"name": MARKUP}, "JSON is parsed")
    works(types(files(client)) == FILES, "files are what their names say")
    empty = {str(status): client.get(f"/careless/empty/{status}") for status in (204, 302, 304)}
    works([*types(empty).values()] == [[], [], []], "what has no body is of no kind")

    bare = client.get("/careless/bare")
    harm(bare.headers_named("Content-Type") != [PLAIN], "a text left without its charset")
    expected = PAGE if AUTH == "session" else PLAIN
    for path in ("/careless/text", "/careless/page", *(["/careless/xhtml"] if AUTH == "jwt" else [])):
        harm(client.get(path).headers_named("Content-Type") != [expected], "a service without pages sent one")
    for path in ("/careless/silent", "/careless/file/note", "/careless/file/note.unheard-of"):
        answer = client.get(path)
        harm(answer.headers_named("Content-Type") != ["application/octet-stream"], f"{path} does not say what it is")
        saved = answer.header("Content-Disposition") or ""
        harm(not saved.startswith("attachment"), f"{path}, of an unknown kind, would be shown and not saved")
        assert saved.partition("; ")[2] == {"file": f"filename={path.rpartition('/')[2]}"}.get(path.split("/")[2], "")
        assert (answer.status, answer.text) == (200, MARKUP)
        assert (answer.header("Content-Security-Policy") or "").endswith("; sandbox")


@protects(ROW)
def test_every_answer_is_what_it_says(service: Service) -> None:
    client = visitor(service)
    works(client.get("/kind/text").headers_named("Content-Type") == [PLAIN], "a text is a text")
    answers = {name: one for name, one in kinds(service, client) if one.body}
    for route in routes(service):
        if route.method == "GET" and (one := client.get(route.path)).body:
            answers[str(route)] = one
    harm({name: found for name, found in types(answers).items() if vague(found)}, "a browser has to guess what it is")
    for name, answer in answers.items():
        [kind] = answer.headers_named("Content-Type")
        if kind.endswith("json"):
            json.loads(answer.body)
        assert kind != PAGE or answer.text.lstrip()[:9].lower() == "<!doctype", name
        answer.body.decode("utf-8")
    assert len(answers) >= 25
    assert {"missing", "text", "style", "bad host", "live"} <= answers.keys()
