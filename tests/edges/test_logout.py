"""Edges of the proofs in test_logout.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import harm, protects, works
from ..service import AUTH
from ..test_logout import DONE, FAMILY, PATH, ROW

if TYPE_CHECKING:
    from ..running import Service


CLOSED = {"session": 303, "jwt": 401}[AUTH]


@protects(ROW, **FAMILY)
def test_nothing_of_the_login_opens_anything_after_the_logout(service: Service) -> None:
    seen = service.adds_route("/probe")
    user = service.user()
    client, kept = service.client(user).login(through_form=True), service.client(user).login()
    thief = client.copy()
    works(thief.get("/probe").status == 200, "a copy of what the client holds opens the page before the logout")
    seen.clear()
    out = client.post(PATH)
    works(out.status == DONE, "the user signs out")
    answer = thief.get("/probe")
    harm(seen, "a copy of what the client held opens the page after the logout")
    assert answer.status == CLOSED
    assert out.header("Cache-Control") == "no-store"
    assert kept.get("/probe").status == 200  # only this login has ended
