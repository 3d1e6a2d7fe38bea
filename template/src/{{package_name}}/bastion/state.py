"""What one app has decided at its start; read by every layer, changed by none.

It lives in `app.extensions["bastion"]`, so that two apps in one process (a service and its proofs) never share a limit.
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
    """One start's decisions: settings, limits with the team's exceptions, secrets, and the rule of each route."""

    settings: BastionSettings
    style: BaseSettings
    team: TeamSettings
    limits: Limits
    image_origins: tuple[str, ...]
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
        """What these roles may do, by the sets in the team's settings; an unknown role may do nothing."""
        known = self.team.roles
        return frozenset().union(*(known[role] for role in roles if role in known))


def state_of(app: Flask) -> State:
    """The state of `app`; raises KeyError when the app was not made by `service`."""
    return cast("State", app.extensions[EXTENSION])


def state() -> State:
    """The state of the current app."""
    return cast("State", current_app.extensions[EXTENSION])
