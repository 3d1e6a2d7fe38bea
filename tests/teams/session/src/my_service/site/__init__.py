"""What everybody may see: the landing page, and whether the service is up."""

from __future__ import annotations

from .pages import blueprint as blueprint
