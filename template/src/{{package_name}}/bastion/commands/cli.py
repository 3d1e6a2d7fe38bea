"""`<service> <noun> <verb>`: what an operator does, with the same guards as the service itself.

A password in a command's arguments is in the shell's history and in every process list: it is asked for, hidden. No
file switches the mode: a `.env` in some parent folder must not turn a production command into a development one.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Final
from uuid import UUID

import click
from alembic.util import CommandError
from flask import Flask, current_app
from flask.cli import FlaskGroup, routes_command, shell_command, with_appcontext
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from .. import audit, chosen, throttle
from ..audit import chain
from ..audit.tables import AuditEvent
from ..clock import now
from ..database import connect
from ..delivery import outbox
from ..identity import devices, factors, flows, links, registration, sessions, users
from ..request import access
from ..secrets import OF_EVERY_SERVICE, OPTIONAL
from ..settings import ConfigError
from ..state import state
from . import dev as development
from . import migrations, overview
from .keys import add_rotation, keys_group, new

PACKAGE: Final = __name__.rpartition(".bastion")[0]
NAME: Final = PACKAGE.replace("_", "-")


def _create(*, migrates: bool = False) -> Flask:
    """The service; the environment stays as it was, since a command may start it again, or hand all to the server."""
    kept = dict(os.environ)
    try:
        app: Flask = import_module(f"{PACKAGE}.app").create_app(migrates=migrates)
    finally:
        os.environ.update(kept)
    migrations.install(app)
    return app


class ServiceGroup(FlaskGroup):
    """Flask's group of commands without its options, which would load a file or another app."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Ours, and the team's as soon as the service starts."""
        try:
            team = _create().cli.list_commands(ctx)
        except ConfigError:
            team = []
        return sorted({*self.commands, *team})


def main() -> None:
    """Entry point of the service's command."""
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
        click.echo(f"{reason}. Run `db upgrade`; if the file of an applied migration is gone, restore it.", err=True)
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

    Makes what is missing below instance/: keys, database, tables. Everything else is as in production. `dev users
    create ada@example.com` runs one command in the same environment.
    """
    os.environ["BASTION_ENV"] = "development"
    used = development.prepare(PACKAGE, port)
    try:
        app = _create()
        if command[:1] != ("db",):
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
    """Serve with gunicorn, for production; BASTION_BIND says where."""
    if development.asked_for():
        raise click.ClickException(f"In development `{NAME} dev` serves. Unset BASTION_ENV for production.")
    app = _create()  # refuse an unsafe start here, with its reasons, instead of in each worker
    if migrations.pending(app):
        raise click.ClickException(f"The database has pending migrations. Run: {NAME} db upgrade")
    config = f"python:{PACKAGE}.bastion.server.gunicorn"
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", config, f"{PACKAGE}.app:create_app()"])  # noqa: S606


@click.group("users")
def users_group() -> None:
    """Accounts: create, disable, enable, permit, reset-factors."""


def _done(action: Callable[[], object], message: str) -> None:
    try:
        action()
    except users.UserError as error:
        raise click.ClickException(str(error)) from None
    click.echo(message)


@users_group.command("create")
@click.argument("email")
@click.option("--role", "roles", multiple=True, help="A role of settings.py; can be given more than once.")
@click.option("--prompt", is_flag=True, help="Ask for the password here, hidden, instead of mailing a link.")
@with_appcontext
def create_user(email: str, roles: tuple[str, ...], prompt: bool) -> None:
    """Mail somebody a link that makes an account: whoever reads the mail chooses the password."""
    if not prompt:
        began = now()
        noted = f"Noted: a mail with a link, good for {state().limits.reset_minutes} minutes."
        _done(lambda: registration.invite_by_operator(email, roles), noted)
        address = users.address(email)
        sent = address in outbox.send_due()  # mails to others may have been due, or wait on
        waiting = outbox.waiting(address)
        if sent or (not waiting and links.made_since(began, address)):  # a running service was quicker
            click.echo("Sent.")
        elif not waiting:
            raise click.ClickException("No mail was sent: one went there a moment ago. Try again in a minute.")
        _tell_waiting(address)
        return
    if not sys.stdin.isatty():
        raise click.ClickException("--prompt asks on a terminal, and there is none. Leave it out to mail a link.")
    password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    _done(lambda: users.create(email, password, roles=roles), "Created. The account can sign in.")


@users_group.command("disable")
@click.argument("email")
@with_appcontext
def disable_user(email: str) -> None:
    """Switch an account off and end its sessions; it is out with the next request."""
    _done(lambda: users.set_active(users.find(email), False), "Disabled.")


@users_group.command("enable")
@click.argument("email")
@with_appcontext
def enable_user(email: str) -> None:
    """Switch an account on again."""
    _done(lambda: users.set_active(users.find(email), True), "Enabled.")


@users_group.command("permit")
@click.argument("email")
@click.argument("role")
@click.option("--remove", is_flag=True, help="Take the role away.")
@with_appcontext
def permit_user(email: str, role: str, remove: bool) -> None:
    """Give an account a role of settings.py, or take it away; it counts from the next request on."""
    _done(lambda: users.permit(users.find(email), role, remove=remove), "Done.")


@users_group.command("reset-factors")
@click.argument("email")
@with_appcontext
def reset_factors(email: str) -> None:
    """Remove all second factors of somebody who lost them, and end his sessions. Make sure first that it is him."""
    _done(lambda: factors.reset(users.find(email)), "Removed. At the next login a new one has to be set up.")


@click.group("sessions")
def sessions_group() -> None:
    """Sessions: purge."""


@sessions_group.command("purge")
@with_appcontext
def purge_sessions() -> None:
    """Delete what is over: sessions since 30 days, devices since 400, counters since 2, links and flows since 1, audit
    events since a year.

    Anybody can make the service write counters and events, so run it every day.
    """
    ended = f"{sessions.purge()} sessions, {devices.purge()} devices, {throttle.purge()} counters"
    ended = f"{ended}, {links.purge()} links, {flows.purge()} flows"
    try:
        events = audit.purge()
    except chain.Broken as fault:
        click.echo(f"Deleted: {ended}.")
        raise click.ClickException(f"No audit event was deleted: {fault}.") from None
    click.echo(f"Deleted: {ended}, {events} audit events.")


@click.group("mail")
def mail_group() -> None:
    """Mails: send."""


@mail_group.command("send")
@with_appcontext
def send_mails() -> None:
    """Send every mail that is due, once; a running service does so by itself, every other second."""
    click.echo(f"Sent: {outbox.drain()}.")
    _tell_waiting()


def _tell_waiting(address: str | None = None) -> None:
    if waiting := outbox.waiting(address):
        click.echo(f"Still waiting: {waiting}. The log says why; a running service tries again by itself.")


@click.group("audit")
def audit_group() -> None:
    """Audit events: show, verify, restart."""


def _id_of(who: str) -> UUID:
    """The account of an address, or the id as it is: of a deleted account nothing else is left."""
    with suppress(ValueError):
        return UUID(who)
    try:
        return users.find(who)
    except users.UserError as error:
        raise click.BadParameter(f"{error} A deleted one is known by its id.", param_hint="--user") from None


def _moment(_context: click.Context, _option: click.Parameter, ago: str | None) -> datetime | None:
    units = {"m": "minutes", "h": "hours", "d": "days"}
    if ago is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,4}[mhd]", ago):
        raise click.BadParameter("Write a number of minutes, hours or days, as in 30m, 12h or 7d.")
    return now() - timedelta(**{units[ago[-1]]: int(ago[:-1])})


def _head(_context: click.Context, _option: click.Parameter, head: str | None) -> str | None:
    if head is not None and not re.fullmatch(r"[0-9]{1,18}:[0-9a-f]{72}", head):
        raise click.BadParameter("Take it from the log as it is: the field `head` of an `audit_sealed`.")
    return head


@audit_group.command("show")
@click.option("--user", help="Whose: an address, or the id of a deleted account.")
@click.option("--kind", help="One kind, as in login.failure; docs/bastion/audit.md names them.")
@click.option("--since", callback=_moment, help="How long ago at most, as in 7d, 12h or 30m.")
@click.option("--last", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.option("--json", "as_json", is_flag=True, help="Every field, one line of JSON for each event.")
@with_appcontext
def show_audit(user: str | None, kind: str | None, since: datetime | None, last: int, as_json: bool) -> None:
    """The newest audit events, the newest last."""
    table = AuditEvent.__table__
    newest = select(table).order_by(table.c.at.desc(), table.c.number.desc()).limit(last)
    if user is not None:
        user_id = _id_of(user)
        newest = newest.where((table.c.user_id == user_id) | (table.c.actor_id == user_id))
    if kind is not None:
        newest = newest.where(table.c.kind == kind)
    if since is not None:
        newest = newest.where(table.c.at >= since)
    with connect() as connection:
        rows = connection.execute(newest).mappings().all()
    for row in reversed(rows):
        click.echo(audit.as_json(row) if as_json else audit.as_line(row))


@audit_group.command("verify")
@click.option("--head", callback=_head, help="One that was logged: also say whether the chain still goes through it.")
@with_appcontext
def verify_audit(head: str | None) -> None:
    """Say whether an event was changed, removed, added or moved since it was written, and which; exit 1 if so."""
    found = chain.verify(head)
    if found.fault is not None:
        raise click.ClickException(f"{found.fault}.")
    click.echo(f"OK: {found.sealed} events, {found.waiting} more not sealed yet. Head: {found.head or 'none'}")


@audit_group.command("restart")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def restart_audit(yes: bool) -> None:
    """Seal all events anew as they are, after you have looked into what `audit verify` says. It can't be undone."""
    if not yes:
        click.confirm("What was changed can't be found afterwards. Go on?", abort=True)
    former = chain.restart()
    audit.record("audit.restarted", former=former)
    click.echo(f"Sealed anew. The former head was {former}")


