"""Edges of the proofs in test_passwords.py: further attacks on the same protections."""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import test_passwords as core
from ..accounts import Hashing, account, created, lives, signs_in
from ..harness import at_once, edit, harm, protects, refused, works
from ..logins import (
    SIGNED_IN,
    WRONG,
    HashSpy,
    attempt,
    cheap_hash,
    cheap_user,
    device_of,
    sessions_of,
    step_up,
    store,
    stored,
)
from ..mails import token_for, waiting
from ..running import PASSWORD
from ..service import AUTH
from ..test_passwords import FILE, FORMAT, SHARED
from .core import sabotages

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from ..running import Service, User
    from ..service import Client
    from ..wire import Response


class Flood:
    """Hold every password comparison until released; count the running hashes and the logins that wait for a slot."""

    PATIENCE = 30.0  # seconds, of a proof that hangs

    def __init__(self, service: Service) -> None:
        self.real = HashSpy(service, quick=True)
        self.change = threading.Condition()
        passwords = service.module("state").state_of(service.app).passwords
        passwords._hasher = self
        passwords._change = Waits(self)
        self.begin()

    def begin(self) -> None:
        self.held = True
        self.computing = self.most_computing = self.waiting = self.most_waiting = self.answered = 0
        self.waits: list[float | None] = []

    def until(self, reached: Callable[[], bool]) -> bool:
        with self.change:
            return self.change.wait_for(reached, self.PATIENCE)

    def end(self) -> None:
        with self.change:
            self.held = False
            self.change.notify_all()

    def verify(self, target: str, password: bytes) -> bool:
        with self.change:
            self.computing += 1
            self.most_computing = max(self.most_computing, self.computing)
            self.change.notify_all()
            self.change.wait_for(lambda: not self.held, self.PATIENCE)
            self.computing -= 1
        return self.real.verify(target, password)

    def hash(self, password: bytes) -> str:
        return self.real.hash(password)

    def attempt(self, client: Client, identifier: str, password: str, device: str | None = None) -> Response:
        return self.counted(partial(attempt, client, identifier, password, device))

    def counted(self, send: Callable[[], Response]) -> Response:
        answer = send()
        with self.change:
            self.answered += 1
            self.change.notify_all()
        return answer


class Waits(threading.Condition):
    """Make the wait for a slot last until the flood ends instead of a second, and count each wait."""

    def __init__(self, flood: Flood) -> None:
        super().__init__()
        self.flood = flood

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        flood = self.flood
        if found := predicate():
            return found
        with flood.change:
            flood.waits.append(timeout)
            flood.waiting += 1
            flood.most_waiting = max(flood.most_waiting, flood.waiting)
            flood.change.notify_all()
        found = super().wait_for(predicate, Flood.PATIENCE)
        with flood.change:
            flood.waiting -= 1
        return found


def stored_user(service: Service, email: str) -> User:
    """A stored password that is compared in no time."""
    user = cheap_user(service, email)
    store(service, user, cheap_hash(PASSWORD))
    return user


WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}  # as an Asian keyboard types ASCII


def by_activation(service: Service, email: str, password: str) -> Response:
    client = service.client(address="192.0.2.81")
    client.register(email)
    return client.activate(token_for(service, email, "activate"), password)


def by_change(service: Service, email: str, password: str) -> Response:
    return service.client(stored_user(service, email)).login().change_password(PASSWORD, password)


def by_reset(service: Service, email: str, password: str) -> Response:
    stored_user(service, email)
    client = service.client(address="192.0.2.82")
    client.forgot(email)
    return client.reset(token_for(service, email, "reset"), password)


def by_command(service: Service, email: str, password: str) -> None:
    created(service, email, password)


FLOOD = 20  # more than twice as many as a worker has threads


def ready(client: Client) -> Client:
    """Return a visitor with the login page open, from which all attacks here are sent."""
    client.honest("POST", {}, None, None, None)
    return client


