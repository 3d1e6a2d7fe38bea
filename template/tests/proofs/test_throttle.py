"""Proofs of throttle/: five guesses per account, ten failures per network, and a rate limit per session."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from .databases import changed, everything
from .harness import Edit, edit, harm, protects, refused, works
from .logins import (
    PATH,
    SIGNED_IN,
    WRONG,
    HashSpy,
    Outage,
    attempt,
    cheap_user,
    device_of,
    sessions_of,
)
from .wire import HOST

if TYPE_CHECKING:
    from .real_server import RealServer
    from .running import Service
    from .service import Client
    from .wire import Response


ROW = "login-throttle-account"
NETWORK = "login-throttle-ip"
BOOK = '    booking = throttle.book(*counter, "login-throttle-account")\n'
RATE = '    rate = throttle.spend(f"{counter[0]}-rate", subject, "login-throttle-account", attempts.RATE)\n'


def most(service: Service) -> int:
    """How many failures an account is given: 5, or what the team has declared."""
    return int(service.limits.login_failures)


def guess(service: Service, identifier: str, times: int, password: str = WRONG) -> list[Response]:
    """Wrong passwords, each from another address, so that no limit of an address is met first."""
    return [
        attempt(service.client(address=f"198.51.100.{number}"), identifier, password) for number in range(1, times + 1)
    ]


@protects(ROW, key=edit("identity/login.py", "(attempts.KIND, subject)", "(attempts.KIND, arrival.address)"))
def test_after_five_wrong_passwords_even_the_right_one_opens_nothing(service: Service) -> None:
    forgetful, victim = cheap_user(service), cheap_user(service)
    HashSpy(service, quick=True)
    guess(service, forgetful.email, most(service) - 1)
    answer = attempt(service.client(), forgetful.email, forgetful.password)
    works(answer.status == SIGNED_IN, "the right password is accepted after four wrong ones")
    wrong = guess(service, victim.email, most(service))
    answer = attempt(service.client(address="203.0.113.9"), victim.email, victim.password)
    harm(sessions_of(service, victim), "the sixth guess opened a session")
    refused(answer, 429, ROW)
    for one in wrong:
        refused(one, 401, "login-uniform-failure")
    service.travel(minutes=service.limits.login_wait_minutes, seconds=1)
    assert attempt(service.client(), victim.email, victim.password).status == SIGNED_IN


# --- login-throttle-ip ----------------------------------------------------------------------------------------------

PER_MINUTE = "        throttle.Allowance(limits.login_failures_per_minute_and_network, timedelta(minutes=1)),\n"
SPENT = "    network = attempts.spend()\n"
SUBJECT = "    subject = normalised(identifier)\n"
SPRAYER = "198.51.100.7"


def spray(service: Service, times: int, address: str = SPRAYER) -> list[Response]:
    """Wrong passwords of as many accounts, from one address: no account's counter is met."""
    number = secrets.token_hex(3)
    client = service.client(address=address)
    return [attempt(client, f"user-{number}-{one}@example.com", WRONG) for one in range(times)]


@protects(NETWORK, minute=edit("identity/attempts.py", PER_MINUTE, ""))
def test_a_network_that_tries_one_account_after_the_other_is_stopped(service: Service) -> None:
    most = service.limits.login_failures_per_minute_and_network
    victim, _ = cheap_user(service), HashSpy(service, quick=True)
    elsewhere = service.client(address="203.0.113.5")
    works(attempt(elsewhere, victim.email, victim.password).status == SIGNED_IN, "the right password is accepted")
    before = sessions_of(service, victim)
    service.stop_time()
    wrong = spray(service, most)
    answer = attempt(service.client(address=SPRAYER), victim.email, victim.password)
    harm(sessions_of(service, victim) != before, "the eleventh guess from one network opened a session")
    refused(answer, 429, NETWORK)
    assert 50 <= int(answer.header("Retry-After") or 0) <= 61
    for one in wrong:
        refused(one, 401, "login-uniform-failure")
    assert attempt(service.client(address="203.0.113.6"), victim.email, victim.password).status == SIGNED_IN


