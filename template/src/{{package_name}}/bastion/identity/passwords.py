"""A stolen table of passwords is worth as little as it can be: Argon2id, with every parameter written here.

Each guess costs the thief what it costs us: 64 MiB and three passes. That price is bounded on our side, since a flood
of logins would otherwise take all memory and every thread of the worker.
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
"""The weakest hasher that starts: OWASP's smallest second choice for Argon2id; RFC 9106, section 3.1, for the rest."""
PREFIX: Final = "$argon2id$"  # argon2-cffi would verify the weaker argon2i and argon2d as well
PRESENT: Final = f"{PREFIX}v=19$m={MEMORY_KIB},t={TIME_COST},p={PARALLELISM}$"
"""How a hash of present parameters begins."""
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
    """All slots for password hashes are taken, and requests that go first take every place to wait."""


def normalised(password: str) -> bytes:
    """The same password typed on another keyboard gives the same bytes (NFC, as NIST SP 800-63B-4 asks).

    Nothing else is done to it, neither when it is chosen nor when it is compared: no trimming, folding or cutting.
    """
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def length(password: str) -> int:
    """In code points, as they are hashed."""
    return len(unicodedata.normalize("NFC", password))


def context_of(*names: str) -> tuple[str, ...]:
    """The words that anybody would try first for this account: of its address and name, and of the service."""
    now = state()
    return tuple(word for name in (*names, now.service_name, now.settings.public_origin) for word in _words(name))


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())


@cache
def common() -> frozenset[bytes]:
    """Digests of the most common passwords. Raises ValueError when the list is not as it was made."""
    lines = COMMON.read_text(encoding="ascii").splitlines()
    digests = b64decode("".join(line for line in lines if not line.startswith("#")))
    if not hmac.compare_digest(hashlib.sha256(digests).hexdigest(), lines[0].rpartition(" ")[2]):
        raise ValueError(COMMON.name)
    return frozenset(digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES))


def _is_easy(password: str, context: Collection[str]) -> bool:
    """Whether it is common, a unit again and again, or little more than words of the account.

    Compared is the whole of it, without case, width and spaces: who tries one spelling tries them all. A common word
    inside a longer phrase forbids nothing. Source: NIST SP 800-63B-4, 3.1.1.2; ASVS 6.2.4, 6.2.11.
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
    """Why this can't be a new password, as sentences for the person who chose it; empty when it can.

    `context` is what `context_of` gives for the account. There are no rules of composition: they make passwords that
    are forgotten, not such that are hard to guess (ASVS 6.2.5).
    """
    if length(password) < SHORTEST:
        return [f"Use at least {SHORTEST} characters; several words are easy to remember."]
    if length(password) > LONGEST:
        return [f"Use at most {LONGEST} characters."]
    if _is_easy(password, context):
        return ["This is too common or too easy to guess. Use several words that have nothing to do with each other."]
    return []


class Passwords:
    """Hashes and verifies, `concurrency` at a time; a quarter of the worker's threads may wait, at most a second.

    The caller with the lowest rank goes first, of equal ones the first to come. When all places to wait are taken, the
    highest rank gives way. So a flood of high ranks keeps a low one waiting for one hash, not for all of its own.
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
        # Costs a verification what a real one costs; its tag is random, so nothing can ever match it.
        self._dummy = (
            f"{PRESENT}{_unpadded(secrets.token_bytes(SALT_BYTES))}${_unpadded(secrets.token_bytes(TAG_BYTES))}"
        )

    def weaknesses(self) -> Iterator[str]:
        """Reasons against a start with this hasher, whoever has weakened it and where."""
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
        """The string to store (PHC format). Raises Busy. Goes before every network: a link or a session allows it."""
        with self._hash_slot():
            return self._hasher.hash(normalised(password))

    def verify(self, password: str, stored: str | None, rank: int = 0) -> bool:
        """Whether the password belongs to the stored string. Works as long when there is none. Raises Busy.

        One that is longer than any can be is never hashed, whosever it is.
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
        """Whether the stored string was made with other parameters than those of today."""
        return not stored.startswith(PRESENT)

    @contextmanager
    def _hash_slot(self, rank: int = 0) -> Iterator[None]:
        mine = (rank, next(self._arrivals))
        with self._change:
            insort(self._waiting, mine)
            del self._waiting[self._free + self._places :]
            self._change.notify_all()  # whoever gives way
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
