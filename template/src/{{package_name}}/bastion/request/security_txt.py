"""Whoever finds a hole learns where to tell it: /.well-known/security.txt (RFC 9116)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from flask import Flask, Response, request

from ..clock import now
from ..edge import shareable
from ..state import state, state_of
from .access import public

VALID_DAYS: Final = 180  # RFC 9116, 2.5.5: less than a year ahead
ENDPOINT: Final = "bastion.security_txt"


def install(app: Flask) -> None:
    """Answer under the one well-known path, if the service was given a contact."""
    if state_of(app).security_contact:
        app.add_url_rule("/.well-known/security.txt", ENDPOINT, security_txt)


@public
def security_txt() -> Response:
    """Contact, expiry and address of this file; the contact is the answer that the service was rendered with."""
    contact = state().security_contact
    address = contact if "://" in contact else f"mailto:{contact}"
    # The same all day long, since shared caches may keep it.
    expires = (now() + timedelta(days=VALID_DAYS)).strftime("%Y-%m-%dT00:00:00Z")
    lines = [
        f"Contact: {address}",
        f"Expires: {expires}",
        "Preferred-Languages: en",
        f"Canonical: {state().settings.public_origin}/.well-known/security.txt",
    ]
    shareable(request.environ)
    return Response("\n".join(lines) + "\n", mimetype="text/plain", headers={"Cache-Control": "public, max-age=3600"})
