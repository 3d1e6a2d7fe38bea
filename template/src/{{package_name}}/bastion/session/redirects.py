"""Open redirect protection: the target after a login is always a page of this service.

It stops a phishing link to `//evil.example` or `/\\evil.example`: a check reads a path, a browser a host.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from flask import current_app
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

LONGEST: Final = 512  # characters
ELSEWHERE: Final = frozenset(  # no place to go on
    f"bastion.{page}" for page in ("login", "logout", "passkey_login", "reauthenticate", "second_factor")
)
LONGEST_LINK: Final = 2048
SCHEMES: Final = ("https://", "http://", "mailto:")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def safe_next(target: str | None, default: str) -> str:
    """Return `target` if it is a path of this service that can be opened with GET, otherwise `default`."""
    if not target or len(target) > LONGEST or _UNSAFE.search(target):
        return default
    if "\\" in target:
        return default
    if not target.startswith("/") or target.startswith("//"):
        return default
    path = urlsplit(target).path
    return target if "@" not in path and _is_page(path) else default


def safe_link(address: str) -> str:
    """Return the user-supplied address if it is safe as a link: a web page, a mailbox, a path here; else `#`.

    In templates it is the filter `link`: href="{{ note.address | link }}". A `javascript:` address would run here.
    """
    if len(address) > LONGEST_LINK or _UNSAFE.search(address) or "\\" in address:
        return "#"
    if address.lower().startswith(SCHEMES) or (address.startswith("/") and not address.startswith("//")):
        return address
    return "#"


def _is_page(path: str) -> bool:
    adapter = current_app.create_url_adapter(None) or current_app.url_map.bind("")
    try:
        endpoint, _arguments = adapter.match(path, method="GET")
    except RequestRedirect:
        return False
    except HTTPException:
        return False
    return endpoint not in ELSEWHERE


def page_of_action(path: str) -> str | None:
    """Return the page of a posted form: the nearest path above the action that GET can open, or None."""
    while path and not safe_next(path, ""):
        path = path.rpartition("/")[0]
    return path or None
