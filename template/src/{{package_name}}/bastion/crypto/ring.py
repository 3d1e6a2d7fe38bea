"""Key rotation: a key ring publishes the next key to all processes before the first one signs with it.

Processes read a changed secret at different moments. If the first used the new key at once, the others would refuse its
signatures for some minutes: users would be signed out. A key that stays valid after its replacement is worth stealing
for as long.

A ring is one secret, so it changes as a whole. It is a JWK Set (RFC 7517, 5) of symmetric keys (RFC 7518, 6.4), each
with a `status` and its start in seconds, `since`. `k` is used as text; a plain key is a ring of one.
    {"keys": [{"kty": "oct", "k": "(43 characters)", "status": "active", "since": 1767225600}]}
`next` is accepted and not used, `active` is used, `retired` is accepted until values made with it have ended; a key
outside the ring is refused at once. Source: ASVS 11.2.2, 13.3.4; NIST SP 800-57 Part 1 Rev. 5, 5.3 and 8.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .. import log
from ..clock import seconds
from ..secrets import same
from ..secrets.guessable import weakness
from ..secrets.kept import FRESH, Secrets
from ..secrets.secret import Found
from ..text import strict_json

T = TypeVar("T")
STATES: Final = ("active", "next", "retired")
MOST: Final = 10  # keys of a ring
WHOLE: Final = "the ring"
DAY: Final = 86_400
WAIT: Final = FRESH + 60  # seconds until every process knows a next key; clocks may differ by a minute
SPREAD: Final = 2 * FRESH  # seconds from a command until every process has its result: to store it, and to read it
RECOMMENDED: Final = 365  # days until another key is due; NIST SP 800-57 Part 1 Rev. 5, 5.3.6 allows up to two years
_EXACT: Final = re.compile(r"[0-9a-fA-F]{64}|[A-Za-z0-9_-]{43}=?")
SINCE: Final = range(1, 10**10)  # a time in milliseconds would make a retired key good for ever
_log: Final = log.get_logger("bastion.secrets")


@dataclass(frozen=True, slots=True)
class Purpose:
    """The use of a ring's keys, as far as it decides how long they are needed."""

    command: str
    """The name in `keys new NAME` and `keys rotate NAME`."""
    life: float
    """Seconds after a key's retirement during which some value may still need it."""
    ends: bool = True
    """Whether a key is refused after that; otherwise only a command removes it, after a check that nothing uses it."""
    exact: bool = False
    """Whether a key must be an AES-256 key: exactly 32 bytes."""


PURPOSES: Final[Mapping[str, Purpose]] = {
    # No session, form, link or challenge lives longer than a day.
    "SECRET_KEY": Purpose("session", DAY + SPREAD),
    # Audit events are kept for a year; encrypted values for as long as they are needed.
    "DATA_KEY": Purpose("data", 366 * DAY, ends=False, exact=True),
}


class InvalidRing(ValueError):
    """The secret is not a valid ring. `faults` holds (key's name, end of a sentence) pairs without any value."""

    def __init__(self, *faults: tuple[str, str]) -> None:
        self.faults = faults
        super().__init__("; ".join(" ".join(fault) for fault in faults))


class TooEarly(Exception):
    """The next key was published too recently. `wait`: seconds until every process knows it."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"wait {wait} s")
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a ring; `name` is its name in errors."""

    name: str
    text: str = field(repr=False)
    status: str
    since: int = 0
    """Seconds since the epoch when its status began; 0: unknown, for a plain key."""


@dataclass(frozen=True, slots=True)
class Ring:
    """The keys of one secret: the active one first, then next ones, then retired ones."""

    purpose: Purpose
    keys: tuple[Key, ...] = field(repr=False)

    def texts(self) -> tuple[str, ...]:
        """Return the keys that are valid now, in their order: the first is used, all are accepted."""
        counts_since = seconds() - (self.purpose.life if self.purpose.ends else math.inf)
        return tuple(key.text for key in self.keys if key.status != "retired" or key.since > counts_since)

    def overdue(self) -> list[Key]:
        """Return the retired keys whose time is over."""
        moment, life = seconds(), self.purpose.life
        return [key for key in self.keys if key.status == "retired" and moment >= key.since + life]

    def spreads_for(self) -> int:
        """Return the seconds until every process uses the active key."""
        return max(0, math.ceil(self.keys[0].since + SPREAD - seconds()))


def parse(name: str, text: str) -> Ring:
    """Parse a secret's text into a ring. Raise InvalidRing with every fault."""
    purpose = PURPOSES[name]
    keys = _listed(name, text) if text.lstrip().startswith("{") else [Key(name, text, "active")]
    if faults := [(key.name, fault) for place, key in enumerate(keys) for fault in _faults(key, keys[:place], purpose)]:
        raise InvalidRing(*faults)
    keys.sort(key=lambda key: STATES.index(key.status))
    return Ring(purpose, tuple(keys))


