"""Mailed links: one purpose, one address, one use, a short lifetime; the database keeps only the token's hash.

This stops an attacker who later reads the mailbox from reusing a link that was used or replaced by a newer one. Source:
ASVS 6.4.1, 6.5.1, 6.5.2, 6.5.5, 6.6.2; OWASP Forgot Password Cheat Sheet.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn, cast
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, insert, or_, select, update

from .. import throttle
from ..audit.refusal import refuse
from ..clock import now
from ..database import connect, transaction
from ..mail import OutgoingMail
from ..state import state
from . import flows
from .models import AuthSession, Link, User
from .sessions import TOKEN_BYTES, digest

ACTIVATE: Final = "activate"  # a user registers
INVITE: Final = "invite"  # an administrator invites
CREATE: Final = "create"  # an operator makes an account on the command line, and its owner waits for the mail
RESET: Final = "reset"
EMAIL: Final = "email"
MAKES_ACCOUNT: Final = (ACTIVATE, INVITE, CREATE)
GUESSES: Final = throttle.Allowance(10, timedelta(hours=1))  # wrong tokens of one network
KEPT: Final = timedelta(days=1)  # after its end; then the address is deleted as well
GONE: Final = {
    ACTIVATE: "activation-required-single-use",
    INVITE: "registration-mode-enforced",
    CREATE: "registration-mode-enforced",
    RESET: "reset-token-single-use",
    EMAIL: "email-change-confirmed",
}
"""Purpose of a link to the catalogue row under which its refusal is logged."""
ALL: Final = frozenset(GONE)
LINKS, SESSIONS, USERS = Link.__table__.c, AuthSession.__table__.c, User.__table__.c
MAILS = OutgoingMail.__table__.c
_inviter = User.__table__.alias("inviter").c


def lifetime(purpose: str) -> timedelta:
    """Return the lifetime of a link of this purpose, counted from the moment of its mail."""
    limits = state().limits
    if purpose == ACTIVATE:
        return timedelta(hours=limits.activation_hours)
    if purpose == INVITE:
        return timedelta(days=limits.invitation_days)
    return timedelta(minutes=limits.reset_minutes)


def _good(token_hash: bytes, purposes: tuple[str, ...]) -> tuple[Any, ...]:
    """Return all conditions of a usable link, for one condition of one statement."""
    moment = now()
    return (
        LINKS.token_hash == token_hash,
        LINKS.purpose.in_(purposes),
        LINKS.used_at.is_(None),
        LINKS.expires_at > moment,
        # The link's account and its inviter, if any, are active; the session that requested it has not ended.
        or_(LINKS.user_id.is_(None), exists().where(USERS.id == LINKS.user_id, USERS.active)),
        or_(LINKS.inviter_id.is_(None), exists().where(_inviter.id == LINKS.inviter_id, _inviter.active)),
        or_(
            LINKS.session_id.is_(None),
            exists().where(
                SESSIONS.id == LINKS.session_id, SESSIONS.revoked_at.is_(None), SESSIONS.expires_at > moment
            ),
        ),
    )


def mint(connection: Connection, due: Any) -> str:
    """Make the token for a mail that is about to be sent (a row of the outbox); store only its hash."""
    token, moment = secrets.token_urlsafe(TOKEN_BYTES), now()
    connection.execute(
        insert(Link).values(
            id=uuid4(),
            token_hash=digest(token),
            purpose=due.purpose,
            email=due.email,
            user_id=due.user_id,
            session_id=due.session_id,
            inviter_id=due.inviter_id,
            roles=due.roles,
            created_at=moment,
            expires_at=moment + lifetime(due.purpose),
        )
    )
    return token


def sent(connection: Connection, token: str) -> None:
    """End the earlier links of this purpose, now that the mail with this token is sent."""
    this = connection.execute(select(Link.__table__).where(LINKS.token_hash == digest(token))).one()
    # Not links that another account requested for this address: otherwise its user could end those of the owner.
    same = LINKS.email == this.email if this.user_id is None else LINKS.user_id == this.user_id
    # Not a later link: a second sender, which took over from this slow one, may still be sending it.
    earlier = (
        same,
        LINKS.purpose == this.purpose,
        LINKS.id != this.id,
        LINKS.created_at <= this.created_at,
        LINKS.used_at.is_(None),
    )
    connection.execute(update(Link).where(*earlier).values(used_at=now()))


def made_since(moment: datetime, email: str) -> bool:
    """Return whether any process has made a link for this address since this moment."""
    with connect() as connection:
        return bool(
            connection.execute(select(exists().where(LINKS.email == email, LINKS.created_at >= moment))).scalar_one()
        )


def look(token: str, *purposes: str) -> Any | None:
    """Return the usable link of this token, or None; for showing a form, which changes nothing."""
    with connect() as connection:
        return connection.execute(select(Link.__table__).where(*_good(digest(token), purposes))).one_or_none()


def find(token: str, *purposes: str) -> Any:
    """Return the usable link of this token. 410 for every other token, for any reason; 429 after too many.

    Only wrong tokens count: 256 bits cannot be guessed, and failures from the same network never block a usable link.
    """
    row = look(token, *purposes)
    if row is None:
        throttle.spend_for_network("link", "reset-throttle", GUESSES)
        gone(purposes[0])
    return row


def gone(purpose: str) -> NoReturn:
    """Refuse with 410: the link is not, or no longer, usable."""
    refuse(410, GONE[purpose])


def consume_once(connection: Connection, link: Any) -> None:
    """Use the link up, in the caller's transaction; 410 when another request has used it or it has ended."""
    used = update(Link).where(*_good(link.token_hash, (link.purpose,))).values(used_at=now())
    if connection.execute(used).rowcount != 1:
        gone(link.purpose)


