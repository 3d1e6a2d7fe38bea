"""Proofs of secrets/ring.py for pages: whoever is signed in, has a form open or a link at hand goes on over a rotation.

They stop a new key from turning every open form into an error, and everybody out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, works
from ..rings import new_key
from ..session_client import FIELD

if TYPE_CHECKING:
    from ..running import Service


READ = "return iter(self._rings.get(SECRET).texts()"


@protects("secret-key-rotation-honoured", csrf=edit("session/csrf.py", f"{READ}[::-1])", f"{READ}[:1])"))
def test_a_form_and_a_login_outlive_two_rotations_and_no_key_that_is_gone(service: Service) -> None:
    seen = service.adds_route("/bare", methods=("GET", "POST"))
    first, second, third = (new_key() for _ in range(3))
    service.restart(SECRET_KEY=first)
    browser = service.client(service.user()).login()
    token, cookie = browser.csrf_token(), browser.cookie
    works(browser.post("/bare", {FIELD: token}).status == 200, "the form is taken")
    for key, former in ((second, first), (third, f"{second},{first}")):
        service.restart(SECRET_KEY=key, BASTION_SECRET_KEY_FALLBACKS=former)
        seen.clear()
        works(browser.get("/bare").status == 200, "the login goes on")
        browser.post("/bare", {FIELD: token})
        harm("POST" not in seen, "each form that was open during a rotation is an error")
    service.restart(SECRET_KEY=third, BASTION_SECRET_KEY_FALLBACKS=None)
    browser.cookie = cookie
    assert browser.get("/bare").status == 303
