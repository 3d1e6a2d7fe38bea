"""`<service> <noun> <verb>`: the operator's commands, with the same guards as the service. Each noun is a module.

No file switches the mode: a `.env` in some parent folder must not turn a production command into a development one.
"""

from __future__ import annotations

import os
import sys
import traceback
from functools import partial
from importlib import import_module
from typing import Final

import click
from alembic.util import CommandError
from flask import Flask, current_app
from flask.cli import FlaskGroup, routes_command, shell_command, with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from .. import chosen
from ..request import access
from ..settings import ConfigError
from . import dev as development
from . import migrations
from .audit import audit_group
from .keys import add_rotation, keys_group, new
from .mail import mail_group
from .secrets import secrets_group
from .sessions import sessions_group
from .users import users_group

PACKAGE: Final = __name__.rpartition(".bastion")[0]
NAME: Final = PACKAGE.replace("_", "-")


def _create(*, migrates: bool = False) -> Flask:
    """Create the app and keep the environment: a command may start it again, or pass all variables to the server."""
    kept = dict(os.environ)
    try:
        app: Flask = import_module(f"{PACKAGE}.app").create_app(migrates=migrates)
    finally:
        os.environ.update(kept)
    migrations.install(app)
    return app


class ServiceGroup(FlaskGroup):
    """Flask's command group without its options, which would load a file or another app."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List our commands, and the team's if the service starts."""
        try:
            team = _create().cli.list_commands(ctx)
        except ConfigError:
            team = []
        return sorted({*self.commands, *team})


def main() -> None:
    """Run the service's command line."""
    os.environ["FLASK_SKIP_DOTENV"] = "1"
    if development.asked_for():
        development.prepare(PACKAGE)
    _run(sys.argv[1:])


def _run(arguments: list[str]) -> None:
    create = partial(_create, migrates=arguments[:1] == ["db"])  # no other needs the role that owns the tables
    group = ServiceGroup(
        name=NAME, create_app=create, add_default_commands=False, add_version_option=False, set_debug_flag=False
    )
    group.params.clear()
    group.help = f"Look after {NAME}. Every command is production unless it is started through `dev`."
    for command in COMMANDS:
        group.add_command(command)
    try:
        group.main(arguments, prog_name=NAME)
    except ConfigError as error:
        wanted = " ".join((NAME, "dev", *(part for part in arguments[:2] if part != "serve")))
        click.echo(f"{error}" if development.asked_for() else f"{error}\nFor development: {wanted}", err=True)
        sys.exit(1)
    except RuntimeError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except CommandError as error:
        reason = str(error).rstrip(".")
        run = f"{NAME} dev db upgrade" if development.asked_for() else f"{NAME} db upgrade"
        click.echo(f"{reason}. Run `{run}`; if the file of an applied migration is gone, restore it.", err=True)
        sys.exit(1)
    except SQLAlchemyError as error:
        # Its text may hold the address and the statement.
        click.echo(f"The database refused ({type(error).__name__}). Is it up to date? Run: {NAME} db upgrade", err=True)
        sys.exit(1)


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--port", type=click.IntRange(1, 65535), help="Remembered for the next time.  [default: 8000]")
def dev(command: tuple[str, ...], port: int | None) -> None:
    """Serve on http://localhost for development, or run COMMAND there.

    Makes missing keys, database and tables below instance/. Everything else is as in production. `dev users create
    ada@example.com` runs one command in the same environment.
    """
    os.environ["BASTION_ENV"] = "development"
    used = development.prepare(PACKAGE, port)
    try:
        app = _create()
        if command[:1] != ("db",) or command[:2] == ("db", "revision"):  # which compares with tables that are there
            with app.app_context():
                migrations.alembic.upgrade()
    except Exception as error:  # a typo in an edit ends nothing: the next edit is waited for
        if command or not development.reloaded():
            raise
        refused = isinstance(error, ConfigError)
        click.echo(str(error) if refused else traceback.format_exc(), err=True)
        return development.wait_for_an_edit(str(error) if refused else "It failed: the terminal says where.", used)
    if command:
        _run([*command])
    else:
        development.serve(app, NAME, used)
    return None


@click.command()
def serve() -> None:
    """Serve with gunicorn, for production, at the address in BASTION_BIND."""
    if development.asked_for():
        raise click.ClickException(f"In development `{NAME} dev` serves. Unset BASTION_ENV for production.")
    app = _create()  # refuse an unsafe start here, with its reasons, instead of in each worker
    if migrations.pending(app):
        raise click.ClickException(f"The database has pending migrations. Run: {NAME} db upgrade")
    config = f"python:{PACKAGE}.bastion.server.gunicorn"
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", config, f"{PACKAGE}.app:create_app()"])  # noqa: S606


@click.command("access")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when docs/access.md is not up to date.")
@with_appcontext
def access_table(check: bool) -> None:
    """Write docs/access.md: the access rule of each route."""
    text = access.document(current_app)
    if not check:
        access.TABLE_FILE.parent.mkdir(exist_ok=True)
        access.TABLE_FILE.write_text(text, encoding="utf-8")
    elif not access.TABLE_FILE.is_file() or access.TABLE_FILE.read_text(encoding="utf-8") != text:
        raise click.ClickException("docs/access.md is not up to date. Run this command without --check.")


@click.command("doctor")
@with_appcontext
def doctor() -> None:
    """Report pending migrations, a role that owns tables, ended exceptions, unknown names, no security contact."""
    found = [*development.findings(current_app)]
    for finding in found:
        click.echo(f"- {finding}")
    click.echo("Nothing found." if not found else f"{len(found)} found.")


@click.command("run")
def run() -> None:
    """Refuse: Flask's development server is for `dev`, and `serve` is for production."""
    raise click.ClickException(f"`{NAME} dev` serves for development, `{NAME} serve` (gunicorn) for production.")


for of_the_dialect in chosen.dialect.COMMANDS:
    migrations.db_group.add_command(of_the_dialect)
for of_the_style in chosen.style.NEW_KEYS:
    new.add_command(of_the_style)
for kind, (name, turn) in chosen.style.ROTATED.items():
    add_rotation(kind, name, turn)
COMMANDS: Final[tuple[click.Command, ...]] = (
    *(dev, serve, run, routes_command, shell_command, access_table, doctor),
    *(users_group, sessions_group, migrations.db_group, mail_group, audit_group, secrets_group, keys_group),
)
