"""Tokens made by hand: signed, spelt and left incomplete in every way that a library of tokens refuses to make.

It stops proofs from trying only those forgeries that an attacker with a well-kept library could make.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..harness import harm, refused, works

if TYPE_CHECKING:
    from ..jwt_client import Client
    from ..running import Service
    from ..wire import Response

LEFT_OUT: Final[Any] = object()
"""A member that is not there at all; None is null."""
Content = Mapping[str, Any]


def text(data: bytes) -> str:
    """Base64url without padding, as in a token (RFC 7515, 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def data(part: str) -> bytes:
    """The bytes of one part of a token."""
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def changed(content: Content, **changes: Any) -> dict[str, Any]:
    """The same members with some changed, added, or LEFT_OUT."""
    return {name: value for name, value in {**content, **changes}.items() if value is not LEFT_OUT}


def forged(header: Content | bytes, claims: Content | bytes, sign: Callable[[bytes], bytes]) -> str:
    """A token of these members, or of this very text, and of whatever `sign` makes of its first two parts."""
    signed = ".".join(text(one if isinstance(one, bytes) else written(one)) for one in (header, claims))
    return f"{signed}.{text(sign(signed.encode()))}"


def written(content: Content) -> bytes:
    """The JSON of it."""
    return json.dumps(dict(content), separators=(",", ":")).encode()


def claims_of(token: str | None) -> dict[str, Any]:
    """What a token says, unverified: everybody who holds it can read it."""
    assert token is not None
    found: dict[str, Any] = json.loads(data(token.split(".")[1]))
    return found


@dataclass(frozen=True, slots=True)
class Key:
    """A private key and the name that its tokens give."""

    algorithm: str
    kid: str
    private: Any

    @classmethod
    def of(cls, jwk: Content) -> Key:
        """A key of the service's own ring."""
        number = data(jwk["d"])
        if jwk["alg"] == "EdDSA":
            return cls("EdDSA", jwk["kid"], ed25519.Ed25519PrivateKey.from_private_bytes(number))
        return cls("ES256", jwk["kid"], ec.derive_private_key(int.from_bytes(number), ec.SECP256R1()))

    @classmethod
    def new(cls, algorithm: str, kid: str) -> Key:
        """A key of the attacker's, under a name that he likes. `algorithm` is EdDSA, ES256 or ES256K."""
        if algorithm == "EdDSA":
            return cls(algorithm, kid, ed25519.Ed25519PrivateKey.generate())
        return cls(algorithm, kid, ec.generate_private_key(ec.SECP256R1() if algorithm == "ES256" else ec.SECP256K1()))

    @property
    def header(self) -> dict[str, Any]:
        """The header of an access token by this key (RFC 9068, 2.1)."""
        return {"typ": "at+jwt", "alg": self.algorithm, "kid": self.kid}

    def sign(self, signed: bytes) -> bytes:
        """The signature (RFC 8037, 3.1; RFC 7518, 3.4)."""
        if self.algorithm == "EdDSA":
            return bytes(self.private.sign(signed))
        return b"".join(number.to_bytes(32) for number in decode_dss_signature(self.der(signed)))

    def der(self, signed: bytes) -> bytes:
        """The signature of an elliptic curve as everybody but a token spells it."""
        return bytes(self.private.sign(signed, ec.ECDSA(SHA256())))

    def token(self, claims: Content, **header: Any) -> str:
        """A correctly signed token; its header may be changed."""
        return forged(changed(self.header, **header), claims, self.sign)

    def public(self, encoding: Encoding, form: PublicFormat) -> bytes:
        """The public key, which everybody may have."""
        return bytes(self.private.public_key().public_bytes(encoding, form))


def ring_of(service: Service, jwks: Iterable[Content]) -> list[Key]:
    """Give the service these private keys, before it starts."""
    listed = [dict(jwk) for jwk in jwks]
    service.secret("JWT_KEYS", json.dumps({"keys": listed}))
    return [Key.of(jwk) for jwk in listed]


def three_keys(service: Service) -> list[Key]:
    """A ring of both algorithms whose active key is neither the first nor the last, so that no place is an accident."""
    generate = service.module("jwt.keys").generate
    states = (("ES256", "next"), ("EdDSA", "active"), ("ES256", "retired"))
    return ring_of(service, [generate(algorithm, status=status) for algorithm, status in states])


class Target:
    """A view that tells whom it was called by, its honest caller, and the keys that his token could be signed by."""

    def __init__(self, service: Service, keys: list[Key]) -> None:
        self.service, self.keys = service, keys
        self.seen = service.adds_route("/probe", view=lambda: service.module().current_user.email)
        self.owner: Client = service.client(service.user()).login()
        self.mallory: Client = service.client(service.user(), "198.51.100.66").login()

    def honest(self) -> None:
        """Two people reach the view by their own tokens, and every key of the ring is good for a token."""
        for client in (self.owner, self.mallory):
            assert client.user is not None
            works(client.get("/probe").text == client.user.email, "a fresh token reaches the view")
        for key in self.keys:
            works(self.show(key.token(self.claims)).status == 200, f"a token made by hand passes ({key.algorithm})")
        self.seen.clear()

    @property
    def claims(self) -> dict[str, Any]:
        """What the owner's token says: each forgery carries his live `sub` and `sid`."""
        return claims_of(self.owner.token)

    def show(self, token: str) -> Response:
        """Call the view with this token, and with everything else right."""
        thief = self.owner.copy()
        thief.token = token
        return thief.get("/probe")

    def attack(self, what: str, token: str, reason: str) -> None:
        """Show a forgery, and see that it is refused by the check that it is meant for."""
        answer = self.show(token)
        harm(self.seen, f"the view ran for a token with {what}")
        refused(answer, 401, reason)
        assert answer.header("WWW-Authenticate") == 'Bearer error="invalid_token"'
