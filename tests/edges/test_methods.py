"""Edges of the proofs in test_methods.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..harness import edit, harm, insert, protects, refused, works
from ..test_methods import OPEN, ROW

if TYPE_CHECKING:
    from ..running import Service


@protects(
    ROW,
    override=insert(
        "edge/methods.py",
        after='    if environ["REQUEST_METHOD"] not in METHODS:\n        return _UNKNOWN\n',
        new='    environ["REQUEST_METHOD"] = environ.pop("HTTP_X_HTTP_METHOD_OVERRIDE", environ["REQUEST_METHOD"])\n',
    ),
)
def test_no_header_or_field_makes_another_method_of_a_request(service: Service) -> None:
    kept = {"thing"}

    def delete() -> Any:
        kept.discard("thing")
        return {"deleted": True}

    seen = service.adds_route("/thing", methods=("DELETE",), view=delete)
    posted = service.adds_route("/thing", methods=("POST",), endpoint="post_thing")
    client = service.client(service.user()).login()
    works(client.delete("/thing").json == {"deleted": True}, "DELETE itself deletes")
    works(kept == set(), "the thing is gone")
    kept.add("thing")
    seen.clear()
    for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        for method in ("POST", "GET"):
            answer = client.send(method, "/thing", headers={header: "DELETE"})
            harm(seen, f"{header} made a DELETE of a {method}")
            refused(answer, 400, ROW)
    field = client.post("/thing", {"_method": "DELETE"})
    assert (field.status, posted, seen, kept) == (200, ["POST"], [], {"thing"})
    query = client.post("/thing", query={"_method": "DELETE"})
    assert (query.status, seen) == (200, [])


@protects(ROW, options=edit("__init__.py", '"PROVIDE_AUTOMATIC_OPTIONS": False', '"PROVIDE_AUTOMATIC_OPTIONS": True'))
def test_a_view_answers_the_methods_that_it_names_and_no_other(service: Service) -> None:
    seen = service.adds_route("/probe", methods=("GET", "PUT"), mark="public")
    service.adds_route("/asked", methods=("OPTIONS",), mark="public")
    client = service.client(service.user()).login()
    works([client.get("/probe").status, client.put("/probe").status] == [200, 200], "declared methods are answered")
    works(client.send("OPTIONS", "/asked").json == {"probe": "ran"}, "OPTIONS, too, where it is declared")
    seen.clear()
    paths = ("/probe", "/asked", "/missing", "/static/bastion/bastion.css", "/static/none.css")
    answers = {path: client.send("OPTIONS", path) for path in paths}
    harm(
        [path for path, one in answers.items() if one.ok and path != "/asked"],
        "a question that nobody declared an answer to was answered",
    )
    assert (answers["/probe"].status, answers["/missing"].status) == (405, 404)
    assert set((answers["/probe"].header("Allow") or "").split(", ")) == {"GET", "HEAD", "PUT"}
    for method in ("POST", "PATCH", "DELETE"):
        answer = client.send(method, "/probe")
        assert (answer.status, seen) == (405, [])


@protects(ROW, guard=edit("edge/methods.py", 'if environ["REQUEST_METHOD"] not in METHODS:', "if not environ:"))
def test_no_method_of_any_spelling_reaches_a_view_or_is_echoed(service: Service) -> None:
    def echo() -> Any:
        from flask import request

        return {"method": request.method, "canary": request.headers.get("X-Canary")}

    unknown = ("TRACE", "TRACK", "CONNECT", "PROPFIND", "FOO", "LOCK")
    seen = service.adds_route("/probe", methods=("GET", *unknown), view=echo)
    client = service.client(service.user()).login()
    works(client.get("/probe").json["method"] == "GET", "a declared method reaches the view")
    works(client.send("HEAD", "/probe").status == 200, "HEAD, too")
    seen.clear()
    for method in (*unknown, "TRACE ", "A" * 200, "<script>"):
        answer = client.send(method, "/probe", headers={"X-Canary": "canary"})
        harm(seen, f"the view ran for {method}")
        refused(answer, 405, ROW)
        assert (answer.header("Allow"), "canary" in answer.text) == (OPEN, False)
    lower = client.send("GET", "/probe", environ={"REQUEST_METHOD": "get"})
    refused(lower, 405, ROW)
