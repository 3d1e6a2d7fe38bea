"""Edges of the proofs in test_recovery_codes.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..accounts import lives, with_app, with_codes
from ..harness import at_once, edit, harm, protects, refused, works
from ..logins import attempt
from ..mails import sent, text
from ..service import AUTH
from ..test_recovery_codes import DONE, FILE, ROW, WRONG, waits

if TYPE_CHECKING:
    from ..running import Service, User


def stored(service: Service, user: User) -> list[Any]:
    """The rows of this account's codes."""
    table = service.module("identity.models").RecoveryCode.__table__
    with service.engine.connect() as connection:
        return list(connection.execute(table.select().where(table.c.user_id == user.id)))


@protects(ROW, owner=edit(FILE, "good = (_r.user_id == user_id, _r.code_hash", "good = (_r.code_hash"))
def test_nobody_gets_in_by_the_code_of_another_or_without_a_password(service: Service) -> None:
    alice, mallory = service.user(), service.user()
    for one in (alice, mallory):
        with_app(service, one)
    his, hers = with_codes(service, mallory), with_codes(service, alice)
    works(waits(service, alice, 1).send_code(hers[0]).status == DONE["send_code"], "one's own code is taken")
    with service.app.app_context():
        left = [service.module("identity.factors").held(one.id).recovery_codes for one in (alice, mallory)]
    assert left == [9, 10]  # nobody is told of the codes of another
    thief = waits(service, alice, 2)
    answer = thief.send_code(his[0])
    harm(lives(thief), "a code of another account opened this one")
    refused(answer, 401, WRONG)
    nobody = service.client(alice, "203.0.113.3")
    attempt(nobody, alice.email, "not the password of anybody here")
    answer = nobody.send_code(hers[1])
    harm(lives(nobody), "a code was taken without the password")
    assert not answer.ok


@protects(ROW, bits=edit(FILE, "secrets.token_bytes(CODE_BYTES)", "secrets.token_bytes(4)"))
def test_a_recovery_code_has_128_bits(service: Service) -> None:
    user = service.user()
    with_app(service, user)
    codes = with_codes(service, user)
    works(waits(service, user, 1).send_code(codes[0]).status == DONE["send_code"], "a code is taken")
    letters = min(len(code.replace("-", "")) for code in codes)
    harm(letters < 26, f"a recovery code has {letters} letters of five bits: it can be guessed")


@protects(
    ROW,
    renewed=edit(FILE, "    remove(connection, user_id)\n    codes = [", "    codes = ["),
)
def test_a_new_set_makes_the_old_one_worthless(service: Service) -> None:
    user, plain = service.user(), service.client(service.user(), "203.0.113.4").login()
    refused(plain.new_codes(), 404, ROW)  # where no second factor is asked for, none would be looked at
    app = with_app(service, user)
    old = with_codes(service, user)
    owner = waits(service, user, 1)
    works(owner.send_code(app.code()).status == DONE["send_code"], "the owner signs in with the app")
    shown = owner.new_codes()
    new = owner.codes_of(shown)
    works(shown.status == DONE["new_codes"], "and gets a new set")
    works(len({*new}) == 10 and not {*new} & {*old}, "of ten other codes")
    works(waits(service, user, 2).send_code(new[0]).status == DONE["send_code"], "which are good")
    thief = waits(service, user, 3)
    answer = thief.send_code(old[5])
    harm(lives(thief), "a code of the old set opened the account")
    refused(answer, 401, WRONG)
    again = owner.get({"session": "/account/factors", "jwt": "/auth/factors"}[AUTH])
    assert (again.status, [code for code in new if code in again.text]) == (200, [])  # shown once


@protects(ROW, hash=edit(FILE, '"code_hash": digest(_plain(code))', '"code_hash": _plain(code).encode()'))
def test_whoever_reads_the_table_has_no_code(service: Service) -> None:
    user = service.user()
    with_app(service, user)
    codes = with_codes(service, user)
    works(len(stored(service, user)) == 10, "ten codes are stored")
    everything = repr(stored(service, user))
    harm([code for code in codes if code.replace("-", "") in everything], "a code stands in the table as it is")
    thief = waits(service, user, 1)
    for row in stored(service, user)[:3]:
        refused(thief.send_code(row.code_hash.hex()), 401, WRONG)
    assert not lives(thief)
    assert waits(service, user, 2).send_code(codes[3]).status == DONE["send_code"]
    mails = [text(mail) for mail in sent(service, user.email)]
    assert mails  # of the code that was used
    assert [mail for mail in mails if any(code in mail for code in codes)] == []


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
