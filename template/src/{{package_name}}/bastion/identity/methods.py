"""How a user proved who he is stands on his session's row; whoever must have a second factor gets nowhere without one.

An administrator's password that leaks opens everybody's account. So by default whoever may see or manage other people's
accounts sets up a second factor before anything else. Source: ASVS 6.3.3.
"""

from __future__ import annotations

from typing import Final

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


def second_factor_missing(permissions: frozenset[str], used: frozenset[str], *, must_enrol: bool) -> bool:
    """Whether a session that was proved by the methods `used` lacks the second factor that its user must have.

    Who must have one says BASTION_REQUIRE_MFA, and `must_enrol` for an account whose factors an administrator removed.
    """
    if used & SECOND:
        return False
    wanted = state().settings.require_mfa
    return must_enrol or wanted == "all" or (wanted == "admins" and not permissions.isdisjoint(ADMINISTRATION))
