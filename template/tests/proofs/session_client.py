"""An honest browser: it satisfies every layer of the session style, so that an attack changes exactly one thing.

It stops proofs from passing because another layer refused: a post without Origin says nothing about the token.
"""

from __future__ import annotations

import json as jsonlib
import re
from collections.abc import Sequence
from html import unescape
from typing import Any, ClassVar, Self
from urllib.parse import urlencode
from uuid import UUID

from .harness import HarnessError
from .wire import ORIGIN, SAFE, BaseClient, Fields, Files, Response

COOKIE = "__Host-session"
FIELD = "csrf_token"
HEADER = "X-CSRFToken"
_TOKEN = re.compile(r"<input\b[^>]*\bname=\"csrf_token\"[^>]*>")
_LINK = re.compile(r"<input\b[^>]*\bname=\"link\"[^>]*\bvalue=\"([0-9a-f]{64})\"")
_SEED = re.compile(r"id=\"seed\">([A-Z2-7 ]+)<")
_CODE = re.compile(r"<li>((?:[A-Z2-7]{5}-){4}[A-Z2-7]{6})</li>")
_OPTIONS = re.compile(r"data-options=\"([^\"]*)\".*?name=\"state\" value=\"([^\"]*)\"", re.DOTALL)
_PASSKEY = re.compile(
    r"<h3 dir=\"auto\">(.*?) ?(<span class=\"badge\">suspended</span>)?</h3>"
    r".*?/account/factors/passkeys/([0-9a-f-]{36})\"",
    re.DOTALL,
)
_VALUE = re.compile(r"\bvalue=\"([^\"]*)\"")


