"""The service's own settings and roles. This file is yours.

A field `page_size: int = 20` is read from the environment variable APP_PAGE_SIZE.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from .bastion.settings import TeamSettings


class Settings(TeamSettings):
    """Who may do what: a role is a set of permissions, and `users permit EMAIL ROLE` gives it to somebody."""

    roles: ClassVar[Mapping[str, frozenset[str]]] = {
        "admin": frozenset({"users.read", "users.manage"}),
    }
    start_page: ClassVar[str] = "notes.index"
    nav_links: ClassVar[tuple[tuple[str, str], ...]] = (("notes.index", "Notes"),)
