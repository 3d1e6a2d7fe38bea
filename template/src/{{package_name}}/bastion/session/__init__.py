"""auth=session: a user signs in with a form, and a cookie names a session row that can be revoked at any time.

This is the interface to the rest of bastion/; the other style has the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from click import Command
from flask import Flask

from ..crypto.ring import Turned
from ..secrets import Secrets
from ..settings import BastionSettings, EnvironmentSettings
from . import (
    account,  # noqa: F401  its pages join those of pages.py
    administration,  # noqa: F401
    assets,
    bodies,
    cookie,
    csp_report,
    csrf,
    factors,  # noqa: F401
    login_manager,
    mailed_link,
    pages,
    templating,
)
from .cookie import authenticate, signed_session
from .pages import factor_missing, not_fresh, sign_in, unauthenticated
from .templating import error_body_of

__all__ = [
    "authenticate",
    "error_body_of",
    "factor_missing",
    "mailed_link",
    "not_fresh",
    "sign_in",
    "signed_session",
    "unauthenticated",
]

PAGE_POLICY: Final = True
"""This style answers with HTML pages."""
SECRETS: Final[Mapping[str, str]] = {}
DEVELOPMENT_SECRETS: Final[dict[str, Callable[[], str]]] = {}
RINGS: Final[Mapping[str, tuple[float, float]]] = {}
NEW_KEYS: Final[tuple[Command, ...]] = ()
ROTATED: Final[Mapping[str, tuple[str, Callable[[], Turned]]]] = {}
LOCKED: Final[dict[str, object]] = {**cookie.LOCKED, **csrf.LOCKED, **login_manager.LOCKED}
"""Configuration that a protection needs; the seal refuses a start in which the team's function changed it."""


class Settings(EnvironmentSettings):
    """This style has no settings of its own."""


def check(general: BastionSettings, _own: Settings, _secrets: Secrets) -> Iterator[str]:
    """Refuse CORS: a cookie signs users in here, so no script of another origin may use it."""
    if general.cors_origins:
        yield "BASTION_CORS_ORIGINS is for services that sign in with tokens (auth=jwt). Unset it."


def install(app: Flask) -> None:
    """Install the cookie, the templates, CSRF protection and the login pages."""
    cookie.install(app)
    templating.install(app)
    assets.install(app)
    login_manager.install(app)
    bodies.install(app)  # before the first look into a form, which is for its token
    csrf.install(app)
    csp_report.install(app)
    app.register_blueprint(pages.blueprint)


def finish(app: Flask) -> None:
    """Add the route / unless the team has defined its own."""
    if not any(rule.rule == "/" and "GET" in (rule.methods or ()) for rule in app.url_map.iter_rules()):
        app.add_url_rule("/", "bastion.home", pages.home)
