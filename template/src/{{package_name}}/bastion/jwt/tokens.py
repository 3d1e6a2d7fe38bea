"""Access tokens: signed by this service, for this purpose, valid now, and only while the session lives.

This stops forged tokens; each check refuses one known forgery (RFC 8725). The library verifies signature, issuer and
audience; other claims and all times are checked here, by the service's one clock. Library errors are refusals.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import jwt

from .. import clock
from ..state import state
from ..text import strict_json
from . import keys
from .keys import LEEWAY, Claims, KeyRing
from .settings import audience, issuer

TYPE: Final = "at+jwt"  # RFC 9068, 2.1: a token signed for another purpose is no access token
CLIENT: Final = "first-party"  # RFC 9068, 2.2 asks for a client_id; this service has the one client
LONGEST: Final = 4096  # characters; ours have about 600
LONGEST_CLAIM: Final = 255  # characters of a text in a claim
MALFORMED: Final = "jwt-malformed-is-401"
KEY_FROM_OUTSIDE: Final = frozenset({"jwk", "jku", "x5u", "x5c"})
REQUIRED: Final[Mapping[str, type]] = {
    "iss": str,
    "aud": str,
    "sub": str,
    "client_id": str,
    "sid": str,
    "jti": str,
    "iat": int,
    "nbf": int,
    "exp": int,
}
# The other checks are here: PyJWT would use its own clock, and accepts "60" or 60.5 as a time.
_OWN_CHECKS: Final = ("verify_exp", "verify_nbf", "verify_iat", "verify_sub", "verify_jti")
OPTIONS: Final[Any] = {**dict.fromkeys(_OWN_CHECKS, False), "strict_aud": True}
_ROWS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (jwt.InvalidSignatureError, "jwt-signature-verified"),
    (jwt.InvalidAlgorithmError, "jwt-alg-allow-list"),
    (jwt.InvalidIssuerError, "jwt-iss-aud-checked"),
    (jwt.InvalidAudienceError, "jwt-iss-aud-checked"),
    (jwt.MissingRequiredClaimError, "jwt-required-claims"),
)


class InvalidToken(Exception):
    """The one error of this module. `reason` is the catalogue id of the failed check, only for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownKey(InvalidToken):
    """The token names a key that is not in the ring."""


def issue_access_token(user_id: UUID, session_id: UUID, ends_at: datetime | None = None) -> str:
    """Return a signed token for this session. It lives 10 minutes (access_token_seconds), but not beyond `ends_at`."""
    moment = int(clock.seconds())
    claims = {
        "iss": issuer(),
        "aud": audience(),
        "sub": str(user_id),
        "client_id": CLIENT,
        "sid": str(session_id),
        "jti": str(uuid4()),
        "iat": moment,
        "nbf": moment,
        "exp": moment + lifetime(moment, ends_at),
    }
    key = keys.ring().active
    return jwt.encode(claims, key.private, algorithm=key.algorithm, headers={"typ": TYPE, "kid": key.kid})


def lifetime(moment: int, ends_at: datetime | None) -> int:
    """Return the lifetime in seconds of a token issued at `moment` for a login that ends at `ends_at`."""
    longest = state().limits.access_token_seconds
    return longest if ends_at is None else max(0, min(longest, int(ends_at.timestamp()) - moment))


def verify_access_token(token: str) -> Claims:
    """Return the token's claims if every check passes. Raises InvalidToken, or SecretUnavailable without a ring.

    The caller must still check the session row. Source: RFC 9068, 4; RFC 8725, 3; ASVS 9.1, 9.2.
    """
    ring = keys.ring()
    try:
        return _verified_by(ring, token)
    except UnknownKey:  # another process may sign with a key that was published since
        if (newer := keys.newer(ring)) is None:
            raise
        return _verified_by(newer, token)


def _verified_by(ring: KeyRing, token: str) -> Claims:
    try:
        if len(token) > LONGEST:
            raise InvalidToken(MALFORMED)
        known = ring.verified.get(token)
        claims = known or _verified(token, ring)
        _check_now(claims, ring)
        if known is None:
            ring.verified.remember(token, claims)
    except InvalidToken:
        raise
    except Exception as error:  # PyJWT raises TypeError, UnicodeError and more beside its own
        raise InvalidToken(next((row for kind, row in _ROWS if isinstance(error, kind)), MALFORMED)) from error
    return claims


def _verified(token: str, ring: KeyRing) -> Claims:
    """Verify the properties of a token that never change: form, type, key, signature, claims."""
    parts = token.split(".")
    if len(parts) > 3:  # five would be an encrypted token (JWE)
        raise InvalidToken("jwt-signature-verified")
    data = [_bytes(part) for part in parts]
    header = strict_json.loads(data[0])
    strict_json.loads(data[1])  # two parsers may read a repeated name differently
    if str(header.get("typ")).lower().removeprefix("application/") != TYPE:
        raise InvalidToken("jwt-type-checked")
    if "crit" in header:  # asks for an extension; we have none (RFC 7515, 4.1.11)
        raise InvalidToken("jwt-alg-allow-list")
    if KEY_FROM_OUTSIDE & header.keys():
        raise InvalidToken("jwt-key-source-pinned")
    key = ring.keys.get(header.get("kid"))
    if key is None:
        raise UnknownKey("jwt-key-source-pinned")
    payload = jwt.decode(
        token,
        key.public,
        algorithms=[key.algorithm],  # the key's own; what the header says is only compared with it
        issuer=issuer(),
        audience=audience(),
        options=OPTIONS,
    )
    _check_claims(payload)
    return Claims(
        user_id=UUID(payload["sub"]),
        session_id=UUID(payload["sid"]),
        key_id=key.kid,
        issued_at=payload["iat"],
        not_before=payload["nbf"],
        expires_at=payload["exp"],
    )


def _bytes(part: str) -> bytes:
    """Return the bytes of one part; only canonical base64url, without padding or stray bits (RFC 7515, 2)."""
    data = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if urlsafe_b64encode(data).rstrip(b"=") != part.encode():
        raise InvalidToken("jwt-signature-verified")
    return data


def _check_claims(payload: Mapping[str, Any]) -> None:
    for name, kind in REQUIRED.items():
        value = payload.get(name)
        if type(value) is not kind or (isinstance(value, str) and not 1 <= len(value) <= LONGEST_CLAIM):
            raise InvalidToken("jwt-required-claims")
    if payload["client_id"] != CLIENT:
        raise InvalidToken("jwt-required-claims")
    if not 0 < payload["exp"] - payload["iat"] <= state().limits.access_token_seconds:
        raise InvalidToken("jwt-required-claims")


def _check_now(claims: Claims, ring: KeyRing) -> None:
    """Check the validity that changes with time, on every request, even for a cached signature."""
    moment = clock.seconds()
    if claims.expires_at + LEEWAY <= moment:
        raise InvalidToken("jwt-access-10-min")
    if claims.issued_at - LEEWAY > moment or claims.not_before - LEEWAY > moment:
        raise InvalidToken("jwt-required-claims")
    if not ring.keys[claims.key_id].verifies_at(moment, state().limits.access_token_seconds + LEEWAY):
        raise InvalidToken("jwt-key-rotation-jwks")
