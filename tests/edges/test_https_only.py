"""Edges of the proofs in test_https_only.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import edit, harm, protects, refused, works
from ..test_https_only import ROW

if TYPE_CHECKING:
    from ..running import Service


HTTPS = "            or self._https.refuse(environ)  # before a credential or body is read\n"
CEILING = "            or self._ceiling.refuse(environ)  # before work is done for the request\n"
TARGET = "            or target.refuse(environ)  # before a route is looked for\n"


@protects(ROW, counted=edit("edge/__init__.py", HTTPS + CEILING, CEILING + HTTPS))
@protects("default-throttle", target=edit("edge/__init__.py", CEILING + TARGET, TARGET + CEILING))
def test_clear_text_is_not_counted_and_odd_targets_are(service: Service) -> None:
    """Otherwise a page of another site uses up a visitor's allowance, or odd addresses are asked for without end."""
    seen, client = service.adds_route("/probe", mark="public"), service.client()
    for _ in range(service.limits.requests_per_minute_and_address - 2):
        service.app.wsgi_app._ceiling.hit(client.address)  # type: ignore[attr-defined]
    works(client.get("/probe").status == 200, "one of the last two requests of the minute is answered")
    for _ in range(2):
        client.get("/probe", scheme="http")
    last = client.get("/probe")
    harm(len(seen) < 2, "requests in clear text used up the allowance of those over https")
    odd = client.get("/probe%2fx")
    harm(odd.status == 400, "addresses with a hidden slash are asked for without a limit")
    refused(odd, 429, "default-throttle")
    assert last.status == 200
