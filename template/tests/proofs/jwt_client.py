"""An honest API client: it satisfies every layer of the token style, so that an attack changes exactly one thing.

It stops proofs from passing because another layer refused: a call without a token says nothing about its signature.
"""

from __future__ import annotations

import base64
import hashlib
import json as jsonlib
import time
from collections.abc import Sequence
from typing import Any, ClassVar, Self
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .harness import HarnessError
from .wire import SAFE, BaseClient, Fields, Files, Response


def private_key() -> dict[str, Any]:
    """A new active Ed25519 key as a private JWK (RFC 8037), named by its thumbprint (RFC 7638)."""
    key = Ed25519PrivateKey.generate()

    def text(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    parts = {"crv": "Ed25519", "kty": "OKP", "x": text(key.public_key().public_bytes_raw())}
    kid = text(hashlib.sha256(jsonlib.dumps(parts, separators=(",", ":"), sort_keys=True).encode()).digest())
    named = {**parts, "kid": kid, "use": "sig", "alg": "EdDSA", "d": text(key.private_bytes_raw())}
    return {**named, "status": "active", "since": int(time.time())}


class Client(BaseClient):
    """One client with its access token and its refresh token."""

    DONE: ClassVar = {
        **dict.fromkeys(("register", "forgot", "ask_email", "admin_reset", "invite"), 202),
        **dict.fromkeys(("activate", "reset", "delete_account", "end_session", "end_others"), 204),
        **dict.fromkeys(("disable", "enable", "give", "take", "end_sessions_of", "end_everybodys"), 204),
        **dict.fromkeys(("step_up", "change_password", "confirm_email", "rename", "export", "events"), 200),
        **dict.fromkeys(("account", "sessions", "users", "show_user"), 200),
        **dict.fromkeys(("begin_totp", "confirm_totp", "remove_totp", "new_codes", "passkey_options"), 200),
        **dict.fromkeys(("add_passkey", "rename_passkey", "remove_passkey", "step_up_with_passkey"), 200),
        **dict.fromkeys(("login_with_passkey", "send_code", "send_passkey"), 200),
        "reset_factors": 204,
    }
    """Method to the status of its success."""
    NOT_FRESH = 401
    """The status for whoever has to prove once more who he is; the reason is fresh-login-5-min."""
    WAITS = 202
    """The status for a right password of an account with a second factor."""
    NO_FACTOR = 403
    """The status for whoever must have a second factor and signed in without; the reason is mfa-required-for-admins."""

    @staticmethod
    def secrets() -> dict[str, str]:
        """What this style asks for beside the secrets of every service."""
        return {"JWT_KEYS": jsonlib.dumps({"keys": [private_key()]})}

    @staticmethod
    def settings() -> dict[str, str]:
        """What this style asks for beside the settings of every service: the client's page for mailed links."""
        return {"BASTION_LINK_BASE": "https://client.example/account"}

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.cookie: str | None = None
        """The access token, under the name that the clients of both styles have."""
        self.refresh_token: str | None = None
        self.waiting: str = ""
        """The handle of the last login that waits for its second factor."""

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
                method=self.user.methods,
            )
            pair = service.module("jwt.refresh").first_pair(opened)
        self.cookie, self.refresh_token = pair.access_token, pair.refresh_token
        return self

    def upload(self, data: Fields, files: Files, query: Fields) -> tuple[bytes, str, Fields]:
        """One file as the whole body, and its name in the query."""
        [(name, content)] = files.values()
        return content, "application/octet-stream", {**query, **data, "name": name}

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

    # The account's life, under the names that the clients of both styles have; `more` are further fields. -------------

    def register(self, email: str, **more: Any) -> Response:
        return self.post("/auth/register", {"email": email, **more})

    def activate(self, token: str, password: str, name: str = "", **more: Any) -> Response:
        return self.post("/auth/activate", {"token": token, "password": password, "display_name": name, **more})

    def forgot(self, email: str, **more: Any) -> Response:
        return self.post("/auth/reset", {"email": email, **more})

    def reset(self, token: str, password: str, **more: Any) -> Response:
        return self.post("/auth/reset/complete", {"token": token, "password": password, **more})

    def step_up(self, password: str, code: str = "") -> Response:
        fields = {"password": password, **({"code": code} if code else {})}
        return self._keep_pair(self.post("/auth/reauthenticate", fields))

    def change_password(self, current: str | None, new: str, **more: Any) -> Response:
        """`current` None leaves it out."""
        fields = {"current_password": current, "new_password": new, **more}
        sent = {name: value for name, value in fields.items() if value is not None}
        return self._keep_pair(self.post("/auth/password", sent))

    def ask_email(self, email: str, **more: Any) -> Response:
        return self.post("/auth/email", {"email": email, **more})

    def confirm_email(self, token: str) -> Response:
        return self._keep_pair(self.post("/auth/email/confirm", {"token": token}))

    def account(self) -> Response:
        return self.get("/auth/me")

    def rename(self, name: str, **more: Any) -> Response:
        return self.patch("/auth/me", {"display_name": name, **more})

    def delete_account(self) -> Response:
        return self.delete("/auth/me")

    def export(self) -> Response:
        return self.get("/auth/me/export")

    def events(self) -> Response:
        return self.get("/auth/events")

    def sessions(self) -> Response:
        return self.get("/auth/sessions")

    def end_session(self, session_id: UUID) -> Response:
        return self.delete(f"/auth/sessions/{session_id}")

    def end_others(self) -> Response:
        return self.delete("/auth/sessions")

    def users(self, q: str = "", page: int = 1) -> Response:
        return self.get("/auth/users", query={"q": q, "page": page})

    def show_user(self, user_id: UUID) -> Response:
        return self.get(f"/auth/users/{user_id}")

    def disable(self, user_id: UUID) -> Response:
        return self.post(f"/auth/users/{user_id}/disable")

    def enable(self, user_id: UUID) -> Response:
        return self.post(f"/auth/users/{user_id}/enable")

    def give(self, user_id: UUID, role: str) -> Response:
        return self.put(f"/auth/users/{user_id}/roles/{role}")

    def take(self, user_id: UUID, role: str) -> Response:
        return self.delete(f"/auth/users/{user_id}/roles/{role}")

    def admin_reset(self, user_id: UUID, **more: Any) -> Response:
        return self.post(f"/auth/users/{user_id}/reset", more or None)

    def end_sessions_of(self, user_id: UUID) -> Response:
        return self.delete(f"/auth/users/{user_id}/sessions")

    def end_everybodys(self) -> Response:
        return self.delete("/auth/users/sessions")

    def invite(self, email: str, roles: Sequence[str] = (), **more: Any) -> Response:
        return self.post("/auth/invitations", {"email": email, "roles": [*roles], **more})

    # Second factors; `answer` is what a browser makes of an authenticator's answer. ----------------------------------

    def send(self, method: str, path: str, data: Fields | None = None, **more: Any) -> Response:
        answer = super().send(method, path, data, **more)
        if path == "/auth/login" and answer.status == self.WAITS:
            self.waiting = answer.json["mfa_token"]
        return answer

    def send_code(self, code: str, **more: Any) -> Response:
        return self._keep_pair(self.post("/auth/login/factor", {"mfa_token": self.waiting, "code": code, **more}))

    def factor_passkey_options(self) -> tuple[dict[str, Any], str]:
        return _asked(self.post("/auth/login/factor/passkey/options", {"mfa_token": self.waiting}))

    def send_passkey(self, state: str, answer: Fields, **more: Any) -> Response:
        fields = {"mfa_token": self.waiting, "state": state, "credential": answer, **more}
        return self._keep_pair(self.post("/auth/login/factor/passkey", fields))

    def login_passkey_options(self) -> tuple[dict[str, Any], str]:
        return _asked(self.post("/auth/login/passkey/options", {}))

    def login_with_passkey(self, state: str, answer: Fields, **more: Any) -> Response:
        return self._keep_pair(self.post("/auth/login/passkey", {"state": state, "credential": answer, **more}))

    def begin_totp(self) -> Response:
        return self.post("/auth/totp")

    @staticmethod
    def seed_of(answer: Response) -> str:
        """The seed that the answer to `begin_totp` shows."""
        return str(answer.json["secret"])

    def confirm_totp(self, code: str) -> Response:
        return self._keep_pair(self.post("/auth/totp/confirm", {"code": code}))

    @staticmethod
    def codes_of(answer: Response) -> list[str]:
        """The recovery codes that an answer shows; none when it shows none."""
        return list(answer.json.get("recovery_codes", []))

    def remove_totp(self) -> Response:
        return self._keep_pair(self.delete("/auth/totp"))

    def new_codes(self) -> Response:
        return self._keep_pair(self.post("/auth/recovery-codes"))

    def passkey_options(self) -> tuple[dict[str, Any], str]:
        return _asked(self.post("/auth/passkeys/options"))

    def add_passkey(self, state: str, answer: Fields, name: str = "Key") -> Response:
        return self._keep_pair(self.post("/auth/passkeys", {"state": state, "credential": answer, "name": name}))

    def passkeys(self) -> list[dict[str, Any]]:
        """One's own: id, name and whether it is suspended."""
        shown = self.get("/auth/factors").json["passkeys"]
        return [{"id": UUID(one["id"]), "name": one["name"], "suspended": one["suspended"]} for one in shown]

    def rename_passkey(self, passkey_id: UUID, name: str) -> Response:
        return self.patch(f"/auth/passkeys/{passkey_id}", {"name": name})

    def remove_passkey(self, passkey_id: UUID) -> Response:
        return self._keep_pair(self.delete(f"/auth/passkeys/{passkey_id}"))

    def step_up_options(self) -> tuple[dict[str, Any], str]:
        return _asked(self.post("/auth/reauthenticate/passkey/options"))

    def step_up_with_passkey(self, state: str, answer: Fields) -> Response:
        return self._keep_pair(self.post("/auth/reauthenticate/passkey", {"state": state, "credential": answer}))

    def reset_factors(self, user_id: UUID) -> Response:
        return self.post(f"/auth/users/{user_id}/reset-factors")

    def _keep_pair(self, answer: Response) -> Response:
        if answer.status == 200:
            self.cookie, self.refresh_token = answer.json["access_token"], answer.json["refresh_token"]
        return answer


def _asked(answer: Response) -> tuple[dict[str, Any], str]:
    """What a browser needs for a passkey, and the state that goes back with its answer."""
    if answer.status != 200:
        raise HarnessError(f"there were no options for a passkey: {answer.status} {answer.text[:200]}")
    return answer.json["options"], str(answer.json["state"])
