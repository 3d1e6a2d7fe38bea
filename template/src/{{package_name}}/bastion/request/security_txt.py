"""Security contact: /.well-known/security.txt shows finders of a vulnerability where to report it (RFC 9116)."""

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
    """Add the route of the well-known path, if the service was given a contact."""
    if state_of(app).security_contact:
        app.add_url_rule("/.well-known/security.txt", ENDPOINT, security_txt)


@public
def security_txt() -> Response:
    """Return contact, expiry and address of this file; the contact was an answer when the service was rendered."""
    contact = state().security_contact
    address = contact if "://" in contact else f"mailto:{contact}"
    # Constant for a whole day, since shared caches may store it.
    expires = (now() + timedelta(days=VALID_DAYS)).strftime("%Y-%m-%dT00:00:00Z")
    lines = [
        f"Contact: {address}",
        f"Expires: {expires}",
        "Preferred-Languages: en",
        f"Canonical: {state().settings.public_origin}/.well-known/security.txt",
    ]
    shareable(request.environ)
    return Response("\n".join(lines) + "\n", mimetype="text/plain", headers={"Cache-Control": "public, max-age=3600"})
