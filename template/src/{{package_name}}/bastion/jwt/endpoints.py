"""Login, refresh, logout and the user's own logins, for programs; identity/ and refresh.py make the decisions.

This stops leaks of tokens: they leave only in the body of an uncacheable answer, never in an address or cookie.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from flask import Blueprint, Response, request
from pydantic import Field, SecretStr

from .. import audit
from ..audit.refusal import refuse
from ..clock import now
from ..edge import shareable
from ..identity import factors, flows, sessions
from ..identity import login as identity
from ..identity.passwords import LONGEST_TYPED
from ..identity.users import LONGEST_IDENTIFIER
from ..request.access import login_required, public
from ..request.authentication import current_user
from ..state import state
from . import keys, refresh
from .api import operation
from .schema import Answer, Schema
from .tokens import LONGEST as LONGEST_TOKEN

blueprint: Final = Blueprint("bastion", __name__)


NO_DEVICE: Final = SecretStr("")
DeviceToken = Annotated[SecretStr, Field(max_length=LONGEST_TOKEN)]


class LoginBody(Schema):
    """The credentials of a login."""

    # Only lengths are checked: any other message would reveal which accounts can exist.
    identifier: Annotated[str, Field(min_length=1, max_length=LONGEST_IDENTIFIER)]
    password: Annotated[SecretStr, Field(min_length=1, max_length=LONGEST_TYPED)]
    # From an earlier login on this device. With it, failures from other devices do not delay this one.
    device_token: DeviceToken = SecretStr("")


class RefreshBody(Schema):
    """The refresh token."""

    refresh_token: Annotated[SecretStr, Field(min_length=1, max_length=LONGEST_TOKEN)]


class TokenAnswer(Answer):
    """A new pair of tokens (RFC 6749, 5.1)."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105  (the kind of token)
    expires_in: int
    refresh_token: str


class LoginAnswer(TokenAnswer):
    """The first pair, and the device token, which the device keeps after the logout and sends with its next login.

    A login without it counts as one from a new device and is mailed to the owner.
    """

    device_token: str

    @classmethod
    def opened(cls, opened: sessions.Opened) -> Self:
        """Return the answer for a session that a login has just opened."""
        pair = TokenAnswer.of(refresh.first_pair(opened))
        return cls(**pair.model_dump(), device_token=opened.device_token)


Way = Literal["totp", "passkey", "recovery-code"]


class WaitingAnswer(Answer):
    """The password was right, and the account has a second factor: one of `factors` completes the login."""

    mfa_token: str
    expires_in: int
    factors: list[Way]


class SessionAnswer(Answer):
    """One live login; `id` is its public id."""

    id: UUID
    created_at: datetime
    seen_at: datetime
    address: str
    agent: str
    current: bool


class SessionsAnswer(Answer):
    """The live logins, last used first."""

    items: list[SessionAnswer]


@blueprint.post("/auth/login")
@public
@operation(also={202: WaitingAnswer}, refuses=(401,))
def login(body: LoginBody) -> LoginAnswer | WaitingAnswer:
    """Sign in; 202 when the login waits for a second factor (POST /auth/login/factor or /auth/login/factor/passkey).

    It has its own status, not 200 with other members. So a client that takes every 200 for a login makes no mistake,
    and a generated client gets one type per status.
    """
    return _begun(identity.with_password(body.identifier, body.password.get_secret_value(), arrival(body.device_token)))


def sign_in(user_id: UUID, method: str, device_token: SecretStr = NO_DEVICE) -> LoginAnswer | WaitingAnswer:
    """Sign in a user whom another service has authenticated, and return the answer of the operation that checked that.

    Let that operation also answer 202, a WaitingAnswer. `method`, such as "oidc", is recorded and is no second factor.
    401 for a disabled account; ValueError for a reserved method.
    """
    return _begun(identity.with_foreign(user_id, method, arrival(device_token)))


def _begun(begun: sessions.Opened | flows.Begun) -> LoginAnswer | WaitingAnswer:
    return _waiting(begun) if isinstance(begun, flows.Begun) else LoginAnswer.opened(begun)


def arrival(device_token: SecretStr) -> identity.Arrival:
    """Return the context of a login from this request."""
    return identity.Arrival(
        lifetime=timedelta(hours=state().limits.refresh_absolute_hours),
        address=request.remote_addr or "",
        agent=request.user_agent.string,
        device_token=device_token.get_secret_value(),
    )


def _waiting(begun: flows.Begun) -> WaitingAnswer:
    held = factors.held(begun.user_id)
    usable: dict[Way, int] = {"totp": held.totp, "passkey": held.passkeys, "recovery-code": held.recovery_codes}
    return WaitingAnswer(
        mfa_token=begun.token,
        expires_in=int((begun.expires_at - now()).total_seconds()),
        factors=[name for name, there in usable.items() if there],
    )


@blueprint.post("/auth/refresh")
@public
@operation(refuses=(401,))
def exchange(body: RefreshBody) -> TokenAnswer:
    """Exchange a refresh token, once, for a new pair."""
    return TokenAnswer.of(refresh.exchange(body.refresh_token.get_secret_value()))


@blueprint.post("/auth/logout")
@login_required(without_factor=True)
@operation
def logout() -> None:
    """End this login on the server: its access and refresh tokens are invalid from now on."""
    refresh.revoke_family(current_user.session_id)
    audit.record("logout", user_id=current_user.id, session_id=current_user.session_id)


@blueprint.get("/auth/sessions")
@login_required
@operation
def list_sessions() -> SessionsAnswer:
    """List the user's own live logins."""
    idle = timedelta(minutes=state().limits.refresh_idle_minutes)
    rows = sessions.live_sessions(current_user.id, idle=idle)
    return SessionsAnswer(
        items=[
            SessionAnswer(
                id=row.id,
                created_at=row.created_at,
                seen_at=row.seen_at,
                address=row.address,
                agent=row.agent,
                current=row.id == current_user.session_id,
            )
            for row in rows
        ]
    )


@blueprint.delete("/auth/sessions/<uuid:session_id>")
@login_required(fresh=True)
@operation
def end_session(session_id: UUID) -> None:
    """End one of the user's own logins; 404 for a login of another user."""
    if not sessions.end(session_id, current_user.id):
        refuse(404, "ownership-404")
    audit.record("session.ended", user_id=current_user.id, session_id=session_id)


@blueprint.delete("/auth/sessions")
@login_required(fresh=True)
@operation
def end_others() -> None:
    """End all of the user's own logins except this one."""
    ended = sessions.end_all(current_user.id, but=current_user.session_id)
    if ended:  # otherwise a signed-in attacker could write rows without end
        audit.record("session.ended_others", user_id=current_user.id, session_id=current_user.session_id, count=ended)


@blueprint.get("/.well-known/jwks.json")
@public
def jwks() -> Response:
    """Return the public keys that verify access tokens (RFC 7517)."""
    shareable(request.environ)
    caching = {"Cache-Control": f"public, max-age={keys.JWKS_SECONDS}"}
    return Response(json.dumps(keys.ring().jwks()), mimetype="application/jwk-set+json", headers=caching)
