"""Account management: disabling and role changes count from the next request, so revoked rights cannot be used."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import ColumnElement, Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from .. import audit
from ..clock import now
from ..database import connect, transaction
from ..state import state
from ..text import is_plain
from . import links, passwords, sessions
from .models import User
from .principal import MANAGE as MANAGE  # other names, for code that shows or manages accounts
from .principal import READ as READ

LONGEST_IDENTIFIER: Final = 254  # RFC 5321 4.5.3.1, less the angle brackets
LONGEST_NAME: Final = 100
TAKEN: Final = "There is already an account with this address."
_ROLE: Final = re.compile(r"\A[a-z][a-z0-9_-]{0,49}\Z")
PAGE_SIZE: Final = 25
MOST_PAGES: Final = 200  # of a list; further accounts are found by how their address begins
USERS = User.__table__.c
# An explicit list: neither the password hash nor a column that is added later reaches any list of accounts.
_SHOWN: Final = select(USERS.id, USERS.email, USERS.display_name, USERS.active, USERS.roles, USERS.created_at)


class Account(NamedTuple):
    """An account as the team's code may read it."""

    id: UUID
    email: str
    display_name: str
    active: bool
    roles: str  # separated by spaces
    created_at: datetime


class UserError(ValueError):
    """The request cannot be done; the text says why and is safe to show, `field` names the field at fault."""

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text)
        self.field = field


def normalised(identifier: str) -> str:
    """Return the one spelling of an identifier, for lookups, counters and storage.

    NFKC, without control, format and surrounding characters, the domain as its A-label, case-folded: variants of one
    address share one counter and one account. The A-label comes before the case-folding: otherwise `straße.example`
    would become `strasse.example`, which is another domain (IDNA 2008).
    """
    text = unicodedata.normalize("NFKC", identifier[: 4 * LONGEST_IDENTIFIER])
    text = "".join(c for c in text if not unicodedata.category(c).startswith("C")).strip()
    local, at, domain = text.rpartition("@")
    if at and not domain.isascii():
        with suppress(EmailNotValidError):  # then it is no valid address, and is counted as typed
            text = f"{local}@{validate_email(f'x@{domain}', check_deliverability=False).ascii_domain}"
    return text.casefold()[:LONGEST_IDENTIFIER]


