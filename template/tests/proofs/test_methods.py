"""Attacks by methods: one that nobody declared, or a second one hidden in a header or field, must reach no view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .harness import edit, harm, protects, refused, works

if TYPE_CHECKING:
    from .running import Service


ROW = "methods-closed"
OPEN = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


@protects(ROW, guard=edit("edge/methods.py", 'if environ["REQUEST_METHOD"] not in METHODS:', "if not environ:"))
def test_no_unknown_method_reaches_a_view(service: Service) -> None:
    seen = service.adds_route("/probe", methods=("GET", "TRACE", "FOO"))
    client = service.client(service.user()).login()
    works(client.get("/probe").status == 200, "a declared method reaches the view")
    seen.clear()
    for method in ("TRACE", "FOO"):
        answer = client.send(method, "/probe")
        harm(seen, f"the view ran for {method}")
        refused(answer, 405, ROW)
        assert answer.header("Allow") == OPEN
