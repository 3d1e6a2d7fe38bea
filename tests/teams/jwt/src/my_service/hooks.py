"""What Stripe calls."""

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from .bastion import stripe, webhook

blueprint = Blueprint("hooks", __name__)


@blueprint.post("/hooks/stripe")
@webhook(stripe("STRIPE_WEBHOOK_SECRET"))
def paid() -> ResponseReturnValue:
    """Take an event from Stripe."""
    event = request.get_json()
    return {"took": event.get("id", "") if isinstance(event, dict) else ""}
