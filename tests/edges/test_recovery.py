"""Edges of the proofs in test_recovery.py: further attacks on the same protections."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

from .. import test_recovery as core
from ..accounts import (
    CHOSEN,
    DONE,
    OTHER,
    Hashing,
    administrator,
    live_sessions,
    lives,
    nothing_more_was_read,
    signs_in,
)
from ..harness import at_once, edit, harm, protects, refused, works
from ..logins import UNKNOWN, attempt, cheap_user, device_of, seen_by_client, stored
from ..mails import sent, subjects, text, token_for, tokens_for, waiting
from ..service import AUTH
from ..test_recovery import ASKS, ENQUEUES, FILE, LINKS, SINGLE_USE, UNKNOWN_TO_US, link_for
from .core import sabotages
from .statements import Statements
from .steps import asks_for_reset
from .test_throttle import WIDE

if TYPE_CHECKING:
    import pytest

    from ..running import Service, User
    from ..service import Client
    from ..wire import Response


THROTTLE = "reset-throttle"


def asked(service: Service, statements: Statements, email: str, number: int) -> tuple[Response, int]:
    """Request a reset for this address; return the answer and its cost."""
    client = service.client(address=f"192.0.2.{number}")
    client.honest("POST", {}, None, None, None)  # the page is open: only the request itself is counted
    statements.count = 0
    return client.forgot(email), statements.count


ENQUEUES_AS_A_STRANGER = "mail.enqueue(connection, links.RESET, email)"
STRANGERS = "STRANGERS: Final = (Allowance(1, timedelta(minutes=10)), Allowance(10, timedelta(days=1)))"
LOOKS = "    row = look(token, *purposes)\n"
NOT_ENDED = "        LINKS.expires_at > moment,\n"
# --- what a link is good for -----------------------------------------------------------------------------------


@protects(
    SINGLE_USE,
    race=edit(LINKS, "    if connection.execute(used).rowcount != 1:\n", "    if not connection.execute(used):\n"),
)
def test_of_two_who_use_a_link_at_once_one_sets_the_password(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    Hashing(service, monkeypatch, cheap=True)
    users = [cheap_user(service) for _ in range(ROUNDS + 1)]
    gate = Gate(service, monkeypatch)
    works(gate.race(users[0], [CHOSEN])[0].status == DONE["reset"], "a single use of a link resets the password")
    works(gate.passed == 1, "it passed this barrier")
    for user in users[1:]:
        answers = gate.race(user, [CHOSEN, OTHER])
        done = [answer for answer in answers if answer.status == DONE["reset"]]
        harm(done[1:], "one link reset the password twice")
        assert len(done) == 1
        [lost] = [answer for answer in answers if answer not in done]
        refused(lost, 410, SINGLE_USE)


ROUNDS = 5
"""The gate makes both meet in each of them; only what happens behind it is left to chance."""


class Gate:
    """Hold each use of a link between read and write, until all have read."""

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        import threading

        self.service, self.passed = service, 0
        self._barrier = threading.Barrier(1)
        self._new = threading.Barrier
        users = service.module("identity.users")
        checked = users.checked_password

        def wait(*arguments: Any, **more: Any) -> str:
            made: str = checked(*arguments, **more)
            self.passed += 1
            self._barrier.wait(timeout=30)
            return made

        monkeypatch.setattr(users, "checked_password", wait)

    def race(self, user: User, passwords: list[str]) -> list[Response]:
        """Send these passwords with one link at the same moment; return the answers."""
        with self.service.app.app_context(), self.service.module("database").transaction() as connection:
            self.service.module("mail").enqueue(connection, "reset", user.email)
        token = token_for(self.service, user.email, "reset")
        clients = [self.service.client(address=f"198.51.100.{number}") for number in range(1, len(passwords) + 1)]
        for client in clients:
            client.honest("POST", {}, None, None, None)
        self._barrier = self._new(len(passwords))
        pairs = zip(clients, passwords, strict=True)
        return at_once([lambda client=client, one=one: client.reset(token, one) for client, one in pairs])


@protects(SINGLE_USE, expiry=edit(LINKS, NOT_ENDED, ""))
def test_a_link_ends_after_minutes(service: Service) -> None:
    early, late = service.user(), service.user()
    tokens = [link_for(service, user) for user in (early, late)]
    client = service.client()
    service.stop_time()
    service.travel(minutes=service.limits.reset_minutes, seconds=-5)
    works(client.reset(tokens[0], CHOSEN).status == DONE["reset"], "until then the link works")
    service.travel(seconds=6)
    answer = client.reset(tokens[1], CHOSEN)
    harm(signs_in(service, late.email, CHOSEN), "an expired link reset the password")
    refused(answer, 410, SINGLE_USE)


@protects(SINGLE_USE, siblings=edit(FILE, "        links.cancel(connection, link.email, link.user_id)\n", ""))
def test_a_new_password_ends_what_was_asked_for_before_it(service: Service) -> None:
    """A queued mail makes a valid link: it was requested before the reset, and is sent after it."""
    user, email = service.user(), "new@example.com"
    service.client(user, "192.0.2.73").login().ask_email(email)
    first = link_for(service, user)
    change = token_for(service, email, "email")
    service.travel(minutes=service.limits.reset_minutes - 1)
    assert service.client(address="198.51.100.66").forgot(user.email).status == DONE["forgot"]
    answer = service.client().reset(first, CHOSEN)
    works(answer.status == DONE["reset"], "the first link resets the password")
    service.travel(minutes=2)
    later = tokens_for(service, user.email, "reset")[1:]
    harm(later, "a link requested before the reset was sent after it")
    again = service.client(user, "192.0.2.73").login()
    refused(again.confirm_email(change), 410, "email-change-confirmed")
    assert waiting(service) == []


@protects(
    SINGLE_USE,
    hash=edit(
        LINKS,
        "from .sessions import TOKEN_BYTES, digest\n",
        # as much of it as MySQL's column holds
        "from .sessions import TOKEN_BYTES\n\n\ndef digest(token: str) -> bytes:\n    return token.encode()[:32]\n",
    ),
)
def test_what_the_database_holds_of_a_link_sets_no_password(service: Service) -> None:
    user, other = service.user(), service.user()
    token = link_for(service, user)
    before = stored(service, user.email)
    [(stolen,)] = service.rows("SELECT token_hash FROM auth_link WHERE email = :email", email=user.email)
    found = bytes(stolen)
    in_base64 = urlsafe_b64encode(found).decode()
    as_it_is = re.sub(r"[^\w-]", "", found.decode("ascii", "ignore"))
    works(len(token) == 43, "a link has 256 bits")
    stranger = service.client(address="198.51.100.66")
    answers = [
        stranger.reset(one, OTHER)
        for one in (as_it_is, found.hex(), in_base64, in_base64.rstrip("="), token[:-1])
        if one
    ]
    harm(stored(service, user.email) != before, "a stored value was accepted as the token")
    for answer in answers:
        refused(answer, 410, SINGLE_USE)
    assert len(found) == 32
    others = stored(service, other.email)
    nothing_more_was_read(stranger.reset(token, OTHER, user_id=str(other.id)), "reset")
    assert stored(service, other.email) == others


# --- how often -------------------------------------------------------------------------------------------------


@protects(
    THROTTLE,
    day=edit("delivery/budget.py", STRANGERS, STRANGERS.replace(", Allowance(10, timedelta(days=1)))", ",)")),
)
def test_nobody_gets_more_than_ten_of_these_mails_a_day(service: Service) -> None:
    user = service.user()
    for number in range(11):
        client = service.client(address=f"198.51.100.{number + 1}")
        assert client.forgot(user.email).status == DONE["forgot"]
        sent(service)
        service.travel(minutes=10, seconds=1)
    tokens = tokens_for(service, user.email, "reset")
    works(tokens[:10], "one every ten minutes is mailed")
    harm(tokens[10:], "an eleventh mail was sent on the same day")
    assert len(tokens) == 10
    service.travel(days=1)
    assert service.client().forgot(user.email).status == DONE["forgot"]
    assert len(tokens_for(service, user.email, "reset")) == 11


@protects(
    THROTTLE,
    network=edit(FILE, '    throttle.spend_for_network("reset", "reset-throttle", REQUESTS)\n', ""),
)
def test_no_network_asks_for_more_than_ten_mails_an_hour(service: Service) -> None:
    users = [service.user() for _ in range(12)]
    stranger = service.client(address="198.51.100.66")
    answers = [stranger.forgot(user.email) for user in users[:11]]
    works(answers[0].status == DONE["forgot"], "the first request is accepted")
    harm(("reset", users[10].email) in waiting(service), "an eleventh mail was queued")
    assert [answer.status for answer in answers[:10]] == [DONE["forgot"]] * 10
    refused(answers[10], 429, THROTTLE)
    assert service.client(address="192.0.2.75").forgot(users[11].email).status == DONE["forgot"]
    member = service.client(users[11], "198.51.100.66").login()
    answer = member.ask_email("new@example.com")
    assert ("email", "new@example.com") not in waiting(service)
    assert answer.status == 429


@protects(THROTTLE, wide=WIDE)
def test_ipv6_networks_of_one_site_share_the_reset_limit(service: Service) -> None:
    works(service.client(address="2001:db8:1::1").forgot(UNKNOWN).status == DONE["forgot"], "one request is accepted")
    answers = [
        service.client(address=f"2001:db8:0:{number % 40:x}::1").forgot(f"{number}@example.com") for number in range(60)
    ]
    taken = len(waiting(service)) - 1
    harm(taken > 50, "each /64 of a /48 had its own limit")
    assert taken == 50
    for answer in answers[50:]:
        refused(answer, 429, THROTTLE)
    assert service.client(address="2001:db8:1:1::1").forgot(UNKNOWN).status == DONE["forgot"]


def used_up(service: Service, user: User) -> int:
    """Use up the account's mails of the day as a stranger; return the number of mailed tokens."""
    for number in range(10):
        assert service.client(address=f"198.51.100.{number + 1}").forgot(user.email).status == DONE["forgot"]
        sent(service)
        service.travel(minutes=10, seconds=1)
    tokens = tokens_for(service, user.email, "reset")
    service.client(address="198.51.100.11").forgot(user.email)
    assert tokens_for(service, user.email, "reset") == tokens
    return len(tokens)


