"""Database access: bound parameters and time limits for all state that must survive a restart.

Without a time limit one slow query can block the service; a statement that is built from text allows SQL injection.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import iscoroutinefunction
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

from flask import Flask
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy import (
    URL,
    Connection,
    DateTime,
    Dialect,
    Engine,
    ForeignKey,
    LargeBinary,
    MetaData,
    TypeDecorator,
    create_engine,
    event,
    text,
)
from sqlalchemy.dialects.mysql import DATETIME, VARBINARY
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry

from .. import log
from ..clock import seconds
from ..secrets import Secrets
from ..settings import BastionSettings
from ..state import state

OWNER: Final = {"owner": "bastion"}
"""Marks a table as the template's: the team's migrations do not touch it."""
OWNERS_PASSWORD: Final = "MIGRATION_PASSWORD"  # noqa: S105  (a name, no value)
SIGNED_IN_AS: Final = "bastion.user"
HASH: Final = LargeBinary().with_variant(VARBINARY(32), "mysql", "mariadb")  # SHA-256, comparable and indexable
MAC: Final = LargeBinary().with_variant(VARBINARY(36), "mysql", "mariadb")  # 4 bytes of a key's name, 32 of HMAC
_log: Final = log.get_logger("bastion.database")
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
    """Mixin for rows that belong to one user each: a random id, and the user; deleted with the user."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("auth_user.id", ondelete="CASCADE"), index=True)


db = SQLAlchemy()


@contextmanager
def transaction() -> Iterator[Connection]:
    """Open a short transaction of its own: a request's roll-back does not undo its writes.

    Reads in it are safe to decide on: see `begin` of the dialects.
    """
    with db.engine.begin() as connection:
        state().dialect.begin(connection)
        yield connection


def connect() -> Connection:
    """Open a connection for reading, apart from the request's session; use it in a `with` statement."""
    return db.engine.connect()


class ChosenDialect(Protocol):
    """The interface of a database module of this package."""

    SECRETS: Mapping[str, str]

    def check(self, settings: BastionSettings) -> Iterator[str]: ...
    def address(self, settings: BastionSettings, *, migrates: bool = False) -> URL: ...
    def options(self, settings: BastionSettings, *, migrates: bool = False) -> dict[str, Any]: ...
    def prepare(self, engine: Engine) -> None: ...
    def begin(self, connection: Connection) -> None: ...
    def has_written(self, connection: Connection) -> bool: ...
    def is_administrator(self, connection: Connection, /) -> bool: ...
    def is_conflict(self, error: BaseException | None) -> bool: ...


@dataclass(frozen=True, slots=True)
class Target:
    """The database connection of this process: address, engine options, and the name of the password's secret."""

    url: URL
    options: Mapping[str, Any]
    password: str | None


def target_of(settings: BastionSettings, dialect: ChosenDialect, *, migrates: bool) -> Target:
    """Return the role and URL to connect with. Call after dialect.check()."""
    return Target(
        dialect.address(settings, migrates=migrates),
        dialect.options(settings, migrates=migrates),
        next(iter(secrets_of(settings, dialect, migrates=migrates)), None),
    )


def secrets_of(settings: BastionSettings, dialect: ChosenDialect, *, migrates: bool) -> Mapping[str, str]:
    """Return the secret that this process signs in with, if any, and its use; migrations need only the owner's."""
    if migrates and settings.migration_user and dialect.SECRETS:
        return {OWNERS_PASSWORD: "opens the database for BASTION_MIGRATION_USER"}
    return dialect.SECRETS


def check_owner(secrets: Secrets, dialect: ChosenDialect, *, migrates: bool, here: bool) -> Iterator[str]:
    """Report an owner's password in reach of a process that does not migrate: an attacker in it could use it, too.

    `here`: the secrets are variables or files of this machine. Other backends are not asked for a foreign secret.
    """
    if migrates or not dialect.SECRETS:
        return
    if OWNERS_PASSWORD in os.environ or (here and secrets.find(OWNERS_PASSWORD) is not None):
        yield (
            f"{OWNERS_PASSWORD} is within reach of a process that does not migrate. Give it to the commands `db ...` "
            "alone."
        )


