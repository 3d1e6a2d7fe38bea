"""Attacks on answers that leave without their headers: framed, sniffed, or with rights that nobody gave.

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

        def aborts(status: int) -> Any:
            abort(status)

        def answers(status: int) -> Any:
            return Response(status=status)

        def raises() -> Any:
            raise RuntimeError("the view fails")

        def breaks() -> Any:
            def pieces() -> Iterator[bytes]:
                raise RuntimeError("the first piece fails")
                yield b""

            return Response(pieces())

        def moves() -> Any:
            return redirect("/elsewhere")

        def saves() -> Any:
            return Response(
                b"a,b", mimetype="text/csv", headers={"Content-Disposition": "attachment; filename=list.csv"}
            )

        def shared() -> Any:
            service.module("edge").shareable(request.environ)
            return {"for": "everybody"}

        def text() -> Any:
            return Response("<script>alert(1)</script>", mimetype="text/plain")

        app.add_url_rule("/kind/abort/<int:status>", "kind_abort", public(aborts))
        app.add_url_rule("/kind/status/<int:status>", "kind_status", public(answers))
        for view in (raises, breaks, moves, saves, shared, text):
            app.add_url_rule(f"/kind/{view.__name__}", f"kind_{view.__name__}", public(view))
        app.add_url_rule("/kind/after", "kind_after", public(lambda: {"after": True}))

        @app.after_request
        def fail(answer: Any) -> Any:
            if request.path == "/kind/after":
                raise RuntimeError("a hook of an extension fails")
            return answer

        @app.before_request
        def answer_instead() -> Any:
            return Response("an extension", mimetype="text/plain") if request.path == "/kind/extension" else None

    service.adds(add)


ABORTED = (400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503)
PASSED = (200, 201, 204, 304)


def kinds(service: Service, client: Client) -> Iterator[tuple[str, Response]]:
    """One answer of each kind, with its name; the status of each is asserted by name in the proofs."""
    for status in ABORTED:
        yield f"abort {status}", client.get(f"/kind/abort/{status}")
    for status in PASSED:
        yield f"status {status}", client.get(f"/kind/status/{status}")
    for name in ("raises", "breaks", "moves", "text", "after", "extension"):
        yield name, client.get(f"/kind/{name}")
    yield "missing", client.get("/kind/none")
    yield "missing static file", client.get("/static/bastion/none.css")
    yield "wrong method", client.post("/kind/text")
    yield "unknown method", client.send("TRACE", "/kind/text")
    yield "renamed method", client.get("/kind/text", headers={"X-HTTP-Method-Override": "DELETE"})
    yield "head", client.send("HEAD", "/kind/text")
    yield "options", client.send("OPTIONS", "/kind/text")
    yield "bad host", client.get("/kind/text", headers={"Host": "evil.example"})
    yield "clear text", client.get("/kind/text", scheme="http")
    yield "too long", client.post("/kind/text", headers={"Content-Length": "99999999"})
    yield "live", client.get("/healthz")
    yield "ready", client.get("/readyz")
    yield "health, wrong method", client.post("/healthz", body=b"")
    yield "no access", client.get("/kind/permission")
    yield "not signed in", service.client(address="192.0.2.11").get("/kind/permission")
    style = client.get("/file/probe.css")
    yield "style", style
    yield "script", client.get("/file/probe.js")
    yield "not modified", client.get("/file/probe.css", headers={"If-None-Match": style.header("ETag")})


STATUSES = {
    **{f"abort {status}": status for status in ABORTED},
    **{f"status {status}": status for status in PASSED},
    **{"raises": 500, "breaks": 500, "moves": 302, "text": 200, "after": 500, "extension": 200},
    **{"missing": 404, "missing static file": 404, "wrong method": 405, "unknown method": 405, "renamed method": 400},
    **{"head": 200, "options": 405, "bad host": 400, "clear text": 308 if AUTH == "session" else 403, "too long": 413},
    **{"live": 200, "ready": 200, "health, wrong method": 405, "no access": 403},
    **{"not signed in": 303 if AUTH == "session" else 401, "style": 200, "script": 200, "not modified": 304},
}


def visitor(service: Service) -> Client:
    """A signed-in visitor of a service that has all kinds of answers, and one route that he may not use."""
    adds_kinds(service)
    adds_files(service)
    service.adds_route("/kind/permission", mark=("nobody.has.it",))
    return service.client(service.user()).login()


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
def test_no_answer_leaves_without_its_headers_whoever_makes_it(service: Service) -> None:
    client = visitor(service)
    page = client.get("/kind/text")
    works(page.body == b"<script>alert(1)</script>", "a view's text arrives as it was made")
    works(header_table.faults(service, page) == [], "it carries the whole table")

    answers = dict(kinds(service, client))
    harm(
        {name: wrong for name, answer in answers.items() if (wrong := header_table.faults(service, answer))},
        "an answer left without a header, with another value, or with one twice",
    )
    assert {name: answer.status for name, answer in answers.items()} == STATUSES
    assert len(answers) >= 38
    assert "after" in answers  # the one that hooks of Flask miss
    assert header_table.faults(service, client.get("/kind/saves"), download=True) == []
    assert header_table.faults(service, client.get("/kind/shared"), shared=True) == []


@protects(
    "headers-classic",
    frame=edit("edge/headers.py", '    yield ("X-Frame-Options", "DENY")\n', ""),
    nosniff=edit("edge/headers.py", '    yield ("X-Content-Type-Options", "nosniff")\n', ""),
    permissions=edit("edge/headers.py", '    "camera=()",\n', ""),
)
def test_no_answer_may_be_framed_sniffed_or_use_the_camera(service: Service) -> None:
    client = visitor(service)
    script = client.get("/file/probe.js")
    works(script.mimetype == "text/javascript", "a script is served as one, so that nosniff does not block it")
    style = client.get("/file/probe.css")
    works(style.mimetype == "text/css", "a stylesheet is served as one")

    answers = dict(kinds(service, client))
    harm(
        {name: wrong for name, answer in answers.items() if (wrong := header_table.classic(answer))},
        "a browser was told less than it must be",
    )
    assert len(answers) >= 38
    assert "bad host" in answers


def adds_files(service: Service) -> None:
    """A folder with a script and a stylesheet, served as a team serves its files."""
    (service.folder / "probe.js").write_text("export {};\n")
    (service.folder / "probe.css").write_text("body { margin: 0 }\n")

    def send(name: str) -> Any:
        from flask import send_from_directory

        return send_from_directory(service.folder, name)

    service.adds_route("/file/<name>", mark="public", view=send)


# --- one line of the table each ----------------------------------------------------------------------------------

HSTS = "max-age=63072000; includeSubDomains"


def others(answers: dict[str, Response], name: str, value: str) -> dict[str, list[str]]:
    """The answers that don't carry this header once with this value, and what they carry."""
    return {kind: found for kind, answer in answers.items() if (found := answer.headers_named(name)) != [value]}


