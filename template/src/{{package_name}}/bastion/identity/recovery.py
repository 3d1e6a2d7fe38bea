"""A forgotten password is replaced by whoever reads the account's mail, and by nobody else, in ten minutes, once.

The request itself tells nothing and looks nothing up: whether there is an account decides if a mail goes out, later.
A new password ends everything that the old one opened. Source: ASVS 6.3.8, 6.4.3, 6.5.1, 6.6.2, 7.4.3.
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
_u = User.__table__.c


def request_reset(typed: str, device_token: str = "") -> None:
    """Mail a link to the active account of this address, if there is one. Raises UserError for what is no address.

    `device_token` is what a login gave to this device: if it is one of the account, no stranger can use up its mails.
    """
    throttle.spend_for_network("reset", "reset-throttle", REQUESTS)
    email = users.address(typed)
    trusted = bool(device_token) and devices.find(device_token, email) is not None
    with transaction() as connection:
        mail.enqueue(connection, links.RESET, email, trusted=trusted)
    audit.record("password.reset_asked")


def start_reset(user_id: UUID, email: str, *, by: UUID) -> None:
    """An administrator starts a reset: the user gets the ordinary link, and his sessions end. Nobody else sees it."""
    with transaction() as connection:
        sessions.end_all(user_id, connection=connection)
        mail.enqueue(connection, links.RESET, email, trusted=True)
        audit.record("password.reset_started", user_id=user_id, connection=connection, by=str(by))


def complete_reset(token: str, password: str) -> None:
    """Set the password that the link's reader chose, and end every session. 410 for any other token. Signs nobody in.

    Raises UserError for a password that can't be used (the link stays good), and passwords.Busy.
    """
    link = links.find(token, links.RESET)
    throttle.count_link(link.id)
    password_hash = users.checked_password(password, link.email)
    with transaction() as connection:
        sessions.hold(connection, link.user_id)
        links.consume_once(connection, link)
        connection.execute(update(User).where(_u.id == link.user_id).values(password_hash=password_hash))
        sessions.end_all(link.user_id, connection=connection)
        links.cancel(connection, link.email, link.user_id)
        devices.forget_all(connection, link.user_id)
        mail.enqueue(connection, mail.PASSWORD_CHANGED, link.email)
        audit.record("password.reset", user_id=link.user_id, connection=connection)
    attempts.forgive(link.email)
