"""Proofs of start/guards.py: an unsafe start is refused; the error names every reason and its fix, and no value.

They stop a guessable key, an open host list or a debugging aid from going into production unseen.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

from .harness import edit, harm, protects, works
from .running import Service
from .wire import HOST, ORIGIN

if TYPE_CHECKING:
    import pytest
    from flask import Flask


MAKE_KEY = ". Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
WEAK: dict[str, str] = {
    "changeme" * 8: "is a placeholder",
    "0123456789abcdef" * 4: "repeats itself",
    "nobody will ever guess this one; it is far too long": "reads like a phrase, which is guessed word by word",
    secrets.token_hex(31): "is shorter than 32 random bytes (64 hex digits or 43 base64url characters)",
}
"""Keys that nobody should sign with, and what is said of each; the edges have more."""
# --- keys ------------------------------------------------------------------------------------------------------


@protects(
    "boot-refuse-weak-secret-key",
    secret_key=edit(
        "crypto/ring.py",
        "    if fault := weakness(key.text):\n",
        "    if (fault := weakness(key.text)) and key.name not in PURPOSES:\n",
    ),
)
def test_a_key_that_can_be_guessed_signs_nothing(service: Service) -> None:
    works(service.start(SECRET_KEY=secrets.token_hex(32)).app is not None, "the service starts with a random key")
    for key, fault in WEAK.items():
        tried = service.start(SECRET_KEY=key)
        harm(tried.app is not None, f"the service started with a SECRET_KEY that {fault}")
        assert tried.reasons == [f"SECRET_KEY {fault}{MAKE_KEY}"]
        assert key not in tried.text


# --- names -----------------------------------------------------------------------------------------------------


@protects(
    "boot-refuse-missing-trusted-hosts",
    missing=(
        edit("start/guards.py", "    if not hosts:\n", "    if hosts is None:\n"),
        edit("start/guards.py", "    elif not faults and not named.", "    elif hosts and not named."),
    ),
)
def test_a_service_without_names_of_its_own_does_not_start(service: Service) -> None:
    works(starts_with(service, f"{HOST},.{HOST}"), "the service starts with a host name and its subdomains")
    for value in (None, "", " , "):
        tried = service.start(BASTION_TRUSTED_HOSTS=value)
        harm(tried.app is not None, f"the service started with BASTION_TRUSTED_HOSTS={value!r}")
        assert [reason.partition(". ")[0] for reason in tried.reasons] == ["BASTION_TRUSTED_HOSTS is empty"]


def starts_with(service: Service, hosts: str, *, origin: str = ORIGIN) -> bool:
    return service.start(BASTION_TRUSTED_HOSTS=hosts, BASTION_PUBLIC_ORIGIN=origin).app is not None


# --- what the team's function changed -----------------------------------------------------------------------------

CHANGED = "was changed, and a protection depends on it. Leave it as it is."


@protects(
    "boot-refuse-weakened-protection",
    flags=edit(
        "start/guards.py", "if app.config.get(name) != value),", 'if name == "SECRET_KEY" and app.secret_key != value),'
    ),
)
def test_no_setting_of_flask_that_carries_a_protection_is_turned_off(service: Service) -> None:
    works(service.start().app is not None, "the service starts with unchanged settings")
    for name, value in {"SESSION_COOKIE_HTTPONLY": False, "MAX_CONTENT_LENGTH": 2**30}.items():
        service._additions[:] = [partial(configure, {name: value})]
        tried = service.start()
        harm(tried.app is not None, f"the service started with {name}={value!r}")
        assert tried.reasons == [f"app.config[{name!r}] {CHANGED}"]


def configure(values: dict[str, Any], app: Flask) -> None:
    app.config.update(values)


# --- the server, and the hasher of passwords ---------------------------------------------------------------------


@protects("boot-refuse-per-process-stores", server=edit("start/guards.py", "    check_server,\n", ""))
def test_nothing_starts_more_workers_than_the_service_knows_of(service: Service) -> None:
    works(service.start(WEB_CONCURRENCY="1").app is not None, "the service starts with WEB_CONCURRENCY=1")
    tried = service.start(GUNICORN_CMD_ARGS="--workers=4")
    harm(tried.app is not None, "the service started four workers, each with its own counters and writer")
    assert tried.reasons == [
        "GUNICORN_CMD_ARGS overrides the server's limits. Unset it; the README names the settings of the server."
    ]


@protects("boot-refuse-weak-argon2", memory=edit("identity/passwords.py", '"memory_cost": 19_456', '"memory_cost": 8'))
def test_no_password_is_hashed_below_the_floor(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = service.module("identity.passwords")
    monkeypatch.setattr(passwords, "MEMORY_KIB", 19_456)
    works(service.start().app is not None, "the service starts with the minimum memory cost")
    monkeypatch.setattr(passwords, "MEMORY_KIB", 19_455)
    tried = service.start()
    harm(tried.app is not None, "the service started with less memory per hash than OWASP recommends")
    cure = "Put the numbers of bastion/identity/passwords.py back."
    assert tried.reasons == [f"Argon2: memory_cost is below 19456. {cure}"]