UNCHECKED = "users.state().passwords.hash(password)"
FOURTEEN = {"letters": "vq3TzLk8Wm2xRb", "emoji": "🦉🚲🍋🔭🪁🐙🧲🎻🦔🪴🧊🎲🦩🛶"}
FIFTEEN = {"letters": "vqotzlkhwmcxrbe", "emoji": "🦉🚲🍋🔭🪁🐙🧲🎻🦔🪴🧊🎲🦩🛶🥨"}
EASY = {
    "in the list": "cheaphornybastard",
    "another case, width and spacing": "Cheap HORNY".translate(WIDE) + " bastard",
    "a unit again and again": "mtkxmtkxmtkxmtkx",
    "the keyboard": "qwertyuiopasdfgh",
    "the alphabet": "abcdefghijklmnop",
    "the address with a year": "quenby-orlaith-2026",
    "the service's host": "app.example-2026!",
}
WAYS: dict[str, Callable[[Service, str, str], Any]] = {
    "activation": by_activation,
    "change": by_change,
    "reset": by_reset,
    "command": by_command,
}


def is_open(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open registration, and make new hashes cost no time."""
    service.setting("BASTION_REGISTRATION", "open")
    Hashing(service, monkeypatch, cheap=True)


def holds(service: Service, email: str, password: str) -> bool:
    """Return whether the account's stored hash matches this password."""
    row = account(service, email)
    passwords = service.module("state").state_of(service.app).passwords
    return row is not None and passwords.verify(password, row.password_hash)


def is_told(answer: Response, text: str) -> None:
    """Check that the refusal says how to correct the field."""
    assert answer.status == 422
    assert text in answer.text
    if AUTH == "jwt":
        refused(answer, 422, "input-validated-typed")


def former(password: str) -> str:
    """Return a hash with OWASP's smallest parameters, as an earlier version of a service may have made."""
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(password.encode())


@protects(
    "password-argon2id",
    form=edit("identity/passwords.py", "stored.startswith(PREFIX)", 'stored.startswith("$argon2")'),
)
def test_a_weaker_stored_hash_opens_no_account(service: Service) -> None:
    from argon2 import PasswordHasher, Type

    user = cheap_user(service)
    spy = HashSpy(service, quick=True)
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "an Argon2id string verifies")
    before = sessions_of(service, user)
    planted = {
        "plain": user.password,
        "MD5": hashlib.md5(user.password.encode(), usedforsecurity=False).hexdigest(),
        "SHA-256": hashlib.sha256(user.password.encode()).hexdigest(),
    }
    for kind, name in ((Type.I, "Argon2i"), (Type.D, "Argon2d")):
        planted[name] = PasswordHasher(1, 8, 1, type=kind).hash(user.password)
    answers = {}
    for name, text in planted.items():
        store(service, user, text)
        answers[name] = attempt(service.client(), user.email, user.password)
        service.travel(minutes=15, seconds=1)  # so that only the form of the row is against it, and no throttle
        harm(sessions_of(service, user) > before, f"a row with a {name} value signed a user in")
    for answer in answers.values():
        refused(answer, 401, "login-uniform-failure")
    assert {*spy.compared} & {*planted.values()} == set()  # each takes as long as a right one


ATTACKERS = 8  # five more than are computed or wait at a time


def owner_comes(
    flood: Flood, attackers: Sequence[Callable[[], Response]], owner: Callable[[], Response]
) -> list[Response]:
    """Let the attackers take every slot and waiting place before the owner comes; the owner's answer is first."""
    flood.begin()
    with ThreadPoolExecutor(max_workers=8) as worker:  # the threads of one worker process
        sent = []
        for number, attack in enumerate(attackers, 1):
            sent.append(worker.submit(attack))
            flood.until(partial(lambda number: flood.computing + flood.waiting + flood.answered == number, number))
        refused_before = flood.answered
        sent.insert(0, worker.submit(owner))
        assert flood.until(lambda: flood.answered > refused_before)  # the owner, or an attacker who gives way
        flood.end()
        return [one.result(Flood.PATIENCE) for one in sent]


def wrong_passwords(service: Service, flood: Flood, addresses: list[str], **more: Any) -> list[Callable[[], Response]]:
    """Send one wrong password from each address, for accounts that do not exist."""
    clients = [ready(service.client(address=address)) for address in addresses]
    return [
        partial(flood.attempt, client, f"unknown-{n}@example.com", WRONG, **more) for n, client in enumerate(clients)
    ]


