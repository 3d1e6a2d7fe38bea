"""Open redirects after login are prevented: the target of a login is always a page of this service.

`//evil.example`, `/\\evil.example` and their relatives look like paths to a check and like hosts to a browser.
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
    """`target` if it is the path of a page of this service that can be opened with GET, otherwise `default`."""
    if not target or len(target) > LONGEST or _UNSAFE.search(target):
        return default
    if "\\" in target:
        return default
    if not target.startswith("/") or target.startswith("//"):
        return default
    path = urlsplit(target).path
    return target if "@" not in path and _is_page(path) else default


def safe_link(address: str) -> str:
    """The address, which somebody typed, if a link may lead there: a web page, a mailbox, a path here; else `#`.

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
    """The page that a posted form belongs to: the nearest path above the action that can be opened with GET."""
    while path and not safe_next(path, ""):
        path = path.rpartition("/")[0]
    return path or None
