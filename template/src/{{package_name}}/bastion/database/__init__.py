"""One database for everything that must survive a restart, reached with bound parameters and bounded waiting.

A connection without a time limit turns one slow query into a service that stands still; a statement that is put
together from text is a statement that an attacker writes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Final

from flask import Flask
from flask_alembic import Alembic
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy import Connection, DateTime, Dialect, Engine, MetaData, TypeDecorator, text
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase

from ..clock import seconds

OWNER: Final = {"owner": "bastion"}
"""Marks a table as the template's: the team's migrations leave it alone."""
BRANCH: Final = "bastion"
TEAM_BRANCH: Final = "team"
_READY_SECONDS: Final = 1.0  # a probe answers from memory this long, so that probing costs the database nothing


class UTCDateTime(TypeDecorator[datetime]):
    """Aware UTC in Python, naive UTC in every database, with microseconds."""

    impl = DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Base of every model, the template's and the team's; `datetime` columns are aware UTC."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UTCDateTime}  # noqa: RUF012  (SQLAlchemy reads it from the class)


db = SQLAlchemy()
alembic = Alembic(run_mkdir=False, command_name="", metadatas=Base.metadata)


def transaction() -> AbstractContextManager[Connection]:
    """A short transaction of our own, apart from the request's: what it wrote survives the request's roll-back."""
    return db.engine.begin()


def connect() -> Connection:
    """A connection for reading, apart from the request's session; use it in a `with` statement."""
    return db.engine.connect()


def unreachable(engine: Engine) -> str | None:
    """A reason when the database does not answer, without its message, which may hold the address and the user."""
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        kind = type(error).__name__
        return (
            f"DATABASE_URL: the database does not answer ({kind}). Check that it runs, its address, user and password."
        )
    return None


def readiness(engine: Engine) -> Callable[[], bool]:
    """A probe that says whether the database answers; remembers the answer for a second."""
    last: list[tuple[float, bool]] = [(float("-inf"), False)]

    def ready() -> bool:
        moment = seconds()
        if not 0 <= moment - last[0][0] < _READY_SECONDS:
            last[0] = (moment, unreachable(engine) is None)
        return last[0][1]

    return ready


def _is_the_teams(item: Any, name: str | None, kind: str, _reflected: bool, _compared: Any) -> bool:
    """Autogenerate looks at the team's tables alone; the template brings its own migrations."""
    if kind != "table":
        return True
    known = Base.metadata.tables.get(name or "")
    return (known if known is not None else item).info.get("owner") != OWNER["owner"]


def install(app: Flask, url: Any, engine_options: dict[str, Any]) -> Engine:
    """Open the engine (lazily connecting) and the two branches of migrations: the template's and the team's."""
    app.config["SQLALCHEMY_ENGINES"] = {"default": {"url": url, "hide_parameters": True, **engine_options}}
    app.config["ALEMBIC"] = {
        "script_location": "migrations",
        "version_locations": [(BRANCH, "bastion/database/migrations"), (TEAM_BRANCH, "migrations")],
    }
    app.config["ALEMBIC_CONTEXT"] = {"include_object": _is_the_teams, "compare_type": True}
    db.init_app(app)
    alembic.init_app(app)
    with app.app_context():
        return db.engine
