"""XSS protection: every template escapes user input, whatever its file name.

Flask escapes only in files that end in .html and four other suffixes, so page.html.j2 or mail.txt would run an
attacker's input. An error page has a fixed text, the request's id and the navigation of a signed-in user, and shows no
other data of the request or the service.
"""

from __future__ import annotations

from typing import Final

from flask import Flask, has_request_context, render_template, request
from jinja2 import StrictUndefined

from .. import log
from ..edge import csp_nonce
from ..request.authentication import current_user
from ..state import ErrorBody, state_of
from .assets import address
from .redirects import safe_link

ERROR_PAGE: Final = "bastion/error.html"
_log: Final = log.get_logger("bastion.errors")


def install(app: Flask) -> None:
    """Escape in every template, fail on an undefined variable, and add the values that every page needs."""
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


def error_body_of(app: Flask) -> ErrorBody:
    """Return the maker of error pages, which needs no request: the edge refuses before Flask has one."""

    def error_body(
        status: int,
        title: str,
        text: str,
        request_id: str,
        errors: list[dict[str, str]] | None = None,  # noqa: ARG001  (forms show their own field errors)
    ) -> tuple[str, bytes]:
        shown = {"status": status, "title": title, "text": text, "request_id": request_id}
        shown |= {"sheet": address("bastion.css"), "icon": address("icon.svg")}
        try:
            user = has_request_context() and current_user.is_authenticated
            page = render_template(ERROR_PAGE, **shown, signed_in=True) if user else ""
        except Exception as error:  # such as a failing hook of the team: the plain page needs none
            _log.warning("error_page_failed", error=type(error).__name__)
            page = ""
        if not page:
            shown |= {"service_name": state_of(app).service_name, "signed_in": False}
            page = app.jinja_env.get_template(ERROR_PAGE).render(shown)
        return "text/html; charset=utf-8", page.encode()

    return error_body
