"""Proofs of identity/recovery_codes.py: a code is good once, for its account, after the password; nobody reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .accounts import lives, with_app, with_codes
from .harness import at_once, edit, harm, protects, refused, works
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


def stored(service: Service, user: User) -> list[Any]:
    """The rows of this account's codes."""
    table = service.module("identity.models").RecoveryCode.__table__
    with service.engine.connect() as connection:
        return list(connection.execute(table.select().where(table.c.user_id == user.id)))


@protects(
    ROW,
    once=edit(
        FILE, "_r.code_hash == digest(_plain(code)), _r.used_at.is_(None))", "_r.code_hash == digest(_plain(code)))"
    ),
)
def test_a_recovery_code_is_good_once(service: Service) -> None:
    user = service.user()
    with_app(service, user)
    codes = with_codes(service, user)
    assert len({*codes}) == 10
    first = waits(service, user, 1)
    works(first.send_code(f" {codes[0].lower().replace('-', ' ')} ").status == DONE["send_code"], "however it is typed")
    works(lives(first), "it opens the account")
    works(len([row for row in stored(service, user) if row.used_at is None]) == 9, "nine are left")
    thief = waits(service, user, 2)
    answer = thief.send_code(codes[0])
    harm(lives(thief), "a recovery code opened the account for a second time")
    refused(answer, 401, WRONG)
    crowd = [waits(service, user, 10 + number) for number in range(4)]
    answers = at_once([lambda one=one: one.send_code(codes[1]) for one in crowd])
    inside = [one for one in crowd if lives(one)]
    harm(inside[1:], "a recovery code opened the account for several at once")
    assert len(inside) == 1
    assert {answer.status for answer in answers} <= {DONE["send_code"], 401, 429}
    assert waits(service, user, 30).send_code(codes[9]).status == DONE["send_code"]
