"""CSRF protection: every unsafe request needs a token that only a page of this session can read.

This stops a form on an attacker's site from posting with the visitor's cookie. The check covers the whole app,
including the team's views, and needs no form class.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Final

from flask import Flask, g, request, session
from flask_wtf.csrf import CSRFError, CSRFProtect, generate_csrf

from ..audit.refusal import refuse
from ..crypto.ring import Rings
from ..crypto.signing import SECRET
from ..request.authentication import is_signed
from ..state import state, state_of

FIELD: Final = "csrf_token"
EXEMPT: Final = frozenset({"bastion.csp_report"})  # browsers send policy reports without any token
REASON: Final = "csrf-token-required"
LOCKED: Final[dict[str, object]] = {
    "WTF_CSRF_ENABLED": True,
    "WTF_CSRF_CHECK_DEFAULT": False,  # called below instead, at its place in the order of layers
    "WTF_CSRF_METHODS": {"POST", "PUT", "PATCH", "DELETE"},
    "WTF_CSRF_FIELD_NAME": FIELD,
    "WTF_CSRF_HEADERS": ["X-CSRFToken"],
    # Flask-WTF would refuse every https POST without a Referer; request/cross_site.py is stronger and needs none.
    "WTF_CSRF_SSL_STRICT": False,
}
protect: Final = CSRFProtect()


def require_token() -> None:
    """Refuse with 400 an unsafe method without this session's token, in the field csrf_token or header X-CSRFToken."""
    if request.endpoint in EXEMPT or is_signed():  # no browser sends a webhook's signature
        return
    if state().rings.tried(SECRET, _protected) is None:
        refuse(400, REASON)


def _protected(_texts: tuple[str, ...]) -> bool | None:
    """Return True if the request has a valid token, else None. Flask-WTF takes the keys from _Keys."""
    try:
        protect.protect()
    except CSRFError:
        return None
    return True


def begin() -> None:
    """Put the secret of this session's tokens into it: 256 random bits, in place of Flask-WTF's 160."""
    session.setdefault(FIELD, secrets.token_urlsafe(32))


def forget() -> None:
    """Drop the token that this request has made for the old session; it is invalid in the new one."""
    g.pop(FIELD, None)


def csrf_token() -> str:
    """Return the token for a form of this session; make it on first use."""
    begin()
    return str(generate_csrf())


class _Keys:
    """The keys of form tokens, in Flask-WTF's order, read from the key ring at each use.

    A form that was opened before a key rotation is still accepted.
    """

    def __init__(self, rings: Rings) -> None:
        self._rings = rings

    def __iter__(self) -> Iterator[str]:
        return iter(self._rings.get(SECRET).texts()[::-1])  # itsdangerous signs with the last of a list

    def __deepcopy__(self, _memo: object) -> _Keys:
        return self  # start/guards.py compares the configuration with a copy


def install(app: Flask) -> None:
    """Check the token of every unsafe request, for every view."""
    service = state_of(app)
    app.config.update(LOCKED)
    app.config["WTF_CSRF_TIME_LIMIT"] = service.limits.csrf_token_minutes * 60
    app.config["WTF_CSRF_SECRET_KEY"] = _Keys(service.rings)
    protect.init_app(app)
    app.jinja_env.globals[FIELD] = csrf_token  # for macros
    app.context_processor(lambda: {FIELD: csrf_token})  # for pages, where Flask-WTF's own would hide the global

    @app.before_request
    def check_token() -> None:
        require_token()
