"""Plain tests of request/webhooks.py: the senders' own examples, and a key that changes while the service runs."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import pytest

from ..test_webhooks import NAME, PATH, STANDARD, adds_webhook
from ..webhooks import signed

if TYPE_CHECKING:
    from ..running import Service


def test_the_example_of_github_verifies(service: Service) -> None:
    """Of "Validating webhook deliveries" in GitHub's documentation."""
    webhooks = service.module("request.webhooks")
    sent = {"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    delivery = webhooks.github("X").claimed(sent, b"Hello, World!")
    assert delivery.message == b"Hello, World!"
    assert delivery.signatures == [hmac.digest(b"It's a Secret to Everybody", delivery.message, "sha256").hex()]


@pytest.mark.parametrize(
    "text", ["", "t=,v1=a", "v1=a", "t=1e9,v1=a", "t=-1,v1=a", "t=99999999999,v1=a", "t=\u0661,v1=a"]
)
def test_a_time_that_is_no_number_is_no_delivery(service: Service, text: str) -> None:
    assert service.module("request.webhooks").stripe("X").claimed({"Stripe-Signature": text}, b"") is None


def test_a_changed_key_counts_without_a_restart(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    former, new = "00112233445566778899aabbccddeeff" * 2, "ffeeddccbbaa99887766554433221100" * 2
    adds_webhook(service, monkeypatch, STANDARD, former)
    kept, held = service.module("state").state_of(service.app).secrets, {NAME: former}
    get, secret = kept.get, service.module("secrets").Secret

    def refresh(name: str) -> bool:
        held[name] = new
        return True

    monkeypatch.setattr(kept, "get", lambda name: secret(held[name]) if name in held else get(name))
    monkeypatch.setattr(kept, "refresh", refresh)
    headers = signed(STANDARD, new, b"{}", int(service.now().timestamp()))
    assert service.client().post(PATH, body=b"{}", content_type="application/json", headers=headers).status == 200