def cancel(connection: Connection, email: str, user_id: UUID | None = None, *, purposes: Iterable[str] = ALL) -> None:
    """End all half-finished flows of this account or address: mailed links, mails in the outbox, and flows.

    Includes the invitations that the account sent: an attacker in the account may have invited themselves. `purposes`
    limits the links and mails that end.
    """
    if user_id is not None:
        flows.cancel(connection, user_id)
    link, waits = (_whose(table.__table__.c, email, user_id) for table in (Link, OutgoingMail))
    _end(connection, and_(link, LINKS.purpose.in_(purposes)), and_(waits, MAILS.purpose.in_(purposes)))


def cancel_invitations(connection: Connection, inviter_id: UUID) -> None:
    """End the invitations of an inviter who lost the permission."""
    _end(connection, LINKS.inviter_id == inviter_id, MAILS.inviter_id == inviter_id)


def _whose(columns: Any, email: str, user_id: UUID | None) -> ColumnElement[bool]:
    if user_id is None:
        return cast("ColumnElement[bool]", columns.email == email)
    return or_(columns.email == email, columns.user_id == user_id, columns.inviter_id == user_id)


def _end(connection: Connection, whose_link: ColumnElement[bool], whose_mail: ColumnElement[bool]) -> None:
    end = update(Link).where(whose_link, LINKS.used_at.is_(None)).values(used_at=now())
    connection.execute(end)
    if connection.execute(delete(OutgoingMail).where(whose_mail)).rowcount:
        connection.execute(end)  # a sender that was making a link of such a mail held it until the link was written


def follow(connection: Connection, old: UUID, new: UUID) -> None:
    """Move the links and mails of a session to its new id, so that they stay valid after a renewal."""
    for table in (Link, OutgoingMail):
        connection.execute(update(table).where(table.session_id == old).values(session_id=new))


def purge() -> int:
    """Delete links that expired a day ago, with their addresses; return their number."""
    with transaction() as connection:
        return connection.execute(delete(Link).where(LINKS.expires_at < now() - KEPT)).rowcount
