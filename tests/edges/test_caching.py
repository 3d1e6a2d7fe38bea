"""Edges of the proofs in test_caching.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, refused, works
from ..service import AUTH
from ..test_caching import PUBLIC, ROW, adds_kept, stored

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
    works(client.get("/kept/says", query={"cache": PUBLIC}).header("Cache-Control") == PUBLIC, "a view may say so")
    private = client.get("/kept/says", query={"cache": "private, public, max-age=60"})
    works("public" not in (private.header("Cache-Control") or ""), "private is stronger than public")
    answers = {str(status): client.get(f"/kept/status/{status}") for status in (206, 301, 302, 400, 403, 404, 410, 500)}
    for said in ("max-age=600", "s-maxage=600", "no-cache", "", "no-store, public", "publicly", "immutable"):
        answers[said] = client.get("/kept/says", query={"cache": said})
    harm(stored(answers), "an answer that is no whole page for everybody may be kept")
    assert answers["404"].status == 404


@protects(
    ROW,
    slash=edit("edge/__init__.py", "            or target.refuse(environ)  # before a route is looked for\n", ""),
)
def test_no_path_is_one_thing_to_a_cache_and_another_to_the_service(service: Service) -> None:
    seen = service.adds_route("/mine/<path:rest>")
    service.adds_route("/mine")
    client = service.client(service.user()).login()
    works(client.get("/mine/a/x.css?q=%2F%5C").status == 200, "slashes in a query, or written as such, are no trick")
    works(seen == ["GET"], "the view ran")
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
def test_no_error_or_part_of_an_answer_takes_the_place_of_the_whole(service: Service) -> None:
    adds_kept(service)
    client = service.client()
    whole = client.get("/kept/parts")
    works((whole.status, whole.header("Cache-Control")) == (200, PUBLIC), "the whole may be kept")
    part = client.get("/kept/parts", headers={"Range": "bytes=2-5"})
    works((part.status, part.body) == (206, b"file"), "a part is given to whom asks for it")
    answers = {"part": part, "beyond": client.get("/kept/parts", headers={"Range": "bytes=999-"})}
    answers |= {str(status): client.get(f"/kept/status/{status}") for status in (302, 400, 404, 500)}
    answers["missing"] = client.get("/kept/missing")
    if AUTH == "session":
        answers["missing file"] = client.get("/static/bastion/missing.css")
    harm(stored(answers), "a cache may keep an error, a redirect or a part")
    assert answers["beyond"].status == 416