def _fault(engine: Engine) -> str | None:
    """Return the error's type if the database is not ready, else None. Its message may hold address and user."""
    try:
        with engine.connect() as connection:
            connection.execute(_TABLES)
    except SQLAlchemyError as error:
        return type(error).__name__
    return None


def unreachable(
    settings: BastionSettings, dialect: ChosenDialect, secrets: Secrets, *, migrates: bool
) -> Iterator[str]:
    """Report a database that does not answer, or where the role is an administrator; without the address."""
    target = target_of(settings, dialect, migrates=migrates)
    engine = create_engine(target.url, **target.options)
    _prepare(engine, dialect, target, secrets)
    try:
        with engine.connect() as connection:
            administrator = settings.production and dialect.is_administrator(connection)
    except SQLAlchemyError as error:  # its message may hold the address and the user
        yield (
            f"DATABASE_URL: the database does not answer ({type(error).__name__}). Check that it runs, its address, "
            "user, password and certificate."
        )
    else:
        if administrator:
            yield (
                "DATABASE_URL: the role is an administrator of the server, so a statement that an attacker gets past "
                "this service reaches every database and the machine. Make one for this service alone."
            )
    finally:
        engine.dispose()


def readiness(engine: Engine) -> Callable[[], bool]:
    """Return a readiness probe of the database, which caches its answer for a second."""
    last = float("-inf"), False

    def ready() -> bool:
        nonlocal last
        moment = seconds()
        if not 0 <= moment - last[0] < _READY_SECONDS:
            kind = _fault(engine)
            if kind is not None:
                _log.warning("not_ready", database=kind)  # the probe's answer has no reason
            last = moment, kind is None
        return last[1]

    return ready


def _prepare(engine: Engine, dialect: ChosenDialect, target: Target, secrets: Secrets) -> None:
    dialect.prepare(engine)
    if target.password is not None:
        _follow_rotation(engine, target.password, secrets)


def _follow_rotation(engine: Engine, password: str, secrets: Secrets) -> None:
    """Sign in each new connection with the current password, and drop connections of a replaced database user."""

    @event.listens_for(engine, "do_connect")
    def sign_in(driver: Dialect, record: ConnectionPoolEntry, args: list[Any], options: dict[str, Any]) -> Any:
        refreshed = False
        while True:
            found = secrets.found(password)
            options.update(password=found.value.reveal(), **({"user": found.user} if found.user else {}))
            record.info[SIGNED_IN_AS] = found.user
            try:
                return driver.connect(*args, **options)
            except driver.loaded_dbapi.Error:
                # Drivers report no reliable reason; a refused password is one of several.
                if refreshed or not secrets.refresh(password, found.value):
                    raise
                refreshed = True
            finally:
                options.pop("password", None)  # SQLAlchemy keeps these options, and shows them in a traceback

    @event.listens_for(engine, "checkout")
    def end_in_time(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        # A database user has a successor long before its end; without one, in an outage, the old one is kept.
        user = record.info.get(SIGNED_IN_AS)
        if user is not None and user != secrets.found(password).user:
            raise DisconnectionError("its user was replaced")  # the pool opens another one


def install(app: Flask, target: Target, secrets: Secrets) -> Engine:
    """Open the engine, which connects lazily."""
    app.config["SQLALCHEMY_ENGINES"] = {"default": {"url": target.url, "hide_parameters": True, **target.options}}
    db.init_app(app)
    del app.config["SQLALCHEMY_ENGINES"]  # it names the database, which whatever prints its configuration would show
    # Flask-SQLAlchemy-Lite also closes asyncio sessions, with a thread and an event loop a request: three times the
    # cost of the rest. This service has no such sessions: its views are not coroutines.
    app.teardown_appcontext_funcs[:] = [f for f in app.teardown_appcontext_funcs if not iscoroutinefunction(f)]
    with app.app_context():
        _prepare(db.engine, state().dialect, target, secrets)
        return db.engine
