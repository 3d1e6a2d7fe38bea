"""Password reset: a single-use link to the account's address, valid for ten minutes by default, sets a new password.

This stops account enumeration: the request looks no account up, and only the later mail depends on one. A new password
ends everything that the old one opened. Source: ASVS 6.3.8, 6.4.3, 6.5.1, 6.6.2, 7.4.3.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import update

from .. import audit, mail, throttle
from ..database import transaction
from . import attempts, devices, links, sessions, users
from .models import User

REQUESTS: Final = throttle.Allowance(10, timedelta(hours=1))  # of one network; ASVS 2.4.1
USERS = User.__table__.c


def request_reset(typed: str, device_token: str = "") -> None:
    """Mail a link to the active account of this address, if there is one. Raises UserError for an invalid address.

    An earlier login gave `device_token` to this device: for a known one, no attacker can use up the limit of mails.
    """
    throttle.spend_for_network("reset", "reset-throttle", REQUESTS)
    email = users.address(typed)
    trusted = bool(device_token) and devices.find(device_token, email) is not None
    with transaction() as connection:
        mail.enqueue(connection, links.RESET, email, trusted=trusted)
    audit.record("password.reset_asked")


def start_reset(user_id: UUID, email: str, *, by: UUID) -> None:
    """Mail the user an ordinary reset link on behalf of an administrator, who never sees it; end all sessions."""
    with transaction() as connection:
        sessions.end_all(user_id, connection=connection)
        mail.enqueue(connection, links.RESET, email, trusted=True)
        audit.record("password.reset_started", user_id=user_id, connection=connection, by=str(by))


def complete_reset(token: str, password: str) -> None:
    """Set the new password and end every session; opens no session. 410 for any token but a usable one.

    Raises UserError for an unusable password (the link stays usable), and passwords.Busy.
    """
    link = links.find(token, links.RESET)
    throttle.count_link(link.id)
    password_hash = users.checked_password(password, link.email)
    with transaction() as connection:
        sessions.hold(connection, link.user_id)
        links.consume_once(connection, link)
        connection.execute(update(User).where(USERS.id == link.user_id).values(password_hash=password_hash))
        sessions.end_all(link.user_id, connection=connection)
        links.cancel(connection, link.email, link.user_id)
        devices.forget_all(connection, link.user_id)
        mail.enqueue(connection, mail.PASSWORD_CHANGED, link.email)
        audit.record("password.reset", user_id=link.user_id, connection=connection)
    attempts.forgive(link.email)