def address(typed: str) -> str:
    """Return the normalised address, to store and to mail to. Raises UserError when it is invalid.

    The local part must be ASCII: every mail server accepts it, and no two look alike. The domain becomes its A-label.
    `=?` is refused: it begins an encoded word (RFC 2047), which mail programs would turn into another address.
    """
    text = unicodedata.normalize("NFKC", typed.strip(" "))
    try:
        if "=?" in text or any(unicodedata.category(c).startswith("C") for c in typed):
            raise EmailNotValidError
        checked = validate_email(text, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError:
        raise UserError("This is not a valid e-mail address.", "email") from None
    return normalised(checked.ascii_email or checked.normalized)


def display_name(typed: str) -> str:
    """Return the stripped name. Raises UserError when it is too long or cannot be shown safely."""
    text = typed.strip()
    if len(text) > LONGEST_NAME or not is_plain(text, lines=False):
        raise UserError(f"Use at most {LONGEST_NAME} ordinary characters.", "display_name")
    return text


def checked_password(password: str, email: str) -> str:
    """Return the hash of a new password for this account. Raises UserError, and passwords.Busy."""
    if found := passwords.faults(password, passwords.context_of(email)):
        raise UserError(found[0], "password")
    return state().passwords.hash(password)


def create(email: str, password: str, *, roles: Iterable[str] = ()) -> UUID:
    """Make an active account. Raises UserError for an unusable address, password or role."""
    email, roles = address(email), known_roles(roles)
    password_hash = checked_password(password, email)
    with transaction() as connection:
        return insert_user(connection, email, password_hash, roles=roles)


def insert_user(
    connection: Connection, email: str, password_hash: str, *, name: str = "", roles: Iterable[str] = ()
) -> UUID:
    """Insert the row of an account, in the caller's transaction. Raises UserError when the address is taken."""
    user_id = uuid4()
    values = {
        "id": user_id,
        "email": email,
        "password_hash": password_hash,
        "active": True,
        "roles": " ".join(sorted(roles)),
        "created_at": now(),
        "display_name": name,
    }
    try:
        connection.execute(insert(User).values(**values))
    except IntegrityError:
        raise UserError(TAKEN, "email") from None
    audit.record("user.created", user_id=user_id, connection=connection, roles=values["roles"])
    return user_id


def find(email: str) -> UUID:
    """Return the id of the account with this address, for commands. Raises UserError when there is none."""
    with connect() as connection:
        row = connection.execute(select(USERS.id).where(USERS.email == normalised(email))).one_or_none()
    if row is None:
        raise UserError("There is no account with this address.", "email")
    return UUID(str(row.id))


def page(number: int, starts_with: str = "") -> tuple[list[Any], bool]:
    """Return page `number` (from 1) of the accounts whose address has this prefix, and whether there is a next one."""
    if number > MOST_PAGES:
        return [], False
    wanted = _SHOWN.where(_begins(starts_with)).order_by(USERS.email)
    with connect() as connection:
        rows = connection.execute(wanted.limit(PAGE_SIZE + 1).offset((number - 1) * PAGE_SIZE)).all()
    return [*rows[:PAGE_SIZE]], len(rows) > PAGE_SIZE and number < MOST_PAGES


def find_user(by: UUID | str) -> Account | None:
    """Return the account with this id or e-mail address, or None; look at `active` before acting for it."""
    column, value = (USERS.id, by) if isinstance(by, UUID) else (USERS.email, normalised(by))
    with connect() as connection:
        row = connection.execute(_SHOWN.where(column == value)).one_or_none()
    return None if row is None else Account(*row)


def count(starts_with: str = "") -> int:
    """Return how many accounts have an address with this prefix, at most as many as the pages of the list show."""
    counted = select(USERS.id).where(_begins(starts_with)).limit(PAGE_SIZE * MOST_PAGES).subquery()
    with connect() as connection:
        return connection.execute(select(func.count()).select_from(counted)).scalar_one()


def _begins(prefix: str) -> ColumnElement[bool]:
    return USERS.email.startswith(normalised(prefix), autoescape=True)


def shown(user_id: UUID) -> Any | None:
    """Return the account's columns that an administrator may see, or None when there is no such account."""
    with connect() as connection:
        return connection.execute(_SHOWN.where(USERS.id == user_id)).one_or_none()


def require_free(email: str) -> None:
    """Raise UserError when this normalised address has an account."""
    with connect() as connection:
        if connection.execute(select(USERS.id).where(USERS.email == email)).first() is not None:
            raise UserError(TAKEN, "email")


def known_roles(roles: Iterable[str]) -> list[str]:
    """Return the roles, sorted, if settings.py names each of them. Raises UserError otherwise."""
    wanted, known = sorted({*roles}), state().team.roles
    if not all(_ROLE.match(role) and role in known for role in wanted):
        names = ", ".join(sorted(known)) or "none; name them in settings.py"
        raise UserError(f"There is no such role. Roles of this service: {names}.", "role")
    return wanted


def is_administrator(roles: str) -> bool:
    """Return whether these roles, as stored, permit managing accounts."""
    return MANAGE in state().permissions(frozenset(roles.split()))


def keep_an_administrator(connection: Connection) -> None:
    """Raise UserError when no active administrator is left; call it after the change, in its transaction."""
    rows = connection.execute(select(USERS.roles).where(USERS.active, USERS.roles != "")).all()
    if not any(is_administrator(row.roles) for row in rows):
        raise UserError("This is the last administrator. Make somebody else one first.")


@contextmanager
def changing(user_id: UUID) -> Iterator[tuple[Connection, Any]]:
    """Lock the rows of this account and of all accounts with a role, in one transaction. UserError if none."""
    with transaction() as connection:
        held = select(USERS.id, USERS.email, USERS.roles, USERS.active).where(
            (USERS.id == user_id) | (USERS.roles != "")
        )
        rows = connection.execute(held.order_by(USERS.id).with_for_update()).all()
        row = next((row for row in rows if row.id == user_id), None)
        if row is None:
            raise UserError("There is no such account.")
        yield connection, row


def set_active(user_id: UUID, active: bool, *, by: UUID | None = None) -> None:
    """Disable or enable an account; disabling ends its sessions and cancels its links, in one transaction.

    Raises UserError for an unknown account and for the last administrator.
    """
    with changing(user_id) as (connection, row):
        connection.execute(update(User).where(USERS.id == user_id).values(active=active))
        if not active:
            if is_administrator(row.roles):
                keep_an_administrator(connection)
            sessions.end_all(user_id, connection=connection)
            links.cancel(connection, row.email, user_id)
        kind = "user.enabled" if active else "user.disabled"
        audit.record(kind, user_id=user_id, connection=connection, by=named(by))


def permit(user_id: UUID, role: str, *, remove: bool = False, by: UUID | None = None) -> None:
    """Give the account a role, or take it away; the change counts from the next request.

    Raises UserError for an unknown account or role, and for the last administrator's role.
    """
    if not remove:
        known_roles([role])
    elif not _ROLE.match(role):  # one that settings.py does not name any more can be taken, another text not be noted
        raise UserError("There is no such role.", "role")
    with changing(user_id) as (connection, row):
        held = {*row.roles.split()}
        roles = " ".join(sorted(held - {role} if remove else held | {role}))
        connection.execute(update(User).where(USERS.id == user_id).values(roles=roles))
        if is_administrator(row.roles) and not is_administrator(roles):
            if row.active:
                keep_an_administrator(connection)
            links.cancel_invitations(connection, user_id)
        kind = "user.role_removed" if remove else "user.role_given"
        audit.record(kind, user_id=user_id, connection=connection, role=role, old=row.roles, new=roles, by=named(by))


def named(administrator: UUID | None) -> str:
    """Return the actor for the audit: the administrator's id, or "command" for an operator on the command line."""
    return str(administrator) if administrator is not None else "command"
