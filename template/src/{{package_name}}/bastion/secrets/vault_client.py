"""Vault client: a token only in memory, and one dynamic database user, each replaced before it ends.

A database password that never ends is stolen once and used for years, and any reader of a token's file can use it. An
attacker on the network path, a proxy or a redirect would receive both.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import hvac
from hvac.adapters import JSONAdapter
from requests import Response, Session
from requests.exceptions import SSLError

from ..clock import seconds
from . import BackendFault, Fetch, Found, Secret, remote

if TYPE_CHECKING:
    from .vault import Settings

PASSWORD: Final = "DATABASE_PASSWORD"  # noqa: S105  (a name, no value)
NO_END: Final = 10**9  # seconds
NO_ANSWER: Final = "gave no answer of its kind"
LEASE_IS_GONE: Final = 400  # while 403 says that this service may not prolong it: no reason to make another user


class _Refused(BackendFault):
    """Vault refuses the request: the token may have ended, or the role may lack the right."""

    def __init__(self, status: int) -> None:
        super().__init__(f"refuses this service ({'status 400' if status == 400 else 'forbidden'})")
        self.status = status


class _Transport(JSONAdapter):
    """Hvac's adapter, with a JSON object or a fault as the result; a fault's text holds no data that was sent."""

    def request(self, *args: Any, **options: Any) -> dict[Any, Any]:
        try:
            answer = super().request(*args, **options)
        except SSLError:
            raise BackendFault("did not prove who it is (TLS)") from None
        except OSError:
            raise BackendFault("does not answer") from None
        except RecursionError:
            raise BackendFault(NO_ANSWER) from None
        if isinstance(answer, dict):
            return answer
        status = answer.status_code if isinstance(answer, Response) else 200
        if status == 404 and answer.headers.get("Content-Type") == "application/json":  # Vault's, not of a proxy
            return {}
        if status in (400, 401, 403):
            raise _Refused(status)
        raise BackendFault(NO_ANSWER if status == 200 else f"fails (status {status})")


@dataclass(frozen=True, slots=True)
class _Grant:
    """A lease of Vault's: a token, or a database user and its password."""

    value: Secret
    user: str = ""
    lease: str = ""
    renewable: bool = True
    lasts: float = 0.0
    ends_at: float = 0.0

    def until(self, asked_at: float, answer: Mapping[str, Any]) -> _Grant:
        """Return the lease with the end that Vault reports (0: none); a renewal keeps the first answer's length.

        Near its maximum lifetime Vault prolongs it by less than a third, and it is late at once.
        """
        duration = answer.get("lease_duration")
        if not isinstance(duration, int):
            raise BackendFault(NO_ANSWER)
        return replace(self, lasts=self.lasts or duration or NO_END, ends_at=asked_at + (duration or NO_END))

    def is_late(self) -> bool:
        """Return whether two thirds of its time are over, or the clock was set back."""
        return not self.ends_at - self.lasts <= seconds() < self.ends_at - self.lasts / 3


