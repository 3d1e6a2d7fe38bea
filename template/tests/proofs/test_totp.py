"""Proofs of identity/totp.py: a code that somebody else saw, or that was meant for another moment, opens nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .accounts import lives, with_app
from .harness import edit, harm, protects, refused, works
from .logins import arrived
from .service import Client

if TYPE_CHECKING:
    from .running import Service, User


ROW = "totp-one-use-no-drift"
FILE = "identity/totp.py"
WRONG = "mfa-attempts-5"
DONE = Client.DONE["send_code"]


def waits(service: Service, user: User, number: int) -> Client:
    """Somebody, from a network of his own, who is asked for the code."""
    return arrived(service, user, f"203.0.113.{number}")


@protects(
    ROW, once=edit(FILE, "later = (_t.user_id == user_id, _t.last_step < step)", "later = (_t.user_id == user_id,)")
)
def test_a_code_opens_an_account_once(service: Service) -> None:
    user = service.user()
    app = with_app(service, user)
    owner, thief = waits(service, user, 1), waits(service, user, 2)
    code = app.code()
    works(owner.send_code(code).status == DONE, "the code of the moment is taken")
    works(lives(owner), "and opens the account")
    answer = thief.send_code(code)
    harm(lives(thief), "a code opened the account for a second time")
    refused(answer, 401, WRONG)
