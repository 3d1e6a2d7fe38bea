"""Files that users attach: images, documents and tables."""

from __future__ import annotations

from .api import blueprint as blueprint
