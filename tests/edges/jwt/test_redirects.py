"""Edges of the proofs in test_redirects.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...harness import edit, harm, protects, works
from ...jwt.test_redirects import EVIL, HOSTILE, REDIRECT, ROW, leads_away

if TYPE_CHECKING:
    from ...running import Service


@protects(ROW, redirect=REDIRECT)
def test_a_login_returns_tokens_and_never_redirects(service: Service) -> None:
    user = service.user()
    credentials = {"identifier": user.email, "password": user.password}
    client = service.client(user)
    works(client.post("/auth/login", credentials).status == 200, "the login returns tokens")
    given = client.post("/auth/login", credentials, query={"next": EVIL}, headers=HOSTILE)
    harm(leads_away(given), f"the login redirects to {given.location}")
    assert given.status == 400  # a parameter that nothing declares
    assert EVIL not in given.text


@protects(
    ROW,
    slashes=edit(
        "jwt/api.py",
        "    app.url_map.merge_slashes = app.url_map.strict_slashes = False",
        "    app.url_map.merge_slashes = app.url_map.strict_slashes = True",
    ),
)
def test_an_address_with_a_slash_more_or_less_is_not_redirected(service: Service) -> None:
    service.adds_route("/deep/page")
    service.adds_route("/folder/")
    client = service.client(service.user()).login()
    works(client.get("/deep/page").status == 200, "the exact URL is answered")
    answers = [client.get(path, headers=HOSTILE) for path in ("//deep/page", "/deep//page", "/deep/page/", "/folder")]
    harm([answer for answer in answers if leads_away(answer)], "Flask redirected to a corrected URL")
    assert {answer.status for answer in answers} == {200, 404}
