"""One database for everything that must survive a restart, reached with bound parameters and bounded waiting.

A connection without a time limit turns one slow query into a service that stands still; a statement that is put
together from text is a statement that an attacker writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from inspect import iscoroutinefunction
from typing import Any, Final, Literal
from uuid import UUID, uuid4

from flask import Flask
from flask_alembic import Alembic
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy import (
    Connection,
    DateTime,
    Dialect,
    Engine,
    ForeignKey,
    MetaData,
    TextClause,
    TypeDecorator,
    create_engine,
    text,
)
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .. import log
from ..clock import seconds

OWNER: Final = {"owner": "bastion"}
"""Marks a table as the template's: the team's migrations leave it alone."""
BRANCH: Final = "bastion"
TEAM_BRANCH: Final = "team"
_log: Final = log.get_logger("bastion.database")
_ALIVE: Final = text("SELECT 1")
_TABLES: Final = text("SELECT 1 FROM auth_session WHERE 1 = 0")  # a database that was never migrated is not ready
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


class Owned:
    """Mixed into a model whose rows belong to one user each: a random id, and the user, with whom the rows go."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("auth_user.id", ondelete="CASCADE"), index=True)


db = SQLAlchemy()
alembic = Alembic(run_mkdir=False, command_name="", metadatas=Base.metadata)


@contextmanager
def transaction() -> Iterator[Connection]:
    """A short transaction of our own, apart from the request's: what it wrote survives the request's roll-back.

    What it reads, it may decide on: see `begin` of the dialects.
    """
    from ..chosen import dialect  # not above: the chosen style imports this module

    with db.engine.begin() as connection:
        dialect.begin(connection)
        yield connection


def connect() -> Connection:
    """A connection for reading, apart from the request's session; use it in a `with` statement."""
    return db.engine.connect()


def _fault(engine: Engine, question: TextClause = _ALIVE) -> str | None:
    """The kind of error when the database does not answer. Its message may hold the address and the user."""
    try:
        with engine.connect() as connection:
            connection.execute(question)
    except SQLAlchemyError as error:
        return type(error).__name__
    return None


def unreachable(url: Any, options: dict[str, Any]) -> Iterator[str]:
    """A reason against the start when the database does not answer, without the address."""
    engine = create_engine(url, **options)
    if kind := _fault(engine):
        yield (
            f"DATABASE_URL: the database does not answer ({kind}). Check that it runs, its address, user and password."
        )
    engine.dispose()


def readiness(engine: Engine) -> Callable[[], bool]:
    """A probe that says whether the database answers; remembers the answer for a second."""
    last: list[tuple[float, bool]] = [(float("-inf"), False)]

    def ready() -> bool:
        moment = seconds()
        if not 0 <= moment - last[0][0] < _READY_SECONDS:
            kind = _fault(engine, _TABLES)
            if kind is not None:
                _log.warning("not_ready", database=kind)  # the probe itself is told nothing
            last[0] = (moment, kind is None)
        return last[0][1]

    return ready


def _is_the_teams(item: Any, name: str | None, kind: str, _reflected: bool, _compared: Any) -> bool:
    """Autogenerate looks at the team's tables alone; the template brings its own migrations."""
    if kind != "table":
        return True
    known = Base.metadata.tables.get(name or "")
    return (known if known is not None else item).info.get("owner") != OWNER["owner"]


def _render_type(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """A migration must not import the service: our own type is written as what it is in the database."""
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime()"
    return False


def _nothing_to_write(_context: Any, _revision: Any, directives: list[Any]) -> None:
    """No migration without a change."""
    if directives and directives[0].upgrade_ops.is_empty():
        directives.clear()


def install(app: Flask, url: Any, engine_options: dict[str, Any]) -> Engine:
    """Open the engine (lazily connecting) and the two branches of migrations: the template's and the team's."""
    app.config["SQLALCHEMY_ENGINES"] = {"default": {"url": url, "hide_parameters": True, **engine_options}}
    app.config["ALEMBIC"] = {
        "script_location": "migrations",  # the team's branch
        "version_locations": [(BRANCH, "bastion/database/migrations")],
    }
    app.config["ALEMBIC_CONTEXT"] = {
        "include_object": _is_the_teams,
        "render_item": _render_type,
        "process_revision_directives": _nothing_to_write,
        "compare_type": True,
    }
    db.init_app(app)
    del app.config["SQLALCHEMY_ENGINES"]  # it holds the password, and whatever prints its configuration would show it
    # It closes sessions for asyncio too, which costs a thread and an event loop a request, three times the rest of it.
    # This service has none: its views are not coroutines.
    app.teardown_appcontext_funcs[:] = [f for f in app.teardown_appcontext_funcs if not iscoroutinefunction(f)]
    alembic.init_app(app)
    with app.app_context():
        return db.engine
