"""Password storage with Argon2id: every parameter is set here, and concurrent hashes are limited.

This slows the offline guessing of a stolen table: each guess costs 64 MiB and three passes. The limit stops a flood of
logins from using all memory and every thread of the worker.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata
from base64 import b64decode, b64encode
from bisect import insort
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from threading import Condition
from typing import Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from ..state import state

MEMORY_KIB: Final = 65_536  # OWASP Password Storage Cheat Sheet asks for at least 19 MiB; ASVS 11.4.2
TIME_COST: Final = 3
PARALLELISM: Final = 4  # RFC 9106, section 4, second recommended option
SALT_BYTES: Final = 16
TAG_BYTES: Final = 32
FLOORS: Final = {"memory_cost": 19_456, "time_cost": 2, "parallelism": 1, "salt_len": 16, "hash_len": 32}
"""Minimum parameters to start: OWASP's second choice for Argon2id; RFC 9106, section 3.1, for the rest."""
PREFIX: Final = "$argon2id$"  # argon2-cffi would verify the weaker argon2i and argon2d as well
PRESENT: Final = f"{PREFIX}v=19$m={MEMORY_KIB},t={TIME_COST},p={PARALLELISM}$"
"""Prefix of a hash with the present parameters."""
SHORTEST: Final = 15  # code points; NIST SP 800-63B-4, 3.1.1.2, for passwords without a second factor
LONGEST: Final = 256  # code points; longer ones are refused, never cut
LONGEST_TYPED: Final = 4 * LONGEST  # characters in a form or document; NFC makes fewer of them, or the reason is told
WAIT_SECONDS: Final = 1.0
ADVICE: Final = (
    f"Use at least {SHORTEST} characters. Several random words are easy to remember; a password manager makes and keeps"
    " better ones."
)
"""For pages and mails that ask for a new password."""
COMMON: Final = Path(__file__).with_name("common_passwords.txt")
DIGEST_BYTES: Final = 4
UNKNOWN: Final = 8  # characters that are asked for beside the words of the account
_WORDS: Final = re.compile(r"[^\W_]{3,}")


class Busy(RuntimeError):
    """All slots for password hashes are taken, and no place to wait is left or became free in time."""


def normalised(password: str) -> bytes:
    """Return the password's bytes in NFC, the same for every keyboard, as NIST SP 800-63B-4 asks.

    Nothing else changes a password when it is chosen or compared: no trimming, folding or cutting.
    """
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def length(password: str) -> int:
    """Return the length in code points, after NFC."""
    return len(unicodedata.normalize("NFC", password))


def context_of(*names: str) -> tuple[str, ...]:
    """Return the words an attacker tries first for this account: of its address and name, and of the service."""
    now = state()
    return tuple(word for name in (*names, now.service_name, now.settings.public_origin) for word in _words(name))


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())


@cache
def common() -> frozenset[bytes]:
    """Return digests of the most common passwords. Raises ValueError when the list does not match its checksum."""
    lines = COMMON.read_text(encoding="ascii").splitlines()
    digests = b64decode("".join(line for line in lines if not line.startswith("#")))
    if not hmac.compare_digest(hashlib.sha256(digests).hexdigest(), lines[0].rpartition(" ")[2]):
        raise ValueError(COMMON.name)
    return frozenset(digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES))


def _is_easy(password: str, context: Collection[str]) -> bool:
    """Return whether it is common, one repeated unit, or little more than words of the account.

    Compares the whole password without case, width and spaces: an attacker tries every spelling. A common word inside a
    longer phrase is allowed. Source: NIST SP 800-63B-4, 3.1.1.2; ASVS 6.2.4, 6.2.11.
    """
    text = _folded(password)
    listed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:DIGEST_BYTES]
    if listed in common() or (text * 2).find(text, 1) < len(text):
        return True
    for word in sorted(map(_folded, context), key=len, reverse=True):
        text = text.replace(word, "")
    return len(text) < UNKNOWN


