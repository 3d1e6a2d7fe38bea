"""No answer sets a cookie that a script, another site, a subdomain or a clear-text request could read or replace.

Lines are read as they leave the service: a client library would hide what a browser gets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .harness import edit, harm, protects, works
from .routes import routes, walkers
from .service import AUTH
from .wire import SAFE

if TYPE_CHECKING:
    from .running import Service
    from .wire import Response, SetCookie


LONGEST = 4096  # bytes of name and value, as RFC 6265bis, 5.7
GUARD = edit(
    "edge/cookies.py",
    "            return [header for header in headers if _may_leave(header, secure, allowed)]\n",
    "            return headers\n",
)


def faults(line: SetCookie) -> list[str]:
    """What a browser or an attacker could make of this line."""
    flags = line.attributes
    return [
        fault
        for fault, found in {
            "no __Host-": not line.name.startswith("__Host-"),
            "no Secure": "secure" not in flags,
            "no HttpOnly": "httponly" not in flags,
            "SameSite": str(flags.get("samesite")) not in ("Lax", "Strict"),
            "Path": flags.get("path") != "/",
            "Domain": "domain" in flags,
            "length": len(line.name) + len(line.raw.partition(";")[0].partition("=")[2]) > LONGEST,
            "no cookies in this style": AUTH == "jwt",
        }.items()
        if found
    ]


@protects("cookie-flags", guard=GUARD)
def test_no_answer_of_any_route_sets_a_cookie_without_every_flag(service: Service) -> None:
    def sets_one() -> Any:
        from flask import make_response

        answer = make_response("answered")
        answer.set_cookie("x", "1")
        return answer

    def fails() -> Any:
        from flask import after_this_request

        def late(answer: Any) -> Any:
            answer.set_cookie("late", "1")
            return answer

        after_this_request(late)
        raise RuntimeError("this view is broken")

    service.adds_route("/plain", mark="public", view=sets_one)
    service.adds_route("/broken", view=fails)
    walked = routes(service)
    assert len(walked) >= 20
    assert ("bastion.logout", "POST") in {route.name for route in walked}
    user = service.user()
    first = service.client(user).login(through_form=True)
    page = "/account" if AUTH == "session" else "/auth/me"
    works(first.get(page).status == 200, "the client signs in over https, keeps its credentials and sends them back")
    works(first.get("/plain").body == b"answered", "the view that sets a cookie answers")
    answers: list[Response] = [first.get(page), first.get("/nowhere"), first.get("/broken"), first.post("/nowhere")]
    works(answers[2].status == 500, "the broken view returns 500")
    reader = walkers(service, service.user(), requests=1)
    for number, route in enumerate(walked):
        stranger = service.client(address=f"192.0.2.{number % 250 + 1}")
        if route.method in SAFE:
            signed_in = next(reader)
        else:
            signed_in = service.client(service.user(), f"203.0.113.{number % 250 + 1}").login()  # one deletes him
        answers += [stranger.send(route.method, route.path), signed_in.send(route.method, route.path)]
    if AUTH == "session":
        credentials = {"identifier": user.email, "password": user.password}
        answers += [service.client().post("/login", credentials), service.client().get("/login?next=/account")]
        answers += [service.client(user).login().post("/logout")]
    lines = [line for answer in answers for line in answer.set_cookies]
    harm([(line.name, faults(line)) for line in lines if faults(line)], "an answer set a cookie that lacks a flag")
    assert {line.name for line in lines} == ({"__Host-session", "__Host-device"} if AUTH == "session" else set())
