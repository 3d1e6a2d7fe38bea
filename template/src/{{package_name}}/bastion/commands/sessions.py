"""`sessions purge`: delete expired rows, with the addresses and names in them."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from .. import audit, files, throttle
from ..audit import chain
from ..identity import devices, flows, links, sessions


@click.group("sessions")
def sessions_group() -> None:
    """Sessions: purge."""


@sessions_group.command("purge")
@with_appcontext
def purge_sessions() -> None:
    """Delete rows past their retention: sessions 30 days, devices 400, counters 2, links and flows 1, audit 365.

    Counted from a row's end, or from an audit event's time; stored files without a row go after an hour. Any client
    can cause counters and events, so run this every day.
    """
    ended = f"{sessions.purge()} sessions, {devices.purge()} devices, {throttle.purge()} counters"
    ended = f"{ended}, {links.purge()} links, {flows.purge()} flows, {files.purge()} files"
    try:
        events = audit.purge()
    except chain.Broken as fault:
        click.echo(f"Deleted: {ended}.")
        raise click.ClickException(f"No audit event was deleted: {fault}.") from None
    click.echo(f"Deleted: {ended}, {events} audit events.")
