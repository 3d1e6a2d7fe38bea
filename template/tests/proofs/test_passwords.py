"""Proofs of identity/passwords.py: password rules, the stored hash, and the cost of many simultaneous logins."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from typing import TYPE_CHECKING

from .accounts import Hashing, created, signs_in
from .harness import Meeting, at_once, edit, harm, protects, works
from .logins import SIGNED_IN, attempt, cheap_hash, store, stored
from .running import PASSWORD

if TYPE_CHECKING:
    import pytest

    from .running import Service


SHARED = "a password that two people chose"
# 16 bytes of salt and 32 of tag, in base64 without padding.
FORMAT = re.compile(r"\A\$argon2id\$v=19\$m=65536,t=3,p=4\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}\Z")


@protects("password-argon2id", time=edit("identity/passwords.py", "time_cost=TIME_COST", "time_cost=2"))
def test_a_stolen_table_holds_no_password_that_can_be_guessed_cheaply(service: Service) -> None:
    with service.app.app_context():  # what `users create` calls, after it has asked for the password
        service.module("identity.users").create("ada@example.com", SHARED)
    works(attempt(service.client(), "ada@example.com", SHARED).status == SIGNED_IN, "the right password is accepted")
    text = stored(service, "ada@example.com")
    harm(not FORMAT.match(text), f"a password is stored as a weaker hash: {text}")


class Slow:
    """Compares passwords as the service's hasher does, after a moment in which another comparison may begin."""

    def __init__(self, service: Service) -> None:
        self.running: list[str] = []
        self.most = 0
        self._meeting = Meeting(2, 0.3)
        passwords = service.module("state").state_of(service.app).passwords
        self._real, passwords._hasher = passwords._hasher, self

    def verify(self, target: str, password: bytes) -> bool:
        self.running.append(target)
        self.most = max(self.most, len(self.running))
        self._meeting.wait()
        self.running.pop()
        return bool(self._real.verify(target, password))


@protects(
    "password-hash-concurrency",
    slots=edit("identity/passwords.py", "with self._hash_slot(rank):\n            try:", "if True:\n            try:"),
)
def test_two_logins_at_once_take_the_memory_of_one(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.module("identity.passwords"), "WAIT_SECONDS", 60.0)  # a busy machine hashes slowly
    users = [service.user() for _ in range(2)]
    slow = Slow(service)
    answers = at_once([partial(attempt, service.client(user), user.email, user.password) for user in users])
    works([answer.status for answer in answers] == [SIGNED_IN, SIGNED_IN], "two users sign in at the same time")
    harm(slow.most > 1, "more hashes ran at the same time than the reserved memory allows")


# --- what may be chosen ------------------------------------------------------------------------------------------

FILE = "identity/passwords.py"


@protects(
    "password-length-15",
    length=edit("identity/passwords.py", "if length(password) < SHORTEST:", "if length(password) < 14:"),
)
def test_fourteen_characters_are_no_password(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    client, other = (service.client(service.user()).login() for _ in range(2))
    Hashing(service, monkeypatch, cheap=True)
    works(other.change_password(PASSWORD, "vqotzlkhwmcxrbe").status == client.DONE["change_password"], "15 are allowed")
    assert client.user is not None
    before = stored(service, client.user.email)
    answer = client.change_password(PASSWORD, "vqotzlkhwmcxrb")
    harm(stored(service, client.user.email) != before, "a password of 14 characters was accepted")
    assert answer.status == 422
    assert "Use at least 15 characters" in answer.text


@protects(
    "password-blocklist",
    list=edit(FILE, "listed in common() or ", ""),
    context=edit(FILE, "map(_folded, context)", "()"),
)
def test_what_is_tried_first_is_no_password(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.app  # noqa: B018
    Hashing(service, monkeypatch, cheap=True)
    works(created(service, "ada@example.com", "correct lantern gravel ninety"), "a password of four words is accepted")
    harm(created(service, "bob@example.com", "cheaphornybastard"), "a common password was accepted")
    own = created(service, "quenby.orlaith@example.com", "quenby-orlaith-2026")
    harm(own, "a password made from the email address was accepted")


@protects(
    "password-long-and-exact",
    cut=edit(
        "identity/passwords.py",
        'return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")',
        'return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")[:199]',
    ),
)
def test_a_password_of_200_characters_counts_to_its_last(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.app  # noqa: B018
    Hashing(service, monkeypatch, cheap=True)
    text = "".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(4))[:200]
    works(created(service, "ada@example.com", text), "a password of 200 characters is accepted")
    works(signs_in(service, "ada@example.com", text), "the user signs in with the long password")
    harm(signs_in(service, "ada@example.com", text[:199]), "the password without its last character opened the account")


@protects(
    "password-no-composition-no-expiry",
    composition=edit(
        "identity/passwords.py",
        "    if length(password) < SHORTEST:",
        "    if length(password) < SHORTEST or not re.search('[0-9]', password):",
    ),
)
def test_a_strong_password_of_letters_alone_is_taken(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.app  # noqa: B018
    Hashing(service, monkeypatch, cheap=True)
    works(created(service, "ada@example.com", "Quay 7 owls; 3 old Mules"), "a password of mixed characters is accepted")
    harm(not created(service, "bob@example.com", "vqotzlkhwmcxrbe"), "a strong password of only letters was refused")


# --- what becomes of a hash of former parameters -----------------------------------------------------------------


@protects(
    "password-rehash-on-login",
    rehash=edit("identity/login.py", "    _rehash(row, password)\n    return begun\n", "    return begun\n"),
)
def test_a_cheap_hash_gets_the_present_parameters_at_the_next_login(service: Service) -> None:
    user = service.user()
    store(service, user, cheap_hash(user.password))
    works(signs_in(service, user.email, user.password), "the right password is accepted")
    harm(not FORMAT.match(stored(service, user.email)), "the login left the weaker hash in place")
