"""Unit tests beside the proofs in test_passwords.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..accounts import signs_in
from ..edges.test_passwords import former
from ..harness import refused
from ..logins import (
    SIGNED_IN,
    attempt,
    cheap_user,
    store,
    stored,
)
from ..running import PASSWORD

if TYPE_CHECKING:
    import pytest

    from ..running import Service


def test_a_quarter_of_the_threads_may_wait_for_a_slot_and_one_at_least(service: Service) -> None:
    def places(threads: int) -> int:
        return int(service.module("identity.passwords").Passwords(concurrency=1, threads=threads)._places)

    assert [places(threads) for threads in (2, 6, 8, 64)] == [1, 1, 2, 16]


def test_whoever_waits_for_a_slot_in_vain_is_told_to_come_back(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = cheap_user(service)
    passwords = service.module("state").state_of(service.app).passwords
    monkeypatch.setattr(service.module("identity.passwords"), "WAIT_SECONDS", 0.001)
    with passwords._hash_slot():
        for _ in range(4):  # more than may wait at a time
            refused(attempt(service.client(), user.email, user.password), 503, "password-hash-concurrency")
    assert attempt(service.client(), user.email, user.password).status == SIGNED_IN


# --- what becomes of a hash of former parameters -----------------------------------------------------------------


def test_a_hash_that_cannot_be_made_anew_stops_no_login(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    user, weak = service.user(), former(PASSWORD)
    store(service, user, weak)

    def busy(_password: str) -> str:
        raise service.module("identity.passwords").Busy

    monkeypatch.setattr(service.module("state").state_of(service.app).passwords, "hash", busy)
    assert signs_in(service, user.email, user.password)
    assert stored(service, user.email) == weak
