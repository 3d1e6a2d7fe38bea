"""Edges of the proofs in test_guards.py: further attacks on the same protections."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import test_guards as core
from ..harness import edit, harm, protects, works
from ..logins import SIGNED_IN, attempt, stored
from ..rings import text_of
from ..running import Service
from ..test_guards import CHANGED, MAKE_KEY, configure, starts_with
from ..wire import HOST, ORIGIN
from .core import sabotages

if TYPE_CHECKING:
    import pytest
    from flask import Flask


PUT_BACK = ". Remove it, or put back the key that was used."
# --- keys ------------------------------------------------------------------------------------------------------

LONG = (
    *("changeme", "change-me", "change_me", "replace-me", "replaceme", "placeholder", "supersecret", "super-secret"),
    *("secretkey", "secret-key", "your-secret-key", "yoursecretkey", "password", "insecure", "development"),
)
SHORT = ("todo", "none", "null", "secret", "default", "example", "sample", "dev", "test", "testing")


@protects(
    "boot-refuse-weak-secret-key",
    placeholders=edit(
        "secrets/guessable.py", " or any(plain.startswith(word) and len(word) > 7 for word in PLACEHOLDERS)", ""
    ),
)
def test_key_that_begins_with_a_placeholder_is_refused(service: Service) -> None:
    random = secrets.token_urlsafe(32)
    works(service.start(SECRET_KEY=random).app is not None, "the service starts with a random key")
    for word in LONG:
        key = f" {word.upper()}{random}"
        tried = service.start(SECRET_KEY=key)
        harm(tried.app is not None, f"the service started with a key that begins with {word}")
        assert tried.reasons == [f"SECRET_KEY is a placeholder{MAKE_KEY}"]
    for word in SHORT:
        assert service.start(SECRET_KEY=word).reasons == [f"SECRET_KEY is a placeholder{MAKE_KEY}"]


@protects(
    "boot-refuse-weak-secret-key",
    ring=edit(
        "crypto/ring.py",
        "    if fault := weakness(key.text):\n",
        "    if not key.since and (fault := weakness(key.text)):\n",
    ),
)
def test_no_key_of_a_ring_can_be_guessed_or_is_there_twice(service: Service) -> None:
    good = [secrets.token_urlsafe(32) for _ in range(3)]
    states = ("retired", "active", "next")

    def ring(*keys: str) -> str:
        return text_of(service, *zip(keys, states, strict=True))

    for name in ("SECRET_KEY", "DATA_KEY"):
        works(service.start(**{name: ring(*good)}).app is not None, "the service starts with a ring of random keys")
        for number, (key, fault) in enumerate(WEAK.items()):
            at = number % 3
            tried = service.start(**{name: ring(*good[:at], key, *good[at + 1 :])})
            harm(tried.app is not None, f"the service started with a key in its ring that {fault}")
            assert tried.reasons == [f"{name}: key {at + 1} {fault}{PUT_BACK}"]
            assert key not in tried.text
    for third, fault in {
        good[0]: "equals DATA_KEY: key 1",
        service.environment.secrets["SECRET_KEY"]: "equals SECRET_KEY; one key is for one purpose",
    }.items():
        tried = service.start(DATA_KEY=ring(*good[:2], third))
        harm(tried.app is not None, f"the service started with a ring whose third key {fault}")
        assert tried.reasons == [f"DATA_KEY: key 3 {fault}{PUT_BACK}"]


@protects("boot-refuse-weak-secret-key", others=edit("start/guards.py", "    check_keys,\n", ""))
def test_no_other_secret_of_the_service_can_be_guessed(service: Service) -> None:
    works(service.start(DATA_KEY=secrets.token_hex(32)).app is not None, "the service starts with a random key")
    for key, fault in WEAK.items():
        tried = service.start(DATA_KEY=key)
        harm(tried.app is not None, f"the service started with a DATA_KEY that {fault}")
        assert tried.reasons == [f"DATA_KEY {fault}{MAKE_KEY}"]
        assert key not in tried.text
    tried = service.start(DATA_KEY=service.environment.secrets["SECRET_KEY"])
    harm(tried.app is not None, "the service started with one key for two purposes")
    assert tried.reasons == [f"DATA_KEY equals SECRET_KEY; one key is for one purpose{MAKE_KEY}"]
    if "DATABASE_PASSWORD" in service.environment.secrets:
        for key, fault in WEAK.items():
            tried = service.start(DATABASE_PASSWORD=key)
            assert tried.reasons == [f"DATABASE_PASSWORD {fault}{MAKE_KEY}"]
            assert key not in tried.text


# --- names -----------------------------------------------------------------------------------------------------


@protects(
    "boot-refuse-missing-trusted-hosts",
    wildcard=edit("start/guards.py", 'if host == "*" or (host.startswith(".") and', "if (host == '' and"),
)
def test_a_service_never_trusts_everybodys_names(service: Service) -> None:
    works(starts_with(service, f".{HOST},{HOST}"), "the service starts with a wildcard below its own name")
    # The origin's host lies below the entry, so that nothing else is wrong.
    second = (f"{HOST},{entry}" for entry in (".example", ".com", "*"))
    for value, number in ((".example", 1), ("*", 1), *((value, 2) for value in second)):
        tried = service.start(BASTION_TRUSTED_HOSTS=value)
        harm(tried.app is not None, f"the service started with BASTION_TRUSTED_HOSTS={value}")
        assert tried.reasons == [
            f"BASTION_TRUSTED_HOSTS: entry {number} trusts everybody's names. Name this service's hosts."
        ]


@protects(
    "boot-refuse-missing-trusted-hosts",
    no_name=edit("start/guards.py", "        elif not _HOST.match(host):", "        elif not host:"),
)
def test_a_service_trusts_only_what_is_a_name(service: Service) -> None:
    works(starts_with(service, f"{HOST},www.{HOST}"), "the service starts with two names")
    odd = ("https://app.example", "app.example/path", "app.example:8000", "[]", "app.*", "app example", "-app.example")
    for value in odd:
        tried = service.start(BASTION_TRUSTED_HOSTS=f"{HOST},{value}")
        harm(tried.app is not None, f"the service started with the host {value}")
        assert tried.reasons == ["BASTION_TRUSTED_HOSTS: entry 2 is no host name. Leave out scheme, port and path."]


@protects(
    "boot-refuse-missing-trusted-hosts",
    local=edit("start/guards.py", 'elif host in ("localhost", "127.0.0.1", "[::1]"):', "elif not host:"),
)
def test_a_service_in_production_is_not_this_machine(service: Service) -> None:
    works(starts_with(service, HOST), "the service starts with a public name")
    for value in ("localhost", "LOCALHOST", "127.0.0.1", "[::1]"):
        tried = service.start(BASTION_TRUSTED_HOSTS=f"{HOST},{value}")
        harm(tried.app is not None, f"the service started with the host {value}")
        assert tried.reasons == ["BASTION_TRUSTED_HOSTS: entry 2 is this machine. Name the public host."]


@protects(
    "boot-refuse-missing-trusted-hosts",
    origin=(
        edit(
            "start/guards.py",
            "ORIGIN.match(settings.public_origin)",
            'ORIGIN.match(settings.public_origin.replace("http:", "https:"))',
        ),
        edit("start/guards.py", 'public_origin.removeprefix("https://")', 'public_origin.partition("://")[2]'),
    ),
)
def test_a_service_whose_own_address_is_not_https_does_not_start(service: Service) -> None:
    works(service.start(BASTION_PUBLIC_ORIGIN=f"{ORIGIN}:8443").app is not None, "an https origin with a port passes")
    for value in (f"http://{HOST}", "", None, HOST, f"{ORIGIN}/", f"{ORIGIN}/path", f"https://user@{HOST}", "*"):
        tried = service.start(BASTION_PUBLIC_ORIGIN=value)
        harm(tried.app is not None, f"the service started with BASTION_PUBLIC_ORIGIN={value}")
        assert tried.reasons == [
            "BASTION_PUBLIC_ORIGIN is no https origin. Write it as in https://app.example, without a path."
        ]


@protects(
    "boot-refuse-missing-trusted-hosts",
    foreign=edit("start/guards.py", "    elif not faults and not named.", "    elif hosts is None and named."),
)
def test_public_origin_outside_the_trusted_hosts_is_refused(service: Service) -> None:
    works(starts_with(service, f".{HOST}", origin=f"https://www.{HOST}"), "an origin below a name is accepted")
    for origin in ("https://evil.example", f"https://{HOST}.evil.example", f"https://not{HOST}"):
        tried = service.start(BASTION_PUBLIC_ORIGIN=origin)
        harm(tried.app is not None, f"the service started with BASTION_PUBLIC_ORIGIN={origin}")
        assert tried.reasons == ["BASTION_PUBLIC_ORIGIN: its host is not in BASTION_TRUSTED_HOSTS. Add it there."]


# --- debugging aids --------------------------------------------------------------------------------------------


@protects(
    "production-by-default", flags=edit("start/guards.py", "    for flag in DEBUG_FLAGS:\n", "    for flag in ():\n")
)
def test_no_debugging_aid_is_on_in_production(service: Service) -> None:
    config: dict[str, bool] = {}
    service.adds(lambda app: app.config.update(config))
    works(service.start().app is not None, "the service starts without the flag")
    for flag in ("DEBUG", "TESTING", "PROPAGATE_EXCEPTIONS", "TEMPLATES_AUTO_RELOAD", "EXPLAIN_TEMPLATE_LOADING"):
        config.clear()
        config[flag] = True
        tried = service.start()
        harm(tried.app is not None, f"the service started with {flag}")
        assert tried.reasons == [f"{flag} is on. Remove it from the configuration; for development run `dev`."]
    config.clear()
    config["DEBUG"] = True
    works(service.start(BASTION_ENV="development").app is not None, "the service starts with DEBUG in development")


@protects(
    "production-by-default",
    environment=(
        edit("start/guards.py", "    check_debug,\n", ""),
        edit(
            "start/guards.py", 'DEBUG_FLAGS: Final = ("DEBUG", ', "DEBUG_FLAGS: Final = ("
        ),  # which Flask takes from it
    ),
)
def test_no_variable_turns_the_debugger_on(service: Service) -> None:
    for off in (None, "", "0", "false", "False", "no"):
        works(service.start(FLASK_DEBUG=off).app is not None, f"the service starts with FLASK_DEBUG={off}")
    for on in ("1", "true", "True", "on", "yes", "debug"):
        tried = service.start(FLASK_DEBUG=on)
        harm(tried.app is not None, f"the service started with FLASK_DEBUG={on}")
        assert tried.reasons == ["FLASK_DEBUG is on. Unset it; for development run `dev`."]


# --- what the team's function changed -----------------------------------------------------------------------------


@protects(
    "boot-refuse-weak-secret-key",
    replaced=edit("start/guards.py", 'PROTECTING: Final = ("SECRET_KEY", ', "PROTECTING: Final = ("),
)
def test_no_key_is_put_in_the_place_of_the_one_that_was_checked(service: Service) -> None:
    def replace(app: Flask) -> None:
        app.secret_key = "dev-canary"

    def fall_back(app: Flask) -> None:
        app.config["SECRET_KEY_FALLBACKS"] = ["dev-canary"]

    works(service.start().app is not None, "the service starts with the checked key")
    for change, name in ((replace, "SECRET_KEY"), (fall_back, "SECRET_KEY_FALLBACKS")):
        service._additions[:] = [change]
        tried = service.start()
        harm(tried.app is not None, f"the service started with a replaced {name}")
        assert tried.reasons == [f"app.config['{name}'] {CHANGED}"]
        assert "canary" not in tried.text


@protects(
    "json-strict",
    replaced=edit("start/guards.py", '        "request_class": app.request_class,\n', ""),
)
def test_the_class_that_reads_requests_is_not_replaced(service: Service) -> None:
    from flask import Request

    works(service.start().app is not None, "the service starts with its own request class")
    service.adds(lambda app: setattr(app, "request_class", Request))
    tried = service.start()
    harm(tried.app is not None, "the service started with Flask's own JSON parser")
    assert tried.reasons == [f"app.request_class {CHANGED}"]


@protects(
    "boot-refuse-weakened-protection",
    code=edit("start/guards.py", "\"extensions['bastion'].limits\": state_of(app).limits,", ""),
)
def test_no_limit_is_loosened_in_code(service: Service) -> None:
    from dataclasses import replace

    def loosen(app: Flask) -> None:
        state = app.extensions["bastion"]
        state.limits = replace(state.limits, login_failures=1_000_000)

    works(service.start().app is not None, "the service starts with the declared limits")
    service.adds(loosen)
    tried = service.start()
    harm(tried.app is not None, "the service started with an undeclared limit")
    assert tried.reasons == [f"app.extensions['bastion'].limits {CHANGED}"]


@protects(
    "deny-by-default",
    order=edit(
        "start/guards.py",
        "    if tuple(app.before_request_funcs[None][: len(before.hooks)]) != before.hooks:",
        "    if False:",
    ),
)
def test_nothing_of_the_team_runs_before_the_protections(service: Service) -> None:
    def hook() -> str:
        return "an answer to all clients"

    def later(app: Flask) -> None:
        app.before_request(lambda: None)

    works(service.start().app is not None, "the service starts with the team's function")
    service._additions[:] = [later]
    works(service.start().app is not None, "the service starts with a hook that runs after the protections")
    changes: dict[str, Callable[[Flask], Any]] = {
        "put first": lambda app: app.before_request_funcs[None].insert(0, hook),
        "put between": lambda app: app.before_request_funcs[None].insert(2, hook),
        "put in the place of the last": lambda app: app.before_request_funcs[None].__setitem__(-1, hook),
        "removed": lambda app: app.before_request_funcs[None].pop(),
        "cleared": lambda app: app.before_request_funcs.clear(),
    }
    for what, change in changes.items():
        service._additions[:] = [change]
        tried = service.start()
        harm(tried.app is not None, f"the service started with hooks {what}")
        assert tried.reasons == [
            "app.before_request_funcs was reordered: the protections no longer run first. Add to it with "
            "@app.before_request alone."
        ]


# --- the server, and the hasher of passwords ---------------------------------------------------------------------


@protects(
    "boot-refuse-weak-argon2",
    replaced=edit("__init__.py", "[*changed, *state.passwords.weaknesses()]", "[*changed]"),
)
def test_no_weaker_hasher_is_put_in_the_place_of_ours(service: Service) -> None:
    from argon2 import PasswordHasher, Type

    def replace(**parameters: Any) -> None:
        made = PasswordHasher(**{"time_cost": 3, "memory_cost": 65_536, "parallelism": 4, **parameters})
        service._additions[:] = [lambda app: setattr(app.extensions["bastion"].passwords, "_hasher", made)]

    replace()
    works(service.start().app is not None, "the service starts with an equally strong hasher")
    replace(time_cost=1, memory_cost=8)
    tried = service.start()
    harm(tried.app is not None, "the service started with a hasher for tests")
    assert [reason.partition(".")[0] for reason in tried.reasons] == [
        "Argon2: memory_cost is below 19456",
        "Argon2: time_cost is below 2",
    ]
    replace(type=Type.I)
    assert [reason.partition(".")[0] for reason in service.start().reasons] == ["Argon2: the type is not Argon2id"]


FEW = "".join(random.Random(1).choices("q7ZmK-x", k=64))  # noqa: S311  (it is to be a bad key)


TOO_SHORT = "is shorter than 32 random bytes (64 hex digits or 43 base64url characters)"


PHRASE = "no attacker will ever guess this one; it is far too long"


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
    PHRASE: "reads like a phrase, which is guessed word by word",
    "my-company-production-secret-key-2024-do-not-share": "reads like a phrase, which is guessed word by word",
}
"""Weak keys, and the reason for which each is refused."""


@protects(
    "boot-refuse-weak-secret-key",
    **sabotages(core.test_a_key_that_can_be_guessed_signs_nothing, "boot-refuse-weak-secret-key", "secret-key"),
    words=edit("secrets/guessable.py", "len(_WORD.findall(value)) > 3 or any(map(str.isspace, plain))", "False"),
)
def test_no_key_that_can_be_guessed_signs_anything(service: Service) -> None:
    for key in (secrets.token_hex(32), secrets.token_urlsafe(32), secrets.token_urlsafe(64)):
        works(service.start(SECRET_KEY=key).app is not None, "the service starts with a random key")
    for key, fault in WEAK.items():
        tried = service.start(SECRET_KEY=key)
        harm(tried.app is not None, f"the service started with a SECRET_KEY that {fault}")
        assert tried.reasons == [f"SECRET_KEY {fault}{MAKE_KEY}"]
        assert key not in tried.text


@protects(
    "boot-refuse-weakened-protection",
    flags=edit(
        "start/guards.py", "if app.config.get(name) != value),", 'if name == "SECRET_KEY" and app.secret_key != value),'
    ),
)
def test_flask_setting_that_carries_a_protection_is_kept(service: Service) -> None:
    weaker: dict[str, Any] = {
        "SESSION_COOKIE_SECURE": None,
        "SESSION_COOKIE_HTTPONLY": False,
        "SESSION_COOKIE_SAMESITE": "None",
        "SESSION_COOKIE_NAME": "session-id",
        "SESSION_COOKIE_DOMAIN": ".example",
        "MAX_CONTENT_LENGTH": 2**30,
        "TRUSTED_HOSTS": ["evil.example"],
    }
    works(service.start().app is not None, "the service starts with unchanged settings")
    for name, value in weaker.items():
        service._additions[:] = [partial(configure, {name: value})]
        tried = service.start()
        harm(tried.app is not None, f"the service started with {name}={value!r}")
        assert tried.reasons == [f"app.config[{name!r}] {CHANGED}"]


FLOOR = {"MEMORY_KIB": 19_456, "TIME_COST": 2, "PARALLELISM": 1, "SALT_BYTES": 16, "TAG_BYTES": 32}


NAMES = dict(zip(FLOOR, ("memory_cost", "time_cost", "parallelism", "salt_len", "hash_len"), strict=True))


@protects(
    "boot-refuse-weak-argon2",
    memory=edit("identity/passwords.py", '"memory_cost": 19_456', '"memory_cost": 8'),
    time=edit("identity/passwords.py", '"time_cost": 2', '"time_cost": 1'),
    salt=edit("identity/passwords.py", '"salt_len": 16, "hash_len": 32', '"salt_len": 8, "hash_len": 16'),
)
def test_no_password_is_hashed_below_any_floor(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = service.module("identity.passwords")
    for name, least in FLOOR.items():
        monkeypatch.setattr(passwords, name, least)
    user = service.user(password="hashed at exactly the floor")
    answer = attempt(service.client(), user.email, user.password)
    works(answer.status == SIGNED_IN, "the service starts at the floor, and a password hashed there signs in")
    works("$m=19456,t=2,p=1$" in stored(service, user.email), "the hash has these parameters")
    for name, least in FLOOR.items():
        with monkeypatch.context() as patch:
            patch.setattr(passwords, name, least - 1)
            tried = service.start()
        harm(tried.app is not None, f"the service started with {name}={least - 1}")
        assert tried.reasons == [
            f"Argon2: {NAMES[name]} is below {least}. Put the numbers of bastion/identity/passwords.py back."
        ]
