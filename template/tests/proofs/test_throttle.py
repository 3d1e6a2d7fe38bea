"""Proofs of throttle.py: an account gives nobody more than five guesses, wherever they come from."""

from __future__ import annotations

import secrets
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from .harness import at_once, edit, harm, insert, protects, refused, works
from .logins import SIGNED_IN, UNKNOWN, WRONG, HashSpy, attempt, cheap_user, seen_by_client, sessions_of
from .service import AUTH

if TYPE_CHECKING:
    import pytest

    from .running import Service
    from .wire import Response

ROW = "login-throttle-account"
BOOK = '    booking = throttle.book(KIND, subject, "login-throttle-account")\n'
BUSY = '        refuse(503, "password-hash-concurrency", retry_after=BUSY_SECONDS)\n'


def most(service: Service) -> int:
    """How many failures an account is given: 5, or what the team has declared."""
    return int(service.limits.login_failures)


def guess(service: Service, identifier: str, times: int, password: str = WRONG) -> list[Response]:
    """Wrong passwords, each from another address, so that no limit of an address is met first."""
    return [
        attempt(service.client(address=f"198.51.100.{number}"), identifier, password) for number in range(1, times + 1)
    ]


@protects(
    ROW,
    key=edit("identity/login.py", "throttle.book(KIND, subject,", "throttle.book(KIND, address,"),
    hash=(edit("identity/login.py", BOOK, ""), insert("identity/login.py", after=BUSY, new=BOOK)),
)
def test_after_five_wrong_passwords_even_the_right_one_opens_nothing(service: Service) -> None:
    forgetful, victim, other = (cheap_user(service) for _ in range(3))
    spy = HashSpy(service)
    guess(service, forgetful.email, most(service) - 1)
    answer = attempt(service.client(), forgetful.email, forgetful.password)
    works(answer.status == SIGNED_IN, "four wrong passwords and the right one sign in")
    works(len(spy.compared) == most(service), "each was compared")
    wrong = guess(service, victim.email, most(service))
    spy.compared.clear()
    answer = attempt(service.client(address="203.0.113.9"), victim.email, victim.password)
    harm(sessions_of(service, victim), "the sixth password was looked at")
    harm(spy.compared, "a hash was computed for an account that has to wait")
    refused(answer, 429, ROW)
    assert 0 <= service.limits.login_wait_minutes * 60 - int(answer.header("Retry-After") or 0) < 10
    for one in wrong:
        refused(one, 401, "login-uniform-failure")
    assert attempt(service.client(), other.email, other.password).status == SIGNED_IN
    service.travel(minutes=service.limits.login_wait_minutes, seconds=1)
    assert attempt(service.client(), victim.email, victim.password).status == SIGNED_IN


@protects(ROW)
def test_an_account_that_does_not_exist_has_to_wait_in_the_same_words(service: Service) -> None:
    user = cheap_user(service)
    HashSpy(service, quick=True)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    answers = {identifier: guess(service, identifier, most(service) + 1) for identifier in (user.email, UNKNOWN)}
    known, unknown = ([seen_by_client(one, name) for one in answers[name]] for name in (user.email, UNKNOWN))
    harm([pair for pair in zip(known, unknown, strict=True) if pair[0] != pair[1]], "an answer tells of an account")
    assert [one.status for one in answers[UNKNOWN]] == [401] * most(service) + [429]
    refused(answers[UNKNOWN][-1], 429, ROW)


@protects(ROW, normalise=edit("identity/login.py", "subject = normalised(identifier)", "subject = identifier"))
def test_another_spelling_of_an_address_is_no_further_guess(service: Service) -> None:
    user, victim = cheap_user(service), cheap_user(service, "alice@example.com")
    HashSpy(service, quick=True)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    spellings = (
        "Alice@EXAMPLE.com",
        " alice@example.com\u3000",  # an ideographic space
        "\uff41lice@\uff45xample.com",  # full-width letters
        "al\u00adi\u200bce@example.com",  # a soft hyphen and a zero-width space
        # JSON with a zero byte in it is refused before.
        "alice\0@example.com\0" if AUTH == "session" else "aLICe@example.com",
    )
    answers = [guess(service, spellings[number % 5], 1)[0] for number in range(most(service))]
    answer = attempt(service.client(), victim.email, victim.password)
    harm(sessions_of(service, victim), "five wrong passwords under five spellings were not counted together")
    refused(answer, 429, ROW)
    for one in answers:
        refused(one, 401, "login-uniform-failure")
    service.travel(minutes=service.limits.login_wait_minutes, seconds=1)
    for spelling in spellings:  # and each reaches the account, so that each was a guess
        assert attempt(service.client(), spelling, victim.password).status == SIGNED_IN


