"""A text from outside is read in the order in which it is stored, and holds nothing that can't be seen.

Control characters break lines of logs and mails; marks that reverse the direction make a name read as another
(Unicode TR36, 2.8; ASVS 1.3.3). The left-to-right and right-to-left marks, which Arabic and Hebrew need, reorder
nothing beyond their own place and are allowed. Readers of text import nothing of this service.
"""

from __future__ import annotations

import unicodedata
from typing import Final

LINES: Final = frozenset("\n\r\t")
_REORDERING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNSEEN: Final = ("Cc", "Cs", "Zl", "Zp")  # control, half a surrogate pair, line and paragraph separator


def is_plain(text: str, *, lines: bool = False) -> bool:
    """Whether the text can be shown safely; with `lines=True` line breaks and tabs may be in it."""
    if text.isascii() and text.isprintable():
        return True
    allowed = LINES if lines else frozenset()
    return not any(c in _REORDERING or (unicodedata.category(c) in _UNSEEN and c not in allowed) for c in text)
