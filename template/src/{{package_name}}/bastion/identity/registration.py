"""Registration: the reader of the mailed link makes the account and chooses its password, not the requester.

This stops pre-hijacking: otherwise an attacker would register a victim's address with a password, and the victim's
"confirm" would activate it. No answer reveals whether an address has an account; only the mail does. Source: ASVS
6.3.8, 6.4.1; Sudhodanan, Paverd: Pre-hijacked accounts (USENIX Security 2022).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final
from uuid import UUID

from .. import audit, mail, throttle
from ..audit.refusal import refuse
from ..database import transaction
from ..state import state
from . import links, users

MODE: Final = "registration-mode-enforced"
MODES: Final = {
    links.ACTIVATE: ("open",),
    links.INVITE: ("open", "invitation"),
    links.CREATE: ("open", "invitation", "closed"),
}
"""Purpose of a link to the modes in which it makes an account. The present mode decides, even for a link that was
mailed before the mode changed."""
REGISTRATIONS: Final = throttle.Allowance(5, timedelta(hours=1))  # of one network; ASVS 2.4.1


def require_mode(*modes: str) -> None:
    """Refuse with 404 when this service takes no such registrations (BASTION_REGISTRATION)."""
    if state().settings.registration not in modes:
        refuse(404, MODE)


def register(typed: str) -> None:
    """Mail a link that makes the account, or a notice if the address has one. 404 unless registration is open.

    Raises UserError for an invalid address. Before the mail is sent, no account is looked up and no hash computed.
    """
    require_mode(*MODES[links.ACTIVATE])
    throttle.spend_for_network("register", "register-throttle", REGISTRATIONS)
    email = users.address(typed)
    with transaction() as connection:
        mail.enqueue(connection, links.ACTIVATE, email)
    audit.record("user.register_asked")


def invite(typed: str, roles: Iterable[str], *, by: UUID) -> None:
    """Mail an invitation with these roles; it ends when the inviter is disabled. 404 when registration is closed.

    Raises UserError for an invalid address or unknown role. The answer is the same for an address with an account.
    """
    require_mode(*MODES[links.INVITE])
    email, known = users.address(typed), users.known_roles(roles)
    with transaction() as connection:
        mail.enqueue(connection, links.INVITE, email, roles=" ".join(known), inviter_id=by)
        audit.record("user.invited", user_id=by, connection=connection, roles=known)


def invite_by_operator(typed: str, roles: Iterable[str]) -> None:
    """Mail an invitation from the command line, in every mode; the link lives as short as a reset link.

    Raises UserError also when the address has an account: an operator can read the table anyway.
    """
    email, known = users.address(typed), users.known_roles(roles)
    users.require_free(email)
    with transaction() as connection:
        mail.enqueue(connection, links.CREATE, email, roles=" ".join(known), trusted=True)
        audit.record("user.invited", connection=connection, roles=known, by="command")


def activate(token: str, password: str, name: str = "") -> UUID:
    """Make the account of a mailed link, with the password chosen now. 410 for any token but a usable one.

    Raises UserError for an unusable password or name (the link stays usable), and passwords.Busy.
    """
    link = links.find(token, *links.MAKES_ACCOUNT)
    if state().settings.registration not in MODES[link.purpose]:
        links.gone(link.purpose)
    if link.inviter_id is not None and not _may_invite(link.inviter_id):
        links.gone(link.purpose)
    shown = users.display_name(name)
    throttle.count_link(link.id)
    password_hash = users.checked_password(password, link.email)
    with transaction() as connection:
        links.consume_once(connection, link)
        try:
            user_id = users.insert_user(connection, link.email, password_hash, name=shown, roles=link.roles.split())
        except users.UserError:
            links.gone(link.purpose)  # taken since the link was mailed
        links.cancel(connection, link.email)
        inviter = "" if link.inviter_id is None else str(link.inviter_id)
        audit.record("user.activated", user_id=user_id, connection=connection, by=link.purpose, inviter=inviter)
    return user_id


def _may_invite(inviter_id: UUID) -> bool:
    """Return whether the inviter is still an administrator, by the present roles in settings.py too."""
    inviter = users.shown(inviter_id)
    return inviter is not None and users.is_administrator(inviter.roles)
