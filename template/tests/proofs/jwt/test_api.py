"""Proofs of jwt/api.py: a request that a browser sends cross-site without a preflight runs no view.

A form, or a fetch without a preflight, sends one of three types, or none. The bodies are correct JSON in each attack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..accounts import administrator
from ..harness import edit, harm, protects, refused, works
from ..routes import routes, stubbed, walkers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..running import Service


FILE = "jwt/api.py"
ROW = "api-needs-json-preflight"
BEFORE = edit(
    FILE, '        if request.content_length or "Transfer-Encoding" in request.headers:\n', "        if False:\n"
)
SIMPLE: dict[str, str | None] = {
    "plain text": "text/plain",
    "a form": "application/x-www-form-urlencoded",
    "a form with files": "multipart/form-data; boundary=application/json",
    "no type": None,
}
"""What needs no preflight (Fetch Standard, CORS-safelisted request-header)."""


def sends_each_type_to_each_route(
    service: Service, monkeypatch: pytest.MonkeyPatch, types: Mapping[str, str | None]
) -> None:
    """Send correct JSON to each route that writes, as JSON and then called by each of these other types."""
    service.adds_probe()
    unsafe = [route for route in routes(service) if route.method in ("POST", "PUT", "PATCH", "DELETE")]
    walked = [route for route in unsafe if not route.access.webhook]  # no browser signs: see test_webhooks.py
    assert len(walked) >= 8
    assert {("bastion.login", "POST"), ("bastion.exchange", "POST"), ("probe.create", "POST")} <= {
        route.name for route in walked
    }
    permissions = {name for route in walked for name in route.access.permissions}
    user = administrator(service, monkeypatch, also=permissions).user
    assert user is not None
    for route, client in zip(walked, walkers(service, user, requests=1 + len(types)), strict=False):
        with stubbed(service, route.endpoint) as ran:
            works(client.send(route.method, route.path, json={}).status == 200, f"{route} accepts JSON")
            ran.clear()
            for what, kind in types.items():
                answer = client.send(route.method, route.path, body=b"{}", headers={"Content-Type": kind})
                harm(ran, f"{route} ran for a body sent as {what}")
                refused(answer, 415, ROW)


@protects(ROW, view=BEFORE)
def test_no_route_at_all_takes_what_a_form_on_another_site_can_send(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    sends_each_type_to_each_route(service, monkeypatch, SIMPLE)
