"""Cross-site request blocking (Fetch Metadata): refuse requests that another site started in a user's browser.

It works independently of the CSRF token: a stolen or leaked token does not help from another site. A page there can
embed nothing of this service, except that origins named in exceptions.toml may frame the team's pages. Sec-Fetch-*
headers are checked first, then Origin.
"""

from __future__ import annotations

from typing import Final

from flask import Flask, request

from ..audit.refusal import refuse
from ..edge import SHAREABLE, frameable
from ..state import state
from .authentication import is_signed

REASON: Final = "csrf-cross-site-blocked"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
REPORTS: Final = "bastion.csp_report"  # browsers send policy reports without credentials and from any context


def refuse_cross_site(*, accept_without_origin: bool) -> None:
    """Refuse a request that another site started with 403. `accept_without_origin`: non-browsers send none."""
    if is_signed() or _is_listed_script():
        return
    site = request.headers.get("Sec-Fetch-Site")
    if request.method in SAFE_METHODS:
        if site in (None, "same-origin", "none") or _is_framed():
            return
        top_level = (
            request.method == "GET"
            and request.headers.get("Sec-Fetch-Mode") == "navigate"
            and request.headers.get("Sec-Fetch-Dest") == "document"
        )
        if not top_level and request.endpoint not in SHAREABLE:
            refuse(403, REASON)
        return
    if request.endpoint == REPORTS:
        return
    origin = request.headers.get("Origin")
    if site == "same-origin" or (site == "none" and origin is None):
        return
    if site is None and origin is not None and origin == expected_origin():
        return
    if site is None and origin is None and accept_without_origin:
        return
    refuse(403, REASON)


def _is_framed() -> bool:
    # A page of the team for a named origin: the browser compares the name (frame-ancestors). Never a page of accounts.
    if not state().frame_ancestors or request.endpoint is None or request.endpoint.startswith("bastion."):
        return False
    how = (request.method, request.headers.get("Sec-Fetch-Mode"), request.headers.get("Sec-Fetch-Dest"))
    if how != ("GET", "navigate", "iframe"):
        return False
    frameable(request.environ)
    return True


def _is_listed_script() -> bool:
    # A script of an origin in BASTION_CORS_ORIGINS: it sends its own token, and no credential that a browser adds.
    origins = state().settings.cors_origins
    return request.headers.get("Origin") in origins and request.headers.get("Sec-Fetch-Mode", "cors") == "cors"


def expected_origin() -> str:
    """Return the one origin of this service's pages; in development the address that the browser used."""
    settings = state().settings
    return settings.public_origin if settings.production else request.host_url.rstrip("/")


def install(app: Flask, *, accept_without_origin: bool) -> None:
    """Check before any view which site started the request."""

    @app.before_request
    def check_site() -> None:
        refuse_cross_site(accept_without_origin=accept_without_origin)
