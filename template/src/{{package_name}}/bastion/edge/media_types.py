"""Every answer says what it is, and in which charset; what is of an unknown kind is saved, never shown.

A browser that has to guess takes a text for a page and runs what somebody wrote into it.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

UNKNOWN: Final = "application/octet-stream"
_CHARSET: Final = "; charset=utf-8"
# Of files. The table of the machine differs between systems, and a browser runs no script that is called a text.
SUFFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".avif": "image/avif",
        ".css": "text/css",
        ".ico": "image/vnd.microsoft.icon",
        ".js": "text/javascript",
        ".json": "application/json",
        ".mjs": "text/javascript",
        ".svg": "image/svg+xml",
        ".txt": "text/plain",
        ".webmanifest": "application/manifest+json",
        ".webp": "image/webp",
        ".woff2": "font/woff2",
    }
)


def said(content_type: str, *, pages: bool) -> str:
    """The Content-Type to send: a text with its charset, and in a service without pages no HTML, whoever made it.

    Source: ASVS 4.1.1, 3.2.1; MIME Sniffing Standard, 7.
    """
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if not pages and kind in ("text/html", "application/xhtml+xml"):
        return f"text/plain{_CHARSET}"
    if kind.startswith("text/") and "charset=" not in parameters.lower():
        return f"{kind}{_CHARSET}"
    return content_type


def install() -> None:
    """Let files be served as what they are on every machine."""
    for suffix, kind in SUFFIXES.items():
        mimetypes.add_type(kind, suffix)
