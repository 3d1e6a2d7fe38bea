"""Signing in as an attacker does it: with any identifier and password, from any address, and seeing what came of it.

It stops proofs of login and throttle from knowing one style alone, and from waiting for hashes that prove nothing.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from .running import PASSWORD
from .service import AUTH, Client

if TYPE_CHECKING:
    from flask import Flask

    from .running import Service, User
    from .wire import BaseClient, Response

PATH = {"session": "/login", "jwt": "/auth/login"}[AUTH]
AGAIN_PATH = {"session": "/reauth", "jwt": "/auth/reauthenticate"}[AUTH]
SIGNED_IN = {"session": 303, "jwt": 200}[AUTH]
"""What the right password is answered with; in the session style also where a second factor is asked for next."""
DEVICE_COOKIE = "__Host-device"
WRONG = "not the password of anybody here"
UNKNOWN = "user-00000000@example.com"  # as long as the addresses that the harness makes
_OWN = re.compile(r"(?<=nonce-)[\w+/=-]+|(?<=nonce=\")[^\"]+|(?<=name=\"csrf_token\")([^>]*?value=)\"[^\"]*\"")


def attempt(client: BaseClient, identifier: str, password: str, device: str | None = None, **more: Any) -> Response:
    """Send these to the login as they are; the rest of the request is honest. `device` is what device_of() gave."""
    fields = {"identifier": identifier, "password": password}
    if device is not None and AUTH == "session":
        client.cookies[DEVICE_COOKIE] = device
    elif device is not None:
        fields["device_token"] = device
    return client.post(PATH, fields, **more)


def arrive(client: Client, email: str, password: str) -> Response:
    """Sign in as far as the password leads; the client keeps what it is given: a session, or the handle of a login."""
    answer = attempt(client, email, password)
    if AUTH == "jwt" and answer.status == SIGNED_IN:
        client.cookie = answer.json["access_token"]
    return answer


def arrived(service: Service, user: User, address: str, password: str | None = None) -> Client:
    """Somebody at this address who has shown the right password: he is in, or is asked for the second factor."""
    client = service.client(user, address)
    arrive(client, user.email, password or user.password)
    return client


def device_of(answer: Response) -> str:
    """What the answer to a login gave to the device, to be known again."""
    if AUTH == "jwt":
        return str(answer.json["device_token"])
    [cookie] = [one for one in answer.set_cookies if one.name == DEVICE_COOKIE]
    return cookie.value


def step_up(client: Client, password: str) -> Response:
    """Let a signed-in client prove once more who it is; it keeps what it is given for that."""
    answer = client.post(AGAIN_PATH, {"password": password})
    if AUTH == "jwt" and answer.ok:
        client.cookie = answer.json["access_token"]
    return answer


def registers(client: BaseClient, email: str) -> Response:
    """Ask for an account with this address."""
    return client.post({"session": "/register", "jwt": "/auth/register"}[AUTH], {"email": email})


class Outage:
    """While it is on, each statement of the service about these tables fails, as if their store were away."""

    def __init__(self, service: Service, *tables: str, error: Exception | None = None) -> None:
        from sqlalchemy import event
        from sqlalchemy.exc import OperationalError

        self.tables, self.on, self.met = tables, False, 0
        self.error = error or OperationalError("a statement", {}, Exception("the store is away"))
        with service.app.app_context():
            engine = service.module("database").db.engine
        event.listen(engine, "before_cursor_execute", self._fail)

    def _fail(self, _connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if self.on and [name for name in self.tables if name in statement]:
            self.met += 1
            raise self.error


def fails_afterwards(service: Service) -> list[str]:
    """Add a function of the team's that runs after each view, and raises while the list holds a reason."""
    failing: list[str] = []

    def add(app: Flask) -> None:
        @app.after_request
        def fail(response: Any) -> Any:
            if failing:
                raise RuntimeError(failing[0])
            return response

    service.adds(add)
    return failing


@cache
def cheap_hash(password: str) -> str:
    """An Argon2id string of the smallest parameters: it verifies as others do, and takes no time."""
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password.encode())


def cheap_user(service: Service, email: str | None = None, **more: Any) -> User:
    """A user whose hash takes no time to verify, for proofs of anything but the hash.

    Argon2 reads the parameters from the hash, so the service compares it as any other. At the first login with the
    right password it makes a hash of its own parameters.
    """
    made = service.user(email, **more)
    if made.password:
        store(service, made, cheap_hash(made.password))
    return made


def store(service: Service, user: User, text: str) -> None:
    """Write this as the user's password hash, as whoever can write to the database might."""
    service.rows("UPDATE auth_user SET password_hash = :text WHERE email = :email", text=text, email=user.email)


def stored(service: Service, email: str) -> str:
    """What the database holds of this account's password."""
    [(text,)] = service.rows("SELECT password_hash FROM auth_user WHERE email = :email", email=email)
    return str(text)


def sessions_of(service: Service, user: User) -> int:
    """How many sessions were ever opened for this user: the evidence of a login, in both styles."""
    statement = (
        "SELECT count(*) FROM auth_session JOIN auth_user ON auth_user.id = auth_session.user_id"
        " WHERE auth_user.email = :email"
    )
    return int(service.rows(statement, email=user.email)[0][0])


def seen_by_client(answer: Response, identifier: str) -> dict[str, Any]:
    """All of an answer but what is new in each: request id, nonce, form token and the address that was typed."""

    def same(text: str) -> str:
        text = text.replace(answer.request_id or "\0", "<request id>").replace(identifier, "<identifier>")
        return _OWN.sub("<own>", text)

    varies = {"date": "<date>", "retry-after": "<seconds>"}
    headers = [(key := name.lower(), varies.get(key) or same(value)) for name, value in answer.headers]
    headers = [header for header in headers if header[0] != "set-cookie"]
    cookies = [(cookie.name, sorted(cookie.attributes)) for cookie in answer.set_cookies]
    return {"status": answer.status, "headers": headers, "cookies": cookies, "body": same(answer.text)}


def causes(service: Service, *, cheap: bool) -> dict[str, tuple[str, str]]:
    """Why a login fails, each with the address and the password that are sent."""
    make: Any = (lambda **more: cheap_user(service, **more)) if cheap else service.user
    known, disabled, without, deleted = make(), make(active=False), make(password=None), make()
    service.rows("DELETE FROM auth_user WHERE email = :email", email=deleted.email)
    return {
        "wrong password": (known.email, WRONG),
        "unknown": (UNKNOWN, PASSWORD),
        "disabled": (disabled.email, PASSWORD),
        "no password": (without.email, PASSWORD),
        "deleted": (deleted.email, PASSWORD),
    }


class HashSpy:
    """Stands before the service's hasher and keeps each string that a password was compared with.

    `quick` leaves out the work where nothing can match (WRONG, or an account without a hash); that it was asked for is
    seen all the same.
    """

    def __init__(self, service: Service, *, quick: bool = False) -> None:
        passwords = service.module("state").state_of(service.app).passwords
        self.compared: list[str] = []
        self._real = passwords._hasher
        self._quick, self._dummy = quick, passwords._dummy
        passwords._hasher = self

    def verify(self, target: str, password: bytes) -> bool:
        from argon2.exceptions import VerifyMismatchError

        self.compared.append(target)
        if self._quick and (target == self._dummy or password == WRONG.encode()):
            raise VerifyMismatchError
        return bool(self._real.verify(target, password))

    def hash(self, password: bytes) -> str:
        return str(self._real.hash(password))
