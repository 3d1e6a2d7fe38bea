"""Accounts: made, switched off and on, and given roles. What is taken away is gone with the next request."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from typing import Any, Final
from uuid import UUID, uuid4

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from .. import audit
from ..clock import now
from ..database import connect, transaction
from ..state import state
from . import passwords, sessions
from .models import User

LONGEST_IDENTIFIER: Final = 254  # RFC 5321 4.5.3.1, less the angle brackets
_ROLE: Final = re.compile(r"\A[a-z][a-z0-9_-]{0,49}\Z")
_u = User.__table__.c


class UserError(ValueError):
    """What was asked for can't be done; the text says why and is safe to show."""


def normalised(identifier: str) -> str:
    """The one spelling of an identifier: for looking up, counting attempts and storing alike.

    NFKC, without control, format and surrounding characters, case-folded, the domain as its A-label: variations of one
    address must not be counted, or registered, apart.
    """
    text = unicodedata.normalize("NFKC", identifier[: 4 * LONGEST_IDENTIFIER])
    text = (
        "".join(c for c in text if not unicodedata.category(c).startswith("C")).strip().casefold()[:LONGEST_IDENTIFIER]
    )
    local, at, domain = text.rpartition("@")
    if at and not domain.isascii():
        with suppress(EmailNotValidError):  # then it is nobody's address, and is counted as it was typed
            text = f"{local}@{validate_email(f'x@{domain}', check_deliverability=False).ascii_domain}"
    return text


def create(email: str, password: str) -> UUID:
    """Make an active account. Raises UserError for an address or password that can't be used, or a taken address."""
    try:
        checked = validate_email(email, check_deliverability=False)
    except EmailNotValidError as error:
        raise UserError("This is not a valid e-mail address.") from error
    if found := passwords.faults(password):
        raise UserError(found[0])
    user_id = uuid4()
    values = {
        "id": user_id,
        "email": normalised(checked.normalized),
        "password_hash": state().passwords.hash(password),
        "active": True,
        "roles": "",
        "created_at": now(),
    }
    try:
        with transaction() as connection:
            connection.execute(insert(User).values(**values))
    except IntegrityError:
        raise UserError("There is already an account with this address.") from None
    audit.record("user.created", user_id=user_id)
    return user_id


def _find(email: str) -> Any:
    with connect() as connection:
        row = connection.execute(select(_u.id, _u.roles).where(_u.email == normalised(email))).one_or_none()
    if row is None:
        raise UserError("There is no account with this address.")
    return row


def set_active(email: str, active: bool) -> UUID:
    """Disable or enable an account; disabling ends its sessions. Raises UserError for an unknown address."""
    user_id: UUID = _find(email).id
    with transaction() as connection:
        connection.execute(update(User).where(_u.id == user_id).values(active=active))
    if not active:
        sessions.end_all(user_id)
    audit.record("user.enabled" if active else "user.disabled", user_id=user_id)
    return user_id


def permit(email: str, role: str, *, remove: bool = False) -> UUID:
    """Give the account a role, or take it away. Raises UserError for an unknown address or role."""
    known = state().team.roles
    if not _ROLE.match(role) or (role not in known and not remove):
        roles = ", ".join(sorted(known)) or "none; name them in settings.py"
        raise UserError(f"There is no such role. Roles of this service: {roles}.")
    row = _find(email)
    held = set(row.roles.split())
    held = held - {role} if remove else held | {role}
    with transaction() as connection:
        done = connection.execute(
            update(User).where(_u.id == row.id, _u.roles == row.roles).values(roles=" ".join(sorted(held)))
        )
        if done.rowcount != 1:
            raise UserError("The account's roles changed in the meantime. Try again.")
    audit.record("user.role_removed" if remove else "user.role_given", user_id=row.id, role=role)
    return UUID(str(row.id))
