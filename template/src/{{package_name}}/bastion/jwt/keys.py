"""JWT signing keys: only this service's own ring signs and verifies; each key has one algorithm, name and state.

This stops forged tokens: a verifier that takes a key or an algorithm from the token accepts an attacker's signature.
The ring is a JWK Set (RFC 7517) in the secret JWT_KEYS; a token's header only names a key of it.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

import click
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from flask import current_app

from .. import clock, log
from ..crypto.ring import SINCE, SPREAD, STATES, WAIT, Turned, turned
from ..crypto.signing import Verified
from ..secrets import Found, Secrets
from ..secrets.guessable import weakness
from ..state import state
from ..text import strict_json

SECRET: Final = "JWT_KEYS"  # noqa: S105  (a name, no value)
EXTENSION: Final = "bastion.jwt.keys"
KINDS: Final[Mapping[tuple[str, str], str]] = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256"}
"""Kind of a key to the one algorithm that it signs by. Source: RFC 8037; RFC 7518, 3.4; ASVS 11.3.2."""
JWKS_SECONDS: Final = 300  # how long a verifier may keep the public keys
LEEWAY: Final = 30  # seconds that two machines' clocks may differ; more would only lengthen a stolen token's life
LONGEST_LIFE: Final = 900 + LEEWAY  # seconds: no access token lives longer, whatever exceptions.toml declares
NEXT_WAITS: Final = WAIT + JWKS_SECONDS  # seconds until every process and every other verifier knows a next key
RETIRED_COUNTS: Final = LONGEST_LIFE + SPREAD  # seconds that a retired key may still be needed
PUBLISHED: Final = frozenset(
    {
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",  # RFC 8037, A; RFC 8032, 7.1, test 1
        "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw",  # RFC 8032, 7.1, test 2
        "_FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU",  # RFC 8032, 7.1, test 3
        "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",  # RFC 7517, A
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",  # RFC 7515, A.3
        "YP7UuiVanTHJYet0xjVtaMBJuJI7Yfps5mliLmDyn7Y",  # RFC 6979, A.2.5
    }
)
"""`x` of keys whose private part is printed in a standard, from where people copy them."""

PrivateKey: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
PublicKey: TypeAlias = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
_log = log.get_logger("bastion.jwt")


class InvalidKeys(ValueError):
    """The ring cannot be used. `reasons` has each fault as the end of a sentence, without any value of the ring."""

    def __init__(self, *reasons: str) -> None:
        self.reasons = reasons
        super().__init__("; ".join(reasons))


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the ring: its private and public key, and the JWK that is published."""

    kid: str
    algorithm: str
    status: str
    private: PrivateKey = field(repr=False)
    public: PublicKey = field(repr=False)
    jwk: Mapping[str, str]
    since: int
    """When it got its status, in seconds since the epoch."""

    def verifies_at(self, moment: float, life: float) -> bool:
        """Return whether this key's tokens are valid: a retired key's for `life` seconds after all processes know it.

        That is the remaining life of its last tokens.
        """
        return self.status != "retired" or moment <= self.since + SPREAD + life


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a verified access token; immutable, so that one request cannot change them for the next."""

    user_id: UUID
    session_id: UUID
    key_id: str
    issued_at: int
    not_before: int
    expires_at: int
    """Times are whole seconds since the epoch, UTC."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys by name, the active key, and the tokens already verified with this ring."""

    keys: Mapping[str, Key]
    active: Key
    verified: Verified[Claims] = field(default_factory=Verified, repr=False)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the public JWK Set: next, active and retired keys, without private members (RFC 7517, 5)."""
        return {"keys": [dict(key.jwk) for key in self.keys.values()]}


def parse(text: str) -> KeyRing:
    """Return the ring of a JWK Set in JSON. Raises InvalidKeys with every fault."""
    try:
        listed = strict_json.loads(text.encode("utf-8", "surrogatepass")).get("keys")
    except strict_json.InvalidJSON:
        raise InvalidKeys("is no JWK Set in JSON") from None
    if not isinstance(listed, list) or not 1 <= len(listed) <= 10:
        raise InvalidKeys("is no JWK Set with 1 to 10 keys")
    keys: dict[str, Key] = {}
    faults: list[str] = []
    for number, jwk in enumerate(listed, 1):
        try:
            key = _key(jwk)
        except InvalidKeys as error:
            faults += [f"key {number} {reason}" for reason in error.reasons]
            continue
        if key.kid in keys:
            faults.append(f"key {number} is there twice")
        keys[key.kid] = key
    active = [key for key in keys.values() if key.status == "active"]
    if not faults and len(active) != 1:
        faults.append(f"has {len(active) or 'no'} active key{'s' if active else ''}; one key signs")
    if faults:
        raise InvalidKeys(*faults)
    return KeyRing(MappingProxyType(keys), active[0])


def _key(jwk: Any) -> Key:
    """Validate one private JWK: kind, state, strength, and that its parts and its name belong together."""
    if not isinstance(jwk, dict) or not all(isinstance(jwk.get(name), str) for name in ("kty", "crv", "d", "kid")):
        raise InvalidKeys("is no private JWK with kty, crv, d and kid")
    algorithm = KINDS.get((jwk["kty"], jwk["crv"]))
    if algorithm is None:
        raise InvalidKeys("is neither OKP with Ed25519 nor EC with P-256")
    if jwk.get("alg") != algorithm:
        raise InvalidKeys(f"has not the alg of its kind, {algorithm}")
    status, since = jwk.get("status"), jwk.get("since")
    if status not in STATES or type(since) is not int or since not in SINCE:
        raise InvalidKeys("needs a status (active, next or retired) and since in seconds")
    if fault := weakness(jwk["d"]):
        raise InvalidKeys(fault)
    private = _private(algorithm, jwk["d"])
    parts = _public_parts(private)
    if any(jwk.get(name) != parts.get(name) for name in ("x", "y")):
        raise InvalidKeys("has a public part that does not belong to its private part")
    if parts["x"] in PUBLISHED:
        raise InvalidKeys("is printed in a standard, with its private part")
    if jwk["kid"] != thumbprint(parts):
        raise InvalidKeys("has a kid that is not its thumbprint (RFC 7638)")
    public = MappingProxyType({**parts, "kid": jwk["kid"], "use": "sig", "alg": algorithm})
    return Key(jwk["kid"], algorithm, status, private, private.public_key(), public, since)


def _private(algorithm: str, d: str) -> PrivateKey:
    try:
        data = urlsafe_b64decode(f"{d}=")
        if algorithm == "EdDSA":
            return ed25519.Ed25519PrivateKey.from_private_bytes(data)
        return ec.derive_private_key(int.from_bytes(data), ec.SECP256R1())
    except (ValueError, TypeError):
        raise InvalidKeys("has a d that is no private key of its kind") from None


def _public_parts(private: PrivateKey) -> dict[str, str]:
    """Return the members of the public key that form its thumbprint."""
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return {"crv": "Ed25519", "kty": "OKP", "x": _text(private.public_key().public_bytes_raw())}
    point = private.public_key().public_numbers()
    return {"crv": "P-256", "kty": "EC", "x": _text(point.x.to_bytes(32)), "y": _text(point.y.to_bytes(32))}


def thumbprint(parts: Mapping[str, str]) -> str:
    """Return the name of a key: SHA-256 of its public members, unique for each key (RFC 7638, 3)."""
    members = json.dumps(dict(parts), separators=(",", ":"), sort_keys=True)
    return _text(hashlib.sha256(members.encode()).digest())


def _text(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


# --- making and turning the ring --------------------------------------------------------------------------------


def generate(algorithm: str = "EdDSA", *, status: str = "active") -> dict[str, Any]:
    """Make a new private JWK for `EdDSA` or `ES256`. It is a secret: store it only where the secrets are.

    Its status starts now.
    """
    private: PrivateKey
    if algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
        d = private.private_bytes_raw()
    else:
        private = ec.generate_private_key(ec.SECP256R1())
        d = private.private_numbers().private_value.to_bytes(32)
    parts = _public_parts(private)
    named = {**parts, "kid": thumbprint(parts), "use": "sig", "alg": algorithm, "d": _text(d)}
    return {**named, "status": status, "since": int(clock.seconds())}


def new_ring(algorithm: str = "EdDSA") -> str:
    """Return the JSON text of a ring with one new active key, for the secret JWT_KEYS."""
    return json.dumps({"keys": [generate(algorithm)]})


def rotated(found: Found) -> Turned:
    """Return the ring after one step of key rotation. Raises InvalidKeys, and TooEarly: see crypto/ring.py.

    The first step adds a `next` key, which other verifiers learn from the JWKS after their cache time. The next step
    makes it active and retires the active one; a later step removes the retired key.
    """
    text = found.value.reveal()
    algorithm, listed = parse(text).active.algorithm, strict_json.loads(text.encode())["keys"]
    return turned(listed, lambda: generate(algorithm), NEXT_WAITS, RETIRED_COUNTS, found.changed_at)


@click.command("jwt")
@click.option("--algorithm", type=click.Choice([*KINDS.values()]), default="EdDSA", show_default=True)
def write_ring(algorithm: str) -> None:
    """Write a new ring for the secret JWT_KEYS; every access token of a former ring ends with it."""
    click.echo(new_ring(algorithm))


NEW_KEYS: Final[tuple[click.Command, ...]] = (write_ring,)
"""Commands of `keys new`, in addition to those of every service (commands/keys.py)."""
ROTATED: Final[Mapping[str, tuple[str, Callable[[], Turned]]]] = {
    "jwt": (SECRET, lambda: rotated(state().secrets.found(SECRET)))
}
"""Kinds of `keys rotate`, in addition to those of every service: its secret, and the maker of the secret's new text."""


