"""`<service> db ...`: the two branches of migrations, the template's and the team's.

Only the commands import Alembic: a server that answers requests neither needs it nor waits for it.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import Any, Literal

import click
from flask import Flask
from flask.cli import with_appcontext
from flask_alembic import Alembic

from ..database import OWNER, Base, UTCDateTime

BRANCH, TEAM_BRANCH = "bastion", "team"
alembic = Alembic(run_mkdir=False, command_name="", metadatas=Base.metadata)


def _is_the_teams(item: Any, name: str | None, kind: str, _reflected: bool, _compared: Any) -> bool:
    """Limit autogenerate to the team's tables; the template brings its own migrations."""
    if kind != "table":
        return True
    known = Base.metadata.tables.get(name or "")
    return (known if known is not None else item).info.get("owner") != OWNER["owner"]


def _render_type(kind: str, item: Any, context: Any) -> str | Literal[False]:
    """Write our own column type as the database's: a migration must not import the service."""
    if kind == "type" and isinstance(item, UTCDateTime):
        if context.dialect.name in ("mysql", "mariadb"):
            context.imports.add("from sqlalchemy.dialects import mysql")
            return "mysql.DATETIME(fsp=6)"
        return "sa.DateTime()"
    return False


def _nothing_to_write(_context: Any, _revision: Any, directives: list[Any]) -> None:
    """Write no migration without a change."""
    if directives and directives[0].upgrade_ops.is_empty():
        directives.clear()


def install(app: Flask) -> Alembic:
    """Let Alembic find the migrations before any request; the service's own ALEMBIC settings win."""
    branches = {"script_location": "migrations", "version_locations": [(BRANCH, "bastion/database/migrations")]}
    app.config["ALEMBIC"] = branches | app.config.get("ALEMBIC", {})
    app.config["ALEMBIC_CONTEXT"] = {
        "include_object": _is_the_teams,
        "render_item": _render_type,
        "process_revision_directives": _nothing_to_write,
        "compare_type": True,
    }
    alembic.init_app(app)
    return alembic


def pending(app: Flask) -> bool:
    """Return whether the database lacks a migration that this code has."""
    with app.app_context():
        wanted = {script.revision for script in alembic.heads(resolve_dependencies=True)}
        return wanted != {script.revision for script in alembic.current()}


@click.group("db")
def db_group() -> None:
    """Database: upgrade, revision, downgrade."""


@db_group.command("upgrade")
@with_appcontext
def upgrade() -> None:
    """Bring all tables up to date: first the template's, then the team's."""
    alembic.upgrade()
    click.echo("Up to date.")


@db_group.command("revision")
@click.argument("message")
@click.option("--empty", is_flag=True, help="Do not compare models and tables.")
@with_appcontext
def revision(message: str, empty: bool) -> None:
    """Write a migration for the differences between the team's models and the database."""
    name = click.get_current_context().find_root().info_name
    head = alembic.script_directory.get_revision(f"{BRANCH}@head")
    written = alembic.revision(message, empty=empty, branch=TEAM_BRANCH, depend=head.revision)
    for script in filter(None, written):
        if ruff := shutil.which("ruff"):
            subprocess.run([ruff, "format", "--quiet", script.path], check=False)  # noqa: S603
        click.echo(f"Written: {script.path}. Read it, then run: {name} dev db upgrade (a running `dev` does it itself)")
    if not any(written):
        click.echo("Nothing to write: the tables are as the models say.")


@db_group.command("downgrade")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def downgrade(yes: bool) -> None:
    """Revert the team's newest migration and drop the data in it; the template's stay."""
    applied = [script for script in alembic.current() if TEAM_BRANCH in script.branch_labels]
    if not applied:
        raise click.ClickException("No migration of the team's is applied.")
    if not yes:
        click.confirm(f"What {applied[0].revision} ({applied[0].doc}) made is dropped. Go on?", abort=True)
    alembic.downgrade(f"{TEAM_BRANCH}@-1")
    click.echo("Taken back.")
