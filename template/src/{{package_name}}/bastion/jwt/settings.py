"""Settings of the token style, typed and bounded.

Issuer and audience come from here: taken from a request, they would follow an attacker's Host header.
"""

from __future__ import annotations

from typing import Final, Literal, cast

from pydantic import AliasChoices, Field

from ..settings import EnvironmentSettings
from ..state import state

DEVELOPMENT_ISSUER: Final = "http://localhost:8000"  # production does not start without a public origin


class Settings(EnvironmentSettings):
    """The operator's settings for tokens in one deployment."""

    audience: str = Field("", max_length=255, validation_alias=AliasChoices("BASTION_JWT_AUDIENCE"))
    """`aud` of the access tokens; empty: the public origin. Name it when several services share one origin."""
    refresh_race_seconds: int = Field(0, ge=0, le=10, validation_alias=AliasChoices("BASTION_REFRESH_RACE_SECONDS"))
    """A refresh token reused within these seconds is refused, but its login stays: for unreliable networks."""
    link_base: str = Field("", max_length=500, validation_alias=AliasChoices("BASTION_LINK_BASE"))
    """`https://app.example/account`: the page of your client that mailed links lead to. It reads the token from the
    fragment, which browsers send to no server, and posts it here."""
    openapi: Literal["off", "signed-in", "public"] = Field(
        "signed-in", validation_alias=AliasChoices("BASTION_OPENAPI")
    )
    """Who may read /openapi.json. It names every operation, which helps attackers as much as clients."""


def settings() -> Settings:
    """Return the settings of the current app."""
    return cast("Settings", state().style)


def issuer() -> str:
    """Return `iss` of every token: the public origin of this service (RFC 9068, 2.2)."""
    return state().settings.public_origin or DEVELOPMENT_ISSUER


def audience() -> str:
    """Return `aud` of every token: exactly one, so tokens of other services are refused (RFC 8725, 3.9)."""
    return settings().audience or issuer()
