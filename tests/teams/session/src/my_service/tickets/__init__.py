"""Tickets of organisations: a list with filters over rows that a team shares."""

from __future__ import annotations

from .pages import blueprint as blueprint
