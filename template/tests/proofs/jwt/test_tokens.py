"""Proofs of jwt/tokens.py: only a token that this service signed, in its own way and for now, names anybody.

Each forgery carries the live `sub` and `sid` of a real login, so that nothing but the check under attack can refuse it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..harness import edit, harm, protects, refused, works
from .forging import (
    LEFT_OUT,
    Content,
    Key,
    Target,
    changed,
    claims_of,
    data,
    forged,
    text,
    three_keys,
    written,
)

if TYPE_CHECKING:
    import pytest

    from ..jwt_client import Client
    from ..running import Service


FILE = "jwt/tokens.py"
SIGNATURE, ALGORITHM, CLAIMS = "jwt-signature-verified", "jwt-alg-allow-list", "jwt-required-claims"
MALFORMED, SHORT, MEANT = "jwt-malformed-is-401", "jwt-access-10-min", "jwt-iss-aud-checked"
PURPOSE, MINIMAL = "jwt-type-checked", "jwt-minimal-claims"
ROLE, PERMISSION = "proof-administrator", "proof.administer"
VERIFY = edit(FILE, "options=OPTIONS,", 'options={"verify_signature": False},')
NONE = edit(
    FILE,
    "options=OPTIONS,",
    'options={"verify_signature": False} if str(header.get("alg")).lower() == "none" else OPTIONS,',
)
Forgeries = Iterator[tuple[str, str]]
# --- the signature -----------------------------------------------------------------------------------------------


def badly_signed(key: Key, target: Target) -> Forgeries:
    """What somebody without the key can make of the owner's token and of one that is his own."""
    theirs, mine = target.claims, claims_of(target.mallory.token)
    header, payload, signature = key.token(theirs).split(".")
    own_signature = key.token(mine).split(".")[2]
    stolen = written(changed(mine, sub=theirs["sub"], sid=theirs["sid"]))
    yield "the owner's names under a signature of one's own token", f"{header}.{text(stolen)}.{own_signature}"
    yield "the signature of another token", f"{header}.{payload}.{own_signature}"
    for name, value in (("jti", "another"), ("exp", theirs["exp"] - 1), ("nbf", 0), ("roles", "admin")):
        yield f"another {name}", f"{header}.{text(written(changed(theirs, **{name: value})))}.{signature}"
    yield "another header", f"{text(written({**key.header, 'x': 1}))}.{payload}.{signature}"
    yield "a signature by a key of the attacker's", Key.new(key.algorithm, key.kid).token(theirs)
    yield "no signature", f"{header}.{payload}."
    yield "a signature of zeros", f"{header}.{payload}.{text(bytes(64))}"
    yield "a signature of ones", f"{header}.{payload}.{text(bytes([*bytes(31), 1]) * 2)}"
    yield "half a signature", f"{header}.{payload}.{text(data(signature)[:32])}"
    yield "a signature and one byte more", f"{header}.{payload}.{text(data(signature) + bytes(1))}"
    yield "one changed bit", f"{header}.{payload}.{text(bytes([data(signature)[0] ^ 1]) + data(signature)[1:])}"
    yield "a signature of the claims alone", f"{header}.{payload}.{text(key.sign(payload.encode()))}"
    if key.algorithm == "ES256":
        yield "a signature in DER", f"{header}.{payload}.{text(key.der(f'{header}.{payload}'.encode()))}"


@protects(SIGNATURE, verify=VERIFY)
def test_a_token_that_this_service_did_not_sign_opens_nothing(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    forgeries = [one for key in target.keys for one in badly_signed(key, target)]
    for first, key in zip(target.keys[1:] + target.keys[:1], target.keys, strict=True):
        forgeries.append(("a signature by another key of the ring", first.token(target.claims, **key.header)))
    assert len(forgeries) >= 45
    for what, token in forgeries:
        target.attack(what, token, SIGNATURE)


# --- the algorithm -----------------------------------------------------------------------------------------------

NOT_THE_KEYS: tuple[Any, ...] = (
    *("none", "None", "NONE", "nOnE", "", " ", LEFT_OUT, None, 0, 1, True, [], {}),
    *("HS256", "HS384", "HS512", "RS256", "PS256", "ES256K", "ES384", "ES512", "Ed25519", "Ed448"),
    *("eddsa", "EDDSA", "EdDSA ", "es256", "ES256\t", ["EdDSA"], ["ES256"], {"EdDSA": 1}, "EdDSA,ES256"),
)


def badly_named(key: Key, target: Target) -> Forgeries:
    """Tokens whose header names another algorithm than the key's own; the first ones are signed by the right key."""
    theirs = target.claims
    for name in (*NOT_THE_KEYS, "ES256" if key.algorithm == "EdDSA" else "EdDSA"):
        shown = "no alg" if name is LEFT_OUT else f"the alg {name!r}"
        yield f"{shown} and the right signature", key.token(theirs, alg=name)
    for name in NOT_THE_KEYS[:7]:
        yield "no signature, as its alg says", forged(changed(key.header, alg=name), theirs, lambda _: b"")
    for secret in public_bytes(key, target):
        for name, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):

            def sign(signed: bytes, secret: bytes = secret, digest: Any = digest) -> bytes:
                return hmac.digest(secret, signed, digest)

            yield f"the public key as the secret of {name}", forged({**key.header, "alg": name}, theirs, sign)
    for other in (Key.new("ES256K", key.kid), Key.new("ES256" if key.algorithm == "EdDSA" else "EdDSA", key.kid)):
        yield f"a signature by a key of the attacker's for {other.algorithm}", other.token(theirs)
    for other in target.keys:
        if other.algorithm != key.algorithm:
            yield "a signature of the ring by the other algorithm", other.token(theirs, kid=key.kid)


