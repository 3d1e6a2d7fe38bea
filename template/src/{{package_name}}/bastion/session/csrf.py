"""Every request that changes something carries a token that only a page of this session could have read.

Without it a form on any other site posts to this one with the visitor's cookie. The check covers the whole app, views
of the team included, and does not depend on a form class being used.
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
    """400 for an unsafe method without this session's token, in the field csrf_token or the header X-CSRFToken."""
    if request.endpoint in EXEMPT:
        return
    if state().rings.tried(SECRET, _protected) is None:
        refuse(400, REASON)


def _protected(_texts: tuple[str, ...]) -> bool | None:
    """Whether the request carries what it needs; None if not. Flask-WTF takes the keys from _Keys."""
    try:
        protect.protect()
    except CSRFError:
        return None
    return True


def begin() -> None:
    """Put what this session's tokens are made of into it: 256 random bits, before Flask-WTF takes 160 by itself."""
    session.setdefault(FIELD, secrets.token_urlsafe(32))


def forget() -> None:
    """The session begins anew: a token that this request has made for its former self fits no form any more."""
    g.pop(FIELD, None)


def csrf_token() -> str:
    """The token for a form of this session, made on first use."""
    begin()
    return str(generate_csrf())


class _Keys:
    """The keys of form tokens, in the order that Flask-WTF wants, as the ring has them whenever it asks.

    A form that was open while the key was rotated is still accepted.
    """

    def __init__(self, rings: Rings) -> None:
        self._rings = rings

    def __iter__(self) -> Iterator[str]:
        return iter(self._rings.get(SECRET).texts()[::-1])  # itsdangerous signs with the last of a list

    def __deepcopy__(self, _memo: object) -> _Keys:
        return self  # start/guards.py compares the configuration with a copy


def install(app: Flask) -> None:
    """Check the token of every unsafe request, whatever view it is for."""
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