@protects(
    "header-hsts",
    line=edit("edge/headers.py", '        yield ("Strict-Transport-Security", hsts)\n', "        pass\n"),
    short=edit("edge/headers.py", '"max-age=63072000; includeSubDomains"', '"max-age=300"'),
)
def test_no_answer_lets_a_browser_come_back_in_clear_text(service: Service) -> None:
    client = visitor(service)
    works(client.get("/kind/text").status == 200, "a page opens")
    answers = dict(kinds(service, client))
    harm(
        others(answers, "Strict-Transport-Security", HSTS), "an answer did not bind the browser to https for two years"
    )
    assert len(answers) >= 38
    assert "bad host" in answers


@protects(
    "referrer-policy", value=edit("edge/headers.py", 'REFERRER: Final = "same-origin"', 'REFERRER: Final = "origin"')
)
def test_no_other_origin_learns_where_somebody_came_from(service: Service) -> None:
    client = visitor(service)
    works(client.get("/kind/text").status == 200, "a page opens")
    answers = dict(kinds(service, client))
    harm(others(answers, "Referrer-Policy", "same-origin"), "an answer lets a browser tell other origins its address")
    assert len(answers) >= 38


@protects(
    "cross-origin-isolation",
    corp=edit("edge/headers.py", '    yield ("Cross-Origin-Resource-Policy", resource)\n', ""),
    coop=edit("edge/headers.py", '    yield ("Cross-Origin-Opener-Policy", "same-origin")\n', ""),
    shared=edit("edge/headers.py", "self._shared if _SHAREABLE in environ else self._own", "self._shared"),
)
def test_no_other_origin_embeds_an_answer_or_holds_its_window(service: Service) -> None:
    client = visitor(service)
    works(client.get("/file/probe.js").status == 200, "own pages load own scripts")
    works(client.get("/kind/shared").json == {"for": "everybody"}, "what is meant for everybody is there")
    answers = dict(kinds(service, client))
    harm(others(answers, "Cross-Origin-Resource-Policy", "same-origin"), "another origin may embed an answer")
    harm(
        others(answers, "Cross-Origin-Opener-Policy", "same-origin"), "another origin may hold the window of an answer"
    )
    assert {"script", "style", "text", "abort 403", "bad host"} <= answers.keys()
    shared = client.get("/kind/shared")
    assert shared.headers_named("Cross-Origin-Resource-Policy") == ["cross-origin"]
    assert shared.headers_named("Cross-Origin-Opener-Policy") == ["same-origin"]