# --- the ring in force ------------------------------------------------------------------------------------------


class Keys:
    """The ring in force, from the present secret. An unusable secret is logged, and the former ring stays in force."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        text = secrets.get(SECRET).reveal()
        self._kept = (text, parse(text))

    def ring(self) -> KeyRing:
        """Return the ring; follows a rotation of the secret (see secrets/kept.py). Raises SecretUnavailable."""
        text = self._secrets.get(SECRET).reveal()
        known, ring = self._kept
        if text != known:
            try:
                ring = parse(text)
            except InvalidKeys as error:
                _log.error("key_ring_not_changed", name=SECRET, fault=str(error))
            self._kept = (text, ring)  # also when it can't be used: each request would log it again
        return ring

    def newer(self, ring: KeyRing) -> KeyRing | None:
        """Return the backend's ring if it differs from this one, or None; asks it at most once in ten seconds."""
        self._secrets.refresh(SECRET)
        found = self.ring()
        return found if found is not ring else None


def _keys() -> Keys:
    return cast("Keys", current_app.extensions[EXTENSION])


def ring() -> KeyRing:
    """Return the ring of the current app."""
    return _keys().ring()


def newer(ring: KeyRing) -> KeyRing | None:
    """Return the current app's ring if it is a newer one, or None: for a token that names an unknown key."""
    return _keys().newer(ring)
