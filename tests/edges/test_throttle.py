"""Edges of the proofs in test_throttle.py: further attacks on the same protections."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from datetime import timedelta
from functools import partial
from textwrap import indent
from typing import TYPE_CHECKING, Any

import pytest

from .. import mails
from .. import test_throttle as core
from ..databases import changed, everything
from ..harness import at_once, edit, harm, insert, protects, refused, works
from ..logins import (
    PATH,
    SIGNED_IN,
    UNKNOWN,
    WRONG,
    HashSpy,
    Outage,
    attempt,
    cheap_user,
    device_of,
    registers,
    seen_by_client,
    sessions_of,
    step_up,
)
from ..service import AUTH
from ..test_throttle import (
    ABUSE,
    BOOK,
    CEILING,
    CLOSED,
    COST,
    FIND,
    NETWORK,
    PER_MINUTE,
    RATE,
    ROW,
    SPENT,
    SPRAYER,
    SUBJECT,
    guess,
    keep_blocked,
    most,
    spray,
    through,
)
from .core import sabotages
from .steps import asks_for_reset, chooses_by_mail
from .test_exceptions import declare, limit

if TYPE_CHECKING:
    from pathlib import Path

    from ..running import Service


ROUNDS = 5  # of a race in which all meet each time


@protects(ROW)
def test_unknown_accounts_are_throttled_with_the_same_answer(service: Service) -> None:
    user = cheap_user(service)
    HashSpy(service, quick=True)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    answers = {identifier: guess(service, identifier, most(service) + 1) for identifier in (user.email, UNKNOWN)}
    known, unknown = ([seen_by_client(one, name) for one in answers[name]] for name in (user.email, UNKNOWN))
    harm([pair for pair in zip(known, unknown, strict=True) if pair[0] != pair[1]], "an answer reveals an account")
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
        "aLICe@example.com",
    )
    answers = [guess(service, spellings[number % 5], 1)[0] for number in range(most(service))]
    answer = attempt(service.client(), victim.email, victim.password)
    harm(sessions_of(service, victim), "five spellings of one address had separate counters")
    refused(answer, 429, ROW)
    for one in answers:
        refused(one, 401, "login-uniform-failure")
    service.travel(minutes=service.limits.login_wait_minutes, seconds=1)
    for spelling in spellings:  # and each reaches the account, so that each was a guess
        assert attempt(service.client(), spelling, victim.password).status == SIGNED_IN


@protects(
    ROW,
    doubling=edit("throttle/__init__.py", "wait = min(window * 2 ** min(rounds, 10), LONGEST_WAIT)", "wait = window"),
)
def test_each_further_wait_is_twice_as_long(service: Service) -> None:
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
    service.rows("UPDATE throttle_counter SET rounds = 500")  # after years of it
    service.travel(hours=24, seconds=1)
    statuses = [one.status for one in guess(service, victim.email, most(service) + 1)]
    assert statuses == [401] * most(service) + [429]


@protects(
    ROW,
    day=edit("throttle/__init__.py", "FORGET: Final = timedelta(hours=24)", "FORGET: Final = timedelta(hours=12)"),
    kept=edit("throttle/__init__.py", "KEPT: Final = timedelta(hours=48)", "KEPT: Final = timedelta(hours=1)"),
)
def test_no_wait_is_forgotten_before_a_quiet_day_is_over(service: Service) -> None:
    HashSpy(service, quick=True)
    forgetful, victim = cheap_user(service), cheap_user(service)
    minutes = service.limits.login_wait_minutes

    def next_wait(email: str) -> int:
        """Return the wait in minutes after one more round of guesses."""
        return round(int(guess(service, email, most(service) + 1)[-1].header("Retry-After") or 0) / 60)

    works([next_wait(user.email) for user in (forgetful, victim)] == [minutes] * 2, "the first wait is short")
    service.travel(minutes=minutes, seconds=1)
    works([next_wait(user.email) for user in (forgetful, victim)] == [2 * minutes] * 2, "the second twice as long")
    service.travel(hours=4)
    works(next_wait(victim.email) == 4 * minutes, "the third wait doubles again")
    service.travel(hours=22)
    with service.app.app_context():
        service.module("throttle").purge()
    waits = next_wait(forgetful.email), next_wait(victim.email)
    works(waits[0] == minutes, "after a quiet day the wait is short again")
    harm(waits[1] < 8 * minutes, "the wait was reset less than a day after the last one")
    assert waits[1] == 8 * minutes


@protects(
    ROW,
    window=edit(
        "throttle/__init__.py", '"window_at": moment, "b', '"window_at": row.window_at if failures > 1 else moment, "b'
    ),
)
def test_guesses_around_the_end_of_a_window_are_counted_together(service: Service) -> None:
    forgetful, victim = cheap_user(service), cheap_user(service)
    minutes = service.limits.login_wait_minutes
    for _ in range(2):
        service.travel(minutes=minutes, seconds=1)
        guess(service, forgetful.email, most(service) - 1)
    answer = attempt(service.client(), forgetful.email, forgetful.password)
    works(answer.status == SIGNED_IN, "failures are forgotten after 15 quiet minutes")
    guess(service, victim.email, 1)
    service.travel(minutes=minutes, seconds=-60)
    guess(service, victim.email, most(service) - 2)
    service.travel(seconds=120)
    guess(service, victim.email, 1)
    answer = attempt(service.client(), victim.email, victim.password)
    harm(sessions_of(service, victim), "a sixth guess within two minutes was compared")
    refused(answer, 429, ROW)


KEYED = "hmac.new(key, what, hashlib.sha256)"


@protects(ROW, keyed=edit("throttle/__init__.py", KEYED, "hashlib.sha256(what)"))
def test_whoever_reads_the_counters_learns_no_address(service: Service) -> None:
    user, victim = cheap_user(service), cheap_user(service)
    guess(service, victim.email, most(service) - 1)
    kept = {bytes(key) for (key,) in service.rows("SELECT counter.key FROM throttle_counter counter")}
    works(kept, "attempts are counted")
    harm(kept & {hashlib.sha256(f"login:{victim.email}".encode()).digest()}, "a counter reveals a guessed address")
    assert {len(key) for key in kept} == {32}
    service.restart(SECRET_KEY=secrets.token_urlsafe(32))  # all counters begin anew, and no client is locked out by it
    assert attempt(service.client(), user.email, user.password).status == SIGNED_IN
    assert [one.status for one in guess(service, victim.email, most(service) + 1)] == [401] * most(service) + [429]


@protects(
    ROW,
    race=edit("throttle/__init__.py", "columns.key == name, columns.version == row.version", "columns.key == name"),
)
def test_guesses_at_the_same_moment_are_counted_one_by_one(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each round four guesses read the counter before one of them writes, which exposes a lost update."""
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
    for _ in range(ROUNDS):
        service.rows(
            "UPDATE throttle_counter SET failures = :failures, rounds = 0, blocked_until = NULL",
            failures=most(service) - 1,
        )
        service.rows("DELETE FROM throttle_use")  # the counters per network are not attacked here
        spy.compared.clear()
        answers = at_once([partial(attempt, rival, victim.email, WRONG) for rival in rivals])
        rounds.append((len(spy.compared), sorted(answer.status for answer in answers)))
    harm([compared for compared, _ in rounds if compared > 1], "more than one guess passed as the fifth")
    assert rounds == [(1, [401, 429, 429, 429])] * ROUNDS


