"""Bearer authentication: the access token comes in exactly one Authorization header, and nowhere else.

This stops CSRF and leaks: a browser attaches cookies itself, logs and histories keep addresses, and any site can send a
form. Source: RFC 6750, 2.1; RFC 9700, 2.6.
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
    """Return the user of the access token by its live session row; None without a token or for a refused one.

    A refused token is no error yet: public operations, such as the exchange of a refresh token, need none.
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
    """Return the token of the Authorization header, or None without one. InvalidToken for two or another scheme."""
    header = request.headers.get("Authorization")
    return None if header is None else _token_in(header)


def signed_session(app: Flask, environ: WSGIEnvironment) -> str | None:
    """Return the rate-limit key of a request's access token, or None if it is refused. Uses no database."""
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
    """Refuse an anonymous client with 401; the body gives no reason and is the same for every refused token."""
    fault = g.get("bearer_fault")
    if fault is None:
        refuse(401, "deny-by-default", headers=[("WWW-Authenticate", "Bearer")])
    refuse(401, fault, headers=INVALID_TOKEN)


def factor_missing() -> ResponseReturnValue:
    """Refuse with 403 a user without a required second factor; the answer says how to continue."""
    refuse(403, "mfa-required-for-admins", errors=[{"detail": FACTOR_TEXT}])


def not_fresh() -> ResponseReturnValue:
    """Refuse with 401 to request re-authentication by POST /auth/reauthenticate (RFC 9470, 3)."""
    seconds = state().limits.fresh_login_seconds
    challenge = f'Bearer error="insufficient_user_authentication", max_age="{seconds}"'
    refuse(401, "fresh-login-5-min", headers=[("WWW-Authenticate", challenge)])
