"""Proofs of identity/passwords.py: what is stored of a password, and what a flood of logins may cost."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from .harness import edit, harm, protects, refused, works
from .logins import SIGNED_IN, WRONG, HashSpy, attempt, cheap_user, sessions_of, store, stored

if TYPE_CHECKING:
    from .running import Service
    from .service import Client
    from .wire import Response

SHARED = "a password that two people chose"
# 16 bytes of salt and 32 of tag, in base64 without padding.
FORMAT = re.compile(r"\A\$argon2id\$v=19\$m=65536,t=3,p=4\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}\Z")


@protects("password-argon2id", time=edit("identity/passwords.py", "time_cost=TIME_COST", "time_cost=2"))
def test_a_stolen_table_holds_nothing_that_can_be_guessed_cheaply(service: Service) -> None:
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
    "password-argon2id",
    form=edit("identity/passwords.py", "stored.startswith(PREFIX)", 'stored.startswith("$argon2")'),
)
def test_a_row_of_a_weaker_form_opens_no_account_even_with_its_own_password(service: Service) -> None:
    from argon2 import PasswordHasher, Type

    user = cheap_user(service)
    HashSpy(service, quick=True)
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
        harm(sessions_of(service, user) > before, f"a row with a {name} value signed somebody in")
    for answer in answers.values():
        refused(answer, 401, "login-uniform-failure")


class Flood:
    """Holds every comparison of a password until it may end, and counts who computes and who waits for a slot."""

    PATIENCE = 30.0  # seconds, of a proof that hangs

    def __init__(self, service: Service) -> None:
        self.real = HashSpy(service, quick=True)
        self.change = threading.Condition()
        passwords = service.module("state").state_of(service.app).passwords
        passwords._hasher = self
        passwords._slots = Semaphore(self, passwords._slots)
        passwords._waiters = Semaphore(self, passwords._waiters)
        self.begin()

    def begin(self) -> None:
        self.held = True
        self.computing = self.most_computing = self.waiting = self.most_waiting = self.answered = 0
        self.waits: list[float | None] = []

    def until(self, reached: Callable[[], bool]) -> None:
        with self.change:
            self.change.wait_for(reached, self.PATIENCE)

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

    def attempt(self, client: Client, identifier: str, password: str) -> Response:
        answer = attempt(client, identifier, password)
        with self.change:
            self.answered += 1
            self.change.notify_all()
        return answer


class Semaphore:
    """The service's own semaphore; who blocks on it is counted, and waits until the flood ends instead of a second."""

    def __init__(self, flood: Flood, real: threading.BoundedSemaphore) -> None:
        self.flood, self.real, self.release = flood, real, real.release

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        if not blocking:
            return self.real.acquire(blocking=False)
        flood = self.flood
        with flood.change:
            flood.waits.append(timeout)
            flood.waiting += 1
            flood.most_waiting = max(flood.most_waiting, flood.waiting)
            flood.change.notify_all()
        taken = self.real.acquire(timeout=Flood.PATIENCE)
        with flood.change:
            flood.waiting -= 1
        return taken


@protects(
    "password-hash-concurrency",
    slots=edit("identity/passwords.py", "with self._hash_slot():\n            try:", "if True:\n            try:"),
    waiters=edit(
        "identity/passwords.py", "if not self._waiters.acquire(blocking=False):", "if not self._waiters.acquire():"
    ),
)
def test_a_flood_of_logins_takes_neither_the_memory_nor_the_threads_of_a_worker(service: Service) -> None:
    """One round: every comparison is held until 47 of 50 are answered, so nothing depends on who is faster."""
    page = service.adds_route("/probe", mark="public")
    users = [cheap_user(service) for _ in range(2)]
    flood = Flood(service)
    with ThreadPoolExecutor(max_workers=8) as worker:  # the threads of one worker process
        both = [worker.submit(flood.attempt, service.client(user), user.email, user.password) for user in users]
        flood.until(lambda: flood.computing + flood.waiting == 2)
        flood.end()
        works([one.result().status for one in both] == [SIGNED_IN, SIGNED_IN], "two people sign in at once")
        works(service.client().get("/probe").status == 200, "a page is answered")
        attackers = [ready(service.client(address=f"198.51.100.{number}")) for number in range(50)]
        page.clear()
        flood.begin()
        attempts = [
            worker.submit(flood.attempt, attacker, f"nobody-{number}@example.com", WRONG)
            for number, attacker in enumerate(attackers)
        ]
        flood.until(lambda: flood.answered == 47 or flood.most_computing > 1 or flood.most_waiting > 2)
        meanwhile = worker.submit(service.client(address="203.0.113.9").get, "/probe")
        if flood.answered == 47:
            meanwhile.result(Flood.PATIENCE)  # a thread is free, although the first hash is still being computed
        flood.end()
        answers = [one.result(Flood.PATIENCE) for one in attempts]
    harm(flood.most_computing > 1, "more hashes were computed at a time than memory was set aside for")
    harm(flood.most_waiting > 2, "more than a quarter of the threads stood still for logins")
    assert page == ["GET"]
    assert flood.waits == [1.0, 1.0]
    assert Counter(answer.status for answer in answers) == {503: 47, 401: 3}
    for answer in answers:
        if answer.status == 503:
            refused(answer, 503, "password-hash-concurrency")
            assert answer.header("Retry-After") == "2"
    last = attempt(service.client(), users[0].email, users[0].password)
    assert last.status == SIGNED_IN


def ready(client: Client) -> Client:
    """A visitor with the login page open: here only what is sent from there is attacked."""
    client.honest("POST", {}, None, None, None)
    return client
