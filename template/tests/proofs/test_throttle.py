"""Proofs of throttle.py: an account gives nobody more than five guesses, a network ten, and no session floods."""

from __future__ import annotations

import secrets
from textwrap import indent
from typing import TYPE_CHECKING

import pytest

from . import mails
from .databases import changed, everything
from .harness import Edit, edit, harm, protects, refused, works
from .logins import (
    PATH,
    SIGNED_IN,
    WRONG,
    HashSpy,
    Outage,
    asks_for_reset,
    attempt,
    cheap_user,
    chooses_by_mail,
    device_of,
    registers,
    sessions_of,
    step_up,
)
from .service import AUTH
from .wire import HOST

if TYPE_CHECKING:
    from .real_server import RealServer
    from .running import Service
    from .wire import Response


ROW = "login-throttle-account"
NETWORK = "login-throttle-ip"
BOOK = '    booking = throttle.book(*counter, "login-throttle-account")\n'
RATE = '    rate = throttle.spend(f"{counter[0]}-rate", subject, "login-throttle-account", RATE)\n'
ATTEMPT = "    attempt = _Attempt(network, rate, booking, known=device is not None)\n"
MATCHES = "        matched = _matches(password, row, attempt)\n"
COMPARED = "        matched = state().passwords.verify(password, row.password_hash if row is not None else None)\n"


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
    key=edit("identity/login.py", "counter = (KIND, subject)", "counter = (KIND, arrival.address)"),
    hash=(
        edit("identity/login.py", BOOK + ATTEMPT, ""),
        edit("identity/login.py", MATCHES, COMPARED + indent(BOOK + ATTEMPT, "    ")),
    ),
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


# --- login-throttle-ip ----------------------------------------------------------------------------------------------

PER_MINUTE = "        throttle.Allowance(limits.login_failures_per_minute_and_network, timedelta(minutes=1)),\n"
SPENT = "    network = _spend()\n"
SUBJECT = "    subject = normalised(identifier)\n"
AFTERWARDS = (
    edit("identity/login.py", SUBJECT + SPENT, SUBJECT),
    edit("identity/login.py", RATE + BOOK + ATTEMPT, ""),
    edit("identity/login.py", MATCHES, COMPARED + indent(SPENT + RATE + BOOK + ATTEMPT, "    ")),
)
SPRAYER = "198.51.100.7"


def spray(service: Service, times: int, address: str = SPRAYER) -> list[Response]:
    """Wrong passwords of as many accounts, from one address: no account's counter is met."""
    number = secrets.token_hex(3)
    client = service.client(address=address)
    return [attempt(client, f"user-{number}-{one}@example.com", WRONG) for one in range(times)]


@protects(
    NETWORK,
    minute=edit("identity/login.py", PER_MINUTE, ""),
    book=AFTERWARDS,
)
def test_a_network_that_tries_one_account_after_the_other_is_stopped_before_any_hash(service: Service) -> None:
    most = service.limits.login_failures_per_minute_and_network
    office, victim, spy = [cheap_user(service) for _ in range(most + 2)], cheap_user(service), HashSpy(service)
    signed_in = [attempt(service.client(address="203.0.113.5"), one.email, one.password).status for one in office]
    works(signed_in == [SIGNED_IN] * (most + 2), "twelve people of one office sign in within a minute")
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
    harm(sessions_of(service, victim), "the eleventh password of one network was looked at")
    harm(spy.compared, "a hash was computed for a network that has to wait")
    for answer in wrong:
        refused(answer, 401, "login-uniform-failure")
    for answer in answers:
        refused(answer, 429, NETWORK)
        assert 50 <= int(answer.header("Retry-After") or 0) <= 61
    assert attempt(service.client(address="203.0.113.5"), victim.email, victim.password).status == SIGNED_IN
    service.travel(seconds=61)
    assert attempt(service.client(address=SPRAYER), victim.email, victim.password).status == SIGNED_IN


# --- throttle-no-lockout-abuse --------------------------------------------------------------------------------------

ABUSE = "throttle-no-lockout-abuse"
FIND = "devices.find(arrival.device_token, subject) if arrival.device_token else None"


