"""Unit tests beside the proofs in test_migrations.py."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import place
from ..test_database import emptied

if TYPE_CHECKING:
    from pathlib import Path

    import click
    import pytest
    from click.testing import Result

    from ..running import Service


MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "canary", None, ("team",), "bastion0001"


def upgrade():
    op.create_table("canary", sa.Column("id", sa.Integer(), primary_key=True))


def downgrade():
    op.drop_table("canary")
"""


def schema(service: Service) -> dict[str, Any]:
    """Every table with its columns, indexes and keys, as the database tells them."""
    from sqlalchemy import inspect

    found = inspect(service.engine)
    return {
        table: (
            sorted((column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(table)),
            sorted((index["name"], index["unique"]) for index in found.get_indexes(table)),
            sorted(str(key["name"]) for key in found.get_foreign_keys(table)),
        )
        for table in found.get_table_names()
    }


def invoked(command: click.Command, *options: str, typed: str = "") -> Result:
    """As an operator starts it: nothing of what runs here is there already."""
    from flask import current_app

    return Context().run(partial(current_app.test_cli_runner().invoke, command, options, input=typed))


def test_every_migration_of_the_template_goes_down_and_up_again(service: Service) -> None:
    service.app  # noqa: B018  it is made before its database is another one
    emptied(service)
    service.migrate(lambda alembic: alembic.upgrade("bastion@head"))
    whole = schema(service)
    assert {"auth_user", "audit_event", "alembic_version"} <= {*whole}
    service.migrate(lambda alembic: alembic.downgrade("bastion@base"))
    assert {*schema(service)} == {"alembic_version"}
    service.migrate(lambda alembic: alembic.upgrade("bastion@head"))
    assert schema(service) == whole


def test_the_newest_migration_of_the_team_is_taken_back_and_none_of_the_template(
    service: Service, tmp_path: Path
) -> None:
    (tmp_path / "canary.py").write_text(MIGRATION)
    service.adds(lambda app: app.config.update(ALEMBIC={"script_location": str(tmp_path)}))
    service.app  # noqa: B018
    emptied(service)
    service.migrate()
    whole = {*schema(service)}
    told: list[tuple[int, str]] = []

    def take_back(_alembic: object, *options: str, typed: str = "") -> None:
        done = invoked(service.module("commands.migrations").downgrade, *options, typed=typed)
        told.append((done.exit_code, done.output.splitlines()[-1]))

    service.migrate(partial(take_back, typed="n\n"))
    assert told.pop() == (1, "Aborted!")  # whoever is asked what to lose may say no
    assert whole == {*schema(service)}
    service.migrate(partial(take_back, typed="y\n"))
    assert whole - {*schema(service)} == {"canary"}
    service.migrate()
    for _ in range(2):
        service.migrate(lambda alembic: take_back(alembic, "--yes"))
    taken, none = "Taken back.", "Error: No migration of the team's is applied."
    assert told == [(0, taken), (0, taken), (1, none)]
    service.migrate()
    assert {*schema(service)} == whole


def test_a_migration_is_written_for_what_the_team_changed_and_for_nothing_else(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table

    database: Any = service.module("database")
    told: list[str] = []
    migrations: Any = service.module("commands.migrations")
    monkeypatch.setattr(migrations.shutil, "which", lambda _name: None)  # ruff lays it out, if it is there
    monkeypatch.setattr(migrations.alembic, "rev_id", lambda: f"team{len(told):04}")  # a second each, otherwise
    shutil.copy(place.source() / "migrations" / "script.py.mako", tmp_path)
    service.adds(lambda app: app.config.update(ALEMBIC={"script_location": str(tmp_path)}))
    service.app  # noqa: B018
    emptied(service)
    service.migrate()

    def write(*options: str) -> list[str]:
        before = {*tmp_path.glob("*.py")}
        done = invoked(migrations.revision, "one more", *options)
        told.append(done.output)
        assert done.exit_code == 0, done.output
        return [file.read_text("utf-8") for file in {*tmp_path.glob("*.py")} - before]

    def keep(options: tuple[str, ...], _alembic: object) -> None:
        written.append(write(*options))

    written: list[list[str]] = []
    with ExitStack() as stack:
        columns = (
            Column("id", Integer, primary_key=True),
            Column("at", database.UTCDateTime),
            Column("name", String(10)),
        )
        owner: Column[Any] = Column("user_id", ForeignKey("auth_user.id", ondelete="CASCADE"))
        canary = Table("canary", database.Base.metadata, *columns, owner)
        stack.callback(database.Base.metadata.remove, canary)
        tables = database.Base.metadata.tables.values()
        theirs = {table.name for table in tables if table.info.get("owner") != "bastion"}
        for options in ((), (), ("--empty",)):
            service.migrate(partial(keep, options))
            service.migrate()
        canary.c.name.type = String(20)
        service.migrate(partial(keep, ()))
    (first,), nothing, (empty,), (longer,) = written
    assert {*re.findall(r"op\.create_table\(['\"](\w+)", first)} == theirs
    assert "auth_user" in first  # by its key alone
    assert "fk_canary_user_id_auth_user" in first
    assert "sa.DateTime()" in first or "mysql.DATETIME(fsp=6)" in first
    assert re.search(r'^depends_on = "bastion\d+"$', first, re.MULTILINE)
    assert 'branch_labels = ("team",)' in first
    assert nothing == []
    assert "op." not in empty
    assert "length=20" in longer.partition("def upgrade")[2]
    theirs_is = service.module("commands.migrations")._is_the_teams
    forgotten, ours = (Table(name, MetaData()) for name in ("forgotten", "auth_user"))  # as they are found there
    assert theirs_is(forgotten, "forgotten", "table", True, None)
    assert not theirs_is(ours, "auth_user", "table", True, None)
    wrote = [("Written: " in text, "Nothing to write: " in text) for text in told]
    assert wrote == [(True, False), (False, True), (True, False), (True, False)]
