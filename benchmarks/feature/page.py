"""A page for whoever is signed in: added to the rendered service as a team adds a feature."""

from __future__ import annotations

from flask import Blueprint, render_template

from .bastion import current_user, login_required  # type: ignore[import-not-found]

blueprint = Blueprint("benchmark", __name__)


@blueprint.get("/benchmark")
@login_required  # type: ignore[untyped-decorator]
def page() -> str:
    """The same page as every peer's."""
    return render_template("page.html", email=current_user.email)
