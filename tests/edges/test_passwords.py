"""Edges of the proofs in test_passwords.py: further attacks on the same protections."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import log10
from typing import TYPE_CHECKING, Any

from ..accounts import signs_in
from ..harness import at_once, edit, harm, protects, refused, works
from ..logins import (
    SIGNED_IN,
    WRONG,
    HashSpy,
    attempt,
    cheap_user,
    device_of,
    sessions_of,
    step_up,
    store,
    stored,
)
from ..test_passwords import FORMAT, GUESSING, Flood, former, ready

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from ..running import Service
    from ..wire import Response


@protects(
    "password-argon2id",
    form=edit("identity/passwords.py", "stored.startswith(PREFIX)", 'stored.startswith("$argon2")'),
)
def test_a_row_of_a_weaker_form_opens_no_account_even_with_its_own_password(service: Service) -> None:
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
        harm(sessions_of(service, user) > before, f"a row with a {name} value signed somebody in")
    for answer in answers.values():
        refused(answer, 401, "login-uniform-failure")
    assert {*spy.compared} & {*planted.values()} == set()  # each takes as long as a right one


ATTACKERS = 8  # five more than are computed or wait at a time


def owner_comes(
    flood: Flood, attackers: Sequence[Callable[[], Response]], owner: Callable[[], Response]
) -> list[Response]:
    """Let the attackers take the slot and every place to wait, then the owner come. The owner's answer is the first."""
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
    """One wrong password from each address, for accounts that are not there."""
    clients = [ready(service.client(address=address)) for address in addresses]
    return [
        partial(flood.attempt, client, f"nobody-{n}@example.com", WRONG, **more) for n, client in enumerate(clients)
    ]


def fails(attacks: list[Callable[[], Response]]) -> bool:
    return [attack().status for attack in attacks] == [401] * len(attacks)


@protects(
    "password-hash-concurrency",
    network=edit("identity/login.py", "else self.network.number", "else 1"),
    turn=edit("identity/passwords.py", "insort(self._waiting, mine)", "self._waiting.append(mine)"),
)
def test_an_owner_at_another_address_signs_in_during_a_flood(service: Service) -> None:
    owner, flood = cheap_user(service), Flood(service)
    attackers = wrong_passwords(service, flood, [f"198.51.100.{number}" for number in range(ATTACKERS)])
    flood.end()
    works(fails(attackers), "each of the attackers has failed once")
    client, compared = ready(service.client(address="203.0.113.9")), flood.real.compared
    compared.clear()
    first, *others = owner_comes(flood, attackers, partial(flood.attempt, client, owner.email, owner.password))
    harm(not sessions_of(service, owner), "eight attackers at other addresses kept the owner out")
    assert first.status == SIGNED_IN
    assert [number for number, target in enumerate(compared) if target == stored(service, owner.email)] == [1]
    assert Counter(answer.status for answer in others) == {503: ATTACKERS - 2, 401: 2}
    for answer in others:
        if answer.status == 503:
            refused(answer, 503, "password-hash-concurrency")


@protects(
    "password-hash-concurrency",
    wide=edit("throttle.py", "number=max(spent.number, wider.number // WIDE)", "number=spent.number"),
)
def test_a_new_ipv6_network_of_one_site_is_not_served_first(service: Service) -> None:
    owner, flood = cheap_user(service), Flood(service)
    networks = [f"2001:db8:1:{number:x}::1" for number in range(13)]
    flood.end()
    works(fails(wrong_passwords(service, flood, networks[3:])), "ten networks of one /48 have failed once")
    client, attackers = ready(service.client(address="203.0.113.9")), wrong_passwords(service, flood, networks[:3])
    first, *_ = owner_comes(flood, attackers, partial(flood.attempt, client, owner.email, owner.password))
    harm(not sessions_of(service, owner), "a network that is new each time kept the owner out")
    assert first.status == SIGNED_IN