@click.group("secrets")
def secrets_group() -> None:
    """Secrets: list."""


@secrets_group.command("list")
@with_appcontext
def list_secrets() -> None:
    """The secrets that this service reads: what each does, whether it is there, its age, what is due; never a value."""
    service = state()
    names = {**OF_EVERY_SERVICE, **chosen.dialect.SECRETS, **chosen.style.SECRETS, **service.team.secrets, **OPTIONAL}
    for line in overview.lines(service.secrets, names, chosen.style.RINGS):
        click.echo(line)


@click.command("access")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when docs/access.md is not up to date.")
@with_appcontext
def access_table(check: bool) -> None:
    """Write docs/access.md: who may call which route."""
    text = access.document(current_app)
    if not check:
        access.TABLE_FILE.parent.mkdir(exist_ok=True)
        access.TABLE_FILE.write_text(text, encoding="utf-8")
    elif not access.TABLE_FILE.is_file() or access.TABLE_FILE.read_text(encoding="utf-8") != text:
        raise click.ClickException("docs/access.md is not up to date. Run this command without --check.")


@click.command("doctor")
@with_appcontext
def doctor() -> None:
    """What works but should be looked at: pending migrations, ended exceptions, a missing security contact."""
    found = [*development.findings(current_app)]
    for finding in found:
        click.echo(f"- {finding}")
    click.echo("Nothing found." if not found else f"{len(found)} found.")


@click.command("run")
def run() -> None:
    """Refused: Flask's development server is for `dev`, and `serve` is for production."""
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
