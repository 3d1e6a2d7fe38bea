"""Unit tests beside the proofs in test_throttle.py."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from ..accounts import DONE, with_app
from ..authenticator import Authenticator
from ..edges.test_throttle import has_tried
from ..logins import (
    SIGNED_IN,
    attempt,
    cheap_user,
)
from ..test_throttle import SPRAYER

if TYPE_CHECKING:
    from ..running import Service


# --- login-throttle-ip ----------------------------------------------------------------------------------------------


def test_what_a_process_with_a_slower_clock_has_counted_on_is_given_back_all_the_same(service: Service) -> None:
    with service.app.app_context():
        throttle = service.module("throttle")
        two = throttle.Allowance(2, timedelta(minutes=1))
        service.travel(seconds=5)
        ahead, _ = throttle.take("proof", "somebody", two)
        service.travel(seconds=-5)
        behind, _ = throttle.take("proof", "somebody", two)
        assert throttle.take("proof", "somebody", two)[0] is None
        throttle.refund(ahead)
        throttle.refund(behind)
        assert [throttle.take("proof", "somebody", two)[0] is None for _ in range(3)] == [False, False, True]


def test_a_right_passkey_or_code_uses_up_nothing_of_its_network(service: Service) -> None:
    user, device = cheap_user(service), Authenticator()
    client = service.client(user, address=SPRAYER).login()
    options, state = client.passkey_options()
    assert client.add_passkey(state, device.create(options)).status == DONE["add_passkey"]
    app = with_app(service, user)
    has_tried(service, SPRAYER, service.limits.login_failures_per_minute_and_network - 1)
    options, state = client.step_up_options()
    assert client.step_up_with_passkey(state, device.get(options)).status == DONE["step_up_with_passkey"]
    options, state = client.login_passkey_options()
    assert client.login_with_passkey(state, device.get(options)).status == DONE["login_with_passkey"]
    attempt(client, user.email, user.password)
    options, state = client.factor_passkey_options()
    assert client.send_passkey(state, device.get(options)).status == DONE["send_passkey"]
    attempt(client, user.email, user.password)
    assert client.send_code(app.code()).status == DONE["send_code"]
    other = cheap_user(service)
    assert attempt(service.client(address=SPRAYER), other.email, other.password).status == SIGNED_IN
