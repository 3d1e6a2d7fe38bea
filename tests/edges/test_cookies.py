"""Edges of the proofs in test_cookies.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..harness import edit, harm, protects, refused, works
from ..service import AUTH
from ..test_cookies import GUARD, LONGEST

if TYPE_CHECKING:
    from ..running import Service


GOOD = "Secure; HttpOnly; SameSite=Lax; Path=/"
BAD = {
    "plain": "x=1",
    "plain, flags right": f"x=1; {GOOD}",
    "not Secure": "__Host-x=1; HttpOnly; SameSite=Lax; Path=/",
    "with a Domain": f"__Host-x=1; {GOOD}; Domain=app.example",
    "with an empty Domain": f"__Host-x=1; {GOOD}; Domain",
    "readable by scripts": "__Host-x=1; Secure; SameSite=Lax; Path=/",
    "sent by other sites": "__Host-x=1; Secure; HttpOnly; SameSite=None; Path=/",
    "SameSite left out": "__Host-x=1; Secure; HttpOnly; Path=/",
    "loosened by a second SameSite": f"__Host-x=1; {GOOD}; SameSite=None",
    "moved by a second Path": f"__Host-x=1; {GOOD}; Path=/somewhere",
    "Path left out": "__Host-x=1; Secure; HttpOnly; SameSite=Lax",
    "flags in the value": "__Host-x=Secure HttpOnly SameSite=Lax Path=/",
    "prefix in lower case": f"__host-x=1; {GOOD}",
    "prefix in the value": f"=__Host-x=1; {GOOD}",
    "longer than a browser keeps": f"__Host-x={'y' * (LONGEST - len('__Host-x') + 1)}; {GOOD}",
}


@protects("cookie-flags", guard=GUARD)
def test_view_cannot_set_a_cookie_without_every_flag(service: Service) -> None:
    from flask import Response as Answer

    def setting(line: str) -> Any:
        return lambda: Answer("answered", headers=[("Set-Cookie", line)])

    service.adds_route("/good", mark="public", view=setting(f"__Host-x={'y' * (LONGEST - len('__Host-x'))}; {GOOD}"))
    service.adds_route("/none", mark="public")
    seen = [
        service.adds_route(f"/bad/{number}", mark="public", view=setting(line))
        for number, line in enumerate(BAD.values())
    ]
    browser = service.client()
    works(browser.get("/none").status == 200, "a view that sets no cookie answers")
    kept = browser.get("/good")
    works(kept.body == b"answered", "a view that sets a cookie answers")
    works(kept.set_cookies or AUTH == "jwt", "the session style sets a cookie with every flag")
    for number, what in enumerate(BAD):
        answer = browser.get(f"/bad/{number}")
        harm(answer.set_cookies, f"the service set a cookie that is {what}")
        refused(answer, 200, "cookie-flags")
        assert seen[number] == ["GET"]
        assert answer.body == b"answered"


@protects(
    "cookie-flags",
    http=(
        edit("edge/__init__.py", "            or self._https.refuse(environ)  # before", "            # before"),
        edit("edge/__init__.py", "secure = self._production or environ", "secure = environ"),
    ),
)
def test_in_production_no_cookie_leaves_over_http(service: Service) -> None:
    from flask import Response as Answer

    line = "x=1; HttpOnly; SameSite=Lax; Path=/"  # as development over http has it
    seen = service.adds_route("/probe", mark="public", view=lambda: Answer("ok", headers=[("Set-Cookie", line)]))
    browser = service.client()
    works(browser.get("/probe").status == 200, "the view answers over https")
    works(seen == ["GET"], "the view ran once")
    answers = [
        browser.get(path, scheme="http", headers={"Host": host})
        for host in ("app.example", "app.example:80", "localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000")
        for path in ("/probe", "/login")
    ]
    harm([line for answer in answers for line in answer.set_cookies], "a clear-text answer sets a cookie")
    harm(seen[1:], "the view ran for a clear-text request")
