"""Proofs of jwt/tokens.py: only an unexpired token that this service signed for itself authenticates a user.

Each forgery carries the live `sub` and `sid` of a real login, so that nothing but the check under attack can refuse it.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..harness import edit, harm, protects, refused, works
from .forging import (
    LEFT_OUT,
    Key,
    Target,
    changed,
    claims_of,
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
# --- the signature -----------------------------------------------------------------------------------------------


@protects(SIGNATURE, verify=VERIFY)
def test_a_token_that_this_service_did_not_sign_opens_nothing(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    for key in target.keys:
        header, payload, signature = key.token(target.claims).split(".")
        own = key.token(claims_of(target.mallory.token)).split(".")[2]
        target.attack("the signature of another token", f"{header}.{payload}.{own}", SIGNATURE)
        changed_claims = text(written(changed(target.claims, jti="another")))
        target.attack("another jti", f"{header}.{changed_claims}.{signature}", SIGNATURE)
        target.attack("no signature", f"{header}.{payload}.", SIGNATURE)
        mine = Key.new(key.algorithm, key.kid).token(target.claims)
        target.attack("a signature by a key of the attacker's", mine, SIGNATURE)


# --- the algorithm -----------------------------------------------------------------------------------------------


@protects(ALGORITHM, none=NONE)
def test_a_token_can_not_choose_how_it_is_verified(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    for key in target.keys:
        unsigned = forged(changed(key.header, alg="none"), target.claims, lambda _: b"")
        target.attack("no signature, as its alg says", unsigned, ALGORITHM)
        public = key.public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

        def sign(signed: bytes, public: bytes = public) -> bytes:
            return hmac.digest(public, signed, hashlib.sha256)

        secret = forged({**key.header, "alg": "HS256"}, target.claims, sign)
        target.attack("the public key as the secret of HS256", secret, ALGORITHM)
        target.attack("no alg", key.token(target.claims, alg=LEFT_OUT), ALGORITHM)


# --- the claims --------------------------------------------------------------------------------------------------


@protects(CLAIMS, require=edit(FILE, '    "jti": str,\n', ""))
def test_a_token_that_lacks_one_claim_opens_nothing(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    for name in ("iss", "aud", "sub", "client_id", "sid", "jti", "iat", "nbf", "exp"):
        assert name in target.claims
        lacking = target.keys[1].token(changed(target.claims, **{name: LEFT_OUT}))
        target.attack(f"no {name}", lacking, CLAIMS)


# --- how long -----------------------------------------------------------------------------------------------------

END = "    if claims.expires_at + LEEWAY <= moment:"


@protects(SHORT, exp=edit(FILE, "    if claims.expires_at + LEEWAY <= moment:", "    if False:"))
def test_an_access_token_opens_nothing_after_ten_minutes(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    service.stop_time()
    issued = claims_of(target.owner.login(through_form=True).token)
    service.travel(seconds=service.limits.access_token_seconds - 2)
    works(target.owner.get("/probe").status == 200, "the token is valid until it expires")
    target.seen.clear()
    service.travel(seconds=33)  # two clocks may differ by half a minute
    target.attack("an end more than half a minute ago", str(target.owner.token), SHORT)
    assert issued["exp"] - issued["iat"] <= service.limits.access_token_seconds


# --- for whom, and by whom ----------------------------------------------------------------------------------------


@protects(
    MEANT,
    iss=edit(FILE, "        issuer=issuer(),\n", ""),
    aud=edit(FILE, 'False), "strict_aud": True}', 'False), "strict_aud": True, "verify_aud": False}'),
)
def test_a_token_of_another_issuer_or_for_another_service_opens_nothing(service: Service) -> None:
    """The signing key is right: a token of another service that shares the key must not be accepted here."""
    target = Target(service, three_keys(service))
    target.honest()
    for name in ("iss", "aud"):
        other = target.keys[1].token({**target.claims, name: "https://other.example"})
        target.attack(f"another {name}", other, MEANT)


# --- for what -----------------------------------------------------------------------------------------------------

TYPES = '    if str(header.get("typ")).lower().removeprefix("application/") != TYPE:'


@protects(PURPOSE, typ=edit(FILE, TYPES, "    if False:"))
def test_a_token_that_was_signed_for_another_purpose_opens_nothing(service: Service) -> None:
    target = Target(service, three_keys(service))
    target.honest()
    for typ in ("JWT", "logout+jwt", LEFT_OUT):
        target.attack(f"the type {typ!r}", target.keys[1].token(target.claims, typ=typ), PURPOSE)


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
    works(admin.get("/secret").status == 200, "a user with the role in the database is allowed")
    target.honest()
    secret.clear()
    thief = target.owner.copy()
    thief.token = target.keys[1].token({**target.claims, "roles": [ROLE], "scope": PERMISSION})
    answer = thief.get("/secret")
    harm(secret, "a claim of the token granted a permission")
    refused(answer, 403, "role-required")
