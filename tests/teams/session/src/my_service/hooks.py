"""What GitHub calls."""

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from .bastion import github, webhook

blueprint = Blueprint("hooks", __name__)


@blueprint.post("/hooks/github")
@webhook(github("GITHUB_WEBHOOK_SECRET"))
def pushed() -> ResponseReturnValue:
    """Take a delivery from GitHub."""
    return {"took": request.headers.get("X-GitHub-Event", "ping")}
