"""What users and their clients do in edges alone."""

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
    """Somebody who registers, opens the mail and chooses a password; for services that are open."""
    client = service.client(address=address)
    works(client.register(email).status == DONE["register"], "a visitor registers an address")
    works(
        client.activate(token_for(service, email, "activate"), CHOSEN, name).status == DONE["activate"],
        "and the mailed link makes its account",
    )
    made = account(service, email)
    works(made is not None, "which is there")
    return User(made.id, email, CHOSEN)  # type: ignore[union-attr]


def stored_form(service: Service, typed: str) -> str | None:
    """What would be stored of an address that somebody types, or None when it is refused."""
    users = service.module("identity.users")
    with suppress(users.UserError):
        return str(users.address(typed))
    return None


def asks_for_reset(client: BaseClient, email: str, device: str | None = None) -> Response:
    """Say that the password of this address is forgotten. `device` is what device_of() gave."""
    fields = {"email": email}
    if device is not None and AUTH == "session":
        client.cookies[DEVICE_COOKIE] = device
    elif device is not None:
        fields["device_token"] = device
    return client.post({"session": "/forgot", "jwt": "/auth/reset"}[AUTH], fields)


def chooses_by_mail(client: Client, token: str, password: str) -> Response:
    """Open the link that was mailed, and choose this password."""
    return client.reset(token, password)


def is_a_rule(service: Service, *permissions: object) -> bool:
    """Whether @requires takes these for an access rule; False when it refuses them."""
    with suppress(TypeError):
        return callable(service.module().requires(*permissions))
    return False


def session_ids(service: Service, user: User) -> list[uuid.UUID]:
    """The user's live sessions, last used first."""
    with service.app.app_context():
        found = service.module("identity.sessions").live_sessions(user.id, idle=timedelta(minutes=30))
        return [row.id for row in found]
