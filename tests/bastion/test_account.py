"""Unit tests beside the proofs in test_account.py."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from ..accounts import (
    DONE,
    account,
    administrator,
    lives,
)
from ..edges.test_account import writes
from ..harness import refused
from ..mails import token_for
from ..service import AUTH
from ..test_account import CONFIRMED, NEW

if TYPE_CHECKING:
    from ..running import Service


# --- the address -----------------------------------------------------------------------------------------------


def test_an_address_that_was_taken_in_the_meantime_is_refused_like_any_link_that_has_ended(service: Service) -> None:
    user = service.user()
    client = service.client(user).login()
    client.ask_email(NEW)
    token = token_for(service, NEW, "email")
    taken = service.user(NEW)
    refused(client.confirm_email(token), 410, CONFIRMED)
    assert account(service, NEW).id == taken.id  # type: ignore[union-attr]
    assert account(service, user.email).id == user.id  # type: ignore[union-attr]
    assert lives(client)


# --- the end of an account -------------------------------------------------------------------------------------


def test_what_a_hook_raises_keeps_the_account(service: Service) -> None:
    def stop(_connection: Any, _user_id: Any) -> None:
        raise RuntimeError("a contract forbids it")

    service.adds(lambda app: service.module().before_deletion(app, stop))
    user = service.user()
    client = service.client(user).login()
    assert client.delete_account().status == 500
    assert account(service, user.email)
    assert lives(client)


def test_the_last_administrator_stays(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    last = administrator(service, monkeypatch)
    assert last.delete_account().status == 409
    assert lives(last)
    other = administrator(service, monkeypatch, "192.0.2.145")
    assert other.delete_account().status == DONE["delete_account"]
    assert last.delete_account().status == 409


# --- what leaves -----------------------------------------------------------------------------------------------


def test_what_is_over_goes_and_what_counts_stays(service: Service) -> None:
    user, models = service.user(), service.module("identity.models")
    kept = {"sessions": 30, "devices": 400, "links": 1, "flows": 1}  # days
    kinds = {"sessions": models.AuthSession, "devices": models.Device, "links": models.Link, "flows": models.Flow}
    service.travel(hours=(36 - service.now().hour) % 24)  # to noon: what was at midnight is half a day from its time
    over, counts = (
        {name: f"{service.now() - timedelta(days=days - more):%Y-%m-%d}" for name, days in kept.items()}
        for more in (0, 1)
    )
    for name, model in kinds.items():
        writes(service, user, over[name], model)
        writes(service, user, counts[name], model)
    with service.app.app_context():
        gone = {name: service.module(f"identity.{name}").purge() for name in kinds}
    assert gone == dict.fromkeys(kinds, 1)
    for name, model in kinds.items():
        with service.engine.connect() as connection:
            [left] = connection.execute(model.__table__.select())
        assert f"{left.created_at:%Y-%m-%d}" == counts[name]


def test_all_that_is_half_done_for_an_account_ends_and_nothing_of_another(service: Service) -> None:
    user, other, links = service.user(), service.user(), service.module("identity.links")
    models, transaction = service.module("identity.models"), service.module("database").transaction
    for number, one in enumerate((user, user, other)):
        service.client(one, f"192.0.2.{190 + number}").login()
    sessions = models.AuthSession.__table__
    with service.engine.connect() as connection:
        found = connection.execute(sessions.select().order_by(sessions.c.address)).all()
    old, new, theirs = (row.id for row in found)
    tables, moment = (models.Link.__table__, service.module("mail").OutgoingMail.__table__), service.now()

    def noted(email: str, user_id: Any, session_id: Any, inviter_id: Any) -> None:
        both = {"email": email, "user_id": user_id, "session_id": session_id, "inviter_id": inviter_id}
        each = both | {"purpose": links.RESET, "roles": "", "created_at": moment}
        link = {"token_hash": secrets.token_bytes(32), "expires_at": moment}
        mail = {"due_at": moment, "trusted": False, "origin": "", "attempts": 0}
        with service.engine.begin() as connection:
            for table, more in zip(tables, (link, mail), strict=True):
                connection.execute(table.insert().values(id=uuid4(), **each, **more))

    def left(column: str) -> list[list[Any]]:
        with service.engine.connect() as connection:
            rows = [connection.execute(table.select().order_by(table.c.email)).all() for table in tables]
        return [[getattr(row, column) for row in some if getattr(row, "used_at", None) is None] for some in rows]

    noted("a@example.com", None, old, None)
    noted("b@example.com", None, theirs, None)
    with service.app.app_context(), transaction() as connection:
        links.follow(connection, old, new)
    assert left("session_id") == [[new, theirs]] * 2
    noted("c@example.com", None, None, user.id)
    noted("d@example.com", None, None, other.id)
    with service.app.app_context(), transaction() as connection:
        links.cancel_invitations(connection, user.id)
    assert left("email") == [["a@example.com", "b@example.com", "d@example.com"]] * 2
    noted(user.email, None, None, None)
    noted("e@example.com", user.id, None, None)
    noted("f@example.com", None, None, user.id)
    noted("g@example.com", other.id, None, None)
    with service.app.app_context(), transaction() as connection:
        links.cancel(connection, user.email, user.id)
    assert left("email") == [[f"{letter}@example.com" for letter in "abdg"]] * 2


def test_an_export_has_so_many_rows_of_a_table_and_no_more(service: Service) -> None:
    client, table = service.client(user := service.user()).login(), service.module("identity.models").Device.__table__
    made = {"user_id": user.id, "created_at": service.now(), "seen_at": service.now()}
    rows = [{"id": uuid4(), "token_hash": secrets.token_bytes(32), **made} for _ in range(2_001)]
    with service.engine.begin() as connection:
        connection.execute(table.insert(), rows)
    found = client.export().json
    assert len((found["tables"] if AUTH == "jwt" else found)["devices"]) == 2_000


# --- reading ---------------------------------------------------------------------------------------------------