def _listed(name: str, text: str) -> list[Key]:
    whole = f"{name}: {WHOLE}"
    try:
        listed = strict_json.loads(text.encode("utf-8", "surrogatepass")).get("keys")
    except strict_json.InvalidJSON:
        raise InvalidRing((whole, "is no JWK Set in JSON")) from None
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST:
        raise InvalidRing((whole, f"is no JWK Set with 1 to {MOST} keys"))
    keys: list[Key] = []
    faults: list[tuple[str, str]] = []
    for number, jwk in enumerate(listed, 1):
        if _is_key(jwk):
            keys.append(Key(f"{name}: key {number}", jwk["k"], jwk["status"], jwk["since"]))
        else:
            needs = "needs kty (oct), k, a status (active, next or retired) and since in seconds"
            faults.append((f"{name}: key {number}", needs))
    active = sum(key.status == "active" for key in keys)
    if not faults and active != 1:
        faults.append((whole, f"has {active or 'no'} active key{'s' if active else ''}; one key is used"))
    if faults:
        raise InvalidRing(*faults)
    return keys


def _is_key(jwk: Any) -> bool:
    return (
        isinstance(jwk, dict)
        and jwk.get("kty") == "oct"
        and isinstance(jwk.get("k"), str)
        and jwk.get("status") in STATES
        and type(jwk.get("since")) is int
        and jwk["since"] in SINCE
    )


def _faults(key: Key, before: Sequence[Key], purpose: Purpose) -> Iterator[str]:
    if fault := weakness(key.text):
        yield fault
    elif purpose.exact and not _EXACT.fullmatch(key.text.strip()):
        yield "is not 32 bytes as base64url (43 characters) or hex (64 digits)"
    for other in before:
        if same(key.text, other.text):
            yield f"equals {other.name}"


def bytes_of(text: str) -> bytes:
    """Return the 32 bytes of an exact key."""
    text = text.strip()
    return bytes.fromhex(text) if len(text) == 64 else urlsafe_b64decode(f"{text[:43]}=")


def derived(key: bytes, purpose: bytes) -> bytes:
    """Derive a separate key for one purpose (HKDF, RFC 5869): neither key reveals anything about the other."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(key)


# --- the rings in force -----------------------------------------------------------------------------------------


class Rings:
    """The rings of one service, following its secrets; an invalid new text leaves the ring unchanged."""

    def __init__(self, read: Secrets) -> None:
        self._secrets = read
        self._parsed: dict[str, tuple[str, Ring]] = {}

    def get(self, name: str) -> Ring:
        """Return this secret's ring. Raise SecretMissing, SecretUnavailable, or InvalidRing if none was valid yet."""
        text, known = self._secrets.get(name).reveal(), self._parsed.get(name)
        if known is None or text != known[0]:  # texts of our own: no attacker can measure the time
            known = self._parsed[name] = (text, self._changed(name, text, known))
        return known[1]

    def _changed(self, name: str, text: str, known: tuple[str, Ring] | None) -> Ring:
        try:
            return parse(name, text)
        except InvalidRing as error:
            if known is None:
                raise
            _log.error("key_ring_not_changed", name=name, fault=str(error))
            return known[1]

    def tried(self, name: str, attempt: Callable[[tuple[str, ...]], T | None]) -> T | None:
        """Return `attempt` of the valid keys; if that is None, refresh the secret and try its newer keys.

        Another process may have read the secret earlier and used a key unknown here. At most one refresh in ten
        seconds: any client can send a value that no key has signed.
        """
        ring = self.get(name)
        found = attempt(ring.texts())
        if found is None:
            self._secrets.refresh(name)
            if (newer := self.get(name)) is not ring:
                return attempt(newer.texts())
        return found


# --- turning a ring ---------------------------------------------------------------------------------------------


def new_key() -> str:
    """Return 256 random bits as text."""
    return secrets.token_urlsafe(32)


class Turned(NamedTuple):
    """A rotated ring: the secret's new text, and whether a key was published or activated in it."""

    text: str
    step: str


def rotated(name: str, found: Found) -> Turned:
    """Rotate this secret's ring by one step. Raise TooEarly and InvalidRing."""
    ring, stored_at = parse(name, found.value.reveal()), found.changed_at
    unknown = int(stored_at or seconds())
    listed = [{"kty": "oct", "k": key.text, "status": key.status, "since": key.since or unknown} for key in ring.keys]
    return turned(listed, lambda: {"kty": "oct", "k": new_key()}, WAIT, ring.purpose.life, stored_at)


def turned(
    listed: Iterable[Mapping[str, Any]],
    make: Callable[[], Mapping[str, Any]],
    wait: float,
    life: float,
    stored_at: float | None,
) -> Turned:
    """Rotate a ring by one step: drop expired retired keys, then publish a next key or activate it.

    `wait`: seconds from its publication, or from `stored_at`, until every process knows a next key; before that
    TooEarly is raised. `life`: seconds that a retired key is needed. Both kinds of rings use this (jwt/keys.py).
    """
    moment = int(seconds())
    keys = [dict(jwk) for jwk in listed if jwk["status"] != "retired" or moment < jwk["since"] + life]
    waiting = [jwk for jwk in keys if jwk["status"] == "next"]
    if not waiting:
        return Turned(json.dumps({"keys": [*keys, {**make(), "status": "next", "since": moment}]}), "published")
    known_at = max(waiting[0]["since"], stored_at or 0) + wait
    if moment < known_at:
        raise TooEarly(math.ceil(known_at - moment))
    for jwk in keys:
        if jwk["status"] == "active":
            jwk.update(status="retired", since=moment)
    waiting[0].update(status="active", since=moment)
    return Turned(json.dumps({"keys": keys}), "activated")