@protects(ROW, doubling=edit("throttle.py", "wait = min(window * 2 ** min(rounds, 10), LONGEST_WAIT)", "wait = window"))
def test_whoever_waits_and_guesses_on_waits_twice_as_long_each_time(service: Service) -> None:
    patient, victim = cheap_user(service), cheap_user(service)
    minutes = service.limits.login_wait_minutes
    guess(service, patient.email, most(service))
    guess(service, victim.email, most(service))
    service.travel(minutes=minutes, seconds=1)
    answer = attempt(service.client(), patient.email, patient.password)
    works(answer.status == SIGNED_IN, "after the wait the right password signs in")
    guess(service, victim.email, most(service))
    service.travel(minutes=minutes, seconds=1)
    answer = attempt(service.client(), victim.email, victim.password)
    harm(sessions_of(service, victim), "the second wait was no longer than the first")
    refused(answer, 429, ROW)
    waits = []
    for _ in range(8):
        [refusal] = guess(service, victim.email, 1)
        service.travel(seconds=int(refusal.header("Retry-After") or 0) + 1)
        refusal = guess(service, victim.email, most(service) + 1)[-1]
        waits.append(round(int(refusal.header("Retry-After") or 0) / 60))
    assert waits == [min(minutes * 2**number, 24 * 60) for number in range(2, 10)]
    assert waits[-1] == 24 * 60


@protects(
    ROW, window=edit("throttle.py", '"window_at": moment', '"window_at": row.window_at if failures > 1 else moment')
)
def test_guesses_around_the_end_of_a_window_are_counted_together(service: Service) -> None:
    forgetful, victim = cheap_user(service), cheap_user(service)
    minutes = service.limits.login_wait_minutes
    for _ in range(2):
        service.travel(minutes=minutes, seconds=1)
        guess(service, forgetful.email, most(service) - 1)
    answer = attempt(service.client(), forgetful.email, forgetful.password)
    works(answer.status == SIGNED_IN, "failures are forgotten after a quiet quarter of an hour")
    guess(service, victim.email, 1)
    service.travel(minutes=minutes, seconds=-60)
    guess(service, victim.email, most(service) - 2)
    service.travel(seconds=120)
    guess(service, victim.email, 1)
    answer = attempt(service.client(), victim.email, victim.password)
    harm(sessions_of(service, victim), "a sixth guess within two minutes was looked at")
    refused(answer, 429, ROW)


@protects(ROW, throttle_key=edit("throttle.py", 'secrets.get("THROTTLE_KEY")', 'secrets.get("SECRET_KEY")'))
def test_a_rotation_of_the_secret_key_frees_no_account(service: Service) -> None:
    user, victim = cheap_user(service), cheap_user(service)
    guess(service, victim.email, most(service))
    service.restart(SECRET_KEY=secrets.token_urlsafe(32))
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "signing in works after a rotation")
    answer = attempt(service.client(), victim.email, victim.password)
    harm(sessions_of(service, victim), "the counter was forgotten with the key")
    refused(answer, 429, ROW)
    kept = [bytes(key) for (key,) in service.rows("SELECT key FROM throttle_counter")]
    assert [len(key) for key in kept] == [32]  # an HMAC: nobody learns an address from the store


@protects(ROW, race=edit("throttle.py", "_c.key == key, _c.version == row.version)", "_c.key == key)"))
def test_guesses_at_the_same_moment_are_counted_one_by_one(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each round four have read the counter before one of them writes it: a write that gets lost is seen at once."""
    victim, spy = cheap_user(service), HashSpy(service)
    rivals = [service.client(address=f"198.51.100.{number}") for number in range(4)]
    guess(service, victim.email, most(service) - 1)
    works(len(spy.compared) == most(service) - 1, "four wrong passwords are compared")
    throttle = service.module("throttle")
    counted, barrier = throttle._counted, threading.Barrier(len(rivals))

    def read_together(*arguments: Any) -> Any:
        barrier.wait(timeout=30)
        return counted(*arguments)

    for rival in rivals:
        rival.honest("POST", {}, None, None, None)  # the login page is open
    monkeypatch.setattr(throttle, "_counted", read_together)
    rounds = []
    for _ in range(20):
        service.rows(
            "UPDATE throttle_counter SET failures = :failures, rounds = 0, blocked_until = NULL",
            failures=most(service) - 1,
        )
        spy.compared.clear()
        answers = at_once([partial(attempt, rival, victim.email, WRONG) for rival in rivals])
        rounds.append((len(spy.compared), sorted(answer.status for answer in answers)))
    harm([compared for compared, _ in rounds if compared > 1], "more than one guess passed as the fifth")
    assert rounds == [(1, [401, 429, 429, 429])] * 20
