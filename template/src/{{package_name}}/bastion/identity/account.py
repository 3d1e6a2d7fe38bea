"""Account self-service: change the password, the address or the name; export the data; delete the account.

This stops an attacker with a stolen session from taking over the account. A new password needs the current one; a new
address or a deletion needs a login proved within five minutes. Each is mailed to the old address and ends all other
sessions. Source: ASVS 6.2.3, 7.4.3, 7.5.1.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID

from flask import Flask
from sqlalchemy import Connection, Table, case, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from .. import audit, mail, throttle
from ..audit.tables import AuditEvent
from ..database import Base, Owned, connect, transaction
from ..mail import OutgoingMail
from ..state import state, state_of
from . import attempts, factors, links, passwords, recovery, sessions, users
from .models import AuthSession, Device, Link, User
from .principal import PASSKEY, Principal
from .sessions import Opened

EVENTS_SHOWN: Final = 10  # of each kind
MOST_EXPORTED: Final = 2_000  # rows of one table: with 28 kB each, as the notes may have, 56 MB
EXPORTS: Final = throttle.Allowance(5, timedelta(hours=1))
USERS, EVENTS, SESSIONS = User.__table__.c, AuditEvent.__table__.c, AuthSession.__table__.c
MAILS, LINKS, DEVICES = OutgoingMail.__table__.c, Link.__table__.c, Device.__table__.c
# Hide the address of another person's act, except in the listed events, such as an attacker's failed login.
_of_others = EVENTS.kind.in_(audit.BY_OTHERS) | (EVENTS.kind.not_in(audit.SHOWN) & (EVENTS.actor_id != EVENTS.user_id))
_address = case((_of_others, ""), else_=EVENTS.address).label("address")
BeforeDeletion = Callable[[Connection, UUID], Callable[[], object] | None]


def step_up(user: Principal, password: str, code: str = "") -> Opened:
    """Re-authenticate with the password; renew the session under a new token and end the old one. 403, 429 or 503.

    An account with a second factor also needs a code: of the app, or a recovery code. 401 when another request has
    ended the session. See also `step_up_with_passkey`.
    """
    return attempts.prove_code(user, password, code, lambda connection, methods: _stepped_up(connection, user, methods))


def step_up_with_passkey(user: Principal, text: str, answer: object) -> Opened:
    """Re-authenticate with one of the account's passkeys, without a password (see passkeys.step_up)."""
    methods = frozenset({PASSKEY})
    return attempts.prove_passkey(user, text, answer, lambda connection: _stepped_up(connection, user, methods))


def _stepped_up(connection: Connection, user: Principal, methods: frozenset[str]) -> Opened:
    opened = sessions.renew(connection, user, proved=True, methods=user.methods | methods)
    if opened is None:  # another request ended the session after this one began
        attempts.refuse_uniformly()
    links.follow(connection, user.session_id, opened.id)
    audit.record("login.step_up", user_id=user.id, session_id=opened.id, connection=connection, factors=sorted(methods))
    return opened


def change_password(user: Principal, current: str, new: str) -> Opened:
    """Set a new password after a check of the current one; end all other sessions. 403, 429 or 503.

    Raises UserError for an unusable new password. 401 when another request has ended this session.
    """
    attempts.prove(user, current)
    if hmac.compare_digest(passwords.normalised(new), passwords.normalised(current)):
        raise users.UserError("This is your present password. Choose another one.", "password")
    password_hash = users.checked_password(new, user.email)
    with transaction() as connection:
        sessions.hold(connection, user.id)
        connection.execute(update(User).where(USERS.id == user.id).values(password_hash=password_hash))
        # For an account with a second factor, the password does not count as a new proof of identity.
        opened = factors.credentials_changed(connection, user, proved=not factors.held(user.id, connection))
        mail.enqueue(connection, mail.PASSWORD_CHANGED, user.email)
        audit.record("password.changed", user_id=user.id, session_id=opened.id, connection=connection)
    return opened


def request_email_change(user: Principal, typed: str) -> None:
    """Mail a link to the new address and a notice to the current one, which stays valid until the link is confirmed.

    Raises UserError for an invalid address. The answer is the same whether or not the new address has an account.
    """
    throttle.spend_for_network("reset", "reset-throttle", recovery.REQUESTS)
    email = users.address(typed)
    with transaction() as connection:
        mail.enqueue(connection, links.EMAIL, email, user_id=user.id, session_id=user.session_id)
        mail.enqueue(connection, mail.EMAIL_ASKED, user.email)
        audit.record("email.change_asked", user_id=user.id, session_id=user.session_id, connection=connection)


