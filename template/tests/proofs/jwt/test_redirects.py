"""The jwt style never redirects: no answer sends a client, or its token, to another address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, works
from ..routes import routes, walkers
from ..wire import SAFE

if TYPE_CHECKING:
    from ..running import Service
    from ..wire import Response


ROW = "next-same-origin-only"
EVIL = "https://evil.example/"
NAMES = ("next", "url", "continue", "return_to", "redirect", "redirect_uri", "callback")
REDIRECT = edit(
    "jwt/__init__.py",
    '        if response.status_code == 401 and "WWW-Authenticate" not in response.headers:\n',
    "        from flask import request\n\n"
    '        if "next" in request.args:\n'
    '            response.status_code = 302\n            response.headers["Location"] = request.args["next"]\n'
    '        if response.status_code == 401 and "WWW-Authenticate" not in response.headers:\n',
)
HOSTILE = {"X-Forwarded-Host": "evil.example", "Referer": EVIL, "X-Original-URL": "//evil.example"}


def leads_away(answer: Response) -> list[str]:
    """What in this answer takes a client elsewhere."""
    redirect = [answer.phrase] if 300 <= answer.status < 400 else []
    return [*redirect, *answer.headers_named("Location"), *answer.headers_named("Refresh")]


@protects(ROW, redirect=REDIRECT)
def test_no_answer_of_any_route_leads_to_another_address(service: Service) -> None:
    service.adds_route("/deep/page")
    service.adds_route("/folder/", mark="public")
    walked = routes(service)
    assert len(walked) >= 20
    assert ("bastion.login", "POST") in {route.name for route in walked}
    user = service.user()
    signed_in = service.client(user).login(through_form=True)
    works(signed_in.get("/deep/page").status == 200, "a signed-in client reads a view")
    works(signed_in.get("/folder").status == 200, "a URL without its trailing slash is answered without a redirect")
    credentials = {"identifier": user.email, "password": user.password}
    answers = {"the login": service.client().post("/auth/login", credentials)}
    works(answers["the login"].status == 200, "the login returns tokens")
    query = dict.fromkeys(NAMES, EVIL)
    reader = walkers(service, user, requests=1)
    for number, route in enumerate(walked):
        stranger = service.client(address=f"192.0.2.{number % 250 + 1}")
        fresh = service.client(user, f"203.0.113.{number % 250 + 1}")  # for what may end his session
        known = next(reader) if route.method in SAFE else fresh.login()
        for who, client in (("a stranger", stranger), ("a user", known)):
            answers[f"{route} for {who}"] = client.send(route.method, route.path, query=query, headers=HOSTILE)
    for path in ("//evil.example", "//evil.example/%2e%2e", "/deep//page", "//deep/page", "/folder?//evil.example"):
        answers[path] = signed_in.get(path, headers=HOSTILE)
    away = [what for what, answer in answers.items() if leads_away(answer)]
    harm(away, f"answers redirect to another address: {away}")