def keep_blocked(service: Service, email: str) -> None:
    """As a stranger does it: guess, wait, and guess again, so that the account waits for longer each time."""
    guess(service, email, most(service))
    service.travel(minutes=service.limits.login_wait_minutes, seconds=1)
    guess(service, email, most(service))


@protects(
    ABUSE,
    device=edit("identity/login.py", FIND, "None"),
    reset=edit("identity/recovery.py", "    login.forgive(link.email)\n", ""),
)
def test_a_stranger_who_keeps_an_account_waiting_keeps_its_owner_out_of_nothing(service: Service) -> None:
    alice, chosen = cheap_user(service), "another correct horse battery"
    laptop, phone = service.client(), service.client(address="203.0.113.9")
    first = attempt(laptop, alice.email, alice.password)
    works(first.status == SIGNED_IN, "she signs in on her laptop")
    works(attempt(phone, alice.email, alice.password).status == SIGNED_IN, "and on another device")
    row = service.rows("SELECT * FROM auth_user")
    keep_blocked(service, alice.email)
    assert service.rows("SELECT * FROM auth_user") == row  # it waits; nothing has become of the account itself
    before = sessions_of(service, alice)
    known = attempt(service.client(), alice.email, alice.password, device_of(first))
    harm(sessions_of(service, alice) == before, "a stranger kept her out on a device that is known")
    refused(attempt(service.client(address="203.0.113.8"), alice.email, alice.password), 429, ROW)
    asks_for_reset(service.client(address="203.0.113.8"), alice.email)
    token = mails.token_for(service, alice.email, "reset")
    chooses_by_mail(service.client(address="203.0.113.8"), token, chosen)
    before = sessions_of(service, alice)
    new = attempt(service.client(address="203.0.113.8"), alice.email, chosen)
    harm(sessions_of(service, alice) == before, "a stranger kept her out after she chose another password")
    assert (known.status, new.status) == (SIGNED_IN, SIGNED_IN)


# --- throttle-fails-closed ------------------------------------------------------------------------------------------

CLOSED = "throttle-fails-closed"


def unlimited(call: str, instead: str, after: str = "") -> Edit:
    """Take a store that does not answer for one that knows of no failure."""
    old = f"    {call}\n"
    return edit(
        "identity/login.py",
        after + old,
        f"{after}    try:\n    {old}    except Exception:\n        {call.partition(' ')[0]} = {instead}\n",
    )


@pytest.mark.parametrize("failure", ["does not answer", "is too slow"])
@protects(
    CLOSED,
    open=(
        unlimited(SPENT.strip(), 'throttle.Spent(b"", 0.0)', SUBJECT),
        unlimited(RATE.strip(), 'throttle.Spent(b"", 0.0)'),
        unlimited(BOOK.strip(), 'throttle.Booking(b"", 0, throttle.NOTHING)'),
    ),
    order=AFTERWARDS,
)
def test_while_failures_cannot_be_counted_no_password_is_looked_at(service: Service, failure: str) -> None:
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
    works(service.client().get("/public").status == 200, "what needs no counter goes on")
    outage.on = False
    harm(spy.compared, "passwords were looked at that nobody counted")
    harm(sessions_of(service, user) - before, "somebody was signed in")
    assert mails.waiting(service) == []
    for answer in answers:
        assert answer.status == 503
        assert int(answer.header("Retry-After") or 0) > 0
        assert [event["level"] for event in answer.events if event["event"] == "database_unavailable"] == ["error"]
    assert outage.met == len(answers)
    assert attempt(service.client(), user.email, user.password).status == SIGNED_IN  # without a restart


# --- default-throttle -----------------------------------------------------------------------------------------------

CEILING = "default-throttle"


@protects(CEILING, session=edit("throttle.py", "wait = ceiling.hit(session_id.hex)", "wait = None"))
def test_a_session_asks_so_often_a_minute_and_no_more(service: Service) -> None:
    seen = service.adds_route("/probe")
    most = service.limits.requests_per_minute_and_session
    user = service.user()
    first, second = service.client(user).login(), service.client(user).login()
    works([first.get("/probe").status for _ in range(most)] == [200] * most, "so many are answered")
    seen.clear()
    moved = first.copy()
    moved.address = "203.0.113.77"
    answers = [first.get("/probe"), moved.get("/probe")]
    harm(seen, "one more was answered")
    for answer in answers:
        refused(answer, 429, CEILING)
        assert 1 <= int(answer.header("Retry-After") or 0) <= 60
    [told] = [event for event in answers[0].events if event["event"] == "refused"]
    assert told["user_id"] == str(user.id)  # whose session it is that somebody has
    assert second.get("/probe").status == 200
    service.travel(seconds=61)
    assert first.get("/probe").status == 200


