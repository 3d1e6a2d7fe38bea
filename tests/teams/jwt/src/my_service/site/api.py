"""What everybody may call."""

from __future__ import annotations

from typing import Literal

from flask import Blueprint

from ..bastion import public
from ..bastion.jwt.api import operation
from ..bastion.jwt.schema import Answer

blueprint = Blueprint("site", __name__)


class ServiceAnswer(Answer):
    """What this service is."""

    name: str
    state: Literal["up", "down"]


@blueprint.get("/")
@public
@operation
def about() -> ServiceAnswer:
    """Say what this service is."""
    return ServiceAnswer(name="my-service", state="up")


@blueprint.get("/status")
@public
@operation
def status() -> ServiceAnswer:
    """Tell the company's status page."""
    return ServiceAnswer(name="my-service", state="up")
