"""Content types: every answer names its type and charset; an unknown type is downloaded, never displayed.

A browser that has to guess (MIME sniffing) takes text for a page and runs script that an attacker wrote into it.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

UNKNOWN: Final = "application/octet-stream"
_CHARSET: Final = "; charset=utf-8"
# Types by file suffix. Systems' own tables differ, and a browser runs no script that is sent as text/plain.
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
    """Return the Content-Type to send: text with its charset, and no HTML in a service without pages.

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
    """Register the types of `SUFFIXES`, so that files have the same type on every machine."""
    for suffix, kind in SUFFIXES.items():
        mimetypes.add_type(kind, suffix)
