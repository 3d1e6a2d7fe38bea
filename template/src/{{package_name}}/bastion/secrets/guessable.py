"""Weak key rejection: refuse keys that an attacker could guess, such as typed words or short values.

With a guessable key an attacker forges cookies. They try words and patterns offline until one verifies a cookie of
their own, and then sign another one.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

PLACEHOLDERS: Final = frozenset(
    (
        *("changeme", "change-me", "change_me", "replace-me", "replaceme", "placeholder", "todo", "none", "null"),
        *("secret", "supersecret", "super-secret", "secretkey", "secret-key", "your-secret-key", "yoursecretkey"),
        *("password", "default", "example", "sample", "insecure", "dev", "development", "test", "testing"),
    )
)
_WORD: Final = re.compile(r"(?<![^\s._-])[a-z]{2,}(?![^\s._-])")  # four of them are in one of millions of random keys
DISTINCT: Final = 10  # different characters; 64 random hex digits have fewer in about one of a trillion keys


def weakness(value: str) -> str | None:
    """Return a key's weakness as a predicate, or None: placeholder, repetition, sequence, variety, length, phrase."""
    plain = value.strip().casefold()
    if plain in PLACEHOLDERS or any(plain.startswith(word) and len(word) > 7 for word in PLACEHOLDERS):
        return "is a placeholder"
    if (plain * 2).find(plain, 1) < len(plain):
        return "repeats itself"
    if sum(ord(b) - ord(a) in (0, 1, -1) for a, b in pairwise(plain)) > len(plain) // 2:
        return "is a sequence"
    if len(set(value)) < DISTINCT:
        return f"has fewer than {DISTINCT} different characters"
    if len(value) < (64 if re.fullmatch(r"[0-9a-fA-F]*", value) else 43):
        return "is shorter than 32 random bytes (64 hex digits or 43 base64url characters)"
    if len(_WORD.findall(value)) > 3 or any(map(str.isspace, plain)):
        return "reads like a phrase, which is guessed word by word"
    return None
