"""Proofs of jwt/keys.py: tokens are verified only with the service's keys, and a cached result never skips the session.

Each forgery carries the live `sub` and `sid` of a real login, so that nothing but the check under attack can refuse it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..harness import edit, harm, protects, works
from .forging import Key, Target, text, three_keys

if TYPE_CHECKING:
    from ..running import Service


TOKENS, KEYS, MEMORY = "jwt/tokens.py", "jwt/keys.py", "crypto/signing.py"
ROTATION = "jwt-key-rotation-jwks"
SOURCE, SAFE, SIGNATURE = "jwt-key-source-pinned", "jwt-verified-cache-safe", "jwt-signature-verified"
_SPKI = PublicFormat.SubjectPublicKeyInfo
# --- where the key comes from -----------------------------------------------------------------------------------

PINNED = (
    "    if KEY_FROM_OUTSIDE & header.keys():\n"
    '        raise InvalidToken("jwt-key-source-pinned")\n'
    '    key = ring.keys.get(header.get("kid"))\n'
)


def takes(condition: str, public: str) -> Any:
    """The key of a token is `public` where `condition` holds, and one of the ring otherwise."""
    return edit(
        TOKENS,
        PINNED,
        '    key = ring.keys.get(str(header.get("kid")))\n'
        f"    if {condition}:\n"
        "        from dataclasses import replace\n\n"
        f"        key = replace(ring.active, public={public})\n",
    )


def public_jwk(key: Key) -> dict[str, str]:
    """The attacker's Ed25519 key as everybody publishes his own."""
    number = text(key.public(Encoding.Raw, PublicFormat.Raw))
    return {"kty": "OKP", "crv": "Ed25519", "x": number, "kid": key.kid, "alg": "EdDSA", "use": "sig"}


@protects(SOURCE, jwk=takes('"jwk" in header', 'jwt.PyJWK(header["jwk"]).key'))
def test_a_token_does_not_bring_its_key(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    for key in target.keys:
        mine = Key.new("EdDSA", key.kid)
        target.attack("its own jwk", mine.token(target.claims, jwk=public_jwk(mine)), SOURCE)
    # Even beside the right signature, and of no use.
    target.attack("the member jku", target.keys[1].token(target.claims, jku="https://evil.example"), SOURCE)


# --- what was verified once ---------------------------------------------------------------------------------------


@protects(
    SAFE,
    row=edit(
        "jwt/bearer.py",
        "    principal = sessions.find_by_id(claims.session_id, claims.user_id)\n",
        '    kept = sessions.__dict__.setdefault("kept", {})\n'
        "    if token not in kept:\n"
        "        kept[token] = sessions.find_by_id(claims.session_id, claims.user_id)\n"
        "    principal = kept[token]\n",
    ),
)
def test_a_token_that_was_verified_ends_with_its_login(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    token = str(target.owner.token)
    assert target.owner.copy().post("/auth/logout").status == 204
    target.attack("a login that has ended, seen before", token, "jwt-sid-checked")


# --- jwt-key-rotation-jwks ----------------------------------------------------------------------------------------

JWKS = "/.well-known/jwks.json"
PUBLIC = {"kty", "crv", "x", "kid", "use", "alg"}


@protects(ROTATION, jwks=edit(KEYS, 'MappingProxyType({**parts, "kid"', 'MappingProxyType({**jwk, "kid"'))
def test_what_everybody_may_have_of_a_key_signs_nothing(service: Service) -> None:
    from jwt import PyJWK, decode

    keys = three_keys(service)
    client = service.client(service.user()).login()
    answer = service.client().get(JWKS)
    listed = {jwk["kid"]: jwk for jwk in answer.json["keys"]}
    works(listed.keys() == {key.kid for key in keys}, "the JWKS lists every key, including the next one")
    verified = decode(client.token or "", PyJWK(listed[keys[1].kid]).key, ["EdDSA"], {"verify_aud": False})
    works(verified["sub"] == str(client.user and client.user.id), "a client verifies a token with a key of the JWKS")
    harm([jwk for jwk in listed.values() if jwk.keys() & {"d", "p", "q", "k"}], "the JWKS publishes private keys")
    assert [jwk.keys() - {"y"} for jwk in listed.values()] == [PUBLIC] * 3
    assert {jwk["use"] for jwk in listed.values()} == {"sig"}
    assert (answer.header("Cache-Control"), answer.header("Content-Type")) == (
        "public, max-age=300",
        "application/jwk-set+json",
    )