@protects(
    "password-hash-concurrency",
    device=edit("identity/login.py", "known=device is not None", "known=False"),
    session=edit("identity/login.py", "known=True", "known=False"),
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
    harm(sessions_of(service, owner) == before, "attackers kept the owner out on a known device")
    assert first.status == SIGNED_IN
    signed_in = ready(service.client(owner, "203.0.113.9").login())
    before = sessions_of(service, owner)
    attackers = wrong_passwords(service, flood, [f"198.51.100.{number}" for number in range(10, 13)])
    first, *_ = owner_comes(flood, attackers, partial(flood.counted, partial(step_up, signed_in, owner.password)))
    harm(sessions_of(service, owner) == before, "attackers kept a signed-in owner from proving who it is")
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
    works(fails(attackers), "each of the attackers has failed once")
    client = ready(service.client(address="203.0.113.9"))
    first, *_ = owner_comes(flood, attackers, partial(flood.attempt, client, owner.email, owner.password))
    harm(not sessions_of(service, owner), "attackers with a device of another account kept the owner out")
    assert first.status == SIGNED_IN


@protects(
    "password-hash-concurrency",
    own=edit("identity/login.py", "self.rate.number - HEAD_START", "1 - HEAD_START"),
)
def test_an_attackers_own_device_is_served_first_five_times_a_minute(service: Service) -> None:
    owner, mallory, flood = cheap_user(service), cheap_user(service), Flood(service)
    flood.end()
    device = device_of(attempt(service.client(), mallory.email, mallory.password))
    clients = [ready(service.client(address=f"198.51.100.{number}")) for number in range(8)]
    logins = [partial(flood.attempt, one, mallory.email, mallory.password, device=device) for one in clients]
    first_ones = service.module("identity.login").HEAD_START
    works([login().status for login in logins[:5]] == [SIGNED_IN] * first_ones, "an attacker has an own account")
    client = ready(service.client(address="203.0.113.9"))
    first, *_ = owner_comes(flood, logins[5:], partial(flood.attempt, client, owner.email, owner.password))
    harm(not sessions_of(service, owner), "an attacker's own device kept the owner out")
    assert first.status == SIGNED_IN


# --- what may be chosen ------------------------------------------------------------------------------------------


@protects("password-blocklist", measure=edit(GUESSING, "ENOUGH: Final = 8.0", "ENOUGH: Final = 6.0"))
def test_seven_unknown_characters_beside_a_common_password_are_too_few(service: Service) -> None:
    """The measure itself: eight characters of which nothing is known are asked for, or as much as they are worth."""
    faults = service.module("identity.passwords").faults
    service.app  # noqa: B018
    works(faults("passwordhK3v9Xq2") == [], "a common password and eight unknown characters are taken")
    harm(faults("password password hK3v9Xq") == [], "one with seven is taken as well")


NOTHING_KNOWN = {"kvwm": 4.0, "xy": 2.0, "-=q": 3.0, "q1a2": 4.0, "qsc": 3.0, "csq": 3.0, "vk": 2.0, "é98": 3.0}
"""Ten tries a character; the keys at the end of one row and the start of another are no walk, nor is what is no key."""
LONGEST = "orlaithvanderwickenthorpemontaguequenbys"
"""As long a part as is looked for."""
WALKS = ("wsx", "xsw", "okm", "zse", "qwe", "0-=", "QWE", "!@#", "lmnopqrst", "tsrqponml", "asdfghjkl;'")
CHEAP = {
    **dict.fromkeys(WALKS, 1.5),
    "wug": 0.5,
    **{"mmmm": 1.6, "jvwjvw": 3.3, "jvwqjvwqjvwq": 4.6, "kvwm kvwm": 4.3},  # a unit, and 0.3 each time that it returns
    **{LONGEST * 2: 0.8, f"kvwmjqx{LONGEST}": 7.5, f"kvwmjqx{LONGEST}s": 7.8},  # it leads over all that costs enough
    **{"kvwmwsx": 5.5, "x7asdfghjkl;'": 3.5},
    **{"1900": 2.0, "2099": 2.0, "kvqm1987kvqm": 10.0, "quenby": 0.5, "QUENBY 1999": 2.5},
    **{"123456": log10(2), "password": log10(3), "P@ssw0rd": log10(3), "monkey": log10(16)},  # one more than the rank
}
"""What is found sooner, in powers of ten."""


@protects("password-blocklist", years=edit(GUESSING, "        if word in YEARS:\n", "        if word in ():\n"))
def test_no_part_of_a_password_counts_for_more_than_it_takes_to_guess(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.app  # noqa: B018
    guessing, looked_up = service.module("identity.guessing"), list[str]()
    real = guessing.digest

    def digest(word: str) -> bytes:
        looked_up.append(word)
        return bytes(real(word))

    def tries(text: str) -> float:
        found: float = guessing.tries(text, ("Quenby", "vk", "Wug", LONGEST))
        return round(found, 6)

    works({text: tries(text) for text in NOTHING_KNOWN} == NOTHING_KNOWN, "what nobody knows counts in full")
    harm([text for text, most in CHEAP.items() if tries(text) > round(most, 6)], "what is tried early counts for more")
    assert {text: tries(text) for text in CHEAP} == {text: round(power, 6) for text, power in CHEAP.items()}
    monkeypatch.setattr(guessing, "digest", digest)
    unknown = "".join(random.Random(3).choices("kvqmxjwz", k=1_000))  # noqa: S311  (the same each time)
    assert tries(unknown) == guessing.ENOUGH
    assert len(looked_up) < 4_000  # what comes behind the first fifty characters costs nothing
    with service.app.app_context():
        context = service.module("identity.passwords").context_of("ada@mill.example", "Ada Byron")
        name: str = service.module("state").state().service_name
    words = {"ada", "mill", "byron", "app", *(word for word in name.split("-") if len(word) > 2)}
    assert words - {*context} == set()  # of the account, the service's host and its name


@protects(
    "password-blocklist",
    checksum=edit(GUESSING, "        raise ValueError(FILE.name)\n", "        pass\n"),
)
def test_a_list_that_was_cut_short_or_altered_starts_nothing(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guessing = service.module("identity.guessing")
    works(service.start().app is not None, "with the whole list it starts")
    lines = guessing.FILE.read_text(encoding="ascii").splitlines()
    swapped = lines[-2].swapcase()
    for name, kept in {"cut": lines[:-9], "altered": [*lines[:-2], swapped, lines[-1]], "empty": []}.items():
        (tmp_path / name).write_text("\n".join(kept), encoding="ascii")
        monkeypatch.setattr(guessing, "FILE", tmp_path / name)
        guessing.ranks.cache_clear()
        start = service.start()
        harm(start.app, f"it starts with a list that is {name}")
        [reason] = start.reasons
        assert reason.startswith(f"{name}: the list is missing, cut short or altered.")


# --- what becomes of a hash of former parameters -----------------------------------------------------------------


@protects(
    "password-rehash-on-login",
    changed=edit(
        "identity/login.py",
        "unchanged = (_u.id == row.id, _u.password_hash == row.password_hash)",
        "unchanged = (_u.id == row.id,)",
    ),
)
def test_a_password_that_is_changed_during_the_login_stays_changed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    harm(stored(service, user.email) != newer, "the former password is in force again")


@protects(
    "password-rehash-on-login", twice=edit("identity/login.py", "    for _ in range(2):\n", "    for _ in range(1):\n")
)
def test_of_two_logins_at_once_the_one_that_stores_a_hash_anew_shuts_out_no_other(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, login = cheap_user(service), service.module("identity.login")
    works(signs_in(service, user.email, user.password), "the right password signs in")
    store(service, user, former(user.password))
    real, others = login._matches, ["203.0.113.81"]

    def matches_while_another_signs_in(*arguments: Any) -> bool:
        found = bool(real(*arguments))
        if others:
            assert at_once([partial(signs_in, service, user.email, user.password, others.pop())]) == [True]
        return found

    monkeypatch.setattr(login, "_matches", matches_while_another_signs_in)
    signed_in = signs_in(service, user.email, user.password, "203.0.113.82")
    assert FORMAT.match(stored(service, user.email))
    harm(not signed_in, "the right password was refused, because another login had just stored it anew")
