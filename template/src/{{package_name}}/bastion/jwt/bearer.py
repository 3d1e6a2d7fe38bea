"""The access token comes in one Authorization header, and from nowhere else.

What a browser attaches by itself (a cookie), what lands in logs and histories (an address) or what a form can send
would let another site, or whoever reads a log, act for the user. Source: RFC 6750, 2.1; RFC 9700, 2.6.
"""

from __future__ import annotations

from typing import Final
from wsgiref.types import WSGIEnvironment

from flask import Flask, g, request
from flask.typing import ResponseReturnValue

from ..audit.refusal import refuse
from ..identity import sessions
from ..identity.principal import Principal
from ..state import state
from .refresh import INVALID_TOKEN
from .tokens import InvalidToken, verify_access_token

HEADER_ONLY: Final = "jwt-header-only"
FACTOR_TEXT: Final = (
    "This account must have a second factor, and this login was made without one. GET /auth/factors says what it has. "
    "Set one up by POST /auth/totp or /auth/passkeys/options, or prove what is there by POST /auth/reauthenticate."
)


def authenticate() -> Principal | None:
    """Whose access token this request carries, by his live session row; None for no token, or one that is refused.

    A refused token is no error yet: a public operation, such as the exchange of a refresh token, is for everybody.
    """
    try:
        token = bearer_token()
        if token is None:
            return None
        claims = verify_access_token(token)
    except InvalidToken as error:
        g.bearer_fault = error.reason
        return None
    principal = sessions.find_by_id(claims.session_id, claims.user_id)
    if principal is None:
        g.bearer_fault = "jwt-sid-checked"
    return principal


def bearer_token() -> str | None:
    """The token of the Authorization header, None without one; InvalidToken for two headers or another scheme."""
    header = request.headers.get("Authorization")
    return None if header is None else _token_in(header)


def signed_session(app: Flask, environ: WSGIEnvironment) -> str | None:
    """Return what the access token of a request is counted by, or None if it is refused. Asks no database."""
    header = environ.get("HTTP_AUTHORIZATION")
    if header is None:
        return None
    try:
        with app.app_context():
            return verify_access_token(_token_in(header)).session_id.hex
    except InvalidToken:
        return None


def _token_in(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if "," in header:  # servers join two headers of one name by a comma
        raise InvalidToken(HEADER_ONLY)
    if scheme.lower() != "bearer":
        raise InvalidToken(HEADER_ONLY)
    return token


def unauthenticated() -> ResponseReturnValue:
    """401 for an anonymous client: without a reason in the body, the same for every token that was refused."""
    fault = g.get("bearer_fault")
    if fault is None:
        refuse(401, "deny-by-default", headers=[("WWW-Authenticate", "Bearer")])
    refuse(401, fault, headers=INVALID_TOKEN)


def factor_missing() -> ResponseReturnValue:
    """403 for who must have a second factor and signed in without one, with what he can do about it."""
    refuse(403, "mfa-required-for-admins", errors=[{"detail": FACTOR_TEXT}])


def not_fresh() -> ResponseReturnValue:
    """401 that asks the client to let the user prove once more who he is: POST /auth/reauthenticate (RFC 9470, 3)."""
    seconds = state().limits.fresh_login_seconds
    challenge = f'Bearer error="insufficient_user_authentication", max_age="{seconds}"'
    refuse(401, "fresh-login-5-min", headers=[("WWW-Authenticate", challenge)])
