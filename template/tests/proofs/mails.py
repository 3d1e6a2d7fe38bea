"""What the service mails: sent by its own outbox, and caught where it would be handed to a mail server.

It stops proofs from making up a token: each comes out of the letter that its recipient reads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .harness import HarnessError

if TYPE_CHECKING:
    from email.message import EmailMessage

    from .running import Service

_LINK = re.compile(r"(?:/link/|#purpose=)(?P<purpose>[a-z-]+)(?:/|&token=)(?P<token>[\w-]+)")
_WAITING = "SELECT count(*) FROM mail_outbox"


def sent(service: Service, email: str | None = None) -> list[EmailMessage]:
    """Let the service send what is due, and give all that it has sent so far (to this address), oldest first."""
    transport: Any = service.module("delivery.transport")
    outbox: Any = service.module("delivery.outbox")
    [(waiting,)] = service.rows(_WAITING)
    kept, transport.hand_over = transport.hand_over, service.mails.append
    try:
        with service.app.app_context():
            for _ in range(waiting // outbox.BATCH + 1):
                outbox.drain()
    finally:
        transport.hand_over = kept
    return [mail for mail in service.mails if email in (None, mail["To"])]


def subjects(service: Service, email: str) -> list[str]:
    """What was sent to this address, by the subjects of the letters, oldest first."""
    return [mail["Subject"] for mail in sent(service, email)]


def text(mail: EmailMessage) -> str:
    """What a person reads."""
    body = mail.get_body(("plain",))
    return "" if body is None else str(body.get_content())


def link(mail: EmailMessage) -> tuple[str, str] | None:
    """Purpose and token of the link in a letter, or None when it has none that opens anything."""
    found = _LINK.search(text(mail))
    return None if found is None else (found["purpose"], found["token"])


def tokens_for(service: Service, email: str, purpose: str) -> list[str]:
    """The tokens of all links for this purpose that were mailed to this address, oldest first."""
    found = [link(mail) for mail in sent(service, email)]
    return [one[1] for one in found if one is not None and one[0] == purpose]


def token_for(service: Service, email: str, purpose: str) -> str:
    """The token of the newest of them. Raises HarnessError when there is none."""
    found = tokens_for(service, email, purpose)
    if not found:
        raise HarnessError(f"no link for {purpose} was mailed to {email}")
    return found[-1]


def waiting(service: Service) -> list[tuple[str, str]]:
    """Purpose and address of each mail that is noted and not sent yet."""
    return [(row[0], row[1]) for row in service.rows("SELECT purpose, email FROM mail_outbox ORDER BY purpose, email")]
