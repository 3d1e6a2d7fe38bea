"""Proofs of identity/login.py as a browser sees it: a cookie says as little as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, refused, works
from ..logins import SIGNED_IN, HashSpy, attempt, causes, cheap_user

if TYPE_CHECKING:
    from ..running import Service

COOKIE = "[('Set-Cookie', '__Host-known=1; Path=/; Secure; HttpOnly; SameSite=Lax')]"


@protects(
    "login-uniform-failure",
    cookie=edit(
        "identity/login.py",
        'refuse(401, "login-uniform-failure")',
        f'refuse(401, "login-uniform-failure", headers={COOKIE} if row else [])',
    ),
)
def test_no_cookie_of_a_failed_login_tells_whether_there_is_an_account(service: Service) -> None:
    user = cheap_user(service)
    HashSpy(service, quick=True)
    answer = attempt(service.client(), user.email, user.password)
    works(answer.status == SIGNED_IN, "the right password signs in")
    works([cookie.name for cookie in answer.set_cookies] == ["__Host-session"], "and gives a cookie")
    answers = {cause: attempt(service.client(), *sent) for cause, sent in causes(service, cheap=True).items()}
    names = {cause: [cookie.name for cookie in answer.set_cookies] for cause, answer in answers.items()}
    harm([cause for cause, given in names.items() if given != names["unknown"]], "a cookie tells of an account")
    assert len(names) == 5
    for answer in answers.values():
        refused(answer, 401, "login-uniform-failure")