@protects(
    ROW,
    again=edit(
        "identity/attempts.py", "throttle.book(AGAIN, user.email,", "throttle.book(AGAIN, str(user.session_id),"
    ),
)
def test_step_up_has_its_own_guess_limit(
    service: Service,
) -> None:
    alice, minutes = cheap_user(service), service.limits.login_wait_minutes
    guess(service, alice.email, most(service))
    answer = step_up(service.client(alice).login(), alice.password)
    works(answer.status == SIGNED_IN, "a signed-in user re-authenticates while a stranger blocks the login")
    wrong = [step_up(service.client(alice, address=f"203.0.113.{one}").login(), WRONG) for one in range(most(service))]
    before = steps(service)
    answer = step_up(service.client(alice).login(), alice.password)
    harm(steps(service) > before, "each session had its own guesses")
    refused(answer, 429, "password-change-needs-current")
    for one in wrong:
        refused(one, 403, "password-change-needs-current")
    service.travel(minutes=minutes, seconds=1)
    assert step_up(service.client(alice).login(), alice.password).status == SIGNED_IN


@protects(
    ROW,
    right=edit("identity/login.py", RATE, '    rate = throttle.Spent(b"", 0.0)\n'),
)
def test_right_passwords_count_towards_the_rate_limit(service: Service) -> None:
    """Otherwise a user with one account could occupy all hash slots and keep all others out."""
    user, other, spy = cheap_user(service), cheap_user(service), HashSpy(service)
    answers = [attempt(service.client(), user.email, user.password) for _ in range(20)]
    works([answer.status for answer in answers] == [SIGNED_IN] * 20, "right logins up to the limit succeed")
    works(len(spy.compared) == 20, "each was compared")
    spy.compared.clear()
    answer = attempt(service.client(address="203.0.113.9"), user.email.upper(), user.password)
    harm(spy.compared, "a login above the limit was compared")
    refused(answer, 429, ROW)
    assert 1 <= int(answer.header("Retry-After") or 0) <= 60
    assert attempt(service.client(), other.email, other.password).status == SIGNED_IN
    known = device_of(answers[-1])  # the last ten are known
    statuses = [attempt(service.client(), user.email, user.password, known).status for _ in range(21)]
    assert statuses == [SIGNED_IN] * 20 + [429]  # a device that is known counts apart, and as much
    service.travel(seconds=61)
    assert attempt(service.client(), user.email, user.password).status == SIGNED_IN


@protects(
    ROW,
    others=edit("throttle/__init__.py", "values(**booking.before)", "values(**NOTHING)"),
    moment=edit("throttle/__init__.py", "values(**booking.before)", 'values(**{**booking.before, "window_at": now()})'),
)
def test_an_owners_login_neither_resets_nor_reveals_counters(service: Service) -> None:
    HashSpy(service, quick=True)
    alice, absent, bob, away = (cheap_user(service) for _ in range(4))
    for user in (alice, absent, bob, away):
        guess(service, user.email, most(service) - 1)
    works(attempt(service.client(), alice.email, alice.password).status == SIGNED_IN, "after four the owner is in")
    at_the_time = [[one.status for one in guess(service, user.email, 2)] for user in (alice, absent)]
    harm(at_the_time[0] != at_the_time[1], "the owner's login gave a stranger further guesses")
    service.travel(minutes=service.limits.login_wait_minutes - 1)
    works(attempt(service.client(), bob.email, bob.password).status == SIGNED_IN, "the other owner signs in later too")
    service.travel(minutes=1, seconds=1)
    later = [[one.status for one in guess(service, user.email, most(service) + 1)] for user in (bob, away)]
    harm(later[0] != later[1], "a counter reveals to a stranger that the owner signed in")
    assert at_the_time[0] == [401, 429]
    assert later[0] == [401] * most(service) + [429]


def all_slots_taken(service: Service, monkeypatch: pytest.MonkeyPatch, meet: Any = lambda: None) -> None:
    """From here on compare no password: each attempt is refused with a Retry-After."""
    passwords = service.module("identity.passwords")

    def full(_rank: int) -> Any:
        meet()
        raise passwords.Busy

    monkeypatch.setattr(service.module("state").state_of(service.app).passwords, "_hash_slot", full)


