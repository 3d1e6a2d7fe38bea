"""auth=jwt: programs sign in with JSON and hold short-lived tokens of a session row that can be revoked.

This is the interface to the rest of bastion/; the other style has the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, cast

from flask import Flask, Response

from ..secrets import Secrets
from ..settings import BastionSettings
from ..state import state_of
from . import (
    account,
    administration,
    api,
    endpoints,
    factors,
    keys,
    mailed_link,
    openapi,
)
from .bearer import authenticate, factor_missing, not_fresh, signed_session, unauthenticated
from .endpoints import sign_in
from .keys import NEW_KEYS, ROTATED
from .problem import error_body_of
from .settings import Settings, settings

__all__ = [
    "NEW_KEYS",
    "ROTATED",
    "Settings",
    "authenticate",
    "error_body_of",
    "factor_missing",
    "mailed_link",
    "not_fresh",
    "settings",
    "sign_in",
    "signed_session",
    "unauthenticated",
]

PAGE_POLICY: Final = False
"""This style has no HTML and sets no cookie."""
SECRETS: Final[Mapping[str, str]] = {keys.SECRET: "signs access tokens, and is made by `keys new jwt`"}
DEVELOPMENT_SECRETS: Final[dict[str, Callable[[], str]]] = {keys.SECRET: keys.new_ring}
"""How `dev` makes missing secrets."""
RINGS: Final[Mapping[str, tuple[float, float]]] = {keys.SECRET: (keys.NEXT_WAITS, keys.RETIRED_COUNTS)}
"""Key rings of this style: seconds before a next key may become active, and seconds a retired key stays valid."""
LOCKED: Final[dict[str, object]] = {"TRAP_HTTP_EXCEPTIONS": False, "TRAP_BAD_REQUEST_ERRORS": None}
"""Configuration that a protection needs; the seal refuses a start in which the team's function changed it."""


def check(general: BastionSettings, own: Settings, secrets: Secrets) -> Iterator[str]:
    """Yield reasons against these settings and this key ring, without their values; guards report a missing ring."""
    yield from mailed_link.check(own, general)
    text = secrets.find(keys.SECRET)
    if text is None:
        return
    try:
        keys.parse(text.reveal())
    except keys.InvalidKeys as error:
        cure = "Put back the ring that was used, or make one with `keys new jwt`."
        yield from (f"{keys.SECRET}: {reason}. {cure}" for reason in error.reasons)


def install(app: Flask) -> None:
    """Install the key ring, JSON handling, and the operations of login, accounts and administration."""
    service = state_of(app)
    app.extensions[keys.EXTENSION] = keys.Keys(service.secrets)
    api.install(app)
    for operations in (endpoints, factors, account, administration):
        app.register_blueprint(operations.blueprint)
    openapi.install(app, cast("Settings", service.style))

    @app.after_request
    def name_the_scheme(response: Response) -> Response:
        """Add the scheme to every 401, also of layers that know nothing of tokens (RFC 9110, 15.5.2)."""
        if response.status_code == 401 and "WWW-Authenticate" not in response.headers:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


def finish(app: Flask) -> None:
    """Add nothing: an API has no start page."""
