"""Tickets of organisations: a list with filters over rows that a team shares."""

from __future__ import annotations

from .api import blueprint as blueprint
