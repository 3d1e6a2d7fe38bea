"""Nobody's mailbox can be filled through this service, and no stranger can use up what its owner needs.

What anybody can cause: one mail of a kind in ten minutes and ten a day to one recipient, whoever asks from wherever,
and under however many names his mailbox takes them (`ada+1@`, `ada+2@`).
What an administrator or a known device of the account asks for, and notices about the account, have budgets of their
own: a stranger who asks all day keeps no owner out, and a thief's deed is announced though the owner just did the same.
Source: ASVS 2.4.1, 6.3.1; CWE-799.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from .. import log
from ..identity import links
from ..mail import NOTICES
from ..state import state
from ..throttle import Allowance, Spent, refund, take
from .letters import EXISTS

HOUR: Final = timedelta(hours=1)
STRANGERS: Final = (Allowance(1, timedelta(minutes=10)), Allowance(10, timedelta(days=1)))
EVERYBODY: Final = {EXISTS: links.ACTIVATE}  # one is sent in the place of the other
TRUSTED: Final = (Allowance(1, timedelta(minutes=1)), Allowance(10, timedelta(days=1)))
NOTICE: Final = (Allowance(10, HOUR),)
_log = log.get_logger("bastion.mail")


def allows(purpose: str, email: str, *, trusted: bool = False) -> bool:
    """Whether a mail may go out now; if so it is counted."""
    if purpose in NOTICES:
        return _take("mail-notice", f"{purpose}:{email}", *NOTICE) is not None
    if trusted:
        return _take("mail-trusted", f"{purpose}:{email}", *TRUSTED) is not None
    counted = _take("mail", f"{purpose}:{_mailbox(email)}", *STRANGERS)
    if counted is None:
        return False
    # Of each kind apart: registrations would otherwise use up the mails of those who forgot their passwords, and the
    # last one, if it is missing, would tell which address has an account.
    kind = EVERYBODY.get(purpose, purpose)
    if _take("mail", f"everybody:{kind}", Allowance(state().settings.mails_per_hour, HOUR)):
        return True
    refund(counted)
    _log.error("mail_budget_spent", per_hour=state().settings.mails_per_hour)
    return False


def _mailbox(email: str) -> str:
    """Where mails to this address probably lie (RFC 5233). For the budget alone: accounts are never joined by it."""
    local, _, domain = email.rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def _take(kind: str, subject: str, *allowances: Allowance) -> Spent | None:
    return take(kind, subject, *allowances)[0]
