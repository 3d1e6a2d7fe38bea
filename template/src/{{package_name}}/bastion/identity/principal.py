"""The signed-in user of a request: read with the session row in one query, immutable, with its proved methods.

This stops an attacker with an administrator's leaked password from opening other accounts. By default, users who may
see or manage other accounts must enrol a second factor before anything else. The methods that proved a session stand in
its row. Source: ASVS 6.3.3.
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
"""Methods stronger than a password. A passkey is itself two factors: the device, and its PIN or biometric."""
READ: Final = "users.read"
"""The permission to see who has an account."""
MANAGE: Final = "users.manage"
"""The permission of an administrator: to invite, disable, permit, start a reset. At least one active user holds it."""
ADMINISTRATION: Final = frozenset({READ, MANAGE})


@dataclass(frozen=True, slots=True)
class Principal:
    """A user through one of their live sessions. Has the attributes that Flask-Login expects of a user."""

    id: UUID
    email: str
    session_id: UUID
    signed_in_at: datetime
    verified_at: datetime
    roles: frozenset[str]
    permissions: frozenset[str]
    methods: frozenset[str] = frozenset()
    """How the user authenticated, as in {"password", "totp"}."""
    factor_missing: bool = False
    """True when the user must have a second factor and this session was opened without one."""
    is_authenticated: bool = True
    is_active: bool = True
    is_anonymous: bool = False

    def get_id(self) -> NoReturn:
        """Raise TypeError: Flask-Login's `login_user` calls it, and only bastion's log_in() may open a session."""
        raise TypeError("login_user() opens no session here; sessions are opened by bastion's log_in()")


@dataclass(frozen=True, slots=True)
class Anonymous:
    """A client without a live session."""

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
        """Return None: an anonymous client has no id."""


ANONYMOUS: Final = Anonymous()


def second_factor_missing(permissions: frozenset[str], used: frozenset[str], *, must_enrol: bool) -> bool:
    """Return whether a session proved by the methods `used` lacks the second factor that its user must have.

    BASTION_REQUIRE_MFA sets who must have one; `must_enrol` adds an account whose factors an administrator removed.
    """
    if used & SECOND:
        return False
    wanted = state().settings.require_mfa
    return must_enrol or wanted == "all" or (wanted == "admins" and not permissions.isdisjoint(ADMINISTRATION))
