"""auth=session: people sign in with a form, and a cookie names a session row that can be ended at any moment.

The surface that the rest of bastion/ knows of this style; the other style has the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import click
from flask import Flask

from ..secrets import Secrets
from ..settings import BastionSettings, EnvironmentSettings
from . import cookie, csrf, login_manager, pages, templating
from .cookie import authenticate
from .error_page import error_body_of
from .pages import not_fresh, unauthenticated

__all__ = ["authenticate", "error_body_of", "not_fresh", "unauthenticated"]

PAGE_POLICY: Final = True
"""This style answers with HTML pages."""
SECRETS: Final[tuple[str, ...]] = ()
DEVELOPMENT_SECRETS: Final[dict[str, Callable[[], str]]] = {}
COMMANDS: Final[tuple[click.Command, ...]] = ()
LOCKED: Final[dict[str, object]] = {**cookie.LOCKED, **csrf.LOCKED, **login_manager.LOCKED}
"""Configuration that carries a protection; the seal refuses a start in which the team's function changed it."""


class Settings(EnvironmentSettings):
    """This style needs no setting of its own."""


def check(_settings: BastionSettings, _secrets: Secrets) -> list[str]:
    """This style has no further reasons against a start."""
    return []


def install(app: Flask) -> None:
    """Cookie, templates, CSRF and the pages of signing in."""
    cookie.install(app)
    templating.install(app)
    login_manager.install(app)
    csrf.install(app)
    app.register_blueprint(pages.blueprint)
