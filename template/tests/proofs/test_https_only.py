"""Attacks on whoever comes in clear text: what is answered there is read on the line, and so is what was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .harness import edit, harm, protects, refused, works
from .logins import PATH, SIGNED_IN, cheap_user, sessions_of
from .service import AUTH

if TYPE_CHECKING:
    from .running import Service


ROW = "https-only"
PAGES = AUTH == "session"
LAYER = edit(
    "edge/__init__.py", "            or self._https.refuse(environ)  # before a credential or body is read\n", ""
)


@protects(ROW, layer=LAYER)
def test_nothing_in_clear_text_is_answered_or_signs_in(service: Service) -> None:
    seen = service.adds_route("/probe", methods=("GET", "POST"), mark="public")
    user = cheap_user(service)
    client = service.client(user)
    fields = {"identifier": user.email, "password": user.password}
    works(client.post(PATH, fields).status == SIGNED_IN, "signing in over https works")
    works(client.get("/probe").status == 200, "a view is answered over https")
    seen.clear()
    sessions = sessions_of(service, user)
    answers = [client.post(PATH, fields, scheme="http"), client.post("/probe", scheme="http")]
    answers.append(client.get("/probe", headers={"Authorization": "Bearer canary"}, scheme="http"))
    harm(seen, "a view ran in clear text")
    harm(sessions_of(service, user) != sessions, "a password that was sent in clear text signed in")
    for answer in answers:
        refused(answer, 403, ROW)
    read = client.get("/probe", headers={"Authorization": None}, scheme="http")
    refused(read, 308 if AUTH == "session" else 403, ROW)  # only a service with pages moves anybody on
    assert seen == []
