"""File types by content: a closed list of signatures decides; the client's type and suffix decide nothing.

A page or script that is uploaded as `photo.png` would otherwise be served as whatever its sender claims. SVG, HTML,
archives and office documents are in no list: they can hold script. Source: ASVS 5.2.2; OWASP File Upload Cheat Sheet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ..text import is_plain

LONGEST_NAME: Final = 100  # characters of a displayed name
_SEPARATORS: Final = re.compile(r"[/\\]")
_BINARY: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")  # no text has these control characters


@dataclass(frozen=True, slots=True)
class FileType:
    """A type of file: what its content begins with, and the suffixes of a displayed name, the usual one first."""

    media_type: str
    suffixes: tuple[str, ...]
    signature: re.Pattern[bytes] | None = None  # None: text, which has none


Types = frozenset[FileType]
IMAGES: Final[Types] = frozenset(
    {
        FileType("image/png", ("png",), re.compile(rb"\x89PNG\r\n\x1a\n")),
        FileType("image/jpeg", ("jpg", "jpeg"), re.compile(rb"\xff\xd8\xff")),
        FileType("image/gif", ("gif",), re.compile(rb"GIF8[79]a")),
        FileType("image/webp", ("webp",), re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    }
)
PDF: Final[Types] = frozenset({FileType("application/pdf", ("pdf",), re.compile(rb"%PDF-[12]\.[0-9]"))})
TEXT: Final[Types] = frozenset({FileType("text/plain", ("txt", "csv"))})
"""UTF-8 without control characters, a table as CSV too. Markup is no text here."""


def type_of(data: bytes) -> FileType | None:
    """Return the type that this content is, or None for any other and for no content."""
    for kind in IMAGES | PDF:
        if kind.signature is not None and kind.signature.match(data):
            return kind
    return next(iter(TEXT)) if _is_text(data) else None


def _is_text(data: bytes) -> bool:
    if not data or _BINARY.search(data):
        return False
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    return text.lstrip()[:1] != "<"  # HTML, SVG and XML begin with it


def display_name(sent: str, kind: FileType) -> str:
    """Return the client's name as text to show: the last part of a path, plain, with a suffix of its type."""
    name = "".join(c for c in _SEPARATORS.split(sent)[-1] if is_plain(c)).strip(" .")
    stem, _, suffix = name.rpartition(".")
    if not stem or suffix.lower() not in kind.suffixes:
        stem, suffix = name, kind.suffixes[0]
    return f"{stem[: LONGEST_NAME - 5].rstrip(' .') or 'file'}.{suffix}"