# --- route-limit-declared -------------------------------------------------------------------------------------------


@protects("route-limit-declared", user=edit("request/limits.py", "current_user.is_authenticated", "False"))
def test_a_user_is_limited_at_a_route_of_the_team(service: Service) -> None:
    made: list[str] = []

    def report() -> dict[str, int]:
        made.append("report")
        return {"made": len(made)}

    service.at_least(sessions_per_account=3)
    service.adds_route("/report", view=service.module().limited("report", 2)(report))
    user = service.user()
    first, second, third = (service.client(user, f"198.51.100.{number}").login() for number in range(1, 4))
    service.stop_time()
    works([first.get("/report").status, second.get("/report").status] == [200, 200], "two reports are made")
    answer = third.get("/report")
    harm(made[2:], "a user called a view more often than its limit, from another address")
    refused(answer, 429, "route-limit-declared")
    assert answer.header("Retry-After") == "61"
    assert service.client(service.user(), "198.51.100.1").login().get("/report").status == 200
    service.travel(minutes=1, seconds=1)
    assert third.get("/report").status == 200


# --- throttle-no-lockout-abuse --------------------------------------------------------------------------------------

ABUSE = "throttle-no-lockout-abuse"
FIND = "devices.find(arrival.device_token, subject) if arrival.device_token else None"


def keep_blocked(service: Service, email: str) -> None:
    """As a stranger does it: guess, wait, and guess again, so that the account waits for longer each time."""
    guess(service, email, most(service))
    service.travel(minutes=service.limits.login_wait_minutes, seconds=1)
    guess(service, email, most(service))


@protects(ABUSE, device=edit("identity/login.py", FIND, "None"))
def test_a_stranger_who_keeps_an_account_waiting_keeps_its_owner_out_of_nothing(service: Service) -> None:
    alice, _ = cheap_user(service), HashSpy(service, quick=True)
    first = attempt(service.client(), alice.email, alice.password)
    works(first.status == SIGNED_IN, "the owner signs in on a laptop")
    keep_blocked(service, alice.email)
    before = sessions_of(service, alice)
    known = attempt(service.client(), alice.email, alice.password, device_of(first))
    harm(sessions_of(service, alice) == before, "a stranger locked the owner out on a known device")
    assert known.status == SIGNED_IN
    refused(attempt(service.client(address="203.0.113.8"), alice.email, alice.password), 429, ROW)


# --- throttle-fails-closed ------------------------------------------------------------------------------------------

CLOSED = "throttle-fails-closed"


def unlimited(call: str, instead: str, after: str = "") -> Edit:
    """Take a store that does not answer for one that knows of no failure."""
    old = f"    {call}\n"
    new = f"    try:\n    {old}    except Exception:\n        {call.partition(' ')[0]} = {instead}\n"
    return edit("identity/login.py", after + old, after + new)


@protects(
    CLOSED,
    open=(
        unlimited(SPENT.strip(), 'throttle.Spent(b"", 0.0)', SUBJECT),
        unlimited(RATE.strip(), 'throttle.Spent(b"", 0.0)'),
        unlimited(BOOK.strip(), 'throttle.Booking(b"", 0, throttle.NOTHING)'),
    ),
)
def test_while_failures_cannot_be_counted_no_password_is_looked_at(service: Service) -> None:
    service.adds_route("/public", mark="public")
    user, spy, outage = cheap_user(service), HashSpy(service, quick=True), Outage(service, "throttle_")
    visitor = service.client()
    works(attempt(visitor, user.email, user.password).status == SIGNED_IN, "the right password is accepted")
    guesser = service.client(address="198.51.100.1")
    guesser.honest("POST", {}, None, None, None)  # the login page is open
    before = sessions_of(service, user)
    spy.compared.clear()
    outage.on = True
    answers = [attempt(guesser, user.email, WRONG), attempt(guesser, user.email, user.password)]
    works(service.client().get("/public").status == 200, "a route without a counter still answers")
    outage.on = False
    harm(spy.compared, "the service checked passwords without counting them")
    assert sessions_of(service, user) == before
    assert [(one.status, int(one.header("Retry-After") or 0) > 0) for one in answers] == [(503, True)] * 2