@protects(
    "throttle-shared-between-workers",
    memory=edit(
        "throttle.py",
        "hmac.new(key.encode(), what, ",
        "hmac.new(str((key, __import__('os').getpid())).encode(), what, ",
    ),
)
def test_two_processes_count_together_and_a_new_one_counts_on(service: Service) -> None:
    forgetful, victim = cheap_user(service), cheap_user(service)
    HashSpy(service, quick=True)
    here = most(service) - 2
    guess(service, forgetful.email, here)
    guess(service, victim.email, here)
    server = service.real_server()  # another process, which has counted nothing yet
    assert through(service, server, forgetful.email, WRONG, 1) == 401
    works(through(service, server, forgetful.email, forgetful.password, 2) == SIGNED_IN, "the other process signs in")
    elsewhere = [through(service, server, victim.email, WRONG, number) for number in (3, 4)]
    answer = attempt(service.client(address="203.0.113.9"), victim.email, victim.password)
    harm(sessions_of(service, victim), "each process gave five guesses of its own")
    assert elsewhere == [401, 401]
    refused(answer, 429, ROW)
    assert through(service, server, victim.email, victim.password, 5) == 429
    service.restart()
    refused(attempt(service.client(address="203.0.113.10"), victim.email, victim.password), 429, ROW)


def through(service: Service, server: RealServer, identifier: str, password: str, number: int) -> int:
    """The status of a login that goes to this server, from an address of its own."""
    client = service.client(address=f"198.51.100.{100 + number}")
    headers, body = client.honest("POST", {"identifier": identifier, "password": password}, None, None, None)
    headers |= {
        "Host": HOST,
        "X-Forwarded-For": client.address,
        "X-Forwarded-Proto": "https",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    if client.cookies:
        headers["Cookie"] = "; ".join(f"{cookie}={value}" for cookie, value in client.cookies.items())
    lines = [f"POST {PATH} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items()), "", ""]
    answer = service.raw(server, "\r\n".join(lines).encode() + body)
    return int(answer.split(b" ", 2)[1])


# --- anonymous-cost-bounded -----------------------------------------------------------------------------------------

COST = "anonymous-cost-bounded"
LOOKS = {"session": [303, 200, 404, 200, 400], "jwt": [404, 200, 404, 405, 400]}[AUTH]
TIMES = 3


@protects(COST, audit=edit("audit.py", "    if not has_request_context() or not (row", "    if True or not (row"))
def test_to_be_refused_is_one_row_a_minute_and_to_look_around_is_none(service: Service) -> None:
    service.adds_route("/probe", methods=("POST",))
    user, _ = cheap_user(service), HashSpy(service, quick=True)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    networks = [f"203.0.{number}.1" for number in range(5)]
    service.travel(seconds=61 - service.now().second)  # a minute begins
    before = everything(service)
    for number in range(TIMES):
        for visitor in (service.client(address=network) for network in networks):
            attempt(visitor, f"nobody-{number}@example.com", WRONG)
            visitor.post("/probe", headers=foreign)
            statuses = [visitor.get(path).status for path in ("/", "/healthz", "/missing", PATH)]
            statuses.append(visitor.get("/", headers={"Host": "evil.example"}).status)
            assert statuses == LOOKS
    after = everything(service)
    events = service.rows("SELECT kind, address, times FROM audit_event WHERE outcome = 'failure'")
    harm(len(events) > 2 * len(networks), "each refusal of a stranger is a row that is kept for a year")
    kinds = ("cross_site.refused", "login.failure")
    assert sorted(map(tuple, events)) == sorted((kind, network, TIMES) for kind in kinds for network in networks)
    assert {*changed(before, after)} == {"audit_event", "throttle_counter", "throttle_use"}
    assert len(after["audit_event"]) == len(before["audit_event"]) + len(events)
