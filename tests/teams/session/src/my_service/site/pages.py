"""The pages of visitors."""

from __future__ import annotations

from flask import Blueprint, jsonify, render_template
from flask.typing import ResponseReturnValue

from ..bastion import public

blueprint = Blueprint("site", __name__, template_folder="templates")


@blueprint.get("/")
@public
def landing() -> ResponseReturnValue:
    """What this service is for."""
    return render_template("site/landing.html")


@blueprint.get("/status")
@public
def status() -> ResponseReturnValue:
    """For the status page of the company."""
    return jsonify({"service": "my-service", "up": True})
