"""Accounts as they really come about and are looked at, in both styles, for proofs of what may happen to them.

It stops proofs from making by hand what the service would never make.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .authenticator import App
from .harness import edit, refused
from .logins import SIGNED_IN, attempt
from .running import User
from .service import AUTH, DATABASE, Client

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable

    import pytest

    from .running import Service
    from .wire import Response

DONE = Client.DONE
CHOSEN = "seven quiet otters row home"
OTHER = "nine loud herons fly to sea"
ADMINISTRATOR = "proof-administrator"
ENDED = {"session": 303, "jwt": 401}[AUTH]
"""What a session that has ended is answered with, at whatever asks for one."""
TAKES_ANYTHING = () if AUTH == "session" else (edit("jwt/schema.py", 'extra="forbid"', 'extra="ignore"'),)
"""Part of a sabotage: fields that are not declared get as far as they do in a form, where they are not read."""

NO_LOCK_AT_FIRST = (
    (edit("database/sqlite.py", 'connection.exec_driver_sql("BEGIN IMMEDIATE")', "del connection"),)
    if DATABASE == "sqlite"
    else ()
)
"""Part of a sabotage: SQLite takes its lock with the first write, and what is read before that may be old by then."""

WHAT_WAS_SENT = '(__import__("flask").request.get_json(silent=True) or __import__("flask").request.form)'
"""Part of a sabotage: an expression for everything that was sent, declared or not."""


def account(service: Service, email: str) -> Any | None:
    """The whole row of the account with this address, or None; through a connection of the proofs' own."""
    table = service.module("identity.models").User.__table__
    with service.engine.connect() as connection:
        return connection.execute(table.select().where(table.c.email == email)).one_or_none()


def accounts(service: Service) -> int:
    """How many there are."""
    return int(service.rows("SELECT count(*) FROM auth_user")[0][0])


def created(service: Service, email: str, password: str) -> bool:
    """Whether an account is made with this password by what `users create` stands on; False when it is refused."""
    users = service.module("identity.users")
    with service.app.app_context(), suppress(users.UserError):
        users.create(email, password)
        return True
    return False


def exchange(service: Service, client: Client) -> Response:
    """The refresh token of this client (jwt), from another address."""
    token = getattr(client, "refresh_token", None)
    return service.client(address="203.0.113.81").post("/auth/refresh", {"refresh_token": token})


def signs_in(service: Service, email: str, password: str, address: str = "203.0.113.80") -> bool:
    """Whether this password alone opens this account."""
    client = service.client(address=address)
    return attempt(client, email, password).status == SIGNED_IN and not client.waiting


def lives(client: Client) -> bool:
    """Whether the session of this client is good for anything."""
    return client.account().status == DONE["account"]


def live_sessions(service: Service, user_id: uuid.UUID) -> int:
    """How many sessions of this account are not revoked."""
    table = service.module("identity.models").AuthSession.__table__
    with service.engine.connect() as connection:
        found = connection.execute(table.select().where(table.c.user_id == user_id, table.c.revoked_at.is_(None)))
        return len(found.all())


def administrator(
    service: Service, monkeypatch: pytest.MonkeyPatch, address: str = "192.0.2.90", *, also: Iterable[str] = ()
) -> Client:
    """A signed-in user who may manage accounts (and has other permissions), by a role of the proofs' own."""
    users = service.module("identity.users")
    settings = type(service.module("state").state_of(service.app).team)
    permissions = frozenset({users.READ, users.MANAGE, *also})
    monkeypatch.setattr(settings, "roles", {**settings.roles, ADMINISTRATOR: permissions})
    return service.client(service.user(roles=(ADMINISTRATOR,)), address).login()


def with_app(service: Service, user: User) -> App:
    """Give the account an authenticator app that was set up some time ago, as the service stores one."""
    app, totp = service.app, service.module("identity.totp")
    seed = totp.new_seed()
    with app.app_context(), service.module("database").transaction() as connection:
        totp.store(connection, user.id, seed, 0)
    return App(service, seed)


def with_codes(service: Service, user: User) -> list[str]:
    """Give the account a set of recovery codes."""
    codes = service.module("identity.recovery_codes")
    with service.app.app_context(), service.module("database").transaction() as connection:
        return list(codes.make(connection, user.id))


def nothing_more_was_read(answer: Response, action: str) -> None:
    """A field that is not declared is refused in JSON; in a form it is there and nobody looks at it."""
    if AUTH == "jwt":
        refused(answer, 422, "input-validated-typed")
    else:
        assert answer.status == DONE[action]


class Hashing:
    """Counts the password hashes that are computed; with `cheap` they take no time."""

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch, *, cheap: bool = False) -> None:
        passwords = service.module("state").state_of(service.app).passwords
        self.count = 0
        slot = passwords._hash_slot

        def counted(*rank: int) -> Any:
            self.count += 1
            return slot(*rank)

        monkeypatch.setattr(passwords, "_hash_slot", counted)
        if cheap:
            from argon2 import PasswordHasher

            monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
