"""A mailed link opens one thing, for one address, once, for a short time; what is stored of it opens nothing.

A link that stays good after its use, or after a newer one, is a key to the account that lies in a mailbox for ever.
Source: ASVS 6.4.1, 6.5.1, 6.5.2, 6.5.5, 6.6.2; OWASP Forgot Password Cheat Sheet.
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

ACTIVATE: Final = "activate"  # somebody registers
INVITE: Final = "invite"  # an administrator invites
CREATE: Final = "create"  # an operator makes an account on the command line, and its owner waits for the mail
RESET: Final = "reset"
EMAIL: Final = "email"
MAKES_ACCOUNT: Final = (ACTIVATE, INVITE, CREATE)
GUESSES: Final = throttle.Allowance(10, timedelta(hours=1))  # wrong tokens of one network
KEPT: Final = timedelta(days=1)  # after its end; then the address goes as well
GONE: Final = {
    ACTIVATE: "activation-required-single-use",
    INVITE: "registration-mode-enforced",
    CREATE: "registration-mode-enforced",
    RESET: "reset-token-single-use",
    EMAIL: "email-change-confirmed",
}
"""Purpose to the row of the catalogue that a refused link is logged under."""
ALL: Final = frozenset(GONE)
_l, _s, _u = Link.__table__.c, AuthSession.__table__.c, User.__table__.c
_o = OutgoingMail.__table__.c
_inviter = User.__table__.alias("inviter").c


def lifetime(purpose: str) -> timedelta:
    """How long a link of this purpose is good, from the moment it is mailed."""
    limits = state().limits
    if purpose == ACTIVATE:
        return timedelta(hours=limits.activation_hours)
    if purpose == INVITE:
        return timedelta(days=limits.invitation_days)
    return timedelta(minutes=limits.reset_minutes)


def _good(token_hash: bytes, purposes: tuple[str, ...]) -> tuple[Any, ...]:
    """Everything that must be true of a link when it is used, in one condition of one statement."""
    moment = now()
    return (
        _l.token_hash == token_hash,
        _l.purpose.in_(purposes),
        _l.used_at.is_(None),
        _l.expires_at > moment,
        # Whoever asked for it, is meant by it or invites by it is active, and the login that asked has not ended.
        or_(_l.user_id.is_(None), exists().where(_u.id == _l.user_id, _u.active)),
        or_(_l.inviter_id.is_(None), exists().where(_inviter.id == _l.inviter_id, _inviter.active)),
        or_(
            _l.session_id.is_(None),
            exists().where(_s.id == _l.session_id, _s.revoked_at.is_(None), _s.expires_at > moment),
        ),
    )


def mint(connection: Connection, due: Any) -> str:
    """Make the token for a mail that is about to be sent (a row of the outbox); only its hash is kept."""
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
    """The mail with this token has gone out: the links of the same purpose that went before it open nothing now."""
    this = connection.execute(select(Link.__table__).where(_l.token_hash == digest(token))).one()
    # Not those that another account asked for to this address: whoever has one would end its owner's by asking as well.
    same = _l.email == this.email if this.user_id is None else _l.user_id == this.user_id
    # Not a later one: that of a second sender, which took over because this one was slow, is still on its way.
    earlier = (
        same,
        _l.purpose == this.purpose,
        _l.id != this.id,
        _l.created_at <= this.created_at,
        _l.used_at.is_(None),
    )
    connection.execute(update(Link).where(*earlier).values(used_at=now()))


def made_since(moment: datetime, email: str) -> bool:
    """Whether a link was made for this address then or later, whichever process mailed it."""
    with connect() as connection:
        return bool(connection.execute(select(exists().where(_l.email == email, _l.created_at >= moment))).scalar_one())


def look(token: str, *purposes: str) -> Any | None:
    """The good link of this token, or None: to show a form, which changes nothing."""
    with connect() as connection:
        return connection.execute(select(Link.__table__).where(*_good(digest(token), purposes))).one_or_none()


def find(token: str, *purposes: str) -> Any:
    """The good link of this token. 410 for every other token, the same whatever is wrong; 429 for too many of them.

    Counted are wrong ones alone: nobody guesses 256 bits, and a neighbour's keep no reader of a good link out.
    """
    row = look(token, *purposes)
    if row is None:
        throttle.spend_for_network("link", "reset-throttle", GUESSES)
        gone(purposes[0])
    return row


def gone(purpose: str) -> NoReturn:
    """End the request: the link can't be used (any more)."""
    refuse(410, GONE[purpose])


def consume_once(connection: Connection, link: Any) -> None:
    """Use the link, in the transaction of what it is good for; 410 when somebody else just did, or it has ended."""
    used = update(Link).where(*_good(link.token_hash, (link.purpose,))).values(used_at=now())
    if connection.execute(used).rowcount != 1:
        gone(link.purpose)


def cancel(connection: Connection, email: str, user_id: UUID | None = None, *, purposes: Iterable[str] = ALL) -> None:
    """End every half-finished flow of this account or address: links that were mailed, those that wait, and flows.

    Invitations that the account gave are among them: whoever had it may have invited himself. With `purposes` the links
    of these alone.
    """
    if user_id is not None:
        flows.cancel(connection, user_id)
    link, waits = (_whose(table.__table__.c, email, user_id) for table in (Link, OutgoingMail))
    _end(connection, and_(link, _l.purpose.in_(purposes)), and_(waits, _o.purpose.in_(purposes)))


def cancel_invitations(connection: Connection, inviter_id: UUID) -> None:
    """End the invitations of somebody who may not invite any more."""
    _end(connection, _l.inviter_id == inviter_id, _o.inviter_id == inviter_id)


def _whose(columns: Any, email: str, user_id: UUID | None) -> ColumnElement[bool]:
    if user_id is None:
        return cast("ColumnElement[bool]", columns.email == email)
    return or_(columns.email == email, columns.user_id == user_id, columns.inviter_id == user_id)


def _end(connection: Connection, whose_link: ColumnElement[bool], whose_mail: ColumnElement[bool]) -> None:
    end = update(Link).where(whose_link, _l.used_at.is_(None)).values(used_at=now())
    connection.execute(end)
    if connection.execute(delete(OutgoingMail).where(whose_mail)).rowcount:
        connection.execute(end)  # a sender that was making a link of such a mail held it until the link was written


def follow(connection: Connection, old: UUID, new: UUID) -> None:
    """The session goes on under another id: what was asked for in it is still good."""
    for table in (Link, OutgoingMail):
        connection.execute(update(table).where(table.session_id == old).values(session_id=new))


def purge() -> int:
    """Delete the links that ended a day ago, with the addresses in them; how many there were."""
    with transaction() as connection:
        return connection.execute(delete(Link).where(_l.expires_at < now() - KEPT)).rowcount
