"""Code and extensions that know Flask-Login find the user they expect, and none of the doors that it leaves open.

Its defaults let a hand-made `remember_token` cookie sign in for a year, let everybody in under LOGIN_DISABLED, and
run a protected view for an anonymous OPTIONS. So it is the surface here and never the mechanism: who somebody is
comes from the session row, and whether he may from the route's mark.
"""

from __future__ import annotations

from typing import Any, Final

from flask import Flask, g
from flask_login import LoginManager

from ..identity.principal import ANONYMOUS
from ..request.authentication import current_user
from .cookie import log_out
from .pages import unauthenticated

LOCKED: Final[dict[str, object]] = {"LOGIN_DISABLED": False, "SESSION_PROTECTION": None}


class RowsOnly(LoginManager):  # type: ignore[misc]  # Flask-Login has no types
    """Knows the user of the session row. Neither a remember cookie nor a loader is ever asked."""

    def init_app(self, app: Flask, add_context_processor: bool = False) -> None:  # noqa: ARG002
        """Attach without the hook that writes remember cookies, which is all that the original does besides."""
        app.login_manager = self  # type: ignore[attr-defined]

    def _load_user(self) -> None:
        g._login_user = current_user._get_current_object()  # type: ignore[attr-defined]

    def _update_request_context_with_user(self, user: Any = None) -> None:
        """Called by `login_user`, which raises TypeError, and by `logout_user`, which ends the session's row."""
        if user is not None:
            raise TypeError("login_user() opens no session here: people sign in by this service's own form")
        if current_user.is_authenticated:
            log_out()
        g.principal = g._login_user = ANONYMOUS

    def unauthorized(self) -> Any:
        """Answer as this service answers every anonymous visitor."""
        return unauthenticated()


def install(app: Flask) -> None:
    """Let Flask-Login's `current_user` be this service's."""
    app.config.update(LOCKED)
    RowsOnly().init_app(app)
