"""What a person holds beside the password: an authenticator app, and a device with passkeys that lies when it is told.

It stops proofs from asking the libraries of the service whether these were used rightly: codes, keys, signatures and
their encoding are made here, from the standards (RFC 6238; Web Authentication Level 3; RFC 9053).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from base64 import b32decode, urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from .wire import HOST, ORIGIN

if TYPE_CHECKING:
    from datetime import datetime

    from .running import Service

STEP_SECONDS: Final = 30
QUIET_SECONDS: Final = 10
"""A code is asked for no later than this before it ends, so that it is still good when it arrives."""


@dataclass(frozen=True, slots=True)
class App:
    """An authenticator app that was given this seed; it reads the service's time, which proofs move."""

    service: Service
    seed: str

    def code(self, at: datetime | None = None, step: int = 0) -> str:
        """The code of this moment, or of so many steps later (earlier, if negative).

        Without `at` the service's time moves to the next step when the present one is about to end.
        """
        if at is None:
            left = STEP_SECONDS - self.service.now().timestamp() % STEP_SECONDS
            if left < QUIET_SECONDS:
                self.service.travel(seconds=left)
            at = self.service.now()
        return self._of(int(at.timestamp()) // STEP_SECONDS + step)

    def next_code(self) -> str:
        """The code of the next step, which the service's time moves to: none that was used before."""
        self.service.travel(seconds=STEP_SECONDS - self.service.now().timestamp() % STEP_SECONDS)
        return self._of(int(self.service.now().timestamp()) // STEP_SECONDS)

    def wrong_code(self) -> str:
        """Six digits that are the code of no step nearby."""
        near = {self.code(step=step) for step in range(-3, 4)}
        return next(code for code in (f"{number:06}" for number in range(100)) if code not in near)

    def _of(self, counter: int) -> str:
        seed = b32decode(self.seed.replace(" ", "").upper())
        mac = hmac.digest(seed, counter.to_bytes(8, "big"), "sha1")
        start = mac[-1] & 0x0F
        return f"{(int.from_bytes(mac[start : start + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"


# --- passkeys --------------------------------------------------------------------------------------------------------

EDDSA: Final = -8
ES256: Final = -7
RS256: Final = -257
RS1: Final = -65535
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

PRESENT, VERIFIED, ELIGIBLE, BACKED_UP, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40
AAGUID: Final = bytes(15) + b"\x01"


@dataclass(slots=True)
class Credential:
    """One passkey on the device."""

    id: bytes
    handle: bytes
    algorithm: int
    key: Key
    count: int = 0

    def cose(self) -> dict[int, object]:
        """The public key as a COSE_Key."""
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            point = self.key.public_key().public_numbers()
            return {1: 2, 3: self.algorithm, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return {1: 1, 3: self.algorithm, -1: 6, -2: self.key.public_key().public_bytes_raw()}
        numbers = self.key.public_key().public_numbers()
        return {1: 3, 3: self.algorithm, -1: _integer(numbers.n), -2: _integer(numbers.e)}

    def sign(self, data: bytes) -> bytes:
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return self.key.sign(data, ec.ECDSA(hashes.SHA256()))
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(data)
        hashed = hashes.SHA1() if self.algorithm == RS1 else hashes.SHA256()  # noqa: S303  (an attack)
        return self.key.sign(data, padding.PKCS1v15(), hashed)


@dataclass(slots=True)
class Authenticator:
    """A device with passkeys, and the browser before it: `create` and `get` answer as navigator.credentials does.

    What it is told to lie about is a keyword of both: `verified` and `present` (the flags), `origin`, `cross_origin`,
    `rp_id`, `kind` (the type in what is signed), `challenge`, `count`, `handle`, `credential_id`. Whatever it says is
    signed rightly, with the passkey's own key.
    """

    origin: str = ORIGIN
    algorithm: int = ES256
    rsa_bits: int = 2048
    rsa_exponent: int = 65537
    counts: bool = True
    """False: it has no counter, and always says 0."""
    credentials: list[Credential] = field(default_factory=list)

    def create(self, options: dict[str, Any], **lies: Any) -> dict[str, Any]:
        """Make a passkey. It takes any options: what the service asks for is no part of what it checks."""
        made = Credential(
            lies.pop("credential_id", None) or secrets.token_bytes(32),
            from_text(options["user"]["id"]),
            self.algorithm,
            self._new_key(),
            1 if self.counts else 0,
        )
        self.credentials.append(made)
        public_key = _cbor(made.cose())
        attested = AAGUID + len(made.id).to_bytes(2, "big") + made.id + public_key
        data = self._data(made, attested, **lies)
        attestation = _cbor({"fmt": "none", "attStmt": {}, "authData": data})
        response = {
            "clientDataJSON": to_text(self._client_data("webauthn.create", options, **lies)),
            "attestationObject": to_text(attestation),
            "transports": ["internal"],
        }
        return _answer(made.id, response)

    def get(self, options: dict[str, Any], credential: Credential | None = None, **lies: Any) -> dict[str, Any]:
        """Sign the challenge with this passkey, or with the newest one."""
        used = credential or self.credentials[-1]
        if self.counts and "count" not in lies:
            used.count += 1
        data = self._data(used, b"", **lies)
        signed = self._client_data("webauthn.get", options, **lies)
        response = {
            "clientDataJSON": to_text(signed),
            "authenticatorData": to_text(data),
            "signature": to_text(used.sign(data + hashlib.sha256(signed).digest())),
            "userHandle": to_text(lies.get("handle", used.handle)),
        }
        return _answer(lies.get("credential_id", used.id), response)

    def _new_key(self) -> Key:
        if self.algorithm == ES256:
            return ec.generate_private_key(ec.SECP256R1())
        if self.algorithm == EDDSA:
            return ed25519.Ed25519PrivateKey.generate()
        return rsa.generate_private_key(self.rsa_exponent, self.rsa_bits)

    @staticmethod
    def _data(
        used: Credential,
        attested: bytes,
        *,
        verified: bool = True,
        present: bool = True,
        rp_id: str = HOST,
        count: int | None = None,
        **_others: Any,
    ) -> bytes:
        flags = ELIGIBLE | BACKED_UP
        flags |= (PRESENT if present else 0) | (VERIFIED if verified else 0) | (ATTESTED if attested else 0)
        counter = used.count if count is None else count
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + counter.to_bytes(4, "big") + attested

    def _client_data(
        self,
        rightly: str,
        options: dict[str, Any],
        *,
        kind: str | None = None,
        challenge: str | None = None,
        origin: str | None = None,
        cross_origin: bool = False,
        **_others: Any,
    ) -> bytes:
        said = {
            "type": kind or rightly,
            "challenge": challenge or options["challenge"],
            "origin": origin or self.origin,
            "crossOrigin": cross_origin,
        }
        return json.dumps(said, separators=(",", ":")).encode()


def _answer(credential_id: bytes, response: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": to_text(credential_id),
        "rawId": to_text(credential_id),
        "type": "public-key",
        "authenticatorAttachment": "platform",
        "clientExtensionResults": {},
        "response": response,
    }


def to_text(data: bytes) -> str:
    """Base64url without padding, as in the JSON that browsers make."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def from_text(text: str) -> bytes:
    """The bytes of such a text."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _integer(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _cbor(value: object) -> bytes:
    """The few kinds of CBOR that a passkey is made of (RFC 8949, 3.1)."""
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, dict):
        return _head(5, len(value)) + b"".join(_cbor(key) + _cbor(one) for key, one in value.items())
    raise TypeError(value)


def _head(major: int, number: int) -> bytes:
    for size, mark in ((0, None), (1, 24), (2, 25), (4, 26)):
        if mark is None and number < 24:
            return bytes([major << 5 | number])
        if mark is not None and number < 256**size:
            return bytes([major << 5 | mark]) + number.to_bytes(size, "big")
    raise ValueError(number)
