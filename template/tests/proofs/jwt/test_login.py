"""Proofs of jwt/mailed_link.py: what is secret in a mailed address is where no server sees it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .. import mails
from ..harness import edit, harm, protects, works
from ..logins import SIGNED_IN, asks_for_reset, attempt, cheap_user, chooses_by_mail

if TYPE_CHECKING:
    from ..running import Service

CHOSEN = "another correct horse battery"


@protects(
    "login-credentials-in-body-only",
    fragment=edit("jwt/mailed_link.py", 'return f"{base}#{urlencode(', 'return f"{base}?{urlencode('),
)
def test_the_token_in_a_mailed_address_is_sent_to_no_server(service: Service) -> None:
    user, reader = cheap_user(service), service.client()
    asks_for_reset(reader, user.email)
    [letter] = mails.sent(service, user.email)
    [address] = re.findall(r"https://client\.example/\S+", mails.text(letter))
    [token] = re.findall(r"token=([\w-]+)", address)
    assert chooses_by_mail(reader, token, CHOSEN).status == 204
    works(attempt(service.client(), user.email, CHOSEN).status == SIGNED_IN, "the token opens what it is for")
    sent = urlsplit(address)
    harm(token in f"{sent.netloc}{sent.path}?{sent.query}", "the client's server is told the token")
    assert sent.fragment.startswith("purpose=reset&token=")