@protects(
    THROTTLE,
    administrator=edit(FILE, "mail.enqueue(connection, links.RESET, email, trusted=True)", ENQUEUES_AS_A_STRANGER),
)
def test_strangers_requests_block_no_administrator_reset(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user, other = service.user(), service.user()
    assert administrator(service, monkeypatch).admin_reset(other.id).status == DONE["admin_reset"]
    works(tokens_for(service, other.email, "reset"), "an administrator starts a reset")
    asked_for = used_up(service, user)
    manager = administrator(service, monkeypatch)
    assert manager.admin_reset(user.id).status == DONE["admin_reset"]
    tokens = tokens_for(service, user.email, "reset")
    harm(len(tokens) == asked_for, "the sessions ended, and no reset link was mailed")
    assert service.client().reset(tokens[-1], CHOSEN).status == DONE["reset"]
    for _ in range(2):  # it has a budget too
        manager.admin_reset(user.id)
        sent(service)
    assert len(tokens_for(service, user.email, "reset")) == asked_for + 1
    service.travel(minutes=1, seconds=1)
    manager.admin_reset(user.id)
    assert len(tokens_for(service, user.email, "reset")) == asked_for + 2


TRUSTED = "bool(device_token) and devices.find(device_token, email) is not None"


@protects(
    THROTTLE,
    device=edit(FILE, TRUSTED, "False"),
    foreign=edit(FILE, TRUSTED, "bool(device_token)"),
)
def test_strangers_requests_block_no_reset_from_a_known_device(service: Service) -> None:
    user, mallory = cheap_user(service), cheap_user(service)
    own = device_of(attempt(service.client(), user.email, user.password))
    foreign = device_of(attempt(service.client(), mallory.email, mallory.password))
    asked_for = used_up(service, user)
    works(asked_for == 10, "each request is mailed, once in ten minutes")
    answers = []
    for number, device in enumerate((foreign, own[:-1], "x")):
        answers.append(asks_for_reset(service.client(address=f"203.0.113.{number}"), user.email, device))
        harm(len(tokens_for(service, user.email, "reset")) > asked_for, "a device unknown to the account got a mail")
    answers.append(asks_for_reset(service.client(), user.email, own))
    tokens = tokens_for(service, user.email, "reset")
    harm(len(tokens) == asked_for, "a stranger locked the owner out")
    assert answers[0].status == DONE["forgot"]
    views = [seen_by_client(one, user.email) for one in answers]
    assert views == [views[0]] * 4
    assert service.client().reset(tokens[-1], CHOSEN).status == DONE["reset"]
    asks_for_reset(service.client(address="203.0.113.9"), user.email, own)
    sent(service)
    asks_for_reset(service.client(address="203.0.113.9"), user.email, own)
    assert len(tokens_for(service, user.email, "reset")) == asked_for + 1  # it has a budget too


COUNTS = '        throttle.spend_for_network("link", "reset-throttle", GUESSES)\n'


@protects(
    THROTTLE,
    tokens=edit(LINKS, COUNTS, ""),
    good=(
        edit(LINKS, COUNTS, ""),
        edit(LINKS, f"{LOOKS}    if row is None:\n", f"{COUNTS[4:]}{LOOKS}    if row is None:\n"),
    ),
)
def test_token_guesses_are_limited_and_block_no_valid_token(service: Service) -> None:
    user, other = service.user(), service.user()
    token, unused = link_for(service, user), link_for(service, other)
    stranger = service.client(address="198.51.100.66")
    works(service.client().reset(unused, CHOSEN).status == DONE["reset"], "a link resets the password")
    guesses = [opens(stranger, f"{number:043}") for number in range(11)]
    harm([guess for guess in guesses[10:] if guess.status == 410], "token guesses have no limit")
    before = stored(service, user.email)
    answer = service.client(address="198.51.100.66").reset(token, OTHER)  # the user, from a neighbour's network
    harm(stored(service, user.email) == before, "a neighbour's wrong tokens blocked a valid token")
    assert answer.status == DONE["reset"]
    assert [guess.status for guess in guesses[:10]] == [410] * 10
    refused(guesses[10], 429, THROTTLE)


@protects(THROTTLE, choices=edit(FILE, "    throttle.count_link(link.id)\n", ""))
def test_by_one_link_twenty_passwords_a_minute_are_looked_at(service: Service) -> None:
    """A refused password leaves the link valid, and checking a long one costs as much as twenty requests."""
    user, other = service.user(), service.user()
    token, another = link_for(service, user), link_for(service, other)
    client = service.client(address="192.0.2.73")
    works([client.reset(token, "too short").status for _ in range(20)] == [422] * 20, "twenty are checked")
    answer = service.client(address="192.0.2.74").reset(token, "too short")
    harm(answer.status == 422, "one more was checked")
    refused(answer, 429, THROTTLE)
    assert client.reset(another, CHOSEN).status == DONE["reset"]
    service.travel(seconds=61)
    assert client.reset(token, CHOSEN).status == DONE["reset"]


def opens(client: Client, token: str) -> Response:
    """Open the flow of this token once."""
    if AUTH == "jwt":
        return client.reset(token, OTHER)
    client.get(f"/link/reset/{token}")
    return client.get("/reset")


@protects(
    "reset-uniform-response",
    answer=edit(FILE, ASKS, f'{UNKNOWN_TO_US}            refuse(404, "reset-uniform-response")\n{ENQUEUES}'),
    work=edit(FILE, ASKS, f"{UNKNOWN_TO_US}            return\n{ENQUEUES}"),
)
def test_reset_requests_do_not_reveal_accounts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.setting("BASTION_REGISTRATION", "open")
    known, disabled = service.user(), service.user(active=False)
    hashing, statements = Hashing(service, monkeypatch), Statements(service)
    service.client().register("unconfirmed@example.com")
    sent(service)
    emails = (known.email, UNKNOWN, disabled.email, "unconfirmed@example.com")
    answers = {email: asked(service, statements, email, number) for number, email in enumerate(emails, 30)}
    views = {email: seen_by_client(answer, email) for email, (answer, _) in answers.items()}
    works(answers[known.email][0].status == DONE["forgot"], "a known address gets a mail")
    harm([email for email in emails if views[email] != views[known.email]], "the answer reveals which accounts exist")
    harm(waiting(service) != sorted(("reset", email) for email in emails), "the work reveals which accounts exist")
    assert len({cost for _, cost in answers.values()}) == 1
    assert answers[known.email][1] >= 2  # counter and outbox
    assert hashing.count == 0
    assert [len(tokens_for(service, email, "reset")) for email in emails] == [1, 0, 0, 0]
    assert [len(sent(service, email)) for email in emails] == [1, 0, 0, 1]  # the last is that of the registration
    assert service.rows("SELECT count(*) FROM auth_link WHERE purpose = 'reset'")[0][0] == 1
    token = token_for(service, known.email, "reset")
    assert service.client().reset(token, CHOSEN).status == DONE["reset"]
    assert signs_in(service, known.email, CHOSEN)


@protects(
    SINGLE_USE,
    **sabotages(core.test_a_link_sets_one_password_and_opens_no_session, SINGLE_USE, "once", "login"),
)
def test_a_link_sets_one_password_and_signs_nobody_in(service: Service) -> None:
    user, other = service.user(), service.user()
    unharmed = service.client(other, "192.0.2.71").login()
    client = service.client(address="192.0.2.72")
    token = link_for(service, user)
    assert f"{service.limits.reset_minutes} minutes" in text(sent(service, user.email)[0])
    short = client.reset(token, "too short")
    answer = client.reset(token, CHOSEN)
    works(answer.status == DONE["reset"], "the link works after a refused password")
    harm(live_sessions(service, user.id), "the reset signed the client in")
    again = client.reset(token, OTHER)
    harm(signs_in(service, user.email, OTHER), "a used link changed the password again")
    refused(again, 410, SINGLE_USE)
    assert short.status == 422
    assert not lives(client)
    assert signs_in(service, user.email, CHOSEN)
    assert not signs_in(service, user.email, user.password)
    assert subjects(service, user.email)[-1] == "Your password was changed"
    assert lives(unharmed)


@protects(
    THROTTLE,
    identifier=edit("delivery/budget.py", "    if counted is None:\n", "    if False:\n"),
    cancel=edit(
        FILE, ASKS, f"    with transaction() as connection:\n        links.cancel(connection, email)\n{ENQUEUES}"
    ),
)
def test_repeated_reset_requests_send_one_mail_and_end_no_link(service: Service) -> None:
    user = service.user()
    asks = [service.client(address=f"198.51.100.{number}") for number in range(1, 4)]
    answers = []
    for client in asks:
        answers.append(client.forgot(user.email))
        sent(service)
        service.travel(minutes=2)
    tokens = tokens_for(service, user.email, "reset")
    works(answers[0].status == DONE["forgot"] and tokens, "the first request is mailed")
    harm(tokens[1:], "a second mail was sent within ten minutes")
    answer = service.client().reset(tokens[0], CHOSEN)
    harm(not signs_in(service, user.email, CHOSEN), "a request without a mail ended the owner's link")
    assert answer.status == DONE["reset"]
    views = [seen_by_client(one, user.email) for one in answers]
    assert views == [views[0]] * 3
