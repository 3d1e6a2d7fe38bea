"""Attacks by methods: one that nobody declared, or a second one hidden in a header or field, must reach no view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .harness import edit, harm, protects, refused, works

if TYPE_CHECKING:
    from .running import Service


ROW = "methods-closed"
OPEN = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


@protects(ROW, guard=edit("edge/methods.py", 'if environ["REQUEST_METHOD"] not in METHODS:', "if not environ:"))
def test_no_unknown_method_reaches_a_view_or_is_echoed(service: Service) -> None:
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
