"""The security headers of every answer, written down a second time: the proofs don't ask the code what it should do.

It stops a header that was taken out of the service's table from being missed because the proofs read the same table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .service import AUTH

if TYPE_CHECKING:
    from .running import Service
    from .wire import Response

PAGES = AUTH == "session"
PASSKEYS = "(self)" if PAGES else "()"
PERMISSIONS = ", ".join(
    (
        *("accelerometer=()", "browsing-topics=()", "camera=()", "display-capture=()"),
        *("fullscreen=()", "geolocation=()", "gyroscope=()", "hid=()", "identity-credentials-get=()"),
        *("magnetometer=()", "microphone=()", "midi=()", "payment=()"),
        f"publickey-credentials-create={PASSKEYS}",
        f"publickey-credentials-get={PASSKEYS}",
        *("serial=()", "usb=()"),
    )
)
CLASSIC = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": PERMISSIONS,
    "X-XSS-Protection": "0",
    "X-Permitted-Cross-Domain-Policies": "none",
}
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
PAGE_POLICY = {
    "default-src": "'none'",
    "script-src": "'nonce-N'",
    "style-src": "'self'",
    "img-src": "'self'",
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "object-src": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
    "report-to": "csp",
    "report-uri": "/csp-report",
}
NONCE = re.compile(r"'nonce-([0-9a-f]{32,})'")
TELLING = ("Server", "X-Powered-By")


def image_origins(service: Service) -> tuple[str, ...]:
    """The other origins that exceptions.toml declares for images; a service without exceptions has none."""
    found: tuple[str, ...] = service.module("state").state_of(service.app).image_origins
    return found


def directives(policy: str) -> dict[str, str]:
    """A policy taken apart, its nonce replaced by N; a directive that stands there twice is shown as both."""
    found: dict[str, str] = {}
    for part in policy.split(";"):
        name, _, value = NONCE.sub("'nonce-N'", part.strip()).partition(" ")
        found[name] = f"{found[name]} AND {value}" if name in found else value
    return found


def page_policy(service: Service) -> dict[str, str]:
    """The directives of a page."""
    fonts: tuple[str, ...] = service.module("state").state_of(service.app).font_origins
    sources = {"img-src": image_origins(service), "font-src": fonts}
    return {**PAGE_POLICY, **{name: " ".join(("'self'", *listed)) for name, listed in sources.items()}}


def faults(service: Service, answer: Response, *, shared: bool = False, download: bool = False) -> list[str]:
    """Each line of the table that this answer does not carry exactly once with exactly its value.

    `shared`: an answer that is meant for other origins; `download`: one that is saved to a file.
    """
    return [*_differences(service, answer, shared=shared, download=download)]


def _differences(service: Service, answer: Response, *, shared: bool, download: bool) -> Iterator[str]:
    table: dict[str, Any] = {
        **CLASSIC,
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "cross-origin" if shared else "same-origin",
        "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    }
    if PAGES and not image_origins(service):
        table["Cross-Origin-Embedder-Policy"] = "require-corp"
    page = PAGES and answer.mimetype == "text/html"
    if page:
        table["Reporting-Endpoints"] = 'csp="/csp-report"'
    elif answer.headers_named("Reporting-Endpoints"):
        yield "Reporting-Endpoints: no page, and reports are sent"
    if not page:
        table["Content-Security-Policy"] = f"{DATA_POLICY}; sandbox" if download else DATA_POLICY
    yield from _wrong(answer, table)
    if page:
        policies = answer.headers_named("Content-Security-Policy")
        if [directives(policy) for policy in policies] != [page_policy(service)]:
            yield f"Content-Security-Policy: {policies}"
    if len(answer.headers_named("Cache-Control")) != 1:
        yield f"Cache-Control: {answer.headers_named('Cache-Control')}"
    yield from (f"{name}: {answer.headers_named(name)}" for name in TELLING if answer.headers_named(name))


def _wrong(answer: Response, table: dict[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        if (found := answer.headers_named(name)) != [value]:
            yield f"{name}: {found}"
