"""This style sets no cookie: what a browser would attach by itself is no proof of who sends a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...harness import edit, harm, protects, refused, works

if TYPE_CHECKING:
    from ...running import Service


LINE = "__Host-x=1; Secure; HttpOnly; SameSite=Lax; Path=/"


@protects(
    "cookie-flags",
    jwt=(
        edit(
            "edge/cookies.py",
            "            return [header for header in headers if _may_leave(header, secure, allowed)]\n",
            "            return headers\n",
        ),
        edit(
            "jwt/__init__.py",
            '        if response.status_code == 401 and "WWW-Authenticate" not in response.headers:\n',
            '        response.set_cookie("access_token", "x")\n'
            '        if response.status_code == 401 and "WWW-Authenticate" not in response.headers:\n',
        ),
    ),
)
def test_no_answer_about_tokens_sets_a_cookie(service: Service) -> None:
    user = service.user()
    client = service.client(user)
    credentials = {"identifier": user.email, "password": user.password}
    signed_in = client.post("/auth/login", credentials)
    works(signed_in.json["access_token"], "the tokens are in the body")
    refreshed = client.post("/auth/refresh", {"refresh_token": signed_in.json["refresh_token"]})
    works(refreshed.json["access_token"], "and so are the next")
    client.token = refreshed.json["access_token"]
    answers = [signed_in, refreshed, client.get("/auth/me"), client.get("/auth/sessions"), client.post("/auth/logout")]
    works([answer.status for answer in answers] == [200, 200, 200, 200, 204], "each call is answered")
    answers += [client.get("/auth/me"), client.post("/auth/login", {"identifier": "x", "password": "y"})]
    harm([answer.set_cookies for answer in answers if answer.set_cookies], "an answer sets a cookie")


@protects("cookie-flags", jwt=edit("edge/__init__.py", "secure=secure, allowed=self._pages)", "secure=secure)"))
def test_even_a_cookie_with_every_flag_is_not_set(service: Service) -> None:
    from flask import Response as Answer

    seen = service.adds_route("/probe", view=lambda: Answer("answered", headers=[("Set-Cookie", LINE)]))
    client = service.client(service.user()).login()
    answer = client.get("/probe")
    works(answer.text == "answered", "the view answers")
    works(seen == ["GET"], "it ran")
    harm(answer.set_cookies, "a service without cookies sets one")
    refused(answer, 200, "cookie-flags")
