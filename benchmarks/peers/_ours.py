"""What both styles of ours need to be measured: the service's own modules, found by the name of its package."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from flask import Flask

from . import AGENT, Person


def module(name: str) -> Any:
    """A module of the rendered service, for example `bastion.identity.sessions`."""
    return importlib.import_module(f"{os.environ['BENCHMARK_SERVICE']}.{name}")


def create_app() -> Flask:
    app: Flask = module("app").create_app()
    return app


class SignedIn(NamedTuple):
    """One person's account and live session; `token` opens it in the session style."""

    person: Person
    user_id: UUID
    session_id: UUID
    token: str


def sessions(app: Flask, people: Iterable[Person]) -> Iterator[SignedIn]:
    """Tables, and an account and an open session for each person; no password is ever checked here."""
    database, clock, models = module("bastion.database"), module("bastion.clock"), module("bastion.identity.models")
    open_session = module("bastion.identity.sessions").open_session
    with app.app_context():
        module("bastion.commands.migrations").install(app).upgrade()
        for person in people:
            user_id = uuid4()
            with database.transaction() as connection:
                connection.execute(
                    models.User.__table__.insert().values(
                        id=user_id,
                        email=person.email,
                        password_hash="not used here",
                        active=True,
                        roles="",
                        created_at=clock.now(),
                    )
                )
            opened = open_session(user_id, lifetime=timedelta(hours=12), address=person.address, agent=AGENT)
            yield SignedIn(person, user_id, opened.id, opened.token)
