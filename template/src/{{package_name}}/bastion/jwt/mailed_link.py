"""Mailed links lead to the client's own page, with the token in the fragment, which browsers send to no server.

This stops leaks through logs and the Referer; the client posts the token to the API in the body. Only the settings name
the page's address. Source: ASVS 14.2.1; RFC 9110, 4.2.4.
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
    """Yield a reason against a start without a valid page for mailed links over https."""
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
    """Return the address for a mail; without a token, of the client's page to request a new link."""
    base = settings().link_base or f"{state().settings.public_origin}/"  # the latter only in development
    return f"{base}#{urlencode({'purpose': purpose} | ({'token': token} if token else {}))}"


def by_hand(purpose: str, token: str) -> str:
    """Return the command for a mail on a developer's terminal."""
    body = {"token": token}
    if purpose != links.EMAIL:
        body["password"] = "..."  # noqa: S105  (a hint; too short to be taken as it is)
    signed_in = ' -H "Authorization: Bearer $ACCESS_TOKEN"' if purpose == links.EMAIL else ""
    return (
        f"curl -s {state().settings.public_origin}{PATHS[purpose]}{signed_in} -H 'Content-Type: application/json' "
        f"-d '{json.dumps(body)}'"
    )
