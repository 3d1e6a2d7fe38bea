"""Plain text check: text from outside has no invisible characters and none that change the display order.

Control characters break lines of logs and mails; bidirectional controls make a name read as another (Unicode TR36, 2.8;
ASVS 1.3.3). The left-to-right and right-to-left marks, which Arabic and Hebrew need, reorder only at their own place
and are allowed. This package imports nothing of this service.
"""

from __future__ import annotations

import unicodedata
from typing import Final

LINES: Final = frozenset("\n\r\t")
_REORDERING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNSEEN: Final = ("Cc", "Cs", "Zl", "Zp")  # control, half a surrogate pair, line and paragraph separator


def is_plain(text: str, *, lines: bool = False) -> bool:
    """Return whether the text can be shown safely; with `lines=True` it may have line breaks and tabs."""
    if text.isascii() and text.isprintable():
        return True
    allowed = LINES if lines else frozenset()
    return not any(c in _REORDERING or (unicodedata.category(c) in _UNSEEN and c not in allowed) for c in text)
