"""A path means to everybody what it means here: a hidden slash or a backslash in it is refused.

`/account%2Fx.css` is a stylesheet to a cache in front, which keeps it for everybody, and the account page to whoever
decodes it first; a backslash is a slash to some proxies.
"""

from __future__ import annotations

from typing import Final
from wsgiref.types import WSGIEnvironment

from .answers import Refusal

_REFUSAL: Final = Refusal(400, "no-store-by-default")


def refuse(environ: WSGIEnvironment) -> Refusal | None:
    """Refuse with 400 an encoded slash and a backslash, and a server that doesn't tell the path as it was sent.

    WSGI's own PATH_INFO is decoded already. Source: RFC 3986, 2.2 and 6.2.2; ASVS 14.2.5.
    """
    path = environ.get("RAW_URI", "").partition("?")[0].lower()
    if not path or "%2f" in path or "%5c" in path or "\\" in path:
        return _REFUSAL
    return None