def fails(attacks: list[Callable[[], Response]]) -> bool:
    return [attack().status for attack in attacks] == [401] * len(attacks)


@protects(
    "password-hash-concurrency",
    network=edit("identity/attempts.py", "else self.network.number", "else 1"),
    turn=edit("identity/passwords.py", "insort(self._waiting, mine)", "self._waiting.append(mine)"),
)
def test_an_owner_at_another_address_signs_in_during_a_flood(service: Service) -> None:
    owner, flood = cheap_user(service), Flood(service)
    attackers = wrong_passwords(service, flood, [f"198.51.100.{number}" for number in range(ATTACKERS)])
    flood.end()
    works(fails(attackers), "each attacker has failed once")
    client, compared = ready(service.client(address="203.0.113.9")), flood.real.compared
    compared.clear()
    owners = stored(service, owner.email)
    first, *others = owner_comes(flood, attackers, partial(flood.attempt, client, owner.email, owner.password))
    harm(not sessions_of(service, owner), "eight attackers at other addresses locked the owner out")
    assert first.status == SIGNED_IN
    assert [number for number, target in enumerate(compared) if target == owners] == [1]
    assert Counter(answer.status for answer in others) == {503: ATTACKERS - 2, 401: 2}
    for answer in others:
        if answer.status == 503:
            refused(answer, 503, "password-hash-concurrency")


@protects(
    "password-hash-concurrency",
    wide=edit("throttle/__init__.py", "number=max(spent.number, wider.number // WIDE)", "number=spent.number"),
)
def test_a_new_ipv6_network_of_one_site_is_not_served_first(service: Service) -> None:
    owner, flood = cheap_user(service), Flood(service)
    networks = [f"2001:db8:1:{number:x}::1" for number in range(13)]
    flood.end()
    works(fails(wrong_passwords(service, flood, networks[3:])), "ten networks of one /48 have failed once")
    client, attackers = ready(service.client(address="203.0.113.9")), wrong_passwords(service, flood, networks[:3])
    first, *_ = owner_comes(flood, attackers, partial(flood.attempt, client, owner.email, owner.password))
    harm(not sessions_of(service, owner), "new networks of one site locked the owner out")
    assert first.status == SIGNED_IN


@protects(
    "password-hash-concurrency",
    device=edit("identity/login.py", "known=device is not None", "known=False"),
    session=edit("identity/attempts.py", "known=True", "known=False"),
)
def test_a_known_device_and_a_session_go_before_every_network(service: Service) -> None:
    owner, flood = cheap_user(service), Flood(service)
    flood.end()
    shared = ready(service.client(address="203.0.113.9"))
    device = device_of(attempt(shared, owner.email, owner.password))
    works(fails(wrong_passwords(service, flood, ["203.0.113.9"] * 5)), "the owner's neighbour fails often")
    client, before = ready(service.client(address="203.0.113.9")), sessions_of(service, owner)
    attackers = wrong_passwords(service, flood, [f"198.51.100.{number}" for number in range(3)])
    known = partial(flood.attempt, client, owner.email, owner.password, device)
    first, *_ = owner_comes(flood, attackers, known)
    harm(sessions_of(service, owner) == before, "attackers locked the owner out on a known device")
    assert first.status == SIGNED_IN
    signed_in = ready(service.client(owner, "203.0.113.9").login())
    before = sessions_of(service, owner)
    attackers = wrong_passwords(service, flood, [f"198.51.100.{number}" for number in range(10, 13)])
    first, *_ = owner_comes(flood, attackers, partial(flood.counted, partial(step_up, signed_in, owner.password)))
    harm(sessions_of(service, owner) == before, "attackers kept a signed-in owner from re-authenticating")
    assert first.status == SIGNED_IN


@protects(
    "password-hash-concurrency",
    foreign=edit("identity/login.py", "known=device is not None", "known=bool(arrival.device_token)"),
)
def test_a_device_of_another_account_is_not_served_first(service: Service) -> None:
    owner, mallory, flood = cheap_user(service), cheap_user(service), Flood(service)
    flood.end()
    device = device_of(attempt(service.client(), mallory.email, mallory.password))
    attackers = wrong_passwords(service, flood, [f"198.51.100.{number}" for number in range(3)], device=device)
    works(fails(attackers), "each attacker has failed once")
    client = ready(service.client(address="203.0.113.9"))
    first, *_ = owner_comes(flood, attackers, partial(flood.attempt, client, owner.email, owner.password))
    harm(not sessions_of(service, owner), "attackers with another account's device locked the owner out")
    assert first.status == SIGNED_IN


