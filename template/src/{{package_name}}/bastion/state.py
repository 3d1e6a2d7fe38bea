"""Per-app state: the decisions of one start, read by every layer and changed by none.

It lives in `app.extensions["bastion"]`, so that two apps in one process (a service and its proofs) share no limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from flask import Flask, current_app

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

    from .crypto.ring import Rings
    from .database import ChosenDialect
    from .delivery.letters import MailedLink
    from .identity.account import BeforeDeletion
    from .identity.passwords import Passwords
    from .request.access import Rule
    from .secrets import Secrets
    from .settings import BastionSettings, Limits, TeamSettings
    from .settings.exceptions import Exemption

EXTENSION: Final = "bastion"
ErrorBody = Callable[..., tuple[str, bytes]]


@dataclass(slots=True)
class State:
    """The decisions of one start: settings, limits with the team's exceptions, secrets, and the rule of each route."""

    settings: BastionSettings
    style: BaseSettings
    team: TeamSettings
    limits: Limits
    image_origins: tuple[str, ...]
    font_origins: tuple[str, ...]
    frame_ancestors: tuple[str, ...]
    exemptions: tuple[Exemption, ...]
    secrets: Secrets
    rings: Rings
    passwords: Passwords
    dialect: ChosenDialect
    mailed_link: MailedLink
    error_body: ErrorBody
    service_name: str
    security_contact: str
    rules: Mapping[str, Rule] = field(default_factory=dict)
    before_deletion: list[BeforeDeletion] = field(default_factory=list)

    def permissions(self, roles: frozenset[str]) -> frozenset[str]:
        """Return the permissions of these roles from the team's settings; an unknown role has none."""
        known = self.team.roles
        return frozenset().union(*(known[role] for role in roles if role in known))


def state_of(app: Flask) -> State:
    """Return the state of `app`; raise KeyError if `service` did not make the app."""
    return cast("State", app.extensions[EXTENSION])


def state() -> State:
    """Return the state of the current app."""
    return cast("State", current_app.extensions[EXTENSION])