def _folded(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def faults(password: str, context: Collection[str] = ()) -> list[str]:
    """Return the reasons against this new password, as sentences for the user; empty when it is acceptable.

    `context` comes from `context_of` for the account. There are no composition rules: they make passwords easy to
    forget, not hard to guess (ASVS 6.2.5).
    """
    if length(password) < SHORTEST:
        return [f"Use at least {SHORTEST} characters; several words are easy to remember."]
    if length(password) > LONGEST:
        return [f"Use at most {LONGEST} characters."]
    if _is_easy(password, context):
        return ["This is too common or too easy to guess. Use several words that have nothing to do with each other."]
    return []


class Passwords:
    """Hash and verify passwords, `concurrency` at a time; a quarter of the threads may wait, at most a second.

    The lowest rank goes first; equal ranks go in order of arrival. When all places to wait are taken, the highest rank
    gives way. So a flood of high ranks delays a low one by one hash, not by all hashes of the flood.
    """

    def __init__(self, *, concurrency: int, threads: int) -> None:
        self._hasher = PasswordHasher(
            time_cost=TIME_COST,
            memory_cost=MEMORY_KIB,
            parallelism=PARALLELISM,
            hash_len=TAG_BYTES,
            salt_len=SALT_BYTES,
            type=Type.ID,
        )
        self._free = concurrency
        self._places = max(1, threads // 4)
        self._waiting: list[tuple[int, int]] = []  # rank and number of arrival, the next one first
        self._arrivals = count()
        self._change = Condition()
        # Verification costs the same as for a real hash; the tag is random, so no password matches it.
        self._dummy = (
            f"{PRESENT}{_unpadded(secrets.token_bytes(SALT_BYTES))}${_unpadded(secrets.token_bytes(TAG_BYTES))}"
        )

    def weaknesses(self) -> Iterator[str]:
        """Yield the reasons against a start with this hasher, such as weakened parameters."""
        for name, least in FLOORS.items():
            if getattr(self._hasher, name) < least:
                yield f"Argon2: {name} is below {least}. Put the numbers of bastion/identity/passwords.py back."
        if self._hasher.type is not Type.ID:
            yield "Argon2: the type is not Argon2id. Put the hasher of bastion/identity/passwords.py back."
        try:
            common()
        except (OSError, ValueError, IndexError):  # with less than all of it too little is refused, and nobody notices
            yield f"{COMMON.name}: the list is missing, cut short or altered. Restore the file from the template."

    def hash(self, password: str) -> str:
        """Return the hash to store (PHC format). Raises Busy. Goes before all networks: a link or session allows it."""
        with self._hash_slot():
            return self._hasher.hash(normalised(password))

    def verify(self, password: str, stored: str | None, rank: int = 0) -> bool:
        """Return whether the password matches. Takes as long when `stored` is None. Raises Busy.

        A password above the maximum length is never hashed, for any account.
        """
        if length(password) > LONGEST:
            return False
        usable = stored is not None and stored.startswith(PREFIX)
        target = stored if usable and stored is not None else self._dummy
        with self._hash_slot(rank):
            try:
                self._hasher.verify(target, normalised(password))
            except (VerificationError, InvalidHashError):
                return False
        return usable

    @staticmethod
    def is_outdated(stored: str) -> bool:
        """Return whether the stored hash was made with other parameters than today's."""
        return not stored.startswith(PRESENT)

    @contextmanager
    def _hash_slot(self, rank: int = 0) -> Iterator[None]:
        mine = (rank, next(self._arrivals))
        with self._change:
            insort(self._waiting, mine)
            del self._waiting[self._free + self._places :]
            self._change.notify_all()  # a caller that gives way
            self._change.wait_for(lambda: mine not in self._waiting[self._free :], WAIT_SECONDS)
            is_next = mine in self._waiting[: self._free]
            self._waiting = [one for one in self._waiting if one != mine]
            if not is_next:
                raise Busy
            self._free -= 1
        try:
            yield
        finally:
            with self._change:
                self._free += 1
                self._change.notify_all()


def _unpadded(value: bytes) -> str:
    return b64encode(value).decode().rstrip("=")
