"""Flask-Login's interface over our sessions: its current_user works, its ways to sign in do not.

This stops bypasses by its defaults. A forged `remember_token` cookie would sign an attacker in for a year.
LOGIN_DISABLED would admit every client; an anonymous OPTIONS would run a protected view. The session row decides who
the user is, and the route's mark whether they may.
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
    """Return only the user of the session row; remember cookies and loaders are never used."""

    def init_app(self, app: Flask, add_context_processor: bool = False) -> None:  # noqa: ARG002
        """Attach without the hook that writes remember cookies, the only other effect of the original."""
        app.login_manager = self  # type: ignore[attr-defined]

    def _load_user(self) -> None:
        g._login_user = current_user._get_current_object()  # type: ignore[attr-defined]

    def _update_request_context_with_user(self, user: Any = None) -> None:
        """Raise TypeError for `login_user`; end the session's row for `logout_user`."""
        if user is not None:
            raise TypeError("login_user() opens no session here: people sign in by this service's own form")
        if current_user.is_authenticated:
            log_out()
        g.principal = g._login_user = ANONYMOUS

    def unauthorized(self) -> Any:
        """Return this service's answer to every anonymous client."""
        return unauthenticated()


def install(app: Flask) -> None:
    """Make Flask-Login's `current_user` return this service's user."""
    app.config.update(LOCKED)
    RowsOnly().init_app(app)
