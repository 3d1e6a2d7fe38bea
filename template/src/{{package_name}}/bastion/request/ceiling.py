"""A ceiling for each signed-in session, so that one stolen session can't empty the service in a minute.

Where the edge has let a request pass the ceiling of its network for its session, it is refused if that has ended.
"""

from __future__ import annotations

from flask import Flask, request

from ..audit.refusal import refuse
from ..edge.ceiling import OVER
from ..throttle import count_session
from .authentication import PASSIVE, current_user


def install(app: Flask) -> None:
    """Count each request before any work is done for it."""

    @app.before_request
    def count_request() -> None:
        if request.endpoint in PASSIVE:
            return
        if current_user.is_authenticated:
            count_session(current_user.session_id)
        elif (seconds := request.environ.get(OVER)) is not None:
            refuse(429, "default-throttle", retry_after=seconds)
