"""Proofs of guards.py: an unsafe start is refused, with every reason and its cure, and without a value.

They stop a guessable key, an open host list or a debugging aid from going into production unseen.
"""

from __future__ import annotations

import random
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

from .harness import edit, harm, protects, works
from .logins import SIGNED_IN, attempt, stored
from .running import Service
from .wire import HOST, ORIGIN

if TYPE_CHECKING:
    import pytest
    from flask import Flask


MAKE_KEY = ". Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
FEW = "".join(random.Random(1).choices("q7ZmK-x", k=64))  # noqa: S311  (it is to be a bad key)
TOO_SHORT = "is shorter than 32 random bytes (64 hex digits or 43 base64url characters)"
PHRASES = (
    "nobody will ever guess this one; it is far too long",
    "NobodyGuessesOurProductionKeySinceItIsLong2024!",
    "notre-cle-secrete-pour-le-service-de-production-1",
)
WEAK: dict[str, str] = {
    "changeme" * 8: "is a placeholder",
    "your-secret-key-0123456789-abcdefghijklmnopqrstuvwxyz": "is a placeholder",
    "password": "is a placeholder",
    "a" * 64: "repeats itself",
    "0123456789abcdef" * 4: "repeats itself",
    "correct-horse-battery-staple!" * 2: "repeats itself",
    "abcdefghijklmnopqrstuvwxyz0123456789zyxwvutsrqponm": "is a sequence",
    "zyxwvutsrqponmlkjihgfedcba9876543210zyxwvuts": "is a sequence",
    "00112233445566778899aabbccddeeffgghhiijjkkll": "is a sequence",
    FEW: "has fewer than 10 different characters",
    secrets.token_hex(31): TOO_SHORT,
    secrets.token_urlsafe(31): TOO_SHORT,
    **dict.fromkeys(PHRASES, "reads like a phrase, which is guessed word by word"),
}
"""Keys that nobody should sign with, and what is said of each."""
# --- keys ------------------------------------------------------------------------------------------------------


@protects(
    "boot-refuse-weak-secret-key",
    secret_key=edit(
        "secrets/ring.py",
        "    if fault := weakness(key.text):\n",
        "    if (fault := weakness(key.text)) and key.name not in PURPOSES:\n",
    ),
    words=edit("secrets/guessable.py", "(common >= WORDY and common * 10 >= len(pairs) * 3)", "False"),
)
def test_a_key_that_can_be_guessed_signs_nothing(service: Service) -> None:
    for key in (secrets.token_hex(32), secrets.token_urlsafe(32), secrets.token_urlsafe(64)):
        works(service.start(SECRET_KEY=key).app is not None, "a random key starts")
    for key, fault in WEAK.items():
        tried = service.start(SECRET_KEY=key)
        harm(tried.app is not None, f"it started with a SECRET_KEY that {fault}")
        assert tried.reasons == [f"SECRET_KEY {fault}{MAKE_KEY}"]
        assert key not in tried.text


# --- names -----------------------------------------------------------------------------------------------------


@protects(
    "boot-refuse-missing-trusted-hosts",
    missing=(
        edit("guards.py", "    if not hosts:\n", "    if hosts is None:\n"),
        edit("guards.py", "    elif not faults and not named.", "    elif hosts and not named."),
    ),
)
def test_a_service_without_names_of_its_own_does_not_start(service: Service) -> None:
    works(starts_with(service, f"{HOST},.{HOST}"), "a name, and the names below it, start")
    for value in (None, "", " ", ",", " , "):
        tried = service.start(BASTION_TRUSTED_HOSTS=value)
        harm(tried.app is not None, f"it started with BASTION_TRUSTED_HOSTS={value!r}")
        assert tried.reasons == [
            "BASTION_TRUSTED_HOSTS is empty. Name the hosts of this service, as in app.example,www.app.example."
        ]


def starts_with(service: Service, hosts: str, *, origin: str = ORIGIN) -> bool:
    return service.start(BASTION_TRUSTED_HOSTS=hosts, BASTION_PUBLIC_ORIGIN=origin).app is not None


# --- what the team's function changed -----------------------------------------------------------------------------

CHANGED = "was changed, and a protection depends on it. Leave it as it is."


@protects(
    "boot-refuse-weakened-protection",
    flags=edit(
        "guards.py", "if app.config.get(name) != value),", 'if name == "SECRET_KEY" and app.secret_key != value),'
    ),
)
def test_no_setting_of_flask_that_carries_a_protection_is_turned_off(service: Service) -> None:
    weaker: dict[str, Any] = {
        "SESSION_COOKIE_SECURE": None,
        "SESSION_COOKIE_HTTPONLY": False,
        "SESSION_COOKIE_SAMESITE": "None",
        "SESSION_COOKIE_NAME": "session-id",
        "SESSION_COOKIE_DOMAIN": ".example",
        "MAX_CONTENT_LENGTH": 2**30,
        "TRUSTED_HOSTS": ["evil.example"],
    }
    works(service.start().app is not None, "the settings as the layers make them start")
    for name, value in weaker.items():
        service._additions[:] = [partial(configure, {name: value})]
        tried = service.start()
        harm(tried.app is not None, f"it started with {name}={value!r}")
        assert tried.reasons == [f"app.config[{name!r}] {CHANGED}"]


def configure(values: dict[str, Any], app: Flask) -> None:
    app.config.update(values)


# --- the server, and the hasher of passwords ---------------------------------------------------------------------


@protects("boot-refuse-per-process-stores", server=edit("guards.py", "    check_server,\n", ""))
def test_nothing_starts_more_workers_than_the_service_knows_of(service: Service) -> None:
    works(service.start(WEB_CONCURRENCY="1").app is not None, "one worker, said where the service reads it, starts")
    tried = service.start(GUNICORN_CMD_ARGS="--workers=4")
    harm(tried.app is not None, "it started for four processes, each with counters and a writer of its own")
    assert tried.reasons == [
        "GUNICORN_CMD_ARGS overrides the server's limits. Unset it; the README names the settings of the server."
    ]


FLOOR = {"MEMORY_KIB": 19_456, "TIME_COST": 2, "PARALLELISM": 1, "SALT_BYTES": 16, "TAG_BYTES": 32}
NAMES = dict(zip(FLOOR, ("memory_cost", "time_cost", "parallelism", "salt_len", "hash_len"), strict=True))


@protects(
    "boot-refuse-weak-argon2",
    memory=edit("identity/passwords.py", '"memory_cost": 19_456', '"memory_cost": 8'),
    time=edit("identity/passwords.py", '"time_cost": 2', '"time_cost": 1'),
    salt=edit("identity/passwords.py", '"salt_len": 16, "hash_len": 32', '"salt_len": 8, "hash_len": 16'),
)
def test_no_password_is_hashed_below_the_floor(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = service.module("identity.passwords")
    for name, least in FLOOR.items():
        monkeypatch.setattr(passwords, name, least)
    user = service.user(password="hashed at exactly the floor")
    answer = attempt(service.client(), user.email, user.password)
    works(answer.status == SIGNED_IN, "exactly the floor starts, and a password hashed there signs in")
    works("$m=19456,t=2,p=1$" in stored(service, user.email), "with these numbers")
    for name, least in FLOOR.items():
        with monkeypatch.context() as patch:
            patch.setattr(passwords, name, least - 1)
            tried = service.start()
        harm(tried.app is not None, f"it started with {name}={least - 1}")
        assert tried.reasons == [
            f"Argon2: {NAMES[name]} is below {least}. Put the numbers of bastion/identity/passwords.py back."
        ]
