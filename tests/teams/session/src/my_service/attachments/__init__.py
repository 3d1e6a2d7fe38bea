"""Files that users attach: images, documents and tables."""

from __future__ import annotations

from .pages import blueprint as blueprint
