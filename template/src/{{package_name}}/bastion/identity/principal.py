"""The signed-in user as a request sees it: read with the session row in one query, changed by nobody.

How he proved who he is stands on that row, and whoever must have a second factor gets nowhere without one. An
administrator's password that leaks opens everybody's account. So by default whoever may see or manage other people's
accounts sets up a second factor before anything else. Source: ASVS 6.3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn
from uuid import UUID

from ..state import state

PASSWORD: Final = "password"  # noqa: S105  (the name of a method)
TOTP: Final = "totp"
RECOVERY: Final = "recovery-code"
PASSKEY: Final = "passkey"
SECOND: Final = frozenset({TOTP, RECOVERY, PASSKEY})
"""Those that are more than a password. A passkey alone is two factors: the device, and what unlocks it."""
READ: Final = "users.read"
"""The permission to see who has an account."""
MANAGE: Final = "users.manage"
"""The permission of an administrator: to invite, disable, permit, start a reset. At least one active user holds it."""
ADMINISTRATION: Final = frozenset({READ, MANAGE})


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


def second_factor_missing(permissions: frozenset[str], used: frozenset[str], *, must_enrol: bool) -> bool:
    """Whether a session that was proved by the methods `used` lacks the second factor that its user must have.

    Who must have one says BASTION_REQUIRE_MFA, and `must_enrol` for an account whose factors an administrator removed.
    """
    if used & SECOND:
        return False
    wanted = state().settings.require_mfa
    return must_enrol or wanted == "all" or (wanted == "admins" and not permissions.isdisjoint(ADMINISTRATION))