def confirm_email_change(user: Principal, token: str) -> Opened:
    """Replace the address and end all other sessions. 410 for any token but a valid one of this account."""
    link = links.find(token, links.EMAIL)
    if link.user_id != user.id:
        links.gone(links.EMAIL)
    with transaction() as connection:
        sessions.hold(connection, user.id)
        links.consume_once(connection, link)
        try:
            connection.execute(update(User).where(USERS.id == user.id).values(email=link.email))
        except IntegrityError:  # taken since the link was mailed
            links.gone(links.EMAIL)
        # Opening the link proves no password.
        opened = factors.credentials_changed(connection, user, proved=False)
        links.cancel(connection, link.email)
        mail.enqueue(connection, mail.EMAIL_CHANGED, user.email)  # to the former address
        audit.record("email.changed", user_id=user.id, session_id=opened.id, connection=connection)
    return opened


def update_profile(user: Principal, name: str) -> None:
    """Change only the display name of the account. Raises UserError when the name cannot be shown safely."""
    shown = users.display_name(name)
    with transaction() as connection:
        connection.execute(update(User).where(USERS.id == user.id).values(display_name=shown))


def recent_events(user_id: UUID) -> list[dict[str, Any]]:
    """Return the account's recent events, newest first, each with `at`, `kind` and `address`.

    Returns the last EVENTS_SHOWN of each kind, so a flood of one kind hides no event of another.
    """
    number = func.row_number().over(partition_by=EVENTS.kind, order_by=EVENTS.at.desc()).label("number")
    own = (
        select(EVENTS.at, EVENTS.kind, _address, number)
        .where(EVENTS.user_id == user_id, EVENTS.kind.in_(audit.SHOWN))
        .subquery()
        .c
    )
    last = select(own.at, own.kind, own.address).where(own.number <= EVENTS_SHOWN).order_by(own.at.desc())
    with connect() as connection:
        return [dict(row) for row in connection.execute(last).mappings()]


def export(user: Principal) -> dict[str, list[dict[str, Any]]]:
    """Return all stored data about this user, by table: bastion's own tables, and every row of a model that is Owned.

    Never includes hashes or tokens. Returns at most MOST_EXPORTED rows of each table; 429 after EXPORTS.
    """
    throttle.spend("export", str(user.id), "default-throttle", EXPORTS)
    wanted = {
        "account": select(USERS.id, USERS.email, USERS.display_name, USERS.roles, USERS.created_at).where(
            USERS.id == user.id
        ),
        "sessions": select(
            SESSIONS.id,
            SESSIONS.created_at,
            SESSIONS.seen_at,
            SESSIONS.expires_at,
            SESSIONS.revoked_at,
            SESSIONS.methods,
            SESSIONS.address,
            SESSIONS.agent,
        ).where(SESSIONS.user_id == user.id),
        "devices": select(DEVICES.created_at, DEVICES.seen_at).where(DEVICES.user_id == user.id),
        "links": select(LINKS.purpose, LINKS.email, LINKS.created_at, LINKS.expires_at, LINKS.used_at).where(
            LINKS.user_id == user.id
        ),
        "events": select(EVENTS.at, EVENTS.kind, _address).where(EVENTS.user_id == user.id),
        **factors.export(user.id),
    }
    for mapper in Base.registry.mappers:
        if issubclass(mapper.class_, Owned):
            table = cast("Table", mapper.local_table)
            wanted[table.name] = select(table).where(table.c.user_id == user.id)
    with connect() as connection:
        found = {
            name: [dict(row) for row in connection.execute(rows.limit(MOST_EXPORTED)).mappings()]
            for name, rows in wanted.items()
        }
    audit.record("account.exported", user_id=user.id, session_id=user.session_id)
    return found


def delete_account(user: Principal) -> None:
    """Delete the account and everything that belongs to it; audit events keep only its opaque id.

    Raises UserError for the last administrator; 401 when another request has ended this session. The hooks of the team
    (see `before_deletion`) run first, in the same transaction. The team's tables with a foreign key follow by ON DELETE
    CASCADE.
    """
    with users.changing(user.id) as (connection, row):
        if not sessions.end(user.session_id, user.id, connection=connection):
            attempts.refuse_uniformly()
        then = [hook(connection, user.id) for hook in state().before_deletion]
        connection.execute(delete(Link).where((LINKS.user_id == user.id) | (LINKS.email == row.email)))
        waiting = ((MAILS.user_id == user.id) | (MAILS.email == row.email)) & MAILS.purpose.not_in(mail.NOTICES)
        connection.execute(delete(OutgoingMail).where(waiting))  # notices of earlier changes are still mailed
        connection.execute(delete(User).where(USERS.id == user.id))  # and its sessions with it, by ON DELETE CASCADE
        if users.is_administrator(row.roles):
            users.keep_an_administrator(connection)
        mail.enqueue(connection, mail.ACCOUNT_DELETED, row.email)  # no row of the account: it goes when it is sent
        audit.record("account.deleted", user_id=user.id, session_id=user.session_id, connection=connection)
    for work in filter(None, then):
        work()


def before_deletion(app: Flask, hook: BeforeDeletion) -> None:
    """Register `hook(connection, user_id)` to run in the transaction that deletes an account; an exception stops it.

    A function that it returns runs after the commit. Use it for data that no foreign key reaches: rows that must be
    kept without a name, other services.
    """
    state_of(app).before_deletion.append(hook)
