"""Proofs of jwt/mailed_link.py: a mailed link opens the client's own page, and its token reaches no server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ... import mails
from ...harness import edit, harm, protects, works
from ...logins import SIGNED_IN, attempt, cheap_user
from ..steps import asks_for_reset, chooses_by_mail

if TYPE_CHECKING:
    from ...running import Service


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
    works(attempt(service.client(), user.email, CHOSEN).status == SIGNED_IN, "the mailed token resets the password")
    sent = urlsplit(address)
    harm(token in f"{sent.netloc}{sent.path}?{sent.query}", "the token is sent to the client's server")
    assert sent.fragment.startswith("purpose=reset&token=")


FILE = "jwt/mailed_link.py"
NOWHERE = (
    "BASTION_LINK_BASE: name the page of your client that mailed links lead to, such as "
    "https://app.example/account; it reads the token after the # and posts it here."
)
PAGES = (
    *("https://app.example", "https://app.example/", "https://client.example/account", "https://app.example:8443/a/"),
    *("https://app.example/account/set-password_2.html", "https://app.example/~us"),
)
NO_PAGES = (
    *(None, "", "https://", "https:///account", "app.example/account", "//app.example/account", "/account"),
    *("http://app.example/account", "javascript://app.example/a", "ftp://app.example", "HTTPS://app.example"),
    *("https://a@app.example/", "https://app.example:x/", "https://app.example/a?b=c", "https://app.example/a#b"),
    *("https://app.example//a", "https://app.example/a b", "https://app.example/%2e", "https://app.example/a\n"),
    *("https://app.example/\u202e", "https://app.example/'", 'https://app.example/"', "https://app.example/<a>"),
)


@protects(
    "mailed-link-fixed-origin",
    missing=edit(FILE, "    if not general.production and not settings.link_base:", "    if not settings.link_base:"),
    origin=edit(FILE, 'if not ORIGIN.match(f"{scheme}{mark}{host}") or not', "if not"),
    path=edit(FILE, ' or not _PATH.match(f"{slash}{path}"):', ":"),
)
def test_no_start_has_mails_that_lead_nowhere_or_over_http(service: Service) -> None:
    for page in PAGES:
        works(service.start(BASTION_LINK_BASE=page).app is not None, f"the service starts with the link page {page}")
    works(service.start(BASTION_ENV="development", BASTION_LINK_BASE=None).app is not None, "development needs no page")
    for other in NO_PAGES:
        tried = service.start(BASTION_LINK_BASE=other)
        harm(tried.app is not None, f"the service started with mailed links to {other!r}")
        assert tried.reasons == [NOWHERE], other
    assert service.start(BASTION_ENV="development", BASTION_LINK_BASE="http://app.example").reasons == [NOWHERE]
