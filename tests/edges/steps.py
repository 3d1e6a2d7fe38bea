"""Steps of users and their clients that only edges need."""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from ..accounts import CHOSEN, DONE, account
from ..harness import works
from ..logins import DEVICE_COOKIE
from ..mails import token_for
from ..running import User
from ..service import AUTH

if TYPE_CHECKING:
    from ..running import Service
    from ..service import Client
    from ..wire import BaseClient, Response


def becomes_member(service: Service, email: str, *, name: str = "", address: str = "192.0.2.80") -> User:
    """Register, open the mail and choose a password; for services with open registration."""
    client = service.client(address=address)
    works(client.register(email).status == DONE["register"], "a visitor registers an address")
    works(
        client.activate(token_for(service, email, "activate"), CHOSEN, name).status == DONE["activate"],
        "the mailed link creates the account",
    )
    made = account(service, email)
    works(made is not None, "the account exists")
    return User(made.id, email, CHOSEN)  # type: ignore[union-attr]


def stored_form(service: Service, typed: str) -> str | None:
    """Return the stored form of this address, or None when it is refused."""
    users = service.module("identity.users")
    with suppress(users.UserError):
        return str(users.address(typed))
    return None


def asks_for_reset(client: BaseClient, email: str, device: str | None = None) -> Response:
    """Request a password reset for this address. `device` comes from device_of()."""
    fields = {"email": email}
    if device is not None and AUTH == "session":
        client.cookies[DEVICE_COOKIE] = device
    elif device is not None:
        fields["device_token"] = device
    return client.post({"session": "/forgot", "jwt": "/auth/reset"}[AUTH], fields)


def chooses_by_mail(client: Client, token: str, password: str) -> Response:
    """Open the mailed link and choose this password."""
    return client.reset(token, password)


def is_a_rule(service: Service, *permissions: object) -> bool:
    """Return whether @requires accepts these as an access rule."""
    with suppress(TypeError):
        return callable(service.module().requires(*permissions))
    return False


def declares(scoped: type) -> bool:
    """Return whether a Scoped model without a rule can be declared."""
    with suppress(TypeError):
        return bool(type("Letter", (scoped,), {}))
    return False


def session_ids(service: Service, user: User) -> list[uuid.UUID]:
    """Return the user's live sessions, last used first."""
    with service.app.app_context():
        found = service.module("identity.sessions").live_sessions(user.id, idle=timedelta(minutes=30))
        return [row.id for row in found]