class Vault:
    """This service's state in Vault: a client, its token (only in memory), and one database user."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._token: _Grant | None = None
        self._user: _Grant | None = None

    def connect(self) -> Fetch:
        """Open a client for this process, and return its fetch function."""
        session = Session()
        session.trust_env = False  # no proxy, .netrc or other authorities: the settings say where, and who
        usual = ssl.get_default_verify_paths()
        session.verify = self._settings.ca or usual.cafile or usual.capath or True
        self._client = hvac.Client(
            url=self._settings.address,
            token="",  # None would read VAULT_TOKEN, or a file in the user's home
            verify=session.verify,
            timeout=(remote.CONNECT_SECONDS, remote.READ_SECONDS),  # type: ignore[arg-type]  # requests takes both
            allow_redirects=False,
            session=session,
            adapter=_Transport,
            namespace=self._settings.namespace or None,
            ignore_exceptions=True,  # _Transport checks the status; hvac's error would hold the answer
        )
        return self._fetch

    def _fetch(self, name: str) -> Found | None:
        if not remote.NAME.match(name):
            return None
        token = self._token
        self._sign_in()
        try:
            return self._read(name)
        except _Refused:
            if self._token is not token:  # it was given for this question: the right is missing
                raise
            self._log_in()  # it was taken away before its end
            return self._read(name)

    def _read(self, name: str) -> Found | None:
        if name == PASSWORD and self._settings.database_role:
            return self._find_user()
        answer = self._client.secrets.kv.v2.read_secret_version(
            f"{self._settings.path}/{name}", mount_point=self._settings.mount, raise_on_deleted_version=True
        )
        if not answer:  # there is none, or its newest version was deleted
            return None
        found = _part(answer, "data")
        value, told = _part(found, "data").get("value"), _part(found, "metadata")
        if not isinstance(value, str):
            raise BackendFault("has no text in the field `value` of it")
        return Found(Secret(value), version=str(told.get("version", "")), changed_at=_moment(told.get("created_time")))

    def _sign_in(self) -> None:
        """Ensure a token with a third of its time left: renew it, where Vault allows that, else log in again."""
        token = self._token
        self._client.token = token.value.reveal() if token is not None else ""
        if token is not None and token.is_late():
            asked_at = seconds()
            with suppress(_Refused):
                token = self._token = token.until(asked_at, _part(self._client.auth.token.renew_self(), "auth"))
        if token is None or token.is_late():
            self._log_in()

    def _log_in(self) -> None:
        """Get another token. The former one runs to its end, and with it the database user that it made."""
        settings, asked_at = self._settings, seconds()
        try:
            shown = Path(settings.signs_in_with).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            raise BackendFault("can't be asked: the file that this service signs in with can't be read") from None
        methods, mount = self._client.auth, settings.auth_mount or settings.auth
        self._client.token = ""
        if settings.auth == "approle":
            answer = methods.approle.login(settings.role, shown, use_token=False, mount_point=mount)
        else:
            answer = methods.kubernetes.login(settings.role, shown, use_token=False, mount_point=mount)
        given = _part(answer, "auth")
        self._token, self._user = _Grant(Secret(_text(given, "client_token"))).until(asked_at, given), None
        self._client.token = self._token.value.reveal()

    def _find_user(self) -> Found:
        """Return this service's database user: the same while its lease can last, not a new one for each read."""
        user, asked_at = self._user, seconds()
        if user is not None and user.renewable:
            try:
                user = user.until(asked_at, self._client.sys.renew_lease(user.lease))  # type: ignore[no-untyped-call]
            except _Refused as refusal:
                if refusal.status == LEASE_IS_GONE:
                    user = None
        if user is None or user.is_late():
            asked_at = seconds()
            answer = self._client.secrets.database.generate_credentials(  # type: ignore[no-untyped-call]
                self._settings.database_role, mount_point=self._settings.database_mount
            )
            made = _part(answer, "data")
            user = _Grant(
                Secret(_text(made, "password")),
                user=_text(made, "username"),
                lease=_text(answer, "lease_id"),
                renewable=answer.get("renewable") is True,
            ).until(asked_at, answer)
        self._user = user
        ends_at = min(grant.ends_at for grant in (user, self._token) if grant is not None)  # it ends with its token
        return Found(user.value, version=user.user, user=user.user, ends_at=ends_at)


def _part(answer: Any, name: str) -> Mapping[str, Any]:
    """Return the object of this name in an answer. Raise BackendFault if there is none."""
    part = answer.get(name)
    if not isinstance(part, dict):
        raise BackendFault(NO_ANSWER)
    return part


def _text(answer: Mapping[str, Any], name: str) -> str:
    """Return the text of this name in an answer. Raise BackendFault if there is none."""
    text = answer.get(name)
    if not isinstance(text, str) or not text:
        raise BackendFault(NO_ANSWER)
    return text


def _moment(text: object) -> float | None:
    """Return the seconds since the epoch of a time in Vault's format."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None