class Client(BaseClient):
    """One browser with its cookie jar."""

    @staticmethod
    def secrets() -> dict[str, str]:
        """What this style asks for beside the secrets of every service: nothing."""
        return {}

    @staticmethod
    def settings() -> dict[str, str]:
        """What this style asks for beside the settings of every service: nothing."""
        return {}

    DONE: ClassVar = {
        **dict.fromkeys(("register", "forgot", "ask_email", "admin_reset", "invite", "activate", "reset"), 303),
        **dict.fromkeys(("delete_account", "end_session", "end_others", "disable", "enable", "give", "take"), 303),
        **dict.fromkeys(("end_sessions_of", "end_everybodys", "step_up", "change_password", "confirm_email"), 303),
        **dict.fromkeys(("rename", "remove_totp", "rename_passkey", "remove_passkey", "reset_factors"), 303),
        **dict.fromkeys(("send_code", "send_passkey", "login_with_passkey", "step_up_with_passkey"), 303),
        **dict.fromkeys(("begin_totp", "confirm_totp", "new_codes", "add_passkey"), 200),
        **dict.fromkeys(("export", "events", "account", "sessions", "users", "show_user"), 200),
    }
    """Method to the status of its success."""
    NOT_FRESH = 303
    """The status for whoever has to prove once more who he is; the reason is fresh-login-5-min."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._token: tuple[object, str] | None = None

    @property
    def cookie(self) -> str | None:
        """The value of the session cookie; assign to it, or None, to hold another."""
        return self.cookies.get(COOKIE)

    @cookie.setter
    def cookie(self, value: str | None) -> None:
        self._token = None
        if value is None:
            self.cookies.pop(COOKIE, None)
        else:
            self.cookies[COOKIE] = value

    @property
    def waiting(self) -> str:
        """The handle of the login that waits for its second factor; assign to it to hold another."""
        return str(self.content().get("pending", ""))

    @waiting.setter
    def waiting(self, value: str) -> None:
        self.forge(**{**self.content(), "pending": value})

    def csrf_token(self) -> str:
        """A token of this browser's own session, read from a page as a person's browser does."""
        kept = self._token
        if kept is None or kept[0] != self._held():
            for path in ("/reauth", "/login") if self.user else ("/login", "/reauth"):
                page = self.get(path)
                if page.status == 200 and (found := _TOKEN.search(page.text)) and (value := _VALUE.search(found[0])):
                    kept = self._token = (self._held(), unescape(value[1]))
                    break
            else:
                raise HarnessError("no page with a form could be opened")
        return kept[1]

    def _held(self) -> object:
        """What the token belongs to: the session's own value, and five minutes of the service's time."""
        return self.content().get(FIELD), int(self.service.now().timestamp()) // 300

    def content(self) -> dict[str, Any]:
        """What the signed cookie holds: everybody who has it can read it. {} without a cookie or for a foreign one."""
        from itsdangerous import BadSignature

        if self.cookie is None:
            return {}
        try:
            found: dict[str, Any] = self._serializer().loads(self.cookie)
        except BadSignature:
            return {}
        return found

    def forge(self, **content: Any) -> Self:
        """Hold a correctly signed cookie with this content: the proof knows SECRET_KEY."""
        self.cookie = str(self._serializer().dumps(content))
        return self

    def _serializer(self) -> Any:
        from flask.sessions import SecureCookieSessionInterface

        app = self.service.app
        if not isinstance(app.session_interface, SecureCookieSessionInterface):
            raise HarnessError("the session is no signed cookie")
        return app.session_interface.get_signing_serializer(app)

    def login(self, *, through_form: bool = False) -> Self:
        """Sign the user in: by the form, or quickly by a session row and a cookie as the service would make them."""
        if self.user is None:
            raise HarnessError("a client without a user can't log in; give it one: service.client(service.user())")
        if through_form:
            answer = self.post("/login", {"identifier": self.user.email, "password": self.user.password})
            self._token = None
            if answer.status != 303 or self.waiting:
                raise HarnessError(f"the form did not sign in with the right password: {answer.status}")
            return self
        service = self.service
        with service.app.app_context():
            opened = service.module("identity.sessions").open_session(
                self.user.id,
                lifetime=self._lifetime(),
                address=self.address,
                agent=self.agent,
                method=self.user.methods,
            )
        return self.forge(token=opened.token)

    # The account's life, under the names that the clients of both styles have; `more` are further fields.

    def register(self, email: str, **more: Any) -> Response:
        return self.post("/register", {"email": email, **more})

    def open_link(self, purpose: str, token: str) -> Response:
        """Open the address in a mail: the token moves into a cookie, and nothing else happens."""
        return self.get(f"/link/{purpose}/{token}")

    def shown(self, path: str) -> dict[str, str]:
        """What the form at this address says of the mailed link that it is for; {} when there is no form."""
        found = _LINK.search(self.get(path).text)
        return {} if found is None else {"link": found[1]}

    def activate(self, token: str, password: str, name: str = "", **more: Any) -> Response:
        self.open_link("activate", token)
        fields = {"password": password, "again": password, "display_name": name, **self.shown("/activate"), **more}
        return self.post("/activate", fields)

    def forgot(self, email: str, **more: Any) -> Response:
        return self.post("/forgot", {"email": email, **more})

    def reset(self, token: str, password: str, **more: Any) -> Response:
        self.open_link("reset", token)
        return self.post("/reset", {"password": password, "again": password, **self.shown("/reset"), **more})

    def step_up(self, password: str, code: str = "") -> Response:
        return self._renewed(self.post("/reauth", {"password": password, "code": code}))

    def step_up_options(self) -> tuple[dict[str, Any], str]:
        return self._asked("/reauth")

    def step_up_with_passkey(self, state: str, answer: object) -> Response:
        return self._renewed(self._answer("/reauth/passkey", state, answer))

    # Second factors. -------------------------------------------------------------------------------------------------

    def begin_totp(self) -> Response:
        return self._followed(self.post("/account/factors/totp"))

    @staticmethod
    def seed_of(response: Response) -> str:
        """The seed that a page shows to be typed into an app."""
        found = _SEED.search(response.text)
        if found is None:
            raise HarnessError(f"no seed is shown: {response.status} {response.text[:200]}")
        return found[1].replace(" ", "")

    def confirm_totp(self, code: str) -> Response:
        return self._followed(self._renewed(self.post("/account/factors/totp/confirm", {"code": code})))

    @staticmethod
    def codes_of(response: Response) -> list[str]:
        """The recovery codes that a page shows."""
        return _CODE.findall(response.text)

    def remove_totp(self) -> Response:
        return self._renewed(self.post("/account/factors/totp/remove"))

    def new_codes(self) -> Response:
        return self._renewed(self.post("/account/factors/codes"))

    def passkey_options(self) -> tuple[dict[str, Any], str]:
        return self._asked("/account/factors/passkeys/new")

    def add_passkey(self, state: str, answer: object, name: str = "Key") -> Response:
        return self._followed(self._renewed(self._answer("/account/factors/passkeys/new", state, answer, name=name)))

    def passkeys(self) -> list[dict[str, Any]]:
        """One's own, as the page of second factors lists them: id, name, suspended."""
        page = self.get("/account/factors").text
        return [
            {"id": found[3], "name": unescape(found[1]), "suspended": found[2] is not None}
            for found in _PASSKEY.finditer(page)
        ]

    def rename_passkey(self, passkey_id: object, name: str) -> Response:
        return self.post(f"/account/factors/passkeys/{passkey_id}", {"name": name})

    def remove_passkey(self, passkey_id: object) -> Response:
        return self._renewed(self.post(f"/account/factors/passkeys/{passkey_id}/remove"))

    def login_passkey_options(self) -> tuple[dict[str, Any], str]:
        return self._asked("/login/passkey")

    def login_with_passkey(self, state: str, answer: object) -> Response:
        return self._renewed(self._answer("/login/passkey", state, answer))

    def send_code(self, code: str) -> Response:
        """Complete the login that waits; its handle is in the cookie."""
        return self._renewed(self.post("/login/factor", {"code": code}))

    def factor_passkey_options(self) -> tuple[dict[str, Any], str]:
        return self._asked("/login/factor")

    def send_passkey(self, state: str, answer: object) -> Response:
        return self._renewed(self._answer("/login/factor/passkey", state, answer))

    def reset_factors(self, user_id: UUID) -> Response:
        return self.post(f"/users/{user_id}/factors/remove")

    def _asked(self, path: str) -> tuple[dict[str, Any], str]:
        """What a page asks the device, and the signed challenge that goes back with the answer."""
        page = self.get(path)
        found = _OPTIONS.search(page.text)
        if page.status != 200 or found is None:
            raise HarnessError(f"{path} asks for no passkey: {page.status} {page.text[:200]}")
        return jsonlib.loads(unescape(found[1])), unescape(found[2])

    def _answer(self, path: str, state: str, answer: object, **more: str) -> Response:
        return self.post(path, {"state": state, "credential": jsonlib.dumps(answer), **more})

    def _followed(self, answer: Response) -> Response:
        """The page that a success leads to, where the seed, the recovery codes, or neither are."""
        done = answer.status == 303 and (answer.location or "").startswith("/account/factors")
        return self.get(answer.location or "") if done else answer

    def change_password(self, current: str | None, new: str, **more: Any) -> Response:
        """`current` None leaves it out."""
        fields = {"current": current, "password": new, "again": new, **more}
        return self._renewed(self.post("/account/password", fields))

    def ask_email(self, email: str, **more: Any) -> Response:
        return self.post("/account/email", {"email": email, **more})

    def confirm_email(self, token: str) -> Response:
        self.open_link("email", token)
        return self._renewed(self.post("/account/email/confirm", self.shown("/account/email/confirm")))

    def account(self) -> Response:
        return self.get("/account")

    def rename(self, name: str, **more: Any) -> Response:
        return self.post("/account/name", {"display_name": name, **more})

    def delete_account(self) -> Response:
        return self.post("/account/delete", {})

    def export(self) -> Response:
        return self.post("/account/export", {})

    def events(self) -> Response:
        return self.get("/account")

    def sessions(self) -> Response:
        return self.get("/account")

    def end_session(self, session_id: UUID) -> Response:
        return self.post(f"/account/sessions/{session_id}/end", {})

    def end_others(self) -> Response:
        return self.post("/account/sessions/end-others", {})

    def users(self, q: str = "", page: int = 1) -> Response:
        return self.get("/users", query={"q": q, "page": page})

    def show_user(self, user_id: UUID) -> Response:
        return self.get(f"/users/{user_id}")

    def disable(self, user_id: UUID) -> Response:
        return self.post(f"/users/{user_id}/disable", {})

    def enable(self, user_id: UUID) -> Response:
        return self.post(f"/users/{user_id}/enable", {})

    def give(self, user_id: UUID, role: str) -> Response:
        return self.post(f"/users/{user_id}/roles/{role}/give", {})

    def take(self, user_id: UUID, role: str) -> Response:
        return self.post(f"/users/{user_id}/roles/{role}/take", {})

    def admin_reset(self, user_id: UUID, **more: Any) -> Response:
        return self.post(f"/users/{user_id}/reset", more)

    def end_sessions_of(self, user_id: UUID) -> Response:
        return self.post(f"/users/{user_id}/end-sessions", {})

    def end_everybodys(self) -> Response:
        return self.post("/users/end-sessions", {})

    def invite(self, email: str, roles: Sequence[str] = (), **more: Any) -> Response:
        return self.post("/users/invite", {"email": email, "roles": [*roles], **more})

    def _renewed(self, answer: Response) -> Response:
        """The cookie is another one now, and so are its tokens."""
        self._token = None
        return answer

    def _lifetime(self) -> Any:
        from datetime import timedelta

        return timedelta(hours=self.service.module("state").state().limits.session_absolute_hours)

    def upload(self, data: Fields, files: Files, query: Fields) -> tuple[bytes, str, Fields]:
        """A form with files (RFC 7578), and the token of a page in it."""
        parts = [(f'name="{name}"', str(value).encode()) for name, value in {FIELD: self.csrf_token(), **data}.items()]
        parts += [(f'name="{name}"; filename="{file}"', content) for name, (file, content) in files.items()]
        head = "--end of a part\r\nContent-Disposition: form-data; {}\r\n\r\n"
        sent = b"".join(head.format(named).encode() + content + b"\r\n" for named, content in parts)
        return sent + b"--end of a part--\r\n", 'multipart/form-data; boundary="end of a part"', query

    def honest(
        self,
        method: str,
        data: Fields | None,
        json: Any,
        body: bytes | None,
        content_type: str | None,  # noqa: ARG002
    ) -> tuple[dict[str, str], bytes]:
        """The headers of a navigation, a posted form, or a fetch of an own script (for JSON), and the body."""
        headers = {
            "Accept": "text/html,application/xhtml+xml",
            "Referer": f"{ORIGIN}/",
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
        }
        if method in SAFE:
            return headers, body or b""
        headers["Origin"] = ORIGIN
        if json is None and body is None and method == "POST":
            fields = {FIELD: self.csrf_token(), **(data or {})} if FIELD not in (data or {}) else dict(data or {})
            sent = urlencode({name: value for name, value in fields.items() if value is not None}, doseq=True)
            return {**headers, "Content-Type": "application/x-www-form-urlencoded"}, sent.encode()
        # A browser's form sends GET and POST alone, so the rest comes from a script.
        headers |= {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "*/*", HEADER: self.csrf_token()}
        if body is not None:
            return headers, body
        if json is not None:
            return {**headers, "Content-Type": "application/json"}, jsonlib.dumps(json).encode()
        if data is None:
            return headers, b""
        encoded = urlencode({name: value for name, value in data.items() if value is not None}, doseq=True)
        return {**headers, "Content-Type": "application/x-www-form-urlencoded"}, encoded.encode()
