"""Session cookie: a random token and no personal data; the session row of the token decides.

This limits a stolen cookie: Flask's cookie is signed but not encrypted, so it can be read and copied. Its content must
be useless once the session row is revoked.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from wsgiref.types import WSGIEnvironment

from flask import Flask, Request, Response, after_this_request, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from itsdangerous import BadSignature, URLSafeTimedSerializer

from .. import log
from ..clock import now
from ..crypto.signing import SECRET, Verified, sign, unsign
from ..identity import devices, flows, login, sessions
from ..identity.principal import Principal
from ..request.authentication import current_user
from ..state import state, state_of
from . import csrf

TOKEN: Final = "token"  # noqa: S105  (the key in the cookie, not a token)
NEXT: Final = "next"
PENDING: Final = "pending"  # the handle of a login that waits for its second factor
FOREIGN: Final = "foreign"  # the state of a sign-in that another service answers
FOREIGN_LIFETIME: Final = timedelta(minutes=10)
# Flask-WTF and Flask name the last two.
ALLOWED_KEYS: Final = frozenset({TOKEN, NEXT, PENDING, FOREIGN, "csrf_token", "_flashes"})
DIGEST: Final[Any] = hashlib.sha256  # its type differs between versions of Python
LOCKED: Final[dict[str, object]] = {
    "SESSION_COOKIE_HTTPONLY": True,
    "SESSION_COOKIE_SAMESITE": "Lax",  # Strict would sign people out who follow a link to the service
    "SESSION_COOKIE_DOMAIN": None,
    "SESSION_COOKIE_PATH": "/",
}


_log = log.get_logger("bastion.session")


@dataclass(frozen=True, slots=True)
class _Keys:
    """The valid keys, their serializer and the cookies verified with them; always replaced together."""

    texts: tuple[str, ...] = field(repr=False)
    serializer: URLSafeTimedSerializer
    verified: Verified[tuple[dict[str, Any], datetime]] = field(default_factory=Verified)


def _signed(keys: _Keys, cookie: str) -> tuple[_Keys, dict[str, Any], datetime] | None:
    """Return the content of the cookie and its time of signing if one of the keys signed it, else None."""
    known = keys.verified.get(cookie)
    try:
        content, signed_at = known or keys.serializer.loads(cookie, return_timestamp=True)
    except BadSignature:
        return None
    return keys, content, signed_at


def _tell_flask(app: Flask, texts: tuple[str, ...]) -> None:
    """Copy the keys into Flask's configuration for code that reads them there; bastion/ itself does not."""
    app.config["SECRET_KEY_FALLBACKS"] = [*texts[:0:-1]]
    app.secret_key = texts[0]


class SignedCookie(SecureCookieSessionInterface):
    """Flask's signed cookie with SHA-256 and its own salt; only allowed keys reach the browser."""

    salt = "bastion-session"
    digest_method = staticmethod(DIGEST)

    def __init__(self) -> None:
        self._kept: _Keys | None = None

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer:
        """Return the serializer that signs with the active key and verifies with every valid key."""
        return self._keys(app, state_of(app).rings.get(SECRET).texts()).serializer

    def _keys(self, app: Flask, texts: tuple[str, ...]) -> _Keys:
        """Return the serializer for these keys, cached; other keys start with no verified cookies."""
        kept = self._kept
        if kept is None or kept.texts != texts:
            _tell_flask(app, texts)
            signer = {"key_derivation": self.key_derivation, "digest_method": self.digest_method}
            # itsdangerous signs with the last of a list
            made = URLSafeTimedSerializer(texts[::-1], salt=self.salt, serializer=self.serializer, signer_kwargs=signer)
            kept = self._kept = _Keys(texts, made)
        return kept

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Return the cookie's content if it is signed and not expired; an empty session otherwise."""
        cookies = request.cookies.getlist(self.get_cookie_name(app))
        if len(cookies) != 1:  # of two, one may be planted by an attacker
            return self.session_class()
        cookie = cookies[0]
        found = state_of(app).rings.tried(SECRET, lambda texts: _signed(self._keys(app, texts), cookie))
        if found is None:
            return self.session_class()
        keys, content, signed_at = found
        if now() - signed_at > app.permanent_session_lifetime:
            return self.session_class()
        if "_flashes" not in content:  # its list would be shared with the request that shows it
            keys.verified.remember(cookie, (content, signed_at))
        return self.session_class(content)

    def save_session(self, app: Flask, session: Any, response: Any) -> None:
        """Write the cookie if it changed, with only the allowed keys."""
        for key in session.keys() - ALLOWED_KEYS:
            del session[key]
            _log.warning("session_key_dropped", name=key)  # any holder can read the cookie: use a table
        super().save_session(app, session, response)


