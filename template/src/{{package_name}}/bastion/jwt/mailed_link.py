"""A mailed link leads to the client's own page, with the token in the fragment, which no browser sends to a server.

So it is in no log and no Referer; the client posts it to the API in the body. The page's address comes from the
settings alone. Source: ASVS 14.2.1; RFC 9110, 4.2.4.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlencode

from ..identity import links
from ..settings import ORIGIN, BastionSettings
from ..state import state
from .settings import Settings, settings

PATHS: Final = {
    links.ACTIVATE: "/auth/activate",
    links.INVITE: "/auth/activate",
    links.CREATE: "/auth/activate",
    links.RESET: "/auth/reset/complete",
    links.EMAIL: "/auth/email/confirm",
}
"""Purpose of a link to the operation that takes its token."""
_PATH: Final = re.compile(r"\A(?:/[A-Za-z0-9._~-]++)*+/?\Z")


def check(settings: Settings, general: BastionSettings) -> Iterator[str]:
    """A reason against a start whose mails would lead nowhere, or over http."""
    if not general.production and not settings.link_base:
        return
    scheme, mark, rest = settings.link_base.partition("://")
    host, slash, path = rest.partition("/")
    if not ORIGIN.match(f"{scheme}{mark}{host}") or not _PATH.match(f"{slash}{path}"):
        yield (
            "BASTION_LINK_BASE: name the page of your client that mailed links lead to, such as "
            "https://app.example/account; it reads the token after the # and posts it here."
        )


def address_of(purpose: str, token: str | None) -> str:
    """The address to put into a mail; without a token the client's page to ask for a new link."""
    base = settings().link_base or f"{state().settings.public_origin}/"  # the latter in development alone
    return f"{base}#{urlencode({'purpose': purpose} | ({'token': token} if token else {}))}"


def by_hand(purpose: str, token: str) -> str:
    """How to go on from the mail on a developer's terminal."""
    body = {"token": token}
    if purpose != links.EMAIL:
        body["password"] = "..."  # noqa: S105  (a hint; too short to be taken as it is)
    signed_in = ' -H "Authorization: Bearer $ACCESS_TOKEN"' if purpose == links.EMAIL else ""
    return (
        f"curl -s {state().settings.public_origin}{PATHS[purpose]}{signed_in} -H 'Content-Type: application/json' "
        f"-d '{json.dumps(body)}'"
    )
