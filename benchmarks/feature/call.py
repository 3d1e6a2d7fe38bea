"""A JSON call for whoever is signed in: added to the rendered service as a team adds a feature."""

from __future__ import annotations

from flask import Blueprint

from .bastion import current_user, login_required  # type: ignore[import-not-found]
from .bastion.jwt.api import operation  # type: ignore[import-not-found]
from .bastion.jwt.schema import Answer  # type: ignore[import-not-found]

blueprint = Blueprint("benchmark", __name__)


class Who(Answer):  # type: ignore[misc]
    """Who is signed in."""

    email: str


@blueprint.get("/benchmark")
@login_required  # type: ignore[untyped-decorator]
@operation  # type: ignore[untyped-decorator]
def call() -> Who:
    """The same answer as every peer's."""
    return Who(email=current_user.email)
