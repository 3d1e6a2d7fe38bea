"""Mail rate limits per recipient and service: no client can flood a mailbox or exhaust the owner's mails.

Unauthenticated clients together can cause one mail of a kind in ten minutes and ten a day to one recipient. The limit
includes sub-addresses of the mailbox (`ada+1@`, `ada+2@`). Mails that an administrator or a known device of the account
requests, and notices, have budgets of their own. So an attacker's requests do not lock out the owner, and a notice of
an attack goes out although the owner just caused one too. Source: ASVS 2.4.1, 6.3.1; CWE-799.
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
    """Return whether a mail may go out now; if so, count it."""
    if purpose in NOTICES:
        return _take("mail-notice", f"{purpose}:{email}", *NOTICE) is not None
    if trusted:
        return _take("mail-trusted", f"{purpose}:{email}", *TRUSTED) is not None
    counted = _take("mail", f"{purpose}:{_mailbox(email)}", *STRANGERS)
    if counted is None:
        return False
    # One budget for each kind: registrations would otherwise use up password resets. A missing last mail of a shared
    # budget would also reveal which address has an account.
    kind = EVERYBODY.get(purpose, purpose)
    if _take("mail", f"everybody:{kind}", Allowance(state().settings.mails_per_hour, HOUR)):
        return True
    refund(counted)
    _log.error("mail_budget_spent", per_hour=state().settings.mails_per_hour)
    return False


def _mailbox(email: str) -> str:
    """Return the mailbox behind an address (RFC 5233); only for the budget, since it never joins accounts."""
    local, _, domain = email.rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def _take(kind: str, subject: str, *allowances: Allowance) -> Spent | None:
    return take(kind, subject, *allowances)[0]
