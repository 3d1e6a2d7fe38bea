"""Webhooks: no view runs for a request that the foreign system did not sign, and none twice for one delivery.

The walk covers every webhook that the team adds later; its view is replaced by one that only records.
"""

from __future__ import annotations

import secrets
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .harness import edit, harm, protects, refused, works
from .routes import routes, stubbed
from .service import PACKAGE
from .webhooks import UNSIGNED, signed

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from .running import Service
    from .wire import Response


ROW = "webhook-signature-required"
REPLAY = "webhook-replay-refused"
LIMIT = "webhook-throttle"
NAME, PATH, BODY = "PROOF_WEBHOOK_SECRET", "/probe-hook", b'{"event": "paid"}'
STANDARD = "standard_webhooks"


def adds_webhook(
    service: Service, monkeypatch: pytest.MonkeyPatch, scheme: str = STANDARD, *keys: str, most: int = 300, **route: Any
) -> list[str]:
    """Add a webhook at PATH whose secret holds these keys, or a random one: the list of its view's runs."""
    settings = import_module(f"{PACKAGE}.app").create_app.settings_class
    monkeypatch.setattr(settings, "secrets", {**settings.secrets, NAME: "verifies the proofs' webhook"})
    service.environment.secrets[NAME] = ""
    service.secret(NAME, " ".join(keys) or secrets.token_hex(32))
    bastion = service.module()
    mark = bastion.webhook(getattr(bastion, scheme)(NAME), per_minute=most)
    return service.adds_route(PATH, mark=mark, **{"methods": ("POST",), **route})


def sends(service: Service, headers: Mapping[str, str | None], body: bytes = BODY) -> Response:
    """Send a delivery as it was recorded, from no browser: nothing of it is signed anew."""
    bare = {**UNSIGNED, "Cookie": None, "Origin": None, "Referer": None, "Sec-Fetch-Site": None}
    return service.client().post(PATH, body=body, content_type="application/json", headers={**bare, **headers})


@protects(
    ROW,
    signature=edit("request/webhooks.py", "        return self._matches(delivery) or (", "        return True or ("),
)
def test_no_webhook_runs_for_a_forged_signature(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    adds_webhook(service, monkeypatch)
    walked = [route for route in routes(service) if route.access.webhook]
    assert PATH in {route.path for route in walked}
    for route in walked:
        sender, at = service.client(), int(service.now().timestamp())
        scheme, key = (
            route.access.webhook.scheme,
            service.environment.secrets[route.access.webhook.secret_name].split()[0],
        )
        with stubbed(service, route.endpoint) as ran:
            works(sender.post(route.path, json={"a": 1}).status == 200, f"{route} accepts a signed delivery")
            ran.clear()
            forged = [UNSIGNED, signed(scheme, secrets.token_hex(32), BODY, at), signed(scheme, key, b"{}", at)]
            answers = [sender.post(route.path, json={"a": 2}, headers=one) for one in forged]
            harm(ran, f"{route} ran for a delivery without its sender's signature")
            for answer in answers:
                refused(answer, 403, ROW)
                assert answer.mimetype == "application/problem+json"


@protects(REPLAY, again=edit("request/webhooks.py", "    if spent is None:\n", "    if False:\n"))
@protects(REPLAY, time=edit("request/webhooks.py", "abs(seconds() - delivery.at) > TOLERANCE", "delivery.at < 0"))
def test_a_recorded_delivery_is_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    key = secrets.token_hex(32)
    seen, now = adds_webhook(service, monkeypatch, STANDARD, key), int(service.now().timestamp())
    first, second, old = (signed(STANDARD, key, BODY, now - seconds) for seconds in (0, 200, 301))
    works(sends(service, first).status == 200, "a delivery is accepted")
    works(sends(service, second).status == 200, "another one of the same content is accepted")
    seen.clear()
    answers = [sends(service, recorded) for recorded in (first, old)]
    harm(seen, "a recorded delivery ran the view again")
    for answer in answers:
        refused(answer, 403, REPLAY)
    assert service.rows("SELECT times FROM audit_event WHERE kind = 'webhook.refused'") == [(2,)]


@protects(LIMIT, limit=edit("request/webhooks.py", 'ceiling.hit("")) is not None', 'ceiling.hit("")) == 0'))
def test_a_webhook_runs_no_more_often_than_it_declares(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, sender = adds_webhook(service, monkeypatch, most=2), service.client()
    forged = sender.post(PATH, json={}, headers=UNSIGNED)
    works(
        [sender.post(PATH, json={}).status for _ in range(2)] == [200, 200],
        "as many deliveries as declared are accepted",
    )
    works(forged.status == 403, "a forged delivery does not count")
    seen.clear()
    answer = sender.post(PATH, json={})
    harm(seen, "a webhook ran more often in a minute than it declares")
    refused(answer, 429, LIMIT)
    assert answer.header("Retry-After")
