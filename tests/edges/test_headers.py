"""Edges of the proofs in test_headers.py: further attacks on the same protections."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .. import header_table
from ..harness import edit, harm, protects, works
from ..service import AUTH
from ..test_headers import injected, visitor

if TYPE_CHECKING:
    from flask import Flask

    from ..running import Service


HOSTILE = {
    "X-Frame-Options": "ALLOWALL",
    "x-frame-options": "SAMEORIGIN",
    "X-Content-Type-Options": "sniff",
    "Content-Security-Policy": "default-src *; script-src 'unsafe-inline'",
    "Referrer-Policy": "unsafe-url",
    "Permissions-Policy": "camera=*",
    "Strict-Transport-Security": "max-age=0",
    "Cross-Origin-Opener-Policy": "unsafe-none",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cross-Origin-Embedder-Policy": "unsafe-none",
    "X-Permitted-Cross-Domain-Policies": "all",
    "X-XSS-Protection": "1",
    "Reporting-Endpoints": 'csp="https://evil.example/"',
    "Server": "Probe/1.0",
    "X-Powered-By": "Probe",
}


HSTS = "max-age=63072000; includeSubDomains"


@protects("headers-classic", nosniff=edit("edge/headers.py", '    yield ("X-Content-Type-Options", "nosniff")\n', ""))
@protects("headers-classic", permissions=edit("edge/headers.py", '    "camera=()",\n', ""))
@protects("header-hsts", short=edit("edge/headers.py", '"max-age=63072000; includeSubDomains"', '"max-age=300"'))
@protects(
    "cross-origin-isolation",
    shared=edit("edge/headers.py", "self._shared if _SHAREABLE in environ else self._own", "self._shared"),
)
def test_every_status_carries_all_security_headers(service: Service) -> None:
    client = visitor(service)
    works(client.get("/kind/shared").json == {"for": "everybody"}, "the public answer is available")
    asked = {f"abort {status}": status for status in (400, 404, 409, 413, 415, 422, 503)}
    asked |= {f"status {status}": status for status in (201, 304)}
    answers = {name: (status, client.get(f"/kind/{name.replace(' ', '/')}")) for name, status in asked.items()}
    answers["ready"] = 200, client.get("/readyz")
    answers["options"] = 405, client.send("OPTIONS", "/kind/text")
    answers["health, wrong method"] = 405, client.post("/healthz", body=b"")
    answers["renamed method"] = 400, client.get("/kind/text", headers={"X-HTTP-Method-Override": "DELETE"})
    wrong = {name: faults for name, (_, answer) in answers.items() if (faults := header_table.faults(service, answer))}
    harm(wrong, "an answer lacks a header, repeats it or has a wrong value")
    assert {name: answer.status for name, (_, answer) in answers.items()} == {
        name: status for name, (status, _) in answers.items()
    }
    shared = client.get("/kind/shared")
    assert shared.headers_named("Cross-Origin-Resource-Policy") == ["cross-origin"]
    assert shared.headers_named("Cross-Origin-Opener-Policy") == ["same-origin"]


HOSTILE_NAMES = (
    "a\r\nSet-Cookie: x=1.txt",
    "a\nSet-Cookie: x=1",
    "a\rb",
    "a\x00b",
    "a\x0bb",
    "a\x7fb",
    "\u010da\r\nX-Injected: 1",
)


@protects("header-values-safe", control=edit("edge/headers.py", "and _UNSENDABLE.search(value):", "and not value:"))
def test_hostile_names_cannot_inject_headers(service: Service) -> None:
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
    works(client.get("/named/0").header("X-Name") == "Ada", "a plain value is sent")
    works(client.get("/named/1").header("X-Name") == names[1], "a value with accents is sent (RFC 9110, 5.5)")
    encoded = 'attachment; filename="resume \\"final\\".pdf"; filename*=UTF-8\'\'r%C3%A9sum%C3%A9%20%22final%22.pdf'
    downloaded = client.get("/saved/1")
    works(downloaded.header("Content-Disposition") == encoded, "a name with quotes and accents is kept (RFC 8187)")
    for number, name in enumerate(HOSTILE_NAMES, 2):
        # Werkzeug refuses a line break itself; other characters of an address are sent with percent signs.
        for path, status in (("named", 500), ("saved", 500), ("moved", 500 if set("\r\n") & set(name) else 302)):
            answer = client.get(f"/{path}/{number}")
            harm(injected(answer), f"{path} sent the hostile name {name!r} on")
            assert answer.status == status
            assert answer.headers_named("Set-Cookie") == answer.headers_named("X-Injected") == []
            assert header_table.faults(service, answer, download=answer.ok) == []


@protects(
    "headers-on-every-response",
    overwrite=edit("edge/headers.py", "            if name in self._ours or", "            if name in _REMOVED or"),
)
def test_no_view_widens_a_header_by_setting_it(service: Service) -> None:
    def plain() -> Any:
        return {"view": "plain"}

    def hostile() -> Any:
        from flask import Response

        return Response("{}", mimetype="application/json", headers=list(HOSTILE.items()))

    ran = service.adds_route("/plain", view=plain)
    hostile_ran = service.adds_route("/hostile", view=hostile)
    client = service.client(service.user()).login()
    plain_answer = client.get("/plain")
    works(plain_answer.json == {"view": "plain"}, "a view that sets nothing answers")
    works(header_table.faults(service, plain_answer) == [], "its answer carries every security header")

    answer = client.get("/hostile")
    harm(header_table.faults(service, answer), "a view replaced a security header")
    assert answer.status == 200
    assert (len(ran), len(hostile_ran)) == (1, 1)


@protects("headers-on-every-response")
def test_no_hook_removes_a_header_that_the_edge_puts_on(service: Service) -> None:
    removed: list[str] = []

    def add(app: Flask) -> None:
        @app.after_request
        def remove(answer: Any) -> Any:
            for name in [*header_table.CLASSIC, "Content-Security-Policy", "Strict-Transport-Security"]:
                answer.headers.pop(name, None)
                removed.append(name)
            return answer

    service.adds(add)
    service.adds_route("/plain")
    answer = service.client(service.user()).login().get("/plain")
    works(answer.json == {"probe": "ran"}, "the view answers")
    assert "Content-Security-Policy" in removed
    harm(header_table.faults(service, answer), "a hook removed a security header")


# --- one line of the table each ----------------------------------------------------------------------------------


@protects("header-hsts", preload=edit("edge/__init__.py", "HSTS + PRELOAD * settings.hsts_preload", "HSTS + PRELOAD"))
def test_hsts_preload_is_sent_only_if_configured(service: Service) -> None:
    service.restart(BASTION_HSTS_PRELOAD="1")
    asked = service.client().get("/healthz")
    works(asked.header("Strict-Transport-Security") == f"{HSTS}; preload", "with the setting, HSTS carries preload")
    service.restart(BASTION_HSTS_PRELOAD=None)
    answer = service.client().get("/healthz")
    harm("preload" in (answer.header("Strict-Transport-Security") or ""), "HSTS carried preload without the setting")
    assert answer.headers_named("Strict-Transport-Security") == [HSTS]
    service.restart(BASTION_ENV="development")
    local = service.client().get("/healthz", scheme="http")
    assert local.headers_named("Strict-Transport-Security") == []  # it would bind all services on this machine


@protects(
    "referrer-policy",
    link=edit("edge/headers.py", "NO_REFERRER if _NO_REFERRER in environ else REFERRER", "REFERRER"),
)
def test_the_address_of_a_link_that_is_a_secret_goes_nowhere(service: Service) -> None:
    def link(token: str) -> Any:
        from flask import redirect, request

        service.module("edge").no_referrer(request.environ)
        return redirect(f"/clean?{len(token)}", 303)

    service.adds_route("/open/<token>", mark="public", view=link)
    service.adds_route("/clean", mark="public")
    client = service.client()
    opened = client.get("/open/3f9ac1")
    works((opened.status, opened.location) == (303, "/clean?6"), "the link redirects to an address without the secret")
    clean = client.get("/clean?6")
    works(clean.header("Referrer-Policy") == "same-origin", "a form there is posted with Origin and Referer")
    harm(opened.headers_named("Referrer-Policy") != ["no-referrer"], "the browser may send the secret in Referer")


@protects(
    "cross-origin-isolation",
    coep=edit("edge/headers.py", '        yield ("Cross-Origin-Embedder-Policy", "require-corp")\n', "        pass\n"),
)
def test_no_page_embeds_what_did_not_agree_to_it(service: Service) -> None:
    def line(*, pages: bool, image_origins: tuple[str, ...] = ()) -> list[str]:
        table = service.module("edge.headers").HeaderTable(pages=pages, image_origins=image_origins)
        sent = table.finish({"bastion.request_id": "x"}, "200 OK", [("Content-Type", "text/html")])
        return [value for name, value in sent if name == "Cross-Origin-Embedder-Policy"]

    works(line(pages=True, image_origins=("https://images.example",)) == [], "declared images of another origin load")
    harm(line(pages=True) != ["require-corp"], "a page may embed a resource without its origin's consent")
    assert line(pages=False) == []
    expected = [] if header_table.image_origins(service) else ["require-corp"]
    answer = service.client().get("/healthz")
    assert answer.headers_named("Cross-Origin-Embedder-Policy") == (expected if AUTH == "session" else [])


# --- what a user wrote in a header -----------------------------------------------------------------------------


@protects(
    "header-values-safe",
    request_id=edit(
        "edge/__init__.py",
        "= request_id = str(uuid4())",
        '= request_id = environ.get("HTTP_X_REQUEST_ID") or str(uuid4())',
    ),
)
def test_nobody_chooses_the_id_under_which_his_request_is_logged(service: Service) -> None:
    client = service.client()
    first, second = client.get("/nothing").request_id, client.get("/nothing").request_id
    works(first != second, "each answer has its own request ID")
    works(re.fullmatch(r"[0-9a-f-]{36}", first or "") is not None, "the ID is a UUID")
    for chosen in ("a" * 36, first or "", "x\r\nSet-Cookie: x=1", "<script>", "x" * 5_000):
        answer = client.get("/nothing", environ={"HTTP_X_REQUEST_ID": chosen})
        harm(answer.request_id == chosen, "the service took the client's request ID")
        assert (answer.status, injected(answer)) == (404, [])
        assert re.fullmatch(r"[0-9a-f-]{36}", answer.request_id or "")


# --- what is no page -------------------------------------------------------------------------------------------


@protects("csp-json-exact")
def test_markup_in_json_stays_json(service: Service) -> None:
    markup = "<script>alert(1)</script>"

    def view() -> Any:
        return {"name": markup}

    service.adds_route("/markup", view=view)
    client = service.client(service.user()).login()
    works(client.get("/markup").json == {"name": markup}, "the client parses the view's JSON")

    answer = client.get("/markup", headers={"Accept": "text/html"})
    harm(answer.headers_named("Content-Security-Policy") != [header_table.DATA_POLICY], "the policy changed")
    assert answer.headers_named("Content-Type") == ["application/json"]
    assert answer.headers_named("X-Content-Type-Options") == ["nosniff"]
    assert header_table.faults(service, answer) == []