def public_bytes(key: Key, target: Target) -> list[bytes]:
    """Every form in which the public key is published, or could be stored."""
    listed = target.service.client().get("/.well-known/jwks.json").json["keys"]
    [jwk] = [one for one in listed if one["kid"] == key.kid]
    pem = key.public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return [
        *(pem, pem.strip(), key.public(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), data(jwk["x"])),
        *(jwk["x"].encode(), written(jwk), json.dumps(jwk).encode(), key.kid.encode(), b""),
    ]


@protects(ALGORITHM, none=NONE)
def test_a_token_can_not_choose_how_it_is_verified(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    forgeries = [one for key in target.keys for one in badly_named(key, target)]
    private = rsa.generate_private_key(65537, 2048)
    for key in target.keys:
        for name, scheme in (("RS256", padding.PKCS1v15()), ("PS256", padding.PSS(padding.MGF1(SHA256()), 32))):

            def sign(signed: bytes, scheme: Any = scheme) -> bytes:
                return private.sign(signed, scheme, SHA256())

            token = forged({**key.header, "alg": name}, target.claims, sign)
            forgeries.append((f"an RSA signature for {name}", token))
    assert len(forgeries) >= 150
    for what, token in forgeries:
        target.attack(what, token, ALGORITHM)


# --- the claims --------------------------------------------------------------------------------------------------

TEXTS = ("iss", "aud", "sub", "client_id", "sid", "jti")
TIMES = ("iat", "nbf", "exp")


def incomplete(claims: Content) -> Iterator[tuple[str, Any]]:
    """Each claim left out, and with a value of every kind that it may not have."""
    for name in TEXTS:
        for value in (LEFT_OUT, None, 0, 1, True, [], [claims[name]], {"x": claims[name]}, "", "x" * 256):
            yield name, value
    for name in TIMES:
        moment = claims[name]
        for value in (LEFT_OUT, None, True, str(moment), float(moment), moment + 0.5, [moment], {"x": moment}, ""):
            yield name, value


def row_of(name: str, value: Any) -> str:
    """Whose refusal it is: an issuer or audience that is there is compared first."""
    compared = (name == "iss" and value is not LEFT_OUT) or (name == "aud" and value is not LEFT_OUT and value)
    return "jwt-iss-aud-checked" if compared else CLAIMS


@protects(CLAIMS, require=edit(FILE, '    "jti": str,\n', ""))
def test_a_token_that_lacks_one_claim_opens_nothing(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    signing, claims = target.keys[1], target.claims
    assert sorted(claims) == sorted((*TEXTS, *TIMES))
    for jti in ("x", "x" * 255):
        works(target.show(signing.token({**claims, "jti": jti})).status == 200, "a text of 1 to 255 characters is one")
    target.seen.clear()
    cases = list(incomplete(claims))
    assert len(cases) == 87
    for name, value in cases:
        shown = "left out" if value is LEFT_OUT else repr(value)[:20]
        target.attack(f"{name} {shown}", signing.token(changed(claims, **{name: value})), row_of(name, value))


# --- how long -----------------------------------------------------------------------------------------------------

END = "    if claims.expires_at + LEEWAY <= moment:"


@protects(
    SHORT,
    leeway=edit(FILE, END, "    if claims.expires_at + 3600 <= moment:"),
    exp=edit(FILE, END, "    if False:"),
    life=(
        edit(FILE, "    longest = state().limits.access_token_seconds\n", "    longest = 3600\n"),
        edit(FILE, "<= state().limits.access_token_seconds:", "<= 3600:"),
    ),
)
def test_an_access_token_opens_nothing_after_ten_minutes(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    life, leeway = service.limits.access_token_seconds, 30
    service.stop_time()
    issued = claims_of(target.owner.login(through_form=True).token)
    # The beginning of a token is a whole second: each step stays one away from the end that it looks at.
    service.travel(seconds=life - 2)
    works(target.owner.get("/probe").status == 200, "it is good to its end")
    service.travel(seconds=leeway)
    works(target.owner.get("/probe").status == 200, "and for the half minute that two clocks may differ")
    target.seen.clear()
    service.travel(seconds=3)
    target.attack("an end more than half a minute ago", str(target.owner.token), SHORT)
    harm(issued["exp"] - issued["iat"] > life, "a token lives longer than ten minutes")
    late = target.keys[1].token({**issued, "jti": "never seen"})  # nothing of it is remembered
    target.attack("an end more than half a minute ago, never seen before", late, SHORT)


# --- for whom, and by whom ----------------------------------------------------------------------------------------


def elsewhere(claims: Content) -> Iterator[tuple[str, Any]]:
    """Issuers and audiences that are nearly this service's."""
    origin = claims["iss"]
    for name in ("iss", "aud"):
        for value in (
            *(f"{origin}/", f"{origin}:443", origin.upper(), origin.replace("https", "http"), origin[:-1]),
            *("https://staging.app.example", "https://app.example.attacker.example", "https://other.example", "*"),
            *(f"{origin}.", f" {origin}", f"{origin}\n", origin.removeprefix("https://")),
        ):
            yield name, value


@protects(
    MEANT,
    iss=edit(FILE, "        issuer=issuer(),\n", ""),
    aud=edit(FILE, 'False), "strict_aud": True}', 'False), "strict_aud": True, "verify_aud": False}'),
)
def test_a_token_of_another_issuer_or_for_another_service_opens_nothing(service: Service) -> None:
    """Signed by the right key: another service that shares it must not sign in here for anybody."""
    target = Target(service, three_keys(service))
    target.honest()
    claims, signing = target.claims, target.keys[1]
    works(claims["iss"] == claims["aud"] == "https://app.example", "both are the public origin")
    cases = list(elsewhere(claims))
    assert len(cases) == 26
    for name, value in cases:
        target.attack(f"the {name} {value!r}", signing.token({**claims, name: value}), MEANT)


# --- for what -----------------------------------------------------------------------------------------------------

TYPES = '    if str(header.get("typ")).lower().removeprefix("application/") != TYPE:'


@protects(PURPOSE, typ=edit(FILE, TYPES, "    if False:"))
def test_a_token_that_was_signed_for_another_purpose_opens_nothing(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    for key in target.keys:
        for typ in ("AT+JWT", "application/at+jwt", "Application/At+JWT"):
            works(target.show(key.token(target.claims, typ=typ)).status == 200, f"the type {typ} is another spelling")
        target.seen.clear()
        types: tuple[Any, ...] = (
            *("JWT", "jwt", "refresh+jwt", "logout+jwt", "id+jwt", "at+jwt ", "at", "application/jwt", "xat+jwt"),
            *("application/application/at+jwt", "", LEFT_OUT, None, 0, True, ["at+jwt"], {"at+jwt": 1}),
        )
        for typ in types:
            shown = "no type" if typ is LEFT_OUT else f"the type {typ!r}"
            target.attack(shown, key.token(target.claims, typ=typ), PURPOSE)


# --- what is in it ------------------------------------------------------------------------------------------------

CLAIMED = edit(
    "jwt/bearer.py",
    "    return principal\n\n\ndef bearer_token",
    "    import dataclasses\n\n"
    "    import jwt\n\n"
    '    roles = jwt.decode(token, options={"verify_signature": False}).get("roles")\n'
    "    if principal is not None and roles is not None:\n"
    "        principal = dataclasses.replace(principal, permissions=state().permissions(frozenset(roles)))\n"
    "    return principal\n\n\ndef bearer_token",
)


def administrator(service: Service, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client of somebody who has a role that the database alone knows of."""
    team = type(service.module("state").state_of(service.app).team)
    monkeypatch.setattr(team, "roles", {**team.roles, ROLE: frozenset({PERMISSION})})
    return service.client(service.user(roles=(ROLE,)))


@protects(MINIMAL, role=CLAIMED)
def test_a_claim_that_nobody_asked_for_gives_no_right(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = service.adds_route("/secret", mark=(PERMISSION,))
    target = Target(service, three_keys(service))
    admin = administrator(service, monkeypatch).login()
    works(admin.get("/secret").status == 200, "whoever has the role in the database may")
    target.honest()
    secret.clear()
    rights: dict[str, Any] = {
        **{"roles": [ROLE], "permissions": [PERMISSION], "scope": PERMISSION, "admin": True},
        **{"email": "admin@example.com", "groups": ["admin"], "act": {"sub": "admin"}, "verified_at": 2**40},
    }
    more = target.keys[1].token({**target.claims, **rights})
    works(target.show(more).status == 200, "claims that nobody knows do no harm")
    thief = target.owner.copy()
    thief.token = more
    target.seen.clear()
    answer = thief.get("/secret")
    harm(secret, "a claim gave a permission")
    refused(answer, 403, "role-required")
