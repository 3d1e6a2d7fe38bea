"""Authentication: the session row decides, once a request, who sends it; other code reads `current_user`.

A second source of identity (a cookie of an extension, a header, a claim) is a second way in. Each session has a request
ceiling, so that a stolen one can't exhaust the service in a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from flask import Flask, g, request
from werkzeug.local import LocalProxy

from ..audit.refusal import refuse
from ..edge.ceiling import OVER
from ..identity.principal import ANONYMOUS, Anonymous, Principal
from ..throttle import count_session

PASSIVE: Final = frozenset({"static", "bastion.static", "bastion.csp_report", "bastion.security_txt"})
"""Endpoints that are no user activity: they neither authenticate the client nor keep a session alive."""
WEBHOOK: Final = "bastion_webhook"  # in g: the accepted delivery of a webhook


def _principal() -> Principal | Anonymous:
    return cast("Principal | Anonymous", g.get("principal", ANONYMOUS))


current_user: Principal = LocalProxy(_principal)  # type: ignore[assignment]
"""The signed-in user of this request, or one whose is_authenticated is False. The same object in both styles."""


def is_signed() -> bool:
    """Return whether a webhook's signature authenticates this request; webhooks.py has verified it."""
    return WEBHOOK in g


def install(app: Flask, authenticate: Callable[[], Principal | None]) -> None:
    """Authenticate each request in the chosen style before any decision depends on the user."""

    @app.before_request
    def load_principal() -> None:
        if request.endpoint not in PASSIVE and not is_signed():
            g.principal = authenticate() or ANONYMOUS

    app.context_processor(lambda: {"current_user": current_user})


def count(app: Flask) -> None:
    """Count each request for its session before any work is done for it.

    The edge passes a request above its network's ceiling if it names a session; refuse it here if that has ended.
    """

    @app.before_request
    def count_request() -> None:
        if request.endpoint in PASSIVE:
            return
        if current_user.is_authenticated:
            count_session(current_user.session_id)
        elif (seconds := request.environ.get(OVER)) is not None:
            refuse(429, "default-throttle", retry_after=seconds)
