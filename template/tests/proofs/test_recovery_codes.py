"""Proofs of identity/recovery_codes.py: a code is good once, for its account, after the password; nobody reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .accounts import lives, with_app, with_codes
from .harness import edit, harm, protects, refused, works
from .logins import arrived
from .service import Client

if TYPE_CHECKING:
    from .running import Service, User


ROW = "recovery-codes"
FILE = "identity/recovery_codes.py"
WRONG = "mfa-attempts-5"
DONE = Client.DONE


def waits(service: Service, user: User, number: int) -> Client:
    """Somebody, from a network of his own, who is asked for the code."""
    return arrived(service, user, f"203.0.113.{number}")


@protects(
    ROW,
    once=edit(
        FILE, "_r.code_hash == digest(_plain(code)), _r.used_at.is_(None))", "_r.code_hash == digest(_plain(code)))"
    ),
)
def test_a_recovery_code_opens_an_account_once(service: Service) -> None:
    user = service.user()
    with_app(service, user)
    code = with_codes(service, user)[0]
    owner, thief = waits(service, user, 1), waits(service, user, 2)
    works(owner.send_code(code).status == DONE["send_code"], "a recovery code is taken")
    works(lives(owner), "and opens the account")
    answer = thief.send_code(code)
    harm(lives(thief), "a recovery code opened the account for a second time")
    refused(answer, 401, WRONG)
