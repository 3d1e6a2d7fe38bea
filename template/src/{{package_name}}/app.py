"""What this service adds to its protections. This file is yours."""

from __future__ import annotations

from flask import Flask

from . import notes
from .bastion import service
from .settings import Settings


@service(Settings)
def create_app(app: Flask) -> None:
    """Register what the service does. bastion makes the app before this runs, and seals it after."""
    app.register_blueprint(notes.blueprint)
