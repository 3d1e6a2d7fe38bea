"""What a person typed is shown as text, never run: every template escapes, whatever its name, and no name is guessed.

Flask escapes only in files that end in .html and four more; a page that is called page.html.j2 or mail.txt is an open
door.
"""

from __future__ import annotations

from flask import Flask, request
from jinja2 import StrictUndefined

from ..edge import csp_nonce
from ..state import state_of
from .redirects import safe_link


def install(app: Flask) -> None:
    """Escape everywhere, fail on a missing variable, and give pages what every page needs."""
    service = state_of(app)
    app.jinja_env.autoescape = True
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.globals["csp_nonce"] = lambda: csp_nonce(request.environ)
    app.jinja_env.filters["link"] = safe_link
    every_page = {
        "service_name": service.service_name,
        "nav_links": service.team.nav_links,
        "security_contact": service.security_contact,
        "registration": service.settings.registration,
    }
    app.context_processor(lambda: every_page)