# --- default-throttle -----------------------------------------------------------------------------------------------

CEILING = "default-throttle"


@protects(CEILING, session=edit("throttle/__init__.py", "wait = ceiling.hit(session_id.hex)", "wait = None"))
def test_a_session_asks_so_often_a_minute_and_no_more(service: Service) -> None:
    service.at_least(sessions_per_account=2)
    seen = service.adds_route("/probe")
    most = service.limits.requests_per_minute_and_session
    user = service.user()
    first, second = service.client(user).login(), service.client(user).login()
    works([first.get("/probe").status for _ in range(most)] == [200] * most, "requests up to the limit are answered")
    seen.clear()
    moved = first.copy()
    moved.address = "203.0.113.77"
    answers = [first.get("/probe"), moved.get("/probe")]
    harm(seen, "a request above the limit was answered")
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
        "throttle/__init__.py",
        "hmac.new(key, what, ",
        "hmac.new(str((key, __import__('os').getpid())).encode(), what, ",
    ),
)
def test_two_processes_count_together(service: Service) -> None:
    forgetful, victim = cheap_user(service), cheap_user(service)
    HashSpy(service, quick=True)
    server = service.real_server()  # another process
    works(through(service, server, forgetful.email, forgetful.password, 2) == SIGNED_IN, "the server accepts a login")
    elsewhere = [through(service, server, victim.email, WRONG, number) for number in (3, 4)]
    guess(service, victim.email, most(service) - 2)
    answer = attempt(service.client(address="203.0.113.9"), victim.email, victim.password)
    harm(sessions_of(service, victim), "each process allowed its own five guesses")
    assert elsewhere == [401, 401]
    refused(answer, 429, ROW)


def through(service: Service, server: RealServer, identifier: str, password: str, number: int) -> int:
    """The status of a login that goes to this server, from an address of its own."""
    client = service.client(address=f"198.51.100.{100 + number}")
    return int(service.raw(server, login_as_sent(client, identifier, password)).split(b" ", 2)[1])


def login_as_sent(client: Client, identifier: str, password: str, agent: str = "proof") -> bytes:
    """The bytes of a login that this client sends through the proxy."""
    headers, body = client.honest("POST", {"identifier": identifier, "password": password}, None, None, None)
    headers |= {"Host": HOST, "User-Agent": agent, "X-Forwarded-For": client.address, "X-Forwarded-Proto": "https"}
    headers |= {"Content-Length": str(len(body)), "Connection": "close"}
    if client.cookies:
        headers["Cookie"] = "; ".join(f"{cookie}={value}" for cookie, value in client.cookies.items())
    lines = [f"POST {PATH} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


# --- anonymous-cost-bounded -----------------------------------------------------------------------------------------

COST = "anonymous-cost-bounded"


@protects(
    COST, audit=edit("audit/__init__.py", "    if not has_request_context() or not (row", "    if True or not (row")
)
def test_refusals_share_one_audit_row_a_minute_and_browsing_writes_none(service: Service) -> None:
    service.adds_route("/probe", methods=("POST",))
    service.adds_route("/open", mark="public")
    stranger, foreign = service.client(), {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    works(stranger.get("/open").status == 200, "a public page opens")
    service.travel(seconds=61 - service.now().second)  # a minute begins
    before = everything(service)
    for _ in range(3):
        stranger.post("/probe", headers=foreign)
        looks = [stranger.get(path).status for path in ("/open", "/healthz", "/none-of-this-name")]
        assert looks == [200, 200, 404]
    after = everything(service)
    harm(len(after["audit_event"]) > len(before["audit_event"]) + 1, "each refusal wrote its own audit row")
    assert {*changed(before, after)} == {"audit_event"}
    assert service.rows("SELECT kind, times FROM audit_event WHERE outcome = 'failure'") == [("cross_site.refused", 3)]