@protects(ROW, busy=edit("identity/attempts.py", "        throttle.refund(self.rate)\n", ""))
def test_who_is_told_to_come_back_may_come_back(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user = cheap_user(service)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    service.travel(seconds=61)
    with monkeypatch.context() as flooded:
        all_slots_taken(service, flooded)
        answers = [attempt(service.client(), user.email, user.password) for _ in range(21)]
    before = sessions_of(service, user)
    last = attempt(service.client(), user.email, user.password)
    harm(sessions_of(service, user) == before, "uncompared attempts locked the right password out")
    assert last.status == SIGNED_IN
    for answer in answers:
        refused(answer, 503, "password-hash-concurrency")


@protects(
    ROW,
    together=edit(
        "throttle/__init__.py", "counter.where(COUNTERS.failures > 0)", "counter.where(COUNTERS.failures < 0)"
    ),
)
def test_parallel_uncompared_attempts_are_not_counted(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user = cheap_user(service)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    rivals = [service.client(address=f"198.51.100.{number}") for number in range(4)]
    for rival in rivals:
        rival.honest("POST", {}, None, None, None)  # the login page is open
    counted, change = list[int](), threading.Condition()

    def meet() -> None:
        with change:
            counted.append(1)
            all_of_them = -(-len(counted) // len(rivals)) * len(rivals)
            change.notify_all()
            change.wait_for(lambda: len(counted) >= all_of_them, timeout=2)

    with monkeypatch.context() as flooded:
        all_slots_taken(service, flooded, meet)
        rounds = [at_once([partial(attempt, rival, user.email, WRONG) for rival in rivals]) for _ in range(2)]
    attempt(service.client(), user.email, WRONG)  # and now the user mistypes, for the first time
    before = sessions_of(service, user)
    last = attempt(service.client(), user.email, user.password)
    harm(sessions_of(service, user) == before, "uncompared attempts locked the right password out")
    assert last.status == SIGNED_IN
    assert [answer.status for answers in rounds for answer in answers] == [503] * 8


@protects(
    ROW,
    told=edit(
        "throttle/__init__.py", "retry_after=int((row.blocked_until - moment).total_seconds()) + 1)", "retry_after=1)"
    ),
)
def test_retry_after_is_exact(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    throttle: Any = service.module("throttle")
    twice = throttle.Allowance(2, timedelta(minutes=1))
    ways = {
        "book": lambda: throttle.book("probe", "client", ROW),
        "spend": lambda: throttle.spend("probe", "client", ROW, twice),
        "network": lambda: throttle.spend_for_network("probe-network", ROW, twice),
    }
    service.adds_route("/uses/<how>", mark="public", view=lambda how: {"more": bool(ways[how]())})
    seven = [service.client(address=f"2001:db8:7:{number:x}::1") for number in range(7)]
    times = {"book": most(service), "spend": 2, "network": 10}
    waits = {"book": service.limits.login_wait_minutes * 60, "spend": 60, "network": 60}
    service.app  # noqa: B018
    moment = [service.now()]
    monkeypatch.setattr(service.module("clock"), "_source", lambda: moment[0])
    for how, seconds in waits.items():
        statuses = [seven[number // 2].get(f"/uses/{how}").status for number in range(times[how])]
        works(statuses == [200] * times[how], "uses up to the limit succeed")
        moment[0] += timedelta(seconds=0.5)
        wait = int(seven[5].get(f"/uses/{how}").header("Retry-After") or 0)
        moment[0] += timedelta(seconds=wait - 1)
        early = seven[5].get(f"/uses/{how}")
        moment[0] += timedelta(seconds=1)
        harm(seven[6].get(f"/uses/{how}").status != 200, "a client that waited was refused again")
        refused(early, 429, ROW)
        assert (wait, early.header("Retry-After")) == (seconds, "1")
    monkeypatch.setattr(throttle, "_write", lambda *_: False)  # another use was counted in between, each time
    lost = [seven[5].get(f"/uses/{how}") for how in ("book", "spend")]
    assert [(one.status, one.header("Retry-After")) for one in lost] == [(429, "1"), (429, "2")]


@protects(
    ROW,
    given=edit(
        "throttle/__init__.py",
        "        rounds=COUNTERS.rounds - case((COUNTERS.blocked_until.is_(None), 0), else_=1),\n",
        "",
    ),
)
def test_a_refunded_attempt_takes_back_the_wait_that_it_began(service: Service) -> None:
    throttle: Any = service.module("throttle")

    def counted() -> tuple[Any, ...]:
        [row] = service.rows("SELECT failures, rounds, blocked_until IS NOT NULL FROM throttle_counter")
        return tuple(row)

    with service.app.app_context():
        bookings = [throttle.book("probe", "client", ROW) for _ in range(most(service))]
        works(counted() == (most(service), 1, 1), "the last failure begins a wait")
        throttle.give_back(bookings[0])
        harm(counted()[1], "the next wait doubled, as if one failure more had been counted")
        assert counted() == (most(service) - 1, 0, 0)
        for booking in bookings[1:]:
            throttle.give_back(booking)
        assert counted() == (0, 0, 0)
        throttle.give_back(bookings[0])  # no more than there was
        assert counted() == (0, 0, 0)
        throttle.give_back(throttle.book("probe", "client", ROW))
        assert counted() == (0, 0, 0)
        mine, _neighbours = (throttle.book("probe", who, ROW) for who in ("me", "a neighbour"))
        throttle.give_back(mine)
        assert [throttle.held("probe", who)["failures"] for who in ("me", "a neighbour")] == [0, 1]


@protects(
    ROW,
    uses=edit(
        "throttle/__init__.py",
        "connection.execute(as_read.values(version=version",
        "connection.execute(as_read.values(version=row.version",
    ),
)
def test_uses_at_the_same_moment_are_counted_one_by_one(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A use that lost the race to write the counter reads it again."""
    throttle: Any = service.module("throttle")
    twice, write = throttle.Allowance(2, timedelta(minutes=1)), throttle._write
    rivals: list[Any] = []

    def take() -> Any:
        return throttle.take("probe", "client", twice)[0]

    def overtaken(*arguments: Any) -> Any:
        if between:
            rivals.append(between.pop()())
        return write(*arguments)

    def uses() -> int:
        [(kept,)] = service.rows("SELECT uses FROM throttle_use")
        return len(json.loads(kept) if isinstance(kept, str) else kept)

    between: list[Any] = []
    monkeypatch.setattr(throttle, "_write", overtaken)
    with service.app.app_context():
        first = take()
        works(first is not None, "two uses are allowed")
        between.append(take)
        late = take()
        harm(late, "three uses passed where two are allowed")
        assert uses() == 2
        throttle.refund(first)
        assert uses() == 1  # the one, and none of the others'
        first = take()
        between.append(lambda: throttle.refund(first))
        throttle.refund(rivals[0])
        assert uses() == 0


# --- login-throttle-ip ----------------------------------------------------------------------------------------------

PER_HOUR = "        throttle.Allowance(limits.login_failures_per_hour_and_network, timedelta(hours=1)),\n"
WIDE = edit("throttle/__init__.py", "    if client.wide is None:\n", "    if client.wide is None or client.wide:\n")


def has_tried(service: Service, address: str, times: int) -> None:
    """Count this many failures for this address in the service's own counter: the /48 of an IPv6 address."""
    throttle, client = service.module("throttle"), service.module("edge.address").parse(address)
    room = throttle.Allowance(1_000, timedelta(hours=1))  # it refuses none of them, and forgets none of the hour
    with service.app.app_context():
        for _ in range(times):
            throttle.take(service.module("identity.attempts").NETWORK, client.wide or client.network, room)


@protects(NETWORK, hour=edit("identity/attempts.py", PER_HOUR, ""))
def test_a_slow_network_has_fifty_failures_an_hour(service: Service) -> None:
    HashSpy(service, quick=True)
    patient, victim = cheap_user(service), cheap_user(service)
    minute = service.limits.login_failures_per_minute_and_network
    hour = service.limits.login_failures_per_hour_and_network
    spray(service, minute - 1, "203.0.113.5")
    answer = attempt(service.client(address="203.0.113.5"), patient.email, patient.password)
    works(answer.status == SIGNED_IN, "the right password is accepted after nine failures")
    statuses = []
    for first in range(0, hour, minute):
        some = min(minute, hour - first)
        has_tried(service, SPRAYER, some - min(some, 2))
        statuses += [answer.status for answer in spray(service, min(some, 2))]
        service.travel(seconds=61)
    answer = attempt(service.client(address=SPRAYER), victim.email, victim.password)
    harm(sessions_of(service, victim), "the fifty-first guess within an hour opened a session")
    assert {*statuses} == {401}
    refused(answer, 429, NETWORK)
    service.travel(minutes=60)
    assert attempt(service.client(address=SPRAYER), victim.email, victim.password).status == SIGNED_IN


@protects(
    NETWORK,
    window=edit(
        "throttle/__init__.py",
        "if use > at - allowance.per.total_seconds()]",
        "if use // allowance.per.total_seconds() == at // allowance.per.total_seconds()]",
    ),
)
def test_failures_across_a_minute_boundary_count_together(service: Service) -> None:
    HashSpy(service, quick=True)
    user, victim = cheap_user(service), cheap_user(service)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    service.travel(seconds=100 - service.now().timestamp() % 60)  # twenty seconds before the end of a minute
    spray(service, service.limits.login_failures_per_minute_and_network)
    service.travel(seconds=30)
    answer = attempt(service.client(address=SPRAYER), victim.email, victim.password)
    harm(sessions_of(service, victim), "twice as many guesses passed within a minute")
    refused(answer, 429, NETWORK)


@protects(
    NETWORK,
    network=edit("throttle/__init__.py", "spend(kind, client.network, reason", "spend(kind, client.address, reason"),
)
def test_addresses_of_one_ipv6_network_share_their_guesses(service: Service) -> None:
    HashSpy(service, quick=True)
    user, victim = cheap_user(service), cheap_user(service)
    answer = attempt(service.client(address="2001:db8:1::1"), user.email, user.password)
    works(answer.status == SIGNED_IN, "the right password signs in")
    for number in range(service.limits.login_failures_per_minute_and_network):
        spray(service, 1, f"2001:db8:2::{number + 1:x}")
    answer = attempt(service.client(address="2001:db8:2:0:ffff::1"), victim.email, victim.password)
    harm(sessions_of(service, victim), "each address of one network had its own guesses")
    refused(answer, 429, NETWORK)
    assert attempt(service.client(address="2001:db8:2:1::1"), victim.email, victim.password).status == SIGNED_IN


@protects(
    NETWORK,
    again=edit(
        "identity/attempts.py",
        "Attempt(spend(), rate,",
        'Attempt(throttle.Spent(b"", 0.0), rate,',
    ),
)
def test_stolen_sessions_share_the_guesses_of_their_network(service: Service) -> None:
    HashSpy(service, quick=True)
    user, victim = cheap_user(service), cheap_user(service)
    answer = step_up(service.client(user).login(), user.password)
    works(answer.status == SIGNED_IN, "a user re-authenticates with the right password")
    works(steps(service) == 1, "the re-authentication is audited")
    thief, before = service.client(victim, address=SPRAYER).login(), steps(service)
    spray(service, service.limits.login_failures_per_minute_and_network)
    answer = step_up(thief, victim.password)
    harm(steps(service) > before, "a guess above the network's limit was compared")
    refused(answer, 429, NETWORK)


def steps(service: Service) -> int:
    """Return the number of audited re-authentications."""
    return int(service.rows("SELECT count(*) FROM audit_event WHERE kind = 'login.step_up'")[0][0])


@protects(NETWORK, wide=WIDE)
def test_the_networks_of_one_ipv6_site_share_a_limit(service: Service) -> None:
    HashSpy(service, quick=True)
    user, victim = cheap_user(service), cheap_user(service)
    in_all = 5 * service.limits.login_failures_per_minute_and_network
    answer = attempt(service.client(address="2001:db8:2:ffff::1"), user.email, user.password)
    works(answer.status == SIGNED_IN, "the right password signs in")
    has_tried(service, "2001:db8:2::", in_all - 10)
    statuses = [spray(service, 1, f"2001:db8:2:{number:x}::1")[0].status for number in range(10)]
    answers = [
        attempt(service.client(address=address), victim.email, victim.password)
        for address in ("2001:db8:2:0::1", "2001:db8:2:28::1")  # a /64 that has guessed little, and a new one
    ]
    harm(sessions_of(service, victim), "each /64 of a /48 had its own guesses")
    assert statuses == [401] * 10
    for answer in answers:
        refused(answer, 429, NETWORK)
    assert attempt(service.client(address="2001:db8:3::1"), victim.email, victim.password).status == SIGNED_IN
    service.travel(seconds=61)
    has_tried(service, "2001:db8:2::", in_all - 3)
    for number in range(5):  # right ones are given back, in the wide network too
        address = f"2001:db8:2:{number:x}::2"
        one = victim if number == 0 else cheap_user(service)
        assert attempt(service.client(address=address), one.email, one.password).status == SIGNED_IN


@protects(
    NETWORK,
    refund=edit("throttle/__init__.py", "        refund(spent)\n        refuse(429, ", "        refuse(429, "),
)
def test_refusals_of_a_wider_network_do_not_count_for_a_narrower(service: Service) -> None:
    HashSpy(service, quick=True)
    user, minute = cheap_user(service), service.limits.login_failures_per_minute_and_network
    own = service.client(address="2001:db8:2:ffff::1")
    works(attempt(own, user.email, user.password).status == SIGNED_IN, "the right password signs in")
    has_tried(service, "2001:db8:2::", 5 * minute - 5)
    for number in range(5):
        spray(service, 1, f"2001:db8:2:{number:x}::1")
    service.travel(seconds=30)
    answers = spray(service, minute, own.address)
    before = sessions_of(service, user)
    service.travel(seconds=31)
    last = attempt(own, user.email, user.password)
    harm(sessions_of(service, user) == before, "strangers' failures blocked a network for longer than them")
    assert last.status == SIGNED_IN
    for answer in answers:
        refused(answer, 429, NETWORK)


@protects(NETWORK, clock=edit("throttle/__init__.py", "if use > since]", "if since < use <= at]"))
def test_a_process_whose_clock_is_behind_forgets_nothing(service: Service) -> None:
    HashSpy(service, quick=True)
    user, victim = cheap_user(service), cheap_user(service)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    service.travel(seconds=5)
    spray(service, service.limits.login_failures_per_minute_and_network)
    service.travel(seconds=-5)  # the next request goes to a process that does not know of these five seconds
    answer = attempt(service.client(address=SPRAYER), victim.email, victim.password)
    harm(sessions_of(service, victim), "clock skew of two processes doubled a network's guesses")
    refused(answer, 429, NETWORK)
    assert int(answer.header("Retry-After") or 0) <= 61
    service.travel(seconds=66)
    assert attempt(service.client(address=SPRAYER), victim.email, victim.password).status == SIGNED_IN


# --- throttle-no-lockout-abuse --------------------------------------------------------------------------------------


@protects(
    ABUSE,
    forged=edit("identity/devices.py", '        DEVICES.token_hash == bindparam("token_hash"),\n', ""),
    foreign=edit(
        "identity/devices.py", '        (USERS.email == bindparam("email")) | (USERS.id == bindparam("user")),\n', ""
    ),
)
def test_no_device_but_the_accounts_own_gets_further_guesses(service: Service) -> None:
    mallory, alice, spy = cheap_user(service), cheap_user(service), HashSpy(service)
    own = device_of(attempt(service.client(), mallory.email, mallory.password))
    hers = device_of(attempt(service.client(address="203.0.113.9"), alice.email, alice.password))
    keep_blocked(service, alice.email)
    spy.compared.clear()
    attempt(service.client(), alice.email, WRONG, hers)
    works(len(spy.compared) == 1, "a password from the owner's device is compared")
    spy.compared.clear()
    answers = [
        attempt(service.client(address=f"192.0.2.{number}"), alice.email, WRONG, device)
        for number, device in enumerate((secrets.token_urlsafe(32), own, hers[:-1], "x", "\u00e9"))
    ]
    harm(spy.compared, "an unknown device got further guesses")
    for answer in answers:
        refused(answer, 429, ROW)


@protects(
    ABUSE, own=edit("identity/login.py", "else (attempts.DEVICE, device.hex)", "else (attempts.DEVICE, password)")
)
def test_whoever_has_a_device_has_five_guesses_there_and_no_more(service: Service) -> None:
    alice = cheap_user(service)
    laptop = device_of(attempt(service.client(), alice.email, alice.password))
    answer = attempt(service.client(), alice.email, alice.password, laptop)
    works(answer.status == SIGNED_IN, "the owner signs in on a known device")
    works(device_of(answer) == laptop, "the device keeps its id")
    for number in range(most(service)):
        attempt(service.client(address=f"198.51.100.{number}"), alice.email, (WRONG, "another one")[number % 2], laptop)
    before = sessions_of(service, alice)
    answer = attempt(service.client(), alice.email, alice.password, laptop)
    harm(sessions_of(service, alice) > before, "a known device had a sixth guess")
    refused(answer, 429, ROW)
    [(kept,)] = service.rows("SELECT token_hash FROM auth_device")
    assert bytes(kept) == hashlib.sha256(laptop.encode()).digest()
    assert attempt(service.client(), alice.email, alice.password).status == SIGNED_IN  # elsewhere she is free


# --- default-throttle -----------------------------------------------------------------------------------------------

EVICT = "self._windows.popitem(last=False)"


@protects(CEILING, edge=edit("edge/__init__.py", "            or self._ceiling.refuse(environ)", "            or None"))
def test_one_network_has_one_request_limit_for_all_routes(service: Service) -> None:
    seen = service.adds_route("/new", mark="public")
    most = service.limits.requests_per_minute_and_address
    client = service.client(address=SPRAYER)
    listed, logout = {"session": ("/login", "/logout"), "jwt": ("/.well-known/jwks.json", "/auth/logout")}[AUTH]
    asked = [("GET", "/new", 200), ("GET", "/nowhere", 404), ("GET", logout, 405), ("GET", listed, 200)]
    statuses = []
    for number in range(most):
        method, path, _ = asked[number % len(asked)]
        client.cookies.clear()  # a visitor without cookies, and one with new ones each time, are the same network
        statuses.append(client.send(method, path).status)
    works(statuses == [asked[number % len(asked)][2] for number in range(most)], "up to the limit each is answered")
    seen.clear()
    answers = [client.send(method, path) for method, path, _ in asked]
    harm(seen, "a request above the limit was answered")
    for answer in answers:
        assert answer.status == 429
        assert 1 <= int(answer.header("Retry-After") or 0) <= 60
        assert answer.header("Cache-Control") == "no-store"
    refused(answers[0], 429, CEILING)
    assert [event for answer in answers[1:] for event in answer.events if event["event"] == "refused"] == []
    assert client.get("/healthz").status == 200
    assert service.client(address="203.0.113.5").get("/new").status == 200
    service.travel(seconds=61)
    assert client.get("/new").status == 200


def fill(service: Service, address: str) -> None:
    """Use up this address's requests of the minute."""
    for _ in range(service.limits.requests_per_minute_and_address):
        service.app.wsgi_app._ceiling.hit(address)  # type: ignore[attr-defined]


def enters(service: Service) -> list[str]:
    """Record the path of each request that the edge lets through to the app."""
    edge: Any = service.app.wsgi_app
    inside, entered = edge._app, list[str]()

    def note(environ: Any, start: Any) -> Any:
        entered.append(environ["PATH_INFO"])
        return inside(environ, start)

    edge._app = note
    return entered


@protects(CEILING, neighbour=edit("edge/ceiling.py", "if self._is_signed_in(environ, network):", "if network == '':"))
def test_a_signed_in_neighbour_of_a_flooder_is_answered(service: Service) -> None:
    seen = service.adds_route("/probe")
    service.adds_route("/public", mark="public")
    neighbour = service.client(service.user(), SPRAYER).login()
    flooder = service.client(address=SPRAYER)
    works((neighbour.get("/probe").status, flooder.get("/public").status) == (200, 200), "both are answered")
    seen.clear()
    fill(service, SPRAYER)
    answers = [client.get(path) for _ in range(20) for client, path in ((neighbour, "/probe"), (flooder, "/public"))]
    harm(len(seen) < 20, "a flooding client locked out a signed-in neighbour")
    assert [answer.status for answer in answers] == [200, 429] * 20
    refused(answers[1], 429, CEILING)
    assert [event for answer in answers[3::2] for event in answer.events if event["event"] == "refused"] == []
    most = service.limits.requests_per_minute_and_session
    [*_, last] = [neighbour.get("/probe") for _ in range(most - 20)]
    refused(last, 429, CEILING)


OPENED = "content = app.session_interface.open_session(app, app.request_class(environ, populate_request=False))"
UNSIGNED = {
    "session": edit("session/cookie.py", OPENED, 'content = {TOKEN: environ.get("HTTP_COOKIE")}'),
    "jwt": edit("jwt/bearer.py", "verify_access_token(_token_in(header)).session_id.hex", "header"),
}[AUTH]


@protects(
    CEILING,
    anonymous=edit(
        "edge/ceiling.py", "session = self._session_of(environ)", 'session = self._session_of(environ) or "-"'
    ),
    forged=UNSIGNED,
    ended=edit(
        "request/authentication.py",
        "elif (seconds := request.environ.get(OVER)) is not None:",
        "elif (seconds := None):",
    ),
)
def test_only_a_live_session_passes_the_limit_of_its_address(service: Service) -> None:
    seen, user = service.adds_route("/public", mark="public"), service.user()
    live, ended = (service.client(user, SPRAYER).login() for _ in range(2))
    anonymous, forged = service.client(address=SPRAYER), live.copy()
    anonymous.honest("POST", {}, None, None, None)  # holds a signed cookie where pages have forms
    forged.cookie = f"{str(live.cookie).rpartition('.')[0]}.{str(ended.cookie).rpartition('.')[2]}"
    works([one.get("/public").status for one in (live, ended, anonymous, forged)] == [200] * 4, "all are answered")
    assert live.end_others().status == live.DONE["end_others"]
    fill(service, SPRAYER)
    works(live.get("/public").status == 200, "a live session is answered above it")
    entered = enters(service)
    seen.clear()
    answers = [one.get("/public") for one in (anonymous, forged)]
    harm(entered, "a request without a signed session passed the edge")
    answer = ended.get("/public")
    harm(seen, "an ended session passed its address's rate limit")
    assert [one.status for one in answers] == [429, 429]
    refused(answers[0], 429, CEILING)
    refused(answer, 429, CEILING)
    assert 1 <= int(answer.header("Retry-After") or 0) <= 60


@protects(
    CEILING,
    each=edit("edge/ceiling.py", "self._count(session, self._per_session) is None", "session"),
    together=edit("edge/ceiling.py", 'self._count(f"{network} signed in", self._most * SIGNED_IN) is None', "session"),
)
def test_sessions_above_the_ceiling_of_their_address_are_counted(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower = {"requests_per_minute_and_address": 60, "requests_per_minute_and_session": 30}
    declare(service, monkeypatch, tmp_path / "exceptions.toml", "".join(limit(*one) for one in lower.items()))
    service.adds_route("/probe")
    clients = [service.client(service.user(), SPRAYER).login() for _ in range(21)]
    fill(service, SPRAYER)
    entered = enters(service)
    works([clients[0].get("/probe").status for _ in range(30)] == [200] * 30, "a session is answered up to its limit")
    answer = clients[0].get("/probe")
    harm(len(entered) > 30, "one session passed the edge without a limit")
    assert answer.status == 429
    works({one.get("/probe").status for one in clients[1:20] for _ in range(30)} == {200}, "so are twenty sessions")
    answer = clients[20].get("/probe")
    harm(len(entered) > 600, "the sessions of one address passed the edge without a limit")
    assert answer.status == 429
    assert service.client(service.user(), "203.0.113.5").login().get("/probe").status == 200


@protects(
    CEILING,
    evict=edit("edge/ceiling.py", EVICT, "self._windows = OrderedDict({key: window})"),
    bound=edit("edge/ceiling.py", f"                    {EVICT}\n", "                    pass\n"),
)
def test_a_flood_of_addresses_is_bounded_and_resets_no_limit(service: Service) -> None:
    service.adds_route("/public", mark="public")
    address = service.module("edge.address")
    ceiling, most = service.app.wsgi_app._ceiling, service.limits.requests_per_minute_and_address  # type: ignore[attr-defined]
    blocked = service.client(address=SPRAYER)
    works(blocked.get("/public").status == 200, "an address is answered")
    for _ in range(most):
        ceiling.hit(SPRAYER)
    works(blocked.get("/public").status == 429, "it is refused above its limit")
    freed, largest = [], 0
    for number in range(30_000):
        ceiling.refuse({address.CLIENT: address.parse(f"10.0.{number >> 8}.{number & 255}")})
        largest = max(largest, len(ceiling))
        if number % 5_000 == 0:
            freed += [number] if ceiling.hit(SPRAYER) is None else []
    harm(freed, "a flood from other addresses reset the limit of a blocked one")
    harm(largest > service.module("edge.ceiling").KEYS, "the counters grew without a bound")
    assert largest == service.module("edge.ceiling").KEYS
    assert blocked.get("/public").status == 429


# --- anonymous-cost-bounded -----------------------------------------------------------------------------------------

COUNTERS = "SELECT (SELECT count(*) FROM throttle_counter) + (SELECT count(*) FROM throttle_use)"


def counters(service: Service) -> int:
    """Return the number of counters, of failures and of uses."""
    return int(service.rows(COUNTERS)[0][0])


def smaller(service: Service, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module with its bounds divided by a thousand or more; the counting itself is unchanged."""
    throttle: Any = service.module("throttle")
    assert (throttle.MOST, throttle.EVERY) == (200_000, 1_000)
    for name, value in {"MOST": 30, "EVERY": 6}.items():
        monkeypatch.setattr(throttle, name, value)
    return throttle


@protects(
    COST,
    counters=edit("throttle/__init__.py", "max(over, above or over)", "over"),
    waiting=edit(
        "throttle/__init__.py",
        "func.coalesce(COUNTERS.blocked_until, COUNTERS.window_at)",
        "func.coalesce(COUNTERS.window_at)",
    ),
)
def test_a_flood_of_names_is_bounded_and_resets_no_wait(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    HashSpy(service, quick=True)
    owner, waiting = cheap_user(service), cheap_user(service)
    throttle = smaller(service, monkeypatch)
    guess(service, waiting.email, most(service))
    works(counters(service) < throttle.MOST, "there are few counters")
    for number in range(2 * throttle.MOST):  # each of which makes a counter of failures and two of uses
        attempt(service.client(address=f"203.0.{number}.1"), f"unknown-{number}@example.com", WRONG)
    harm(counters(service) > 2 * (throttle.MOST + throttle.EVERY), "a stranger fills the disk with counters")
    assert counters(service) >= 2 * throttle.MOST
    answer = attempt(service.client(), waiting.email, waiting.password)
    harm(sessions_of(service, waiting), "a flood of names ended the wait of another account")
    refused(answer, 429, ROW)
    assert attempt(service.client(), owner.email, owner.password).status == SIGNED_IN


@protects(COST, purge=edit("throttle/__init__.py", "            purge()\n", "            pass\n"))
def test_counters_that_are_over_go_by_themselves(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    HashSpy(service, quick=True)
    user, throttle = cheap_user(service), smaller(service, monkeypatch)
    for number in range(10):
        attempt(service.client(address=f"203.0.{number}.1"), f"unknown-{number}@example.com", WRONG)
    before = counters(service)
    works(before >= 20, "attempts are counted")
    service.travel(days=3)
    guess(service, user.email, most(service))
    for _ in range(throttle.EVERY):
        attempt(service.client(), user.email, user.password)
    harm(counters(service) > before, "expired counters were kept")
    assert len(service.rows("SELECT * FROM throttle_counter")) == 1
    refused(attempt(service.client(address="203.0.113.9"), user.email, user.password), 429, ROW)  # a live one is kept


@protects(COST, live=edit("throttle/__init__.py", "max(over, above or over)", "now()"))
def test_no_counter_goes_that_still_counts(service: Service) -> None:
    HashSpy(service, quick=True)
    user, victim = cheap_user(service), cheap_user(service)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    guess(service, victim.email, most(service) - 1)
    with service.app.app_context():
        service.module("throttle").purge()
    guess(service, victim.email, 1)
    answer = attempt(service.client(), victim.email, victim.password)
    harm(sessions_of(service, victim), "a purge forgot the failures of an account")
    refused(answer, 429, ROW)
    spray(service, service.limits.login_failures_per_minute_and_network)
    before = sessions_of(service, user)
    with service.app.app_context():
        service.module("throttle").purge()
    answer = attempt(service.client(address=SPRAYER), user.email, user.password)
    harm(sessions_of(service, user) > before, "a purge forgot the failures of a network")
    refused(answer, 429, NETWORK)


ATTEMPT = "    attempt = attempts.Attempt(network, rate, booking, known=device is not None)\n"


MATCHES = "        matched = attempts.matches(password, row, attempt)\n"


COMPARED = "        matched = state().passwords.verify(password, row.password_hash if row is not None else None)\n"


@protects(
    ROW,
    key=edit("identity/login.py", "(attempts.KIND, subject)", "(attempts.KIND, arrival.address)"),
    hash=(
        edit("identity/login.py", BOOK + ATTEMPT, ""),
        edit("identity/login.py", MATCHES, COMPARED + indent(BOOK + ATTEMPT, "    ")),
    ),
)
def test_no_hash_is_computed_for_an_account_that_has_to_wait(service: Service) -> None:
    forgetful, victim, other = (cheap_user(service) for _ in range(3))
    spy = HashSpy(service)
    guess(service, forgetful.email, most(service) - 1)
    answer = attempt(service.client(), forgetful.email, forgetful.password)
    works(answer.status == SIGNED_IN, "the right password is accepted after four wrong ones")
    works(len(spy.compared) == most(service), "each was compared")
    wrong = guess(service, victim.email, most(service))
    spy.compared.clear()
    answer = attempt(service.client(address="203.0.113.9"), victim.email, victim.password)
    harm(sessions_of(service, victim), "the sixth guess opened a session")
    harm(spy.compared, "a hash was computed for an account that has to wait")
    refused(answer, 429, ROW)
    assert 0 <= service.limits.login_wait_minutes * 60 - int(answer.header("Retry-After") or 0) < 10
    for one in wrong:
        refused(one, 401, "login-uniform-failure")
    assert attempt(service.client(), other.email, other.password).status == SIGNED_IN
    service.travel(minutes=service.limits.login_wait_minutes, seconds=1)
    assert attempt(service.client(), victim.email, victim.password).status == SIGNED_IN


AFTERWARDS = (
    edit("identity/login.py", SUBJECT + SPENT, SUBJECT),
    edit("identity/login.py", RATE + BOOK + ATTEMPT, ""),
    edit("identity/login.py", MATCHES, COMPARED + indent(SPENT + RATE + BOOK + ATTEMPT, "    ")),
)


@protects(
    NETWORK,
    minute=edit("identity/attempts.py", PER_MINUTE, ""),
    book=AFTERWARDS,
)
def test_no_hash_is_computed_for_a_network_that_has_to_wait(service: Service) -> None:
    most = service.limits.login_failures_per_minute_and_network
    office, victim, spy = [cheap_user(service) for _ in range(most + 2)], cheap_user(service), HashSpy(service)
    signed_in = [attempt(service.client(address="203.0.113.5"), one.email, one.password).status for one in office]
    works(signed_in == [SIGNED_IN] * (most + 2), "twelve users of one office sign in within a minute")
    service.stop_time()
    wrong = spray(service, most)
    spy.compared.clear()
    answers = [
        attempt(service.client(address=SPRAYER), victim.email, victim.password),
        attempt(
            service.client(address=SPRAYER),
            victim.email,
            victim.password,
            headers={"X-Forwarded-For": "203.0.113.77", "Forwarded": "for=203.0.113.77"},
        ),
    ]
    harm(sessions_of(service, victim), "the eleventh guess from one network opened a session")
    harm(spy.compared, "a hash was computed for a network that has to wait")
    for answer in wrong:
        refused(answer, 401, "login-uniform-failure")
    for answer in answers:
        refused(answer, 429, NETWORK)
        assert 50 <= int(answer.header("Retry-After") or 0) <= 61
    assert attempt(service.client(address="203.0.113.5"), victim.email, victim.password).status == SIGNED_IN
    service.travel(seconds=61)
    assert attempt(service.client(address=SPRAYER), victim.email, victim.password).status == SIGNED_IN


@protects(
    ABUSE,
    device=edit("identity/login.py", FIND, "None"),
    reset=edit("identity/recovery.py", "    attempts.forgive(link.email)\n", ""),
)
def test_a_password_reset_ends_the_wait_of_an_account(service: Service) -> None:
    alice, chosen = cheap_user(service), "another correct horse battery"
    laptop, phone = service.client(), service.client(address="203.0.113.9")
    first = attempt(laptop, alice.email, alice.password)
    works(first.status == SIGNED_IN, "the owner signs in on a laptop")
    works(attempt(phone, alice.email, alice.password).status == SIGNED_IN, "the owner signs in on another device")
    row = service.rows("SELECT * FROM auth_user")
    keep_blocked(service, alice.email)
    assert service.rows("SELECT * FROM auth_user") == row  # it waits; nothing has become of the account itself
    before = sessions_of(service, alice)
    known = attempt(service.client(), alice.email, alice.password, device_of(first))
    harm(sessions_of(service, alice) == before, "a stranger locked the owner out on a known device")
    refused(attempt(service.client(address="203.0.113.8"), alice.email, alice.password), 429, ROW)
    asks_for_reset(service.client(address="203.0.113.8"), alice.email)
    token = mails.token_for(service, alice.email, "reset")
    chooses_by_mail(service.client(address="203.0.113.8"), token, chosen)
    before = sessions_of(service, alice)
    new = attempt(service.client(address="203.0.113.8"), alice.email, chosen)
    harm(sessions_of(service, alice) == before, "a stranger locked the owner out after a password reset")
    assert (known.status, new.status) == (SIGNED_IN, SIGNED_IN)


@pytest.mark.parametrize("failure", ["does not answer", "is too slow"])
@protects(
    CLOSED,
    **sabotages(core.test_while_failures_cannot_be_counted_no_password_is_looked_at, CLOSED, "open"),
    order=AFTERWARDS,
)
def test_no_password_is_compared_while_counting_fails(service: Service, failure: str) -> None:
    from sqlalchemy.exc import TimeoutError as PoolTimeout

    service.setting("BASTION_REGISTRATION", "open")
    service.adds_route("/public", mark="public")
    user, spy = cheap_user(service), HashSpy(service)
    outage = Outage(service, "throttle_", error=PoolTimeout("waited too long") if failure == "is too slow" else None)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    signed_in, before = service.client(user).login(), sessions_of(service, user)
    for client in (visitors := [service.client(address=f"198.51.100.{number}") for number in range(most(service) + 1)]):
        client.honest("POST", {}, None, None, None)  # the login page is open
    signed_in.honest("POST", {}, None, None, None)
    spy.compared.clear()
    outage.on = True
    answers = [attempt(client, user.email, WRONG) for client in visitors[1:]]
    answers += [attempt(visitors[0], user.email, user.password), step_up(signed_in, user.password)]
    answers += [asks_for_reset(visitors[0], user.email), registers(visitors[0], "new@example.com")]
    works(service.client().get("/public").status == 200, "a route without a counter still answers")
    outage.on = False
    harm(spy.compared, "the service checked passwords without counting them")
    harm(sessions_of(service, user) - before, "a session was opened")
    assert mails.waiting(service) == []
    for answer in answers:
        assert answer.status == 503
        assert int(answer.header("Retry-After") or 0) > 0
        assert [event["level"] for event in answer.events if event["event"] == "database_unavailable"] == ["error"]
    assert outage.met == len(answers)
    assert attempt(service.client(), user.email, user.password).status == SIGNED_IN  # without a restart


@protects(
    "throttle-shared-between-workers",
    **sabotages(core.test_two_processes_count_together, "throttle-shared-between-workers", "memory"),
)
def test_a_new_process_shares_the_counters_of_the_others(service: Service) -> None:
    forgetful, victim = cheap_user(service), cheap_user(service)
    HashSpy(service, quick=True)
    here = most(service) - 2
    guess(service, forgetful.email, here)
    guess(service, victim.email, here)
    server = service.real_server()  # another process, which has counted nothing yet
    assert through(service, server, forgetful.email, WRONG, 1) == 401
    works(through(service, server, forgetful.email, forgetful.password, 2) == SIGNED_IN, "the server accepts a login")
    elsewhere = [through(service, server, victim.email, WRONG, number) for number in (3, 4)]
    answer = attempt(service.client(address="203.0.113.9"), victim.email, victim.password)
    harm(sessions_of(service, victim), "each process allowed its own five guesses")
    assert elsewhere == [401, 401]
    refused(answer, 429, ROW)
    assert through(service, server, victim.email, victim.password, 5) == 429
    service.restart()
    refused(attempt(service.client(address="203.0.113.10"), victim.email, victim.password), 429, ROW)


LOOKS = [200, 200, 404, 200 if AUTH == "session" else 405, 400]


TIMES = 3


@protects(
    COST, audit=edit("audit/__init__.py", "    if not has_request_context() or not (row", "    if True or not (row")
)
def test_to_be_refused_again_and_again_is_one_row_a_minute(service: Service) -> None:
    service.adds_route("/probe", methods=("POST",))
    service.adds_route("/open", mark="public")
    user, _ = cheap_user(service), HashSpy(service, quick=True)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    networks = [f"203.0.{number}.1" for number in range(5)]
    service.travel(seconds=61 - service.now().second)  # a minute begins
    before = everything(service)
    for number in range(TIMES):
        for visitor in (service.client(address=network) for network in networks):
            attempt(visitor, f"unknown-{number}@example.com", WRONG)
            visitor.post("/probe", headers=foreign)
            statuses = [visitor.get(path).status for path in ("/open", "/healthz", "/none-of-this-name", PATH)]
            statuses.append(visitor.get("/open", headers={"Host": "evil.example"}).status)
            assert statuses == LOOKS
    after = everything(service)
    events = service.rows("SELECT kind, address, times FROM audit_event WHERE outcome = 'failure'")
    harm(len(events) > 2 * len(networks), "each refusal of a stranger wrote an audit row")
    kinds = ("cross_site.refused", "login.failure")
    assert sorted(map(tuple, events)) == sorted((kind, network, TIMES) for kind in kinds for network in networks)
    assert {*changed(before, after)} == {"audit_event", "throttle_counter", "throttle_use"}
    assert len(after["audit_event"]) == len(before["audit_event"]) + len(events)


# --- route-limit-declared -------------------------------------------------------------------------------------------

LIMITS = "request/limits.py"


@protects(
    "route-limit-declared",
    network=edit(LIMITS, "                spend_for_network(kind, ROW, allowance)\n", "                pass\n"),
    shared=insert(
        LIMITS, after="    def limit(view: V) -> V:\n", new='        kind = __import__("uuid").uuid4().hex\n\n'
    ),
)
def test_clients_without_a_session_are_limited_by_network(service: Service) -> None:
    made: list[str] = []

    def search() -> dict[str, int]:
        made.append("search")
        return {"made": len(made)}

    limited = service.module().limited("search", 2)
    for path in ("/one", "/two"):
        service.adds_route(path, mark="public", view=limited(search))
    service.adds_route("/kept", view=limited(search))
    client = service.client(address="2001:db8::1")
    service.stop_time()
    works(client.get("/one").status == 200, "a visitor searches")
    for _ in range(3):
        client.get("/kept")  # refused by the access rule, and not counted
    works(client.get("/two").status == 200, "a visitor uses another view of the same limit")
    for path in ("/one", "/two"):
        answer = service.client(address="2001:db8::2").get(path)
        harm(made[2:], f"a visitor called {path} more often than its limit, from an address of the same network")
        refused(answer, 429, "route-limit-declared")
    assert service.client(address="2001:db8:0:1::1").get("/one").status == 200


@pytest.mark.parametrize(("count", "hours"), [(0, 1), (1001, 1), (1, 25)])
def test_a_limit_out_of_range_is_an_error(service: Service, count: int, hours: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000 times in at most a day"):
        service.module().limited("report", count, per=timedelta(hours=hours))
