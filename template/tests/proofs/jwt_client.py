"""An honest API client: it satisfies every layer of the token style, so that an attack changes exactly one thing.

It stops proofs from passing because another layer refused: a call without a token says nothing about its signature.
"""

from __future__ import annotations

import base64
import hashlib
import json as jsonlib
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .harness import HarnessError
from .wire import SAFE, BaseClient, Fields


def private_key(status: str = "active") -> dict[str, str]:
    """A new Ed25519 key as a private JWK (RFC 8037), named by its thumbprint (RFC 7638)."""
    key = Ed25519PrivateKey.generate()

    def text(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    parts = {"crv": "Ed25519", "kty": "OKP", "x": text(key.public_key().public_bytes_raw())}
    kid = text(hashlib.sha256(jsonlib.dumps(parts, separators=(",", ":"), sort_keys=True).encode()).digest())
    return {**parts, "kid": kid, "use": "sig", "alg": "EdDSA", "status": status, "d": text(key.private_bytes_raw())}


class Client(BaseClient):
    """One client with its access token and its refresh token."""

    @staticmethod
    def secrets() -> dict[str, str]:
        """What this style asks for beside the secrets of every service."""
        return {"JWT_KEYS": jsonlib.dumps({"keys": [private_key()]})}

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.cookie: str | None = None
        """The access token, under the name that the clients of both styles have."""
        self.refresh_token: str | None = None

    @property
    def token(self) -> str | None:
        """The access token."""
        return self.cookie

    @token.setter
    def token(self, value: str | None) -> None:
        self.cookie = value

    def login(self, *, through_form: bool = False) -> Self:
        """Sign the user in: by POST /auth/login, or quickly by a session row and tokens of the service's own making."""
        if self.user is None:
            raise HarnessError("a client without a user can't log in; give it one: service.client(service.user())")
        if through_form:
            answer = self.post("/auth/login", {"identifier": self.user.email, "password": self.user.password})
            if answer.status != 200:
                raise HarnessError(f"the login refused the right password: {answer.status} {answer.text[:200]}")
            self.cookie, self.refresh_token = answer.json["access_token"], answer.json["refresh_token"]
            return self
        service = self.service
        with service.app.app_context():
            from datetime import timedelta

            limits = service.module("state").state().limits
            opened = service.module("identity.sessions").open_session(
                self.user.id,
                lifetime=timedelta(hours=limits.refresh_absolute_hours),
                address=self.address,
                agent=self.agent,
            )
            pair = service.module("jwt.refresh").first_pair(opened)
        self.cookie, self.refresh_token = pair.access_token, pair.refresh_token
        return self

    def honest(
        self, method: str, data: Fields | None, json: Any, body: bytes | None, content_type: str | None
    ) -> tuple[dict[str, str], bytes]:
        """The headers of a call by a program, and the fields as one JSON object."""
        headers = {"Accept": "application/json"}
        if self.cookie is not None:
            headers["Authorization"] = f"Bearer {self.cookie}"
        if body is not None:
            return {**headers, "Content-Type": content_type or "application/json"}, body
        sent = json if json is not None else data
        if sent is None and (method in SAFE or method == "DELETE"):
            return headers, b""
        return {**headers, "Content-Type": "application/json"}, jsonlib.dumps({} if sent is None else sent).encode()
