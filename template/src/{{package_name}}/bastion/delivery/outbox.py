"""Mail delivery: each due mail is claimed by one conditional UPDATE, sent, and deleted from the outbox.

A claimed mail that was never finished (its process was killed) is due again after a minute. So a crash loses no mail
and costs at most one duplicate, and a stopping worker need not wait for the sender. The token is made here and only its
hash is stored. Source: ASVS 6.3.8, 11.5.1.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from flask import Flask
from sqlalchemy import delete, func, select, update

from .. import log
from ..audit import chain
from ..clock import now, seconds
from ..database import connect, transaction
from ..identity import links
from ..identity.models import User
from ..mail import NOTICES, OutgoingMail
from ..state import state
from . import budget, letters, transport

CLAIMED: Final = timedelta(seconds=60)  # longer than a mail server takes; one that does not may get the mail twice
LONGEST_PAUSE: Final = timedelta(hours=1)  # between two attempts
GIVES_UP: Final = timedelta(hours=24)
BATCH: Final = 20
POLL_SECONDS: Final = 2.0
SEAL_SECONDS: Final = 10.0  # how long a new row of the audit is without its place in the chain
MAILS, USERS = OutgoingMail.__table__.c, User.__table__.c
_log = log.get_logger("bastion.mail")


@dataclass(frozen=True, slots=True)
class Due:
    """A row of the outbox, or the mail that replaces it."""

    id: UUID
    purpose: str
    email: str
    user_id: UUID | None
    session_id: UUID | None
    inviter_id: UUID | None
    roles: str
    created_at: datetime
    trusted: bool
    origin: str
    device: str
    attempts: int


_DUE: Final = select(*(MAILS[name] for name in Due.__slots__))


def drain() -> int:
    """Send until no mail is due, and return how many went out. Safe to run in many places at once."""
    return len(send_due())


def send_due() -> list[str]:
    """Send like `drain`, and return the recipients."""
    sent: list[str] = []
    while due := _due():
        sent += [mail.email for mail in due if _claim(mail) and _send(mail)]
    return sent


def waiting(email: str | None = None) -> int:
    """Return how many mails are not sent yet, to this address or to all."""
    of_whom = () if email is None else (MAILS.email == email,)
    with connect() as connection:
        return connection.execute(select(func.count()).select_from(OutgoingMail).where(*of_whom)).scalar_one()


def _due() -> list[Due]:
    with connect() as connection:
        rows = connection.execute(_DUE.where(MAILS.due_at <= now()).order_by(MAILS.due_at).limit(BATCH)).all()
    return [Due(*row) for row in rows]


def _claim(due: Due) -> bool:
    """Claim the row with a conditional UPDATE on its attempts; True if this sender won."""
    mine = (
        update(OutgoingMail)
        .where(MAILS.id == due.id, MAILS.attempts == due.attempts)
        .values(attempts=due.attempts + 1, due_at=now() + CLAIMED)
    )
    with transaction() as connection:
        return connection.execute(mine).rowcount == 1


def _send(claimed: Due) -> bool:
    """Decide which mail this is, and send it; return False if none goes out."""
    due = _decided(claimed)
    first = claimed.attempts == 0  # later attempts of a mail were allowed with it
    if due is None or (first and not budget.allows(due.purpose, due.email, trusted=due.trusted)):
        _remove(claimed)
        return False
    token = None
    try:
        if due.purpose in links.GONE:
            token = _mint(due)
            if token is None:
                return False
        client = {"origin": due.origin, "device": due.device}
        letter = letters.write(due.purpose, due.email, token, happened_at=due.created_at, **client)
        transport.hand_over(letter)
    except Exception as error:  # whatever the network or the server did, the mail is tried again
        _failed(due, error)
        return False
    _remove(due, token)
    _log.info("mail_sent", purpose=due.purpose)
    if token is not None and not state().settings.production:
        letters.show(due.purpose, token)
    return True


def _decided(due: Due) -> Due | None:
    """Return the mail for the recipient by their account's present state; None for no mail."""
    if due.purpose in NOTICES:
        return due
    with connect() as connection:
        account = connection.execute(select(USERS.id, USERS.active).where(USERS.email == due.email)).one_or_none()
    if due.purpose == links.RESET:
        return replace(due, user_id=account.id) if account is not None and account.active else None
    if account is None:
        return due
    # The owner learns that their address was entered; the client that entered it does not.
    return replace(due, purpose=letters.EXISTS) if account.active else None


def _mint(due: Due) -> str | None:
    """Return this mail's token; None if the flow was cancelled after the claim (identity/links.py, `cancel`)."""
    # An update without a change locks the row, so that no `cancel` removes it until the link is written.
    still_there = update(OutgoingMail).where(MAILS.id == due.id).values(attempts=MAILS.attempts)
    with transaction() as connection:
        return links.mint(connection, due) if connection.execute(still_there).rowcount == 1 else None


def _remove(due: Due, token: str | None = None) -> None:
    with transaction() as connection:
        if token is not None:
            links.sent(connection, token)
        connection.execute(delete(OutgoingMail).where(MAILS.id == due.id))


def _failed(due: Due, error: Exception) -> None:
    """Retry the mail with increasing pauses, and give up after 24 h. Older links stay valid until a newer one is sent.

    The new link stays valid as well: the mail may have arrived although its server did not confirm it.
    """
    over = now() - due.created_at > GIVES_UP
    pause = min(timedelta(minutes=2 ** min(due.attempts, 6)), LONGEST_PAUSE)
    with transaction() as connection:
        if over:
            connection.execute(delete(OutgoingMail).where(MAILS.id == due.id))
        else:
            connection.execute(update(OutgoingMail).where(MAILS.id == due.id).values(due_at=now() + pause))
    # The error's text may quote the recipient, or the whole mail.
    kind, code = type(error).__name__, getattr(error, "smtp_code", None)
    _log.error("mail_given_up" if over else "mail_failed", purpose=due.purpose, error=kind, status_code=code)


def start(app: Flask) -> None:
    """Renew secrets, drain the outbox and seal the audit of this app, in a daemon thread of this process."""
    threading.Thread(target=_keep_draining, args=(app,), name="mail", daemon=True).start()


def _keep_draining(app: Flask) -> None:
    pause, reachable, sealed = threading.Event(), True, 0.0
    while not pause.wait(POLL_SECONDS):
        try:
            with app.app_context():
                state().secrets.renew()
                drain()
                if not 0 <= seconds() - sealed < SEAL_SECONDS:
                    chain.seal()
                    sealed = seconds()
            reachable = True
        except Exception as error:  # the database is away: the requests say so, and the mails wait
            if reachable:
                _log.warning("outbox_unreachable", error=type(error).__name__)
            reachable = False
