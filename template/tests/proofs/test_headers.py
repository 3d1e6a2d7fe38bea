"""Security headers: every answer carries them, so a browser cannot frame or sniff it or grant it extra rights.

Each kind of answer that the service can make is made, by whoever makes it: a view, Flask, an extension, the edge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from . import header_table
from .harness import edit, harm, insert, protects, works
from .service import AUTH

if TYPE_CHECKING:
    from flask import Flask

    from .running import Service
    from .service import Client
    from .wire import Response


# The table in one function of Flask's instead of around it: what many applications have.
IN_ONE_HOOK = """
    table = app.wsgi_app._table

    @app.after_request
    def put_headers(answer: Any) -> Any:
        from flask import request

        lines = table.finish(request.environ, answer.status, list(answer.headers))
        answer.headers = type(answer.headers)(lines)
        return answer

"""


def adds_kinds(service: Service) -> None:
    """Views below /kind that answer in every way, and hooks of an extension that answer, or fail, instead of them."""

    def add(app: Flask) -> None:
        from flask import Response, abort, redirect, request

        public: Callable[..., Any] = service.module().public

        def fails() -> Any:
            raise RuntimeError("what an extension or a view does fails")

        def pieces() -> Iterator[bytes]:
            yield fails()

        def shared() -> Any:
            service.module("edge").shareable(request.environ)
            return {"for": "everybody"}

        saved = {"Content-Disposition": "attachment; filename=list.csv"}
        views: dict[str, Callable[..., Any]] = {
            "abort/<int:status>": lambda status: abort(status),
            "status/<int:status>": lambda status: Response(status=status),
            "raises": fails,
            "breaks": lambda: Response(pieces()),
            "moves": lambda: redirect("/elsewhere"),
            "saves": lambda: Response(b"a,b", mimetype="text/csv", headers=saved),
            "shared": shared,
            "text": lambda: Response("<script>alert(1)</script>", mimetype="text/plain"),
            "after": lambda: {"after": True},
        }
        for path, view in views.items():
            app.add_url_rule(f"/kind/{path}", f"kind_{path.partition('/')[0]}", public(view))
        app.after_request(lambda answer: fails() if request.path == "/kind/after" else answer)
        app.before_request(lambda: Response("x", mimetype="text/plain") if request.path == "/kind/extension" else None)

    service.adds(add)


def kinds(service: Service, client: Client) -> Iterator[tuple[str, int, Response]]:
    """One answer of each maker: its name, the status that is right, and the answer."""
    yield from ((f"abort {status}", status, client.get(f"/kind/abort/{status}")) for status in (401, 403, 429, 500))
    yield from ((f"status {status}", status, client.get(f"/kind/status/{status}")) for status in (200, 204))
    for name, status in {
        "raises": 500,
        "breaks": 500,
        "moves": 302,
        "text": 200,
        "after": 500,
        "extension": 200,
    }.items():
        yield name, status, client.get(f"/kind/{name}")
    yield "missing", 404, client.get("/kind/none")
    yield "missing static file", 404, client.get("/static/bastion/none.css")
    yield "wrong method", 405, client.post("/kind/text")
    yield "unknown method", 405, client.send("TRACE", "/kind/text")
    yield "head", 200, client.send("HEAD", "/kind/text")
    yield "bad host", 400, client.get("/kind/text", headers={"Host": "evil.example"})
    yield "clear text", 308 if AUTH == "session" else 403, client.get("/kind/text", scheme="http")
    yield "too long", 413, client.post("/kind/text", headers={"Content-Length": str(service.limits.body_bytes + 1)})
    yield "live", 200, client.get("/healthz")
    yield "no access", 403, client.get("/kind/permission")
    stranger = service.client(address="192.0.2.11")
    yield "not signed in", 303 if AUTH == "session" else 401, stranger.get("/kind/permission")
    style = client.get("/file/probe.css")
    yield "style", 200, style
    yield "script", 200, client.get("/file/probe.js")
    yield "not modified", 304, client.get("/file/probe.css", headers={"If-None-Match": style.header("ETag")})


def made(service: Service, client: Client) -> dict[str, Response]:
    """The same answers by name."""
    return {name: answer for name, _, answer in kinds(service, client)}


def visitor(service: Service) -> Client:
    """A signed-in visitor of a service that has all kinds of answers, and one route that he may not use."""
    adds_kinds(service)
    adds_files(service)
    service.adds_route("/kind/permission", mark=("nobody.has.it",))
    return service.client(service.user()).login()


def adds_files(service: Service) -> None:
    """A folder with a script and a stylesheet, served as a team serves its files."""
    (service.folder / "probe.js").write_text("export {};\n")
    (service.folder / "probe.css").write_text("body { margin: 0 }\n")

    def send(name: str) -> Any:
        from flask import send_from_directory

        return send_from_directory(service.folder, name)

    service.adds_route("/file/<name>", mark="public", view=send)


@protects(
    "headers-on-every-response",
    place=(
        edit("edge/__init__.py", "return self._table.finish(environ, start.status, headers)", "return headers"),
        insert(
            "edge/__init__.py",
            after="    app.wsgi_app = Edge(app.wsgi_app, settings=edge)  # type: ignore[method-assign]\n",
            new=IN_ONE_HOOK,
        ),
    ),
)
@protects("headers-classic", frame=edit("edge/headers.py", '    yield ("X-Frame-Options", "DENY")\n', ""))
@protects(
    "header-hsts", line=edit("edge/headers.py", '        yield ("Strict-Transport-Security", hsts)\n', "        pass\n")
)
@protects(
    "referrer-policy", value=edit("edge/headers.py", 'REFERRER: Final = "same-origin"', 'REFERRER: Final = "origin"')
)
@protects(
    "cross-origin-isolation",
    corp=edit("edge/headers.py", '    yield ("Cross-Origin-Resource-Policy", resource)\n', ""),
    coop=edit("edge/headers.py", '    yield ("Cross-Origin-Opener-Policy", "same-origin")\n', ""),
)
@protects(
    "csp-json-exact",
    frames=edit(
        "edge/headers.py",
        "        \"frame-ancestors 'none'\",\n        \"base-uri 'none'\",\n        \"form-action 'none'\",\n",
        "        \"base-uri 'none'\",\n        \"form-action 'none'\",\n",
    ),
)
def test_no_answer_leaves_without_each_header_of_the_table_whoever_makes_it(service: Service) -> None:
    """Compare each answer with `header_table.py`: no framing, sniffing or embedding, and HTTPS only (HSTS)."""
    client = visitor(service)
    works(client.get("/kind/text").body == b"<script>alert(1)</script>", "a view's text arrives unchanged")
    works(client.get("/file/probe.js").mimetype == "text/javascript", "a script is served as text/javascript")
    found = [*kinds(service, client)]
    wrong = {name: faults for name, _, answer in found if (faults := header_table.faults(service, answer))}
    harm(wrong, "an answer lacks a header, repeats it or has a wrong value")
    assert [(name, answer.status) for name, _, answer in found] == [(name, status) for name, status, _ in found]
    assert {"after", "bad host", "style"} <= {name for name, _, _ in found}  # hooks of Flask miss the first two
    assert header_table.faults(service, client.get("/kind/saves"), download=True) == []
    assert header_table.faults(service, client.get("/kind/shared"), shared=True) == []


# --- what a user wrote in a header -----------------------------------------------------------------------------

CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


def injected(answer: Response) -> list[tuple[str, str]]:
    """Headers that a server would send as more than one line, or that hold what no header may."""
    return [(name, value) for name, value in answer.headers if CONTROL.search(f"{name}{value}")]


@protects("header-values-safe", control=edit("edge/headers.py", "and _UNSENDABLE.search(value):", "and not value:"))
def test_no_line_break_or_control_character_gets_into_a_header(service: Service) -> None:
    names = ("r\u00e9sum\u00e9.pdf", "a\r\nSet-Cookie: x=1", "a\x0bb")  # as a database holds them

    def named(number: int) -> Any:
        from flask import Response

        return Response("x", mimetype="text/plain", headers={"X-Name": names[number]})

    service.adds_route("/named/<int:number>", mark="public", view=named)
    client = service.client()
    works(client.get("/named/0").header("X-Name") == names[0], "a header value with accents arrives (RFC 9110, 5.5)")
    for number in (1, 2):
        answer = client.get(f"/named/{number}")
        harm(injected(answer), f"a header was sent with the value {names[number]!r}")
        assert answer.status == 500  # Werkzeug itself refuses the line break
        assert answer.headers_named("Set-Cookie") == []
