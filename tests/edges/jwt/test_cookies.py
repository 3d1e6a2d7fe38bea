"""The jwt style sets no cookie: a cookie that browsers attach automatically does not authenticate a request (CSRF)."""

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
    works(signed_in.json["access_token"], "the login returns the access token in the body")
    refreshed = client.post("/auth/refresh", {"refresh_token": signed_in.json["refresh_token"]})
    works(refreshed.json["access_token"], "the refresh returns the next access token in the body")
    client.token = refreshed.json["access_token"]
    answers = [signed_in, refreshed, client.get("/auth/me"), client.get("/auth/sessions"), client.post("/auth/logout")]
    works([answer.status for answer in answers] == [200, 200, 200, 200, 204], "the client's requests succeed")
    answers += [client.get("/auth/me"), client.post("/auth/login", {"identifier": "x", "password": "y"})]
    harm([answer.set_cookies for answer in answers if answer.set_cookies], "an answer about tokens set a cookie")


@protects("cookie-flags", jwt=edit("edge/__init__.py", "secure=secure, allowed=self._pages)", "secure=secure)"))
def test_even_a_cookie_with_every_flag_is_not_set(service: Service) -> None:
    from flask import Response as Answer

    seen = service.adds_route("/probe", view=lambda: Answer("answered", headers=[("Set-Cookie", LINE)]))
    client = service.client(service.user()).login()
    answer = client.get("/probe")
    works(answer.text == "answered", "the client gets the view's answer")
    works(seen == ["GET"], "the view ran")
    harm(answer.set_cookies, "a service without cookies set one")
    refused(answer, 200, "cookie-flags")