@protects(
    "password-hash-concurrency",
    own=edit("identity/attempts.py", "self.rate.number - HEAD_START", "1 - HEAD_START"),
)
def test_a_device_has_priority_at_most_five_times_a_minute(service: Service) -> None:
    owner, mallory, flood = cheap_user(service), cheap_user(service), Flood(service)
    flood.end()
    device = device_of(attempt(service.client(), mallory.email, mallory.password))
    clients = [ready(service.client(address=f"198.51.100.{number}")) for number in range(8)]
    logins = [partial(flood.attempt, one, mallory.email, mallory.password, device=device) for one in clients]
    first_ones = service.module("identity.attempts").HEAD_START
    works([login().status for login in logins[:5]] == [SIGNED_IN] * first_ones, "an attacker has an own account")
    client = ready(service.client(address="203.0.113.9"))
    first, *_ = owner_comes(flood, logins[5:], partial(flood.attempt, client, owner.email, owner.password))
    harm(not sessions_of(service, owner), "an attacker's own device locked the owner out")
    assert first.status == SIGNED_IN


# --- what may be chosen ------------------------------------------------------------------------------------------


@protects("password-blocklist", measure=edit(FILE, "UNKNOWN: Final = 8", "UNKNOWN: Final = 7"))
def test_seven_characters_beside_account_words_are_too_few(service: Service) -> None:
    passwords = service.module("identity.passwords")
    with service.app.app_context():
        context = passwords.context_of("ada@mill.example", "Ada Byron")
        name: str = service.module("state").state().service_name
    works(passwords.faults("ada-Byron-mill-x9kQ2", context) == [], "with eight more characters it is accepted")
    harm(passwords.faults("ada-Byron-mill-x9kQ", context) == [], "a password with seven more characters is accepted")
    words = {"ada", "mill", "byron", "app", *(word for word in name.split("-") if len(word) > 2)}
    assert words - {*context} == set()  # of the account, the service's host and its name