def install(app: Flask) -> None:
    """Configure the cookie; its keys come from the secrets backend."""
    service = state_of(app)
    production = service.settings.production
    _tell_flask(app, service.rings.get(SECRET).texts())
    # Development runs over http only on this machine, where Safari drops cookies that are Secure or named __Host-.
    app.config["SESSION_COOKIE_NAME"] = "__Host-session" if production else "session"
    app.config["SESSION_COOKIE_SECURE"] = production
    app.config.update(LOCKED)
    app.session_interface = SignedCookie()


def authenticate() -> Principal | None:
    """Return the user of the live session with the cookie's token, or None."""
    token = session.get(TOKEN)
    return sessions.find_by_token(token) if isinstance(token, str) else None


def signed_session(app: Flask, environ: WSGIEnvironment) -> str | None:
    """Return the rate-limit key of a request's signed cookie, or None without a session. Uses no database."""
    content = app.session_interface.open_session(app, app.request_class(environ, populate_request=False))
    token = content.get(TOKEN) if content is not None else None
    return sessions.digest(token).hex() if isinstance(token, str) else None


def log_in(identifier: str, password: str) -> bool:
    """Open a session and replace the cookie, against session fixation; only the `next` page moves over.

    Returns False when the account has a second factor: the cookie then holds the token of a waiting login.
    """
    return accept(login.with_password(identifier, password, arrival()))


def accept(begun: sessions.Opened | flows.Begun) -> bool:
    """Enter the opened session, or keep the token of a waiting login and return False."""
    if isinstance(begun, flows.Begun):
        session[PENDING] = begun.token
        return False
    enter(begun)
    return True


def keep_state(text: str) -> None:
    """Keep a text in this browser for ten minutes, signed but readable: state and nonce of a foreign sign-in."""
    session[FOREIGN] = sign(FOREIGN, text)


def take_state() -> str | None:
    """Return the kept text and remove it from the browser; None after ten minutes or in another browser."""
    kept = session.pop(FOREIGN, None)
    return unsign(FOREIGN, kept, FOREIGN_LIFETIME) if isinstance(kept, str) else None


def arrival() -> login.Arrival:
    """Return the context of a login from this request."""
    return login.Arrival(
        lifetime=timedelta(hours=state().limits.session_absolute_hours),
        address=request.remote_addr or "",
        agent=request.user_agent.string,
        replaces=current_user.session_id if current_user.is_authenticated else None,
        device_token=device_token(),
    )


def enter(opened: sessions.Opened) -> None:
    """Complete the login: replace the cookie for its session and store the device token."""
    begin(opened.token)
    _keep_device(opened.device_token)


def device_token() -> str:
    """Return the token that an earlier login gave to this browser, or an empty text."""
    return request.cookies.get(_device_cookie(), "")


def _device_cookie() -> str:
    return "__Host-device" if state().settings.production else "device"


def _keep_device(token: str) -> None:
    """Set the known-device cookie for the next login. It signs no user in, so it outlives the logout."""

    @after_this_request
    def set_cookie(response: Response) -> Response:
        response.set_cookie(
            _device_cookie(),
            token,
            max_age=devices.KEPT,
            secure=state().settings.production,
            httponly=True,
            samesite="Lax",
            path="/",
        )
        return response


def begin(token: str) -> None:
    """Replace the cookie for a new session, against session fixation; only the `next` page moves over."""
    target = session.get(NEXT)
    session.clear()  # a cookie that somebody planted before ends here, its form token with it
    csrf.forget()
    session[TOKEN] = token
    if target is not None:
        session[NEXT] = target


def log_out() -> None:
    """End the session on the server first, then clear the browser's cookie."""
    sessions.end(current_user.session_id, current_user.id)
    session.clear()
