"""Edges of the proofs in test_totp.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..accounts import lives, with_app
from ..harness import at_once, edit, harm, protects, refused, works
from ..test_totp import DONE, FILE, ROW, WRONG, waits

if TYPE_CHECKING:
    from ..running import Service


NO_CODE = "AAAAA-AAAAA-AAAAA-AAAAA-AAAAAA"  # a recovery code of nobody's, which the login alone counts
FULLWIDTH = {ord("0") + digit: 0xFF10 + digit for digit in range(10)}
ARABIC = {ord("0") + digit: 0x0660 + digit for digit in range(10)}


@protects(
    ROW,
    window=edit(FILE, "for_time=moment, valid_window=0", "for_time=moment, valid_window=1"),
)
def test_a_code_is_good_in_its_own_thirty_seconds_alone(service: Service) -> None:
    user = service.user()
    app = with_app(service, user)
    works(waits(service, user, 1).send_code(app.code()).status == DONE, "the code of the moment is taken")
    app.next_code()
    for number in range(5):
        late = waits(service, user, 10 + number)
        answer = late.send_code(app.code(step=-1))
        harm(lives(late), "a code was taken after its time")
        refused(answer, 401, WRONG)
    early = waits(service, user, 30)
    answer = early.send_code(app.code(step=1))
    harm(lives(early), "a code was taken before its time")
    refused(answer, 401, WRONG)
    # Late ones are no guesses: their owner typed them in their last second, and is not locked out.
    assert waits(service, user, 40).send_code(app.code()).status == DONE
    slow = waits(service, user, 41)
    for _ in range(5):
        refused(slow.send_code(app.code(step=-1)), 401, WRONG)
    assert slow.send_code(app.next_code()).status == DONE  # nor does the login that waits for it count them
    guesser = waits(service, user, 42)
    for number in range(6):
        refused(guesser.send_code(app.code(step=-1) if number == 4 else NO_CODE), 401, WRONG)
    guesser.send_code(app.next_code())
    harm(lives(guesser), "a late code gave back more than the one try that it took")


@protects(ROW, digits=edit(FILE, 'r"[0-9]{6}"', r'r"\d{6}"'))
def test_a_code_is_six_ascii_digits(service: Service) -> None:
    user = service.user()
    app = with_app(service, user)
    code = app.next_code()
    works(waits(service, user, 1).send_code(f"{code[:3]} {code[3:]}").status == DONE, "with the space that apps show")
    code = app.next_code()
    for number, other in enumerate((code.translate(FULLWIDTH), code.translate(ARABIC), f"0{code}", f"{code}0")):
        client = waits(service, user, 10 + number)
        answer = client.send_code(other)
        harm(lives(client), f"{other!r} was taken for {code}")
        refused(answer, 401, WRONG)
    assert waits(service, user, 40).send_code(code).status == DONE


@protects(
    ROW, once=edit(FILE, "later = (_t.user_id == user_id, _t.last_step < step)", "later = (_t.user_id == user_id,)")
)
def test_a_code_is_good_once(service: Service) -> None:
    user = service.user()
    app = with_app(service, user)
    owner, thief = waits(service, user, 1), waits(service, user, 2)
    code = app.code()
    works(owner.send_code(code).status == DONE, "the code of the moment is taken")
    works(lives(owner), "and opens the account")
    answer = thief.send_code(code)
    harm(lives(thief), "a code opened the account for a second time")
    refused(answer, 401, WRONG)
    crowd = [waits(service, user, 10 + number) for number in range(10)]
    code = app.next_code()
    answers = at_once([lambda one=one: one.send_code(code) for one in crowd])
    inside = [one for one in crowd if lives(one)]
    harm(inside[1:], "a code opened the account for several at once")
    assert len(inside) == 1
    assert {answer.status for answer in answers} <= {DONE, 401, 429}
