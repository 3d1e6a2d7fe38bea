"""Edges of the proofs in test_media_types.py: further attacks on the same protections."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..harness import Edit, edit, harm, protects, works
from ..service import AUTH
from ..test_media_types import JSON, MARKUP, PAGE, PLAIN, ROW, types

if TYPE_CHECKING:
    import pytest

    from ..running import Service
    from ..service import Client
    from ..wire import Response


@protects(
    ROW,
    table=edit(
        "edge/media_types.py", "        mimetypes.add_type(kind, suffix)\n", "        mimetypes.guess_type(suffix)\n"
    ),
)
def test_a_program_on_the_machine_does_not_decide_what_a_file_is(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor may register scripts as text for the whole system; browsers then refuse to run them."""
    mimetypes.init()
    for name in FILES:
        monkeypatch.setitem(mimetypes.types_map, Path(name).suffix, "text/plain")
    adds_careless(service)
    client = service.client()
    works(types({"": client.get("/careless/file/note.txt")}) == {"": [PLAIN]}, "a plain text is sent as text/plain")
    harm(types(files(client)) != FILES, "the machine's table decides the type of a file")


@protects(ROW)
def test_no_client_chooses_what_an_answer_is(service: Service) -> None:
    adds_careless(service)
    client = service.client()
    plain = client.get("/careless/json")
    works(plain.headers_named("Content-Type") == ["application/json"], "JSON is sent as application/json")
    for query in (
        {"callback": "run"},
        {"jsonp": "run"},
        {"format": "html"},
        {"type": "text/html"},
        {"_format": "html"},
    ):
        for accept in ("text/html", "application/javascript", "*/*"):
            answer = client.get("/careless/json", query=query, headers={"Accept": accept})
            harm(answer.headers_named("Content-Type") != ["application/json"], f"{query} and {accept} changed the type")
            assert answer.body == plain.body


# The headers that browsers need before they use a file.
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
    """Views and files that declare no type, or an incomplete one."""
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


@protects(
    ROW,
    charset=edit("edge/media_types.py", 'return f"{kind}{_CHARSET}"', "return kind"),
    missing=edit("edge/headers.py", "            kind = UNKNOWN\n", "            pass\n"),
    suffix=edit("edge/headers.py", "        if kind.startswith(UNKNOWN):\n", "        if not kind:\n"),
    **TEXT,
)
def test_every_answer_declares_its_media_type(service: Service) -> None:
    adds_careless(service)
    client = service.client()
    works(client.get("/careless/json").json == {"name": MARKUP}, "the client parses a JSON answer")
    works(types(files(client)) == FILES, "files have the types of their names")
    empty = {str(status): client.get(f"/careless/empty/{status}") for status in (204, 302, 304)}
    works([*types(empty).values()] == [[], [], []], "an empty answer has no type")

    bare = client.get("/careless/bare")
    harm(bare.headers_named("Content-Type") != [PLAIN], "a text was sent without its charset")
    expected = PAGE if AUTH == "session" else PLAIN
    for path in ("/careless/text", "/careless/page", *(["/careless/xhtml"] if AUTH == "jwt" else [])):
        harm(client.get(path).headers_named("Content-Type") != [expected], "a service without pages sent HTML")
    for path in ("/careless/silent", "/careless/file/note", "/careless/file/note.unheard-of"):
        answer = client.get(path)
        harm(answer.headers_named("Content-Type") != ["application/octet-stream"], f"{path} has no safe type")
        saved = answer.header("Content-Disposition") or ""
        harm(not saved.startswith("attachment"), f"{path}, of an unknown type, would be displayed")
        assert saved.partition("; ")[2] == {"file": f"filename={path.rpartition('/')[2]}"}.get(path.split("/")[2], "")
        assert (answer.status, answer.text) == (200, MARKUP)
        assert (answer.header("Content-Security-Policy") or "").endswith("; sandbox")