# --- what a user wrote in a header -----------------------------------------------------------------------------

CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
HOSTILE_NAMES = (
    "a\r\nSet-Cookie: x=1.txt",
    "a\nSet-Cookie: x=1",
    "a\rb",
    "a\x00b",
    "a\x0bb",
    "a\x7fb",
    "\u010da\r\nX-Injected: 1",
)


def injected(answer: Response) -> list[tuple[str, str]]:
    """Headers that a server would send as more than one line, or that hold what no header may."""
    return [(name, value) for name, value in answer.headers if CONTROL.search(f"{name}{value}")]


@protects("header-values-safe", control=edit("edge/headers.py", "and _UNSENDABLE.search(value):", "and not value:"))
def test_no_line_break_or_control_character_gets_into_a_header(service: Service) -> None:
    # As the database holds them: from a request they would be refused at once.
    names = ("Ada", 'r\u00e9sum\u00e9 "final".pdf', *HOSTILE_NAMES)

    def named(number: int) -> Any:
        from flask import Response

        return Response("x", mimetype="text/plain", headers={"X-Name": names[number]})

    def saved(number: int) -> Any:
        from io import BytesIO

        from flask import send_file

        return send_file(BytesIO(b"x"), as_attachment=True, download_name=names[number])

    def moved(number: int) -> Any:
        from flask import redirect

        return redirect(f"/{names[number]}")

    for view in (named, saved, moved):
        service.adds_route(f"/{view.__name__}/<int:number>", mark="public", view=view)
    client = service.client()
    works(client.get("/named/0").header("X-Name") == "Ada", "a plain value arrives")
    works(client.get("/named/1").header("X-Name") == names[1], "and one with accents (RFC 9110, 5.5)")
    encoded = 'attachment; filename="resume \\"final\\".pdf"; filename*=UTF-8\'\'r%C3%A9sum%C3%A9%20%22final%22.pdf'
    downloaded = client.get("/saved/1")
    works(downloaded.header("Content-Disposition") == encoded, "a name with quotes and accents is kept (RFC 8187)")
    for number, name in enumerate(HOSTILE_NAMES, 2):
        # Werkzeug refuses a line break itself; other characters of an address are sent with percent signs.
        for path, status in (("named", 500), ("saved", 500), ("moved", 500 if set("\r\n") & set(name) else 302)):
            answer = client.get(f"/{path}/{number}")
            harm(injected(answer), f"{path} sent {name!r} on")
            assert answer.status == status
            assert answer.headers_named("Set-Cookie") == answer.headers_named("X-Injected") == []
            assert header_table.faults(service, answer, download=answer.ok) == []


# --- what is no page -------------------------------------------------------------------------------------------


@protects(
    "csp-json-exact",
    frames=edit(
        "edge/headers.py",
        "        \"frame-ancestors 'none'\",\n        \"base-uri 'none'\",\n        \"form-action 'none'\",\n",
        "        \"base-uri 'none'\",\n        \"form-action 'none'\",\n",
    ),
)
def test_no_answer_that_is_no_page_can_do_anything_when_a_browser_shows_it(service: Service) -> None:
    client = visitor(service)
    works(client.get("/kind/text").body == b"<script>alert(1)</script>", "a text arrives as it was made")

    answers = {name: answer for name, answer in kinds(service, client) if answer.mimetype != "text/html"}
    expected = [header_table.DATA_POLICY]
    harm(
        {
            name: found
            for name, answer in answers.items()
            if (found := answer.headers_named("Content-Security-Policy")) != expected
        },
        "an answer that is no page left with another policy",
    )
    assert len(answers) >= 10
    assert answers["live"].body == b"ok"
    assert answers["style"].mimetype == "text/css"
    saved = client.get("/kind/saves")
    assert saved.body == b"a,b"
    assert header_table.faults(service, saved, download=True) == []
