"""What a script of our pages calls."""

from flask import Blueprint, abort, request
from flask.typing import ResponseReturnValue

from .bastion import answers_json, login_required

blueprint = Blueprint("votes", __name__)


@blueprint.post("/votes")
@login_required
@answers_json
def vote() -> ResponseReturnValue:
    """Count a vote that a script of our pages sends."""
    sent = request.get_json()
    if not isinstance(sent, dict) or sent.get("choice") not in ("yes", "no"):
        abort(422)
    return {"counted": sent["choice"]}
