"""The signed-in user as a request sees it: read with the session row in one query, changed by nobody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Principal:
    """A user through one of his live sessions. The attributes that Flask-Login's users have are here as well."""

    id: UUID
    email: str
    session_id: UUID
    signed_in_at: datetime
    verified_at: datetime
    roles: frozenset[str]
    permissions: frozenset[str]
    methods: frozenset[str] = frozenset()
    """How the user proved who he is, as in {"password", "totp"}."""
    factor_missing: bool = False
    """He must have a second factor, and this session was opened without one."""
    is_authenticated: bool = True
    is_active: bool = True
    is_anonymous: bool = False

    def get_id(self) -> NoReturn:
        """Flask-Login asks for it in `login_user`; only signing in may open a session, so it raises TypeError."""
        raise TypeError("login_user() opens no session here; sessions are opened by bastion's log_in()")


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Nobody, or somebody whose session has ended."""

    id: None = None
    email: str = ""
    roles: frozenset[str] = frozenset()
    permissions: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    factor_missing: bool = False
    is_authenticated: bool = False
    is_active: bool = False
    is_anonymous: bool = True

    def get_id(self) -> None:
        """Nobody has no id."""


ANONYMOUS: Final = Anonymous()
