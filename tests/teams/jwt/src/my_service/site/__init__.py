"""What everybody may see: the landing page, and whether the service is up."""

from __future__ import annotations

from .api import blueprint as blueprint