@protects(
    "password-blocklist",
    checksum=edit(FILE, "        raise ValueError(COMMON.name)\n", "        pass\n"),
)
def test_a_list_that_was_cut_short_or_altered_starts_nothing(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = service.module("identity.passwords")
    works(service.start().app is not None, "the service starts with the whole list")
    lines = passwords.COMMON.read_text(encoding="ascii").splitlines()
    swapped = lines[-2].swapcase()
    for name, kept in {"cut": lines[:-9], "altered": [*lines[:-2], swapped, lines[-1]], "empty": []}.items():
        (tmp_path / name).write_text("\n".join(kept), encoding="ascii")
        monkeypatch.setattr(passwords, "COMMON", tmp_path / name)
        passwords.common.cache_clear()
        start = service.start()
        harm(start.app, f"the service started with a list that is {name}")
        [reason] = start.reasons
        assert reason.startswith(f"{name}: the list is missing, cut short or altered.")


# --- what becomes of a hash of former parameters -----------------------------------------------------------------


@protects(
    "password-rehash-on-login",
    changed=edit(
        "identity/login.py",
        "unchanged = (USERS.id == row.id, USERS.password_hash == row.password_hash)",
        "unchanged = (USERS.id == row.id,)",
    ),
)
def test_a_login_does_not_undo_a_parallel_password_change(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user = cheap_user(service)
    passwords = service.module("state").state_of(service.app).passwords
    works(signs_in(service, user.email, user.password), "the right password signs in")
    assert FORMAT.match(stored(service, user.email))
    store(service, user, former(user.password))
    newer, real = former("nine loud herons fly to sea"), passwords.hash

    def hash_while_it_is_changed(password: str) -> str:
        store(service, user, newer)
        return str(real(password))

    monkeypatch.setattr(passwords, "hash", hash_while_it_is_changed)
    assert signs_in(service, user.email, user.password, "203.0.113.81")
    harm(stored(service, user.email) != newer, "the login restored the former password")


@protects(
    "password-rehash-on-login", twice=edit("identity/login.py", "    for _ in range(2):\n", "    for _ in range(1):\n")
)
def test_rehashing_at_login_breaks_no_parallel_login(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user, attempts = cheap_user(service), service.module("identity.attempts")
    works(signs_in(service, user.email, user.password), "the right password signs in")
    store(service, user, former(user.password))
    real, others = attempts.matches, ["203.0.113.81"]

    def matches_while_another_signs_in(*arguments: Any) -> bool:
        found = bool(real(*arguments))
        if others:
            assert at_once([partial(signs_in, service, user.email, user.password, others.pop())]) == [True]
        return found

    monkeypatch.setattr(attempts, "matches", matches_while_another_signs_in)
    signed_in = signs_in(service, user.email, user.password, "203.0.113.82")
    assert FORMAT.match(stored(service, user.email))
    harm(not signed_in, "the right password was refused, because a parallel login rehashed it")


@protects("password-argon2id", time=edit("identity/passwords.py", "time_cost=TIME_COST", "time_cost=2"))
def test_stored_passwords_are_expensive_to_guess(service: Service) -> None:
    with service.app.app_context():  # what `users create` calls, after it has asked for the password
        for email in ("ada@example.com", "bob@example.com"):
            service.module("identity.users").create(email, SHARED)
    answer = attempt(service.client(), "ada@example.com", SHARED)
    works(answer.status == SIGNED_IN, "the right password signs in")
    texts = [stored(service, email) for email in ("ada@example.com", "bob@example.com")]
    harm([text for text in texts if not FORMAT.match(text)], "a password is stored in a weaker form")
    assert texts[0] != texts[1]
    assert texts[0].split("$")[4] != texts[1].split("$")[4]  # the salts


@protects(
    "password-hash-concurrency",
    slots=edit("identity/passwords.py", "with self._hash_slot(rank):\n            try:", "if True:\n            try:"),
    waiters=edit("identity/passwords.py", "            del self._waiting[self._free + self._places :]\n", ""),
)
def test_a_flood_of_logins_is_bounded_in_memory_and_threads(service: Service) -> None:
    """One round: every comparison is held until all but three are answered, so timing has no influence."""
    page = service.adds_route("/probe", mark="public")
    users = [cheap_user(service) for _ in range(2)]
    flood = Flood(service)
    with ThreadPoolExecutor(max_workers=8) as worker:  # the threads of one worker process
        both = [worker.submit(flood.attempt, service.client(user), user.email, user.password) for user in users]
        flood.until(lambda: flood.computing + flood.waiting == 2)
        flood.end()
        works([one.result().status for one in both] == [SIGNED_IN, SIGNED_IN], "two users sign in at the same time")
        works(service.client().get("/probe").status == 200, "a page is answered")
        attackers = [ready(service.client(address=f"198.51.100.{number}")) for number in range(FLOOD)]
        page.clear()
        flood.begin()
        attempts = [
            worker.submit(flood.attempt, attacker, f"unknown-{number}@example.com", WRONG)
            for number, attacker in enumerate(attackers)
        ]
        flood.until(lambda: flood.answered == FLOOD - 3 or flood.most_computing > 1 or flood.most_waiting > 2)
        probe = worker.submit(service.client(address="203.0.113.9").get, "/probe")
        if flood.answered == FLOOD - 3:
            probe.result(Flood.PATIENCE)  # a thread is free, although the first hash is still being computed
        flood.end()
        answers = [one.result(Flood.PATIENCE) for one in attempts]
    harm(flood.most_computing > 1, "more hashes ran at the same time than the reserved memory allows")
    harm(flood.most_waiting > 2, "logins occupied more than a quarter of the threads")
    assert page == ["GET"]
    assert flood.waits == [1.0, 1.0]
    assert Counter(answer.status for answer in answers) == {503: FLOOD - 3, 401: 3}
    for answer in answers:
        if answer.status == 503:
            refused(answer, 503, "password-hash-concurrency")
            assert answer.header("Retry-After") == str(service.module("identity.attempts").BUSY_SECONDS) == "2"
    last = attempt(service.client(), users[0].email, users[0].password)
    assert last.status == SIGNED_IN


@protects(
    "password-length-15",
    length=edit("identity/passwords.py", "if length(password) < SHORTEST:", "if length(password) < 14:"),
    bytes=edit(
        "identity/passwords.py",
        'return len(unicodedata.normalize("NFC", password))',
        "return len(normalised(password))",
    ),
    activation=edit("identity/registration.py", "users.checked_password(password, link.email)", UNCHECKED),
    change=edit("identity/account.py", "users.checked_password(new, user.email)", "state().passwords.hash(new)"),
    reset=edit("identity/recovery.py", "users.checked_password(password, link.email)", UNCHECKED),
    command=edit(
        "identity/users.py",
        "    password_hash = checked_password(password, email)\n    with transaction()",
        "    password_hash = state().passwords.hash(password)\n    with transaction()",
    ),
)
def test_fourteen_characters_are_too_few_in_every_flow(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    is_open(service, monkeypatch)
    for way, sets in WAYS.items():
        for kind, password in FIFTEEN.items():
            sets(service, f"{way}-{kind}@example.com", password)
            works(holds(service, f"{way}-{kind}@example.com", password), f"15 {kind} are accepted by {way}")
    works(signs_in(service, "activation-emoji@example.com", FIFTEEN["emoji"]), "the password signs in")
    answers = {}
    for way, sets in WAYS.items():
        for kind, password in FOURTEEN.items():
            email = f"{way}-few-{kind}@example.com"
            answers[email] = sets(service, email, password)
            harm(holds(service, email, password), f"14 {kind} were accepted by {way}")
    for email, answer in answers.items():
        if not email.startswith("command"):
            is_told(answer, "Use at least 15 characters")


@protects(
    "password-blocklist",
    **sabotages(core.test_what_is_tried_first_is_no_password, "password-blocklist", "list", "context"),
    spelling=edit(FILE, "    text = _folded(password)\n", "    text = password\n"),
    repeats=edit(FILE, " or (text * 2).find(text, 1) < len(text):", ":"),
    asked=edit(FILE, "    if _is_easy(password, context):\n", "    if not password:\n"),
)
def test_what_is_tried_first_is_no_password_however_long(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    is_open(service, monkeypatch)
    for number, password in enumerate(("correct lantern gravel ninety", "quenby and orlaith keep four old mules")):
        email = f"quenby.orlaith-{number}@example.com"
        by_command(service, email, password)
        works(holds(service, email, password), f"{password!r} is accepted")
    answers = {}
    for number, (kind, password) in enumerate(EASY.items()):
        email = f"quenby.orlaith-{number + 2}@example.com"
        way = list(WAYS)[number % 3]
        answers[kind] = WAYS[way](service, email, password)
        harm(holds(service, email, password), f"a password is accepted that is {kind}")
    for answer in answers.values():
        is_told(answer, "too easy to guess")


@protects(
    "password-long-and-exact",
    **sabotages(core.test_a_password_of_200_characters_counts_to_its_last, "password-long-and-exact", "cut"),
    strip=edit(
        "identity/passwords.py",
        'return unicodedata.normalize("NFC", password).encode(',
        'return unicodedata.normalize("NFC", password.strip()).encode(',
    ),
    case=edit(
        "identity/passwords.py",
        'return unicodedata.normalize("NFC", password).encode(',
        'return unicodedata.normalize("NFC", password.lower()).encode(',
    ),
    most=edit(
        "identity/passwords.py",
        "    if length(password) > LONGEST:\n        return [",
        "    if False:\n        return [",
    ),
    late=edit("identity/passwords.py", "        if length(password) > LONGEST:\n            return False\n", ""),
)
def test_a_password_counts_as_it_was_typed_to_its_last_character(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.app  # noqa: B018
    Hashing(service, monkeypatch, cheap=True)
    text = "".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(5))
    typed = {"longest": text[:256], "spaced": " owls at the old quay ", "accents": "Größe über fünf Äpfel"}
    for name, password in typed.items():
        by_command(service, f"{name}@example.com", password)
        sent = unicodedata.normalize("NFD", password)
        works(signs_in(service, f"{name}@example.com", sent), f"{name}: it signs in")
    chosen = f"{text[:100]}Aa{text[100:194]} x  "
    assert len(chosen) == 200
    by_command(service, "exact@example.com", chosen)
    works(signs_in(service, "exact@example.com", chosen), "200 characters sign in")
    others = [chosen[:72], chosen[:128], chosen[:199], chosen.swapcase(), f"{chosen} ", chosen.strip()]
    for number, other in enumerate(others):
        harm(signs_in(service, "exact@example.com", other, f"198.51.100.{number}"), "a similar password signs in")
        service.travel(minutes=15, seconds=1)
    harm(signs_in(service, "spaced@example.com", typed["spaced"].strip()), "spaces around it are ignored")
    by_command(service, "more@example.com", text[:257])
    harm(account(service, "more@example.com"), "a password longer than any comparison was accepted")
    spy = HashSpy(service, quick=True)
    answer = attempt(service.client(address="198.51.100.99"), "longest@example.com", text[:257])
    harm(spy.compared, "an impossible password is hashed")
    refused(answer, 401, "login-uniform-failure")


@protects(
    "password-no-composition-no-expiry",
    **sabotages(
        core.test_a_strong_password_of_letters_alone_is_taken, "password-no-composition-no-expiry", "composition"
    ),
    expiry=(
        edit("identity/login.py", "_BY_EMAIL: Final = select(", "_BY_EMAIL: Final = select(USERS.created_at, "),
        edit(
            "identity/login.py",
            "if row is None or not matched or not row.active:",
            "if row is None or not (matched and row.active and now() - row.created_at < timedelta(days=365)):",
        ),
    ),
)
def test_passwords_need_no_character_classes_and_never_expire(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.app  # noqa: B018
    Hashing(service, monkeypatch, cheap=True)
    by_command(service, "mixed@example.com", "Quay 7 owls; 3 old Mules")
    works(signs_in(service, "mixed@example.com", "Quay 7 owls; 3 old Mules"), "a password of all kinds signs in")
    alike = {
        "letters": "vqotzlkhwmcxrbe",
        "digits": "840275136907241",
        "words": "owls keep four old mules",
        "emoji": FIFTEEN["emoji"],
    }
    for name, password in alike.items():
        by_command(service, f"{name}@example.com", password)
        harm(not holds(service, f"{name}@example.com", password), f"a strong password of only {name} was refused")
    table = service.module("identity.models").User.__table__
    with service.engine.begin() as connection:
        connection.execute(table.update().values(created_at=service.now() - timedelta(days=5 * 365)))
    harm(not signs_in(service, "words@example.com", alike["words"]), "a password expired after five years")
    tables = service.module("database").Base.metadata.tables
    columns = {f"{table}.{column}" for table in tables.values() for column in table.columns.keys()}  # noqa: SIM118
    assert "auth_user.password_hash" in columns
    assert [
        name for name in columns if re.search("hint|question|answer|password_(expires|history|changed)", name)
    ] == []


@protects(
    "password-rehash-on-login",
    rehash=edit("identity/login.py", "    _rehash(row, password)\n    return begun\n", "    return begun\n"),
    failed=edit(
        "identity/login.py",
        "        matched = attempts.matches(password, row, attempt)\n",
        "        matched = attempts.matches(password, row, attempt)\n        _rehash(row, password)\n",
    ),
)
def test_a_login_rehashes_former_parameters(service: Service) -> None:
    user, other = service.user(), service.user()
    present, theirs = stored(service, user.email), stored(service, other.email)
    before = service.client(user).login()
    works(signs_in(service, user.email, user.password), "the right password signs in")
    assert stored(service, user.email) == present
    weak = former(user.password)
    store(service, user, weak)
    answer = attempt(service.client(), user.email, WRONG)
    harm(stored(service, user.email) != weak, "a wrong password changed the stored hash")
    refused(answer, 401, "login-uniform-failure")
    for _ in range(2):
        assert signs_in(service, user.email, user.password)
        harm(not FORMAT.match(stored(service, user.email)), "the login left the weaker hash in place")
    assert stored(service, other.email) == theirs
    assert lives(before)
    # The owner gets a mail about the login from a new device, but not about the hash: the password is the same.
    assert {purpose for purpose, _ in waiting(service)} == {"new-device"}
