"""Edges of the proofs in test_login.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, refused, works
from ..logins import (
    SIGNED_IN,
    WRONG,
    HashSpy,
    attempt,
    cheap_user,
    device_of,
    seen_by_client,
    sessions_of,
)

if TYPE_CHECKING:
    import pytest

    from ..running import Service, User


@protects(
    "login-uniform-failure",
    under_way=edit(
        "identity/sessions.py", '== values["user_id"], _u.active, *further)', '== values["user_id"], *further)'
    ),
)
def test_a_login_that_is_under_way_while_its_account_is_disabled_opens_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, victim = cheap_user(service), cheap_user(service)
    spy, users = HashSpy(service), service.module("identity.users")
    disabled: list[str] = []

    def verify(target: str, password: bytes) -> bool:
        matched = HashSpy.verify(spy, target, password)
        if disabled:
            users.set_active(users.find(disabled.pop()), False)
        return matched

    monkeypatch.setattr(spy, "verify", verify)
    works(attempt(service.client(), other.email, other.password).status == SIGNED_IN, "the right password signs in")
    disabled.append(victim.email)
    answer = attempt(service.client(), victim.email, victim.password)
    works(disabled == [], "the account was disabled after its password was compared")
    harm(sessions_of(service, victim), "a session was opened that lives again as soon as the account is enabled")
    plain = attempt(service.client(), other.email, WRONG)
    assert seen_by_client(answer, victim.email) == seen_by_client(plain, other.email)
    refused(answer, 401, "login-uniform-failure")
    assert [event["reason"] for event in service.log if event["event"] == "login.failure"] == ["disabled", "password"]


@protects("login-same-work", dummy=edit("identity/passwords.py", "return usable", "return True"))
def test_the_dummy_hash_lets_nobody_in(service: Service) -> None:
    from argon2 import PasswordHasher, Type

    user = cheap_user(service)
    passwords = service.module("state").state_of(service.app).passwords
    works(attempt(service.client(), user.email, user.password).status == SIGNED_IN, "the right password signs in")
    # As if the attacker had found a password that the dummy's random tag belongs to.
    passwords._dummy = PasswordHasher(1, 8, 1, type=Type.ID).hash(WRONG.encode())
    victim: User = service.user(password=None)
    answer = attempt(service.client(), victim.email, WRONG)
    harm(sessions_of(service, victim), "an account without a password was opened by the dummy's")
    refused(answer, 401, "login-uniform-failure")


# --- login-credentials-in-body-only ---------------------------------------------------------------------------------


@protects(
    "throttle-no-lockout-abuse",
    others=edit(
        "identity/devices.py", ".where(_d.user_id == user_id).order_by(_d", ".where(_d.user_id != user_id).order_by(_d"
    ),
)
def test_an_account_knows_its_last_ten_devices_and_no_login_forgets_anothers(service: Service) -> None:
    owner, other, stranger = (cheap_user(service) for _ in range(3))

    def known(user: User) -> int:
        table = service.module("identity.models").Device.__table__
        with service.engine.connect() as connection:
            return len(connection.execute(table.select().where(table.c.user_id == user.id)).all())

    def signs_in(user: User, device: str | None = None) -> str:
        answer = attempt(service.client(address="198.51.100.7"), user.email, user.password, device)
        assert answer.status == SIGNED_IN
        return device_of(answer)

    devices = [signs_in(owner) for _ in range(10)]
    for _ in range(10):
        signs_in(other)
    works((known(owner), known(other)) == (10, 10), "ten devices of each are known")
    signs_in(stranger)
    harm((known(owner), known(other)) != (10, 10), "a stranger's login makes devices of others unknown")
    signs_in(owner)
    assert (known(owner), known(other), known(stranger)) == (10, 10, 1)
    assert signs_in(owner, devices[1]) == devices[1]
    assert signs_in(owner, devices[0]) != devices[0]  # the one that was used longest ago is a new one again
