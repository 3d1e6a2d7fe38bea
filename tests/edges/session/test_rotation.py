"""Edges of the proofs in test_rotation.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ... import mails
from ...harness import edit, harm, protects, works
from ...rings import new_key
from ...session.test_rotation import READ
from ...session_client import FIELD

if TYPE_CHECKING:
    from ...running import Service

    pass


@protects("secret-key-rotation-honoured", csrf=edit("session/csrf.py", f"{READ}[::-1])", f"{READ}[:1])"))
def test_a_form_a_link_and_a_login_outlive_two_rotations_and_no_key_that_is_gone(service: Service) -> None:
    seen = service.adds_route("/bare", methods=("GET", "POST"))
    first, second, third = (new_key() for _ in range(3))
    service.restart(SECRET_KEY=first)
    user = service.user()
    browser, forgetful = service.client(user).login(), service.client()
    token = browser.csrf_token()
    forgetful.forgot(user.email)
    forgetful.open_link("reset", mails.token_for(service, user.email, "reset"))
    works(browser.post("/bare", {FIELD: token}).status == 200, "the form is taken")
    works(forgetful.shown("/reset"), "the link leads to its form")
    link, cookie = dict(forgetful.cookies), browser.cookie
    for key, former in ((second, first), (third, f"{second},{first}")):
        service.restart(SECRET_KEY=key, BASTION_SECRET_KEY_FALLBACKS=former)
        seen.clear()
        works(browser.get("/bare").status == 200, "the login goes on")
        browser.post("/bare", {FIELD: token})
        harm("POST" not in seen, "each form that was open during a rotation is an error")
        assert forgetful.shown("/reset")
    told = service.app.secret_key, service.app.config["SECRET_KEY_FALLBACKS"]
    assert told == (third, [first, second])  # code of others looks there
    newest = service.client(service.user()).login()
    service.restart(SECRET_KEY=third, BASTION_SECRET_KEY_FALLBACKS=None)
    seen.clear()
    browser.cookie, forgetful.cookies = cookie, link
    assert browser.get("/bare").status == 303
    assert forgetful.shown("/reset") == {}
    assert seen == []
    assert newest.get("/bare").status == 200
