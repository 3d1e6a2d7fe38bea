"""`audit ...`: show audit events, and detect tampering with them."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

import click
from flask.cli import with_appcontext
from sqlalchemy import select

from .. import audit
from ..audit import chain
from ..audit.tables import AuditEvent
from ..clock import now
from ..database import connect
from ..identity import users


@click.group("audit")
def audit_group() -> None:
    """Audit events: show, verify, restart."""


def _id_of(who: str) -> UUID:
    """Return the account of an address, or the given id: a deleted account has only its id left."""
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
    """Show the newest audit events, the newest last."""
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
    """Check whether an event was changed, removed, added or moved, and name it; exit 1 if so."""
    found = chain.verify(head)
    if found.fault is not None:
        raise click.ClickException(f"{found.fault}.")
    click.echo(f"OK: {found.sealed} events, {found.waiting} more not sealed yet. Head: {found.head or 'none'}")


@audit_group.command("restart")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def restart_audit(yes: bool) -> None:
    """Seal all events anew as they are, after you have looked into the fault of `audit verify`. It can't be undone."""
    if not yes:
        click.confirm("What was changed can't be found afterwards. Go on?", abort=True)
    former = chain.restart()
    audit.record("audit.restarted", former=former)
    click.echo(f"Sealed anew. The former head was {former}")
