"""Unit tests beside the proofs in test_guards.py."""

from __future__ import annotations

import json
import random
import secrets
import string
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..edges.test_guards import PUT_BACK
from ..running import Service
from ..service import DATABASE
from ..test_guards import CHANGED

if TYPE_CHECKING:
    from flask import Flask


# --- keys ------------------------------------------------------------------------------------------------------


def test_no_random_key_is_refused(service: Service) -> None:
    weakness, chance = service.module("secrets.guessable").weakness, random.Random(7)  # noqa: S311  (the same each time)
    signs = f"{string.ascii_letters}{string.digits}-_"
    keys = ["".join(chance.choices(signs, k=length)) for length in [43] * 1_000 + [512] * 10]
    assert [key for key in keys if weakness(key)] == []


def test_what_is_no_ring_stops_the_start(service: Service) -> None:
    good = {"kty": "oct", "k": secrets.token_urlsafe(32), "status": "active", "since": 1_767_225_600}
    assert service.start(SECRET_KEY=json.dumps({"keys": [good]})).app is not None
    needs = "key 1 needs kty (oct), k, a status (active, next or retired) and since in seconds"
    values: dict[str, tuple[object, ...]] = {
        "kty": ("RSA", None),
        "k": (1, None),
        "status": ("removed", None, "Active"),
        "since": (None, "1767225600", True, 0, 1_767_225_600_000),
    }
    for member, wrong_ones in values.items():
        for value in wrong_ones:
            tried = service.start(SECRET_KEY=json.dumps({"keys": [{**good, member: value}]}))
            assert tried.reasons == [f"SECRET_KEY: {needs}{PUT_BACK}"]
    more = [{**good, "k": secrets.token_urlsafe(32)} for _ in range(10)]
    wrong: tuple[tuple[list[dict[str, Any]], str], ...] = (
        ([], "is no JWK Set with 1 to 10 keys"),
        ([good, *more], "is no JWK Set with 1 to 10 keys"),
        ([good, more[0]], "has 2 active keys; one key is used"),
        ([{**good, "status": "next"}], "has no active key; one key is used"),
    )
    for keys, fault in wrong:
        tried = service.start(SECRET_KEY=json.dumps({"keys": keys}))
        assert tried.reasons == [f"SECRET_KEY: the ring {fault}. Put back the one that was used."]
        assert str(good["k"]) not in tried.text
    for text in ('{"keys": [', '{"keys": [], "keys": []}', "{}"):
        assert [reason.partition(" is no")[0] for reason in service.start(SECRET_KEY=text).reasons] == [
            "SECRET_KEY: the ring"
        ]


# --- what the team's function changed -----------------------------------------------------------------------------


def test_no_other_part_that_carries_a_protection_is_replaced(service: Service) -> None:
    from flask.sessions import SecureCookieSessionInterface

    parts: dict[str, Callable[[Flask], Any]] = {
        "app.session_interface": lambda app: setattr(app, "session_interface", SecureCookieSessionInterface()),
        "app.config['MAX_CONTENT_LENGTH']": lambda app: app.config.update(MAX_CONTENT_LENGTH=2**30),
        "app.config['TRUSTED_HOSTS']": lambda app: app.config.update(TRUSTED_HOSTS=["evil.example"]),
        "app.config['SESSION_COOKIE_SECURE']": lambda app: app.config.update(SESSION_COOKIE_SECURE=None),
        "app.config['SESSION_COOKIE_NAME']": lambda app: app.config.update(SESSION_COOKIE_NAME="x"),
    }
    for name, change in parts.items():
        service._additions[:] = [change]
        tried = service.start()
        assert tried.app is None, name
        assert tried.reasons == [f"{name} {CHANGED}"]
    service._additions[:] = [*parts.values()]
    assert sorted(service.start().reasons) == sorted(f"{name} {CHANGED}" for name in parts)


# --- all reasons at once ---------------------------------------------------------------------------------------


def test_a_database_that_does_not_answer_stops_the_start_and_its_address_is_not_shown(
    service: Service, tmp_path: Path
) -> None:
    assert service.start().app is not None
    tried = service.start(DATABASE_URL=nowhere(tmp_path))
    assert tried.app is None
    assert tried.reasons == [
        "DATABASE_URL: the database does not answer (OperationalError). Check that it runs, its address, user, "
        "password and certificate."
    ]
    assert "canary" not in tried.text


def test_all_that_is_wrong_is_said_at_once_with_setting_and_cure_and_without_a_value(
    service: Service, tmp_path: Path
) -> None:
    assert service.start().app is not None
    wrong: dict[str, str | None] = {
        "SECRET_KEY": "changeme-canary-" * 3,
        "DATA_KEY": "canary",
        "DATABASE_URL": nowhere(tmp_path),
        "BASTION_TRUSTED_HOSTS": "https://canary.example",
        "BASTION_PUBLIC_ORIGIN": "http://canary.example",
        "BASTION_PROXY_HOPS": "canary",
        "BASTION_TRUSTED_PROXIES": "canary/8",
        "BASTION_THREADS": "100000",
        "BASTION_LOG_LEVEL": "canary",
        "BASTION_TRUSTED_HOST": "canary.example",
        "FLASK_DEBUG": "canary",
    }
    tried = service.start(**wrong)
    assert tried.app is None
    told = {name: [reason for reason in tried.reasons if named(reason) == name] for name in wrong}
    assert {name: len(reasons) for name, reasons in told.items()} == dict.fromkeys(wrong, 1)
    assert len(tried.reasons) == len(wrong)
    for reason in tried.reasons:
        assert reason.count(". ") >= 1, f"no cure: {reason}"
        assert f"\n  - {reason}" in tried.text
    assert "canary" not in tried.text
    assert "100000" not in tried.text


def nowhere(folder: Path) -> str:
    """The address of a database that does not answer."""
    return f"sqlite:///{folder}" if DATABASE == "sqlite" else f"{DATABASE}://canary@127.0.0.1:1/canary"


def named(reason: str) -> str:
    """The setting or secret that a reason begins with."""
    return reason.removeprefix("SECRET '").replace("'", " ").replace(":", " ").partition(" ")[0]


def test_in_development_the_service_listens_on_this_machine_alone(service: Service) -> None:
    check, start = service.module("start.guards").check_bind, SimpleNamespace
    here = ("127.0.0.1:8000", "localhost:8000", "[::1]:8000", "unix:/run/service.sock")
    elsewhere = ("0.0.0.0:8000", "[::]:8000", "192.0.2.1:8000", ":8000", "app.example:8000")
    refused = [bind for bind in (*here, *elsewhere) if [*check(start(settings=start(bind=bind)))]]
    assert refused == [*elsewhere]
