"""No new password is one that somebody who knows the account and what people choose would find in 10^8 tries or fewer,
as far as that can be estimated.

Length alone stops nobody who tries `passwordpassword`, `qwertyuiopasdfgh` or a name with a year. So the fewest tries
are estimated that reach the *whole* text by stringing together common passwords, walks over the keyboard, repetitions,
years and words of the account, in the way of zxcvbn; a word inside a longer phrase forbids nothing.
Source: NIST SP 800-63B-4, 3.1.1.2; ASVS 6.2.4, 6.2.11; Wheeler: zxcvbn (USENIX Security 2016).
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from base64 import b64decode
from collections.abc import Collection, Iterator
from functools import cache
from math import inf, log10
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).with_name("common_passwords.txt")
DIGEST_BYTES: Final = 4
ENOUGH: Final = 8.0  # powers of ten: as many tries as eight characters take of which nothing is known
CHARACTER, WALK, REPEAT, YEAR, OF_ACCOUNT = 1.0, 1.5, 0.3, 2.0, 0.5  # powers of ten each
SHORTEST_WORD: Final = 3
LONGEST_PART: Final = 40
YEARS: Final = frozenset(str(year) for year in range(1900, 2100))
INSTEAD: Final = str.maketrans("@4831!05$7", "aabeiiosst")
UNSHIFTED: Final = str.maketrans("!@#$%^&*()", "1234567890")
KEYS: Final = ("1234567890-=", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./")
_PLACES: Final = {key: (row, column) for row, keys in enumerate(KEYS) for column, key in enumerate(keys)}


@cache
def ranks() -> dict[bytes, int]:
    """The place of each common password in the list, by its digest. Raises ValueError when it is not as it was made."""
    lines = FILE.read_text(encoding="ascii").splitlines()
    digests = b64decode("".join(line for line in lines if not line.startswith("#")))
    if not hmac.compare_digest(hashlib.sha256(digests).hexdigest(), lines[0].rpartition(" ")[2]):
        raise ValueError(FILE.name)
    starts = range(0, len(digests), DIGEST_BYTES)
    return {digests[start : start + DIGEST_BYTES]: rank for rank, start in reversed([*enumerate(starts, 1)])}


def damage() -> Iterator[str]:
    """A reason against a start: with less than the whole list, too little would be refused, and nobody would notice."""
    try:
        ranks()
    except (OSError, ValueError, IndexError):
        yield f"{FILE.name}: the list is missing, cut short or altered. Restore the file from the template."


def digest(word: str) -> bytes:
    """What stands in the list for a password: it holds so much abuse that no repository should have it in clear."""
    return hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()[:DIGEST_BYTES]


def folded(text: str) -> str:
    """Without case, width and spaces: who tries one spelling tries them all."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def tries(password: str, account: Collection[str] = ()) -> float:
    """After how many tries, as a power of ten, it would be found; `account` holds words that would be tried early.

    No more is computed than is needed to know that it is ENOUGH.
    """
    text = folded(password)
    words = frozenset(map(folded, account))
    fewest = [0.0] + [inf] * len(text)
    for start in range(len(text)):
        if start >= LONGEST_PART and min(fewest[start - LONGEST_PART + 1 : start + 1]) >= ENOUGH:
            return ENOUGH  # every way to the end leads over one of these places
        for end, power in _parts(text, start, words):
            fewest[end] = min(fewest[end], fewest[start] + power)
    return fewest[-1]


def _parts(text: str, start: int, words: Collection[str]) -> Iterator[tuple[int, float]]:
    """Where each known part that begins here ends, and what it costs to try it."""
    yield start + 1, CHARACTER
    for end in _walks(text, start):
        yield end, WALK
    for length in range(1, min(start, LONGEST_PART) + 1):
        if text[start - length : start] == text[start : start + length]:
            yield start + length, REPEAT
    for end in range(start + SHORTEST_WORD, min(start + LONGEST_PART, len(text)) + 1):
        word = text[start:end]
        if word in YEARS:
            yield end, YEAR
        for spelling in {word, word.translate(INSTEAD)}:
            if spelling in words:
                yield end, OF_ACCOUNT
            if rank := ranks().get(digest(spelling)):
                yield end, log10(rank + 1)


def _walks(text: str, start: int) -> Iterator[int]:
    """Ends of three and more characters that follow each other on the keyboard, in the alphabet or in counting."""
    keys = text[start : start + LONGEST_PART].translate(UNSHIFTED)
    for follows in (_is_beside, _is_next, _is_previous):
        for end in range(1, len(keys)):
            if not follows(keys[end - 1], keys[end]):
                break
            if end >= 2:
                yield start + end + 1


def _is_beside(one: str, other: str) -> bool:
    (row, column), (to_row, to_column) = _PLACES.get(one, (0, -9)), _PLACES.get(other, (9, 9))
    if row == to_row:
        return abs(column - to_column) == 1
    return abs(row - to_row) == 1 and (column - to_column) * (to_row - row) in (0, 1)


def _is_next(one: str, other: str) -> bool:
    return ord(other) - ord(one) == 1


def _is_previous(one: str, other: str) -> bool:
    return ord(one) - ord(other) == 1
