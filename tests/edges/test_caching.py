"""Edges of the proofs in test_caching.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import test_caching as core
from ..harness import edit, harm, protects, refused, works
from ..service import AUTH
from ..test_caching import COOKIE, PUBLIC, ROW, adds_kept, cacheable, same, stored
from .core import sabotages

if TYPE_CHECKING:
    from ..running import Service


KEPT = edit("edge/headers.py", 'status[:3] not in ("200", "304")', "not status")


@protects(
    ROW,
    errors=KEPT,
    audience=edit("edge/headers.py", 'return cache if "public" in directives and not page else ""', "return cache"),
)
def test_no_view_lets_a_cache_keep_what_is_not_fit_for_it(service: Service) -> None:
    adds_kept(service)
    client = service.client()
    works(client.get("/kept/says", query={"cache": PUBLIC}).header("Cache-Control") == PUBLIC, "a view can opt in")
    private = client.get("/kept/says", query={"cache": "private, public, max-age=60"})
    works("public" not in (private.header("Cache-Control") or ""), "private takes precedence over public")
    answers = {str(status): client.get(f"/kept/status/{status}") for status in (206, 301, 302, 400, 403, 404, 410, 500)}
    for said in ("max-age=600", "s-maxage=600", "no-cache", "", "no-store, public", "publicly", "immutable"):
        answers[said] = client.get("/kept/says", query={"cache": said})
    harm(stored(answers), "a cache may store an answer that is not complete and public")
    assert answers["404"].status == 404


@protects(
    ROW,
    slash=edit(
        "edge/__init__.py", "            or request_line.refuse_target(environ)  # before a route is looked for\n", ""
    ),
)
def test_encoded_slashes_cannot_confuse_cache_and_service(service: Service) -> None:
    seen = service.adds_route("/mine/<path:rest>")
    service.adds_route("/mine")
    client = service.client(service.user()).login()
    works(client.get("/mine/a/x.css?q=%2F%5C").status == 200, "plain slashes, and encoded ones in a query, pass")
    works(seen == ["GET"], "the view runs once")
    seen.clear()
    for path in ("/mine/a%2Fx.css", "/mine/a%2fx.css", "/mine/a%5Cx.css", "/mine/a\\x.css", "/mine%2f..%2fx.css"):
        answer = client.get(path)
        harm(seen, f"the view ran for {path}")
        refused(answer, 400, ROW)
        assert answer.header("Cache-Control") == "no-store"
    untold = client.get("/mine/a/x.css", environ={"RAW_URI": None})
    refused(untold, 400, ROW)  # a server that does not tell the path as it was sent
    for path in ("/mine;x.css", "/account/x.css", "/account;x.css", "/mine.css"):
        answer = client.get(path)
        assert (answer.status, answer.header("Cache-Control")) == (404, "no-store")


# --- what a shared cache may keep ------------------------------------------------------------------------------


@protects(
    "cacheable-answers-constant",
    errors=KEPT,
    part=edit("edge/headers.py", 'status[:3] not in ("200", "304")', 'status[:3] not in ("200", "206", "304")'),
)
def test_errors_and_partial_answers_are_not_cached(service: Service) -> None:
    adds_kept(service)
    client = service.client()
    whole = client.get("/kept/parts")
    works((whole.status, whole.header("Cache-Control")) == (200, PUBLIC), "the complete answer may be cached")
    part = client.get("/kept/parts", headers={"Range": "bytes=2-5"})
    works((part.status, part.body) == (206, b"file"), "a client that asks for a range gets it")
    answers = {"part": part, "beyond": client.get("/kept/parts", headers={"Range": "bytes=999-"})}
    answers |= {str(status): client.get(f"/kept/status/{status}") for status in (302, 400, 404, 500)}
    answers["missing"] = client.get("/kept/missing")
    if AUTH == "session":
        answers["missing file"] = client.get("/static/bastion/missing.css")
    harm(stored(answers), "a cache may store an error, a redirect or a partial answer")
    assert answers["beyond"].status == 416


CANARY = "canary-7f3a"


POISON: tuple[dict[str, str], ...] = (
    {"X-Forwarded-Host": f"{CANARY}.example"},
    {"X-Forwarded-Scheme": "http", "X-Forwarded-Proto": "http", "X-Forwarded-Port": "1"},
    {"X-Forwarded-Prefix": f"/{CANARY}", "X-Script-Name": f"/{CANARY}"},
    {"X-Original-URL": f"/{CANARY}", "X-Rewrite-URL": f"/{CANARY}"},
    {"Origin": f"https://{CANARY}.example"},
    {"X-Request-ID": f"{CANARY}-{CANARY}"},
    {"Accept-Language": CANARY, "Accept": "text/html", "Accept-Encoding": CANARY, "User-Agent": CANARY},
    {"Cookie": f"__Host-session={CANARY}; other={CANARY}"},
    {"Authorization": f"Bearer {CANARY}"},
)


@protects(
    "cacheable-answers-constant",
    **sabotages(
        core.test_a_shared_cache_gets_the_same_answer_whoever_asks_and_however,
        "cacheable-answers-constant",
        "request-id",
    ),
    **COOKIE,
)
def test_no_header_of_any_kind_changes_what_a_shared_cache_gets(service: Service) -> None:
    adds_kept(service)

    def shared() -> Any:
        from flask import Response

        answer = Response("for all clients", mimetype="text/plain", headers={"Cache-Control": PUBLIC})
        answer.set_cookie("__Host-probe", "canary", secure=True, httponly=True, samesite="Lax", path="/")
        return answer

    service.adds_route("/kept/shared", mark="public", view=shared)
    anonymous, signed_in = service.client(), service.client(service.user()).login()
    plain = cacheable(service, anonymous)
    works({one.status for one in plain.values()} == {200}, "the public answers are available")
    own = "/static/bastion/bastion.css" if AUTH == "session" else "/.well-known/jwks.json"
    assert {own, "/kept/parts", "/kept/shared"} <= plain.keys()
    for path, first in plain.items():
        asked = {"again": anonymous.get(path), "signed in": signed_in.get(path)}
        asked |= {str(headers): anonymous.get(path, headers=headers) for headers in POISON}
        asked["a query"] = anonymous.get(path, query={"x": CANARY})
        differ = [kind for kind, one in asked.items() if "public" in (one.header("Cache-Control") or "")]
        differ = [kind for kind in differ if same(asked[kind]) != same(first)]
        harm(differ, f"{path} differs by client, and a shared cache gives it to all clients")
        harm(first.set_cookies, f"{path} sets a cookie that a shared cache gives to all clients")
        assert [kind for kind, one in asked.items() if CANARY in f"{one.headers}{one.text}"] == []
        assert {asked[kind].status for kind in ("again", "signed in")} == {200}
        renamed = anonymous.get(path, headers={"X-HTTP-Method-Override": "POST"})
        assert (renamed.status, renamed.header("Cache-Control")) == (400, "no-store")
