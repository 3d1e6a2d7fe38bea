"""A user's private notes, and the example of how a feature is added. This folder is yours, to change or delete."""

from __future__ import annotations

from .pages import blueprint

__all__ = ["blueprint"]
